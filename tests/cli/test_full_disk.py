"""A disk that becomes full: exit code 1, one paragraph, nothing half-written, and the same command works afterwards."""

import subprocess

import numpy as np
import pytest
from scipy import ndimage

from acreg.cli.main import main
from acreg.errors import AcregError
from acreg.geometry import Displacement, Grid, Transform
from acreg.io import Image, write_image
from acreg.io.transforms import write_transform


@pytest.fixture
def disk(tmp_path):
    """A folder whose size in KiB can be set, at first and anew."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size):
        how = f"{'remount,' if folder.is_mount() else ''}size={size}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip("a small file system can be mounted by root alone")
        return folder

    yield resize
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def noise(shape):
    made = ndimage.gaussian_filter(np.random.default_rng(0).random(shape), 2)
    return (made - made.min()) / np.ptp(made) * 255


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("size", [8, 60, 120, 500])
def test_register(disk, tmp_path, capsys, size):
    for name in ("fixed.png", "moving.png"):
        write_image(Image.from_array(noise((64, 64))), tmp_path / name)
    folder = disk(size)
    command = ["register", "--method", "unregistered", "--out", str(folder / "out")]
    command += [f"--{role}={tmp_path / role}.png" for role in ("fixed", "moving")]
    code = main(command)
    error = capsys.readouterr().err.strip()
    if size < 500:
        assert code == 1 and error.startswith("Error: The disk is full.") and "\n" not in error
        assert everything(folder) == []
        disk(10_000)
        assert main(command) == 0
    names = ["displacement.nii.gz", "preview.png", "transform.h5", "transform.h5.check.json", "warped.png"]
    assert set(names) <= {path.name for path in (folder / "out").iterdir()}


def test_register_with_a_scene(disk, tmp_path, capsys):
    """The size is enough for the other results."""
    for name in ("fixed.png", "moving.png"):
        write_image(Image.from_array(noise((64, 64))), tmp_path / name)
    folder = disk(360)
    command = ["register", "--method", "unregistered", "--slicer", "--out", str(folder / "out")]
    command += [f"--{role}={tmp_path / role}.png" for role in ("fixed", "moving")]
    assert main(command) == 1 and "The disk is full" in capsys.readouterr().err
    assert everything(folder) == []
    disk(10_000)
    assert main(command) == 0 and (folder / "out" / "scene.mrb").is_file()


def test_overwrite_keeps_the_old_results(disk, tmp_path, capsys):
    for name in ("fixed.png", "moving.png"):
        write_image(Image.from_array(noise((64, 64))), tmp_path / name)
    folder = disk(10_000)
    command = ["register", "--method", "unregistered", "--out", str(folder), "--overwrite"]
    command += [f"--{role}={tmp_path / role}.png" for role in ("fixed", "moving")]
    assert main(command) == 0
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in folder.iterdir())
    disk(used + 80)
    assert main(command) == 1 and "The disk is full" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == old


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".nii.gz"])
def test_transforms(disk, suffix):
    grid = Grid((8, 24, 20))
    transform = Transform(grid, grid, (Displacement(np.random.default_rng(0).normal(size=(*grid.shape, 3)), grid),))
    for size in range(4, 180, 32):  # about 45 KB are needed as .h5 and 260 as text
        folder = disk(size)
        try:
            write_transform(transform, folder / f"a{suffix}")
        except (OSError, AcregError):
            assert everything(folder) == []
        else:
            assert everything(folder) == [f"a{suffix}", f"a{suffix}.check.json"]
            for path in folder.iterdir():
                path.unlink()


@pytest.mark.parametrize("suffix", [".h5", ".nii", ".nii.gz", ".nrrd", ".mha", ".tif", ".png"])
def test_images(disk, suffix):
    shape = (100, 100) if suffix in (".tif", ".png") else (12, 30, 30)
    for size in (4, 8, 16, 40):
        folder = disk(size)
        try:
            write_image(Image.from_array(noise(shape)), folder / f"a{suffix}")
        except (OSError, AcregError):
            assert everything(folder) == []
        else:
            assert everything(folder) == [f"a{suffix}"]
            (folder / f"a{suffix}").unlink()

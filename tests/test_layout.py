"""What may be imported from where, and how quickly the program answers."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import acreg
from acreg import _parts

HEAVY = ("keras", "tensorflow", "jax", "scipy", "matplotlib", "SimpleITK", "skimage", "sklearn", "pandas", "medpy")


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("code", ["import acreg", "from acreg.cli.main import main; assert main(['--help']) == 0"])
def test_heavy_packages_are_not_imported(code: str, repository: Path) -> None:
    done = run_python(f"{code}\nimport sys; print('LOADED', *[m for m in {HEAVY} if m in sys.modules])", repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED", "command modules must import heavy packages in their functions"


def test_what_draws_and_notebooks_are_imported_when_something_is_shown(repository: Path) -> None:
    code = (
        "import sys, numpy as np, acreg\nfrom acreg.progress import notebook_bars\n"
        "image = acreg.Image.from_array(np.zeros((4, 5)))\n"
        "repr(acreg.Transform(image.grid, image.grid)), notebook_bars()\n"
        "print('LOADED', *[m for m in ('matplotlib', 'PIL', 'IPython', 'ipyniivue') if m in sys.modules])"
    )
    done = run_python(code, repository)
    assert done.stdout.splitlines()[-1:] == ["LOADED"], done.stdout + done.stderr


def test_help_answers_at_once(repository: Path) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert run_python("from acreg.cli.main import main; main(['--help'])", repository).returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2  # about 0.3 s on an idle machine


@pytest.mark.parametrize("name", ["layers"])
def test_linked_packages_refuse_another_name(name: str, repository: Path) -> None:
    done = run_python(f"import {name}", repository / "acreg")  # as through the link, which not every file system has
    assert done.returncode != 0
    assert f"acreg.{name}" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["layers", "data", "experiments"])
def test_packages_are_real_folders_and_links_at_the_root_point_to_them(name: str, repository: Path) -> None:
    assert (repository / "acreg" / name / "__init__.py").is_file()
    assert not (repository / "acreg" / name).is_symlink()
    link = repository / name  # where the file system has no links, git writes a file that holds the target
    target = os.readlink(link) if link.is_symlink() else link.read_text()
    assert Path(target.strip()) == Path("acreg", name)


def test_all_sub_packages_are_reached_from_acreg(repository: Path) -> None:
    done = run_python(
        "import acreg\n"
        "acreg.applications.atlases, acreg.applications.conversion, acreg.data.sampling\n"
        "print(acreg.baselines.baseline.__name__, acreg.registration.register_pair.__name__)",
        repository,
    )
    assert done.stdout.split() == ["baseline", "register_pair"], done.stderr
    assert set(acreg.__all__) <= set(dir(acreg))


def test_parts_are_the_folders_of_the_package(repository: Path) -> None:
    folders = {path.name for path in (repository / "acreg").iterdir() if path.is_dir() and path.name[0] not in "_."}
    assert folders == set(_parts.PARTS)
    assert folders - set(acreg.__all__) == {"cli", "presets"}


LAZY = ("", ".applications", ".applications.atlases", ".applications.batch", ".applications.conversion")
LAZY += (".applications.groupwise", ".applications.inspection", ".applications.plausibility", ".data", ".report")
LAZY += (".training",)


@pytest.mark.parametrize("package", LAZY)
def test_each_name_of_a_stub_exists(package: str) -> None:
    module = importlib.import_module(f"acreg{package}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


@pytest.fixture
def without_layers(repository: Path, tmp_path: Path) -> Path:
    """A folder with a copy of acreg that lacks `layers`."""
    shutil.copytree(repository / "acreg", tmp_path / "acreg", ignore=shutil.ignore_patterns("layers", "*.h5"))
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [
        "import acreg; acreg.layers",
        "import acreg.layers",
        "from acreg import layers",
        "from acreg.layers.warping import warp",
    ],
)
def test_a_missing_part_is_named(code: str, without_layers: Path) -> None:
    # An editable installation would find the part in the checkout.
    forget = "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path if 'Editable' not in repr(finder)]"
    done = run_python(f"{forget}; {code}", without_layers)
    assert done.returncode != 0
    message = done.stderr.splitlines()[-1]
    assert message.startswith(
        "acreg._parts.MissingPart: An installation of acreg must have all of its parts. Received: "
    )
    assert message.endswith(
        "without layers. The installation is incomplete: reinstall acreg from a wheel or a complete checkout."
    )


def test_another_name_is_an_ordinary_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'acreg.registre'"):
        importlib.import_module("acreg.registre")


def test_lazy_names_are_the_real_ones() -> None:
    assert acreg.Image is importlib.import_module("acreg.io").Image
    assert acreg.geometry is importlib.import_module("acreg.geometry")
    assert {"Image", "from_preset", "read_image", "layers"} <= set(dir(acreg))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'acreg' has no attribute 'registre'"):
        acreg.registre  # noqa: B018

import numpy as np
import PIL.Image
import pytest

from acreg.applications.registration import (
    Unregistered,
    preset_name,
    register_pair,
    result_name,
    save_registration,
)
from acreg.io import Image, read_displacement, read_image, read_labels


@pytest.mark.parametrize(
    "source, rank, expected",
    [
        ("a.png", 2, "w.png"),
        ("a.JPG", 2, "w.png"),
        ("a.nii", 2, "w.nii.gz"),
        ("a.tif", 3, "w.nii.gz"),
        ("", 2, "w.nii.gz"),
    ],
)
def test_results_are_the_moving_files_kind(source, rank, expected):
    assert result_name("w", source, rank) == expected


def test_a_run_gives_its_preset_the_name():
    assert preset_name("runs/acregnet/preset") == "acregnet"
    assert preset_name("presets/acregnet-jsrt/") == "acregnet-jsrt"


def test_images_of_different_sizes_and_a_volume_are_saved_and_drawn(tmp_path):
    rng = np.random.default_rng(0)
    for shape, other in (((20, 30), (25, 14)), ((8, 12, 10), (6, 9, 14))):
        fixed = Image.from_array(rng.random(shape) * 200, spacing=[2.0] * len(shape))
        moving = Image.from_array(rng.random(other) * 200)
        labels = Image.from_array(rng.integers(0, 3, other), kind="labels")
        result = register_pair(Unregistered(), fixed, moving, labels)
        folder = tmp_path / str(len(shape))
        written = save_registration(folder, result, fixed, moving, labels)
        assert sorted(written) == sorted(folder.iterdir()) and len(written) == 6
        assert read_image(folder / "warped.nii.gz").array.shape == shape
        assert read_image(folder / "warped.nii.gz").grid.spacing == (2.0,) * len(shape)
        assert set(np.unique(read_labels(folder / "warped_labels.nii.gz").array)) <= {0, 1, 2}
        assert read_displacement(folder / "displacement.nii.gz").shape == (*shape, len(shape))
        with PIL.Image.open(folder / "preview.png") as picture:
            assert min(picture.size) > 300

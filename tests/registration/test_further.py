"""Further images of the moving space: each is resampled once by the transform of the pair."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import acreg
from acreg.errors import AcregError, UsageError
from acreg.geometry import Displacement, Grid, Image, Transform
from acreg.io import read_image, read_labels, write_image
from acreg.registration import Registration
from acreg.registration.saving import RECORD_NAME

pytestmark = pytest.mark.filterwarnings("ignore::acreg.errors.DoubtfulResult")
GRID = Grid((24, 26, 20), (1.0, 1.5, 2.0))


class Shift:
    """Looks two voxels further along the first axis."""

    name = "shift"

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        field = np.zeros((*fixed.grid.shape, 3), np.float32)
        field[..., 0] = 2
        return Transform(fixed.grid, moving.grid, (Displacement(field, fixed.grid),))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    blob = np.zeros(GRID.shape, np.int32)
    blob[8:16, 8:16, 8:16], blob[16:20, 4:20, 5:15] = 1, 7
    for name in "ab":
        write_image(Image(rng.random(GRID.shape, np.float32), GRID), tmp_path / f"{name}.nii.gz")
    write_image(Image(blob, GRID, "labels"), tmp_path / "organs.nii.gz")
    coarse = Grid((12, 26, 20), (2.0, 1.5, 2.0), origin=(0.5, 0, 0))
    write_image(Image(rng.random(coarse.shape, np.float32) * 9, coarse), tmp_path / "t2.nii.gz")
    write_image(Image(rng.integers(0, 200, GRID.shape).astype(np.float32), GRID), tmp_path / "ct.nii.gz")
    return tmp_path


def register(files: Path, *also: Path | Image) -> Registration:
    return acreg.register(fixed=files / "a.nii.gz", moving=files / "b.nii.gz", method=Shift(), also=also)


def test_each_is_moved_from_its_own_grid(files: Path) -> None:
    also = [files / f"{name}.nii.gz" for name in ("organs", "t2", "ct")]
    result = register(files, *also)
    written = result.save(files / "out", fill=-5, what=["images"])
    assert [path.name for path in written if "_warped" in path.name] == [f"{p.name[:-7]}_warped.nii.gz" for p in also]
    assert result.notes[0] == "Moved as labels, which their values look like: organs."
    for path in also[1:]:
        expected = acreg.warp(result.sampled, result.fixed, image=path, fill=-5).image.array
        np.testing.assert_allclose(
            read_image(files / "out" / f"{path.name[:-7]}_warped.nii.gz").array, expected, atol=1e-4
        )
    labels = read_labels(files / "out" / "organs_warped.nii.gz").array
    np.testing.assert_array_equal(labels[:-2], read_labels(also[0]).array[2:])
    assert not labels[-2:].any(), "outside, labels are background whatever the fill is"


def test_results_are_not_mixed_with_those_of_another_registration(files: Path) -> None:
    result = register(files, files / "t2.nii.gz")
    result.save(files / "out", what=["images"])
    (files / "out" / "mine_warped.nii.gz").touch()
    assert json.loads((files / "out" / RECORD_NAME).read_text())["also"] == ["t2_warped.nii.gz"]
    with pytest.raises(AcregError, match=r"not replaced unasked.*t2_warped\.nii\.gz"):
        result.save(files / "out")
    register(files).save(files / "out", what=["images"], overwrite=True)
    assert {path.name for path in (files / "out").glob("*_warped*")} == {"mine_warped.nii.gz"}


def test_names_and_places_that_do_not_fit(files: Path) -> None:
    (files / "other").mkdir()
    with pytest.raises(UsageError, match=r"Received: also with t2 more than once"):
        register(files, files / "t2.nii.gz", files / "other" / "T2.nrrd")
    again = read_image(files / "t2.nii.gz")
    with pytest.raises(UsageError, match=r"Received: also with t2 more than once"):
        register(files, again, dataclasses.replace(again, name=str(files / "other" / "t2.nii.gz")))
    with pytest.raises(AcregError, match=r"space of the moving image.* of shape \(24, 26\), for .*\(24, 26, 20\)"):
        register(files, Image.from_array(np.zeros((24, 26), np.float32)))
    with pytest.raises(AcregError, match=r"The file must exist.*none\.nii"):
        register(files, files / "none.nii")


def test_an_image_that_was_registered_is_not_replaced_by_a_result(files: Path) -> None:
    first = register(files)
    first.save(files / "out", what=["images"])
    warped = (files / "out" / "warped.nii.gz").read_bytes()
    again = acreg.register(fixed=files / "a.nii.gz", moving=files / "out" / "warped.nii.gz", method=Shift())
    with pytest.raises(AcregError, match=r"do not replace the images that were registered\. .*whose warped\.nii\.gz"):
        again.save(files / "out", overwrite=True)
    assert (files / "out" / "warped.nii.gz").read_bytes() == warped
    again.save(files / "second")


def test_a_picture_whose_values_no_png_holds_is_written_exactly(tmp_path: Path) -> None:
    """A TIFF of float or of negative numbers: nothing is rounded or cut off."""
    rng = np.random.default_rng(0)
    for name in ("fixed", "moving", "other"):
        PIL.Image.fromarray(rng.random((24, 26), np.float32) - 0.5).save(tmp_path / f"{name}.tif")
    fixed, moving, other = (tmp_path / f"{name}.tif" for name in ("fixed", "moving", "other"))
    result = acreg.register(fixed=fixed, moving=moving, method="unregistered", also=[other])
    names = {path.name for path in result.save(tmp_path / "out")}
    assert {"warped.nii.gz", "other_warped.nii.gz"} <= names and not {"warped.png", "other_warped.png"} & names
    expected = result.transform.sampled().warp_image(read_image(moving)).array
    np.testing.assert_allclose(read_image(tmp_path / "out" / "warped.nii.gz").array, expected, atol=1e-6)
    assert expected.min() < 0

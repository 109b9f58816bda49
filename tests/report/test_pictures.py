"""Pictures of a pair of volumes: planes through a bump that the registration left where it was."""

import csv
import io
from html import unescape

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from acreg.data.manifest import Dataset
from acreg.evaluation import MethodResult, PairScores, write_method
from acreg.geometry import Grid
from acreg.io import Image, write_displacement, write_image
from acreg.metrics import label_metrics
from acreg.report.pictures import PictureSource
from acreg.report.worst_pairs import worst_pairs

GRID = Grid((20, 24, 22), (3.0, 2.0, 2.0), (30.0, -20.0, -10.0))


@pytest.fixture
def bump(tmp_path):
    """A method that moves nothing, on a cuboid and a cuboid with a bump on its left; the last pair failed."""
    labels = np.zeros(GRID.shape, int)
    labels[4:14, 6:16, 4:12] = 1
    moved = labels.copy()
    moved[8:10, 10:12, 12:17] = 1
    folder = tmp_path / "data"
    folder.mkdir()
    with open(folder / "manifest.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["subject", "image", "labels", "split"])
        for name, each in (("f", labels), ("m", moved)):
            write_image(Image(50.0 * each, GRID), folder / f"{name}.nii.gz")
            write_image(Image(each, GRID, "labels"), folder / f"{name}_labels.nii.gz")
            rows.writerow([name, f"{name}.nii.gz", f"{name}_labels.nii.gz", "test"])
    assert Dataset.load(folder).records
    scores = label_metrics(moved, labels, [1], GRID.spacing)
    pairs = [PairScores("f", "m", scores, ncc=0.9), PairScores("m", "f", failure="RuntimeError: no")]
    summary = {"registers": True, "dataset": {"name": "bumps", "folder": str(folder), "unit": "mm"}}
    result = MethodResult("still", {1: "left lung"}, pairs, summary)
    write_method(result, tmp_path / "still")
    write_displacement(np.zeros((*GRID.shape, 3)), GRID, tmp_path / "still" / "f__m" / "displacement.nii.gz")
    return result


def test_planes_pass_through_the_largest_error(bump):
    found = PictureSource().draw(bump, bump.pairs[0])
    assert found.error.voxel[2] == 16 and found.error.voxel[0] in (8, 9) and found.error.voxel[1] in (10, 11)
    # 10 mm from the cuboid; 54 to 57 mm superior, 0 to 2 mm posterior, 22 mm left
    assert found.place.startswith("Planes through the largest surface distance, 10.0 mm, of left lung, at L 22.0, P ")
    assert found.place.endswith(("S 54.0 mm.", "S 57.0 mm."))
    assert [caption.partition(":")[0] for caption, _ in found.panels[:5]] == [
        *("Fixed", "Moving", "Warped", "Labels", "Checkerboard")
    ]
    assert len(found.panels) == 7


def test_a_panel_has_three_planes_on_one_scale_with_the_bump_on_the_left_of_the_patient(bump):
    panels = dict(PictureSource().draw(bump, bump.pairs[0]).panels)
    picture = np.asarray(PIL.Image.open(io.BytesIO(panels["Warped"])).convert("L"))
    found, _ = ndimage.label(picture > 128)
    seen = [picture[part] > 128 for part in ndimage.find_objects(found) if picture[part].size > 500]  # no letters
    heights = np.array([len(each) for each in seen])
    # Axial and coronal the cuboid of 20 x 30 mm, sagittal the bump of 6 mm alone.
    np.testing.assert_allclose(heights / heights[1], [20 / 30, 1, 6 / 30], atol=0.05)
    axial = seen[0]
    ends = np.array([np.flatnonzero(row)[[0, -1]] for row in axial])
    left, right = np.median(ends, axis=0)
    assert ends[:, 0].min() >= left - 1, "nothing sticks out on the left of the picture"
    assert 0 < np.mean(ends[:, 1] > right + 10) < 0.5, "the bump sticks out on the right"


def test_the_section_says_what_is_shown(bump):
    text = unescape(worst_pairs([bump], 2, None))
    failed, registered = text.split('<div class="pair">')[1:]
    assert failed.count("<figure>") == 2 and "Planes through" not in failed
    assert registered.count("<figure>") == 7 and 'class="panels planes"' in registered
    assert "Planes through the largest surface distance, 10.0 mm, of left lung" in registered
    assert "radiological view" in text

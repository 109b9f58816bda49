from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from acreg.data.check.dataset import check
from acreg.data.check.findings import Findings
from acreg.data.check.orientation import check_orientation
from acreg.data.check.summaries import summarise
from acreg.data.records import read_rows
from acreg.geometry.grid import Grid
from acreg.io import Image, read_image, read_labels, write_image

SHAPE, SPACING, ORIGIN = (20, 24, 22), (3.0, 2.0, 2.0), (-30.0, 20.0, 35.0)
RAS = np.diag([1.0, -1.0, -1.0])
LAS = np.diag([1.0, -1.0, 1.0])
GRID = Grid(SHAPE, SPACING, ORIGIN, RAS)
GRID_SAID = "20 x 24 x 22 voxels, spacing (3, 2, 2), origin (-30, 20, 35), direction (1, 0, 0)(0, -1, 0)(0, 0, -1)"


def body(rng, symmetric=False):
    """An image in RAS and its labels: an ellipsoid with balls right (1), left (2), above in front (3)."""
    z, y, x = np.moveaxis(np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2, -1, 0)
    image = 50.0 * ((z / 8) ** 2 + (y / 10) ** 2 + (x / 9) ** 2 < 1)
    labels = np.zeros(SHAPE)
    for value, centre, brightness in (
        (1, (-2, -3, 4), 100 if symmetric else 160),
        (2, (-2, -3, -4), 100),
        (3, (4, 5, 0), 180),
    ):
        centre = centre + rng.normal(0, 0.6, 3)
        ball = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 9
        image[ball], labels[ball] = brightness, value
    return ndimage.gaussian_filter(image, 0.7) + rng.normal(0, 3, SHAPE), labels


class Folder:
    """Eight subjects in RAS without fault and no dataset.json, to be damaged."""

    def __init__(self, path, symmetric=False):
        rng = np.random.default_rng(0)
        self.path, self.names = path, [f"s{i}" for i in range(8)]
        self.arrays = {name: body(rng, symmetric) for name in self.names}
        self.splits = dict(zip(self.names, ["train"] * 4 + ["val"] * 2 + ["test"] * 2, strict=True))
        self.labelled = True
        for name in self.names:
            self.write(name)

    def write(self, name, image=None, labels=None, grid=GRID, labels_grid=None):
        """Write a subject anew with another array or grid."""
        image, labels = (
            new if new is not None else old for new, old in zip((image, labels), self.arrays[name], strict=True)
        )
        write_image(Image(image, dataclasses.replace(grid, shape=image.shape)), self.path / f"{name}.nii")
        labels_grid = dataclasses.replace(labels_grid or grid, shape=labels.shape)
        write_image(Image(labels, labels_grid, "labels"), self.path / f"{name}_labels.nii")

    def check(self):
        lines = [f"{n},{n}.nii,{n}_labels.nii" if self.labelled else f"{n},{n}.nii," for n in self.names]
        lines = [f"{line},{self.splits[name]}" for line, name in zip(lines, self.names, strict=True)]
        (self.path / "manifest.csv").write_text("\n".join(["subject,image,labels,split", *lines]) + "\n")
        return check(self.path / "manifest.csv")

    def only(self, level, *places):
        (finding,) = self.check().findings
        assert (finding.level, finding.places) == (level, places)
        return str(finding)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_good_volumes_have_no_findings(folder):
    result = folder.check()
    assert result.findings == []
    (note,) = result.notes
    assert "mirrored left-right and flipped front-back and flipped upside down judged by images and labels" in note


def test_other_axes_are_one_finding(folder):
    for name in ("s1", "s6"):  # the same anatomy stored from left to right, with a true header
        image, labels = (np.flip(a, 2) for a in folder.arrays[name])
        far = (ORIGIN[0], ORIGIN[1], ORIGIN[2] - (SHAPE[2] - 1) * SPACING[2])
        folder.write(name, image, labels, Grid(SHAPE, SPACING, far, LAS))
    assert "the axes are LAS (2) and not RAS as in 6 of 8 subjects" in folder.only("warning", "s1", "s6")


def test_oblique_images_are_one_note(folder):
    angle = np.radians(12)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    for name in ("s0", "s3"):
        folder.write(name, grid=Grid(SHAPE, SPACING, ORIGIN, turn @ RAS))
    result = folder.check()
    assert result.findings == []
    assert result.notes[0].startswith("2 of 8 images are oblique, by up to 12 degrees.")


def test_an_outlier_of_spacing(folder):
    # Centred as the others are, so that the spacing alone is odd.
    spacing = (3.0, 2.0, 0.5)
    origin = (ORIGIN[0], ORIGIN[1], ORIGIN[2] - (SHAPE[2] - 1) / 2 * 1.5)
    folder.write("s2", grid=Grid(SHAPE, spacing, origin, RAS))
    line = folder.only("warning", "s2")
    assert "the spacing is 3 x 2 x 0.5 mm, off the median by more than a factor of 2: 3 x 2 x 2 mm (z, y, x)" in line


def test_a_lost_geometry(folder):
    folder.write("s2", grid=Grid(SHAPE))
    found = {finding.what.split(" (")[0]: finding.places for finding in folder.check().findings}
    assert found["the header says neither spacing"] == ("s2",)
    assert not any("the axes are" in what for what in found)  # said already


@pytest.mark.parametrize(
    ("grid", "apart"),
    [
        (Grid(SHAPE, SPACING, (-30.0, 20.0, 39.0), RAS), 4.0),
        (Grid(SHAPE, (3.0, 2.0, 2.1), ORIGIN, RAS), 2.1),
        (Grid(SHAPE, SPACING, ORIGIN, LAS), 84.0),
    ],
)
def test_labels_on_another_grid(folder, grid, apart):
    folder.write("s5", labels_grid=grid)
    finding = folder.check().findings[0]
    assert (finding.level, finding.where) == ("error", "s5")
    assert finding.what.endswith(f"s5.nii on {GRID_SAID}: they lie elsewhere, by up to {apart:.3g} mm")


def test_labels_of_another_sampling(folder):
    """Labels drawn on a part of the image say where it lies: they are used, and the check says so."""
    _, labels = folder.arrays["s5"]
    part = GRID.part((2, 1, 1), (16, 20, 20))
    folder.write("s5", labels=labels[2:18, 1:21, 1:21], labels_grid=part)
    assert "each voxel of the image takes the nearest label" in folder.only("warning", "s5")


def test_labels_whose_grid_differs_by_rounding(folder):
    folder.write("s5", labels_grid=Grid(SHAPE, SPACING, (-30.0, 20.0, 35.01), RAS))
    assert folder.check().findings == []


def test_lost_origins(folder):
    for name, shift in (("s4", 500.0), ("s7", 31.5)):
        folder.write(name, grid=Grid(SHAPE, SPACING, (ORIGIN[0] + shift, *ORIGIN[1:]), RAS))
    line = folder.only("warning", "s4", "s7")
    assert "shares 0 to 48 % with the group" in line and "lies 32 to 500 mm" in line


def test_another_number_of_axes(folder):
    image, labels = (a.max(axis=0) for a in folder.arrays["s3"])
    folder.write("s3", image, labels, Grid(SHAPE[1:], SPACING[1:]))
    assert "not 3 axes as the others have" in folder.only("error", "s3")


@pytest.mark.parametrize(
    ("axis", "name"), [(0, "flipped upside down"), (1, "flipped front-back"), (2, "mirrored left-right")]
)
def test_a_flipped_array_under_the_same_header(folder, axis, name):
    image, labels = (np.flip(a, axis) for a in folder.arrays["s1"])
    folder.write("s1", image, labels)
    line = folder.only("warning", "s1")
    assert f"the image and its labels seem {name} (correlation with the mean of the other images 0." in line
    folder.labelled = False
    assert f"the image seems {name}" in folder.only("warning", "s1")


def test_an_image_or_labels_flipped_without_the_other(folder):
    image, labels = (np.flip(a, 2) for a in folder.arrays["s1"])
    folder.write("s1", image=image)
    line = folder.only("warning", "s1")
    assert "the image seems mirrored left-right" in line and "its labels do not. Look at image and labels" in line
    folder.write("s1", labels=labels)
    line = folder.only("warning", "s1")
    assert "the labels seem mirrored left-right (centres of labels" in line and "; the image does not" in line


def test_axes_exchanged(folder):
    image, labels = (np.swapaxes(a, 1, 2) for a in folder.arrays["s1"])
    folder.write("s1", image, labels, Grid((20, 22, 24), SPACING, ORIGIN, RAS))
    assert "seem turned, R, A, S of the header looking like A, R, S (correlation" in folder.only("warning", "s1")


def test_left_and_right_of_symmetric_images_are_told_by_labels(tmp_path):
    folder = Folder(tmp_path, symmetric=True)
    image, labels = (np.flip(a, 2) for a in folder.arrays["s1"])
    folder.write("s1", image, labels)
    assert "the labels seem mirrored left-right (centres of labels" in folder.only("warning", "s1")
    folder.labelled = False
    result = folder.check()
    assert result.findings == []
    assert "mirrored left-right not judged (no labels tell" in result.notes[0]


def test_several_flipped_subjects_are_one_finding_and_the_rest_none(folder):
    for name in ("s1", "s5"):
        folder.write(name, *(np.flip(a, 1) for a in folder.arrays[name]))
    assert "flipped front-back" in folder.only("warning", "s1", "s5")


def test_few_subjects_are_not_compared(folder):
    folder.names = folder.names[:3]
    assert "takes 4 subjects" in folder.check().notes[0]


def test_nan_and_fractional_labels_name_subject_and_remedy(folder):
    import nibabel

    for name, value in (("s2", np.nan), ("s6_labels", 0.5)):
        file = nibabel.load(folder.path / f"{name}.nii")
        array = np.array(file.get_fdata(dtype=np.float32))
        array[3, 4, 5] = value
        nibabel.save(nibabel.Nifti1Image(array, file.affine), folder.path / f"{name}.nii")
    first, second = folder.check().findings
    assert (first.level, first.where, second.level, second.where) == ("error", "s2", "error", "s6")
    assert "1 NaN or infinite" in first.what and first.remedy.startswith("Replace them")
    assert "whole numbers" in second.what and "with the value 0.5" in second.what
    assert second.remedy.startswith("Give a label map")


def test_label_sets_that_differ(folder):
    labels = {name: folder.arrays[name][1].copy() for name in folder.names}
    labels["s0"][labels["s0"] == 3] = 0
    labels["s4"][labels["s4"] == 3] = 0
    labels["s4"][0, 0, :3] = 77
    for name in ("s0", "s4"):
        folder.write(name, labels=labels[name])
    alone, lacking = folder.check().findings
    assert (alone.places, alone.what) == (("s4",), "label values that no other subject has: 77")
    assert (lacking.places, lacking.what) == (("s0", "s4"), "the labels lack label 3 (2 of 8 subjects)")


def _flipped(image, axis):
    stored = int(np.argmax(np.abs(np.asarray(image.grid.direction)[axis])))
    return dataclasses.replace(image, array=np.flip(image.array, stored))


@pytest.mark.parametrize(
    ("dataset", "by"), [("brain_oasis_trt", "the labels seem"), ("hippocampus", "the image seems")]
)
def test_flips_of_real_volumes(data_dir, dataset, by):
    """Each of some subjects mirrored left-right is found, and nothing without a flip; by what differs."""
    rows = read_rows(data_dir / dataset / "manifest.csv")[:9]
    pairs = [
        (read_image(data_dir / dataset / row["image"]), read_labels(data_dir / dataset / row["labels"])) for row in rows
    ]
    summaries = [summarise(row["subject"], *pair, None) for row, pair in zip(rows, pairs, strict=True)]
    findings = Findings()
    check_orientation(summaries, findings)
    assert findings.listed() == []
    for number in (0, 4, 8):
        flipped = summarise(rows[number]["subject"], *(_flipped(image, 2) for image in pairs[number]), None)
        findings = Findings()
        check_orientation([*summaries[:number], flipped, *summaries[number + 1 :]], findings)
        (finding,) = findings.listed()
        assert finding.places == (rows[number]["subject"],)
        assert finding.what.startswith(f"{by} mirrored left-right")

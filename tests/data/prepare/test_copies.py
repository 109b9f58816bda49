from __future__ import annotations

import errno
import shutil

import h5py
import numpy as np
import pytest

from acreg.data.datasets.folder import prepare_folder
from acreg.data.manifest import Dataset
from acreg.data.prepare import subject as module
from acreg.data.prepare.copies import Steps, prepare_copies
from acreg.data.tables.label_table import LabelTable
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, Points, read_image, read_labels, read_points, write_image, write_points

SUBJECTS = ["a", "b", "c", "d", "e"]
KIDNEYS = LabelTable("kidneys", {1: 1, 2: 1, 9: 0}, {0: "background", 1: "kidney"})


def _grid(number):
    """Oblique, with a flipped axis, far away; the sizes differ by subject."""
    direction = ((0, -1, 0), (0.8, 0, -0.6), (0.6, 0, 0.8))
    return Grid((8 + number, 10, 12), (3.0, 2.0, 2.0), (1e4, -30.0 - number, 7.25), direction)


def _subject(number):
    grid = _grid(number)
    labels = np.zeros(grid.shape, np.int32)
    labels[2:4, 3:6, 4:8], labels[5, 3:6, 4:8], labels[0, 0, 0] = 1, 2, 9
    texture = np.random.default_rng(number).integers(0, 50, grid.shape)
    return Image(200 * labels + texture, grid), Image(labels, grid, "labels")


@pytest.fixture
def source(tmp_path):
    """Five subjects without a manifest."""
    folder = tmp_path / "scans"
    for number, subject in enumerate(SUBJECTS):
        image, labels = _subject(number)
        write_image(image, folder / "images" / f"{subject}.nii.gz")
        write_image(labels, folder / "labels" / f"{subject}.nrrd")
    return folder


@pytest.fixture
def listed(source):
    """The same with a manifest of three, with groups and points."""
    write_points(Points(np.array([[1.0, 2.0, 3.0]]), ("hilum",)), source / "marks" / "a.csv")
    lines = ["subject,image,labels,split,points,group", "a,images/a.nii.gz,labels/a.nrrd,test,marks/a.csv,one"]
    lines += [f"{s},images/{s}.nii.gz,labels/{s}.nrrd,train,,{g}" for s, g in (("b", "two"), ("d", "one"))]
    (source / "manifest.csv").write_text("\n".join(lines) + "\n")
    return source


def test_resampled_merged_and_reported(source, tmp_path):
    dataset = prepare_copies(source, tmp_path / "out", Steps(merge=KIDNEYS, spacing=(1.5,)))
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [3, 1, 1]
    assert dataset.label_names == {0: "background", 1: "kidney"} and dataset.spacing == (1.5, 1.5, 1.5)
    assert dataset.preparation["merge"]["members"]["kidney"] == "1 2"
    assert Dataset.load(tmp_path / "out") == dataset
    for number, record in enumerate(dataset.records):
        image, labels = dataset.read_image(record), dataset.read_labels(record)
        old = _grid(number)
        assert image.grid == labels.grid
        np.testing.assert_allclose(image.grid.direction, old.direction, rtol=0, atol=1e-7)
        assert image.grid.shape == (2 * old.shape[0], 14, 16)  # 20 mm and 24 mm in 1.5 mm, rounded up
        with h5py.File(record.image) as file, h5py.File(record.labels) as other:
            assert (file["image"].dtype, other["image"].dtype) == (np.float32, np.uint8)


def test_a_structure_stays_where_it_is_in_the_world(source, tmp_path):
    dataset = prepare_copies(source, tmp_path / "out", Steps(spacing=(1, 1, 1)))
    image, labels = (read(dataset.records[3]) for read in (dataset.read_image, dataset.read_labels))
    for value, box in ((1, [(2, 4), (3, 6), (4, 8)]), (2, [(5, 6), (3, 6), (4, 8)])):
        middle = _grid(3).to_world(np.mean(box, axis=1) - 0.5)
        found = labels.grid.to_world(np.argwhere(labels.array == value).mean(axis=0))
        np.testing.assert_allclose(found, middle, rtol=0, atol=1e-6)
        assert (labels.array == value).sum() == 12 * np.prod(np.diff(box)[:, 0])  # voxels of 3 x 2 x 2 mm
        assert image.array[labels.array == value].mean() > 150 * value
    assert image.array[labels.array == 0].mean() < 50
    assert dataset.label_names == {0: "background", 1: "label 1", 2: "label 2", 9: "label 9"}


def test_without_a_new_spacing_values_types_and_grid_stay(source, tmp_path):
    dataset = prepare_copies(source, tmp_path / "out", Steps(merge=KIDNEYS))
    assert dataset.spacing == (3, 2, 2)
    for number, record in enumerate(dataset.records):
        image, labels = _subject(number)
        copy = read_image(record.image)
        np.testing.assert_array_equal(copy.array, image.array)
        np.testing.assert_allclose(copy.grid.matrix, image.grid.matrix, rtol=0, atol=1e-2)  # NIfTI's float32 at 1e4
        np.testing.assert_array_equal(
            copy.grid.matrix, read_image(source / "images" / f"{record.subject}.nii.gz").grid.matrix
        )
        np.testing.assert_array_equal(dataset.read_labels(record).array, np.isin(labels.array, (1, 2)))
        with h5py.File(record.image) as file:
            assert file["image"].dtype == np.uint16


def test_cropped_around_a_label_with_a_margin_within_the_image(source, tmp_path):
    dataset = prepare_copies(source, tmp_path / "out", Steps(merge=KIDNEYS, crop=1, margin=5))
    full, labels = _subject(1)
    copy = dataset.read_image(dataset.record("b"))
    # The box is 2:6, 3:6, 4:8; 5 mm are 2 voxels of 3 mm or 3 of 2 mm.
    np.testing.assert_array_equal(copy.array, full.array[0:8, 0:9, 1:11])
    np.testing.assert_array_equal(dataset.read_labels(dataset.record("b")).array, labels.array[0:8, 0:9, 1:11] % 9 > 0)
    expected = read_image(source / "images" / "b.nii.gz").grid.to_world(np.array([0, 0, 1]))
    np.testing.assert_allclose(copy.grid.origin, expected, rtol=0, atol=1e-9)
    tight = prepare_copies(source, tmp_path / "tight", Steps(crop=2, spacing=(1,)))
    assert {tight.read_labels(r).array.shape for r in tight.records} == {(3, 6, 8)}
    assert all((tight.read_labels(r).array == 2).all() for r in tight.records)


def test_subjects_splits_groups_and_points_of_a_manifest(listed, tmp_path):
    out = tmp_path / "out"
    dataset = prepare_copies(listed, out, Steps(spacing=(2,)))
    assert [(r.subject, r.split, r.group) for r in dataset.records] == [
        ("a", "test", "one"),
        ("b", "train", "two"),
        ("d", "train", "one"),
    ]
    shutil.rmtree(listed)
    moved = out.rename(tmp_path / "moved")  # nothing points outside
    points = read_points(Dataset.load(moved).record("a").points)
    assert points.positions.tolist() == [[1, 2, 3]] and points.names == ("hilum",)
    assert Dataset.load(moved).record("b").points is None


def test_names_and_spacing_of_the_source_take_precedence(listed, tmp_path):
    (listed / "dataset.json").write_text(
        '{"name": "kidneys", "labels": {"1": "left", "2": "right", "9": "stone"}, "spacing": [6, 4, 4],'
        ' "licence": "CC0"}'
    )
    dataset = prepare_copies(listed, tmp_path / "out", Steps(spacing=(2,)))
    assert (dataset.name, dataset.licence, dataset.label_names[9]) == ("kidneys", "CC0", "stone")
    assert read_image(dataset.records[0].image).grid.shape == (24, 20, 24)


def test_processes_give_the_same_files(source, tmp_path):
    one = prepare_copies(source, tmp_path / "one", Steps(spacing=(2,)))
    two = prepare_copies(source, tmp_path / "two", Steps(spacing=(2,)), jobs=2)
    for a, b in zip(one.records, two.records, strict=True):
        assert a.image.read_bytes() == b.image.read_bytes() and a.labels.read_bytes() == b.labels.read_bytes()


def test_an_interrupted_run_is_continued_and_decodes_no_source_again(source, tmp_path, monkeypatch):
    def interrupt(text, done, total):
        if done == 3:
            raise KeyboardInterrupt

    out, steps = tmp_path / "out", Steps(spacing=(2,))
    with pytest.raises(KeyboardInterrupt):
        prepare_copies(source, out, steps, progress=interrupt)
    assert not (out / "manifest.csv").exists() and len(list(out.glob("images/*.h5"))) == 3
    read = []
    for name in ("read_image", "read_labelled", "read_labels"):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, *a, f=plain, **k: (read.append(path), f(path, *a, **k))[1])
    dataset = prepare_copies(source, out, steps)
    again = [path for path in read if out not in path.parents]
    assert len(again) == len(set(again)) == 2, "an image and its labels, of each of two subjects"
    assert dataset.label_values == [0, 1, 2, 9] and dataset.spacing == (2, 2, 2)
    read.clear()
    assert prepare_copies(source, out, steps) == dataset and read == []


def test_a_dataset_of_other_settings_or_subjects_is_not_replaced_unasked(listed, tmp_path):
    out = tmp_path / "out"
    prepare_copies(listed, out, Steps(spacing=(2,)))
    with pytest.raises(AcregError, match="prepared with other settings.*--force"):
        prepare_copies(listed, out, Steps(spacing=(3,)))
    (listed / "manifest.csv").write_text(
        (listed / "manifest.csv").read_text(encoding="utf-8").replace("train", "validation")
    )
    with pytest.raises(AcregError, match="prepared with other settings"):
        prepare_copies(listed, out, Steps(spacing=(2,)))
    replaced = prepare_copies(listed, out, Steps(spacing=(3,)), force=True)
    assert replaced.spacing == (3, 3, 3) and len(replaced.split("validation")) == 2


def test_pictures_have_pixels_and_labels_are_optional(tmp_path):
    for name in "abc":
        write_image(Image.from_array(np.full((6, 8), 7)), tmp_path / "in" / f"{name}.png")
    dataset = prepare_copies(tmp_path / "in", tmp_path / "out", Steps(spacing=(2, 4)))
    assert (dataset.unit, dataset.label_names, dataset.records[0].labels) == ("px", {0: "background"}, None)
    copy = dataset.read_image(dataset.records[0])
    assert copy.array.tolist() == [[7, 7]] * 3 and copy.grid.origin == (0.5, 1.5)
    with pytest.raises(AcregError, match="Merging labels needs label files.*3 subjects"):
        prepare_copies(tmp_path / "in", tmp_path / "new", Steps(merge=KIDNEYS))
    with pytest.raises(AcregError, match="needs labels of each subject.*a without"):
        prepare_copies(tmp_path / "in", tmp_path / "new", Steps(crop=1))


def _replace(source, array, subject="c", folder="labels", suffix="nrrd", grid=None):
    kind = "labels" if folder == "labels" else "intensity"
    grid = grid or Grid(array.shape, *(getattr(_grid(2), n) for n in ("spacing", "origin", "direction")))
    write_image(Image(array, grid, kind), source / folder / f"{subject}.{suffix}")


def test_faults_in_the_files_are_named(source, tmp_path):
    out = tmp_path / "out"
    labels = _subject(2)[1].array
    _replace(source, np.where(labels == 9, 7, labels))
    with pytest.raises(AcregError, match=r"c\.nrrd with 7, which the table kidneys lacks"):
        prepare_copies(source, out, Steps(merge=KIDNEYS))
    with pytest.raises(AcregError, match=r"c\.nrrd without a voxel of 9"):
        prepare_copies(source, out, Steps(crop=9))
    _replace(source, labels[1:])
    with pytest.raises(AcregError, match=r"c\.nrrd on 9 x 10 x 12 voxels.* on 10 x 10 x 12 .*first voxel, but another"):
        prepare_copies(source, out, Steps(spacing=(2,)))
    _replace(source, labels, grid=_grid(2).part((1, 0, 0), _grid(2).shape))
    with pytest.raises(AcregError, match=r"on the grid of their image.*c\.nrrd .* lie elsewhere, by up to 3 mm"):
        prepare_copies(source, out, Steps(spacing=(2,)))
    _replace(source, -labels)
    with pytest.raises(AcregError, match=r"0 or more.*-9 in .*c\.nrrd"):
        prepare_copies(source, out, Steps(spacing=(2,)))
    assert not (out / "manifest.csv").exists()


def test_voxels_that_are_not_finite_name_the_file(source, tmp_path):
    import nibabel

    path = source / "images" / "c.nii.gz"
    array = np.zeros((12, 10, 10), np.float32)
    array[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, nibabel.load(path).affine), path)
    with pytest.raises(AcregError, match=r"c\.nii\.gz with 1 NaN or infinite"):
        prepare_copies(source, tmp_path / "out", Steps(spacing=(1,)))


@pytest.mark.parametrize("spacing", [(0.0,), (-1.0,), (np.nan,), (np.inf,), (1, 1, 0), (1, 1, 1, 1)])
def test_impossible_spacings(spacing):
    with pytest.raises(UsageError, match="one positive number, or one for each axis.*spacing="):
        Steps(spacing=spacing)


def test_wrong_use(source, tmp_path):
    for steps in ({"crop": 1, "margin": -1}, {"margin": 5}, {"crop": 1, "margin": np.nan}):
        with pytest.raises(UsageError, match="0 mm or more.*margin="):
            Steps(**steps)
    with pytest.raises(UsageError, match=r"2 numbers for .*a\.nii\.gz with 3 axes"):
        prepare_copies(source, tmp_path / "out", Steps(spacing=(1, 1)))
    with pytest.raises(AcregError, match=r"at most 4 GiB.*a\.nii\.gz, which would take .* 0\.001 x 0\.001 x 0\.001"):
        prepare_copies(source, tmp_path / "out", Steps(spacing=(0.001,)))
    with pytest.raises(UsageError, match="jobs=0"):
        prepare_copies(source, tmp_path / "out", Steps(spacing=(1,)), jobs=0)
    with pytest.raises(AcregError, match="must be a folder of images"):
        prepare_copies(source / "no", tmp_path / "out", Steps(spacing=(1,)))


def test_outputs_that_cannot_be_written_to(source, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="a folder of their own.*the source"):
        prepare_copies(source, source / "images" / "..", Steps(spacing=(2,)))
    (tmp_path / "file").write_text("")
    with pytest.raises(AcregError, match="must be a folder. Received: .*file, a file"):
        prepare_copies(source, tmp_path / "file", Steps(spacing=(2,)))
    with pytest.raises(AcregError, match="did not write"):
        prepare_copies(source / "images", source, Steps(spacing=(2,)))
    with pytest.raises(AcregError, match="no folder has that name, or stands on the way"):
        prepare_copies(source, tmp_path / "file" / "out", Steps(spacing=(2,)))

    def full(image, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_image", full)
    with pytest.raises(OSError, match="No space left"):
        prepare_copies(source, tmp_path / "out", Steps(spacing=(2,)))
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_copies_of_files_that_have_changed_since_are_not_taken_for_theirs(source, tmp_path):
    made = (source, tmp_path / "out", Steps(spacing=(2.0, 2.0, 2.0)))
    first = prepare_copies(*made)
    assert prepare_copies(*made) == first
    path = source / "labels" / "c.nrrd"
    labels = read_labels(path)
    write_image(Image(labels.array[::-1].copy(), labels.grid, "labels"), path)
    with pytest.raises(AcregError, match="prepared with other settings.*--force"):
        prepare_copies(*made)
    again = prepare_copies(*made, force=True)
    assert again.preparation["files"] != first.preparation["files"]


def test_labels_of_another_resolution_do_not_change_the_voxels_of_the_images(tmp_path):
    """The spacing of the label files was stated for the dataset, and then replaced that of the images."""
    fine, coarse = Grid((8, 8, 8), (3.0, 1.0, 1.0)), Grid((4, 4, 4), (6.0, 2.0, 2.0), (0.5, 0.5, 1.5))
    for name in SUBJECTS:
        image = np.random.default_rng(0).random(fine.shape).astype(np.float32)
        write_image(Image(image, fine), tmp_path / "images" / f"{name}.nii.gz")
        write_image(
            Image(np.eye(4, dtype=np.int32)[None].repeat(4, 0), coarse, "labels"),
            tmp_path / "labels" / f"{name}.nii.gz",
        )
    for dataset in (prepare_folder(tmp_path), Dataset.load(tmp_path)):
        assert dataset.read_image(dataset.records[0]).grid.spacing == fine.spacing

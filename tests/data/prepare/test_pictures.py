"""Synthetic files in the documented formats: the original layouts of the three datasets were not at hand."""

from __future__ import annotations

import errno
import shutil

import numpy as np
import PIL.Image
import pytest

from acreg.data.datasets import get_dataset, jsrt
from acreg.data.datasets.folder import prepare_folder
from acreg.data.manifest import Dataset
from acreg.data.prepare import pictures as module
from acreg.data.prepare.alignment import align, pad_square
from acreg.data.prepare.pictures import prepare
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, read_image, read_labels, write_image

MONTGOMERY = [f"MCUCXR_{i:04d}_{i % 2}" for i in range(1, 11)]
TRAIN, TEST = MONTGOMERY[:8], MONTGOMERY[8:]


def _save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(array, np.uint8)).save(path)


def _chest(shape, seed=0, shift=0):
    """A picture with two dark ovals in a bright body, and the masks of the left and right one (of the image)."""
    rows, columns = np.indices(shape) / np.array(shape)[:, None, None]
    wave = 0.02 * np.sin(seed)
    ovals = [
        ((rows - 0.5 - wave) / 0.3) ** 2 + ((columns - c - shift / shape[1]) / (0.14 + wave)) ** 2 < 1
        for c in (0.3, 0.7)
    ]
    body = 200 + 20 * np.sin(5 * rows + seed) - 60 * np.abs(columns - 0.5)
    image = np.where(ovals[0] | ovals[1], 70 + 30 * rows, body)
    return image, ovals[0], ovals[1]


def _public(root, sizes=(16, 32), values=(0, 255), names=MONTGOMERY, train=TRAIN, test=TEST):
    for size in sizes:
        for i, name in enumerate(names):
            image, left, right = _chest((size, size), i)
            labels = np.zeros((size, size), np.uint8)
            labels[left | right] = values[-1]
            _save(image, root / f"LR_{size}" / "images" / f"{name}.png")
            _save(labels, root / f"LR_{size}" / "labels" / f"{name}.png")
        for part, listed in (("train", train), ("test", test)):
            for what in ("images", "labels"):
                path = root / "split" / f"{part}_{what}_{size}.txt"
                path.parent.mkdir(exist_ok=True)
                path.write_text("".join(f"./data/Montgomery/LR_{size}/{what}/{name}.png\n" for name in listed))
    return root


@pytest.fixture
def public(tmp_path):
    return _public(tmp_path / "repository" / "data" / "Montgomery")


@pytest.mark.parametrize("up", [0, 1, 2])
def test_public_layout_from_folder_parent_or_repository(public, tmp_path, up):
    source = [public, public.parent, public.parent.parent][up]
    dataset = prepare("montgomery", source, tmp_path / "out", size=32)
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [6, 2, 2]
    assert {r.subject for r in dataset.split("test")} == set(TEST)
    assert dataset.spacing == pytest.approx((4892 * 0.0875 / 32,) * 2)
    assert Dataset.load(tmp_path / "out") == dataset


def test_public_files_of_the_wanted_size_are_kept_exactly_and_labels_become_ids(public, tmp_path):
    dataset = prepare("montgomery", public, tmp_path / "out", size=32)
    record = dataset.records[3]
    original = read_image(public / "LR_32" / "images" / f"{record.subject}.png").array
    mask = read_labels(public / "LR_32" / "labels" / f"{record.subject}.png").array
    assert np.array_equal(dataset.read_image(record).array, original)
    assert np.array_equal(dataset.read_labels(record).array, mask // 255)


def test_other_sizes_are_resized_from_the_largest(public, tmp_path):
    dataset = prepare("montgomery", public, tmp_path / "out", size=20)
    assert dataset.read_image(dataset.records[0]).array.shape == (20, 20)
    assert set(np.unique(dataset.read_labels(dataset.records[0]).array)) == {0, 1}
    assert dataset.spacing == pytest.approx((4892 * 0.0875 / 20,) * 2)


def test_processes_give_the_same_files(public, tmp_path):
    one = prepare("montgomery", public, tmp_path / "one", size=20)
    two = prepare("montgomery", public, tmp_path / "two", size=20, jobs=2)
    for a, b in zip(one.records, two.records, strict=True):
        assert a.image.read_bytes() == b.image.read_bytes()
        assert a.labels.read_bytes() == b.labels.read_bytes()


def test_an_interrupted_run_leaves_no_manifest_and_is_continued(public, tmp_path, monkeypatch):
    def interrupt(text, done, total):
        if done == 4:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare("montgomery", public, out, size=32, progress=interrupt)
    assert not (out / "manifest.csv").exists()
    assert len(list(out.glob("labels/*.png"))) == 4
    written = []
    write = module.write_image
    monkeypatch.setattr(module, "write_image", lambda image, path: (written.append(path), write(image, path)))
    assert len(prepare("montgomery", public, out, size=32).records) == 10
    assert len(written) == 2 * 6


def test_a_rest_of_other_settings_is_not_mixed_in(public, tmp_path):
    def interrupt(text, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("montgomery", public, tmp_path / "out", size=32, progress=interrupt)
    dataset = prepare("montgomery", public, tmp_path / "out", size=16)
    assert {dataset.read_image(r).array.shape for r in dataset.records} == {(16, 16)}


def test_a_full_disk_leaves_no_manifest(public, tmp_path, monkeypatch):
    def full(image, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_image", full)
    with pytest.raises(OSError, match="No space left"):
        prepare("montgomery", public, tmp_path / "out", size=32)
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_a_complete_dataset_is_not_prepared_again_nor_overwritten(public, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = prepare("montgomery", public, out, size=32)
    with monkeypatch.context() as context:
        context.setattr(module, "run_tasks", None)
        assert prepare("montgomery", public, out, size=32) == first
    with pytest.raises(AcregError, match="prepared with other settings.*--force"):
        prepare("montgomery", public, out, size=16)
    replaced = prepare("montgomery", public, out, size=16, force=True)
    assert replaced.read_image(replaced.records[0]).array.shape == (16, 16)


def test_a_folder_with_other_images_is_not_touched(public, tmp_path):
    _save(np.zeros((4, 4)), tmp_path / "out" / "images" / "mine.png")
    with pytest.raises(AcregError, match="did not write"):
        prepare("montgomery", public, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "images" / "mine.png").is_file()


def test_label_files_may_end_in_mask_which_the_lists_leave_out(public, tmp_path):
    expected = prepare("montgomery", public, tmp_path / "plain", size=32)
    for path in (public / "LR_32" / "labels").glob("*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    found = prepare("montgomery", public, tmp_path / "out", size=32)
    assert [(r.subject, r.split) for r in found.records] == [(r.subject, r.split) for r in expected.records]
    for one, other in zip(found.records, expected.records, strict=True):
        assert one.labels.read_bytes() == other.labels.read_bytes()


def test_a_grey_level_outside_the_table_is_refused(public, tmp_path):
    path = public / "LR_32" / "labels" / f"{TRAIN[2]}.png"
    array = np.array(PIL.Image.open(path))
    array[0, 0] = 128
    _save(array, path)
    with pytest.raises(AcregError, match=rf"\[0, 255\].*{TRAIN[2]}.png with 128"):
        prepare("montgomery", public, tmp_path / "out", size=32)
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_a_listed_file_that_is_missing_is_named(public, tmp_path):
    (public / "LR_32" / "labels" / f"{TRAIN[0]}.png").unlink()
    with pytest.raises(AcregError, match=f"without labels/{TRAIN[0]}.png"):
        prepare("montgomery", public, tmp_path / "out", size=32)


def test_another_datasets_folder_is_refused(public, tmp_path):
    with pytest.raises(AcregError, match=r"files of jsrt .*Received: MCUCXR"):
        prepare("jsrt", public, tmp_path / "out", size=32)


def test_wrong_sources_and_arguments(public, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AcregError, match="holds nothing"):
        prepare("jsrt", tmp_path / "empty", tmp_path / "out")
    with pytest.raises(AcregError, match="must be a folder"):
        prepare("jsrt", tmp_path / "no", tmp_path / "out")
    with pytest.raises(UsageError, match="Did you mean jsrt"):
        prepare("JSRTT", public, tmp_path / "out")
    with pytest.raises(UsageError, match="size=4"):
        prepare("montgomery", public, tmp_path / "out", size=4)
    with pytest.raises(UsageError, match="Only original"):
        prepare("montgomery", public, tmp_path / "out", reference=TRAIN[0])
    assert not (tmp_path / "out").exists()


def _jsrt_original(root, names=("JPCLN001", "JPCLN002", "JPCNN001")):
    for i, name in enumerate(names):
        image, left, right = _chest((256, 256), i)
        raw = np.kron(4095 - image * 4095 / 255, np.ones((8, 8)))  # dark film is high
        (root / "All247images").mkdir(parents=True, exist_ok=True)
        raw.round().astype(">u2").tofile(root / "All247images" / f"{name}.IMG")
        heart = np.zeros((256, 256), bool)
        heart[150:190, 110:160] = True
        # The folders' names mean the viewer's left in the first subject, the patient's in the others.
        sides = ("left lung", "right lung") if i == 0 else ("right lung", "left lung")
        for organ, mask in zip((*sides, "heart", "left clavicle"), (left, right, heart, heart)):
            folder = root / "scr" / f"fold{i % 2 + 1}" / "masks" / organ
            _save(np.kron(mask, np.ones((4, 4))) * 255, folder / f"{name}.gif")
    return root


def test_jsrt_original_files(tmp_path):
    dataset = prepare("jsrt", _jsrt_original(tmp_path / "source"), tmp_path / "out", size=64)
    assert dataset.spacing == pytest.approx((2048 * 0.175 / 64,) * 2)
    assert {r.split for r in dataset.records} == {"train", "validation", "test"}
    for i, record in enumerate(dataset.records):
        image, labels = dataset.read_image(record).array, dataset.read_labels(record).array
        assert [round(image[32, c]) > 120 for c in (19, 32, 45)] == [False, True, False]  # bright between the lungs
        assert (labels[30, 45], labels[30, 19], labels[42, 32]) == (1, 2, 3)  # 1 is the lung at the image's right
        expected = _chest((256, 256), i)[0].reshape(64, 4, 64, 4).mean(axis=(1, 3))
        assert np.abs(image - expected).mean() < 2


def test_jsrt_faulty_files(tmp_path):
    root = _jsrt_original(tmp_path / "source", ("JPCLN001",))
    path = root / "All247images" / "JPCLN001.IMG"
    with pytest.raises(AcregError, match="big-endian"):
        np.full(2048 * 2048, 300, "<u2").tofile(path)
        jsrt.read_img(path)
    path.write_bytes(b"\0" * 1000)
    with pytest.raises(AcregError, match="with 1000 bytes"):
        jsrt.read_img(path)
    next(root.rglob("heart/JPCLN001.gif")).unlink()
    with pytest.raises(AcregError, match="JPCLN001 without heart"):
        prepare("jsrt", root, tmp_path / "out")
    shutil.rmtree(root / "scr")
    with pytest.raises(AcregError, match="no mask of them"):
        prepare("jsrt", root, tmp_path / "out")


def _montgomery_original(root, names=MONTGOMERY[:4]):
    for i, name in enumerate(names):
        image, left, right = _chest((240, 200), i, shift=4 * i)
        _save(image, root / "CXR_png" / f"{name}.png")
        _save(right * 255, root / "ManualMask" / "leftMask" / f"{name}.png")
        _save(left * 255, root / "ManualMask" / "rightMask" / f"{name}.png")
    return root


def test_montgomery_original_files_are_squared_and_registered(tmp_path):
    root = _montgomery_original(tmp_path / "MontgomerySet")
    dataset = prepare("montgomery", tmp_path, tmp_path / "out", size=32)
    assert dataset.spacing == pytest.approx((240 * 0.0875 / 32,) * 2)
    assert dataset.label_values == [0, 1]
    reference = dataset.record(dataset.preparation["reference"])
    mean = dataset.read_labels(reference).array
    assert np.array_equal(np.unique(mean), [0, 1])
    for record in dataset.records:
        labels = dataset.read_labels(record).array
        assert 2 * (labels * mean).sum() / (labels.sum() + mean.sum()) > 0.93
    again = prepare("montgomery", root, tmp_path / "again", size=32)
    assert all(a.image.read_bytes() == b.image.read_bytes() for a, b in zip(dataset.records, again.records))
    with pytest.raises(UsageError, match="'nobody'"):
        prepare("montgomery", root, tmp_path / "third", reference="nobody")


def test_montgomery_original_without_a_mask_is_refused(tmp_path):
    root = _montgomery_original(tmp_path / "MontgomerySet")
    (root / "ManualMask" / "leftMask" / f"{MONTGOMERY[1]}.png").unlink()
    with pytest.raises(AcregError, match=f"left and a right mask.*{MONTGOMERY[1]}"):
        prepare("montgomery", root, tmp_path / "out")


def test_shenzhen_original_leaves_out_images_without_mask(tmp_path):
    for i in range(5):
        image, left, right = _chest((150 + 5 * i, 160), i)
        rgb = np.repeat(image[..., None], 3, axis=-1)
        _save(rgb, tmp_path / "set" / "CXR_png" / f"CHNCXR_000{i}_0.png")
        if i != 2:
            _save((left | right) * 255, tmp_path / "set" / "mask" / f"CHNCXR_000{i}_0_mask.png")
    dataset = prepare("shenzhen", tmp_path / "set", tmp_path / "out", size=32, reference="CHNCXR_0000_0")
    assert [r.subject[-3] for r in dataset.records] == ["0", "1", "3", "4"]
    assert dataset.preparation["skipped"] == 1
    assert (dataset.unit, dataset.spacing) == ("px", (5.0, 5.0))


def test_pad_square_centres():
    padded = pad_square(np.ones((4, 7)))
    assert padded.shape == (7, 7)
    assert padded.sum(axis=1).tolist() == [0, 7, 7, 7, 7, 0, 0]


def test_alignment_finds_a_known_similarity():
    from scipy import ndimage

    image, left, right = _chest((200, 200), 1)
    image = ndimage.gaussian_filter(image, 2)
    labels = (left + 2 * right).astype(np.int32)
    angle, scale = 0.1, 1.08
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = 99.5 - matrix @ [99.5, 99.5] + [4, -6]
    moved = ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest").astype(np.float32)
    moved_labels = ndimage.affine_transform(labels, matrix, offset, order=0)
    _, found, plausible = align(moved, moved_labels, image.astype(np.float32), 200)
    assert plausible
    before, after = ((a == labels)[labels > 0].mean() for a in (moved_labels, found))
    assert before < 0.9 < 0.98 < after


def test_alignment_without_contrast_only_centres():
    image = np.full((40, 50), 7, np.float32)
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 10:20] = 1
    result, found, plausible = align(image, labels, image, 50)
    assert not plausible
    assert found[15:25, 10:20].all() and found.sum() == 100
    assert result[25, 25] == 7 and result[0, 0] == 0


def test_own_folder_gets_a_manifest(tmp_path):
    grid = Grid((4, 5, 6), (2.0, 1.0, 1.0))
    for i in range(5):
        write_image(Image(np.full(grid.shape, i), grid), tmp_path / "images" / f"case.{i}.nii.gz")
        labels = Image(np.full(grid.shape, i % 3), grid, kind="labels")
        write_image(labels, tmp_path / "labels" / f"case.{i}_seg.nii.gz")
    (tmp_path / "images" / "series").mkdir()
    (tmp_path / "labels" / "1.2.840").touch()  # DICOM files are often called by their UID
    dataset = prepare_folder(tmp_path)
    assert dataset.preparation["left_out"] == ["images/series", "labels/1.2.840"]
    assert [r.subject for r in dataset.records] == [f"case.{i}" for i in range(5)]
    assert dataset.label_values == [0, 1, 2]
    assert dataset.spacing is None and dataset.read_image(dataset.records[0]).grid.spacing == (2.0, 1.0, 1.0)
    assert Dataset.load(tmp_path) == dataset
    with pytest.raises(AcregError, match="dataset already"):
        prepare_folder(tmp_path)
    (tmp_path / "labels" / "case.0_seg.nii.gz").unlink()
    with pytest.raises(AcregError, match=r"without case.0\."):
        prepare_folder(tmp_path, tmp_path / "elsewhere")


def test_own_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(AcregError, match="without any"):
        prepare_folder(tmp_path)


@pytest.mark.parametrize("ending", ["_seg", "_mask"])
def test_label_maps_beside_their_images_are_not_taken_for_images(tmp_path, ending):
    for name in ("a", "b", "c", f"b{ending}"):
        write_image(Image(np.eye(4, 5), Grid((4, 5))), tmp_path / f"{name}.png")
    with pytest.raises(AcregError, match=f"(?s)Label maps lie in a folder of their own.*b{ending} in"):
        prepare_folder(tmp_path)


def test_facts_of_the_datasets():
    assert get_dataset("jsrt").extent / 256 == pytest.approx(1.4)
    assert get_dataset("montgomery").extent / 256 == pytest.approx(1.672, abs=1e-3)
    assert get_dataset("shenzhen").extent / 256 == pytest.approx(11.72, abs=1e-2)


def test_real_montgomery(data_dir, tmp_path):
    dataset = prepare("montgomery", data_dir / "chest_montgomery", tmp_path, size=64)
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [82, 28, 28]


def test_real_jsrt(jsrt_dir):
    dataset = Dataset.load(jsrt_dir)
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [148, 49, 50]
    labels = dataset.read_labels(dataset.records[0]).array
    columns = [np.nonzero(labels == value)[1].mean() for value in (1, 2, 3)]
    assert columns[1] < columns[2] < columns[0]

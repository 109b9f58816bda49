import csv

import numpy as np
import pytest
from scipy.linalg import expm

from acreg.data.prepare import subject as module
from acreg.data.prepare.aligned_copies import common_grid, moved_grid
from acreg.data.prepare.copies import Steps, prepare_copies
from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid
from acreg.io import Image, Points, read_image, read_labels, read_points, write_image, write_points
from acreg.io.transforms import read_transform

STACK = Grid((16, 40, 40), (5.0, 1.5, 1.5), (-40.0, -30.0, 1000.0))
TURNS = {"a": (0.0, 0.0), "b": (0.3, 0.05), "c": (-0.2, -0.06), "d": (2.4, 0.0)}  # in the plane, and a tilt


def _turned(turn, shift):
    skew = np.zeros((3, 3))
    skew[1, 2], skew[2, 1], skew[0, 1], skew[1, 0] = -turn[0], turn[0], -turn[1], turn[1]
    matrix = np.eye(4)
    matrix[:3, :3] = expm(skew)
    middle = STACK.to_world((np.array(STACK.shape) - 1) / 2)
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    return Affine(matrix)


def _labels(rigid):
    """Three bodies beside each other, moved by a rigid map."""
    middle = STACK.to_world((np.array(STACK.shape) - 1) / 2)
    points = rigid.inverse()(STACK.to_world(np.moveaxis(np.indices(STACK.shape), 0, -1)).reshape(-1, 3)) - middle
    labels = np.zeros(len(points), np.int32)
    for label, (centre, width) in enumerate(
        [((0, 0, 6), (28, 11, 11)), ((-4, 2, -11), (20, 12, 6)), ((4, 14, 2), (14, 5, 8))], 1
    ):
        labels[(((points - centre) / width) ** 2).sum(axis=1) < 1] = label
    return labels.reshape(STACK.shape)


MAPS = {name: _turned(turn, (2.0 * n, 1.5 * n, -n)) for n, (name, turn) in enumerate(TURNS.items())}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "scans"
    for name, rigid in MAPS.items():
        labels = _labels(rigid)
        write_image(Image(100 + 50.0 * labels, STACK), folder / "images" / f"{name}.nii.gz")
        write_image(Image(labels, STACK, "labels"), folder / "labels" / f"{name}.nii.gz")
    return folder


def _with_points(source):
    spot = STACK.to_world((8.0, 20.0, 22.0))
    write_points(Points(MAPS["b"](spot[None]), ("spot",)), source / "b.csv")
    lines = [f"{n},images/{n}.nii.gz,labels/{n}.nii.gz,train,{'b.csv' if n == 'b' else ''}" for n in MAPS]
    (source / "manifest.csv").write_text("\n".join(["subject,image,labels,split,points", *lines]) + "\n")
    return spot


def test_turned_subjects_are_brought_into_one_frame(source, tmp_path):
    spot = _with_points(source)
    steps = Steps(align="a", size=(20, 48, 44))
    dataset = prepare_copies(source, tmp_path / "out", steps)
    target = read_labels(dataset.record("a").labels)
    ends = np.stack(np.meshgrid(*([0, n - 1] for n in STACK.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    for record in dataset.records:
        image, labels = read_image(record.image), read_labels(record.labels)
        assert image.grid == labels.grid == target.grid
        assert image.grid.shape == (20, 48, 44) and image.grid.spacing == STACK.spacing
        for label in (1, 2, 3):
            one, other = labels.array == label, target.array == label
            assert 2 * (one & other).sum() / (one.sum() + other.sum()) > (0.9 if label == 1 else 0.8)
        found = read_transform(tmp_path / "out" / "transforms" / f"{record.subject}.tfm", target.grid, STACK)
        corners = STACK.to_world(ends)
        apart = found.warp_points(corners, to="moving") - MAPS[record.subject](corners)
        assert np.abs(apart / STACK.spacing).max() < 1
        means = [image.array[labels.array == label].mean() for label in range(4)]
        np.testing.assert_allclose(means[1:], [150, 200, 250], atol=20)
        assert image.array.min() == pytest.approx(100, abs=1)  # also beyond the stack
    moved = read_points(dataset.record("b").points)
    assert moved.names == ("spot",) and np.abs(moved.positions - spot).max() < 2
    box = np.argwhere(target.array)
    np.testing.assert_allclose(
        (box.min(axis=0) + box.max(axis=0)) / 2, (np.array(target.array.shape) - 1) / 2, atol=0.5
    )
    with (tmp_path / "out" / "alignment.csv").open() as file:
        rows = {row["subject"]: row for row in csv.DictReader(file)}
    assert rows["a"] == {"subject": "a", "rotation_degrees": "0.00", "dice_with_reference": "1.0000", "at_edge": "no"}
    assert float(rows["d"]["rotation_degrees"]) == pytest.approx(np.degrees(2.4), abs=2)
    assert dataset.preparation["alignment"]["reference"] == "a" and not dataset.preparation["alignment"]["at_edge"]


def test_resumed_and_refused_as_any_preparation(source, tmp_path, monkeypatch):
    def interrupt(text, done, total):
        if done == 2:
            raise KeyboardInterrupt

    out, steps = tmp_path / "out", Steps(align="auto", spacing=(8, 3, 3))
    with pytest.raises(KeyboardInterrupt):
        prepare_copies(source, out, steps, progress=interrupt)
    assert len(list(out.glob("transforms/*.tfm"))) == 2 and not (out / "manifest.csv").exists()
    made, plain = [], module.rigid_map
    monkeypatch.setattr(module, "rigid_map", lambda **images: (made.append(images), plain(**images))[1])
    dataset = prepare_copies(source, out, steps)
    assert len(made) == 2 and dataset.preparation["alignment"]["reference"] in MAPS
    assert {read_image(r.image).grid.shape for r in dataset.records} == {(10, 20, 20)}
    assert prepare_copies(source, out, steps) == dataset and len(made) == 2
    with pytest.raises(AcregError, match="prepared with other settings.*--force"):
        prepare_copies(source, out, Steps(align="a", spacing=(8, 3, 3)))
    prepare_copies(source, out, Steps(spacing=(8, 3, 3)), force=True)
    assert not list(out.glob("transforms/*")) and not (out / "alignment.csv").exists()


def test_subjects_that_cannot_be_aligned(source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        AcregError, match="one of them, or to auto. Received: 'z', unknown among 4 subjects such as a, b"
    ):
        prepare_copies(source, out, Steps(align="z"))
    with pytest.raises(UsageError, match="2 numbers for .*a.nii.gz with 3 axes"):
        prepare_copies(source, out, Steps(align="a", size=(4, 4)))
    write_image(Image(np.zeros(STACK.shape, int), STACK, "labels"), source / "labels" / "b.nii.gz")
    for reference in ("a", "auto", "b"):
        with pytest.raises(AcregError, match=r"Received: .*b\.nii\.gz without a voxel of a label"):
            prepare_copies(source, out, Steps(align=reference, size=(8,)))
    lines = [f"{n},images/{n}.nii.gz,{'' if n == 'c' else f'labels/{n}.nii.gz'},train" for n in MAPS]
    (source / "manifest.csv").write_text("\n".join(["subject,image,labels,split", *lines]) + "\n")
    with pytest.raises(AcregError, match="aligned by their labels. Received: c without a label file"):
        prepare_copies(source, tmp_path / "new", Steps(align="a"))


def test_wrong_steps():
    for steps in ({"size": (4,)}, {"align": "a", "size": (0, 4, 4)}, {"align": "a", "size": (1, 2, 3, 4)}):
        with pytest.raises(UsageError, match="voxels by axis, 1 or more. Received: size="):
            Steps(**steps)
    with pytest.raises(UsageError, match="one grid, cropped ones do not. Received: align='a' with crop=1"):
        Steps(align="a", crop=1)


def test_the_common_grid_is_around_the_labels():
    labels = Image(_labels(MAPS["a"]), STACK, "labels", "three")
    onto = Grid((9, 50, 50), (9.0, 2.0, 2.0), STACK.origin)
    assert common_grid(labels, onto, ()) == onto
    grid = common_grid(labels, onto, (16, 64, 32))
    assert grid.shape == (16, 64, 32) and grid.spacing == onto.spacing
    box = np.argwhere(labels.array)
    middle = STACK.to_world((box.min(axis=0) + box.max(axis=0)) / 2)
    np.testing.assert_allclose(grid.to_world((np.array(grid.shape) - 1) / 2), middle)
    assert common_grid(labels, onto, (32,)).shape == (32, 32, 32)
    with pytest.raises(UsageError, match="2 numbers for three with 3 axes"):
        common_grid(labels, onto, (4, 4))
    with pytest.raises(AcregError, match="at most 4 GiB.*9999 x 9999 x 9999"):
        common_grid(labels, onto, (9999,))


def test_a_moved_grid_lies_where_the_map_takes_its_voxels():
    indices = np.argwhere(np.ones((3, 4, 5)))
    moved = moved_grid(STACK, MAPS["c"])
    np.testing.assert_allclose(moved.to_world(indices), MAPS["c"](STACK.to_world(indices)), atol=1e-9)

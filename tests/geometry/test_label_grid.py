"""Labels lie where their own header says, on the grid of their image, or are refused."""

import dataclasses
import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid, Transform, labels_on
from acreg.io import Image, read_labelled, write_image


def turn(rank, seed=0):
    """A rotation of no particular angle."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(rank, rank)))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return tuple(map(tuple, q))


def grid_of(rank, shape=None):
    shape = shape or (9, 10, 11)[-rank:]
    return Grid(shape, (0.7, 1.5, 2.0)[-rank:], (-30.0, 12.5, 40.0)[-rank:], turn(rank))


def drawn(grid, name=""):
    """A label map with labels in the middle."""
    array = np.zeros(grid.shape, int)
    array[tuple(slice(2, n - 2) for n in grid.shape)] = 1
    array[tuple(slice(3, n // 2) for n in grid.shape)] = 2
    array[(3,) * grid.rank] = 7
    return Image(array, grid, "labels", name)


def stored(image, axes, flips):
    """The same voxels at the same places, stored along other axes, with a true header."""
    grid = image.grid
    array = image.array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    first = np.zeros(grid.rank)
    first[list(axes)] = [grid.shape[axis] - 1 if flip else 0 for axis, flip in zip(axes, flips, strict=True)]
    direction = np.asarray(grid.direction)[:, axes] * np.where(flips, -1, 1)
    spacing = tuple(np.take(grid.spacing, axes))
    return dataclasses.replace(
        image, array=array, grid=Grid(array.shape, spacing, tuple(grid.to_world(first)), direction)
    )


def itk(image):
    found = sitk.GetImageFromArray(image.array)
    image.grid.copy_to_itk(found)
    return found


def itk_nearest(labels, grid):
    onto = itk(Image(np.zeros(grid.shape), grid))
    return sitk.GetArrayFromImage(sitk.Resample(itk(labels), onto, sitk.Transform(), sitk.sitkNearestNeighbor))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(9, 12), (8, 8), (7, 8, 9), (6, 6, 6)])
def test_every_order_of_storage_is_the_same_labels(shape):
    rank = len(shape)
    image, labels = Image(np.zeros(shape), grid_of(rank, shape)), drawn(grid_of(rank, shape))
    for axes in itertools.permutations(range(rank)):
        for flips in itertools.product((False, True), repeat=rank):
            found = labels_on(stored(labels, axes, flips), image)
            assert found.grid == image.grid and np.array_equal(found.array, labels.array), (axes, flips)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha", "h5"])
def test_files_of_other_storage_and_of_rounded_headers(tmp_path, suffix):
    """The stated spacing replaces that of both, after the labels were placed by their own."""
    labels = drawn(grid_of(3))
    write_image(Image(np.zeros(labels.grid.shape), labels.grid), tmp_path / "image.nii")
    write_image(stored(labels, (2, 0, 1), (True, False, True)), tmp_path / f"labels.{suffix}")
    for spacing in (None, (3.0, 4.0, 5.0)):
        image, found = read_labelled(tmp_path / "image.nii", tmp_path / f"labels.{suffix}", spacing=spacing)
        assert found.grid == image.grid and np.array_equal(found.array, labels.array)
        assert image.grid.spacing == (spacing or pytest.approx(labels.grid.spacing))


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", ["crop", "finer", "turned", "stored"])
def test_another_sampling_is_resampled_as_simpleitk_does(rank, kind):
    grid = grid_of(rank, (19, 17, 18)[-rank:])
    middle, size = (np.array(grid.shape) - 1) / 2, tuple(n + 9 for n in grid.shape)
    other = {
        "crop": grid.part([1] * rank, [n - 3 for n in grid.shape]),
        "finer": grid.centred(middle, size, [0.6 * s for s in grid.spacing]),
    }.get(kind, grid.centred(middle, size, [0.8 * s for s in grid.spacing]))
    if kind == "turned":
        q = np.linalg.qr(np.eye(rank) + 0.05 * np.random.default_rng(1).normal(size=(rank, rank)))[0]
        direction = np.asarray(grid.direction) @ (q * np.sign(np.diag(q)))
        first = grid.to_world(middle) - direction @ ((np.array(size) - 1) / 2 * other.spacing)
        other = Grid(size, other.spacing, tuple(first), direction)
    labels = Image(itk_nearest(drawn(grid), other), other, "labels", "mine")
    if kind == "stored":
        labels = stored(labels, tuple(range(rank))[::-1], (True,) * rank)
    image = Image(np.zeros(grid.shape), grid, name="its own")
    with pytest.warns(UserWarning, match="^mine has another grid than its own .*nearest label"):
        found = labels_on(labels, image)
    assert found.grid == grid and np.array_equal(found.array, itk_nearest(labels, grid))
    assert set(np.unique(found.array)) >= {0, 1, 2}


def test_a_label_too_small_for_the_image_is_named():
    fine = Grid((40, 40, 40), (1.0, 1.0, 1.0), (5.0, 0.0, 0.0))
    labels = drawn(fine)
    labels.array[20, 20, 20] = 99
    coarse = Image(np.zeros((10, 10, 10)), fine.centred((19.5,) * 3, (10,) * 3, (4.0,) * 3))
    with pytest.warns(UserWarning, match="lost, too small for the image's voxels: 7, 99"):
        labels_on(labels, coarse)


@pytest.mark.parametrize("rank", [2, 3])
def test_pictures_and_arrays_lie_on_images_of_their_shape(rank):
    grid = grid_of(rank)
    image = Image(np.zeros(grid.shape), grid)
    bare = Image.from_array(drawn(grid).array, kind="labels", name="x.png" if rank == 2 else "")
    assert labels_on(bare, image).grid == grid
    assert labels_on(Image.from_array(bare.array, grid.spacing, "labels"), image).grid == grid
    with pytest.raises(AcregError, match="shapes differ, and a picture or an array does not say where it lies"):
        labels_on(Image.from_array(bare.array[1:], kind="labels"), image)


def test_labels_with_a_header_of_a_picture_are_taken_as_they_are_stored():
    picture = Image.from_array(np.zeros((8, 9)), name="x.png")
    labels = drawn(Grid((8, 9), (0.2, 0.2), (0.0, 0.0), np.diag([-1.0, -1.0])), "x.nii")
    assert np.array_equal(labels_on(labels, picture).array, labels.array)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
def test_a_lost_header_is_refused(tmp_path, rank, suffix):
    """Identity affines: of the image's shape, of a part of it, and the other way round."""
    grid = grid_of(rank)
    labels = drawn(grid).array
    write_image(Image(np.ones(grid.shape), grid), tmp_path / "image.nii")
    for lost in (labels, labels[1:]):
        path = tmp_path / f"labels.{suffix}"
        if suffix == "nii":
            nibabel.save(nibabel.Nifti1Image(lost.T.astype(np.int32), np.eye(4)), path)
        else:
            sitk.WriteImage(sitk.GetImageFromArray(lost), path)
        with pytest.raises(AcregError, match=r"labels\.\w+ on .*voxels, .*image.nii on .*elsewhere.*a header was lost"):
            read_labelled(tmp_path / "image.nii", path)
    write_image(drawn(grid), tmp_path / "true.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones(grid.shape[::-1], np.float32), np.eye(4)), tmp_path / "lost.nii")
    with pytest.raises(AcregError, match="a header was lost"):
        read_labelled(tmp_path / "lost.nii", tmp_path / "true.nii")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: Grid(g.shape, g.spacing, tuple(np.add(g.origin, 1.0)), g.direction), "elsewhere, by up to 1.73 mm"),
        (lambda g: Grid(g.shape, tuple(1.1 * s for s in g.spacing), g.origin, g.direction), "lie elsewhere"),
        (lambda g: Grid(g.shape, g.spacing, g.origin, -np.asarray(g.direction)), "lie elsewhere"),
        (lambda g: g.part((0, 0, 0), (9, 10, 10)), "first voxel, but another shape"),
        (lambda g: g.part((4, 0, 0), (8, 10, 11)), r"\d+ % of their labelled voxels lie outside"),
        (lambda g: g.part((100, 0, 0), (8, 10, 11)), "they lie outside of it"),
        (lambda g: Grid(g.shape[1:], g.spacing[1:]), "another number of axes"),
    ],
)
def test_labels_that_cannot_lie_on_the_image(change, reason):
    grid = grid_of(3)
    with pytest.raises(AcregError, match=rf"(?s)^Labels lie on the grid of their image\. Received: .*{reason}"):
        labels_on(drawn(change(grid), "labels.nii"), Image(np.zeros(grid.shape), grid))


def test_an_image_is_not_taken_for_labels():
    image = Image(np.ones((4, 5)), Grid((4, 5)), name="a scan")
    for use in (lambda: labels_on(image, image), lambda: Transform(image.grid, image.grid).warp_labels(image)):
        with pytest.raises(AcregError, match="of kind 'labels'. Received: a scan of kind 'intensity'"):
            use()


def test_no_label_is_left_outside_however_small():
    grid = grid_of(3, (30, 30, 30))
    wider = grid.part((-1, -1, -1), (40, 31, 31))
    labels = drawn(wider)
    labels.array[:] = np.where(np.indices(wider.shape)[0] < 30, labels.array, 0)
    labels.array[38, 5, 5] = 5
    with pytest.raises(AcregError, match="label 5 lies outside of it"):
        labels_on(labels, Image(np.zeros(grid.shape), grid))


def test_empty_labels_lie_where_their_box_does():
    grid = grid_of(3)
    empty = Image(np.zeros((3, 4, 5)), grid.part((1, 2, 3), (3, 4, 5)), "labels")
    with pytest.warns(UserWarning, match="another grid"):
        assert not labels_on(empty, Image(np.zeros(grid.shape), grid)).array.any()
    with pytest.raises(AcregError, match="outside"):
        labels_on(dataclasses.replace(empty, grid=grid.part((50, 0, 0), (3, 4, 5))), Image(np.zeros(grid.shape), grid))


def test_a_transform_warps_labels_of_its_moving_image_alone():
    grid = grid_of(3)
    labels, transform = drawn(grid), Transform(grid, grid)
    assert np.array_equal(transform.warp_labels(Image.from_array(labels.array, kind="labels")).array, labels.array)
    turned = stored(labels, (1, 2, 0), (False, True, True))
    assert np.array_equal(transform.warp_labels(turned).array, labels.array)
    part = Image(labels.array[1:-1, 1:-1, 1:-1], grid.part((1, 1, 1), (7, 8, 9)), "labels")
    assert np.array_equal(transform.warp_labels(part).array, labels.array)
    lost = Image(labels.array, Grid(grid.shape, direction=np.diag([1.0, -1.0, -1.0])), "labels", "lost.nii")
    with pytest.raises(AcregError, match="lost.nii on .*a header was lost"):
        transform.warp_labels(lost)

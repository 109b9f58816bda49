"""Phantoms are functions of a point in mm, so that an image under a known map needs no resampling."""

import numpy as np
import pytest

from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, Image
from acreg.optimisation.linear import linear

OBLIQUE = ((0.0, 0.0, -1.0), (np.cos(0.4), -np.sin(0.4), 0.0), (np.sin(0.4), np.cos(0.4), 0.0))
FIXED = {2: Grid((70, 60), (2, 2.5), (-70, -75)), 3: Grid((44, 36, 36), (4, 5, 5), (-88, -90, -90))}
MOVING = {
    2: Grid((80, 90), (2.2, 1.8), (-88, -81)),
    3: Grid((48, 26, 48), (4, 8, 4), tuple(-np.asarray(OBLIQUE) @ (94, 100, 94)), OBLIQUE),
}
RNG = np.random.default_rng(3)
CENTRES, WIDTHS, HEIGHTS = RNG.uniform(-38, 38, (14, 3)), RNG.uniform(8, 16, 14), RNG.uniform(-70, 90, 14)


def anatomy(points):
    """A soft ellipsoid with blobs, without any symmetry, and 0 outside of it."""
    rank = points.shape[-1]
    value = np.full(points.shape[:-1], 100.0)
    for centre, width, height in zip(CENTRES[:, :rank], WIDTHS, HEIGHTS, strict=True):
        value += height * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
    radius = np.sqrt(((points / np.array([64.0, 52.0, 44.0])[:rank]) ** 2).sum(-1))
    return value / (1 + np.exp(np.minimum(16 * (radius - 1), 50)))


def seen(grid, matrix=None):
    """The image on a grid of the anatomy moved by a homogeneous matrix."""
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)).reshape(-1, grid.rank)
    if matrix is not None:
        points = Affine(matrix).inverse()(points)
    return Image(anatomy(points).reshape(grid.shape), grid)


def turn(rank, degrees, axis=0):
    angle = np.deg2rad(degrees)
    matrix = np.eye(rank + 1)
    i, j = (d for d in range(rank) if rank == 2 or d != axis)
    matrix[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


def true_map(kind, rank):
    matrix = np.eye(rank + 1)
    if kind != "translation":
        matrix = turn(rank, 14) if rank == 2 else turn(rank, 14) @ turn(rank, -9, axis=2)
    if kind == "similarity":
        matrix[:rank, :rank] *= 1.12
    if kind == "affine":
        matrix[:rank, :rank] @= np.diag([1.1, 0.92, 1.05][:rank]) + 0.06 * np.eye(rank, k=1)
    matrix[:rank, rank] = [9.0, -6.0, 11.0][:rank]
    return matrix


def distance(found, matrix):
    """Largest distance in mm between two maps within the anatomy."""
    points = RNG.uniform(-40, 40, (500, found.rank))
    return np.linalg.norm(found(points) - Affine(matrix)(points), axis=1).max()


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", ["translation", "rigid", "similarity", "affine"])
def test_a_known_map_is_found_within_a_part_of_a_voxel(kind, rank):
    matrix = true_map(kind, rank)
    found, record = linear(fixed=seen(FIXED[rank]), moving=seen(MOVING[rank], matrix), kind=kind)
    assert distance(found, matrix) < {2: 0.4, 3: 0.8}[rank]
    assert record["kind"] == kind
    assert 1 <= record["before"] < record["after"] <= 2
    linear_part = found.matrix[:rank, :rank]
    scale = np.linalg.det(linear_part) ** (1 / rank)
    if kind == "translation":
        np.testing.assert_allclose(linear_part, np.eye(rank), atol=1e-12)
    elif kind != "affine":
        np.testing.assert_allclose(linear_part.T @ linear_part, scale**2 * np.eye(rank), atol=1e-9)
        assert kind == "similarity" or scale == pytest.approx(1)


@pytest.mark.parametrize("contrast", [lambda a: 255 - a, lambda a: np.abs(a - 110)], ids=["inverted", "folded"])
def test_another_contrast_gives_the_same_map(contrast):
    matrix = true_map("affine", 3)
    image = seen(MOVING[3], matrix)
    found, _ = linear(fixed=seen(FIXED[3]), moving=Image(contrast(image.array), image.grid))
    assert distance(found, matrix) < 1.0


@pytest.mark.parametrize(
    ("rank", "degrees", "axis"), [(2, 90, 0), (2, 180, 0), (3, 90, 1), (3, 180, 0), (3, 180, 2), (3, 130, 1)]
)
def test_a_turned_image_is_found(rank, degrees, axis):
    matrix = true_map("rigid", rank) @ turn(rank, degrees, axis)
    found, record = linear(fixed=seen(FIXED[rank]), moving=seen(MOVING[rank], matrix), kind="rigid")
    assert distance(found, matrix) < {2: 0.6, 3: 0.8}[rank]
    assert record["start"].startswith("turned")
    assert record["turned"] > 80


def test_the_same_image_padded_reoriented_or_swapped_gives_the_same_map():
    matrix = true_map("affine", 3)
    fixed, moving = seen(FIXED[3]), seen(MOVING[3], matrix)
    found, _ = linear(fixed=fixed, moving=moving)
    again, _ = linear(fixed=fixed, moving=moving)
    np.testing.assert_array_equal(again.matrix, found.matrix)
    grid = moving.grid
    padded = Image(np.pad(moving.array, 7), grid.part((-7, -7, -7), np.add(grid.shape, 14)))
    assert distance(linear(fixed=fixed, moving=padded)[0], found.matrix) < 0.1
    turned = grid.reoriented()
    steps = np.rint(np.linalg.inv(grid.matrix[:3, :3]) @ turned.matrix[:3, :3])
    axes = np.abs(steps).argmax(axis=0)
    flipped = [d for d in range(3) if steps[axes[d], d] < 0]
    reoriented = Image(np.flip(moving.array.transpose(axes), flipped), turned)
    assert not np.array_equal(reoriented.grid.direction, grid.direction)
    assert distance(linear(fixed=fixed, moving=reoriented)[0], found.matrix) < 0.1
    swapped, _ = linear(fixed=moving, moving=fixed)
    assert distance(swapped.inverse(), found.matrix) < 0.1


def test_an_initial_map_is_the_only_start_and_the_result_is_never_worse():
    matrix = true_map("rigid", 2)
    fixed, moving = seen(FIXED[2]), seen(MOVING[2], matrix)
    found, record = linear(fixed=fixed, moving=moving, kind="translation", initial=Affine(matrix))
    assert distance(found, matrix) < 0.3
    assert list(record["starts"]) == [record["start"]] == ["initial"]
    assert record["after"] >= record["before"]


def test_images_without_any_likeness_end_no_worse_than_they_began():
    noise = [Image.from_array(np.random.default_rng(seed).normal(size=(24, 20, 22))) for seed in (0, 1)]
    _, record = linear(fixed=noise[0], moving=noise[1])
    assert record["after"] >= record["before"]


def test_pictures_of_other_sizes_are_scaled_onto_each_other():
    image = seen(FIXED[2])
    large = np.kron(image.array, np.ones((3, 3)))
    found, _ = linear(fixed=Image.from_array(image.array), moving=Image.from_array(large))
    wanted = np.array([[3, 0, 1], [0, 3, 1], [0, 0, 1]])
    assert distance(found, wanted) < 3.0  # a pixel of the small picture


def test_what_lies_outside_of_the_masks_has_no_influence():
    matrix = true_map("affine", 2)
    fixed, moving = seen(FIXED[2]), seen(MOVING[2], matrix)
    masks = [Image(image.array > 40, image.grid, "labels") for image in (fixed, moving)]
    found, _ = linear(fixed=fixed, moving=moving, fixed_mask=masks[0], moving_mask=masks[1])
    assert distance(found, matrix) < 1.0
    noise = np.random.default_rng(0)
    changed = [
        Image(np.where(mask.array, image.array, noise.normal(900, 300, image.grid.shape)), image.grid)
        for image, mask in zip((fixed, moving), masks, strict=True)
    ]
    same, _ = linear(fixed=changed[0], moving=changed[1], fixed_mask=masks[0], moving_mask=masks[1])
    np.testing.assert_array_equal(same.matrix, found.matrix)


def test_what_cannot_be_registered_is_refused():
    image, volume = (Image(np.rint(seen(grid).array), grid) for grid in FIXED.values())
    nothing = Image(np.zeros(image.grid.shape), image.grid, "labels")
    flat = Image(np.full(image.grid.shape, 7.0), image.grid)
    corner = nothing.array.copy()
    corner[:4, :4] = 1
    far = Affine(np.array([[1, 0, 1e4], [0, 1, 0], [0, 0, 1]]))
    with pytest.raises(AcregError, match=r"varies\. Received: the moving image array, which is constant"):
        linear(fixed=image, moving=flat)
    with pytest.raises(AcregError, match="varies within its mask.*the fixed image array"):
        linear(fixed=image, moving=image, fixed_mask=Image(corner, image.grid, "labels"))
    with pytest.raises(AcregError, match="at least one voxel.*empty moving mask"):
        linear(fixed=image, moving=image, moving_mask=nothing)
    with pytest.raises(AcregError, match="axes of its image.*fixed mask of shape"):
        linear(fixed=image, moving=image, fixed_mask=Image(volume.array > 40, volume.grid, "labels"))
    with pytest.raises(AcregError, match="one number of axes"):
        linear(fixed=image, moving=volume)
    with pytest.raises(AcregError, match="overlap.*at the initial map"):
        linear(fixed=image, moving=image, initial=far)
    with pytest.raises(AcregError, match="initial map has the axes.*3-D points"):
        linear(fixed=image, moving=image, initial=Affine(np.eye(4)))
    with pytest.raises(UsageError, match="one of translation, rigid, similarity, affine.*kind='elastic'"):
        linear(fixed=image, moving=image, kind="elastic")
    with pytest.raises(UsageError, match="auto, mutual_information.*similarity='ssim'"):
        linear(fixed=image, moving=image, similarity="ssim")

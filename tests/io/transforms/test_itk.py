"""A transform does in SimpleITK what it does here, in all voxels: on grids awkward on purpose, and on real heads.

A voxel that looks at the very border of the moving image may look inside in the one program and outside in the other.
"""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError
from acreg.geometry import Affine, Displacement, Grid, Transform, Velocity
from acreg.io import Image, read_image, read_labels
from acreg.io.transforms import read_transform, write_transform

few = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**32 - 1)
# A quarter is what float32, in which NIfTI keeps an origin, still holds at 100 m.
far_origins = st.tuples(*[st.sampled_from([0.0, 1e5 + 0.25, -1e5 - 0.25])] * 3)


def smooth(rng, shape):
    """Noise in [-1, 1] with a few waves along each axis."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), [min(3, n / 4) for n in shape])
    return noise / np.abs(noise).max()


@st.composite
def awkward_grids(draw, rank, far=(0.0, 0.0, 0.0)):
    """Oblique, with axes permuted and turned round, far from the origin, or one slice thick."""
    rng = np.random.default_rng(draw(seeds))
    shape = rng.integers(8, 18, rank) * (3 if rank == 2 else 1)
    if rank == 3 and draw(st.integers(0, 3)) == 3:
        shape[draw(st.integers(0, 2))] = 1
    turn = Rotation.from_euler("xyz", rng.uniform(-0.5, 0.5, 3)).as_matrix() if rank == 3 else np.eye(2)
    if rank == 2:
        angle = rng.uniform(-0.5, 0.5)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes = np.eye(rank)[rng.permutation(rank)] * rng.choice([-1, 1], rank)
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 1.2, 6.0])] * rank))
    return Grid(tuple(shape), spacing, tuple(np.add(far[:rank], rng.integers(-120, 120, rank) / 4)), turn @ axes)


def coarser(grid, factor):
    """Laid over the extent of a grid. On the same origin its own would end at voxel centres, in or out by rounding."""
    shape = tuple(-(-n // factor) for n in grid.shape)
    origin = grid.to_world(np.full(grid.rank, (factor - 1) / 2))
    return Grid(shape, tuple(np.multiply(grid.spacing, factor)), tuple(origin), grid.direction)


def random_field(rng, grid, kind):
    """1.5 voxels at most; less across a single slice, so that it is not left."""
    limit = np.where(np.array(grid.shape) == 1, 0.2, 1.5)
    return kind(np.stack([smooth(rng, grid.shape) for _ in grid.shape], axis=-1) * limit, grid)


def random_affine(rng, fixed, moving, slight=0.1):
    """Lays the extents over each other, sheared and shifted a little."""
    shear = np.eye(fixed.rank + 1)
    shear[:-1, :-1] += rng.uniform(-slight, slight, (fixed.rank, fixed.rank))
    size = np.array(fixed.shape)
    thick = (size > 1).astype(float)
    shear[:-1, :-1] = np.where(np.outer(thick, thick) > 0, shear[:-1, :-1], np.eye(fixed.rank))
    shear[:-1, -1] = (np.eye(fixed.rank) - shear[:-1, :-1]) @ ((size - 1) / 2) + thick * rng.uniform(-1, 1, fixed.rank)
    inside = Affine(fixed.matrix @ shear @ np.linalg.inv(fixed.matrix))
    return Affine(Affine.between_extents(fixed, moving).matrix @ inside.matrix)


@st.composite
def transforms(draw, kinds=("field, affine", "velocity, affine, field", "affine, velocity", "affine, field, affine")):
    rank = draw(st.sampled_from([2, 3]))
    far = draw(far_origins)
    fixed, moving = draw(awkward_grids(rank, far)), draw(awkward_grids(rank, far))
    rng = np.random.default_rng(draw(seeds))
    onto = random_affine(rng, fixed, moving)
    coarse = coarser(fixed, 2)
    maps = {
        "field, affine": lambda: (random_field(rng, fixed, Displacement), onto),
        "velocity, affine, field": lambda: (
            random_field(rng, coarse, Velocity),
            onto,
            random_field(rng, moving, Displacement),
        ),
        "affine, velocity": lambda: (onto, random_field(rng, moving, Velocity)),
        "affine, field, affine": lambda: (
            random_affine(rng, fixed, fixed),
            random_field(rng, fixed, Displacement),
            onto,
        ),
    }[draw(st.sampled_from(kinds))]()
    return Transform(fixed, moving, maps)


def voxels_of(grid):
    return np.stack(np.indices(grid.shape), axis=-1).reshape(-1, grid.rank).astype(float)


def in_itk(image):
    made = sitk.GetImageFromArray(image.array)
    image.grid.copy_to_itk(made)
    return made


def resampled(found, fixed, image, interpolator=sitk.sitkLinear):
    """SimpleITK's warped image, and where it looks inside the moving image."""
    reference = in_itk(Image(np.zeros(fixed.shape, np.float32), fixed))
    everywhere = in_itk(Image(np.ones(image.grid.shape, np.float32), image.grid))
    inside = sitk.GetArrayFromImage(sitk.Resample(everywhere, reference, found, sitk.sitkNearestNeighbor, 0.0)) > 0
    return sitk.GetArrayFromImage(sitk.Resample(in_itk(image), reference, found, interpolator, 0.0)), inside


def beside_the_border(transform):
    """Which fixed voxels look at most 0.01 voxels from a border of the moving image's extent."""
    fixed, moving = transform.fixed, transform.moving
    places = moving.to_index(transform.warp_points(fixed.to_world(voxels_of(fixed)), to="moving"))
    apart = np.minimum(np.abs(places + 0.5), np.abs(np.array(moving.shape) - 0.5 - places)).min(axis=1)
    return (apart <= 0.01).reshape(fixed.shape)


def read_by_itk(path):
    if path.name.endswith(".nii.gz"):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


@given(transform=transforms(), seed=seeds)
@few
def test_files_do_in_simpleitk_what_the_transform_does(transform, seed, tmp_path):
    fixed, moving = transform.fixed, transform.moving
    image = Image(smooth(np.random.default_rng(seed), moving.shape).astype(np.float32), moving)
    warped = transform.warp_image(image).array
    for suffix in (".h5", ".tfm", ".nii.gz"):
        path = tmp_path / f"t{suffix}"
        if suffix == ".nii.gz" and fixed.shape[0] == 1:
            with pytest.raises(AcregError, match="single voxel"):
                write_transform(transform, path)
            continue
        assert write_transform(transform, path, image) < 1e-3
        check = json.loads((tmp_path / f"t{suffix}.check.json").read_text(encoding="utf-8"))
        theirs, inside = resampled(read_by_itk(path), fixed, image)
        assert inside.mean() > 0.3 and check["voxels"] == warped.size and check["voxels_inside"] == inside.sum()
        border = beside_the_border(transform)
        assert border.mean() < 0.1 and check["voxels_on_border"] <= border.sum()
        assert np.abs(warped - theirs)[~border].max() < 1e-3 * np.ptp(image.array)
        again = read_transform(path, fixed, moving)
        assert np.abs(again.warp_image(image).array - warped)[~border].max() < 1e-3 * np.ptp(image.array)
        points = fixed.to_world(voxels_of(fixed)[:: max(1, warped.size // 200)])
        apart = again.warp_points(points, to="moving") - transform.warp_points(points, to="moving")
        assert np.abs(moving.to_index(moving.origin + apart)).max() < 1e-2


@given(transform=transforms())
@few
def test_points_go_where_the_image_is_looked_up(transform):
    """An image that holds its own indices, warped, says where each fixed voxel looks."""
    fixed, moving = transform.fixed, transform.moving
    looked_up = moving.to_index(transform.warp_points(fixed.to_world(voxels_of(fixed)), to="moving"))
    inside = np.all((looked_up >= 0) & (looked_up <= np.array(moving.shape) - 1), axis=1)
    for axis, along in enumerate(np.indices(moving.shape)):
        found = transform.warp_image(Image(along.astype(np.float32), moving)).array.ravel()
        np.testing.assert_allclose(found[inside], looked_up[inside, axis], rtol=0, atol=1e-4)
    # Not the voxel itself: where a field ends, two points may go to one.
    points = transform.warp_points(moving.to_world(looked_up), to="fixed")
    again = moving.to_index(transform.warp_points(points, to="moving"))
    np.testing.assert_allclose(again[inside], looked_up[inside], rtol=0, atol=0.01)


@given(transform=transforms(), other=st.data())
@few
def test_another_fixed_grid_keeps_the_map_of_the_world(transform, other):
    grid = other.draw(awkward_grids(transform.fixed.rank, transform.fixed.origin))
    onto = Affine.between_extents(grid, transform.fixed)
    transform = Transform(grid, transform.fixed, (onto,)).compose(transform)
    for candidate in (transform, transform.resample_to(transform.fixed), transform.resample_to(grid)):
        at = voxels_of(candidate.fixed)
        moved = candidate.fixed.to_world(at + candidate.displacement.reshape(at.shape))
        expected = transform.warp_points(candidate.fixed.to_world(at), to="moving")
        np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-3)


@given(rank=st.sampled_from([2, 3]), draw=st.data(), seed=seeds)
@few
def test_an_inverse_undoes_its_transform(rank, draw, seed):
    grid, moving = draw.draw(awkward_grids(rank)), draw.draw(awkward_grids(rank))
    rng = np.random.default_rng(seed)
    at = voxels_of(grid)

    def miss(there, back):
        """How far, in voxels, each voxel of the grid ends from where it started."""
        points = there.compose(back).warp_points(grid.to_world(at), to="moving")
        return np.abs(grid.to_index(points) - at).max(axis=1)

    affine = Transform(grid, moving, (random_affine(rng, grid, moving),))
    assert miss(affine, affine.inverse()).max() < 1e-6

    field = Transform(grid, grid, (random_field(rng, grid, Displacement),))
    back = field.inverse()
    found = grid.to_index(back.warp_points(grid.to_world(at), to="moving"))
    inside = np.all((found >= -0.49) & (found <= np.array(grid.shape) - 0.51), axis=1)
    assert back.residual < 0.01
    assert miss(back, field)[inside].max() < back.residual + 1e-5

    flow = Transform(grid, grid, (random_field(rng, grid, Velocity),))
    inner = np.all((at >= 3) & (at <= np.array(grid.shape) - 4) | (np.array(grid.shape) == 1), axis=1)
    assert miss(flow, flow.inverse())[inner].max() < 0.1


@pytest.fixture(scope="module")
def heads(data_dir):
    """A head at 2 mm with axes P-S-R, the fixed one, and a brain at 1 mm with axes A-S-L and its labels."""
    brain = data_dir / "brain_oasis_trt" / "full_resolution"
    fixed = sorted((data_dir / "brain_ixi" / "images").glob("*.nii.gz"))
    if not fixed or not brain.is_dir():
        pytest.skip("the heads (brain_ixi and brain_oasis_trt/full_resolution) are not on this machine")
    moving = read_image(brain / "OASIS-TRT-20-03_t1.nii.gz"), read_labels(brain / "OASIS-TRT-20-03_dkt31.nii.gz")
    return read_image(fixed[0]), *moving


def test_real_heads(heads, tmp_path):
    head, brain, labels = heads
    rng = np.random.default_rng(0)
    fixed = coarser(head.grid, 3)  # for the sake of time
    coarse = coarser(fixed, 4)
    middle = [grid.to_world((np.array(grid.shape) - 1) / 2) for grid in (fixed, brain.grid)]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (0.2, -0.1, 0.15)).as_matrix() * [1.1, 0.95, 1.0]
    matrix[:3, 3] = middle[1] - matrix[:3, :3] @ middle[0]
    fields = random_field(rng, coarse, Displacement), random_field(rng, coarse, Displacement)
    transform = Transform(fixed, brain.grid, (*fields, Affine(matrix)))
    warped = transform.warp_image(brain).array
    places = brain.grid.to_index(transform.warp_points(fixed.to_world(voxels_of(fixed)), to="moving"))
    tie = np.any(np.abs(places - np.floor(places) - 0.5) < 1e-3, axis=1).reshape(fixed.shape)
    nearest = transform.warp_labels(labels, "nearest").array
    for suffix in (".h5", ".nii.gz"):
        write_transform(transform, tmp_path / f"t{suffix}", brain)
        found = read_by_itk(tmp_path / f"t{suffix}")
        theirs, inside = resampled(found, fixed, brain)
        assert 0.5 < inside.mean() < 1
        apart = np.abs(warped - theirs)
        assert apart[~beside_the_border(transform)].max() < 1e-3 * np.ptp(brain.array)
        theirs, _ = resampled(found, fixed, labels, sitk.sitkNearestNeighbor)
        assert tie.mean() < 0.02 and np.count_nonzero(theirs) > 1000
        np.testing.assert_array_equal(nearest[~tie], theirs[~tie])

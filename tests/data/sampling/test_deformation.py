import warnings

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.interpolate import BSpline

from acreg.data.sampling.deformation import Deformation, RandomDeformation, control_shape, foreground_dice
from acreg.data.sampling.deformed_pairs import DeformedPairSampler
from acreg.errors import AcregError
from acreg.geometry import jacobian_determinant
from acreg.geometry.displacement import voxel_indices, warp_array
from acreg.io import read_image

SHAPE = (120, 128)


def lungs(shape=SHAPE):
    """A left and a right ellipse, labels 1 and 2, `(rows, columns, 1)`."""
    at = voxel_indices(shape) / shape - [0.48, 0.5]
    labels = np.zeros(shape, np.int32)
    for label, column in ((1, -0.21), (2, 0.21)):
        labels[np.hypot(at[..., 0] / 0.32, (at[..., 1] - column) / 0.15) < 1] = label
    return labels[..., None]


def waves(shape=SHAPE):
    """A smooth image without symmetries, `(rows, columns, 1)`, in [0, 1]."""
    rows, columns = np.moveaxis(voxel_indices(shape), -1, 0)
    image = np.sin(0.11 * rows) + np.cos(0.09 * columns + 0.05 * rows) + 0.01 * columns
    return ((image - image.min()) / np.ptp(image))[..., None].astype(np.float32)


def made(shape=SHAPE, translation=(0.0, 0.0), rotation=0.0, spacing=16.0, control=None):
    points = (*control_shape(shape, spacing), 2)
    control = np.zeros(points) if control is None else np.broadcast_to(control, points)
    return Deformation(
        shape=shape, translation=translation, rotation=rotation, spacing=spacing, control=control.tolist()
    )


def comes_from_inside(displacement, margin):
    """Fixed voxels whose counterparts lie in the moving image, `margin` voxels from its border or more."""
    shape = displacement.shape[:-1]
    places = voxel_indices(shape) + displacement
    return ((places >= margin) & (places <= np.array(shape) - 1.0 - margin)).all(axis=-1)


def test_a_quarter_turn_is_that_of_numpy():
    """From axis 0 towards axis 1, and after the shift."""
    image = waves((40, 40))
    np.testing.assert_allclose(made((40, 40), rotation=90).apply(image), np.rot90(image), atol=1e-5)
    shifted = np.roll(image, 7, axis=0)
    found = made((40, 40), translation=(7, 0), rotation=90).apply(image)
    np.testing.assert_allclose(found[:, 7:], np.rot90(shifted)[:, 7:], atol=1e-5)


def test_the_deformation_is_the_b_spline_of_scipy():
    rng, spacing = np.random.default_rng(0), 16.0
    control = rng.uniform(-7, 7, (*control_shape(SHAPE, spacing), 2))
    rows, columns = (
        BSpline.design_matrix(np.arange(n) / spacing, np.arange(-3.0, count + 1), 3).toarray()
        for n, count in zip(SHAPE, control.shape, strict=False)
    )
    expected = np.einsum("pi,qj,ijd->pqd", rows, columns, control)
    np.testing.assert_allclose(made(control=control).displacement, expected, atol=1e-5)
    np.testing.assert_allclose(made(control=[5.0, -3.0]).displacement, np.full((*SHAPE, 2), [5, -3]), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_displacement_pulls_the_moving_image_and_labels_onto_the_fixed_ones(seed):
    image, labels = waves(), lungs()
    deformation = RandomDeformation().draw(labels, np.random.default_rng(seed))
    moving, moving_labels = deformation.apply(image), deformation.apply_labels(labels)
    u = deformation.displacement
    inside = comes_from_inside(u, 2.0)
    assert inside.mean() > 0.5 and np.abs(moving - image).mean() > 0.1
    error = np.abs(warp_array(moving[..., 0], u) - image[..., 0])[inside]
    assert error.max() < 0.01 and error.mean() < 0.001
    pulled = warp_array(moving_labels[..., 0], u, order=0)
    for label in (1, 2):
        assert foreground_dice((pulled == label)[inside], (labels[..., 0] == label)[inside]) > 0.95
    assert foreground_dice(labels, moving_labels) < 0.7


@pytest.mark.parametrize("signs", ["random", "alternating"])
def test_the_strongest_deformation_does_not_fold_and_is_inverted(signs):
    spacing, rng = 16.0, np.random.default_rng(1)
    points = (*control_shape(SHAPE, spacing), 2)
    sign = rng.choice((-1, 1), points) if signs == "random" else (-1) ** np.indices(points)[:2].sum(axis=0)
    deformation = made(translation=(0, 9), rotation=35, control=0.479 * spacing * sign)
    u = deformation.displacement
    assert jacobian_determinant(u).min() > 0
    back = np.stack([warp_array(deformation.origins[..., d], u, order=3) for d in range(2)], axis=-1)
    inside = comes_from_inside(u, 8.0)
    np.testing.assert_allclose(back[inside], voxel_indices(SHAPE)[inside], atol=0.1)
    np.testing.assert_allclose(deformation.inverse_displacement, deformation.origins - voxel_indices(SHAPE), atol=1e-5)


def test_draws_are_within_the_limits_of_an_image_512_columns_wide():
    random, rng, labels = RandomDeformation(), np.random.default_rng(0), lungs()
    drawn = [random.draw(labels, rng) for _ in range(40)]
    shifts = np.array([d.translation for d in drawn]) * 4  # a quarter of 512 columns
    sizes = np.abs(shifts).max(axis=1)
    assert (np.abs(shifts).min(axis=1) == 0).all() and sizes.min() >= 25 and sizes.max() <= 40 < sizes.max() + 2
    assert {(int(np.argmax(np.abs(s))), bool(s.sum() > 0)) for s in shifts} == {(a, b) for a in (0, 1) for b in (0, 1)}
    angles = np.array([d.rotation for d in drawn])
    assert not (angles % 5).any() and np.abs(angles).min() >= 20 and 150 < np.abs(angles).max() <= 180
    assert len(set(angles)) > 15 and (angles > 0).any() and (angles < 0).any()
    control = np.array([d.control for d in drawn]) * 4
    assert 1 <= np.abs(control).min() < 1.1 and 14.9 < np.abs(control).max() <= 15 and abs(control.mean()) < 0.3
    assert {d.spacing for d in drawn} == {16.0}
    everything = [random._draw_any(SHAPE, rng).rotation for _ in range(1500)]
    assert set(everything) == {sign * float(angle) for sign in (-1, 1) for angle in range(20, 181, 5)}


def test_what_was_drawn_is_stored_as_json_and_applied_again():
    image, labels = waves(), lungs()
    deformation = RandomDeformation().draw(labels, np.random.default_rng(3))
    again = Deformation.from_json(deformation.to_json())
    assert again == deformation != made()
    np.testing.assert_array_equal(again.apply(image), deformation.apply(image))
    np.testing.assert_array_equal(again.apply_labels(labels), deformation.apply_labels(labels))
    np.testing.assert_array_equal(again.displacement, deformation.displacement)


def sampler(seed=5, **options):
    images = np.stack([waves(), waves()[::-1], waves()[:, ::-1]])
    return DeformedPairSampler(images, np.stack([lungs()] * 3), batch_size=2, seed=seed, **options)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    first, second = sampler(), sampler()
    second.batch(7)
    batch = first.batch(2)
    for name, array in second.batch(2).items():
        np.testing.assert_array_equal(array, batch[name])
    assert not np.array_equal(batch["displacement"], first.batch(3)["displacement"])
    assert not np.array_equal(batch["displacement"], sampler(seed=6).batch(2)["displacement"])
    assert {name: (array.shape, str(array.dtype)) for name, array in batch.items()} == {
        "moving": ((2, *SHAPE, 1), "float32"),
        "fixed": ((2, *SHAPE, 1), "float32"),
        "moving_labels": ((2, *SHAPE, 1), "int32"),
        "fixed_labels": ((2, *SHAPE, 1), "int32"),
        "displacement": ((2, *SHAPE, 2), "float32"),
        "inverse_displacement": ((2, *SHAPE, 2), "float32"),
    }
    for i, (subject, deformation) in enumerate(first.draw(2)):
        np.testing.assert_array_equal(batch["fixed"][i], first.images[subject])
        np.testing.assert_array_equal(batch["moving"][i], deformation.apply(first.images[subject]))
        np.testing.assert_array_equal(batch["displacement"][i], deformation.displacement)


def test_the_overlap_is_that_of_all_foreground_together():
    """A turn by 180 degrees changes the lungs' places and leaves their union where it was."""
    labels = lungs()
    turned = made(rotation=180).apply_labels(labels)
    assert foreground_dice(labels == 1, turned == 1) < 0.1 and foreground_dice(labels, turned) > 0.9
    assert foreground_dice(labels, labels) == 1


def test_a_mask_that_keeps_its_overlap_gets_the_strongest_of_the_draws():
    full, random = np.ones((*SHAPE, 1), np.int32), RandomDeformation(draws=6, largest_dice=0.1)
    with pytest.warns(UserWarning, match="kept a Dice of 0.1 or more with itself in 6 random deformations"):
        strongest = random.draw(full, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    each = [random._draw_any(SHAPE, rng) for _ in range(6)]
    dice = [foreground_dice(full, d.apply_labels(full)) for d in each]
    assert strongest == each[int(np.argmin(dice))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RandomDeformation(largest_dice=1.0).draw(full, np.random.default_rng(0))


def test_real_lungs(data_dir):
    folder = data_dir / "chest_montgomery" / "LR_256"
    path = sorted((folder / "images").glob("*.png"))[0]
    labels = (read_image(folder / "labels" / path.name).array > 0).astype(np.int32)[..., None]
    deformation = RandomDeformation().draw(labels, np.random.default_rng(0))
    assert foreground_dice(labels, deformation.apply_labels(labels)) < 0.7


def test_labels_without_foreground_are_refused():
    labels = np.stack([lungs(), np.zeros_like(lungs())])
    with pytest.raises(
        AcregError, match=r"Received: the labels of subject 1 \(from 0\) .* with 0 voxels of foreground"
    ):
        DeformedPairSampler(np.stack([waves(), waves()]), labels, 1, 0)
    with pytest.raises(AcregError, match="judged by the overlap of its labels.* Leave the image out, or label it"):
        RandomDeformation().draw(labels[1], np.random.default_rng(0))


def test_volumes_and_other_shapes_are_refused():
    volume = np.ones((1, 4, 5, 6, 1), np.int32)
    with pytest.raises(AcregError, match="one 2-D image or more"):
        DeformedPairSampler(volume.astype(np.float32), volume, 1, 0)
    for apply in (made().apply, made().apply_labels):
        with pytest.raises(AcregError, match=r"images of \(120, 128\).* Received: shape \(120, 127, 1\)"):
            apply(np.zeros((120, 127, 1), np.int32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elastic": (1, 31)}, r"below 0.48 of control_spacing 64, so that nothing folds, not 31"),
        ({"translation": (40, 25)}, r"translation is a smallest and a largest size"),
        ({"rotation": (21, 24)}, "no multiple of 5 degrees"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        RandomDeformation(**changes)


def test_control_points_that_fold_or_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="below 0.48 of their spacing 16, so that nothing folds, not 8"):
        made(control=8.0)
    with pytest.raises(ValidationError, match="Invalid JSON"):
        Deformation.from_json("no deformation")
    with pytest.raises(ValidationError, match=r"at spacing 16 needs \(11, 11\) control points, not \(3, 2\)"):
        Deformation(shape=SHAPE, translation=(0, 0), rotation=0, spacing=16, control=(((0, 0),) * 2,) * 3)

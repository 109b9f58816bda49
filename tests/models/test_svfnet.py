"""SVF-Net: what its units see, what it learns from, and what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acreg.models import SVFNet


def seen(in_plane_levels: int, filters: tuple[int, ...] = (2, 3)) -> tuple[list[int], list[int]]:
    """By axis, how many voxels of the input change the velocity in the middle, and the kernel widths by level."""
    model = SVFNet(filters=filters, in_plane_levels=in_plane_levels)
    rng, shape = np.random.default_rng(0), (16, 32, 32)
    for weight in model.weights:  # positive, so that no rectifier is off
        weight.assign(rng.uniform(0.05, 0.15, weight.shape) if "kernel" in weight.path else np.ones(weight.shape))
    middle = [n // 2 for n in shape]
    extents = []
    for axis in range(3):
        images = np.ones((shape[axis] + 1, *shape, 1), np.float32)  # the last one as it is
        for at in range(shape[axis]):
            images[(at, *middle[:axis], at, *middle[axis + 1 :], 0)] += 100.0
        field = model.network.predict({"moving": images, "fixed": np.ones_like(images)}, batch_size=8, verbose=0)[
            "field"
        ]
        values = field[(slice(None), *middle)]
        extents.append(int((np.abs(values[:-1] - values[-1]) > 1e-9 * np.abs(values[-1])).any(axis=-1).sum()))
    widths = [model.network.get_layer(f"encoder{level + 1}_a").kernel.shape[0] for level in range(len(filters))]
    return extents, widths


def test_in_plane_levels_see_one_slice() -> None:
    extents, widths = seen(in_plane_levels=2)
    assert widths == [1, 1] and extents[0] == 1 and extents[1] == extents[2] > 10


def test_deeper_levels_see_slices_by_their_own_convolutions_alone() -> None:
    # At the second level alone: two convolutions of width 3, so two slices on each side, without pooling of slices.
    extents, widths = seen(in_plane_levels=1)
    assert widths == [1, 3] and extents[0] == 5 and extents[1] == extents[2] > 10
    isotropic, _ = seen(in_plane_levels=0)
    assert isotropic == [16, extents[1], extents[1]]


def test_the_papers_network_has_a_coarsest_grid_of_even_sides() -> None:
    model = SVFNet(filters=(4, 4, 4, 4), in_plane_levels=2)
    probe = keras.Model(model.network.inputs, model.network.get_layer("encoder4_b_relu").output)
    pair = {name: np.zeros((1, 16, 64, 64, 1), np.float32) for name in ("moving", "fixed")}
    assert probe(pair).shape[1:-1] == (8, 8, 8)


def test_the_loss_is_the_squared_distance_of_velocities() -> None:
    model = SVFNet(rank=2, filters=(4, 8))
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    pair = {name: np.random.default_rng(0).random((2, 16, 16, 1), np.float32) for name in ("moving", "fixed")}
    velocity = keras.ops.convert_to_numpy(model(pair, training=True)["velocity"]) + [3.0, 4.0]
    logs = model.train_on_batch({**pair, "velocity": velocity.astype(np.float32)}, return_dict=True)
    assert logs["loss"] == pytest.approx(25.0, rel=1e-3)
    assert logs["velocity_error"] == pytest.approx(25.0, rel=1e-3)


def test_beyond_the_margin_around_the_labels_an_error_counts_a_tenth() -> None:
    model = SVFNet(rank=2, filters=(4, 8), margin=2)
    rng = np.random.default_rng(0)
    pair = {name: rng.random((1, 16, 16, 1), np.float32) for name in ("moving", "fixed")}
    labels = np.zeros((1, 16, 16, 1), np.int32)
    labels[0, 8, 7] = 1
    found = model(pair)
    inside = np.zeros((16, 16), bool)
    inside[6:11, 5:10] = True
    error = rng.random((16, 16, 1)) * [3.0, 4.0]
    x = {**pair, "fixed_labels": labels, "velocity": keras.ops.convert_to_numpy(found["velocity"]) + np.float32(error)}
    weight = np.where(inside, 1.0, 0.1)
    expected = (weight * (error**2).sum(axis=-1)).sum() / weight.sum()
    assert float(model.loss_terms(x, found)["velocity_error"]) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="around labels. Received: margin=2 and inputs without"):
        model.loss_terms({name: x[name] for name in (*pair, "velocity")}, found)


def test_it_learns_a_velocity() -> None:
    keras.utils.set_random_seed(0)
    model = SVFNet(rank=2, filters=(8, 16))
    model.compile(optimizer=keras.optimizers.Adam(5e-3))
    rng = np.random.default_rng(1)
    places = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), axis=-1)

    def batch() -> dict[str, np.ndarray]:
        shift = rng.uniform(-3, 3, (8, 1, 1, 2))
        images = [np.exp(-((places - 7.5 - s) ** 2).sum(axis=-1, keepdims=True) / 12) for s in (0 * shift, shift)]
        velocity = np.broadcast_to(shift, (8, 16, 16, 2))
        return {n: np.float32(x) for n, x in zip(("fixed", "moving", "velocity"), (*images, velocity), strict=True)}

    losses = [float(model.train_on_batch(batch(), return_dict=True)["loss"]) for _ in range(120)]
    model.reset_metrics()
    assert np.mean(losses[-10:]) < 0.35 * losses[0]


def test_training_without_a_velocity_is_refused_and_validation_goes_without() -> None:
    model = SVFNet(rank=2, filters=(4, 8), num_classes=2)
    model.compile(optimizer="adam")
    pair = {name: np.zeros((1, 16, 16, 1), np.float32) for name in ("moving", "fixed")}
    labels = {f"{name}_labels": np.ones((1, 16, 16, 1), np.int32) for name in ("moving", "fixed")}
    with pytest.raises(
        ValueError, match=r"need the true 'velocity' among the inputs of training. Received: .*'fixed', 'moving'"
    ):
        model.train_on_batch(pair)
    assert model.test_on_batch({**pair, **labels}, return_dict=True)["dice"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": (8,)}, "at least two levels"),
        ({"rank": 2, "in_plane_levels": 1}, "none in 2-D. Received: .*in_plane_levels=1, rank=2"),
        ({"filters": (8, 8), "in_plane_levels": 3}, "at most as many"),
        ({"margin": -1}, "number of voxels. Received: margin=-1"),
        ({"norm": "layer"}, "`norm` must be 'group' or 'batch'. Received: norm='layer'"),
        ({"integration_steps": 0}, "must be integrated"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SVFNet(**arguments)

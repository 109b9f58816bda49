"""The joint affine and deformable network: what holds before any training, its losses, and its use."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray
from scipy import ndimage

from acreg.geometry import Affine, Grid, Velocity
from acreg.io import Image, Preprocessing
from acreg.layers import functional
from acreg.losses import ncc, squared_ncc
from acreg.models import AffineDeformableNet

SMALL: dict[str, Any] = {"filters": (4, 8), "decoder": (8, 4)}
KINDS = ["affine", "similarity", "rigid"]


def blobs(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """A smooth image in [0, 1], dark at its border."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    image *= np.prod(np.meshgrid(*(np.hanning(n) for n in shape), indexing="ij"), axis=0)
    return ((image - image.min()) / np.ptp(image)).astype(np.float32)


def pair(shape: tuple[int, ...], batch: int = 1) -> dict[str, NDArray]:
    return {
        name: np.stack([blobs(shape, 10 * i + k) for i in range(batch)])[..., None]
        for k, name in enumerate(("moving", "fixed"))
    }


def set_map(model: AffineDeformableNet, bias: NDArray) -> None:
    """Let the affine part answer every pair with the same parameters."""
    dense = model.network.get_layer("affine_parameters")
    dense.set_weights([np.zeros(dense.kernel.shape), bias])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(16, 20), (8, 12, 10)])
def test_a_new_network_is_the_identity(kind: str, shape: tuple[int, ...]) -> None:
    keras.utils.set_random_seed(0)
    found = AffineDeformableNet(rank=len(shape), **SMALL, affine=kind, affine_passes=2)(pair(shape, 2))
    expected = np.broadcast_to(np.eye(len(shape), len(shape) + 1), (2, len(shape), len(shape) + 1))
    np.testing.assert_allclose(found["affine"], expected, atol=1e-5)
    assert float(ops.max(ops.abs(found["displacement"]))) < 1e-3


def test_the_papers_network_has_the_widths_that_it_states() -> None:
    network = AffineDeformableNet(affine_moments=0).network
    kernels = {layer.name: layer.kernel.shape for layer in network.get_layer("encoder").layers if layer.weights
               and hasattr(layer, "kernel")}  # fmt: skip
    assert {name: shape[-2:] for name, shape in kernels.items()} == {
        "encoder1": (2, 16), "encoder2_down": (16, 32), "encoder2": (32, 32), "encoder3_down": (32, 32),
        "encoder3": (32, 32), "encoder4_down": (32, 32), "encoder4": (32, 32),
    }  # fmt: skip
    assert network.get_layer("affine_parameters").kernel.shape == (32, 12)
    dilated = {rate: network.get_layer(f"dilated_{rate}") for rate in (1, 2, 4, 8)}
    assert all(layer.dilation_rate == (rate,) * 3 for rate, layer in dilated.items())


@pytest.mark.parametrize(
    ("norms", "encoder", "dilated"),
    [
        ({"norm": "batch", "dilated_norm": "group"}, "BatchNormalization", "GroupNormalization"),  # the paper's
        ({"norm": "batch"}, "BatchNormalization", "BatchNormalization"),  # a config that does not know the second
        ({}, "GroupNormalization", "GroupNormalization"),
    ],
)
def test_the_dilated_block_may_have_a_normalisation_of_its_own(norms: dict, encoder: str, dilated: str) -> None:
    network = AffineDeformableNet(rank=2, **SMALL, **norms).network
    assert type(network.get_layer("encoder").get_layer("encoder1_norm")).__name__ == encoder
    assert {type(network.get_layer(f"dilated_{rate}_norm")).__name__ for rate in (1, 2, 4, 8)} == {dilated}
    assert type(network.get_layer("decoder1_a_norm")).__name__ == encoder
    with pytest.raises(ValueError, match="Received: norm='group', dilated_norm='layer'"):
        AffineDeformableNet(rank=2, **SMALL, dilated_norm="layer")


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_both_parts_share_one_encoder() -> None:
    model = AffineDeformableNet(rank=2, **SMALL)
    encoders = [layer for layer in model.network.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in encoders] == ["encoder"]
    alone = AffineDeformableNet(rank=2, **SMALL, affine="none")
    assert len(model.trainable_variables) == len(alone.trainable_variables) + 2  # the linear layer's
    # The affine loss alone, and that of the deformation alone, both reach the same variables.
    for losses in ({"affine_mean_squared_error": 1}, {"mean_squared_error": 1}):
        trained = AffineDeformableNet(rank=2, **SMALL, losses=losses)
        rng = np.random.default_rng(0)
        for name in ("affine_parameters", "head_field"):
            layer = trained.network.get_layer(name)
            layer.kernel.assign(rng.normal(0, 0.05, layer.kernel.shape))
        before = trained.network.get_layer("encoder").get_weights()
        trained.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
        trained.train_on_batch(pair((16, 20)))
        after = trained.network.get_layer("encoder").get_weights()
        assert not any(np.array_equal(a, b) for a, b in zip(before[::4], after[::4], strict=True)), losses


@pytest.mark.parametrize("shape", [(16, 20), (15, 21), (8, 13, 11)])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_are_padded_do_not_move_the_map(shape: tuple[int, ...], kind: str) -> None:
    rank = len(shape)
    model = AffineDeformableNet(rank=rank, **SMALL, affine=kind)
    layer = model.network.get_layer("affine_map")
    bias = np.random.default_rng(0).uniform(-0.2, 0.2, layer.count(kind, rank)).astype(np.float32)
    set_map(model, bias)
    images = pair(shape)
    found = model(images)
    padded = [-(-n // 2) * 2 for n in shape]
    before = [(p - n) // 2 for n, p in zip(shape, padded, strict=True)]
    full = layer(bias[None], np.zeros((1, *padded, 1), np.float32))
    inner = (0, *(slice(b, b + n) for b, n in zip(before, shape, strict=True)))
    np.testing.assert_allclose(found["displacement"][0], ops.convert_to_numpy(full)[inner], atol=2e-3)


def test_the_total_displacement_is_the_deformation_and_then_the_map(make_model: Any) -> None:
    model = make_model("affine-deformable")
    images = pair((32, 40))
    found = model(images)
    assert float(ops.max(ops.abs(found["deformation"]))) > 0.05
    aligned = functional.warp(images["moving"], functional.affine_displacement(found["affine"], (32, 40)))
    twice = functional.warp(aligned, found["deformation"])
    assert float(ops.max(ops.abs(twice - found["warped"]))) < 0.1


@pytest.mark.parametrize("steps", [0, 5])
def test_registering_gives_a_chain_that_does_what_the_network_did(steps: int) -> None:
    shape = (12, 16, 14)
    preprocessing = Preprocessing(shape=shape, trim=False)
    model = AffineDeformableNet(**SMALL, integration_steps=steps, preprocessing=preprocessing)
    set_map(model, np.random.default_rng(1).uniform(-0.1, 0.1, 12).astype(np.float32))
    head = model.network.get_layer("head_field")
    head.set_weights([np.random.default_rng(2).normal(0, 0.005, head.kernel.shape), np.array([0.3, -0.4, 0.2])])
    grid = Grid(shape, spacing=(1.5, 1.5, 1.5), origin=(10, -20, 30))
    images = pair(shape)
    fixed, moving = (Image(images[name][0, ..., 0], grid) for name in ("fixed", "moving"))
    transform = model.register(fixed=fixed, moving=moving)
    assert [type(part) for part in transform.maps][1:] == [Affine, Affine]
    assert isinstance(transform.maps[0], Velocity) == bool(steps)
    found = model({name: preprocessing.apply(image)[None] for name, image in (("fixed", fixed), ("moving", moving))})
    inner = (slice(3, -3),) * 3
    displacement = ops.convert_to_numpy(found["displacement"])[0]
    indices = np.moveaxis(np.indices(shape), 0, -1)[inner].reshape(-1, 3)
    there = grid.to_index(transform.warp_points(grid.to_world(indices), to="moving"))
    np.testing.assert_allclose(there, indices + displacement[inner].reshape(-1, 3), atol=0.02 if steps else 1e-4)
    if steps:
        back = transform.inverse().warp_points(transform.warp_points(grid.to_world(indices), "moving"), "moving")
        assert (
            np.abs(back - grid.to_world(indices)).max() < 0.6 * 1.5
        )  # mm: the inverse velocity on this small grid, with values cut off at its border
    refined = model.refine(fixed=fixed, moving=moving, steps=3)
    np.testing.assert_array_equal(refined.maps[1].matrix, transform.maps[1].matrix)
    assert len(refined.maps) == 3


def test_the_affine_part_finds_the_same_map_alone(make_model: Any) -> None:
    model = make_model("affine-deformable-3d-velocity")
    part = model.affine_part()
    images = pair((16, 16, 16))
    whole, alone = model(images), part(images)
    np.testing.assert_allclose(alone["affine"], whole["affine"], atol=1e-6)
    np.testing.assert_array_equal(alone["deformation"], 0)
    assert part.count_params() < model.count_params() and part.preprocessing == model.preprocessing
    saving = AffineDeformableNet(rank=2, **SMALL, recompute=["decoder"])
    assert saving.affine_part().count_params() < saving.count_params()  # whose decoder is gone
    with pytest.raises(ValueError, match="Received: affine='none'"):
        AffineDeformableNet(rank=2, **SMALL, affine="none").affine_part()


def test_training_turns_the_moving_image_back() -> None:
    keras.utils.set_random_seed(0)
    model = AffineDeformableNet(
        rank=2, filters=(8, 16, 16), decoder=(16, 8), affine="rigid", deformable=False, losses={"affine_squared_ncc": 1}
    )
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    fixed = np.stack([blobs((32, 32), seed) for seed in range(8)])[..., None]
    turned = np.stack([ndimage.rotate(x[..., 0], 15, reshape=False, order=1, mode="nearest") for x in fixed])[..., None]
    history = model.fit({"moving": turned, "fixed": fixed}, batch_size=8, epochs=60, verbose=0, shuffle=False).history
    assert history["affine_squared_ncc"][-1] < 0.3 * history["affine_squared_ncc"][0]
    matrix = ops.convert_to_numpy(model({"moving": turned, "fixed": fixed})["affine"])[:, :, :2]
    angles = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    np.testing.assert_allclose(np.abs(angles), 15, atol=4)


def test_affine_losses_see_the_affine_part_alone(make_batch: Any) -> None:
    model = AffineDeformableNet(
        rank=2, **SMALL, num_classes=3, losses={"affine_ncc": 1, "ncc": 1, "affine_soft_dice": 1, "soft_dice": 1}
    )
    set_map(model, np.array([0.1, 0, 0.2, 0, -0.1, 0.1], np.float32))
    head = model.network.get_layer("head_field")
    head.set_weights([np.zeros(head.kernel.shape), np.array([2.0, -1.0])])
    batch = make_batch(model)
    found = model(batch)
    terms = {name: float(value) for name, value in model.loss_terms(batch, found).items()}
    only_affine = functional.affine_displacement(found["affine"], batch["fixed"].shape[1:-1])
    aligned = functional.warp(batch["moving"], only_affine)
    assert terms["affine_ncc"] == pytest.approx(float(ops.mean(ncc(batch["fixed"], aligned))), abs=1e-5)
    assert terms["ncc"] == pytest.approx(float(ops.mean(ncc(batch["fixed"], found["warped"]))), abs=1e-5)
    assert abs(terms["affine_ncc"] - terms["ncc"]) > 1e-3
    assert abs(terms["affine_soft_dice"] - terms["soft_dice"]) > 1e-3


def test_squared_correlation_is_blind_to_the_sign_and_is_scipys() -> None:
    a, b = blobs((9, 11), 0)[None, ..., None], blobs((9, 11), 1)[None, ..., None]
    expected = 1 - np.corrcoef(a.ravel(), b.ravel())[0, 1] ** 2
    assert float(squared_ncc(a, b)[0]) == pytest.approx(expected, abs=1e-5)
    assert float(squared_ncc(a, 1 - b)[0]) == pytest.approx(expected, abs=1e-5)
    assert float(squared_ncc(a, a)[0]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 4}, "`rank` must be 2 or 3"),
        ({"decoder": (8,) * 6}, "`decoder` as many or one less"),
        ({"norm": "layer"}, "`norm` must be 'group' or 'batch'"),
        ({"affine": "shear"}, "`kind` must be one of"),
        ({"affine": "none", "deformable": False}, "One part at least must be there"),
        ({"affine": "none", "affine_passes": 2}, "needs an affine part"),
        (
            {"affine": "none", "losses": {"affine_ncc": 1}},
            "A loss of AffineDeformableNet must be one of .* 'affine_ncc'",
        ),
        ({"losses": {"affine_soft_dice": 1}}, "'affine_soft_dice' compares labels and needs `num_classes`"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AffineDeformableNet(**arguments)

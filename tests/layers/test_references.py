"""Against arrays that other programs computed, where their definition is ours."""

import keras
import numpy as np
import pytest

from acreg import losses
from acreg.layers import functional
from acreg.layers.thin_plate_spline import interpolate_spline


@pytest.fixture(scope="module")
def tfa(reference_dir):
    return np.load(reference_dir / "tfa" / "tfa.npz")


@pytest.fixture(scope="module", params=["2d", "3d"])
def voxelmorph(request, reference_dir):
    """The arrays of one rank, by their names without it."""
    arrays = np.load(reference_dir / "voxelmorph_tf" / "layers_v02.npz")
    return {key[3:]: arrays[key] for key in arrays.files if key.startswith(request.param)}


@pytest.mark.parametrize("names", [("warp_image", "warp_flow", "warp_out"), ("siw_image", "siw_flow", "siw_out")])
def test_warp_is_dense_image_warp_of_the_negated_flow(tfa, names):
    image, flow, expected = (tfa[name] for name in names)
    np.testing.assert_allclose(functional.warp(image, -flow), expected, atol=1e-5)


def test_optimizer_and_loss_as_the_readme_has_them():
    """Against their formulas: a variable loses `weight_decay` of itself a step, a loss is summed over the last axis."""
    variable, optimizer = keras.Variable([2.0]), keras.optimizers.AdamW(0.1, 0.3 / 0.1)
    optimizer.build([variable])
    optimizer.apply([keras.ops.zeros(1)], [variable])
    np.testing.assert_allclose(variable, 2.0 * (1 - 0.3), rtol=1e-6)
    truth, found = np.array([[1.0, 0, 1], [0, 0, 1]]), np.array([[0.7, 0.2, 0.4], [0.1, 0.9, 0.6]])
    right = truth * found + (1 - truth) * (1 - found)
    expected = ((0.25 * truth + 0.75 * (1 - truth)) * (1 - right) ** 2 * -np.log(right)).sum(axis=-1)
    loss = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, reduction=None)
    np.testing.assert_allclose(3 * np.asarray(loss(truth, found)), expected, rtol=1e-5)


def test_map_coordinates_as_the_readme_has_it_is_interpolate_bilinear(tfa, repository):
    row = 'keras.ops.image.map_coordinates(image, points.T, order=1, fill_mode="nearest")'
    assert f"| `image.interpolate_bilinear(images, points)` | `{row}`" in (repository / "README.md").read_text("utf-8")
    for images, points, expected in zip(tfa["warp_image"], tfa["ib_query"], tfa["ib_out_ij"], strict=True):
        for channel in range(3):
            image = images[..., channel]
            found = keras.ops.image.map_coordinates(image, points.T, order=1, fill_mode="nearest")
            np.testing.assert_allclose(found, expected[:, channel], atol=1e-5)


@pytest.mark.filterwarnings("ignore:`regularization` smooths")
@pytest.mark.parametrize("name", ["2d_o2", "2d_o2_reg", "2d_o3", "3d_o1", "3d_o1_reg", "3d_o2"])
def test_spline_is_interpolate_spline(tfa, name):
    points, values, queries, expected, meta = (
        tfa[f"spline{name}_{part}"] for part in ("train_points", "train_values", "query_points", "out", "meta")
    )
    order, regularization = meta
    spline = interpolate_spline(points, values, queries, int(order), float(regularization))
    np.testing.assert_allclose(spline, expected, atol=1e-3)


def test_warp_is_voxelmorphs_spatial_transformer(voxelmorph):
    v = voxelmorph
    np.testing.assert_allclose(functional.warp(v["vol"], v["disp"]), v["st_linear"], atol=1e-5)
    np.testing.assert_array_equal(functional.warp(v["lab"], v["disp"], "nearest"), v["st_nearest"])


def test_constant_border_is_voxelmorphs_fill_value_but_in_the_rim(voxelmorph):
    """VoxelMorph fills every sample beyond the outer voxels' centres; ours blends over one voxel there."""
    v = voxelmorph
    warped = np.asarray(functional.warp(v["vol"], v["disp"], border="constant"))
    shape = np.array(v["disp"].shape[1:-1])
    positions = np.moveaxis(np.indices(shape), 0, -1) + v["disp"]
    inside = ((positions >= 0) & (positions <= shape - 1)).all(axis=-1)
    beyond = ((positions <= -1) | (positions >= shape)).any(axis=-1)
    assert beyond.any()
    np.testing.assert_allclose(warped[inside], v["st_linear_fill0"][inside], atol=1e-5)
    np.testing.assert_array_equal(warped[beyond], v["st_linear_fill0"][beyond])


def test_integrate_is_voxelmorphs_vecint(voxelmorph):
    np.testing.assert_allclose(functional.integrate(voxelmorph["svf"], 7), voxelmorph["vecint7"], atol=1e-5)


def test_compose_is_voxelmorphs(voxelmorph):
    if "compose_u_v" not in voxelmorph:
        pytest.skip("the reference has the composition in 2-D only")
    result = functional.compose(voxelmorph["disp"][:1], voxelmorph["svf"][:1])
    np.testing.assert_allclose(result[0], voxelmorph["compose_u_v"], atol=1e-5)


def test_determinant_is_voxelmorphs(voxelmorph):
    determinant = functional.jacobian_determinant(voxelmorph["disp"][:1])
    np.testing.assert_allclose(determinant[0], voxelmorph["jacdet_disp0"], atol=1e-5)


def test_losses_are_voxelmorphs(voxelmorph):
    v = voxelmorph
    np.testing.assert_allclose(losses.diffusion(v["svf"]), v["grad_l2"], rtol=1e-5)
    assert np.mean(losses.mean_squared_error(v["I"], v["J"])) == pytest.approx(v["mse_loss"], rel=1e-5)
    # Beyond the border VoxelMorph counts zeros where our window ends: equal up to that.
    for window in (5, 9):
        ours = np.asarray(losses.local_ncc(v["I"], v["J"], window=window)) - 1
        np.testing.assert_allclose(ours, v[f"ncc{window}_loss"], atol=0.006)

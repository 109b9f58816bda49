import keras
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from acreg.layers import ThinPlateSplineAugmentation, functional

SHAPES = {2: (40, 36), 3: (20, 18, 22)}
GEOMETRY = {"max_rotation": 15, "max_translation": 4, "max_deformation": 1, "control_points": 5}
SAME_INTENSITY = {"gamma": 0, "brightness": 0}
STILL = {"max_rotation": 0, "max_translation": 0, "max_deformation": 0}


def batch_of(rank, size=2, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    shape = SHAPES[rank]
    return {
        "image": rng.uniform(-300, 900, (size, *shape, channels)).astype(np.float32),
        "labels": rng.integers(0, 4, (size, *shape, 1), dtype=np.uint8),
        "spacing": rng.uniform(0.8, 2, (size, rank)).astype(np.float32),
    }


def arrays(results):
    return {name: keras.ops.convert_to_numpy(value) for name, value in results.items()}


def assert_same(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("rank", [2, 3])
def test_warping_moving_by_the_displacement_gives_fixed(rank):
    """In image and labels, by an independent program."""
    inputs = batch_of(rank, channels=2)
    layer = ThinPlateSplineAugmentation(**GEOMETRY, **SAME_INTENSITY, return_displacement=True, seed=3)
    pair = arrays(layer(inputs))
    assert set(pair) == {"fixed", "moving", "fixed_labels", "moving_labels", "displacement"}
    np.testing.assert_array_equal(pair["moving_labels"], inputs["labels"])
    for b in range(2):
        assert np.abs(pair["displacement"][b]).max() > 2
        at = np.indices(SHAPES[rank]) + np.moveaxis(pair["displacement"][b], -1, 0)
        for channel in range(2):
            expected = map_coordinates(pair["moving"][b, ..., channel], at, order=1, mode="nearest")
            np.testing.assert_allclose(pair["fixed"][b, ..., channel], expected, atol=1e-5)
        sizes = np.reshape(SHAPES[rank], (-1, *(1,) * rank))
        clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(axis=0)  # not between two voxels
        outside = ((at < -0.5) | (at > sizes - 0.5)).any(axis=0)
        assert outside.any()
        nearest = map_coordinates(inputs["labels"][b, ..., 0], at, order=0, mode="nearest")
        expected = np.where(outside, 0, nearest)
        np.testing.assert_array_equal(pair["fixed_labels"][b, ..., 0][clear], expected[clear])


def test_moving_is_the_image_from_0_to_1_in_each_channel():
    image = np.stack([np.linspace(5, 9, 36).reshape(1, 6, 6), np.full((1, 6, 6), 7.0)], axis=-1)
    pair = arrays(ThinPlateSplineAugmentation(**STILL, **SAME_INTENSITY, return_displacement=True)({"image": image}))
    np.testing.assert_allclose(pair["moving"][0, ..., 0], (image[0, ..., 0] - 5) / 4, atol=1e-6)
    np.testing.assert_array_equal(pair["moving"][0, ..., 1], 0)  # a constant channel
    np.testing.assert_array_equal(pair["fixed"], pair["moving"])
    np.testing.assert_array_equal(pair["displacement"], np.zeros((1, 6, 6, 2)))


def test_translation_is_in_millimetres_of_the_images_own_spacing():
    inputs = batch_of(2, size=2)
    inputs["spacing"] = np.array([[2.0, 1.0], [1.0, 3.0]], np.float32)
    layer = ThinPlateSplineAugmentation(return_displacement=True)
    pair = arrays(layer.apply_parameters(inputs, {"translation": np.array([[4.0, -3.0], [0.0, 6.0]], np.float32)}))
    np.testing.assert_allclose(pair["displacement"][0], np.broadcast_to([2, -3], (*SHAPES[2], 2)), atol=1e-6)
    np.testing.assert_allclose(pair["displacement"][1], np.broadcast_to([0, 2], (*SHAPES[2], 2)), atol=1e-6)
    np.testing.assert_allclose(pair["fixed"][1, :, :-2], pair["moving"][1, :, 2:], atol=1e-6)
    np.testing.assert_array_equal(pair["fixed_labels"][0, :-2, 3:], inputs["labels"][0, 2:, :-3])
    np.testing.assert_array_equal(pair["fixed_labels"][0, -2:], 0)  # outside of the image


@pytest.mark.parametrize("spacing", [3.0, (3.0, 1.5)])
def test_the_constructors_spacing_is_that_of_images_without_one(spacing):
    inputs = batch_of(2)
    parameters = ThinPlateSplineAugmentation(**GEOMETRY, seed=0).draw(inputs)
    own = inputs | {"spacing": np.broadcast_to(np.float32(spacing), (2, 2))}
    expected = ThinPlateSplineAugmentation(return_displacement=True).apply_parameters(own, parameters)
    del inputs["spacing"]
    layer = ThinPlateSplineAugmentation(return_displacement=True, spacing=spacing)
    found = layer.apply_parameters(inputs, parameters)
    np.testing.assert_allclose(found["displacement"], expected["displacement"], atol=1e-5)


@pytest.mark.parametrize("rank", [2, 3])
def test_draws_fill_their_limits_and_keep_them(rank):
    layer = ThinPlateSplineAugmentation(20, 5, 3, control_points=4, gamma=1, brightness=0.2, spacing=20, seed=0)
    drawn = arrays(layer.draw({"image": np.zeros((4000, *(4,) * rank, 1), np.float32)}))
    assert drawn["angles"].shape == (4000, 3 if rank == 3 else 1)
    assert drawn["control_displacements"].shape == (4000, *(4,) * rank, rank)
    lengths = {name: np.linalg.norm(drawn[name], axis=-1) for name in ("translation", "control_displacements")}
    ranges = {
        "angles": (drawn["angles"], -20, 20),
        "translation": (lengths["translation"], 0, 5),
        "control_displacements": (lengths["control_displacements"], 0, 3),
        "gamma": (np.log2(drawn["gamma"]), -1, 1),
        "brightness": (drawn["brightness"], -0.2, 0.2),
    }
    for name, (values, low, high) in ranges.items():
        assert values.min() >= low - 1e-5 and values.max() <= high + 1e-5, name
        # uniform: mean and standard deviation of that distribution
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low)), name
        assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.05), name
    np.testing.assert_allclose(drawn["translation"].mean(axis=0), 0, atol=0.2)  # of no preferred direction
    for name in ("gamma", "brightness"):
        assert abs(np.corrcoef(drawn[name].T)[0, 1]) < 0.05, "fixed and moving have draws of their own"


def test_parts_that_are_off_have_no_parameters():
    inputs = batch_of(2)
    assert ThinPlateSplineAugmentation(**STILL, **SAME_INTENSITY).draw(inputs) == {}
    on = {"angles", "brightness"}
    layer = ThinPlateSplineAugmentation(max_rotation=5, max_translation=0, max_deformation=0, gamma=0)
    assert set(layer.draw(inputs)) == on


@pytest.mark.parametrize("rank", [2, 3])
def test_kept_parameters_give_the_same_pair_again(rank):
    inputs = batch_of(rank)
    layer = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=5)
    kept = arrays(layer.draw(inputs))
    first, again = layer.apply_parameters(inputs, kept), layer.apply_parameters(inputs, kept)
    assert_same(arrays(first), arrays(again))
    called = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=5)
    assert_same(arrays(called(inputs)), arrays(first))
    assert np.abs(called(inputs)["displacement"] - first["displacement"]).max() > 0.5, "each call draws anew"
    other = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=6)
    assert np.abs(other(inputs)["displacement"] - first["displacement"]).max() > 0.5


def test_samples_do_not_depend_on_their_batch():
    inputs = batch_of(3, size=3)
    layer = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=5)
    drawn = arrays(layer.draw(inputs))
    together = arrays(layer.apply_parameters(inputs, drawn))
    for b in range(3):
        alone = layer.apply_parameters(*({k: v[b : b + 1] for k, v in x.items()} for x in (inputs, drawn)))
        for name, value in arrays(alone).items():
            np.testing.assert_allclose(value[0], together[name][b], atol=1e-5, err_msg=name)
    assert np.abs(np.diff(together["displacement"], axis=0)).max(axis=(1, 2, 3, 4)).min() > 0.5


def test_intensities_are_changed_apart():
    inputs = batch_of(2, size=1)
    moving = (inputs["image"] - inputs["image"].min()) / np.ptp(inputs["image"])
    parameters = {"gamma": np.array([[2.0, 0.5]]), "brightness": np.array([[0.2, -0.1]])}
    pair = arrays(ThinPlateSplineAugmentation().apply_parameters(inputs, parameters))
    bright, dark = np.clip(moving**2 + 0.2, 0, 1), np.clip(moving**0.5 - 0.1, 0, 1)
    np.testing.assert_allclose(pair["fixed"], (bright - 0.2) / 0.8, atol=1e-5)
    np.testing.assert_allclose(pair["moving"], dark / 0.9, atol=1e-5)


@pytest.mark.parametrize(("shape", "deformation"), [((1, 30), 0), ((2, 3), 0), ((1, 1, 5), 0), ((3, 4), 0.5)])
def test_images_of_a_few_voxels_and_constant_ones_stay_finite(shape, deformation):
    image = np.stack([np.full(shape, 3.0), np.random.default_rng(0).normal(size=shape)])[..., None]
    layer = ThinPlateSplineAugmentation(10, 2, deformation, 3, spacing=20, return_displacement=True, seed=0)
    for name, value in arrays(layer({"image": image})).items():
        assert np.isfinite(value).all(), name
        if name != "displacement":
            assert value.min() >= 0 and value.max() <= 1


def test_a_transform_within_the_limits_does_not_fold():
    inputs = batch_of(3, size=20) | {"spacing": np.full((20, 3), 9.0, np.float32)}
    layer = ThinPlateSplineAugmentation(return_displacement=True, seed=0)  # the paper's limits
    determinant = np.asarray(functional.jacobian_determinant(layer(inputs)["displacement"]))
    assert determinant.min() > 0
    assert determinant.std() > 0.05


def test_a_deformation_that_may_fold_warns():
    inputs = {"image": np.zeros((1, 64, 64, 1), np.float32)}
    with pytest.warns(UserWarning, match="Control points are 9.14 mm apart, and vectors of max_deformation=6.0 mm"):
        ThinPlateSplineAugmentation()(inputs)


def test_compiled_by_xla_the_same_parameters_give_the_same_pair():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends are compiled already")
    import tensorflow as tf

    inputs = batch_of(2)
    layer = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=5)

    @tf.function(jit_compile=True)
    def compiled(inputs):
        drawn = layer.draw(inputs)
        return drawn, layer.apply_parameters(inputs, drawn)

    drawn, pair = compiled(inputs)
    for name, expected in layer.apply_parameters(inputs, drawn).items():
        if name == "fixed_labels":  # where rounding decides between two voxels
            assert np.mean(pair[name] != expected) < 1e-3
        else:
            np.testing.assert_allclose(pair[name], expected, atol=2e-4, err_msg=name)


def test_in_tf_data_and_in_fit():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.data runs TensorFlow only")
    import tensorflow as tf

    inputs = batch_of(2, size=6)

    def pairs(seed):
        layer = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=seed)
        data = tf.data.Dataset.from_tensor_slices(inputs).repeat().batch(2).map(layer)
        return [arrays(pair) for pair in data.take(4)]

    first, again = pairs(1), pairs(1)
    for a, b in zip(first, again, strict=True):
        assert_same(a, b)
    np.testing.assert_array_equal(first[0]["moving_labels"], first[3]["moving_labels"])  # the same images
    assert np.abs(first[0]["displacement"] - first[3]["displacement"]).max() > 0.5

    given = {"image": keras.Input((None, None, 1), name="image"), "spacing": keras.Input((2,), name="spacing")}
    pair = ThinPlateSplineAugmentation(**GEOMETRY, return_displacement=True, seed=1)(given)
    seen = keras.layers.Concatenate()([pair["fixed"], pair["moving"]])
    model = keras.Model(given, keras.layers.Conv2D(2, 3, kernel_initializer="ones", padding="same")(seen))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    images = {name: inputs[name] for name in given}
    history = model.fit(images, np.zeros((6, *SHAPES[2], 2)), batch_size=2, epochs=5, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_rotation": -1}, "`max_rotation` must be a number from 0 to 180. Received: max_rotation=-1"),
        ({"max_translation": float("inf")}, "`max_translation` must be a number of at least 0. Received.*inf"),
        ({"max_deformation": float("nan")}, "`max_deformation` must be a number of at least 0. Received.*nan"),
        ({"brightness": 1.5}, "`brightness` must be a number from 0 to 1. Received: brightness=1.5"),
        ({"control_points": 2}, "`control_points` must be a whole number from 3 to 12. Received: control_points=2"),
        ({"spacing": 0}, "`spacing` must be a positive number of millimetres.*Received: spacing=0"),
        ({"spacing": (1, 1, 1, 1)}, r"`spacing` must be.*one for each axis. Received: spacing=\(1, 1, 1, 1\)"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ThinPlateSplineAugmentation(**wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((2, 8, 1))}, r"`image` must have shape \(batch, \*spatial, channels\).*\(2, 8, 1\)"),
        ({"labels": np.zeros((2, 8, 7, 1), int)}, r"`labels` must have shape .* beside.*\(2, 8, 7, 1\)"),
        (
            {"labels": np.zeros((2, 8, 8, 3), int)},
            r"`labels` must be integers .*, 1\), or one-hot floats.*\(2, 8, 8, 3\)",
        ),
        ({"labels": np.zeros((2, 8, 8, 1))}, "`labels` must be integers .*, or one-hot floats.* Received.*float"),
        ({"spacing": np.ones((2, 3))}, r"`spacing` must have shape \(2, 2\) beside.*\(2, 3\)"),
        ({"spacing": np.array([[1, 1], [0, 1.0]])}, r"`spacing` must be positive millimetres. Received.*\[0.0, 1.0\]"),
        ({"image": np.full((2, 8, 8, 1), np.nan)}, "`image` must have finite voxels only. Received: NaN or infinity"),
        ({"masks": np.zeros((2, 8, 8, 1))}, r"`inputs` must have 'image'.*Received: \['image', 'masks'\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ThinPlateSplineAugmentation(spacing=50)({"image": np.zeros((2, 8, 8, 1)), **change})


def test_parameters_that_do_not_fit_are_refused():
    layer, inputs = ThinPlateSplineAugmentation(spacing=50), {"image": np.zeros((2, 8, 8, 1), np.float32)}
    with pytest.raises(ValueError, match=r"`parameters` must be among.*Received: 'rotation'"):
        layer.apply_parameters(inputs, {"rotation": np.zeros((2, 1))})
    with pytest.raises(ValueError, match=r"`angles` must have shape \(2, 1\) for this image. Received: shape=\(2, 3\)"):
        layer.apply_parameters(inputs, {"angles": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="must be an image, or a dictionary with 'image'.*Received: {'image': 'list'}"):
        layer.draw(inputs["image"].tolist())
    with pytest.raises(
        ValueError, match=r"several numbers in the layer's `spacing` must be one for each.*\(1.0, 1.0, 1.0\)"
    ):
        ThinPlateSplineAugmentation(spacing=(1, 1, 1))(inputs)


def test_one_hot_labels_move_as_integers_do():
    rng = np.random.default_rng(0)
    image, labels = rng.random((2, 12, 12, 1)).astype(np.float32), rng.integers(0, 3, (2, 12, 12, 1))
    layer = ThinPlateSplineAugmentation(10, 2, 1, control_points=3, seed=0)
    drawn = layer.draw({"image": image, "labels": labels})
    whole = arrays(layer.apply_parameters({"image": image, "labels": labels}, drawn))
    one_hot = np.eye(3, dtype=np.float32)[labels[..., 0]]
    found = arrays(layer.apply_parameters({"image": image, "labels": one_hot}, drawn))
    for name in ("fixed_labels", "moving_labels"):
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], np.eye(3)[whole[name][..., 0]])


def test_an_image_alone_is_one_and_inference_changes_nothing():
    image = np.random.default_rng(0).random((2, 12, 12, 1)).astype(np.float32)
    layer = ThinPlateSplineAugmentation(10, 2, 1, control_points=3, return_displacement=True, seed=0)
    chain = keras.Sequential([keras.Input((12, 12, 1)), layer])
    found = chain.predict(image, verbose=0)
    np.testing.assert_array_equal(found["fixed"], found["moving"])
    assert not found["displacement"].any()
    trained = arrays(chain(image, training=True))
    assert np.abs(trained["displacement"]).max() > 0.1 and (arrays(layer(image))["fixed"] != found["fixed"]).any()

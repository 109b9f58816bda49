import json

import keras
import numpy as np
import pytest

from acreg.layers import UncertaintyWeighting

PRIORS = {"ncc": 1.0, "dice": 0.5, "diffusion": 5e-3}
TERMS = {"ncc": np.float32(0.4), "dice": np.float32(0.2), "diffusion": np.float32(3.0)}
MODES = ["uncertainty", "softmax"]
modes = pytest.mark.parametrize("mode", MODES)


def make(mode, **options):
    return UncertaintyWeighting(PRIORS, ["diffusion"], mode, **options)


def shaken(mode, **options):
    """A layer whose weights are not the priors."""
    layer = make(mode, **options)
    layer.build()
    rng = np.random.default_rng(0)
    layer.set_weights([w + rng.uniform(-0.5, 0.5, w.shape) for w in layer.get_weights()])
    return layer


def weights_of(layer):
    return {name: float(weight) for name, weight in layer.loss_weights().items()}


def test_uncertainty_is_kendalls_total_from_the_priors_on():
    layer = make("uncertainty")
    assert weights_of(layer) == pytest.approx(PRIORS) and list(weights_of(layer)) == list(PRIORS)
    total = 0.4 + 0.5 * 0.2 - np.log(0.5) + 5e-3 * 3.0 - np.log(5e-3)
    assert float(layer(TERMS)) == pytest.approx(total, rel=1e-6)
    layer.set_weights([np.array([0.3, -0.7, 2.0])])
    total = np.exp(-0.3) * 0.4 + 0.3 + np.exp(0.7) * 0.2 - 0.7 + np.exp(-2) * 3 + 2
    assert float(layer(TERMS)) == pytest.approx(total, rel=1e-6)


def test_softmax_weights_sum_to_one_and_the_regulariser_has_its_own():
    layer = make("softmax")
    assert weights_of(layer) == pytest.approx({"ncc": 2 / 3, "dice": 1 / 3, "diffusion": 5e-3})
    assert float(layer(TERMS)) == pytest.approx(0.4 * 2 / 3 + 0.2 / 3 + 5e-3 * 3, rel=1e-6)
    weights = weights_of(shaken("softmax"))
    assert weights["ncc"] + weights["dice"] == pytest.approx(1)
    assert weights["ncc"] != pytest.approx(2 / 3, abs=0.01) and weights["diffusion"] != pytest.approx(5e-3, rel=0.01)


def test_weights_of_several_regularisers_sum_to_one_too():
    """Equation 1 of the paper; weights that start as shares of 1 stay shares of 1 in training."""
    priors = {"ncc": 2.0, "dice": 1.0, "diffusion": 5e-3, "bending": 1e-3}
    layer = UncertaintyWeighting(priors, ["diffusion", "bending"], "softmax")
    assert weights_of(layer) == pytest.approx({"ncc": 2 / 3, "dice": 1 / 3, "diffusion": 5 / 6, "bending": 1 / 6})
    optimizer = keras.optimizers.SGD(1.0)
    rng = np.random.default_rng(2)
    optimizer.apply([rng.normal(size=w.shape).astype("float32") for w in layer.get_weights()], layer.variables)
    weights = weights_of(layer)
    assert weights["ncc"] != pytest.approx(2 / 3, abs=0.01) and weights["bending"] != pytest.approx(1 / 6, abs=0.01)
    assert weights["ncc"] + weights["dice"] == pytest.approx(1)
    assert weights["diffusion"] + weights["bending"] == pytest.approx(1)
    terms = {"ncc": np.float32(0.4), "dice": np.float32(0.2), "diffusion": np.float32(3), "bending": np.float32(7)}
    assert float(layer(terms)) == pytest.approx(sum(weights[name] * terms[name] for name in terms), rel=1e-6)


def test_softmax_moves_towards_the_smallest_loss_and_the_regulariser_only_down():
    """d/dv_i = w_i (L_i - mean L) and d/du = weight * R, which is never negative."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients are tested on TensorFlow")
    import tensorflow as tf

    layer = make("softmax")
    with tf.GradientTape() as tape:
        total = layer(TERMS)
    losses, regularisers = tape.gradient(total, [variable.value for variable in layer.trainable_variables])
    mean = 0.4 * 2 / 3 + 0.2 / 3
    np.testing.assert_allclose(losses, [2 / 3 * (0.4 - mean), 1 / 3 * (0.2 - mean)], rtol=1e-5)
    np.testing.assert_allclose(regularisers, [5e-3 * 3.0], rtol=1e-5)


@modes
def test_terms_may_be_a_vector_and_have_a_batch(mode):
    layer = shaken(mode)
    rows = np.random.default_rng(1).uniform(size=(4, 3)).astype(np.float32)
    expected = [float(layer(dict(zip(PRIORS, row)))) for row in rows]
    np.testing.assert_allclose(layer(rows), expected, rtol=1e-6)
    np.testing.assert_allclose(layer(dict(zip(PRIORS, rows.T))), expected, rtol=1e-6)
    assert layer.compute_output_shape((4, 3)) == (4,)
    assert layer(keras.Input((3,))).shape == (None,)
    assert layer({name: keras.Input((), name=name) for name in PRIORS}).shape == (None,)


class Toy(keras.Model):
    """A small loss that is easy, and a large one; both want another value of what they share.

    ``0.1 (shared^2 + own^2 + 1)`` and ``(shared - 1)^2 + 1``.
    """

    def __init__(self, mode):
        super().__init__()
        self.shared = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.9), name="shared")
        self.own = self.add_weight(shape=(), initializer=keras.initializers.Constant(2.0), name="own")
        self.weighting = UncertaintyWeighting({"small": 1.0, "large": 1.0}, mode=mode) if mode != "fixed" else sum_up
        self.built = True

    def call(self, x):
        return x

    def compute_loss(self, *args, **kwargs):
        shared, own = keras.ops.convert_to_tensor(self.shared), keras.ops.convert_to_tensor(self.own)
        small = 0.1 * (shared**2 + own**2 + 1)
        return self.weighting({"small": small, "large": (shared - 1) ** 2 + 1})


def sum_up(terms):
    return terms["small"] + terms["large"]


def train(mode, steps=300):
    model = Toy(mode)
    model.compile(optimizer=keras.optimizers.Adam(0.05))
    model.fit(np.zeros((steps, 1)), batch_size=1, verbose=0)
    return model


def test_uncertainty_heeds_both_losses_where_softmax_collapses_onto_the_smaller():
    """The product of the losses has its minimum half way, at 0.5; the sum at 0.91; the small loss alone at 0."""
    fixed, uncertainty, softmax = train("fixed"), train("uncertainty"), train("softmax")
    assert float(fixed.shared) == pytest.approx(1 / 1.1, abs=0.01)
    assert float(uncertainty.shared) == pytest.approx(0.5, abs=0.03)
    assert float(softmax.shared) == pytest.approx(0.0, abs=0.03)
    assert all(float(model.own) == pytest.approx(0.0, abs=0.05) for model in (uncertainty, softmax))
    collapsed, balanced = weights_of(softmax.weighting), weights_of(uncertainty.weighting)
    assert collapsed["small"] > 0.999 and collapsed["large"] < 0.001
    assert balanced["large"] == pytest.approx(1 / 1.25, rel=0.05)
    assert balanced["small"] == pytest.approx(1 / 0.125, rel=0.05)


def test_a_weight_is_at_most_100_times_its_prior_and_comes_down_again():
    """A term of zero would raise its weight without end; at the bound it is not stuck."""
    layer = UncertaintyWeighting({"a": 0.2})
    layer.build()
    optimizer = keras.optimizers.SGD(0.5)
    for _ in range(30):  # of the total exp(-s) 0 + s
        optimizer.apply([keras.ops.ones((1,))], layer.trainable_variables)
    assert weights_of(layer)["a"] == pytest.approx(20.0, rel=1e-5)
    optimizer.apply([1 - 20.0 * keras.ops.ones((1,))], layer.trainable_variables)  # the loss is 1 again
    assert weights_of(layer)["a"] < 1


@modes
def test_config_and_saved_models_give_the_same_bits(mode, tmp_path):
    layer = shaken(mode, name="a_name")
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert keras.saving.deserialize_keras_object(saved).get_config() == layer.get_config()
    inputs = {name: keras.Input((), name=name) for name in PRIORS}
    model = keras.Model(inputs, layer(inputs))
    rows = dict(zip(PRIORS, np.random.default_rng(1).uniform(size=(3, 5)).astype(np.float32)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(rows), model(rows))
    assert weights_of(loaded.get_layer("a_name")) == weights_of(layer)
    np.testing.assert_array_equal(loaded.predict_on_batch(rows), model.predict_on_batch(rows))


@modes
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_stays_in_float32(mode, policy):
    layer, low = shaken(mode), shaken(mode, dtype=policy)
    assert all(variable.dtype == "float32" for variable in low.variables)
    total = low(TERMS)
    assert keras.backend.standardize_dtype(total.dtype) == "float32" and float(total) == float(layer(TERMS))
    half = {name: keras.ops.cast(value, "float16") for name, value in TERMS.items()}
    assert keras.backend.standardize_dtype(low(half).dtype) == "float32"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: UncertaintyWeighting({"a": 1}, mode="kendall"), "`mode` must be one of .*Received: mode='kendall'"),
        (lambda: UncertaintyWeighting({"a": 0}), "finite and above 0. Received: a=0"),
        (lambda: UncertaintyWeighting({"a": float("inf")}), "finite and above 0. Received: a=inf"),
        (lambda: UncertaintyWeighting({}), "names in `priors`, but not all"),
        (lambda: UncertaintyWeighting({"a": 1}, ["a"]), r"Received: regularisers=\['a'\]"),
        (lambda: UncertaintyWeighting({"a": 1}, ["b"]), r"Received: regularisers=\['b'\], priors=\{'a': 1\}"),
        (
            lambda: make("softmax")({"ncc": np.float32(1)}),
            r"each of \['ncc', 'dice', .*Received: the terms \['ncc'",
        ),
        (lambda: make("softmax")(np.zeros((3, 2), "float32")), r"Received: a tensor of shape \(3, 2\)"),
        (lambda: make("softmax")(keras.Input((2,))), r"Received: a tensor of shape \(None, 2\)"),
    ],
)
def test_wrong_use_is_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()

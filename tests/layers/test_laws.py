"""Laws that every layer holds, in 2-D and 3-D; what a layer computes is tested in the file of its name."""

import json

import keras
import numpy as np
import pytest

from acreg.layers import ComposeDisplacements, IntegrateVelocity, ResizeDisplacement, SpatialTransformer

SHAPES = {2: (6, 8), 3: (5, 6, 4)}
NEW = {2: (9, 5), 3: (7, 6, 8)}
MAKE = {
    "warp": lambda rank: SpatialTransformer(),
    "warp_nearest": lambda rank: SpatialTransformer("nearest"),
    "warp_constant": lambda rank: SpatialTransformer(border="constant", fill_value=0.5),
    "compose": lambda rank: ComposeDisplacements(),
    "integrate": lambda rank: IntegrateVelocity(3),
    "resize": lambda rank: ResizeDisplacement(NEW[rank]),
}
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]

pytestmark = [pytest.mark.parametrize("rank", [2, 3]), pytest.mark.parametrize("name", list(MAKE))]


def arrays(name, rank, batch=2):
    """Call arguments of the layer ``name``."""
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(2, batch, *SHAPES[rank], rank)).astype(np.float32)
    if name.startswith("warp"):
        return [rng.normal(size=(batch, *SHAPES[rank], 3)).astype(np.float32), fields[0]]
    return list(fields) if name == "compose" else [fields[0]]


def model_of(name, rank, sizes):
    """A functional model of the layer alone; ``sizes`` of its inputs may be None."""
    layer = MAKE[name](rank)
    inputs = [keras.Input((*sizes, x.shape[-1])) for x in arrays(name, rank)]
    return keras.Model(inputs, layer(*inputs))


def dtype_of(x):
    return keras.backend.standardize_dtype(x.dtype)


def test_config_round_trip(name, rank):
    layer = MAKE[name](rank)
    layer.name = "a_name"
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.name == "a_name"
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is type(layer) and again.get_config() == layer.get_config()


@pytest.mark.parametrize("known", [True, False])
def test_symbolic_shapes_are_those_of_results(name, rank, known):
    sizes = SHAPES[rank] if known else (None,) * rank
    model = model_of(name, rank, sizes)
    values = arrays(name, rank, batch=3)
    result = model(values)
    expected = result.shape if known or name == "resize" else (None,) * (rank + 1) + (result.shape[-1],)
    assert model.output_shape[1:] == tuple(expected)[1:]
    assert model.output_shape[0] is None
    layer = MAKE[name](rank)
    assert layer.compute_output_shape(*[x.shape for x in values]) == tuple(result.shape)
    np.testing.assert_array_equal(layer(*values), result)


def test_saved_model_gives_the_same_bits(name, rank, tmp_path):
    model = model_of(name, rank, (None,) * rank)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for batch in (1, 3):
        values = arrays(name, rank, batch)
        np.testing.assert_array_equal(again(values), model(values))


@pytest.mark.parametrize("policy", POLICIES)
def test_fields_stay_in_float32(name, rank, policy):
    layer = MAKE[name](rank)
    low = type(layer).from_config({**layer.get_config(), "dtype": policy})
    values = arrays(name, rank)
    np.testing.assert_array_equal(low(*values), layer(*values))
    assert dtype_of(low(*values)) == "float32"
    half = [keras.ops.cast(x, low.compute_dtype) for x in values]
    symbolic = low(*[keras.KerasTensor(x.shape, dtype=dtype_of(x)) for x in half])
    assert dtype_of(low(*half)) == dtype_of(symbolic)
    if not name.startswith("warp"):  # whose result has the dtype of the image
        assert dtype_of(symbolic) == "float32"
        # No digit is lost beyond those that the input has lost.
        full = layer(*[keras.ops.cast(x, "float32") for x in half])
        np.testing.assert_array_equal(low(*half), full)


def test_compilation_changes_nothing(name, rank):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends are compiled already")
    model = model_of(name, rank, (None,) * rank)
    values = arrays(name, rank)
    results = []
    for jit in (False, True):
        model.compile(jit_compile=jit)
        results.append(model.predict_on_batch(values))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)

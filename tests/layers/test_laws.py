"""Laws that every layer holds, in 2-D and 3-D; what a layer computes is tested in the file of its name."""

import json

import keras
import numpy as np
import pytest

from acreg.layers import (
    AffineToDisplacement,
    ComposeDisplacements,
    ImageAugmentation,
    IntegrateVelocity,
    ResizeDisplacement,
    SpatialMoments,
    SpatialTransformer,
    ThinPlateSplineAugmentation,
)

SHAPES = {2: (6, 8), 3: (5, 6, 4)}
NEW = {2: (9, 5), 3: (7, 6, 8)}
MAKE = {
    "affine": lambda rank: AffineToDisplacement("similarity"),
    "warp": lambda rank: SpatialTransformer(),
    "warp_nearest": lambda rank: SpatialTransformer("nearest"),
    "warp_constant": lambda rank: SpatialTransformer(border="constant", fill_value=0.5),
    "compose": lambda rank: ComposeDisplacements(),
    "moments": lambda rank: SpatialMoments(2),
    "integrate": lambda rank: IntegrateVelocity(3),
    "resize": lambda rank: ResizeDisplacement(NEW[rank]),
    "augment": lambda rank: ThinPlateSplineAugmentation(
        10, 1, 0.5, 3, spacing=[1.5] * rank, return_displacement=True, seed=1
    ),
    "changes": lambda rank: ImageAugmentation(0.2, 0.2, 0.2, 0.1, rotation=0.2, shift=0.1, elastic=0.02, seed=1),
}
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]

pytestmark = [pytest.mark.parametrize("rank", [2, 3]), pytest.mark.parametrize("name", list(MAKE))]


def arrays(name, rank, batch=2):
    """Call arguments of the layer ``name``."""
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(2, batch, *SHAPES[rank], rank)).astype(np.float32)
    if name == "augment":
        image = rng.normal(size=(batch, *SHAPES[rank], 2)).astype(np.float32)
        labels = rng.integers(0, 3, size=(batch, *SHAPES[rank], 1), dtype=np.int32)
        return [{"image": image, "labels": labels, "spacing": rng.uniform(1, 2, (batch, rank)).astype(np.float32)}]
    if name == "changes":
        return [rng.random((batch, *SHAPES[rank], 1)).astype(np.float32)]
    if name == "affine":
        parameters = rng.uniform(-0.2, 0.2, (batch, AffineToDisplacement.count("similarity", rank)))
        return [parameters.astype(np.float32), fields[0]]
    if name.startswith("warp"):
        return [rng.normal(size=(batch, *SHAPES[rank], 3)).astype(np.float32), fields[0]]
    return list(fields) if name == "compose" else [fields[0]]


def model_of(name, rank, sizes):
    """A functional model of the layer alone; ``sizes`` of its inputs may be None."""
    layer = MAKE[name](rank)

    def placeholder(x):
        return keras.Input((*sizes[: x.ndim - 2], x.shape[-1]), dtype=dtype_of(x))

    inputs = keras.tree.map_structure(placeholder, arrays(name, rank))
    return keras.Model(inputs, layer(*inputs))


def dtype_of(x):
    return keras.backend.standardize_dtype(x.dtype)


def halved(x, dtype):
    """Call arguments or results with their floats in another precision."""
    return keras.tree.map_structure(lambda v: keras.ops.cast(v, dtype) if "float" in dtype_of(v) else v, x)


def assert_same(a, b):
    """The same structure of arrays with the same bits."""
    keras.tree.map_structure(np.testing.assert_array_equal, a, b)


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
    for symbol, array in zip(keras.tree.flatten(model.output), keras.tree.flatten(result), strict=True):
        expected = array.shape if known or name in ("resize", "moments") else (None,) * (rank + 1) + (array.shape[-1],)
        assert symbol.shape == (None, *expected[1:])
        assert dtype_of(symbol) == dtype_of(array)
    shapes = keras.tree.map_structure(lambda x: x.shape, values)
    assert MAKE[name](rank).compute_output_shape(*shapes) == keras.tree.map_structure(lambda x: tuple(x.shape), result)
    assert_same(MAKE[name](rank)(*values), result)


def test_saved_model_gives_the_same_bits(name, rank, tmp_path):
    model = model_of(name, rank, (None,) * rank)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for batch in (1, 3):
        values = arrays(name, rank, batch)
        assert_same(again(values), model(values))


@pytest.mark.parametrize("policy", POLICIES)
def test_fields_stay_in_float32(name, rank, policy):
    config = MAKE[name](rank).get_config()

    def run(x, policy=policy):
        """The result of a new layer: one that draws is to draw the same."""
        return type(MAKE[name](rank)).from_config({**config, "dtype": policy})(*x)

    values = arrays(name, rank)
    assert_same(run(values), run(values, "float32"))
    assert {dtype_of(x) for x in keras.tree.flatten(run(values))} <= {"float32", "int32"}
    half = halved(values, keras.DTypePolicy(policy).compute_dtype)
    symbolic = run(keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, dtype=dtype_of(x)), half))
    keras.tree.map_structure(lambda a, b: np.testing.assert_equal(dtype_of(a), dtype_of(b)), run(half), symbolic)
    if not name.startswith("warp"):  # whose result has the dtype of the image
        assert "float32" in {dtype_of(x) for x in keras.tree.flatten(symbolic)} <= {"float32", "int32"}
        # No digit is lost beyond those that the input has lost.
        assert_same(run(half), run(halved(half, "float32"), "float32"))


def test_compilation_changes_nothing(name, rank):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends are compiled already")
    if name == "augment":
        pytest.skip("XLA draws other numbers; the layer's own tests compile it with given ones")
    model = model_of(name, rank, (None,) * rank)
    values = arrays(name, rank)
    results = []
    for jit in (False, True):
        model.compile(jit_compile=jit)
        results.append(model.predict_on_batch(values))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)

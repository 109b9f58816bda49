"""Whole numbers of 8 and 16 bits are decoded to the last bit, however a compiler rearranges the arithmetic."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from acreg.layers import ImageAugmentation
from acreg.layers.whole_numbers import decoded


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_each_number_becomes_what_numpy_divides_it_to(dtype: type, jit: bool) -> None:
    most = np.iinfo(dtype).max
    every = np.arange(most + 1).astype(dtype).reshape(1, -1, 16, 1)
    image = keras.Input(every.shape[1:], dtype=every.dtype.name)
    model = keras.Model(image, ImageAugmentation()(image))
    model.compile(jit_compile=jit)
    found = model.predict_on_batch(every)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, every.astype(np.float32) / np.float32(most))


def test_inputs_are_decoded_only_if_an_image_has_whole_numbers() -> None:
    labels = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    image = np.full((1, 2, 2, 1), 0.1, np.float32)
    given = {"moving": image, "moving_labels": labels}
    assert decoded(given) is given
    found = decoded({**given, "fixed": np.full((1, 2, 2, 1), 13107, np.uint16)})
    assert {name: keras.backend.standardize_dtype(x.dtype) for name, x in found.items()} == {
        "moving": "float32", "moving_labels": "int32", "fixed": "float32"
    }  # fmt: skip
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found["fixed"]), np.float32(0.2))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found["moving_labels"]), labels)

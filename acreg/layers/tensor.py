"""The type of tensors in annotations."""

from __future__ import annotations

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the Keras backend, a `keras.KerasTensor` in a symbolic call, or a NumPy array.

Keras has no type hints, so a type checker sees `Any`. The name informs the reader.
"""

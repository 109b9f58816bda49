"""What annotations call a tensor."""

from __future__ import annotations

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the Keras backend, a `keras.KerasTensor` in a symbolic call, or a NumPy array.

Keras has no type hints: for a type checker this is `Any`. It tells the reader what is meant.
"""

"""Conversion of the channels of a colour image to one value per voxel, and the number of axes of an image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.errors import AcregError

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass
class Channel:
    """The channel of a colour file that is read, and `of`, the number of channels."""

    number: int
    of: int = 1


_channel: ContextVar[Channel | None] = ContextVar("channel", default=None)


@contextlib.contextmanager
def one_channel(number: int) -> Iterator[Channel]:
    """Read colour images, also volumes, as one of their channels instead of as luminance."""
    wanted = Channel(number)
    before = _channel.set(wanted)
    try:
        yield wanted
    finally:
        _channel.reset(before)


def to_grey(colours: np.ndarray, path: Path, labels: bool) -> np.ndarray:
    """One channel of `(*spatial, channels)`, 2 being grey and alpha, 3 RGB, 4 RGBA; labels need equal channels.

    The result is the luminance, or the channel that `one_channel` sets.
    """
    wanted = _channel.get()
    if wanted is not None:
        wanted.of = colours.shape[-1]
        return colours[..., wanted.number]
    if colours.shape[-1] < 3 or channels_agree(colours):
        return colours[..., 0]
    if labels:
        raise AcregError(
            f"A label map has one value a pixel. Received: {path}, whose colour channels differ. Save the labels as "
            "a grey image of ids."
        )
    grey = np.zeros(colours.shape[:-1], np.float32)
    for channel, weight in enumerate(LUMINANCE):  # one by one, so that large pictures fit into memory
        grey += np.float32(weight) * colours[..., channel].astype(np.float32)
    return grey


def channels_agree(colours: np.ndarray) -> bool:
    """Whether red, green and blue are the same everywhere."""
    return bool((colours[..., 0] == colours[..., 1]).all() and (colours[..., 0] == colours[..., 2]).all())


def check_colour_rank(path: Path, rank: int) -> None:
    """Raise `AcregError` for a colour image that is not 2-D."""
    if rank != 2 and _channel.get() is None:
        raise AcregError(
            f"Colour is read from 2-D images only. Received: {path}, a colour image with {rank} axes. Save it as grey."
        )


def check_rank(path: Path, shape: Sequence[int]) -> None:
    """Raise `AcregError` for an image with other than 2 or 3 axes."""
    if len(shape) not in (2, 3):
        raise AcregError(
            f"An image has 2 or 3 axes. Received: {path} of size {tuple(shape)}. Save one frame or channel as a file."
        )


def fits_pixels(array: np.ndarray) -> bool:
    """Whether `to_pixels` keeps every value."""
    return bool(array.min() >= 0 and array.max() <= 65535 and np.array_equal(array, np.rint(array)))


def to_pixels(array: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to 0..255 as uint8, or to 0..65535 as uint16 if the largest is above 255."""
    wide = array.max() > 255
    return np.clip(np.rint(array), 0, 65535 if wide else 255).astype(np.uint16 if wide else np.uint8)

"""Pictures of training: pairs as the network registers them, or images as it segments them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

PAIRS = 3
HEIGHT = 128
"""Smallest number of rows of a picture; smaller images are enlarged by an integer factor."""
COLUMNS = "moving, fixed, warped, difference"


def draw_pairs(model: keras.Model, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """A row for each of the first pairs of a batch: moving, fixed, warped, and the difference of the last two.

    Of a segmenter, a row for each of the first images: the image, its labels, and the predicted labels.

    An image or an activation mask that the model predicts follows. The first channel is shown (for a volume, the
    middle slice along axis 0), with grey values from 0 to 1.

    Returns:
        uint8 `(rows, columns)`.
    """
    if "image" in batch:
        images, labels = (np.asarray(batch[name])[:PAIRS] for name in ("image", "labels"))
        logits = keras.ops.convert_to_numpy(model(images, training=False))
        scale = 1.0 / (logits.shape[-1] - 1)
        shown = [images, scale * labels, scale * logits.argmax(axis=-1)[..., None]]
        rows = [np.concatenate([_framed(_slice(each[i])) for each in shown], axis=1) for i in range(len(images))]
        return np.concatenate(rows)
    pairs = {name: np.asarray(batch[name])[:PAIRS] for name in ("moving", "fixed", "fixed_labels") if name in batch}
    found = {name: keras.ops.convert_to_numpy(value) for name, value in model(pairs, training=False).items()}
    shown = [pairs["moving"], pairs["fixed"], found["warped"], np.abs(found["warped"] - pairs["fixed"])]
    shown += [found[name] for name in ("synthesised", "activation") if name in found]
    rows = [np.concatenate([_framed(_slice(images[i])) for images in shown], axis=1) for i in range(len(shown[0]))]
    return np.concatenate(rows)


def png(picture: np.ndarray) -> bytes:
    """A picture uint8 `(rows, columns)` as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return buffer.getvalue()


class PairPictures(keras.callbacks.Callback):
    """Writes the picture of `draw_pairs` for TensorBoard after each epoch; needs the TensorFlow backend."""

    def __init__(self, folder: Path, batch: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.folder = folder
        self.batch = batch
        self.writer: tf.summary.SummaryWriter | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        import tensorflow as tf

        self.writer = self.writer or tf.summary.create_file_writer(str(self.folder))
        picture = draw_pairs(self.model, self.batch)
        with self.writer.as_default():
            tf.summary.image(COLUMNS, picture[None, ..., None], step=epoch)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self.writer is not None:
            self.writer.close()


def _slice(image: np.ndarray) -> np.ndarray:
    """The first channel of `(*spatial, channels)`; for a volume, its middle slice."""
    plane = image[..., 0]
    return plane[len(plane) // 2] if plane.ndim == 3 else plane


def _framed(plane: np.ndarray) -> np.ndarray:
    grey = np.clip(255.0 * np.asarray(plane, np.float32) + 0.5, 0, 255).astype(np.uint8)
    times = -(-HEIGHT // len(grey))
    return np.pad(grey.repeat(times, axis=0).repeat(times, axis=1), 2)

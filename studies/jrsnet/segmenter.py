"""A U-Net that segments one image, trained on the masks that JRS-Net sees: the yardstick of its segmentation.

Run as ``python -m studies.jrsnet.segmenter --data montgomery --out DIR``. Writes ``dice.csv``, a row a test
subject with the Dice of the foreground on the image's own grid, and prints the mean; the weights are those of the epoch
with the lowest loss on the validation split. Compare with *Mask DSC* of `acreg evaluate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.sampling.augmentation import Augmentation
from acreg.errors import AcregError
from acreg.geometry import sample_image
from acreg.io import Preprocessing
from acreg.io.csv_tables import write_table
from acreg.metrics import label_metrics
from acreg.models.blocks import average_pool, batch_norm, convolution

AUGMENTATION = Augmentation(gamma=0.3, contrast=0.2, noise=0.03, rotation=0.15, scale=0.1, shift=0.06)


def segmentation_network(rank: int = 2, channels: int = 1, filters: Sequence[int] = (16, 32, 64, 64)) -> keras.Model:
    """A U-Net from images ``(batch, *spatial, channels)`` to foreground probabilities ``(batch, *spatial, 1)``.

    Sizes are multiples of ``2 ** (len(filters) - 1)``.

    Source: Ronneberger et al., U-Net, MICCAI 2015, narrower, with batch normalisation.
    """
    up = {2: layers.UpSampling2D, 3: layers.UpSampling3D}[rank]

    def block(x: keras.KerasTensor, n: int) -> keras.KerasTensor:
        for _ in range(2):
            x = layers.ReLU()(batch_norm()(convolution(rank, n, use_bias=False)(x)))
        return x

    x = image = keras.Input((None,) * rank + (channels,))
    skips = []
    for level, n in enumerate(filters):
        x = block(average_pool(rank)(x) if level else x, n)
        skips.append(x)
    for n, skip in zip(filters[-2::-1], skips[-2::-1], strict=True):
        x = block(layers.Concatenate()([up(2)(x), skip]), n)
    return keras.Model(image, convolution(rank, 1, 1, activation="sigmoid", dtype="float32")(x))


def train(dataset: Dataset, shape: tuple[int, ...], epochs: int, seed: int) -> tuple[keras.Model, Preprocessing]:
    """The trained network and how images become its input.

    Raises:
        AcregError: the dataset lacks labels.
    """
    preprocessing = Preprocessing(
        shape=shape,
        trim=False,
        intensity="percentiles",
        label_values=dataset.label_values,
        label_names=dataset.label_names,
    )
    parts = [dataset.load_arrays(split, preprocessing) for split in ("train", "validation")]
    labels, held_out = (part.labels for part in parts)
    if labels is None or held_out is None:
        raise AcregError(f"A segmenter is trained on labels. Received: {dataset.name}, which has none.")
    keras.utils.set_random_seed(seed)
    model = segmentation_network(len(shape), parts[0].images.shape[-1])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
    best, weights = np.inf, model.get_weights()
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        images, moved = AUGMENTATION.apply(parts[0].images, labels, rng)
        model.fit(images, _foreground(moved), batch_size=8, verbose=0)
        loss = float(model.evaluate(parts[1].images, _foreground(held_out), verbose=0))
        if loss < best:
            best, weights = loss, model.get_weights()
    model.set_weights(weights)
    return model, preprocessing


def _foreground(labels: Any) -> np.ndarray:
    return (np.asarray(labels) > 0).astype(np.float32)


def score(model: keras.Model, preprocessing: Preprocessing, dataset: Dataset, split: str) -> dict[str, float]:
    """Dice of the foreground of each subject, on its image's own grid."""
    found = {}
    for record in dataset.split(split):
        image, labels = dataset.read_labelled(record)
        grid = preprocessing.grid(image)
        probability: Any = model.predict_on_batch(preprocessing.apply(image, grid)[None])
        mask = sample_image(np.asarray(probability)[0, ..., 0], grid, image.grid, outside=0.0) > 0.5
        found[record.subject] = label_metrics(mask.astype(int), (labels.array > 0).astype(int), [1])[1]["dsc"]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score the test split, write and print."""
    parser = argparse.ArgumentParser(prog="segmenter", description="A U-Net as the yardstick of segmentation.")
    parser.add_argument("--data", default="montgomery", help="prepared dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--shape", nargs="+", type=int, default=(64, 64), help="the network's grid")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    dataset = Dataset.load(dataset_folder(given.data))
    model, preprocessing = train(dataset, tuple(given.shape), given.epochs, given.seed)
    dice = score(model, preprocessing, dataset, "test")
    given.out.mkdir(parents=True, exist_ok=True)
    write_table(given.out / "dice.csv", [["subject", "dice"], *([name, repr(value)] for name, value in dice.items())])
    values = np.array(list(dice.values()))
    print(f"{len(values)} subjects: Dice {values.mean():.3f} ({values.std():.3f})")


if __name__ == "__main__":
    main()

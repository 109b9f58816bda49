"""Does `AffineDeformableNet` recover a known map? Measures the mean error at the corners of phantoms, in voxels.

Run as ``python -m benchmarks.affine_recovery [steps]``; about 15 minutes on two cores with the 3000
steps of the default. Only the affine part is trained, only on image similarity, with random maps of phantoms of the
training split (rotated by up to 30 degrees, scaled by up to 20 %, sheared, shifted by up to a tenth of the image). Then
it is tested on random maps, in the same ranges, of phantoms of the test split.
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from acreg.data.manifest import Dataset, dataset_folder
from acreg.io import Preprocessing
from acreg.layers import AffineToDisplacement, functional
from acreg.models import AffineDeformableNet

SHAPE = (64, 64)
BATCH = 16
SEED = 0


def random_maps(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Parameters of `AffineToDisplacement`, ``(count, 6)``: shift after shear after scale after rotation."""
    angle, shear = rng.uniform(-np.pi / 6, np.pi / 6, count), rng.uniform(-0.1, 0.1, count)
    scale = np.exp(rng.uniform(np.log(0.8), np.log(1.2), count))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    slant = np.eye(2)[None].repeat(count, 0)
    slant[:, 0, 1] = shear
    linear = slant @ (scale[:, None, None] * turn)
    shift = rng.uniform(-0.2, 0.2, (count, 2, 1))  # as a share of half of the image
    return np.concatenate([linear - np.eye(2), shift], axis=-1).reshape(count, 6).astype(np.float32)


def pair(images: np.ndarray, parameters: np.ndarray) -> dict[str, np.ndarray]:
    """Images and the same images after the maps: ``fixed(p) = moving(map p)``."""
    displacement = AffineToDisplacement()(parameters, images)
    return {"moving": images, "fixed": ops.convert_to_numpy(functional.warp(images, displacement))}


def corner_errors(found: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Mean distance in voxels between the corners of the image as two maps move them."""
    truth = ops.convert_to_numpy(AffineToDisplacement().matrix(parameters, SHAPE))
    corners = np.array([(i, j, 1.0) for i in (0, SHAPE[0] - 1) for j in (0, SHAPE[1] - 1)])
    return np.linalg.norm((found - truth) @ corners.T, axis=1).mean(axis=-1)


def main(steps: int) -> None:
    """Train, and print the errors of the test phantoms during the training."""
    keras.utils.set_random_seed(SEED)
    dataset = Dataset.load(dataset_folder("phantoms"))
    preprocessing = Preprocessing(shape=SHAPE, label_values=dataset.label_values)
    train, test = (dataset.load_arrays(split, preprocessing).images for split in ("train", "test"))
    rng = np.random.default_rng(SEED)
    model = AffineDeformableNet(rank=2, deformable=False, affine_passes=3, losses={"affine_squared_ncc": 1.0})
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate, clipnorm=1.0))
    wanted = random_maps(4 * len(test), rng)
    asked = pair(np.tile(test, (4, 1, 1, 1)), wanted)
    start = time.perf_counter()
    losses: list[float] = []
    for step in range(steps + 1):
        if step % max(1, steps // 10) == 0:
            found = ops.convert_to_numpy(model.predict_on_batch(asked)["affine"])
            errors = corner_errors(found, wanted)
            print(
                f"step {step}: corner error {errors.mean():.2f} voxels on average (median {np.median(errors):.2f}, "
                f"90 % below {np.quantile(errors, 0.9):.2f}), loss {np.mean(losses[-100:] or [np.nan]):.4f}, "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
        batch = pair(train[rng.integers(0, len(train), BATCH)], random_maps(BATCH, rng))
        losses.append(float(model.train_on_batch(batch, return_dict=True)["loss"]))
        model.reset_metrics()
    identity = np.eye(2, 3)[None].repeat(len(wanted), 0)
    print(f"The identity would be wrong by {corner_errors(identity, wanted).mean():.2f} voxels on average.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)

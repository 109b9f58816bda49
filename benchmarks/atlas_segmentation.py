"""Is a fusion of atlases better than a single one, and does reverse classification accuracy predict the quality?

Run as ``python -m benchmarks.atlas_segmentation DATASET PRESET``. Atlases and references are from the training split,
images from the test split. Prints the tables of docs/how-to/applications.md. Each pair is registered once.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.stats import wilcoxon

from acreg.applications.atlases.label_fusion import FUSIONS, Fusion
from acreg.applications.atlases.multi_atlas import Atlases, segment_by_atlases
from acreg.applications.atlases.quality import label_dice, predict_quality, spoiled
from acreg.data.manifest import Dataset, dataset_folder
from acreg.geometry import Transform
from acreg.io import Image
from acreg.registration.methods import Method, PresetMethod

COUNTS = (1, 3, 5, 10)
REFERENCES = 5
STRENGTHS = (0, 0.02, 0.05, 0.1, 0.2)
"""Strengths by which true label maps are degraded, see `spoiled`."""


class Remembering:
    """A method that registers each pair of images once."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.name = method.name
        self._found: dict[tuple[bytes, bytes], Transform] = {}

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The transform, computed now or in an earlier call."""
        key = fixed.array.tobytes(), moving.array.tobytes()
        if key not in self._found:
            self._found[key] = self._method.register(fixed=fixed, moving=moving)
        return self._found[key]


def main(data: str, preset: str) -> None:
    """Print both tables."""
    dataset = Dataset.load(dataset_folder(data))
    atlases, method = Atlases(dataset), Remembering(PresetMethod(preset))
    values = [value for value in dataset.label_values if value]
    fused: dict[tuple[int, Fusion], list[float]] = {(k, fusion): [] for k in COUNTS for fusion in FUSIONS}
    single: dict[int, list[float]] = {k: [] for k in COUNTS}
    true, best, mean = [], [], []
    records = dataset.split("test")
    for seed, record in enumerate(records):
        image, truth = dataset.read_labelled(record)
        for k, fusion in fused:
            (found,) = segment_by_atlases([image], atlases, method, k, fusion=fusion)
            fused[k, fusion].append(float(np.nanmean(label_dice(found.labels.array, truth.array, values))))
        moved = [method.register(fixed=image, moving=atlases[s][0]).warp_labels(atlases[s][1]) for s in found.atlases]
        dice = [float(np.nanmean(label_dice(each.array, truth.array, values))) for each in moved]
        for k in COUNTS:
            single[k].append(float(np.mean(dice[:k])))
        for strength in STRENGTHS:
            worse = spoiled(truth, strength, seed)
            true.append(float(np.nanmean(label_dice(worse.array, truth.array, values))))
            (quality,) = predict_quality([(image, worse)], atlases, method, REFERENCES)
            best.append(quality.maximum)
            mean.append(quality.mean)
    print(
        f"{dataset.name}, {len(records)} test images, {len(atlases.records)} atlases, {method.name}: mean Dice (SD)\n"
    )
    print(f"| k | mean of the k single atlases | {' | '.join(FUSIONS)} |\n|---|---|{'---|' * len(FUSIONS)}")
    for k in COUNTS:
        cells = []
        for fusion in FUSIONS:
            p = wilcoxon(fused[k, fusion], single[k], alternative="greater").pvalue if k > 1 else 1.0
            cells.append(f"{np.mean(fused[k, fusion]):.4f} ({np.std(fused[k, fusion]):.4f}), p {p:.1g}")
        print(f"| {k} | {np.mean(single[k]):.4f} ({np.std(single[k]):.4f}) | {' | '.join(cells)} |")
    print(
        f"\nReverse classification accuracy, {len(true)} spoiled truths (Dice {min(true):.2f} to {max(true):.2f}), ",
        end="",
    )
    print(
        f"{REFERENCES} references: maximum: correlation {np.corrcoef(true, best)[0, 1]:.3f}, mean absolute error ",
        end="",
    )
    print(f"{np.abs(np.subtract(true, best)).mean():.3f}; mean: {np.corrcoef(true, mean)[0, 1]:.3f}, ", end="")
    print(f"{np.abs(np.subtract(true, mean)).mean():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])

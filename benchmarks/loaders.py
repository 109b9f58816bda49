"""Pairs that reach a consumer which takes no time: acreg's input beside the loaders of MONAI and TorchIO.

acreg's subjects are in memory, or all are streamed from a file; its pairs are augmented by NumPy, or travel as they are
stored (raw), to be augmented by the model. The peers hold their subjects in memory and make pairs of the same parts.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.measure import Benchmark, Contender

Run = Callable[[], Any]
SUBJECTS = 32
CLASSES = 5
CHANGES = {"gamma": 0.3, "noise": 0.03, "rotation": 0.1, "scale": 0.1, "shift": 0.05, "elastic": 0.02}
"""Of `acreg.data.Augmentation`: affine and elastic maps, contrast and noise."""
SIZES = {(64, 64): (400, 80), (64,) * 3: (60, 8), (96,) * 3: (30, 4), (128,) * 3: (30, 2)}
"""Pairs in a call by the shape of an image: raw ones, and augmented ones."""
QUICK_SIZES = {(16, 16): (4, 2), (16,) * 3: (4, 2)}


def written(folder: Path, shape: Sequence[int]) -> list[Path]:
    """Files of images and labels as a training stores them: one labelled image, shifted."""
    from acreg.data.stored_array import encode

    axes, paths = tuple(range(len(shape))), []
    ones = {"images": encode(inputs.images(shape)[0]), "labels": inputs.labels(shape, CLASSES)[..., None].astype("u1")}
    for name, one in ones.items():
        paths.append(folder / f"{name}.npy")
        rng = np.random.default_rng(0)
        with paths[-1].open("wb") as file:
            about = {"descr": one.dtype.str, "fortran_order": False, "shape": (SUBJECTS, *one.shape)}
            np.lib.format.write_array_header_1_0(file, about)
            for _ in range(SUBJECTS):
                file.write(np.roll(one, rng.integers(0, shape), axes).data)
    return paths


def own(shape: Sequence[int], pairs: int, augmented: bool, held: int, workers: int) -> Run:
    """acreg's input, with so many subjects in memory."""
    from acreg.data.sampling.augmentation import Augmentation
    from acreg.data.sampling.pairs import PairSampler
    from acreg.data.sampling.pipeline import tf_pairs
    from acreg.data.stored_array import StoredArray

    with tempfile.TemporaryDirectory(prefix="acreg-bench-") as folder:  # a file is read as long as it is open
        arrays = [StoredArray.open(path, path.stem == "images", held) for path in written(Path(folder), shape)]
        arrays = arrays if augmented else [array.as_stored() for array in arrays]
    sampler = PairSampler(arrays[0], arrays[1], 1, 0, Augmentation(**CHANGES) if augmented else None)
    batches = tf_pairs(sampler, steps=pairs, workers=workers)

    def run() -> Any:
        for batch in batches:
            last = batch
        return last["fixed"]

    return run


class Pairs:
    """What the loaders of torch read: pairs of subjects, drawn as by acreg, both of them changed at random."""

    def __init__(self, shape: Sequence[int], change: Callable[[Any, Any], tuple[Any, Any]], pairs: int) -> None:
        import torch

        from acreg.data.stored_array import StoredArray

        with tempfile.TemporaryDirectory(prefix="acreg-bench-") as folder:
            stored = [StoredArray.open(path, path.stem == "images", 0) for path in written(Path(folder), shape)]
            self.images, self.labels = (
                [torch.from_numpy(np.moveaxis(one, -1, 0)) for one in array] for array in (stored[0], stored[1])
            )
        self.labels = [one.to(torch.uint8) for one in self.labels]
        self.change = change
        self.pairs = pairs

    def __len__(self) -> int:
        return self.pairs

    def __getitem__(self, step: int) -> dict[str, Any]:
        rng = np.random.default_rng([0, step])
        fixed = rng.integers(SUBJECTS)
        moving = (fixed + rng.integers(1, SUBJECTS)) % SUBJECTS
        made: dict[str, Any] = {}
        for role, subject in (("moving", moving), ("fixed", fixed)):
            made[role], made[f"{role}_labels"] = self.change(self.images[subject], self.labels[subject])
        return made


class Loading:
    """A call draws all pairs of a loader: in this process, or, with two workers or more, in so many others.

    Attributes:
        peak_mb: the largest memory of all processes together after a pair, if there are others.
    """

    def __init__(self, loader: Callable[..., Any], dataset: Pairs, workers: int) -> None:
        import torch

        torch.set_num_threads(1)
        self._loader = loader(dataset, batch_size=1, num_workers=workers if workers > 1 else 0)
        self.peak_mb = 0.0

    def __call__(self) -> Any:
        pair: dict[str, Any] = {}
        for made in self._loader:
            pair = made
            others = [child.pid for child in multiprocessing.active_children()]
            if others:
                self.peak_mb = max(self.peak_mb, sum(_share_mb(process) for process in ("self", *others)))
        return pair["fixed"]


def _share_mb(process: int | str | None) -> float:
    """The memory of a process, in which pages that several share count for each in part."""
    with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("Pss:"))


def monai(shape: Sequence[int], pairs: int, workers: int) -> Run:
    """MONAI's transforms of dictionaries, and its loader."""
    from monai.data import DataLoader
    from monai.transforms import Compose, Rand2DElasticd, Rand3DElasticd, RandAdjustContrastd, RandGaussianNoised

    keys, rank = ("image", "labels"), len(shape)
    affine = {
        "prob": 1.0,
        "rotate_range": (CHANGES["rotation"],) * (1 if rank == 2 else 3),
        "scale_range": (CHANGES["scale"],) * rank,
        "translate_range": tuple(CHANGES["shift"] * n for n in shape),
        "mode": ("bilinear", "nearest"),
        "padding_mode": "border",
    }
    if rank == 2:
        elastic = Rand2DElasticd(keys, spacing=(shape[0] / 4,) * 2, magnitude_range=(0, 2), **affine)
    else:
        elastic = Rand3DElasticd(keys, sigma_range=(5, 7), magnitude_range=(50, 150), **affine)
    transform = Compose(
        [
            elastic,
            RandAdjustContrastd("image", prob=1.0, gamma=(0.7, 1.4)),
            RandGaussianNoised("image", prob=1.0, std=CHANGES["noise"]),
        ]
    )

    def change(image: Any, labels: Any) -> tuple[Any, Any]:
        made = transform({"image": image, "labels": labels})
        return made["image"], made["labels"]

    return Loading(DataLoader, Pairs(shape, change, pairs), workers)


def torchio(shape: Sequence[int], pairs: int, workers: int) -> Run:
    """TorchIO's transforms of subjects, in torch's loader."""
    import torchio as tio
    from torch.utils.data import DataLoader

    flat = len(shape) == 2  # a slice of one voxel, which keeps its plane
    most = tuple(0.0 if n == 1 else 2.5 * CHANGES["elastic"] * n for n in (*shape, 1)[:3])
    degrees = float(np.rad2deg(CHANGES["rotation"]))
    by = tuple(CHANGES["shift"] * n for n in shape)
    transform = tio.Compose(
        [
            tio.RandomAffine(
                scales=(0.9, 1.1, 0.9, 1.1, 1, 1) if flat else CHANGES["scale"],
                degrees=(0, 0, 0, 0, -degrees, degrees) if flat else degrees,
                translation=(-by[0], by[0], -by[1], by[1], 0, 0) if flat else by[0],
                default_pad_value="minimum",
            ),
            tio.RandomElasticDeformation(num_control_points=6, max_displacement=most),
            tio.RandomGamma(log_gamma=CHANGES["gamma"]),
            tio.RandomNoise(std=(0, CHANGES["noise"])),
        ]
    )

    def change(image: Any, labels: Any) -> tuple[Any, Any]:
        tensors = [x[..., None] if flat else x for x in (image, labels)]
        subject = tio.Subject(image=tio.ScalarImage(tensor=tensors[0]), labels=tio.LabelMap(tensor=tensors[1]))
        made = transform(subject)
        return made["image"].data, made["labels"].data

    return Loading(DataLoader, Pairs(shape, change, pairs), workers)


def _contenders(shape: Sequence[int], raw: int, augmented: int) -> Iterator[tuple[str, Contender]]:
    for kind, pairs in (("raw", raw), ("augmented by NumPy", augmented)):
        for place, held in (("in memory", SUBJECTS), ("streamed", 0)):
            for workers in (1, 2):
                prepare = partial(own, shape, pairs, kind != "raw", held, workers)
                yield f"acreg {kind}, {place}, {_counted(workers)}", Contender(prepare, items=pairs)
    for name, package, loading in (("MONAI", "monai", monai), ("TorchIO", "torchio", torchio)):
        for workers in (1, 2):
            prepare = partial(loading, shape, augmented, workers)
            yield f"{name}, {_counted(workers)}", Contender(prepare, ("torch", package), items=augmented)


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def benchmarks(quick: bool) -> list[Benchmark]:
    """One for each size of the images."""
    return [
        Benchmark(
            __name__,
            f"loaders-{len(shape)}d-{shape[0]}",
            f"Input against a fast consumer: pairs of {shape[0]}^{len(shape)}",
            dict(_contenders(shape, *pairs)),
            note="Pairs with labels, from 32 subjects, reach a consumer that takes no time. Times are of one pair. Raw "
            "pairs travel in 16 and 8 bits, and the model augments them on its device, which is not measured here. "
            "Augmented ones are changed by an affine and an elastic map, contrast and noise, as are those of MONAI and "
            "TorchIO, whose amounts are alike, not equal. acreg's workers are threads; one worker of the others is the "
            "process itself, two are two processes, whose memory is summed. Streamed subjects are all read from a "
            "file, which the system may hold in its cache.",
            item="pair",
            environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        for shape, pairs in (QUICK_SIZES if quick else SIZES).items()
    ]

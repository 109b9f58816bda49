"""The pairs of the benchmark of registration without a trained network: eight sets, made from six folders of images.

Test pairs are those of the table; the pairs of `split="val"` come from other subjects, and settings may be chosen on
them. Prostates have no others.
"""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.sampling.pairs import fixed_pairs
from acreg.data.subjects import Subjects
from acreg.errors import AcregError
from acreg.geometry import Grid, Image, Transform
from acreg.io import read_image, read_labels
from benchmarks.any_pair_made import second_contrast, smooth_velocity, turned

MONTGOMERY_PIXEL = 4892 * 0.0875 / 256
"""Millimetres: 4892 pixels of 0.0875 mm, reduced to 256."""

MUTUAL = "[mutual_information=true]"
"""With mutual information. ANTs' SyN always uses it, SyNCC and the others correlation."""
TWO_CONTRASTS = ("acreg:multimodal", f"greedy:deformable{MUTUAL}", f"elastix:bspline{MUTUAL}")
ONE_LEVEL = "greedy:deformable[affine=false,iterations=100]"
"""For volumes of few slices: greedy needs four on its coarsest level, which is a quarter in its affine stage."""


@dataclass(frozen=True, eq=False)
class Case:
    """A pair, its labels, and the true transform from fixed to moving if it is known.

    `values` are the labels whose Dice and distances count, `landmarks` those whose centroids are landmarks.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image
    moving_labels: Image
    values: Sequence[int] = ()
    landmarks: Sequence[int] = ()
    truth: Transform | None = None

    def __post_init__(self) -> None:
        # A label that one of the subjects lacks says nothing about the registration.
        both = np.intersect1d(self.fixed_labels.array, self.moving_labels.array)
        for name, wanted in (("values", self.values or both), ("landmarks", self.landmarks)):
            object.__setattr__(self, name, [int(value) for value in np.intersect1d(both, wanted) if value != 0])


Cases = dict[str, Callable[[], Case]]
"""What reads or makes a case, by the name of the pair."""


@dataclass(frozen=True)
class PairSet:
    """A set of pairs.

    Args:
        title: for the page.
        note: what the pairs are, one or two sentences.
        make: makes its cases from "test" or "val".
        methods: the methods that are not for every set.
    """

    title: str
    note: str
    make: Callable[[str], Cases]
    methods: tuple[str, ...] = ("acreg:deformable",)


def subject_pairs(folder: str, test: int, val: int, split: str) -> tuple[Subjects, list[tuple[str, str]]]:
    """Subjects, and `test` or `val` ordered pairs of them, drawn with the seed 0; 0 stands for all pairs."""
    dataset = Dataset.load(dataset_folder(folder))
    names = [record.subject for record in dataset.split("test" if split == "test" else "validation")]
    if split != "test" and len(names) < 2:
        names += [record.subject for record in dataset.split("train")]
    count = test if split == "test" else val
    return Subjects(dataset), fixed_pairs(names, count or len(names) * (len(names) - 1), 0)


def plain(folder: str, test: int, val: int, split: str) -> Cases:
    """Pairs of subjects as they lie."""
    subjects, pairs = subject_pairs(folder, test, val, split)

    def load(fixed: str, moving: str) -> Case:
        (image, labels), (other, other_labels) = subjects[fixed], subjects[moving]
        return Case(image, other, labels, other_labels)

    return {f"{fixed}__{moving}": partial(load, fixed, moving) for fixed, moving in pairs}


def turned_pairs(folder: str, test: int, val: int, split: str) -> Cases:
    """The same pairs, each moving image turned by 20 to 180 degrees about its centre, about a random axis."""

    def load(name: str, read: Callable[[], Case]) -> Case:
        case = read()
        moving, labels = turned(case.moving, case.moving_labels, _rng("turned", name))
        return replace(case, moving=moving, moving_labels=labels)

    return {name: partial(load, name, read) for name, read in plain(folder, test, val, split).items()}


def montgomery(split: str) -> Cases:
    """Pairs of chest X-rays of 256 x 256 pixels; lungs are label 1."""
    root = _folder("chest_montgomery")
    files = (root / "split" / f"{'test' if split == 'test' else 'train'}_images_256.txt").read_text(encoding="ascii")
    names = [Path(line).stem for line in files.split()]
    grid = Grid((256, 256), (MONTGOMERY_PIXEL,) * 2)

    def read(name: str) -> tuple[Image, Image]:
        image, labels = (root / "LR_256" / kind / f"{name}.png" for kind in ("images", "labels"))
        mask = (read_image(labels).array > 0).astype(np.int32)
        return Image(read_image(image).array, grid, name=name), Image(mask, grid, kind="labels", name=name)

    def load(fixed: str, moving: str) -> Case:
        (image, labels), (other, other_labels) = read(fixed), read(moving)
        return Case(image, other, labels, other_labels)

    pairs = fixed_pairs(names, 30 if split == "test" else 10, 0)
    return {f"{fixed}__{moving}": partial(load, fixed, moving) for fixed, moving in pairs}


def prostate(split: str) -> Cases:
    """Ultrasound (fixed) and MR (moving) of one patient; the centres of both are laid on each other first.

    Raises:
        AcregError: other than test pairs are asked for.
    """
    if split != "test":
        raise AcregError(f"All pairs of prostates are test pairs. Received: split={split!r}. Choose another set.")
    root = _folder("prostate_mr_us")

    def load(row: Mapping[str, str]) -> Case:
        fixed, moving = (read_image(root / row[kind]) for kind in ("fixed", "moving"))
        fixed_labels, moving_labels = (read_labels(root / row[f"{kind}_labels"]) for kind in ("fixed", "moving"))
        middle = (np.array(fixed.grid.shape) - 1) / 2
        grid = fixed.grid.centred(middle, moving.grid.shape, moving.grid.spacing)
        return Case(
            fixed,
            replace(moving, grid=grid),
            replace(fixed_labels, grid=fixed.grid),
            replace(moving_labels, grid=grid),
            values=[1],
            landmarks=range(2, 100),
        )

    with open(root / "pairs.csv", encoding="utf-8", newline="") as file:
        return {row["pair"]: partial(load, row) for row in csv.DictReader(file)}


def two_contrasts(split: str) -> Cases:
    """A head, and the same head with other contrasts, deformed by a known transform; two of each subject."""
    dataset = Dataset.load(dataset_folder("brain_ixi"))
    subjects = Subjects(dataset)

    def load(name: str, subject: str) -> Case:
        rng = _rng("contrast", name)
        image, labels = subjects[subject]
        truth = Transform(image.grid, image.grid, (smooth_velocity(labels, rng),))
        back = truth.inverse().sampled()
        moving = back.warp_image(second_contrast(image, labels, rng), border="edge")
        noise = rng.normal(0.0, 0.02 * np.percentile(moving.array, 99), moving.array.shape)
        moving = replace(moving, array=np.maximum(moving.array + noise, 0.0).astype(np.float32))
        return Case(image, moving, labels, back.warp_labels(labels), truth=truth)

    names = [record.subject for record in dataset.split("test" if split == "test" else "validation")]
    return {f"{subject}-{draw}": partial(load, f"{subject}-{draw}", subject) for draw in (1, 2) for subject in names}


def _folder(name: str) -> Path:
    """A folder of files that are no prepared dataset."""
    folder = Path(os.environ.get("ACREG_DATA", "")) / name
    if not folder.is_dir():
        raise AcregError(f"The folder {name} lies under ACREG_DATA. Received: no {folder}. Set ACREG_DATA.")
    return folder


def _rng(*words: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(word.encode()) for word in words])


SETS = {
    "oasis": PairSet(
        "OASIS-TRT, brains",
        "All ordered pairs of the four test brains of OASIS-TRT-20: no skull, 2 mm, 62 regions of the cortex, "
        "as the headers place them.",
        partial(plain, "brain_oasis_trt", 0, 6),
    ),
    "turned": PairSet(
        "OASIS-TRT, turned",
        "The same pairs. Each moving brain is turned about its centre by an angle of 20 to 180 degrees about a random "
        "axis, another one for each pair, and resampled on a grid along the original axes that holds all of it.",
        partial(turned_pairs, "brain_oasis_trt", 0, 6),
    ),
    "ixi": PairSet(
        "IXI, heads with skull",
        "Twelve random ordered pairs of the six test heads (seed 0): T1 with skull, 2 mm, automatic regions (DLMUSE).",
        partial(plain, "brain_ixi", 12, 6),
    ),
    "hippocampus": PairSet(
        "Hippocampus",
        "100 random ordered pairs of the 40 test subjects (seed 0), those of docs/models/ddmr.md: crops at 1 mm of "
        "different sizes, anterior and posterior part.",
        partial(plain, "hippocampus", 100, 20),
    ),
    "sunnybrook": PairSet(
        "Sunnybrook, hearts",
        "All ordered pairs of the seven test subjects: 64 x 64 voxels of 1.4 mm in 7 to 14 slices of 8 to 10 mm, "
        "myocardium of the left ventricle. The files do not say how the axes lie in the body.",
        partial(plain, "cardiac_sunnybrook", 0, 12),
        methods=("acreg:deformable", ONE_LEVEL),
    ),
    "montgomery": PairSet(
        "Montgomery, chest X-rays",
        "30 random ordered pairs of the authors' 28 test images (seed 0), 256 x 256 pixels of 1.67 mm; both lungs.",
        montgomery,
    ),
    "prostate": PairSet(
        "Prostate, MR to ultrasound",
        "Twelve patients; ultrasound is fixed. The centres of both volumes are laid on each other, since the headers "
        "do not place them. Dice and HD95 are of the gland; TRE is of the landmarks' centroids in the pairs that have "
        "landmarks.",
        prostate,
        methods=TWO_CONTRASTS,
    ),
    "contrast": PairSet(
        "IXI, made T1 to T2",
        "Two pairs of each of the six test heads. The moving image is the head itself: intensities are mapped region "
        "by region to those of another contrast, with a bias field and noise, and deformed by a known smooth transform "
        "of up to 10 mm. TRE is the mean distance from the true point over the voxels of a region.",
        two_contrasts,
        methods=TWO_CONTRASTS,
    ),
}
"""All sets by name, in the order of the page."""

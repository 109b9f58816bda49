"""Registration of awkward images: writes docs/stress.md.

Run as ``python -m benchmarks.stress --out RESULTS --page docs/stress.md`` with the datasets of `benchmarks.accuracy`.
The moving image of each pair is changed in one way, its labels along with it, and registered by each method.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import acreg
from acreg.data.manifest import Dataset, dataset_folder
from acreg.data.sampling.augmentation import smooth_noise
from acreg.data.sampling.pairs import fixed_pairs
from acreg.data.subjects import Subjects
from acreg.errors import AcregError, DoubtfulResult, quiet
from acreg.geometry import Grid, Image
from acreg.io.documents import read_json, write_json
from acreg.metrics import label_metrics, mean_over_labels
from acreg.names import safe_name
from benchmarks.accuracy import SETS, Set
from benchmarks.report import rewrite

Pair = tuple[Image, Image]
Change = Callable[[Image, Image, np.random.Generator], Pair]
HOW = """The moving image of each pair is changed in one way, and its labels with it, then it is registered. A cell is
the mean Dice of the pairs; the brackets hold how many have the verdict `failed`, and how many `look at it`, where
that is any. No labels are used. Pairs are of the test split (seed 0)."""


def _grey(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    """A change of the intensities, which lie in [0, 1]."""

    def made(image: Image, labels: Image, rng: np.random.Generator) -> Pair:
        low, high = float(image.array.min()), float(image.array.max())
        changed = change((image.array - low) / (high - low), rng)
        return replace(image, array=(low + (high - low) * changed).astype(np.float32)), labels

    return made


def _both(change: Callable[[Image], Image]) -> Change:
    return lambda image, labels, rng: (change(image), change(labels))


def reordered(one: Image) -> Image:
    """The same image with its axes in another order and its first axis reversed; the header says so."""
    grid, rank = one.grid, one.grid.rank
    direction = np.array(grid.direction)
    origin = grid.to_world(np.array([grid.shape[0] - 1, *[0] * (rank - 1)]))
    direction[:, 0] *= -1
    order = list(range(rank))[::-1]
    onto = Grid(
        tuple(grid.shape[axis] for axis in order),
        tuple(grid.spacing[axis] for axis in order),
        tuple(origin.tolist()),
        tuple(map(tuple, direction[:, order].tolist())),
    )
    return replace(one, array=np.ascontiguousarray(one.array[::-1].transpose(order)), grid=onto)


def turned(degrees: float) -> Callable[[Image], Image]:
    """The object turned about the centre of the image, about its first axis in 3-D, by its header alone."""

    def made(one: Image) -> Image:
        grid, rank = one.grid, one.grid.rank
        angle = np.deg2rad(degrees)
        turn = np.eye(rank)
        turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        centre = grid.to_world((np.array(grid.shape) - 1) / 2)
        origin = centre + turn @ (np.array(grid.origin) - centre)
        direction = turn @ np.array(grid.direction)
        onto = Grid(grid.shape, grid.spacing, tuple(origin.tolist()), tuple(map(tuple, direction.tolist())))
        return replace(one, grid=onto)

    return made


def coarse(factor: float) -> Change:
    """Voxels that are larger along the first axis."""

    def made(image: Image, labels: Image, rng: np.random.Generator) -> Pair:
        steps = [factor] + [1.0] * (image.grid.rank - 1)
        shape = tuple(max(2, round(n / step)) for n, step in zip(image.grid.shape, steps, strict=True))
        spacing = tuple(s * n / m for s, n, m in zip(image.grid.spacing, image.grid.shape, shape, strict=True))
        onto = image.grid.centred((np.array(image.grid.shape) - 1) / 2, shape, spacing)
        still = acreg.Transform(onto, image.grid, ())
        return still.warp_image(image), still.warp_labels(labels, interpolation="nearest")

    return made


def cropped(one: Image) -> Image:
    """Without the last 30 % along the first axis."""
    kept = round(0.7 * one.grid.shape[0])
    grid = one.grid.part((0,) * one.grid.rank, (kept, *one.grid.shape[1:]))
    return replace(one, array=one.array[:kept], grid=grid)


def mirrored(one: Image) -> Image:
    """The array reversed along its last axis, unknown to the header."""
    return replace(one, array=np.ascontiguousarray(one.array[..., ::-1]))


def spaced(one: Image) -> Image:
    """A header whose spacing is 1.5 times too large."""
    grid = one.grid
    return replace(one, grid=Grid(grid.shape, tuple(1.5 * s for s in grid.spacing), grid.origin, grid.direction))


def _bias(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    field = smooth_noise(rng, (), array.shape, 4)
    return np.clip(array * np.exp(0.4 * field), 0, 1)


CHANGES: dict[str, Change] = {
    "as it is": lambda image, labels, rng: (image, labels),
    "axes in another order": _both(reordered),
    "turned by 20 degrees": _both(turned(20)),
    "turned by 45 degrees": _both(turned(45)),
    "turned by 90 degrees": _both(turned(90)),
    "turned by 180 degrees": _both(turned(180)),
    "voxels 4 times as thick": coarse(4.0),
    "30 % cropped": _both(cropped),
    "noise of 10 %": _grey(lambda array, rng: np.clip(array + rng.normal(0, 0.1, array.shape), 0, 1)),
    "gamma 0.5": _grey(lambda array, rng: array**0.5),
    "gamma 2": _grey(lambda array, rng: array**2),
    "bias field": _grey(_bias),
    "blurred by 2 voxels": _grey(lambda array, rng: ndimage.gaussian_filter(array, 2.0)),
    "inverted": _grey(lambda array, rng: 1 - array),
    "mirrored": _both(mirrored),
    "spacing 1.5 times too large": _both(spaced),
}


def measure(one: Set, name: str, change: str, count: int) -> dict[str, Any]:
    """Dice and verdict of each pair for a method and a change."""
    dataset = Dataset.load(dataset_folder(one.data))
    subjects = Subjects(dataset)
    pairs = fixed_pairs([record.subject for record in dataset.split("test")], count, 0)
    chosen: dict[str, Any] = {"model": name} if name in one.models else {"method": name}
    dice, verdicts = [], []
    for number, (fixed, moving) in enumerate(pairs):
        (image, truth), (other, labels) = subjects[fixed], subjects[moving]
        other, labels = CHANGES[change](other, labels, np.random.default_rng([0, number]))
        with quiet(DoubtfulResult):
            try:
                found = acreg.register(fixed=image, moving=other, **chosen)
            except AcregError:
                dice.append(0.0)
                verdicts.append("failed")
                continue
        values = [value for value in dataset.label_values if value]
        warped = found.transform.warp_labels(labels)
        dice.append(
            float(mean_over_labels(label_metrics(warped.array, truth.array, values, truth.grid.spacing))["dsc"])
        )
        verdicts.append(found.verdict or "")
    return {"dice": dice, "verdicts": verdicts}


def table(one: Set, out: Path) -> list[str]:
    """The lines of a set's section."""
    names = [name for name in _methods(one) if _path(one, name, "as it is", out).is_file()]
    count = len(read_json(_path(one, names[0], "as it is", out), "result")["dice"])
    lines = [
        f"## {one.title}",
        "",
        f"{count} {'pair' if count == 1 else 'pairs'}.",
        "",
        "| moving image | " + " | ".join(f"`{name}`" for name in names) + " |",
    ]
    lines.append("|---" * (len(names) + 1) + "|")
    for change in CHANGES:
        cells = []
        for name in names:
            path = _path(one, name, change, out)
            found = read_json(path, "result") if path.is_file() else None
            cells.append("" if found is None else _cell(found))
        lines.append(f"| {change} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _cell(found: dict[str, Any]) -> str:
    failed, doubtful = (found["verdicts"].count(verdict) for verdict in ("failed", "look at it"))
    told = f" ({failed}, {doubtful})" if failed or doubtful else ""
    return f"{np.mean(found['dice']):.3f}{told}"


def _methods(one: Set) -> tuple[str, ...]:
    return (*one.models, "acreg:deformable")


def _path(one: Set, name: str, change: str, out: Path) -> Path:
    return out / one.data / safe_name(name) / f"{safe_name(change)}.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="stress", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/stress"), help="folder of the results")
    parser.add_argument("--page", type=Path, help="where the page is written; in the folder if left out")
    parser.add_argument("--sets", nargs="+", default=[one.data for one in SETS], metavar="SET", help="some sets")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of each set (6)")
    given = parser.parse_args(arguments)
    lines = [
        "# Awkward images",
        "",
        "This page is written by",
        "",
        "    python -m benchmarks.stress --page docs/stress.md",
        "",
        HOW,
        "",
    ]
    for one in SETS:
        for name in _methods(one) if one.data in given.sets else ():
            for change in CHANGES:
                path = _path(one, name, change, given.out)
                if not path.is_file():
                    write_json(path, measure(one, name, change, given.pairs))
                    print(one.data, name, change, _cell(read_json(path, "result")), flush=True)
        lines += table(one, given.out) if (given.out / one.data).is_dir() else []
    rewrite(given.page or given.out / "stress.md", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does the anatomical prior distinguish plausible from implausible anatomy? AC-RegNet paper, section 5.1 and Figure 2.

The same number of foreground pixels of a label map is set to background in four ways: (a) along the borders of the
organs, which leaves plausible anatomy; (b, c, d) as a block of one organ, which does not. The cross-entropy counts
pixels and is the same for all four; the distance between the autoencoder's codes differs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acreg.data.manifest import Dataset
from acreg.errors import AcregError, UsageError
from acreg.losses import AnatomicalPrior, cross_entropy
from acreg.models import LabelAutoencoder
from acreg.progress import Progress

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]
EROSION = "border"
SIDES = ("top", "bottom", "side")


@dataclass(frozen=True)
class Modification:
    """One way to change a label map: `key` a to d, what is changed, and the changed map."""

    key: str
    name: str
    plausible: bool
    labels: Labels


@dataclass(frozen=True)
class Row:
    """The losses between a subject's label map and one modification of it."""

    subject: str
    key: str
    name: str
    plausible: bool
    pixels: int
    cross_entropy: float
    code_distance: float


@dataclass(frozen=True)
class Outcome:
    """The experiment's result: one row per subject and modification, and the maps of each subject for the figure."""

    rows: list[Row]
    references: list[Labels]
    modifications: list[list[Modification]]

    def values(self, key: str, column: str) -> NDArray[np.float64]:
        """A column (``cross_entropy`` or ``code_distance``) of modification `key`, one value per subject."""
        return np.array([getattr(row, column) for row in self.rows if row.key == key])


def erode_border(labels: Labels, pixels: int) -> Labels:
    """Set `pixels` foreground pixels to background, from the border of the foreground inwards.

    Layer by layer, pixels with the least foreground around them (a Gaussian mean, sd 1.5 pixels) are removed first, so
    that outlines recede without becoming rougher, and no hole appears.

    Args:
        labels: `(rows, columns)`, 0 is the background.
        pixels: number of pixels to change.

    Returns:
        The changed map.
    """
    labels = labels.copy()
    left = pixels
    while left:
        foreground = labels > 0
        # Pixels beyond the image's edge count as foreground: an organ that is cut off there does not recede from it.
        border = foreground & ~ndimage.binary_erosion(foreground, border_value=1)
        candidates = np.flatnonzero(border)
        around = ndimage.gaussian_filter(foreground.astype(np.float64), 1.5, mode="nearest").ravel()[candidates]
        chosen = candidates[np.argsort(around, kind="stable")[:left]]
        labels.flat[chosen] = 0
        left -= len(chosen)
    return labels


def remove_block(labels: Labels, organ: Mask, pixels: int, start: tuple[int, ...]) -> Labels:
    """Set a connected block of `pixels` pixels of an organ to background.

    The block grows from `start`, in each step by the neighbour (along an axis) that is nearest to `start`.

    Args:
        labels: `(rows, columns)`.
        organ: the pixels that may be removed.
        pixels: number of pixels to change.
        start: a pixel of the organ in a component of at least `pixels` pixels; see `largest_component`.

    Returns:
        The changed map.
    """
    labels = labels.copy()
    waiting: list[tuple[float, tuple[int, ...]]] = [(0.0, start)]
    seen, left = {start}, pixels
    while left:
        _, at = heapq.heappop(waiting)
        labels[at] = 0
        left -= 1
        for axis in range(labels.ndim):
            for step in (-1, 1):
                near = (*at[:axis], at[axis] + step, *at[axis + 1 :])
                inside = 0 <= near[axis] < labels.shape[axis]
                if inside and near not in seen and organ[near]:
                    seen.add(near)
                    distance = float(sum((a - b) ** 2 for a, b in zip(near, start)))
                    heapq.heappush(waiting, (distance, near))
    return labels


def largest_component(mask: Mask) -> Mask:
    """The largest component of a mask that is connected along the axes."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def modify(labels: Labels, names: dict[int, str], pixels: int, rng: np.random.Generator) -> list[Modification]:
    """The four modifications of a label map, each of exactly `pixels` pixels.

    With three organs or more, the blocks come from the first three, at a random place on the organ's border. With
    fewer, they come from the largest connected part of the foreground: its top, its bottom and its side.

    Args:
        labels: `(rows, columns)`, 0 is the background.
        names: names of the foreground labels, in their order.
        pixels: number of pixels to change; see `is_large_enough`.
        rng: random generator for the positions of the blocks.
    """
    made = [Modification("a", EROSION, True, erode_border(labels, pixels))]
    if len(names) >= 3:
        organs = [(f"block of {name}", largest_component(labels == value)) for value, name in list(names.items())[:3]]
        starts = []
        for _, organ in organs:
            border = np.argwhere(organ & ~ndimage.binary_erosion(organ, border_value=1))
            border = border if len(border) else np.argwhere(organ)
            starts.append(tuple(int(i) for i in border[rng.integers(len(border))]))
    else:
        foreground = largest_component(labels > 0)
        places = np.argwhere(foreground)
        organs = [(f"block at the {side}", foreground) for side in SIDES]
        starts = [tuple(int(i) for i in places[i]) for i in (0, -1, int(np.argmin(places[:, -1])))]
    for key, (name, organ), start in zip("bcd", organs, starts):
        made.append(Modification(key, name, False, remove_block(labels, organ, pixels, start)))
    return made


def is_large_enough(labels: Labels, values: Sequence[int], pixels: int) -> bool:
    """Whether a block of `pixels` fits into each organ, or into the foreground if there are fewer than three organs."""
    organs = [labels == value for value in values[:3]] if len(values) >= 3 else [labels > 0]
    return all(largest_component(organ).sum() >= pixels for organ in organs)


def run(
    model: LabelAutoencoder,
    dataset: Dataset,
    split: str = "test",
    masks: int = 20,
    pixels: int = 120,
    seed: int = 0,
    progress: Progress | None = None,
) -> Outcome:
    """Run the experiment on random subjects of a dataset, on the autoencoder's grid.

    Args:
        model: an autoencoder with its ``preprocessing``.
        dataset: a prepared dataset with the label set that the autoencoder was trained on.
        split: ``train``, ``validation``, ``test`` or ``all``.
        masks: number of subjects, drawn without repetition by `seed` from those whose organs are large enough.
        pixels: number of pixels that each modification changes.
        seed: seed of the draw and of the blocks' positions.
        progress: called with (text, done, total).

    Raises:
        UsageError: the autoencoder is 3-D, or a number is below 1.
        AcregError: too few label maps have organs of that size; the autoencoder does not know a label; or the
            cross-entropy differs between modifications (impossible if each changed the same number of pixels).
    """
    settings = model.preprocessing
    if settings is None:
        raise UsageError("The autoencoder must know its labels. Received: one without `preprocessing`. Load a preset.")
    if len(model.shape) != 2:
        raise UsageError(f"The experiment is about 2-D label maps. Received: an autoencoder for {model.shape}.")
    if min(masks, pixels) < 1 or seed < 0:
        raise UsageError(
            f"masks and pixels are at least 1, the seed at least 0. Received: masks={masks}, pixels={pixels}, "
            f"seed={seed}. Correct them."
        )
    names = {i: settings.label_names.get(v, f"label {v}") for i, v in enumerate(settings.label_values) if v}
    records = dataset.records if split == "all" else dataset.split(split)
    records = [record for record in records if record.labels is not None]
    rng = np.random.default_rng(seed)
    chosen: list[tuple[str, Labels]] = []
    for index in rng.permutation(len(records)):
        record = records[index]
        image, drawn = dataset.read_labelled(record)
        labels = settings.apply_labels(drawn, settings.grid(image))[..., 0]
        if is_large_enough(labels, list(names), pixels):
            chosen.append((record.subject, labels))
            if progress:
                progress("Reading labels", len(chosen), masks)
        if len(chosen) == masks:
            break
    if len(chosen) < masks:
        raise AcregError(
            f"The experiment needs {masks} label maps whose organs have at least {pixels} pixels each at "
            f"{' x '.join(map(str, model.shape))}. Received: {len(chosen)} in {dataset.name}, split {split}. "
            "Ask for fewer masks or pixels, or for --split all."
        )
    outcome = Outcome([], [labels for _, labels in chosen], [])
    for subject, labels in chosen:
        made = modify(labels, names, pixels, rng)
        outcome.modifications.append(made)
        outcome.rows.extend(_losses(model, subject, labels, made))
    spread = np.ptp([row.cross_entropy for row in outcome.rows])
    if spread > 1e-5 or any(row.pixels != pixels for row in outcome.rows):
        raise AcregError(f"Every modification changes {pixels} pixels. Received: cross-entropies {spread:.2g} apart.")
    return outcome


def _losses(model: LabelAutoencoder, subject: str, labels: Labels, made: Sequence[Modification]) -> Iterator[Row]:
    reference = model.one_hot(np.repeat(labels[None, ..., None], len(made), axis=0))
    changed = model.one_hot(np.stack([m.labels for m in made])[..., None])
    entropies = np.asarray(cross_entropy(reference, changed), np.float64)
    distances = np.asarray(AnatomicalPrior(model)(reference, changed), np.float64)
    for m, entropy, distance in zip(made, entropies, distances):
        pixels = int((m.labels != labels).sum())
        yield Row(subject, m.key, m.name, m.plausible, pixels, float(entropy), float(distance))

"""Subjects with another orientation than the rest: mirrored, upside down, or with exchanged axes.

Every subject is compared with the mean of the others, as it is and in each other pose that a wrong header (or a flipped
array) could give it: 47 in 3-D, 7 in 2-D. There are two measures. *Images*: 1 - correlation of reduced images around
their centres of mass. *Labels*: the distances of the centres of labels from those of the other subjects. A measure can
detect a pose only if it makes most subjects fit clearly worse; brains mirrored left-right, for example, correlate as
well as before, but their left and right labels are then on the wrong sides.

The detection was measured by flipping the arrays of one subject after the other, with unchanged headers. Images detect
flips of x (left-right), y and z in 0, 30 and 30 of 30 IXI heads, in 0, 13 and 13 of 13 OASIS brains, and in 200, 199
and 198 of 200 hippocampi, and flips of x and y in 0 and 137 of 138 Montgomery and in 1 and 243 of 247 JSRT chest
X-rays. Labels detect every flip of the brains and of JSRT. Without flips, nothing was found in these datasets; of 35
cardiac stacks, four were found, of which three are visibly rotated by 90 degrees and one by less.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from acreg.data.check.findings import Findings, span
from acreg.data.check.summaries import Summary
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.grid import Grid

SIDE = 24
"""Voxels per axis on which images are compared."""
FEWEST = 4
"""With fewer subjects there is no majority to compare with."""
IMAGE_GAIN, LABEL_GAIN = 0.85, 0.5
"""A pose counts if it lowers a subject's misfit to this share, and raises it for the median subject by its inverse."""
LABEL_FLOOR = 0.25
"""The misfit that a pose must cause for the labels of the median subject: labels at one position cannot detect it."""
TIE = 0.1
"""Of poses that fit within this factor, the simplest is chosen."""


@dataclass(frozen=True)
class Pose:
    """A correction of the orientation: axis d of the result is axis ``axes[d]``, reversed if ``signs[d]`` is -1."""

    axes: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def matrix(self) -> np.ndarray:
        """``(rank, rank)``: maps centred world coordinates to the corrected ones."""
        matrix = np.zeros((len(self.axes), len(self.axes)))
        matrix[range(len(self.axes)), self.axes] = self.signs
        return matrix

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The array ``(*spatial)``, centred and along the world axes, in this pose."""
        return array.transpose(self.axes)[tuple(slice(None, None, sign) for sign in self.signs)]

    def __str__(self) -> str:
        rank = len(self.axes)
        if self.axes == tuple(range(rank)):
            return FLIPS[rank][tuple(d for d in range(rank) if self.signs[d] < 0)]
        if rank == 2:
            return "turned by 90 degrees" + (" and mirrored" if np.linalg.det(self.matrix) < 0 else "")
        # The header's R, A and S, in world axes (superior, posterior, left): -2, -1 and +0.
        found = zip(np.argsort(self.axes)[::-1], (-1, -1, 1), strict=True)
        letters = [("SPL" if sign * self.signs[d] > 0 else "IAR")[d] for d, sign in found]
        return f"turned, R, A, S of the header looking like {', '.join(letters)}"


FLIPS = {
    2: {(1,): "mirrored left-right", (0,): "flipped upside down", (0, 1): "turned by 180 degrees"},
    3: {
        (2,): "mirrored left-right",
        (1,): "flipped front-back",
        (0,): "flipped upside down",
        (1, 2): "turned by 180 degrees about the head-foot axis",
        (0, 2): "turned by 180 degrees about the front-back axis",
        (0, 1): "turned by 180 degrees about the left-right axis",
        (0, 1, 2): "mirrored along all three axes",
    },
}


@dataclass(frozen=True, eq=False)
class Judgement:
    """The result of one measure.

    Attributes:
        misfit: ``(subjects, poses)``, NaN for a subject that cannot be judged; pose 0 is the unchanged subject.
        fits: ``(subjects, poses)``, whether the subject fits clearly better in that pose.
        denies: ``(subjects, poses)``, whether the subject fits clearly worse in that pose.
        telling: ``(poses,)``, whether the measure can detect the pose in these data.
    """

    misfit: np.ndarray
    fits: np.ndarray
    denies: np.ndarray
    telling: np.ndarray

    @classmethod
    def of(cls, misfit: np.ndarray, gain: float, floor: float = 0.0) -> Judgement:
        """Judge misfits: see `IMAGE_GAIN` and `LABEL_FLOOR`."""
        judged = np.isfinite(misfit[:, 0])
        if judged.sum() < FEWEST:
            nothing = np.zeros(misfit.shape, bool)
            return cls(misfit, nothing, nothing, nothing[0])
        ratio = misfit / np.maximum(misfit[:, :1], 1e-9)
        telling = (np.median(ratio[judged], axis=0) > 1 / gain) & (np.median(misfit[judged], axis=0) > floor)
        return cls(misfit, (ratio < gain) & telling, (ratio > 1 / gain) & telling, telling)

    def best(self, subject: int) -> int:
        """The simplest of the poses that fit best; 0 if the subject fits as it is."""
        if not self.fits[subject].any():
            return 0
        ratio = np.where(self.fits[subject], self.misfit[subject] / self.misfit[subject, 0], np.inf)
        return int(np.flatnonzero(ratio < ratio.min() + TIE)[0])


def check_orientation(summaries: Sequence[Summary], findings: Findings) -> None:
    """Warn about subjects that fit the others better in another pose, and note which flips can be detected by what.

    Args:
        summaries: subjects with one number of axes.
        findings: new findings are added to these.
    """
    if len(summaries) < FEWEST:
        findings.notes.append(f"Flips were not looked for: that takes {FEWEST} subjects to compare.")
        return
    poses = _poses(summaries[0].grid.rank)
    images = Judgement.of(_image_misfit(summaries, poses), IMAGE_GAIN)
    misfit, spread = _label_misfit(summaries, poses)
    labels = Judgement.of(misfit, LABEL_GAIN, LABEL_FLOOR)
    unit = "mm" if any(s.grid != Grid(s.grid.shape) for s in summaries) else "voxels"  # pictures have no spacing

    groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    for i in range(len(summaries)):
        by_labels, by_images = labels.best(i), images.best(i)
        # Images may not detect everything that labels do: then they count as the same pose.
        found = [by_labels] if by_labels and images.fits[i, by_labels] else [by_labels, by_images]
        for pose in {pose for pose in found if pose}:
            groups[pose, bool(images.fits[i, pose]), bool(labels.fits[i, pose])].append(i)
    for (pose, image_fits, labels_fit), where in groups.items():
        who, numbers, disagree = "the image and its labels seem", [], ""
        if image_fits:
            own, turned = (span(1 - images.misfit[where, p], ".2f") for p in (0, pose))
            numbers.append(f"correlation with the mean of the other images {own}, turned back {turned}")
        if labels_fit:
            own, turned = (span(np.sqrt(misfit[where, p]) * spread[where], ".3g") for p in (0, pose))
            numbers.append(f"centres of labels {own} {unit} from those of the others, turned back {turned}")
        if not labels_fit:
            who, disagree = "the image seems", "; its labels do not" if labels.denies[where, pose].all() else ""
        if not image_fits:
            who, disagree = "the labels seem", "; the image does not" if images.denies[where, pose].all() else ""
        findings.add(
            "warning",
            [summaries[i].subject for i in where],
            f"{who} {poses[pose]} ({', '.join(numbers)}){disagree}",
            "Look at image and labels, which disagree: correct the wrong one"
            if disagree
            else "Look at it beside other subjects; correct the header's orientation or reverse the array",
        )
    findings.notes.append(_note(poses, images, labels))


def _note(poses: list[Pose], images: Judgement, labels: Judgement) -> str:
    """A note on which reversals of a single axis can be detected."""
    told: dict[str, list[str]] = defaultdict(list)
    for index in range(1, len(poses[0].axes) + 1):
        by = [name for name, measure in (("images", images), ("labels", labels)) if measure.telling[index]]
        own, other = (1 - float(np.median(images.misfit[:, p])) for p in (0, index))
        blind = (
            f"not judged (no labels tell, and images correlate with the others' mean {own:.2f} as is, {other:.2f} so)"
        )
        told[f"judged by {' and '.join(by)}" if by else blind].append(str(poses[index]))
    parts = (f"{' and '.join(names)} {how}" for how, names in told.items())
    return f"Orientation of each subject against the others: {'; '.join(parts)}."


def _poses(rank: int) -> list[Pose]:
    """All ways to permute and reverse the axes, the simplest first."""
    poses = [Pose(a, s) for a in itertools.permutations(range(rank)) for s in itertools.product((1, -1), repeat=rank)]
    return sorted(poses, key=lambda pose: (pose.axes != tuple(range(rank)), sum(sign < 0 for sign in pose.signs)))


def _image_misfit(summaries: Sequence[Summary], poses: list[Pose]) -> np.ndarray:
    """``(subjects, poses)``: 1 - correlation with the mean of the other subjects."""
    extents = [np.ptp(grid.to_world(_ends(grid)), axis=0) for _, grid in (s.thumbnail for s in summaries)]
    side = float(np.median(extents, axis=0).max())
    cubes = np.array([_unit(_centred(*s.thumbnail, side)) for s in summaries])
    total = cubes.sum(axis=0)
    misfit = np.empty((len(cubes), len(poses)))
    for i, cube in enumerate(cubes):
        others = _unit(total - cube)
        misfit[i] = [1 - float(np.vdot(pose(cube), others)) for pose in poses]
    return misfit


def _ends(grid: Grid) -> np.ndarray:
    return np.array(list(itertools.product(*((-0.5, n - 0.5) for n in grid.shape))))


def _centred(array: np.ndarray, grid: Grid, side: float) -> np.ndarray:
    """Intensities from 0 to 1, ``(SIDE,) * rank``, on a cube along the world axes around the centre of mass."""
    low, high = np.percentile(array, (1, 99))
    weights = np.clip((array - low) / (high - low), 0, 1) if high > low else np.ones(array.shape)
    centre = np.average(voxel_indices(grid.shape).reshape(-1, grid.rank), axis=0, weights=weights.ravel())
    offsets = (voxel_indices((SIDE,) * grid.rank) - (SIDE - 1) / 2) * side / SIDE
    points = np.moveaxis(grid.to_index(grid.to_world(centre) + offsets), -1, 0)
    return ndimage.map_coordinates(weights.astype(np.float32), points, order=1, mode="constant")


def _unit(array: np.ndarray) -> np.ndarray:
    array = array - array.mean()
    length = float(np.linalg.norm(array))
    return array / length if length > 1e-6 else np.zeros_like(array)


def _label_misfit(summaries: Sequence[Summary], poses: list[Pose]) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances of the labels' centres from the mean of the others', relative to their spread.

    Returns:
        ``(subjects, poses)``, NaN where a subject has fewer than two common labels, and the root mean square spread in
        mm ``(subjects,)``.
    """
    misfit, scale = np.full((len(summaries), len(poses)), np.nan), np.full(len(summaries), np.nan)
    labelled = [i for i, s in enumerate(summaries) if s.centres]
    values = sorted({v for i in labelled for v in summaries[i].centres})
    common = [v for v in values if sum(v in summaries[i].centres for i in labelled) > 0.9 * len(labelled)]
    if len(labelled) < FEWEST or len(common) < 2:
        return misfit, scale
    nowhere = np.full(summaries[0].grid.rank, np.nan)
    centres = np.array([[summaries[i].centres.get(v, nowhere) for v in common] for i in labelled])
    there = np.isfinite(centres[..., :1])
    middle = np.nansum(centres, axis=1, keepdims=True) / np.maximum(there.sum(axis=1, keepdims=True), 1)
    centres = np.where(there, centres - middle, 0)
    others = (centres.sum(axis=0) - centres) / np.maximum(there.sum(axis=0) - there, 1)
    for i, own, mean, has in zip(labelled, centres, others, there[..., 0], strict=True):
        own, mean = own[has] - own[has].mean(axis=0), mean[has] - mean[has].mean(axis=0)
        spread = float((mean**2).sum())
        if has.sum() > 1 and spread > 0:
            misfit[i] = [((own @ pose.matrix.T - mean) ** 2).sum() / spread for pose in poses]
            scale[i] = np.sqrt(spread / has.sum())
    return misfit, scale

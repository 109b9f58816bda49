"""Fusion of the label maps of several atlases, after they were moved onto one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from acreg.errors import AcregError, UsageError

Fusion = Literal["majority", "weighted", "staple"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
STAPLE_ITERATIONS = 100
TIE = 1e-6
"""Shares of a voxel that differ by less than this are treated as equal."""


def label_shares(
    maps: NDArray[np.integer], values: Sequence[int], fusion: Fusion = "majority", weights: ArrayLike | None = None
) -> NDArray[np.float32]:
    """How probable each label is at each voxel.

    - ``majority``: the share of the maps that have the label.
    - ``weighted``: the same with a weight for each map, such as its atlas's similarity; negative weights count as 0,
      and if none is positive, all weights are equal.
    - ``staple``: the probability that the expectation-maximisation of STAPLE gives for each label separately (Warfield
      et al., IEEE TMI 23(7), 2004; SimpleITK's implementation), divided by the sum over the labels. Where all maps
      agree, nothing has to be estimated: the probability is 1.

    Args:
        maps: label maps ``(n, *spatial)`` on one grid, that of the most similar atlas first.
        values: the labels, background included.
        fusion: see above.
        weights: one number per map, for ``weighted``.

    Returns:
        ``(len(values), *spatial)``; they sum to 1 at each voxel.

    Raises:
        UsageError: the fusion is unknown, there are no maps, or the number of weights differs from that of the maps.
        AcregError: a map holds a label that is not in `values`.
    """
    maps = np.asarray(maps)
    if fusion not in FUSIONS or len(maps) == 0:
        raise UsageError(
            f"Label maps are fused by {', '.join(FUSIONS)}, and there is at least one. Received: fusion={fusion!r}, "
            f"{len(maps)} maps."
        )
    unknown = sorted(set(np.unique(maps).tolist()) - set(values))
    if unknown:
        raise AcregError(
            f"Label maps that are fused hold the labels of their dataset. Received: labels {unknown} beside "
            f"{sorted(values)}. Correct the maps, or the dataset's labels."
        )
    given = np.ones(len(maps)) if fusion != "weighted" else np.asarray(weights, dtype=float)
    if given.shape != (len(maps),) or not np.isfinite(given).all():
        raise UsageError(
            f"A weighted vote needs one finite weight a map. Received: {len(maps)} maps, weights={weights!r}."
        )
    given = np.maximum(given, 0)
    given = given / given.sum() if given.sum() > 0 else np.full(len(maps), 1 / len(maps))
    shares = np.stack([np.tensordot(given, maps == value, axes=1) for value in values]).astype(np.float32)
    if fusion == "staple" and len(maps) > 1:
        shares = _staple(maps, values, shares)
    return shares


def fused_labels(shares: NDArray[np.float32], values: Sequence[int], first: NDArray[np.integer]) -> NDArray[np.int32]:
    """The label with the largest share at each voxel.

    In a tie, the label of the most similar atlas wins if it is among the tied labels; otherwise the first tied label
    in `values` wins. The result therefore never depends on chance or on the order in which labels are counted.

    Args:
        shares: result of `label_shares`, ``(len(values), *spatial)``.
        values: the labels.
        first: the most similar atlas's map ``(*spatial)``.
    """
    tied = shares >= shares.max(axis=0) - TIE
    winner = np.take(np.asarray(values, np.int32), tied.argmax(axis=0))
    for value, among in zip(values, tied, strict=True):
        winner[among & (first == value)] = value
    return winner


def _staple(maps: NDArray[np.integer], values: Sequence[int], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """STAPLE's probabilities, estimated in the bounding box of all voxels where the maps differ; elsewhere `shares`."""
    differ = (maps != maps[0]).any(axis=0)
    if not differ.any():
        return shares
    part = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(differ))
    found = np.zeros((len(values), *(s.stop - s.start for s in part)))
    staple = sitk.STAPLEImageFilter()
    staple.SetForegroundValue(1)
    staple.SetMaximumIterations(STAPLE_ITERATIONS)
    for number, value in enumerate(values):
        masks = [(each[part] == value).astype(np.uint8) for each in maps]
        if any(mask.any() for mask in masks):
            estimate = staple.Execute([sitk.GetImageFromArray(mask) for mask in masks])
            found[number] = np.nan_to_num(sitk.GetArrayFromImage(estimate))
    total = found.sum(axis=0)
    inside = shares[(slice(None), *part)]
    shares[(slice(None), *part)] = np.where((total > TIE) & differ[part], found / np.maximum(total, TIE), inside)
    return shares

"""Splines, losses and metrics, compared with SciPy, NumPy, scikit-learn, scikit-image and medpy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from acreg.applications.verification.check import Measured, compare, in_each_rank

SHAPES = {2: (40, 36), 3: (14, 16, 12)}


def _pair(rank: int, batch: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two partly correlated images in [0, 1], `(batch, *spatial, 1)`."""
    noise = np.random.default_rng(rank).uniform(size=(2, batch, *SHAPES[rank], 1)).astype(np.float32)
    return noise[0], 0.5 * noise[0] + 0.5 * noise[1]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _spline(rank: int) -> Measured:
    """The thin-plate spline through scattered landmarks: order 2 in the plane, 1 in space."""
    from acreg.layers.thin_plate_spline import interpolate_spline

    rng = np.random.default_rng(rank)
    points, queries = rng.uniform(0, 200, (60, rank)), rng.uniform(0, 200, (300, rank))
    values = 5 * np.sin(points / 40)
    kernel, order = {2: ("thin_plate_spline", 2), 3: ("linear", 1)}[rank]
    expected = RBFInterpolator(points, values, kernel=kernel, degree=1)(queries)
    return compare(interpolate_spline(points[None], values[None], queries[None], order)[0], expected)


def _ncc_loss(rank: int) -> Measured:
    from acreg.losses import ncc

    a, b = _pair(rank)
    return compare(ncc(a, b), [1 - _correlation(x, y) for x, y in zip(a, b, strict=True)])


def _local_ncc_loss(rank: int, window: int = 5) -> Measured:
    """Compare the mean squared correlation of the window around each voxel with that of a plain loop."""
    from acreg.losses import local_ncc

    a, b = (x[:1] for x in _pair(rank))
    squares = []
    for at in np.ndindex(SHAPES[rank]):
        part = tuple(slice(max(0, i - window // 2), i + window // 2 + 1) for i in at)
        squares.append(_correlation(a[0][part], b[0][part]) ** 2)
    return compare(local_ncc(a, b, window=window), [1 - np.mean(squares)])


def _mutual_information_loss(rank: int, bins: int = 32) -> Measured:
    """Compare images whose values are the centres of bins, with a window so narrow that each voxel is in one bin."""
    from sklearn.metrics import mutual_info_score

    from acreg.losses import mutual_information

    a, b = (np.rint(x * (bins - 1)).astype(int) for x in _pair(rank))
    first, second = ((x / (bins - 1)).astype(np.float32) for x in (a, b))
    found = mutual_information(first, second, bins=bins, width=0.05)
    expected = []
    for x, y in zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True):
        shared, single = mutual_info_score(x, y), mutual_info_score(x, x) + mutual_info_score(y, y)
        expected.append(1 - shared / (single - shared))
    return compare(found, expected)


def _ssim_loss(rank: int) -> Measured:
    from skimage.metrics import structural_similarity

    from acreg.losses import ssim

    rng = np.random.default_rng(rank)
    a, b = ndimage.gaussian_filter(rng.uniform(size=(2, *SHAPES[rank])), (0, *[1.0] * rank)).astype(np.float32)
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return compare(ssim(a[None, ..., None], b[None, ..., None]), [1 - structural_similarity(a, b, **options)])


def _soft_dice_loss(rank: int) -> Measured:
    from medpy.metric import binary

    from acreg.losses import soft_dice

    a, b = _label_maps(rank)
    one_hot = np.eye(4, dtype=np.float32)
    dice = [binary.dc(a == label, b == label) for label in (1, 2, 3)]
    return compare(soft_dice(one_hot[a][None], one_hot[b][None], smooth=1e-6), [1 - np.mean(dice)])


def _label_maps(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of the labels 0 to 3 with smooth regions that overlap partly."""
    rng = np.random.default_rng(10 + rank)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, *SHAPES[rank])), (0, *[2.5] * rank))
    noise[1] = 0.8 * noise[0] + 0.6 * noise[1]
    first, second = (np.digitize(x, np.quantile(x, (0.4, 0.6, 0.8))) for x in noise)
    return first, second


def _label_metrics(rank: int) -> Measured:
    """Dice, Hausdorff distance, its 95th percentile and the average surface distance, on anisotropic voxels."""
    from medpy.metric import binary

    from acreg.metrics import label_metrics

    a, b = _label_maps(rank)
    spacing = (3.0, 1.1, 0.7)[:rank]
    found, expected = [], []
    for label, scores in label_metrics(a, b, [1, 2, 3], spacing).items():
        x, y = a == label, b == label
        found += [scores["dsc"], scores["hd"], scores["hd95"], scores["assd"]]
        expected.append(binary.dc(x, y))
        expected += [measure(x, y, voxelspacing=spacing) for measure in (binary.hd, binary.hd95, binary.assd)]
    return compare(found, expected)


def _correlation_metric(rank: int) -> Measured:
    from acreg.metrics import normalized_cross_correlation

    a, b = _pair(rank)
    return compare([normalized_cross_correlation(a, b)], [_correlation(a, b)])


def _information_metric(rank: int) -> Measured:
    """Compare with scikit-learn's entropies of the same 32 bins."""
    from sklearn.metrics import mutual_info_score

    from acreg.metrics import normalized_mutual_information

    a, b = (x[0, ..., 0].astype(float) for x in _pair(rank))
    bins = []
    for x in (a, b):
        low, high = np.percentile(x, (0.5, 99.5))
        bins.append(np.clip(np.digitize(x.ravel(), np.linspace(low, high, 33)) - 1, 0, 31))
    single, shared = sum(mutual_info_score(x, x) for x in bins), mutual_info_score(*bins)
    return compare([normalized_mutual_information(a, b)], [single / (single - shared)])


LOSSES, METRICS = "Splines and losses", "Metrics"
INFORMATION = "scikit-learn's mutual_info_score"
CHECKS = in_each_rank(
    (
        (LOSSES, "Thin-plate spline", "scipy.interpolate.RBFInterpolator", "values", "", 1e-4, _spline),
        (LOSSES, "NCC loss", "numpy.corrcoef", "pairs", "", 1e-5, _ncc_loss),
        (LOSSES, "Local NCC loss", "numpy.corrcoef in each window", "pairs", "", 1e-4, _local_ncc_loss),
        (LOSSES, "Mutual information loss", INFORMATION, "pairs", "", 1e-4, _mutual_information_loss),
        (LOSSES, "SSIM loss", "scikit-image's structural_similarity", "pairs", "", 1e-4, _ssim_loss),
        (LOSSES, "Soft Dice loss of label maps", "medpy's dc", "pairs", "", 1e-5, _soft_dice_loss),
        (METRICS, "DSC, HD, HD95 and ASSD (mm)", "medpy", "scores", "", 1e-9, _label_metrics),
        (METRICS, "Normalised cross-correlation", "numpy.corrcoef", "pairs", "", 1e-9, _correlation_metric),
        (METRICS, "Normalised mutual information", INFORMATION, "pairs", "", 1e-6, _information_metric),
    )
)

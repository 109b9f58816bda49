import time
import tracemalloc

import numpy as np
import pytest
from medpy.metric import binary
from scipy import ndimage

from acreg.errors import AcregError
from acreg.metrics import (
    MAP_METRICS,
    centroids,
    hausdorff_point,
    is_lost,
    label_metrics,
    mean_over_labels,
    normalized_cross_correlation,
    over_labels,
)


def blob(shape, centre, radii):
    grid = np.indices(shape).reshape(len(shape), -1).T
    return (((grid - centre) / radii) ** 2).sum(1).reshape(shape) < 1


def surface(mask):
    """Elements of a mask with a face neighbour outside it (outside the array counts as outside), by a plain loop."""
    points = []
    for p in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                q = p.copy()
                q[axis] += step
                if not (0 <= q[axis] < mask.shape[axis]) or not mask[tuple(q)]:
                    points.append(tuple(p))
    return np.array(sorted(set(points)), float)


def brute_force(a, b, spacing):
    pa, pb = surface(a) * spacing, surface(b) * spacing
    distances = np.sqrt(((pa[:, None] - pb[None]) ** 2).sum(-1))
    to_b, to_a = distances.min(1), distances.min(0)
    return {
        "dsc": 2 * (a & b).sum() / (a.sum() + b.sum()),
        "hd": max(to_b.max(), to_a.max()),
        "hd95": np.percentile(np.concatenate([to_b, to_a]), 95),
        "assd": np.concatenate([to_b, to_a]).mean(),
    }


@pytest.mark.parametrize(
    "shape, centre, radii, shift, spacing",
    [
        ((30, 24), (14, 11), (8, 5), (2, -1), (1.0, 1.0)),
        ((30, 24), (14, 11), (8, 5), (2, -1), (0.5, 3.0)),
        ((30, 24), (2, 22), (8, 5), (3, 0), (1.4, 1.4)),  # cut by the border of the image
        ((14, 12, 10), (7, 6, 4), (4, 3, 3), (1, 1, 1), (3.0, 1.0, 0.7)),
    ],
)
def test_equals_a_brute_force_search_over_surface_points(shape, centre, radii, shift, spacing):
    a, b = blob(shape, centre, radii), blob(shape, np.add(centre, shift), np.array(radii) * 1.1)
    result = label_metrics(a * 2, b * 2, [2], spacing)[2]
    expected = brute_force(a, b, np.array(spacing))
    for metric in MAP_METRICS:
        assert result[metric] == pytest.approx(expected[metric], abs=1e-9), metric


def test_distances_are_medpys_in_the_whole_image():
    rng = np.random.default_rng(0)
    for trial in range(20):
        shape = (40, 33) if trial % 2 else (12, 15, 9)
        a, b = (rng.integers(0, 4, shape) * (rng.random(shape) < 0.1) for _ in range(2))
        spacing = tuple(rng.uniform(0.3, 4, len(shape)))
        for label, scores in label_metrics(a, b, [1, 2, 3], spacing).items():
            x, y = a == label, b == label
            assert scores["dsc"] == binary.dc(x, y)
            assert scores["hd"] == pytest.approx(binary.hd(x, y, voxelspacing=spacing), abs=1e-9)
            assert scores["hd95"] == pytest.approx(binary.hd95(x, y, voxelspacing=spacing), abs=1e-9)
            assert scores["assd"] == pytest.approx(binary.assd(x, y, voxelspacing=spacing), abs=1e-9)


def test_identical_maps_are_perfect():
    labels = np.zeros((20, 20), int)
    labels[3:9, 4:15] = 1
    labels[12:, :] = 2
    perfect = {"dsc": 1.0, "hd": 0.0, "hd95": 0.0, "assd": 0.0}
    assert label_metrics(labels, labels, [0, 1, 2]) == {1: perfect, 2: perfect}


def test_one_voxel_along_each_axis_costs_that_axis_spacing():
    a = np.zeros((9, 9), int)
    a[4, 4] = 1
    spacing = (2.5, 0.7)
    for axis in range(2):
        assert label_metrics(np.roll(a, 1, axis), a, [1], spacing)[1]["hd"] == pytest.approx(spacing[axis])


def test_the_hausdorff_distance_is_attained_at_the_place_that_is_named():
    spacing = np.array([3.0, 1.0, 0.7])
    maps = [np.zeros((14, 12, 10), int) for _ in range(2)]
    for labels, shift in zip(maps, (0, 1)):
        labels[blob(labels.shape, (7, 6 + shift, 4), (4, 3, 3))] = 5
        labels[1:3, 1:3, 1 + shift] = 9  # nearer together
    maps[0][9, 11, 9] = 9
    maps[1][0, 0, 0] = 2  # in one map alone
    label, distance, voxel = hausdorff_point(*maps, [2, 5, 9], spacing)
    assert label == 9 and tuple(voxel) == (9, 11, 9)
    assert distance == label_metrics(*maps, [9], spacing)[9]["hd"]
    label, distance, voxel = hausdorff_point(*maps, [5], spacing)
    of, to = (surface(each == 5) for each in (maps if maps[0][tuple(voxel)] == 5 else maps[::-1]))
    nearest = np.sqrt((((to - voxel) * spacing) ** 2).sum(1)).min()
    assert (of == voxel).all(1).any() and nearest == distance == label_metrics(*maps, [5], spacing)[5]["hd"]
    assert hausdorff_point(*maps, [2, 77], spacing) is None


@pytest.mark.parametrize("absent_in", ["warped", "fixed"])
def test_a_label_of_one_map_alone_has_dice_0_which_counts(absent_in):
    a = np.zeros((10, 10), int)
    a[2:5, 2:5] = 1
    b = a.copy()
    (a if absent_in == "fixed" else b)[7:9, 7:9] = 3
    scores = label_metrics(a, b, [1, 3])
    assert scores[3]["dsc"] == binary.dc(a == 3, b == 3) == 0
    assert is_lost(scores[3]) and not is_lost(scores[1])
    assert np.isnan([scores[3][metric] for metric in ("hd", "hd95", "assd")]).all()
    assert mean_over_labels(scores) == {"dsc": 0.5, "hd": 0.0, "hd95": 0.0, "assd": 0.0, "labels": 2.0}


def test_a_label_of_neither_map_is_nan_and_the_mean_leaves_it_out():
    a = np.zeros((10, 10), int)
    a[2:5, 2:5] = 1
    scores = label_metrics(a, a, [1, 3])
    assert np.isnan(list(scores[3].values())).all() and not is_lost(scores[3])
    assert mean_over_labels(scores) == {"dsc": 1.0, "hd": 0.0, "hd95": 0.0, "assd": 0.0, "labels": 1.0}


@pytest.mark.parametrize("values", [(-3, 7), (2**31 - 1, -(2**31)), (614_454_277, 20_000_000), (5, 1)])
def test_any_numbers_of_labels_take_the_memory_of_two(values):
    """Those of atlases of the mouse brain are hundreds of millions: no table is as long as a number is large."""
    small = np.zeros((20, 20, 20), np.int32)
    small[5:10, 5:10, 5:10], small[12:15, 2:9, 4:8] = 1, 2
    moved = np.roll(small, 1, 0)
    known = [np.array([0, *values], np.int32)[each] for each in (small, moved)]
    tracemalloc.start()
    found = label_metrics(*known, [*values, 77])
    middles, means = centroids(known[0], values), over_labels(ndimage.mean, moved, known[0], values)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    expected = label_metrics(small, moved, [1, 2, 77])
    assert [found[v] for v in values] == [expected[1], expected[2]] and np.isnan(found[77]["dsc"])
    np.testing.assert_allclose(middles, [np.argwhere(small == v).mean(axis=0) for v in (1, 2)])
    assert means == pytest.approx({v: moved[small == n].mean() for n, v in zip((1, 2), values, strict=True)})


def test_a_label_that_is_asked_for_twice():
    labels = np.eye(4, dtype=int)
    assert label_metrics(labels, labels, [1, 1])[1]["dsc"] == 1
    with pytest.raises(AcregError, match="distinct"):
        centroids(labels, [1, 1])
    sums = over_labels(ndimage.sum_labels, np.ones((4, 4)), labels, [1, 0, 2])
    assert sums[1] == 4 and sums[0] == 12 and np.isnan(sums[2])


def test_mean_without_any_value_is_nan():
    mean = mean_over_labels(label_metrics(np.zeros((4, 4), int), np.zeros((4, 4), int), [1, 2]))
    assert mean["labels"] == 0 and np.isnan(mean["dsc"])


def test_wrong_input_is_named():
    labels = np.ones((4, 4), int)
    with pytest.raises(AcregError, match=r"\(4, 4\).*\(4, 5\)"):
        label_metrics(labels, np.ones((4, 5), int), [1])
    for spacing in (0, -1.0, (1.0, 2.0, 3.0), (1.0, np.nan)):
        with pytest.raises(AcregError, match="positive number"):
            label_metrics(labels, labels, [1], spacing)


def test_a_pair_of_256_squared_takes_under_a_tenth_of_a_second():
    fixed = sum(k * blob((256, 256), c, r) for k, c, r in ((1, (110, 70), (80, 40)), (2, (110, 180), (80, 45))))
    moving = np.roll(fixed, (5, 3), (0, 1))
    fixed[150:220, 100:140], moving[155:225, 98:140] = 3, 3
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        label_metrics(moving, fixed, [1, 2, 3], 1.4)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1


def test_ncc_is_invariant_to_brightness_and_safe_on_constants():
    rng = np.random.default_rng(1)
    x, y = rng.random((8, 9)), rng.random((8, 9))
    assert normalized_cross_correlation(x, y) == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1])
    assert normalized_cross_correlation(x, 3 * x - 7) == pytest.approx(1)
    assert normalized_cross_correlation(x, -x) == pytest.approx(-1)
    assert normalized_cross_correlation(x, np.ones_like(x)) == 0
    with pytest.raises(AcregError, match="one grid"):
        normalized_cross_correlation(x, y[1:])

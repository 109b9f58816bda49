"""The benchmark of registration without a network: its made pairs, its scores, and that a failure is never left out."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Grid, Image, Transform
from acreg.geometry.maps import Affine, Displacement
from acreg.io import write_image
from acreg.registration.methods import Unregistered
from benchmarks import any_pair
from benchmarks.any_pair_made import ANGLES, LARGEST_SHIFT, second_contrast, smooth_velocity, turned
from benchmarks.any_pair_page import failures, scores, table
from benchmarks.any_pair_scores import registered, score
from benchmarks.any_pair_sets import Case
from benchmarks.convex_adam import ConvexAdam

GRID = Grid((24, 30, 28), (2.0, 2.0, 2.0), (5.0, -30.0, 12.0), ((0, 0, 1), (-1, 0, 0), (0, 1, 0)))


@pytest.fixture(scope="module")
def head() -> tuple[Image, Image]:
    """A ball of three layers in a larger one, not round; and the labels of the layers."""
    points = (np.indices(GRID.shape).T - [12.0, 14.0, 13.0]).T / np.array([9.0, 12.0, 10.0])[:, None, None, None]
    radius = np.linalg.norm(points, axis=0)
    labels = np.select([radius < 0.4, radius < 0.6, radius < 0.8], [3, 2, 1], 0)
    values = np.array([0.0, 0.6, 0.9, 0.3])[labels] + 0.8 * ((radius > 0.85) & (radius < 1))
    image = ndimage.gaussian_filter(1000 * values, 0.5).astype(np.float32)
    return Image(image, GRID), Image(labels, GRID, kind="labels")


def case(head, moving=None, moving_labels=None, **options) -> Case:
    return Case(head[0], moving or head[0], head[1], moving_labels or head[1], **options)


def test_a_turned_image_is_turned_as_a_whole_and_by_enough(head):
    image, labels = turned(*head, np.random.default_rng(1))
    assert image.grid == labels.grid and image.grid.direction == GRID.direction and image.grid.spacing == GRID.spacing
    assert image.array.sum() == pytest.approx(head[0].array.sum(), rel=0.01), "nothing is cut off"
    for value in (1, 2, 3):
        assert np.sum(labels.array == value) == pytest.approx(np.sum(head[1].array == value), rel=0.1)

    def axes(labels):  # the principal ones of the middle layer, mm
        points = labels.grid.to_world(np.argwhere(labels.array > 0))
        return np.linalg.eigh(np.cov(points.T))

    (sizes, before), (same, after) = axes(head[1]), axes(labels)
    np.testing.assert_allclose(same, sizes, rtol=0.05)
    assert np.degrees(np.arccos(np.abs((before * after).sum(axis=0)))).max() > ANGLES[0] / 2
    assert not np.array_equal(turned(*head, np.random.default_rng(2))[0].array.shape, image.array.shape)


def test_the_velocity_has_its_largest_vector_in_the_labels_and_folds_nothing(head):
    velocity = smooth_velocity(head[1], np.random.default_rng(0))
    lengths = np.linalg.norm(velocity.vectors * GRID.spacing, axis=-1)
    assert lengths[head[1].array > 0].max() == pytest.approx(LARGEST_SHIFT, rel=1e-5)
    assert Transform(GRID, GRID, (velocity,)).folding()["folded_percent"] == 0


def test_the_second_contrast_reverses_the_order_of_the_tissues(head):
    other = second_contrast(*head, np.random.default_rng(0))
    one, two = (ndimage.mean(image.array, head[1].array, [1, 2, 3]) for image in (head[0], other))
    assert list(np.argsort(one)) == list(np.argsort(two))[::-1]
    assert np.corrcoef(head[0].array[head[1].array > 0], other.array[head[1].array > 0])[0, 1] < -0.5


def test_a_perfect_result_has_perfect_scores(head):
    velocity = smooth_velocity(head[1], np.random.default_rng(0))
    truth = Transform(GRID, GRID, (velocity,))
    back = truth.inverse()
    made = case(head, back.warp_image(head[0]), back.warp_labels(head[1]), truth=truth)
    found, start = score(truth, made), score(Transform(GRID, GRID), made)
    assert found["dice"] > 0.9 > start["dice"] and found["hd95"] < start["hd95"]
    assert found["tre"] == pytest.approx(0, abs=0.05) and start["tre"] > 1
    assert found["folded_percent"] == 0 and start["label_sd_log_j"] == 0 < found["label_sd_log_j"]
    folded = Displacement(np.where(np.arange(28)[:, None] % 4 < 2, 1.5, -1.5) * np.ones((*GRID.shape, 3)), GRID)
    assert score(Transform(GRID, GRID, (folded,)), made)["folded_percent"] > 10


def test_landmarks_are_compared_by_their_centroids_and_left_out_of_the_dice(head):
    shift = np.eye(4)
    shift[:3, 3] = [4.0, 0.0, 0.0]
    moved = replace(head[1], grid=replace(GRID, origin=(9.0, -30.0, 12.0)))
    made = case(head, replace(head[0], grid=moved.grid), moved, values=[1], landmarks=[2, 3, 9])
    assert made.landmarks == [2, 3] and made.values == [1]
    assert score(Transform(GRID, moved.grid), made)["tre"] == pytest.approx(4.0)
    assert score(Transform(GRID, moved.grid, (Affine(shift),)), made)["dice"] == 1


class Fails:
    name = "fails"

    def register(self, *, fixed, moving):
        raise ValueError("no such\nluck")


def test_a_failed_pair_counts_with_the_scores_of_the_unregistered_images(head):
    made = case(head)
    start, failed = (registered(method, made) for method in (Unregistered(), Fails()))
    assert failed["failure"] == "ValueError: no such luck" and "scores" not in failed
    assert start["scores"]["dice"] == 1 and start["scores"]["folded_percent"] is None
    results = {"unregistered": [start], "fails": [failed]}
    np.testing.assert_array_equal(scores(results["fails"], results["unregistered"], "dice"), [1])
    *_, last = table({name: [one | {"versions": {}} for one in found] for name, found in results.items()})
    assert last == "| `fails` | 1.000 | 0.0 |  |  |  | 0.0 | 0 | 1 |"


@pytest.fixture
def hippocampi(tmp_path, monkeypatch, head):
    """A data folder with a set of three subjects."""
    folder = tmp_path / "data" / "hippocampus"
    rows = ["subject,image,labels,split"]
    for number in range(12):
        moved = replace(GRID, origin=(5.0 + number, -30.0, 12.0))
        for kind, image in zip(("image", "labels"), head):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image(replace(image, grid=moved), folder / kind / f"{number}.nii.gz")
        rows.append(f"s{number},image/{number}.nii.gz,labels/{number}.nii.gz,test")
    (folder / "manifest.csv").write_text("\n".join(rows))
    monkeypatch.setenv("ACREG_DATA", str(tmp_path / "data"))
    return tmp_path


def test_an_interrupted_run_goes_on_and_the_page_is_made_of_its_results(hippocampi, monkeypatch, capsys):
    monkeypatch.setattr(any_pair, "METHODS", ("unregistered", "ConvexAdam"))
    words = ["--sets", "hippocampus", "--out", str(hippocampi / "out"), "--methods", "unregistered"]
    names = list(any_pair.SETS["hippocampus"].make("test"))
    any_pair.work("hippocampus", "test", "unregistered", names[:-2], hippocampi / "out", "", 60)
    capsys.readouterr()
    monkeypatch.setattr(any_pair, "SETS", {"hippocampus": any_pair.SETS["hippocampus"]})
    assert any_pair.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(": dice 1")[0] for line in printed[:-1]] == [f"hippocampus unregistered {n}" for n in names[-2:]]
    page = (hippocampi / "out" / "any_pair.md").read_text()
    assert "## Hippocampus: 100 pairs" in page and "| unregistered | 1.000 | 0.0 |" in page


ENDS = "import os, signal, sys; print('started', sys.argv[4], flush=True); os.kill(os.getpid(), {})"


@pytest.mark.parametrize("number, reason", [(24, "stopped after 9 CPU seconds"), (11, "ended with the code -11")])
def test_a_process_that_ends_costs_one_pair_and_the_next_goes_on(hippocampi, monkeypatch, number, reason):
    """As of a registration that takes too long (SIGXCPU, 24), or brings the process down."""
    monkeypatch.setattr(any_pair, "PROGRAM", (sys.executable, "-c", ENDS.format(number)))
    lines = any_pair.measure("hippocampus", "test", "slow", hippocampi / "out", "", 9)
    names = list(any_pair.SETS["hippocampus"].make("test"))
    assert [next(lines) for _ in range(2)] == [f"{name}: {reason}" for name in names[:2]]
    monkeypatch.setattr(any_pair, "PROGRAM", (sys.executable, "-c", "raise SystemExit('no such program')"))
    with pytest.raises(AcregError, match="Received: slow, which ended first: no such program"):
        next(lines)


def test_convexadam_needs_its_environment_and_volumes(head):
    with pytest.raises(any_pair.UsageError, match="--convexadam"):
        ConvexAdam("")


@pytest.mark.parametrize("folder", ["/home/me/data/", "C:\\data\\hearts\\", "/data/"])
def test_the_page_names_files_without_the_folders_of_the_machine(folder):
    reason = f"AcregError: for {folder}a.nii.gz and {folder}b.nii.gz, 3/4 of which (see {folder}log.txt) failed"
    line = failures({"m": [{"failure": reason}, {"failure": ""}]})[-1]
    assert line == (
        "- `m` failed on 1 of 2 pairs; first: AcregError: for a.nii.gz and b.nii.gz, 3/4 of which (see log.txt) failed"
    )

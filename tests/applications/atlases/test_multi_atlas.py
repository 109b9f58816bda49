"""Atlases: chosen as independent measures say, moved and fused so that they beat a single one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from sklearn.metrics import mutual_info_score

from acreg.applications.atlases.label_fusion import FUSIONS
from acreg.applications.atlases.multi_atlas import (
    BINS,
    SIMILARITIES,
    Atlases,
    ReducedImages,
    segment_by_atlases,
)
from acreg.data.manifest import Dataset
from acreg.data.subjects import Subjects
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, write_image
from acreg.metrics import label_metrics, mean_over_labels
from acreg.registration.methods import Unregistered, named_method
from benchmarks.atlas_segmentation import Remembering


def dice(found: Image, truth: Image, dataset: Dataset) -> float:
    per_label = label_metrics(found.array, truth.array, dataset.label_values[1:], truth.grid.spacing)
    return mean_over_labels(per_label)["dsc"]


@pytest.fixture(scope="module")
def atlases(phantoms: Dataset) -> Atlases:
    return Atlases(phantoms)


def images(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> list[Image]:
    return [Image(rng.gamma(2, 20, shape).astype(np.float32), Grid(shape)) for _ in range(count)]


def test_measures_are_numpys_and_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    given = images(rng, 5, (64, 64))  # of the reduced size: nothing is resized
    values = [np.clip((a.array - (p := np.percentile(a.array, (0.5, 99.5)))[0]) / (p[1] - p[0]), -9, 9) for a in given]
    reduced, target = ReducedImages(given[1:]), given[0]
    found = {measure: reduced.similarities(target, measure) for measure in SIMILARITIES}
    bins = [(np.clip(v, 0, 1) * (BINS - 1)).round().astype(int).ravel() for v in values]
    for n in range(4):
        assert found["ncc"][n] == pytest.approx(
            np.corrcoef(given[0].array.ravel(), given[n + 1].array.ravel())[0, 1], abs=1e-5
        )
        assert found["mean_squares"][n] == pytest.approx(-((values[0] - values[n + 1]) ** 2).mean(), rel=1e-4)
        assert found["mutual_information"][n] == pytest.approx(mutual_info_score(bins[0], bins[n + 1]), rel=1e-3)


@pytest.mark.parametrize("measure", SIMILARITIES)
def test_an_image_is_most_like_itself_at_any_size_brightness_and_contrast(measure: Any, atlases: Atlases) -> None:
    record = atlases.records[3]
    image = atlases.dataset.read_image(record)
    large = np.kron(image.array, np.ones((3, 2))).astype(np.float32) * 7 + 100
    again = Image(large, Grid(large.shape))
    assert atlases.nearest(again, 1, measure)[0][0] == record.subject
    others = atlases.nearest(again, 4, measure, without=record.subject)
    assert record.subject not in dict(others)
    assert [s for _, s in others] == sorted((s for _, s in others), reverse=True)


def test_a_copy_of_an_atlas_under_another_name_is_left_out(phantoms: Dataset, tmp_path: Path) -> None:
    """By its voxels, whatever its file, its format and its position; a single other voxel makes another image."""
    first, second, third = phantoms.split("train")[:3]
    image = phantoms.read_image(first)
    twice = replace(second, subject="a copy", image=tmp_path / "copy.mha")
    write_image(replace(image, grid=Grid(image.grid.shape, (2.0, 3.0), (50.0, 60.0))), twice.image)
    atlases = Atlases(replace(phantoms, records=[first, twice, third]))
    with pytest.raises(UsageError, match="2 of 1 of phantoms, without the image itself"):
        atlases.nearest(image, 2)
    for measure in SIMILARITIES:
        assert [subject for subject, _ in atlases.nearest(image, 1, measure)] == [third.subject]
    array = image.array.copy()
    array[0, 0] += 1
    assert len(atlases.nearest(Image(array, image.grid), 3)) == 3


def test_a_flat_image_has_no_preference(atlases: Atlases) -> None:
    flat = Image(np.full((48, 40), 5, np.float32), Grid((48, 40)))
    for measure in ("ncc", "mutual_information"):
        found = atlases.nearest(flat, len(atlases.records), measure)  # type: ignore[arg-type]
        assert {similarity for _, similarity in found} == {0.0}
        assert [subject for subject, _ in found] == [record.subject for record in atlases.records]


def test_five_atlases_beat_one(phantoms: Dataset, atlases: Atlases) -> None:
    """Over all subjects that are no atlas, by the paired test."""
    demons = named_method("sitk:demons[affine=false,iterations=40x20]", 1, 0)
    method, five, single = Remembering(demons), {fusion: [] for fusion in FUSIONS}, []  # type: ignore[var-annotated]
    for record in [*phantoms.split("test"), *phantoms.split("validation")]:
        image, truth = phantoms.read_image(record), phantoms.read_labels(record)
        for fusion in FUSIONS:
            found = segment_by_atlases([image], atlases, method, 5, fusion=fusion)[0]
            assert found.labels.grid == image.grid and found.shares.shape == (len(found.values), *image.grid.shape)
            assert len(set(found.atlases)) == 5 and list(found.similarities) == sorted(found.similarities)[::-1]
            five[fusion].append(dice(found.labels, truth, phantoms))
        one = [phantoms.record(subject) for subject in found.atlases]
        moved = [
            method.register(fixed=image, moving=phantoms.read_image(r)).warp_labels(phantoms.read_labels(r))
            for r in one
        ]
        single.append(np.mean([dice(each, truth, phantoms) for each in moved]))
    for fusion in FUSIONS:
        assert np.mean(five[fusion]) > np.mean(single) + 0.005
        assert wilcoxon(five[fusion], single, alternative="greater").pvalue < 0.05


def test_one_atlas_without_registration_is_its_own_labels(phantoms: Dataset, atlases: Atlases) -> None:
    record = atlases.records[0]
    image = phantoms.read_image(record)
    brighter = Image(2 * image.array, image.grid)  # the image itself is none of its atlases
    found = segment_by_atlases([brighter], atlases, Unregistered(), count=1)[0]
    assert found.atlases == (record.subject,) and found.similarities[0] == pytest.approx(1)
    np.testing.assert_array_equal(found.labels.array, phantoms.read_labels(record).array)


def test_atlases_whose_labels_disagree(phantoms: Dataset, tmp_path: Path) -> None:
    """One that lacks a label is named in a warning; one with a label that nobody knows, or of another size, refused."""
    first, second, third = phantoms.split("train")[:3]
    labels = phantoms.read_labels(first).array

    def changed(array: NDArray[Any]) -> Dataset:
        path = tmp_path / "labels.png"
        write_image(Image(array, Grid(array.shape), kind="labels"), path)
        return replace(phantoms, records=[replace(first, labels=path), second, third])

    with pytest.warns(UserWarning, match=f"where {first.subject} of 3 atlases lack heart: they vote against it"):
        Atlases(changed(np.where(labels == 3, 0, labels)))
    with pytest.raises(AcregError, match=r"labels.png.*9"):
        Atlases(changed(np.where(labels == 3, 9, labels)))
    with pytest.raises(AcregError, match=r"labels.png on 47 x 40 voxels.* on 48 x 40 voxels.*shapes differ"):
        Atlases(changed(labels[1:]))


def test_little_memory_changes_nothing(phantoms: Dataset) -> None:
    subjects, few = Subjects(phantoms), Subjects(phantoms, kept=1)
    names = [record.subject for record in phantoms.records[:4]]
    for name in (*names, *names):
        for one, other in zip(subjects[name], few[name], strict=True):
            np.testing.assert_array_equal(one.array, other.array)
    kept, forgotten = subjects[names[0]], few[names[0]]
    assert few[names[1]] is few[names[1]]
    assert subjects[names[0]] is kept and few[names[0]] is not forgotten


def test_what_is_refused(phantoms: Dataset, atlases: Atlases) -> None:
    image = phantoms.read_image(atlases.records[0])
    with pytest.raises(UsageError, match=r"ncc, mutual_information, mean_squares. Received: 'ssd'"):
        atlases.nearest(image, 1, "ssd")  # type: ignore[arg-type]
    for count in (0, len(atlases.records)):
        with pytest.raises(UsageError, match=f"Received: {count} of {len(atlases.records) - 1} of"):
            atlases.nearest(image, count, without=atlases.records[0].subject)
    with pytest.raises(AcregError, match="an image with 3, atlases with 2"):
        atlases.nearest(Image(np.zeros((4, 4, 4), np.float32), Grid((4, 4, 4))), 1)
    with pytest.raises(AcregError, match=r"2 images with \[2, 3\] axes"):
        ReducedImages([image, Image(np.zeros((4, 4, 4), np.float32), Grid((4, 4, 4)))])
    with pytest.raises(AcregError, match="0 images"):
        ReducedImages([])

"""DICOM segmentations: labels by segment number, where their planes lie."""

import json

import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_image, read_labels
from tests.io.dicom_samples import image, save, save_series, segmentation

SHAPE = (24, 20)


def masks(*boxes):
    """A frame for each box (rows, columns)."""
    frames = np.zeros((len(boxes), *SHAPE), bool)
    for frame, (rows, columns) in zip(frames, boxes, strict=True):
        frame[slice(*rows), slice(*columns)] = True
    return frames


def places(*heights):
    return [(-50, -60, z) for z in heights]


BOXES = [((4, 12), (4, 12)), ((4, 12), (4, 10)), ((14, 20), (10, 18)), ((13, 20), (9, 18))]
HEIGHTS = [2.5, 5, 5, 7.5]
SEGMENTS = [1, 1, 7, 7]


def expected():
    """What 3D Slicer shows: three planes, segments 1 and 7."""
    labels = np.zeros((3, *SHAPE), int)
    for frame, z, segment in zip(masks(*BOXES), HEIGHTS, SEGMENTS, strict=True):
        labels[round(z / 2.5) - 1][frame] = segment
    return labels, Grid(labels.shape, (2.5, 1.2, 0.7), (2.5, -60, -50))


def test_segments_are_placed_by_their_planes(tmp_path):
    path = save(segmentation(masks(*BOXES), places(*HEIGHTS), SEGMENTS, between=2.5), tmp_path / "s.dcm")
    found = read_labels(path)
    labels, grid = expected()
    np.testing.assert_array_equal(found.array, labels)
    assert found.grid == grid


def test_oblique_planes_lie_where_they_say(tmp_path):
    """Each marked pixel, by its own frame's position and directions, has its label there."""
    row, column = np.array([0.8, 0.6, 0]), np.array([-0.36, 0.48, 0.8])
    positions = [np.array([-50, -60, 7]) - z * np.cross(row, column) for z in HEIGHTS]
    made = segmentation(masks(*BOXES), positions, SEGMENTS, between=2.5)
    made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [*row, *column]
    found = read_labels(save(made, tmp_path / "s.dcm"))
    for frame, position, segment in zip(masks(*BOXES), positions, SEGMENTS, strict=True):
        y, x = np.nonzero(frame)
        places_ = position + np.outer(x * 0.7, row) + np.outer(y * 1.2, column)
        indices = found.grid.to_index(places_[:, ::-1])
        np.testing.assert_allclose(indices, np.rint(indices), atol=1e-6)
        assert (found.array[tuple(np.rint(indices).astype(int).T)] == segment).all()
    assert np.count_nonzero(found.array) == masks(*BOXES).sum()


def test_frames_in_any_order_and_planes_without_a_frame(tmp_path):
    order = [3, 0, 2, 1]
    heights = [2.5, 5, 5, 12.5]
    made = segmentation(
        masks(*[BOXES[k] for k in order]), places(*[heights[k] for k in order]), [SEGMENTS[k] for k in order]
    )
    found = read_labels(save(made, tmp_path / "s.dcm"))
    assert found.grid == Grid((5, *SHAPE), (2.5, 1.2, 0.7), (2.5, -60, -50))
    assert [sorted(np.unique(plane)) for plane in found.array] == [[0, 1], [0, 1, 7], [0], [0], [0, 7]]


def test_the_distance_of_planes_is_the_one_given(tmp_path):
    """Two planes with one between them that has no segment."""
    made = segmentation(masks(*BOXES[:2]), places(2.5, 7.5), [1, 1], between=2.5)
    found = read_labels(save(made, tmp_path / "s.dcm"))
    assert found.grid == Grid((3, *SHAPE), (2.5, 1.2, 0.7), (2.5, -60, -50))
    assert not found.array[1].any() and found.array[2].sum() == 8 * 6


@pytest.mark.parametrize(("between", "shape"), [(None, SHAPE), (2.5, (1, *SHAPE))])
def test_one_plane(tmp_path, between, shape):
    made = segmentation(masks(BOXES[0], BOXES[2]), places(5, 5), [1, 2], between=between)
    found = read_labels(save(made, tmp_path / "s.dcm"))
    assert found.array.shape == found.grid.shape == shape and np.unique(found.array).tolist() == [0, 1, 2]


def test_label_maps_and_whole_fractions(tmp_path):
    frames = np.zeros((2, *SHAPE), np.uint8)
    frames[0, 3:5], frames[1, 7:9] = 1, 9
    made = segmentation(frames, places(0, 3), [1, 9], kind="LABELMAP")
    np.testing.assert_array_equal(read_labels(save(made, tmp_path / "map.dcm")).array, frames)
    made = segmentation(
        (frames != 0) * np.uint8(200), places(0, 3), [4, 4], kind="FRACTIONAL", MaximumFractionalValue=200
    )
    np.testing.assert_array_equal(read_labels(save(made, tmp_path / "whole.dcm")).array, (frames != 0) * 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": places(2.5, 5, 5, 5)}, "segments 7 share .* voxels of a plane"),
        ({"segments": [1, 7, 1, 7], "frames": masks(*[BOXES[0]] * 4)}, "segments 1 and 7 share 64 voxels of a plane"),
        ({"positions": places(2.5, 5, 5, 8.2)}, r"up to 0\.\d+ mm away from multiples of 2\.5 mm"),
        ({"positions": places(2.5, 3.5, 3.5, 4.5)}, "multiples of 2.5 mm"),
        ({"names": [1]}, r"segments \[1\], but pixels of \[7\]"),
        ({"positions": [None, *places(5, 5, 7.5)]}, "lacks them"),
        ({"kind": "SURFACE"}, "is one of BINARY, FRACTIONAL, LABELMAP"),
        (
            {"kind": "FRACTIONAL", "frames": masks(*BOXES) * np.uint8(3), "MaximumFractionalValue": 255},
            "fractions up to 255",
        ),
        ({"PerFrameFunctionalGroupsSequence": None}, "4 frames without places"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path, change, message):
    made = {"frames": masks(*BOXES), "positions": places(*HEIGHTS), "segments": SEGMENTS, "between": 2.5, **change}
    path = save(segmentation(**made), tmp_path / "s.dcm")
    with pytest.raises(AcregError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_segmentation_is_no_image(tmp_path, capsys):
    path = save(segmentation(masks(*BOXES), places(*HEIGHTS), SEGMENTS, between=2.5), tmp_path / "s" / "s.dcm")
    with pytest.raises(AcregError, match="DICOM segmentation, which holds labels. Give it as labels"):
        read_image(path)
    with pytest.raises(AcregError, match="with Segmentation Storage only"):
        read_image(path.parent)
    np.testing.assert_array_equal(read_labels(path.parent).array, expected()[0])
    from acreg.applications.inspection.files import inspect

    facts = inspect(path)
    assert facts["kind"] == "labels" and facts["values"] == [0, 1, 7] and json.dumps(facts)


def test_beside_its_series_a_segmentation_is_passed_over_for_images(tmp_path):
    volume = np.random.default_rng(0).integers(0, 99, (4, *SHAPE)).astype(np.int16)
    save_series(tmp_path, volume)
    made = segmentation(masks(*BOXES), places(*HEIGHTS), SEGMENTS, SeriesInstanceUID="1.2.99")
    save(made, tmp_path / "labels.dcm")
    np.testing.assert_array_equal(read_image(tmp_path).array, volume)
    with pytest.raises(AcregError, match="with 2: 1.2.3.4 .*4 slices.*; 1.2.99"):
        read_labels(tmp_path)
    assert read_labels(tmp_path, series="1.2.99").array.max() == 7
    save(image(volume[0], SeriesInstanceUID="1.2.99"), tmp_path / "other.dcm")
    with pytest.raises(AcregError, match="read by itself"):
        read_labels(tmp_path, series="1.2.99")

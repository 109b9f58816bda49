"""Spacing, places and scaling of DICOM: as the header says, or the file is refused."""

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_image
from tests.io.dicom_samples import enhanced, image, item, read, refused, save, save_series

OBLIQUE = [0.8, 0.6, 0, -0.36, 0.48, 0.8]
NORMAL = np.array([0.48, -0.64, 0.6])


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 3000, (5, 24, 20)).astype(np.uint16)


PLACES = [(-50, -60, 2.5 * k) for k in range(5)]


def mapped(**mapping):
    mapping = {"RealWorldValueSlope": 1.0, "RealWorldValueIntercept": 0.0, **mapping}
    return {"RealWorldValueMappingSequence": item(**mapping)}


def test_parametric_maps(tmp_path, volume):
    """Values of float pixels, and of whole ones by their mapping."""
    made = enhanced(volume, PLACES, "ParametricMapStorage", mapped(RealWorldValueSlope=0.25), Modality="MR")
    np.testing.assert_allclose(read(made, tmp_path).array, volume * 0.25)
    floats = enhanced(volume, PLACES, "ParametricMapStorage", mapped(), Modality="MR")
    values = (volume / 7).astype(np.float32)
    floats.FloatPixelData, floats.BitsAllocated = values.tobytes(), 32
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(floats, keyword)
    np.testing.assert_array_equal(read(floats, tmp_path).array, values)
    table = mapped(RealWorldValueSlope=None, RealWorldValueLUTData=[1.0, 4.0])
    refused(enhanced(volume, PLACES, "ParametricMapStorage", table), tmp_path, "one slope, not 0, and intercept")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RescaleSlope": b"0", "RescaleIntercept": b"0"}, "slope that scales values is not 0"),
        ({"RescaleSlope": b"nan"}, "Rescale Slope .* is a number"),
        ({"RescaleSlope": b"inf"}, "Rescale Slope .* is a number"),
        ({"RescaleIntercept": b"abc"}, "Rescale Intercept .* is a number. Received: .* with 'abc'"),
        ({"RescaleSlope": b"1\\2"}, "Rescale Slope .* is a number"),
        ({"ModalityLUTSequence": item(LUTDescriptor=[2, 0, 16], LUTData=b"\0\0\1\0")}, "a table of values"),
        (mapped(RealWorldValueSlope=3.0), "applies to parametric maps"),
    ],
)
def test_values_that_are_not_scaled_by_one_slope_are_refused(tmp_path, volume, change, message):
    refused(image(volume[0], **change), tmp_path, message)


def test_a_mapping_beside_the_rescaling_leaves_it(tmp_path, volume):
    """PET: becquerel by rescaling, and a second mapping to the uptake value."""
    made = image(volume[0], RescaleSlope=2, RescaleIntercept=1, **mapped(RealWorldValueSlope=3.0))
    np.testing.assert_array_equal(read(made, tmp_path).array, volume[0] * 2.0 + 1)


@pytest.mark.parametrize(
    ("elements", "thickness"),
    [
        ({}, 1),
        ({"SliceThickness": 2}, 2),
        ({"SliceThickness": 2, "SpacingBetweenSlices": 3}, 3),
        ({"SliceThickness": 0}, 1),
    ],
)
def test_a_slice_keeps_its_place_in_the_patient(tmp_path, volume, elements, thickness):
    made = image(volume[0], ImagePositionPatient=[7, 8, 9], ImageOrientationPatient=OBLIQUE, **elements)
    found = read(made, tmp_path).grid.volume()
    theirs = Grid.from_itk(sitk.ReadImage(str(tmp_path / "a.dcm")))
    ends = np.array([[0, 0, 0], [0, 23, 0], [0, 0, 19]])
    np.testing.assert_allclose(found.to_world(ends), theirs.to_world(ends), atol=1e-9)
    np.testing.assert_allclose(found.to_world(np.array([1, 0, 0])), [9, 8, 7] + NORMAL[::-1] * thickness)


AWKWARD = [b"0\\1", b"0\\0", b"inf\\1", b"1\\words", b"nan\\nan", b"1,2\\0,7", b"-1\\1", b"1", b"1\\1\\1", b"1e-310\\1"]


@pytest.mark.parametrize("value", [*AWKWARD, None, b""])
def test_a_spacing_that_is_no_spacing_is_asked_for(tmp_path, volume, value):
    made = image(volume[0], PixelSpacing=value)
    refused(made, tmp_path, r"Pixel Spacing \(0028,0030\).*Give the spacing")
    found = read(made, tmp_path, spacing=(3, 2))
    assert found.grid.spacing == (3, 2)
    np.testing.assert_array_equal(found.array, volume[0])
    save_series(tmp_path / "series", volume, PixelSpacing=value)
    with pytest.raises(AcregError, match="Give the spacing"):
        read_image(tmp_path / "series")
    assert read_image(tmp_path / "series", spacing=(3, 2, 1)).grid.spacing == (3, 2, 1)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, (1.2, 0.7)),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, (1.2, 0.7)),  # calibrated, or corrected for the magnification
        ({"ImagerPixelSpacing": [0.3, 0.2], "PixelSpacing": None}, (0.3, 0.2)),
        (
            {
                "ImagerPixelSpacing": [0.3, 0.2],
                "PixelSpacing": None,
                "EstimatedRadiographicMagnificationFactor": 1.25,
            },
            (0.24, 0.16),
        ),
        ({"ImagerPixelSpacing": [0.3, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25}, (1.2, 0.7)),
        ({"NominalScannedPixelSpacing": [0.5, 0.4], "PixelSpacing": None}, (0.5, 0.4)),
    ],
)
@pytest.mark.parametrize("sop", ["DigitalXRayImageStorageForPresentation", "ComputedRadiographyImageStorage"])
def test_the_spacing_of_x_rays(tmp_path, volume, elements, expected, sop):
    made = image(volume[0], sop, "DX", ImagePositionPatient=None, ImageOrientationPatient=None, **elements)
    np.testing.assert_allclose(read(made, tmp_path).grid.spacing, expected)


def test_a_mosaic_of_slices_is_refused(tmp_path, volume):
    """Siemens' way to store a volume, in one large picture whose position is not that of any slice."""
    refused(image(volume[0], ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), tmp_path, "mosaic.*dcm2niix")


def test_a_spacing_at_the_detector_with_odd_magnification_is_refused(tmp_path, volume):
    made = image(volume[0], PixelSpacing=None, ImagerPixelSpacing=[1, 1], EstimatedRadiographicMagnificationFactor=0)
    refused(made, tmp_path, "Estimated Radiographic Magnification Factor .* is a positive number")


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ({"ImagePositionPatient": b"0\\0\\nan"}, r"Image Position \(Patient\) .* is 3 numbers"),
        ({"ImagePositionPatient": b"0\\0"}, "is 3 numbers"),
        ({"ImagePositionPatient": b"0\\0\\1e300"}, "is 3 numbers"),
        ({"ImagePositionPatient": b"a\\b\\c"}, "is 3 numbers"),
        ({"ImageOrientationPatient": b"0\\0\\0\\0\\0\\0"}, "two unit vectors at right angles"),
        ({"ImageOrientationPatient": b"1\\0\\0\\1\\0\\0"}, "two unit vectors at right angles"),
        ({"ImageOrientationPatient": b"1\\0\\0\\0\\2\\0"}, "two unit vectors at right angles"),
        ({"ImageOrientationPatient": b"0.7\\0.7\\0\\0\\0\\1"}, "two unit vectors at right angles"),
        ({"ImageOrientationPatient": b"nan\\0\\0\\0\\1\\0"}, "is 6 numbers"),
        ({"ImageOrientationPatient": b"1\\0\\0\\0\\1"}, "is 6 numbers"),
    ],
)
def test_places_that_are_none_are_refused_in_files_and_series(tmp_path, volume, element, message):
    refused(image(volume[0], **element), tmp_path / "one", message)
    save_series(tmp_path / "series", volume)
    place = {"ImagePositionPatient": [0, 0, 15]}
    save(image(volume[0], **{**place, **element}), tmp_path / "series" / "5.dcm")
    for series in (None, "1.2.3.4"):
        with pytest.raises(AcregError, match=message):
            read_image(tmp_path / "series", series=series)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ({"ImagePositionPatient": None}, "5.dcm lacks them"),
        ({"ImagePositionPatient": [0, 0, 12]}, "lie at one"),
        ({"FrameOfReferenceUID": "9.9"}, "one Frame of Reference UID .* 1.2.3.4.6, 9.9"),
        ({"TemporalPositionIdentifier": 2}, "one Temporal Position Identifier .* with none, 2"),
        ({"EchoNumbers": 2}, "one Echo Number"),
        ({"Units": "BQML"}, "one Units"),
        ({"Rows": 12, "PixelData": bytes(480)}, "one size"),
    ],
)
def test_a_slice_of_another_volume_is_refused(tmp_path, volume, element, message):
    save_series(tmp_path, volume)
    save(image(volume[0], **{"ImagePositionPatient": [0, 0, 15], **element}), tmp_path / "5.dcm")
    with pytest.raises(AcregError, match=message):
        read_image(tmp_path)

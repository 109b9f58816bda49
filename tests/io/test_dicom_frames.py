"""Multi-frame DICOM and the geometry of all DICOM: frames lie where their header says, or the file is refused."""

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_image
from tests.io.dicom_samples import AXIAL, CLASSES, enhanced, frame_group, image, item, save, save_series, shared_groups

OBLIQUE = [0.8, 0.6, 0, -0.36, 0.48, 0.8]
NORMAL = np.array([0.48, -0.64, 0.6])
HEIGHTS = 2.5 * np.arange(5)


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 3000, (5, 24, 20)).astype(np.uint16)


def places(heights=HEIGHTS):
    return [(-50, -60, float(z)) for z in heights]


def read(dataset, folder, **options):
    return read_image(save(dataset, folder / "a.dcm"), **options)


def refused(dataset, folder, message, **options):
    path = save(dataset, folder / "a.dcm")
    with pytest.raises(AcregError, match=message) as caught:
        read_image(path, **options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def rescaled(slope, intercept=-1024, **more):
    return {"PixelValueTransformationSequence": item(RescaleSlope=slope, RescaleIntercept=intercept, **more)}


# --- frames of one file -----------------------------------------------------------------------------------------------


def test_an_enhanced_image_agrees_with_simpleitk(tmp_path, volume):
    shared = {"PlaneOrientationSequence": item(ImageOrientationPatient=OBLIQUE), **rescaled(1)}
    positions = [np.array([-50, -60, 10]) + z * NORMAL for z in HEIGHTS]
    found = read(enhanced(volume, positions, shared=shared), tmp_path)
    theirs = sitk.ReadImage(str(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(found.array, sitk.GetArrayFromImage(theirs))
    expected = Grid.from_itk(theirs)
    for name in ("shape", "spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(found.grid, name), getattr(expected, name), atol=1e-6)


@pytest.mark.parametrize("order", [[0, 2, 4, 1, 3], [4, 3, 2, 1, 0]])
def test_frames_in_any_order_are_sorted_by_their_places(tmp_path, volume, order):
    found = read(enhanced(volume[order], places(HEIGHTS[order])), tmp_path)
    np.testing.assert_array_equal(found.array, volume)
    assert found.grid == Grid((5, 24, 20), (2.5, 1.2, 0.7), (0, -60, -50))


def test_frames_with_their_own_scaling_and_orientation(tmp_path, volume):
    """As PET and some MR have it: a slope a frame. The orientation may stand in each frame, too."""
    slopes = [1, 2, 0.5, 3, 1]
    own = [rescaled(s, 7) | {"PlaneOrientationSequence": item(ImageOrientationPatient=AXIAL)} for s in slopes]
    found = read(enhanced(volume, places(), shared={"PlaneOrientationSequence": []}, own=own), tmp_path)
    np.testing.assert_allclose(found.array, volume * np.array(slopes)[:, None, None] + 7)


def test_a_tilted_stack_of_frames_is_a_sheared_grid(tmp_path, volume):
    positions = [(-50, -60 + 0.4 * z, z) for z in HEIGHTS]
    grid = read(enhanced(volume, positions), tmp_path).grid
    np.testing.assert_allclose(grid.to_world(np.array([4, 2, 3])), [10, -60 + 4 + 2.4, -50 + 2.1])


def several(keyword, sequence, values=(1, 1, 2, 2, 2)):
    """Frames that an element of a functional group tells apart."""
    return {"own": [{sequence: item(**{keyword: value})} for value in values]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": places([0, 2.5, 7.5, 10, 12.5])}, "with 5 mm between frame 2 of a.dcm and frame 3 of a.dcm"),
        ({"positions": places([0, 2.5, 2.5, 5, 7.5])}, "lie at one"),
        ({"positions": places([0, 0, 0, 0, 0])}, "lie at one"),
        ({"positions": [None, *places()[1:]]}, "lacks them"),
        ({"positions": [(0, 0, 5 * k**2) for k in range(5)]}, "equal distances"),
        ({"own": [{}] * 4 + [{"PlaneOrientationSequence": item(ImageOrientationPatient=OBLIQUE)}]}, "are parallel"),
        ({"own": [{}] * 4 + [{"PixelMeasuresSequence": item(PixelSpacing=[1, 1])}]}, "one spacing"),
        (several("TemporalPositionIndex", "FrameContentSequence"), r"one Temporal Position Index .* with 1, 2"),
        (several("StackID", "FrameContentSequence", "AABBB"), "one Stack ID .* with A, B"),
        (several("EffectiveEchoTime", "MREchoSequence", (1.5, 1.5, 3, 3, 3)), "one Effective Echo Time"),
        (several("DiffusionBValue", "MRDiffusionSequence", (0, 0, 900, 900, 900)), "one Diffusion b-value"),
        ({"own": [rescaled(1)] * 4 + [rescaled(0)]}, "slope that scales values is not 0"),
        ({"own": [rescaled(1)] * 4 + [rescaled(1, RescaleType="US")]}, "one Rescale Type"),
        ({"NumberOfFrames": 4}, "5 items and 4 frames"),
        ({"PerFrameFunctionalGroupsSequence": [frame_group(p) for p in places()[:3]]}, "3 items and 5 frames"),
        ({"PerFrameFunctionalGroupsSequence": None}, "5 frames without places"),
        ({"SharedFunctionalGroupsSequence": None}, "spacing of a DICOM image must be known"),
        (
            {"SharedFunctionalGroupsSequence": shared_groups(PixelMeasuresSequence=item(PixelSpacing=b"0\\1"))},
            "is 2 positive numbers",
        ),
    ],
)
def test_frames_that_make_no_volume_are_refused(tmp_path, volume, change, message):
    refused(enhanced(**{"array": volume, "positions": places(), **change}), tmp_path, message)


def test_frames_of_time_are_refused(tmp_path, volume):
    made = image(volume, "UltrasoundMultiFrameImageStorage", "US", FrameTime=40)
    refused(made, tmp_path, "Ultrasound Multi-frame Image Storage, with 5 frames without places")


def test_enhanced_files_in_a_folder_make_one_volume(tmp_path, volume):
    save(enhanced(volume[3:], places()[3:]), tmp_path / "a.dcm")
    save(enhanced(volume[:3], places()[:3]), tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_image(tmp_path).array, volume)
    save(enhanced(volume[:3], places()[:3]), tmp_path / "c.dcm")
    with pytest.raises(AcregError, match="where b.dcm and c.dcm lie at one"):
        read_image(tmp_path)


def test_inverted_x_rays_of_several_frames(tmp_path, volume):
    made = enhanced(
        volume, places(), "BreastTomosynthesisImageStorage", Modality="MG", PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(read(made, tmp_path).array, 65535 - volume.astype(int))


# --- dose, parametric maps, other values ------------------------------------------------------------------------------


def dose(volume, **elements):
    return image(
        volume,
        "RTDoseStorage",
        "RTDOSE",
        **{"DoseGridScaling": 1e-3, "GridFrameOffsetVector": HEIGHTS.tolist(), **elements},
    )


@pytest.mark.parametrize(
    "change",
    [{}, {"ImagePositionPatient": [0, 0, 30.0], "GridFrameOffsetVector": (HEIGHTS + 30).tolist()}],
)
def test_doses_are_scaled_and_lie_by_their_offsets(tmp_path, volume, change):
    found = read(dose(volume, **change), tmp_path)
    np.testing.assert_allclose(found.array, volume * 1e-3, rtol=1e-6)
    start = change.get("ImagePositionPatient", [0, 0, 0])[2]
    assert found.grid == Grid((5, 24, 20), (2.5, 1.2, 0.7), (start, 0, 0))


def test_offsets_of_a_dose_go_along_the_normal(tmp_path, volume):
    found = read(dose(volume, ImageOrientationPatient=[1, 0, 0, 0, -1, 0]), tmp_path)
    np.testing.assert_allclose(found.grid.to_world(np.array([4, 2, 0])), [-10, -2.4, 0])
    np.testing.assert_allclose(found.array, volume * 1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DoseGridScaling": None}, "A dose has Dose Grid Scaling"),
        ({"DoseGridScaling": b"0"}, "not 0"),
        ({"DoseGridScaling": b"nan"}, "Dose Grid Scaling .* is a number"),
        ({"GridFrameOffsetVector": None}, "Grid Frame Offset Vector .* without it"),
        ({"GridFrameOffsetVector": [0, 1, 2]}, "is 5 numbers"),
        ({"GridFrameOffsetVector": [4, 5, 6, 7, 8]}, "begins with 0"),
        ({"GridFrameOffsetVector": [0, 2, 3, 7, 8]}, "equal distances"),
        ({"ImagePositionPatient": None}, "lacks them"),
    ],
)
def test_doses_without_places_or_scaling_are_refused(tmp_path, volume, change, message):
    refused(dose(volume, **change), tmp_path, message)


def mapped(**mapping):
    mapping = {"RealWorldValueSlope": 1.0, "RealWorldValueIntercept": 0.0, **mapping}
    return {"RealWorldValueMappingSequence": item(**mapping)}


def test_parametric_maps(tmp_path, volume):
    """Values of float pixels, and of whole ones by their mapping."""
    made = enhanced(volume, places(), "ParametricMapStorage", mapped(RealWorldValueSlope=0.25), Modality="MR")
    np.testing.assert_allclose(read(made, tmp_path).array, volume * 0.25)
    floats = enhanced(volume, places(), "ParametricMapStorage", mapped(), Modality="MR")
    values = (volume / 7).astype(np.float32)
    floats.FloatPixelData, floats.BitsAllocated = values.tobytes(), 32
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(floats, keyword)
    np.testing.assert_array_equal(read(floats, tmp_path).array, values)
    table = mapped(RealWorldValueSlope=None, RealWorldValueLUTData=[1.0, 4.0])
    refused(enhanced(volume, places(), "ParametricMapStorage", table), tmp_path, "one slope, not 0, and intercept")


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


# --- geometry ---------------------------------------------------------------------------------------------------------


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


# --- what is no image -------------------------------------------------------------------------------------------------

OTHERS = {
    "RTStructureSetStorage": "RT Structure Set Storage. Its contours become labels in another program",
    "RTPlanStorage": "RT Plan Storage",
    "BasicTextSRStorage": "Basic Text SR Storage",
    "GrayscaleSoftcopyPresentationStateStorage": "Presentation State",
    "KeyObjectSelectionDocumentStorage": "Key Object Selection",
    "EncapsulatedPDFStorage": "Encapsulated PDF Storage",
    "MediaStorageDirectoryStorage": "Name the file, or the folder, of the images|list of the files on a disc",
    "MRSpectroscopyStorage": "MR Spectroscopy Storage",
    "TwelveLeadECGWaveformStorage": "ECG",
}


@pytest.mark.parametrize(("sop", "message"), OTHERS.items())
def test_what_is_no_image_is_named_when_it_is_named(tmp_path, sop, message):
    refused(image(None, sop, "OT"), tmp_path, f"whose class is .*{message}")


def test_what_is_no_image_is_passed_over_in_a_folder(tmp_path, volume):
    save_series(tmp_path, volume)
    for sop in OTHERS:
        save(image(None, sop, "OT", SeriesInstanceUID="1.2.77"), tmp_path / f"{sop}.dcm")
    private = image(None, modality="OT")
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"
    save(private, tmp_path / "private.dcm")
    for series in (None, "1.2.3.4"):
        np.testing.assert_array_equal(read_image(tmp_path, series=series).array, volume)
    from acreg.applications.inspection import inspect

    found = {entry["series"]: entry for entry in inspect(tmp_path)["series"]}
    assert found["1.2.3.4"]["size_xy"] == [20, 24] and found["1.2.77"]["files"] == len(OTHERS)
    for k in range(5):
        (tmp_path / f"{k}.dcm").unlink()
    with pytest.raises(AcregError, match="with .*RT Plan Storage.* only"):
        read_image(tmp_path)


def test_the_classes_that_are_asked_for_exist():
    from acreg.io import dicom_header

    assert dicom_header.DOSE == CLASSES["RTDoseStorage"] and dicom_header.STRUCTURES == CLASSES["RTStructureSetStorage"]
    assert dicom_header.PARAMETRIC_MAP == CLASSES["ParametricMapStorage"]
    assert dicom_header.SEGMENTATIONS[0] == CLASSES["SegmentationStorage"]

"""Files of several frames: frames lie where the header says, or the file is refused."""

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_image
from tests.io.dicom_samples import (
    AXIAL,
    changed,
    enhanced,
    frame_group,
    image,
    item,
    read,
    refused,
    save,
    shared_groups,
)

OBLIQUE = [0.8, 0.6, 0, -0.36, 0.48, 0.8]
NORMAL = np.array([0.48, -0.64, 0.6])
HEIGHTS = 2.5 * np.arange(5)


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 3000, (5, 24, 20)).astype(np.uint16)


def places(heights=HEIGHTS):
    return [(-50, -60, float(z)) for z in heights]


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


def sorted_by(*pointers, indices):
    """Dimensions, and the indices of each frame along them."""
    return {
        "DimensionIndexSequence": [item(DimensionIndexPointer=pointer)[0] for pointer in pointers],
        "own": [{"FrameContentSequence": item(DimensionIndexValues=list(values))} for values in indices],
    }


POSITION, PHASE = 0x00200032, 0x00189344  # Image Position (Patient), Contrast/Bolus Agent Phase


@pytest.mark.parametrize(("pointer", "phases"), [(POSITION, (1, 1, 2, 2, 2)), (PHASE, (2,) * 5), (PHASE, range(1, 6))])
def test_dimensions_that_place_frames_or_count_them(tmp_path, volume, pointer, phases):
    made = enhanced(volume, places(), **sorted_by(POSITION, pointer, indices=zip(range(1, 6), phases)))
    np.testing.assert_array_equal(read(made, tmp_path).array, volume)


@pytest.mark.parametrize(("pointer", "words"), [(PHASE, "Contrast/Bolus Agent Phase"), (0x20011001, r"\(2001,1001\)")])
def test_frames_of_several_phases_are_refused(tmp_path, volume, pointer, words):
    made = enhanced(volume, places(), **sorted_by(POSITION, pointer, indices=zip(range(1, 6), (1, 1, 2, 2, 2))))
    refused(made, tmp_path, f"they differ in {words}.*, too \\(2 values\\)")


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


def test_thousands_of_frames_are_no_volume(tmp_path):
    made = enhanced(np.zeros((5001, 1, 1), np.uint8), [(0, 0, k) for k in range(5001)])
    refused(made, tmp_path, "at most 5000 frames. Received: .* with 5001")


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


def tomogram(volume, **elements):
    made = image(volume, "NuclearMedicineImageStorage", "NM", ImagePositionPatient=None, ImageOrientationPatient=None)
    made.DetectorInformationSequence = item(ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=AXIAL)
    made.ImageType, made.SpacingBetweenSlices = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], 4
    made.SliceVector = [1, 2, 3, 4, 5]
    return changed(made, **elements)


@pytest.mark.parametrize(("between", "order"), [(4, slice(None)), (-4, slice(None, None, -1))])
def test_tomograms_of_nuclear_medicine(tmp_path, volume, between, order):
    found = read(tomogram(volume, SpacingBetweenSlices=between), tmp_path)
    np.testing.assert_array_equal(found.array, volume[order])
    assert found.grid == Grid((5, 24, 20), (4, 1.2, 0.7), (min(3, 3 + 4 * between), 2, 1))
    if between > 0:
        theirs = sitk.ReadImage(str(tmp_path / "a.dcm"))
        assert found.grid == Grid.from_itk(theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]}, "5 frames without places"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"]}, "5 frames without places"),
        ({"SliceVector": [1, 2, 1, 2, 1]}, "lie at one"),
        ({"SliceVector": None}, "lacks one of them"),
        ({"SpacingBetweenSlices": None}, "lacks one of them"),
        ({"DetectorInformationSequence": None}, "lacks them"),
    ],
)
def test_frames_of_nuclear_medicine_without_places_are_refused(tmp_path, volume, change, message):
    refused(tomogram(volume, **change), tmp_path, message)

"""DICOM objects that hold no image are named, or passed over in a folder."""

import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.io import read_image
from tests.io.dicom_samples import CLASSES, image, refused, save, save_series


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 3000, (5, 24, 20)).astype(np.uint16)


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
    from acreg.applications.inspection.files import inspect

    found = {entry["series"]: entry for entry in inspect(tmp_path)["series"]}
    assert found["1.2.3.4"]["size_xy"] == [20, 24] and found["1.2.77"]["files"] == len(OTHERS)
    for k in range(5):
        (tmp_path / f"{k}.dcm").unlink()
    with pytest.raises(AcregError, match="with .*RT Plan Storage.* only"):
        read_image(tmp_path)


def test_the_classes_that_are_asked_for_exist():
    from acreg.io.dicom import header

    assert header.DOSE == CLASSES["RTDoseStorage"] and header.STRUCTURES == CLASSES["RTStructureSetStorage"]
    assert header.PARAMETRIC_MAP == CLASSES["ParametricMapStorage"]
    assert header.SEGMENTATIONS[0] == CLASSES["SegmentationStorage"]

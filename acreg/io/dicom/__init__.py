"""DICOM: files, series, segmentations."""

from acreg._moved import forward

__getattr__ = forward(
    __name__,
    "acreg.io.dicom.format",
    {"load_dicom": "acreg.io.dicom.format.read", "is_segmentation_file": "acreg.io.dicom.format.holds_labels"},
)

"""NIfTI, and FreeSurfer's MGH and MGZ; displacements in NIfTI."""

from acreg._moved import forward

__getattr__ = forward(
    __name__,
    "acreg.io.nifti.format",
    {
        "load_nifti": "acreg.io.nifti.reading.read",
        "load_nifti_raw": "acreg.io.nifti.opening.read_raw",
        "open_nifti": "acreg.io.nifti.opening.open_nifti",
        "nifti_values": "acreg.io.nifti.opening.nifti_values",
        "nifti_affine": "acreg.io.nifti.place.nifti_affine",
    },
)

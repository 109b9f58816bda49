"""What a file says of itself."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.applications.inspection.files")

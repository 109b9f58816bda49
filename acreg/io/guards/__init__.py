"""Protection against untrusted files: checks before decoding, limits, and decoders that may crash."""

from acreg.io.guards.decoding import decoding, kind
from acreg.io.guards.files import check_file, check_name, check_utf8, format_of, has_mark
from acreg.io.guards.sizes import CONVERTED, DEFLATE, LARGEST, check_packed, check_size

__all__ = [
    "CONVERTED",
    "DEFLATE",
    "LARGEST",
    "check_file",
    "check_name",
    "check_packed",
    "check_size",
    "check_utf8",
    "decoding",
    "format_of",
    "has_mark",
    "kind",
]

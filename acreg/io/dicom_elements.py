"""The elements of a DICOM file, walked before GDCM reads it: GDCM takes the memory that one claims, up to 4 GB."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from acreg.errors import AcregError
from acreg.io.files import has_dicom_mark

SHORT = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
LONG = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
"""Value representations whose length has 32 bits, after two bytes of zeros."""
ITEM, PIXELS = (0xFFFE, 0xE000), (0x7FE0, 0x0010)
TRANSFER_SYNTAX = (0x0002, 0x0010)
IMPLICIT, BIG_ENDIAN, DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF


def check_elements(path: Path) -> None:
    """Raise `AcregError` if an element of a DICOM file claims more bytes than are left in the file.

    Sequences are entered; of a deflated file only the part that says so is looked at. Whatever else is odd is left for
    GDCM to judge, which reads more than the standard allows.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = 132 if has_dicom_mark(path) else 0
        order, syntax, in_pixels = "<", b"", False
        while at + 8 <= len(content):
            tag = struct.unpack_from(order + "HH", content, at)
            if syntax == BIG_ENDIAN and tag[0] != 2:
                order = ">"
                tag = struct.unpack_from(order + "HH", content, at)
            if syntax == DEFLATED and tag[0] != 2:
                return
            representation = content[at + 4 : at + 6]
            implicit = tag[0] == ITEM[0] or (syntax == IMPLICIT and tag[0] != 2)
            if not implicit and representation in SHORT:
                length, start = struct.unpack_from(order + "H", content, at + 6)[0], at + 8
            elif not implicit and representation in LONG and at + 12 <= len(content):
                length, start = struct.unpack_from(order + "I", content, at + 8)[0], at + 12
            else:
                length, start = struct.unpack_from(order + "I", content, at + 4)[0], at + 8
            if length != UNDEFINED and start + length > len(content):
                raise AcregError(
                    "The file must be a whole DICOM image. Received: "
                    f"{path}, whose element ({tag[0]:04x},{tag[1]:04x}) claims {length} bytes, where "
                    f"{len(content) - start} are left. It is cut off or damaged; get the file again."
                )
            if tag == TRANSFER_SYNTAX:
                syntax = content[start : start + length].rstrip(b"\0 ")
            if tag[0] != ITEM[0]:
                in_pixels = tag == PIXELS
            # Sequences and their items are walked through, fragments of compressed pixels are passed over.
            enter = length == UNDEFINED or (not implicit and representation == b"SQ") or (tag == ITEM and not in_pixels)
            at = start if enter else start + length

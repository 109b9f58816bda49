"""One message for any error that a decoder raises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from acreg.errors import AcregError, quiet
from acreg.io.formats import READ, suffix


def kind(path: Path) -> str:
    """The name of a file with this suffix in messages, such as "png image"."""
    return f"{suffix(path).lstrip('.') if suffix(path) in READ else 'DICOM'} image"


@contextlib.contextmanager
def decoding(path: Path, what: str = "") -> Iterator[None]:
    """Turn any error of a decoder into one paragraph that names the file, and suppress its warnings.

    `what` names the expected content, by default an image in the format of the suffix.
    """
    try:
        with quiet(Warning):
            yield
    except AcregError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{' '.join(str(error).split())} The file is {path}.") from error
    except MemoryError:
        raise AcregError(
            f"An {what or 'image'} must fit into memory. Received: {path}. Its header may be damaged."
        ) from None
    except (
        Exception
    ) as error:  # decoders raise many types: OSError, SyntaxError, struct.error, zlib.error, RuntimeError
        reason = " ".join(str(error).split())[-200:].rstrip(" .") or type(error).__name__
        raise AcregError(
            f"The file must be a whole {what or kind(path)}. Received: {path}, which cannot be decoded ({reason}). It "
            "may be cut off, damaged, or of another kind than its name says; get the file again or convert it."
        ) from error

"""Descriptions of files."""

from __future__ import annotations

from acreg import _lazy, _moved

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__, __file__, otherwise=_moved.forward(__name__, "acreg.applications.inspection.files")
)

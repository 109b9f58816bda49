"""The parts that an installation of acreg must have, and the error if one is missing.

An incomplete copy, or a wheel built from one, lacks whole packages. Without `install`, Python would only report that
there is no module of that name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from acreg.errors import AcregError

PARTS = (
    "applications",
    "baselines",
    "cli",
    "data",
    "evaluation",
    "experiments",
    "geometry",
    "inference",
    "io",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimisation",
    "plotting",
    "presets",
    "registration",
    "report",
    "shapes",
    "training",
    "viewing",
)
"""The folders of acreg. Those with code are packages; `presets` holds data."""


class MissingPart(ModuleNotFoundError, AcregError):
    """Error: a part that the installation lacks was imported."""


HERE = Path(__file__).resolve().parent


def missing_parts(folder: Path = HERE) -> list[str]:
    """The parts that are missing or empty in acreg's folder."""
    return [name for name in PARTS if not any((folder / name).glob("*/*" if name == "presets" else "__init__.py"))]


def incomplete(missing: Sequence[str]) -> str:
    """The message about an installation without these parts."""
    return (
        f"An installation of acreg must have all of its parts. Received: {HERE} without {', '.join(missing)}. The "
        "installation is incomplete: reinstall acreg from a wheel or a complete checkout."
    )


def install() -> None:
    """Make the import of a missing part raise that message."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder):
    """The last finder, which is asked only for modules that no other finder has found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith("acreg.") and fullname.removeprefix("acreg.") in PARTS:
            raise MissingPart(incomplete(missing_parts() or [fullname]), name=fullname)
        return None

"""The versions that results depend on. Imports only the standard library, so that `acreg doctor` can always use it."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

import acreg

PACKAGES = ("numpy", "scipy", "SimpleITK", "nibabel", "medpy", "keras", "tensorflow", "jax")
"""Packages that take part in computing or reading a result."""


def installed_version(package: str) -> str | None:
    """The installed version of a package, by its name on PyPI; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of those of some packages that are installed."""
    return {package: version for package in packages if (version := installed_version(package)) is not None}


def program_versions() -> dict[str, str]:
    """The versions of acreg and of Python, and the platform."""
    return {"acreg": acreg.__version__, "python": platform.python_version(), "platform": platform.platform()}

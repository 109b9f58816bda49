"""What ``acreg doctor`` observes of the installation and the machine, apart from the GPU."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from acreg.versions import installed_version

# The packages of setup.cfg, for a checkout that is not installed; the bounds are in the metadata.
REQUIRED = (
    "tensorflow",
    "tensorboard",
    "keras",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "scikit-image",
    "scikit-learn",
    "medpy",
    "h5py",
    "matplotlib",
    "pillow",
    "pydantic",
    "PyYAML",
    "typer",
    "rich",
    "lazy_loader",
)


@dataclass(frozen=True)
class Package:
    """A required package: its name, the installed version (``None``: missing) and the needed versions."""

    name: str
    installed: str | None
    needed: str

    @property
    def problem(self) -> str:
        """What is wrong, or an empty string."""
        if self.installed is None:
            return f"{self.name} is not installed."
        if self.needed and not _fits(self.installed, self.needed):
            return f"{self.name} is {self.installed}, and {self.needed} is needed."
        return ""


@dataclass(frozen=True)
class Backend:
    """The Keras backend: its name, its version and why it cannot be imported (empty if it can)."""

    name: str
    version: str
    problem: str = ""


def _fits(version: str, needed: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # comes with Keras; what is missing is reported by name
        return True
    return SpecifierSet(needed).contains(version, prereleases=True)


def _needed() -> dict[str, str]:
    """The required packages with their bounds, from the metadata of acreg."""
    try:
        from packaging.requirements import Requirement

        lines = metadata.requires("acreg") or []
    except (ImportError, metadata.PackageNotFoundError):
        return dict.fromkeys(REQUIRED, "")
    requirements = [Requirement(line) for line in lines]
    return {r.name: str(r.specifier) for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}


def packages(needed: Mapping[str, str] | None = None) -> list[Package]:
    """The required packages and their installed versions.

    TensorFlow also comes as ``tensorflow-cpu``; it may be absent where another backend is chosen.
    """
    found = []
    for name, bounds in (_needed() if needed is None else needed).items():
        version = installed_version(name)
        if name == "tensorflow" and version is None:
            version = installed_version("tensorflow-cpu")
            if version is None and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
                continue
        found.append(Package(name, version, bounds))
    return found


def repair_command(found: list[Package]) -> str:
    """The command that installs what is missing."""
    wrong = [f'"{p.name}{p.needed}"' for p in found if p.problem] or ['"tensorflow>=2.20,<2.22"', '"keras>=3.12,<4"']
    return f"{sys.executable} -m pip install {' '.join(wrong)}"


def backend() -> Backend:
    """Import Keras and report which backend it runs on."""
    name = os.environ.get("KERAS_BACKEND", "tensorflow")
    try:
        import keras

        name = keras.backend.backend()
    except Exception as error:
        # Whatever a broken installation raises is the finding.
        first_line = (str(error).strip() or "no message").splitlines()[0]
        return Backend(name, installed_version(name) or "", f"{type(error).__name__}: {first_line}")
    return Backend(name, installed_version(name) or installed_version(f"{name}-cpu") or "")


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def memory() -> tuple[float, float]:
    """Memory of this machine, or of this container where it is less: total and free, in bytes; NaN if unknown."""
    total = free = float("nan")
    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = float(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        if limit < total:
            total, free = limit, min(free, limit - used)
    except (OSError, ValueError, AttributeError, StopIteration):
        pass  # not Linux, or no limit is set ("max")
    return total, free


def machine() -> list[tuple[str, str]]:
    """Rows on Python, the system, cores, memory and disk."""
    total, free = memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("acreg", installed_version("acreg") or "a checkout that is not installed"),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("cores", str(cores)),
        ("memory", f"{_gigabytes(total)}, {_gigabytes(free)} free"),
        ("disk, this folder", f"{_gigabytes(shutil.disk_usage('.').free)} free"),
    ]


def data_folder() -> list[tuple[str, str]]:
    """Rows on ACREG_DATA and the prepared datasets in it."""
    value = os.environ.get("ACREG_DATA")
    if not value:
        return [("ACREG_DATA", "not set (needed to name datasets; paths work without it)")]
    folder = Path(value)
    if not folder.is_dir():
        return [("ACREG_DATA", f"{value} (no such folder)")]
    names = sorted(path.parent.name for path in folder.glob("*/dataset.json"))
    return [("ACREG_DATA", value), ("prepared datasets", ", ".join(names) or "none")]

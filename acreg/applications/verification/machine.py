"""The environment of the checks: versions, processor, GPU; no names of the machine, its users or folders."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import acreg
from acreg.versions import package_versions

PACKAGES = (
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "h5py",
    "pillow",
    "scikit-image",
    "scikit-learn",
    "medpy",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
)


def environment(gpus: Sequence[str] | None = None) -> dict[str, str]:
    """Names and versions; packages that are not installed are omitted.

    Args:
        gpus: names of the GPUs, if known; None for the names that Keras reports.
    """
    backend, devices = _keras()
    found = {
        "acreg": acreg.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()}, {platform.machine()}",
        "CPU": f"{_processor()}, {_cores()} cores",
        "GPU": ", ".join(devices if gpus is None else gpus) or "none",
        "Keras backend": backend,
    }
    return found | package_versions(PACKAGES)


def _keras() -> tuple[str, list[str]]:
    """The name of the backend, and of the GPUs that it uses."""
    try:
        import keras

        devices = [device for device in keras.distribution.list_devices() if not device.lower().startswith("cpu")]
        return keras.backend.backend(), devices
    except Exception as error:  # any error of a broken installation: the checks that need Keras report it, too
        return f"none that can be used ({type(error).__name__})", []


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

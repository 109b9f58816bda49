"""Why Keras sees a GPU or does not: `observe` collects facts, `diagnose` judges them and touches nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from acreg.versions import installed_version

OLDEST_DRIVER = 525  # the first series that runs CUDA 12
TENSORFLOW_GPU = '"tensorflow[and-cuda]>=2.20,<2.22"'
_VARIANTS = ("tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "tensorflow-rocm")


@dataclass(frozen=True)
class GpuFacts:
    """Observations about the GPU and its software.

    Attributes:
        backend: the Keras backend.
        visible: the GPUs that the backend lists.
        system: ``platform.system()``: Linux, Darwin, Windows.
        driver: version of NVIDIA's kernel driver; ``None`` without a driver.
        devices: how many GPUs the driver has; ``None`` if unknown.
        in_container: whether this is a container.
        cuda_visible_devices: the environment variable; ``None`` if not set.
        installed: names of installed distributions, lower case.
        built_with_cuda: whether this TensorFlow was built with CUDA; ``None`` if it cannot be imported.
        missing_wheels: the NVIDIA wheels that ``tensorflow[and-cuda]`` brings and that are not installed.
        python: the interpreter, for the commands.
    """

    backend: str = "tensorflow"
    visible: tuple[str, ...] = ()
    system: str = "Linux"
    driver: str | None = None
    devices: int | None = None
    in_container: bool = False
    cuda_visible_devices: str | None = None
    installed: frozenset[str] = frozenset()
    built_with_cuda: bool | None = None
    missing_wheels: tuple[str, ...] = ()
    python: str = "python"


@dataclass(frozen=True)
class Diagnosis:
    """Whether a GPU is usable, the finding in one or two sentences, and the command that helps."""

    usable: bool
    cause: str
    message: str
    command: str = ""


def diagnose(facts: GpuFacts) -> Diagnosis:
    """Judge observed facts: the first cause that applies, from the hardware up."""
    pip = f"{facts.python} -m pip"
    if facts.visible:
        return Diagnosis(True, "usable", f"{len(facts.visible)} usable: {', '.join(facts.visible)}")
    if facts.system == "Darwin":
        message = "none. TensorFlow has no CUDA on macOS; acreg runs on the CPU here. Train on a Linux machine."
        return Diagnosis(False, "macos", message)
    if facts.system == "Windows":
        message = "none. TensorFlow has no CUDA on Windows itself; inside of WSL 2 it has."
        return Diagnosis(False, "windows", message, "wsl --install")
    if facts.driver is None and facts.in_container:
        message = "none. This container was started without access to a GPU, or its host has no NVIDIA driver."
        return Diagnosis(False, "no-driver-container", message, "docker run --rm --gpus all IMAGE doctor")
    if facts.driver is None:
        message = (
            "none. There is no NVIDIA driver (neither /proc/driver/nvidia nor a working nvidia-smi). acreg runs on the "
            "CPU; if this machine has an NVIDIA GPU, install the driver (Ubuntu's command is below) and restart."
        )
        return Diagnosis(False, "no-driver", message, "sudo ubuntu-drivers install")
    found = f"The NVIDIA driver {facts.driver} is there"
    if facts.devices == 0:
        message = f"none. {found}, but it lists no GPU: the machine or the container was given none."
        return Diagnosis(False, "no-device", message, "nvidia-smi -L")
    if _hides(facts.cuda_visible_devices, facts.devices):
        message = f"none. {found}, but CUDA_VISIBLE_DEVICES={facts.cuda_visible_devices!r} hides the GPU."
        return Diagnosis(False, "hidden", message, "unset CUDA_VISIBLE_DEVICES")
    if facts.backend == "jax":
        if not any(re.match(r"jax[-_]cuda\d+[-_]plugin", name) for name in facts.installed):
            message = f"none. {found}, but JAX was installed without CUDA."
            return Diagnosis(False, "jax-without-cuda", message, f'{pip} install "jax[cuda12]"')
    elif facts.backend == "tensorflow":
        variant = next((name for name in _VARIANTS if name in facts.installed), None)
        if variant:
            message = f"none. {found}, but the installed wheel is {variant}, which cannot use it."
            command = f"{pip} uninstall --yes {variant} tensorflow && {pip} install {TENSORFLOW_GPU}"
            return Diagnosis(False, "wrong-wheel", message, command)
        if facts.built_with_cuda is None:
            message = f"none. {found}, but TensorFlow cannot be imported."
            return Diagnosis(False, "no-tensorflow", message, f"{pip} install {TENSORFLOW_GPU}")
        if not facts.built_with_cuda:
            message = f"none. {found}, but this TensorFlow was built without CUDA."
            command = f"{pip} uninstall --yes tensorflow && {pip} install --no-cache-dir {TENSORFLOW_GPU}"
            return Diagnosis(False, "built-without-cuda", message, command)
        if facts.missing_wheels:
            message = f"none. {found}, but CUDA's libraries are not installed: {', '.join(facts.missing_wheels)}."
            return Diagnosis(False, "no-cuda-libraries", message, f"{pip} install {TENSORFLOW_GPU}")
    series = re.match(r"\d+", facts.driver)
    if series and int(series.group()) < OLDEST_DRIVER:
        message = f"none. {found}, but CUDA 12 needs {OLDEST_DRIVER} or later: update it and restart."
        return Diagnosis(False, "old-driver", message, "sudo ubuntu-drivers install")
    if facts.backend != "tensorflow":
        message = f"none. {found}, but the backend {facts.backend!r} does not list a GPU; its own messages may say why."
        return Diagnosis(False, "unknown", message, f'{facts.python} -c "import {facts.backend}"')
    message = (
        f"none. {found} and CUDA's libraries are installed, but TensorFlow could not use them. Its log says why; often "
        "LD_LIBRARY_PATH leads to another CUDA."
    )
    script = "import tensorflow as tf; print(tf.config.list_physical_devices())"
    return Diagnosis(False, "unknown", message, f'TF_CPP_MIN_LOG_LEVEL=0 {facts.python} -c "{script}"')


def _hides(value: str | None, devices: int | None) -> bool:
    """CUDA uses the listed devices up to the first that does not exist."""
    if value is None:
        return False
    first = value.split(",")[0].strip()
    if first.lower() in ("", "none", "void", "nodevfiles") or first.startswith("-"):
        return True
    return devices is not None and first.isdigit() and int(first) >= devices


def observe(backend: str) -> GpuFacts:
    """Collect the facts on this machine. The backend is asked for its GPUs, which imports it."""
    driver, devices = _driver()
    visible, built_with_cuda = _backend_devices(backend)
    return GpuFacts(
        backend=backend,
        visible=visible,
        system=platform.system(),
        driver=driver,
        devices=devices,
        in_container=any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")),
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        installed=frozenset((d.metadata["Name"] or "").lower() for d in metadata.distributions()),
        built_with_cuda=built_with_cuda,
        missing_wheels=_missing_wheels(),
        python=sys.executable,
    )


def _driver() -> tuple[str | None, int | None]:
    """Version of the NVIDIA driver and the number of its GPUs."""
    program = shutil.which("nvidia-smi")
    if program:
        query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            answer = None
        if answer is not None and answer.returncode == 0:
            versions = [line.strip() for line in answer.stdout.splitlines() if re.match(r"\d", line.strip())]
            if versions:
                return versions[0], len(versions)
    version_file = Path("/proc/driver/nvidia/version")
    try:
        text = version_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, None
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    folder = version_file.parent / "gpus"
    count = len(list(folder.iterdir())) if folder.is_dir() else None
    return (match.group(1) if match else "of unknown version"), count


def _backend_devices(backend: str) -> tuple[tuple[str, ...], bool | None]:
    """Names of the GPUs that the backend lists, and whether TensorFlow, if it is the backend, was built with CUDA."""
    try:
        if backend == "tensorflow":
            import tensorflow as tf

            found = tf.config.list_physical_devices("GPU")
            names = [tf.config.experimental.get_device_details(d).get("device_name", d.name) for d in found]
            return tuple(names), bool(tf.test.is_built_with_cuda())
        if backend == "jax":
            import jax

            return tuple(d.device_kind for d in jax.devices() if d.platform in ("gpu", "cuda", "rocm")), None
    except Exception:
        # A backend that cannot be imported is reported by `acreg doctor` with its own message.
        return (), None
    return (), None


def _missing_wheels() -> tuple[str, ...]:
    """Which of the wheels that ``tensorflow[and-cuda]`` asks for are not installed."""
    try:
        requirements: Iterable[str] = metadata.requires("tensorflow") or ()
    except metadata.PackageNotFoundError:
        return ()
    missing = []
    for line in requirements:
        match = re.match(r"(nvidia[\w.-]*)", line)
        if match and "and-cuda" in line and installed_version(match.group(1)) is None:
            missing.append(match.group(1))
    return tuple(missing)

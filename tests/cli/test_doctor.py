"""``acreg doctor``: each cause of an unused GPU, and what it says of packages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acreg import _parts
from acreg.cli import _gpu, _installation
from acreg.cli._gpu import Diagnosis, GpuFacts, diagnose
from acreg.cli._installation import Package
from acreg.cli.main import main

# A machine on which everything is there and yet no GPU is listed: each case below takes something from it.
BASE = GpuFacts(
    backend="tensorflow",
    system="Linux",
    driver="550.54.15",
    devices=1,
    installed=frozenset({"tensorflow", "nvidia-cudnn-cu12"}),
    built_with_cuda=True,
    python="/env/bin/python",
)
INSTALL = '/env/bin/python -m pip install "tensorflow[and-cuda]>=2.20,<2.22"'


@pytest.mark.parametrize(
    ("changes", "cause", "said", "command"),
    [
        ({"visible": ("NVIDIA H100",)}, "usable", "1 usable: NVIDIA H100", ""),
        ({"system": "Darwin", "driver": None}, "macos", "no CUDA on macOS", ""),
        ({"system": "Windows"}, "windows", "WSL 2", "wsl --install"),
        ({"driver": None}, "no-driver", "no NVIDIA driver", "sudo ubuntu-drivers install"),
        ({"driver": None, "in_container": True}, "no-driver-container", "started without access", "--gpus all"),
        ({"devices": 0}, "no-device", "lists no GPU", "nvidia-smi -L"),
        ({"cuda_visible_devices": ""}, "hidden", "CUDA_VISIBLE_DEVICES='' hides", "unset CUDA_VISIBLE_DEVICES"),
        ({"cuda_visible_devices": "-1"}, "hidden", "hides the GPU", "unset CUDA_VISIBLE_DEVICES"),
        ({"cuda_visible_devices": "1,0"}, "hidden", "hides the GPU", "unset CUDA_VISIBLE_DEVICES"),
        ({"cuda_visible_devices": "0"}, "unknown", "LD_LIBRARY_PATH", "TF_CPP_MIN_LOG_LEVEL=0"),
        ({"cuda_visible_devices": "GPU-8a2b"}, "unknown", "LD_LIBRARY_PATH", "TF_CPP_MIN_LOG_LEVEL=0"),
        ({"installed": frozenset({"tensorflow-cpu"})}, "wrong-wheel", "wheel is tensorflow-cpu", "uninstall --yes"),
        ({"built_with_cuda": None}, "no-tensorflow", "cannot be imported", INSTALL),
        ({"built_with_cuda": False}, "built-without-cuda", "built without CUDA", "--no-cache-dir"),
        ({"missing_wheels": ("nvidia-cudnn-cu12",)}, "no-cuda-libraries", "nvidia-cudnn-cu12", INSTALL),
        ({"driver": "470.82.01"}, "old-driver", "needs 525 or later", "ubuntu-drivers"),
        ({"driver": "of unknown version"}, "unknown", "of unknown version is there", "TF_CPP_MIN_LOG_LEVEL=0"),
        ({"backend": "jax"}, "jax-without-cuda", "JAX was installed without CUDA", 'install "jax[cuda12]"'),
        ({"backend": "jax", "installed": frozenset({"jax-cuda12-plugin"})}, "unknown", "backend 'jax'", "import jax"),
    ],
)
def test_diagnosis(changes: dict, cause: str, said: str, command: str) -> None:
    diagnosis = diagnose(replace(BASE, **changes))
    assert diagnosis.cause == cause
    assert diagnosis.usable == (cause == "usable")
    assert said in diagnosis.message
    assert command in diagnosis.command
    assert bool(command) == bool(diagnosis.command)


def test_the_cause_nearest_to_the_hardware_comes_first() -> None:
    facts = replace(BASE, cuda_visible_devices="", missing_wheels=("nvidia-cudnn-cu12",), built_with_cuda=False)
    assert diagnose(replace(facts, driver=None)).cause == "no-driver"
    assert diagnose(facts).cause == "hidden"


@pytest.mark.parametrize(
    ("installed", "needed", "problem"),
    [
        ("3.15.1", ">=3.12,<4", ""),
        ("3.15.1", "", ""),
        ("2.14.0", ">=3.12,<4", "keras is 2.14.0, and >=3.12,<4 is needed."),
        (None, ">=3.12,<4", "keras is not installed."),
    ],
)
def test_package_problem(installed: str | None, needed: str, problem: str) -> None:
    assert Package("keras", installed, needed).problem == problem


def test_packages_that_are_missing_are_found() -> None:
    found = _installation.packages({"numpy": ">=1", "acreg-no-such-package": ">=2"})
    assert [bool(package.problem) for package in found] == [False, True]
    assert _installation.repair_command(found).endswith('-m pip install "acreg-no-such-package>=2"')


def test_tensorflow_may_be_absent_beside_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_installation, "installed_version", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert _installation.packages({"tensorflow": ""}) == []
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert _installation.packages({"tensorflow": ""})[0].problem == "tensorflow is not installed."


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_installation, "packages", lambda: [Package("numpy", "2.4.6", ">=1.26")])
    monkeypatch.setattr(_installation, "backend", lambda: _installation.Backend("tensorflow", "2.21.0"))
    monkeypatch.setattr(_gpu, "observe", lambda backend: replace(BASE, driver=None))


def test_doctor_accepts_a_machine_without_gpu(healthy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "There is no NVIDIA driver" in printed
    assert "Everything that acreg needs is there." in printed


def test_doctor_fails_where_a_gpu_is_needed(healthy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--gpu"]) == 1
    assert "A GPU is asked for with --gpu." in capsys.readouterr().err


def test_doctor_fails_where_a_package_is_missing(
    healthy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_installation, "packages", lambda: [Package("medpy", None, ">=0.5")])
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert "missing" in printed.out
    assert "medpy is not installed. To run: " in printed.err


def test_doctor_fails_where_a_part_of_acreg_is_missing(
    healthy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in _parts.PARTS[1:]:
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "folder" / "config.json").touch()
    missing = _parts.missing_parts(tmp_path)
    assert missing == ["applications"]
    monkeypatch.setattr(_parts, "missing_parts", lambda: missing)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert "Packages" in printed.out
    assert "without applications. The installation is incomplete: reinstall acreg" in printed.err


def test_doctor_fails_where_the_backend_is_broken(
    healthy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = _installation.Backend("tensorflow", "2.21.0", "ImportError: no libstdc++")
    monkeypatch.setattr(_installation, "backend", lambda: broken)
    assert main(["doctor"]) == 1
    assert "ImportError: no libstdc++" in capsys.readouterr().out


def test_doctor_shows_the_data_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jsrt").mkdir()
    (tmp_path / "jsrt" / "dataset.json").write_text("{}")
    monkeypatch.setenv("ACREG_DATA", str(tmp_path))
    assert _installation.data_folder()[1] == ("prepared datasets", "jsrt")
    monkeypatch.setenv("ACREG_DATA", str(tmp_path / "absent"))
    assert "no such folder" in _installation.data_folder()[0][1]
    monkeypatch.delenv("ACREG_DATA")
    assert "not set" in _installation.data_folder()[0][1]


def test_observation_of_this_machine_is_judged() -> None:
    facts = _gpu.observe("none")
    assert facts.visible == ()
    assert isinstance(diagnose(facts), Diagnosis)

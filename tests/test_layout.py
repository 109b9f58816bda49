"""What may be imported from where, and how quickly the program answers."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import acreg

HEAVY = ("keras", "tensorflow", "jax", "scipy", "matplotlib", "SimpleITK", "skimage", "sklearn", "pandas", "medpy")


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("code", ["import acreg", "from acreg.cli.main import main; assert main(['--help']) == 0"])
def test_heavy_packages_are_not_imported(code: str, repository: Path) -> None:
    done = run_python(f"{code}\nimport sys; print('LOADED', *[m for m in {HEAVY} if m in sys.modules])", repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED", "command modules must import heavy packages in their functions"


def test_help_answers_at_once(repository: Path) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert run_python("from acreg.cli.main import main; main(['--help'])", repository).returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2  # about 0.3 s on an idle machine


@pytest.mark.parametrize("name", ["layers"])
def test_linked_packages_refuse_another_name(name: str, repository: Path) -> None:
    done = run_python(f"import {name}", repository)
    assert done.returncode != 0
    assert f"acreg.{name}" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["layers", "data", "experiments"])
def test_packages_are_real_folders_and_links_at_the_root_point_to_them(name: str, repository: Path) -> None:
    assert (repository / "acreg" / name / "__init__.py").is_file()
    assert not (repository / "acreg" / name).is_symlink()
    link = repository / name  # where the file system has no links, git writes a file that holds the target
    target = os.readlink(link) if link.is_symlink() else link.read_text()
    assert Path(target.strip()) == Path("acreg", name)


def test_lazy_names_are_the_real_ones() -> None:
    assert acreg.Image is importlib.import_module("acreg.io").Image
    assert acreg.geometry is importlib.import_module("acreg.geometry")
    assert {"Image", "from_preset", "read_image", "layers"} <= set(dir(acreg))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'acreg' has no attribute 'registre'"):
        acreg.registre  # noqa: B018

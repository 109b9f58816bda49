"""What a type checker says to a user of the installed package."""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Names that README's programs take from the text around them.
GIVEN = """
import numpy as np
from numpy.typing import NDArray
images: NDArray[np.float32]
labels: NDArray[np.int64]
"""

# Keras ships no types.
SETTINGS = """
[mypy]
strict = True

[mypy-keras.*]
ignore_missing_imports = True

# Pages show functions without annotations, and call SimpleITK, which has hints for a part of its functions.
[mypy-docs.*]
disallow_untyped_calls = False
disallow_untyped_defs = False
"""

# With `strict`, a comment that silences nothing is an error: where a name were `Any`, the last lines would fail.
TRUE_TYPES = """
import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import acreg
from acreg.data import Augmentation, PairSampler
from acreg.inference import OnnxModel
from acreg.models import ACRegNet, LabelAutoencoder, RegistrationModel

def use(images: NDArray[np.float32], network: ACRegNet) -> None:
    assert_type(PairSampler(images, None, batch_size=2, seed=0, augment=Augmentation(noise=0.1)), PairSampler)
    assert_type(acreg.data.PairSampler(images, None, batch_size=2, seed=0), PairSampler)
    assert_type(acreg.from_preset("acregnet-jsrt"), OnnxModel | RegistrationModel | LabelAutoencoder)
    assert_type(acreg.models.from_preset("acregnet-jsrt"), RegistrationModel | LabelAutoencoder)
    assert_type(acreg.read_image("a.png"), acreg.Image)
    assert_type(network.register(fixed="a.png", moving="b.png"), acreg.Transform)
    PairSampler(images, None, batch_size=2, pictures=1)  # type: ignore[call-arg]
    Augmentation(noise="much")  # type: ignore[arg-type]
    network.register("a.png", moving="b.png")  # type: ignore[call-arg]
    acreg.registre  # type: ignore[attr-defined]
"""


def _free_names(program: str) -> set[str]:
    """Names that a program uses and does not define."""
    used, defined = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
    return used - defined


def _complete_programs(repository: Path) -> dict[str, str]:
    """The programs of README and docs, without excerpts, which use names that they do not define or have a `...`."""
    programs = {}
    for page in (repository / "README.md", *sorted((repository / "docs").rglob("*.md"))):
        found = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
        for number, program in enumerate(found):
            free = _free_names(program)
            if free <= {"images", "labels"} and "..." not in program:
                name = re.sub(r"\W", "_", f"{page.relative_to(repository).with_suffix('')}_{number}")
                name = re.sub("^docs_", "docs/", name)
                programs[name] = (GIVEN if free else "") + program
    return programs


def _public_names(repository: Path) -> list[tuple[str, str]]:
    """Package and name of all that is in some `__all__`."""
    packages = sorted(path.parent.relative_to(repository) for path in (repository / "acreg").rglob("__init__.py"))
    modules = [importlib.import_module(".".join(package.parts)) for package in packages]
    return [(module.__name__, name) for module in modules for name in getattr(module, "__all__", ())]


@pytest.fixture(scope="module")
def said(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy prints for all programs; acreg is found as an installed package is, by its `py.typed`."""
    folder = tmp_path_factory.mktemp("typing")
    names = _public_names(repository)
    lines = [f"import {package}" for package in sorted({package for package, _ in names})]
    lines += [f"reveal_type({package}.{name})" for package, name in names]
    programs = {**_complete_programs(repository), "true_types": TRUE_TYPES, "public_names": "\n".join(lines)}
    (folder / "docs").mkdir()
    (folder / "docs" / "__init__.py").touch()
    for name, program in programs.items():
        (folder / f"{name}.py").write_text(program, encoding="utf-8")
    (folder / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", sys.executable, *(f"{name}.py" for name in programs)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout.splitlines()


def test_programs_of_readme_are_checked(repository: Path) -> None:
    programs = _complete_programs(repository)
    assert {"README_0", "README_1", "README_2"} <= set(programs)
    assert "PairSampler(images, labels" in programs["README_2"]


@pytest.mark.slow
def test_programs_pass_mypy_strict(said: list[str]) -> None:
    assert "\n".join(line for line in said if ": error:" in line) == ""


@pytest.mark.slow
def test_no_public_name_is_untyped(said: list[str], repository: Path) -> None:
    revealed = [line.partition("Revealed type is ")[2] for line in said if "Revealed type" in line]
    names = _public_names(repository)
    assert len(revealed) == len(names) > 150
    assert [name for name, kind in zip(names, revealed, strict=True) if kind.strip('"') == "Any"] == []

"""The documentation: its first page works as written, links lead somewhere, and the reference misses no public name."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from acreg import models
from acreg.cli.main import main
from acreg.training import load_recipe


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_first_page_works_as_written(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, without data: everything but the installation, and with fewer steps of training."""
    page = (repository / "docs" / "index.md").read_text(encoding="utf-8")
    install, *blocks = _blocks(page, "bash")
    assert "pip install ." in install and len(blocks) == 4
    (recipe,), (program,) = _blocks(page, "yaml"), _blocks(page, "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACREG_DATA", raising=False)
    Path("mine.yaml").write_text(recipe.replace("steps: 200", "steps: 4"), encoding="utf-8")
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith("acreg "):
            assert main(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
        else:
            subprocess.run(["bash", "-c", line], check=True)
    for name in ("pair/preview.png", "pair/warped_labels.png", "own/warped.png", "slicer/inverse_transform.h5"):
        assert Path(name).is_file()
    capsys.readouterr()
    Path("program.py").write_text(program, encoding="utf-8")
    runpy.run_path("program.py")
    assert float(capsys.readouterr().out.split()[0]) < 0.1, "the diffeomorphic network hardly folds"


def test_what_the_table_of_the_papers_names_exists(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files, commands and recipes; `tests/training/test_paper_recipes.py` takes a step with those of the papers."""
    page = (repository / "docs" / "papers.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")][2:]
    assert {len(row) for row in rows} == {5} and len(rows) > 30
    files = {name for name in re.findall(r"`([^`]+)`", page) if name.endswith(".py")}
    assert [name for name in sorted(files) if not (repository / name).is_file()] == []
    used = {name for row in rows for name in re.findall(r"`([^`]+)`", row[2])}
    commands = {name for name in used if name.startswith("acreg ")}
    monkeypatch.chdir(tmp_path)
    for command in sorted(commands):
        words = command.split(" --")[0].split()[1:]
        assert main([*words, "--help"]) == 0, capsys.readouterr().err
    recipes = used - commands
    assert all(load_recipe(name).name == name for name in recipes)
    assert {f"{name}-paper" for name in ("acregnet-jsrt", "svfnet-hearts", "affine-deformable-brain")} <= recipes


@pytest.mark.parametrize("page", ["index", "how-to/train", "how-to/fine-tune"])
def test_recipes_to_copy_are_recipes(repository: Path, tmp_path: Path, page: str) -> None:
    recipes = _blocks((repository / "docs" / f"{page}.md").read_text(encoding="utf-8"), "yaml")
    assert recipes
    for text in recipes:
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        recipe = load_recipe(tmp_path / "recipe.yaml")
        arguments = dict(recipe.model.arguments)
        if recipe.autoencoder:
            arguments["autoencoder"] = models.LabelAutoencoder(shape=recipe.data.shape, num_classes=3)
        model_class = getattr(models, recipe.model.class_name)
        assert model_class(rank=len(recipe.data.shape), num_classes=3, **arguments).loss_weights


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_links_of_pages_outside_of_the_site_lead_to_files(repository: Path, page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (repository / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (repository / link).exists()] == []


@pytest.fixture
def reference(repository: Path) -> ModuleType:
    """The extension that writes the reference."""
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("reference", repository / "docs" / "_ext" / "reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_has_each_public_name_on_one_page(reference: ModuleType) -> None:
    homes = reference.homes()
    assert homes["acreg"]["from_preset"] == "acreg.registration.from_preset"
    assert homes["acreg.errors"]["UsageError"] == "acreg.errors.UsageError"
    assert homes["acreg.io"]["read_image"] == "acreg.io.read_image"
    assert homes["acreg.data"]["Dataset"] == "acreg.data.Dataset"
    documented = []
    for module, places in homes.items():
        documented += re.findall(
            r"^\.\. auto(?:class|function|data):: (.+)$", reference.module_page(module, places), re.M
        )
    assert len(documented) == len(set(documented))
    assert {place for places in homes.values() for place in places.values()} == set(documented)


def test_a_public_name_without_a_page_fails_the_build(reference: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[tuple[str, ...]] = []
    monkeypatch.setattr(reference.logger, "warning", lambda text, *values: warned.append(values))
    places = {place for names in reference.homes().values() for place in names.values()}
    objects = dict.fromkeys(places - {"acreg.metrics.label_metrics"})
    environment = SimpleNamespace(domains=SimpleNamespace(python_domain=SimpleNamespace(objects=objects)))
    reference.check_complete(SimpleNamespace(), environment)
    assert warned == [("acreg.metrics", "label_metrics")]


def test_reference_has_every_command(reference: ModuleType) -> None:
    page = reference.command_page()
    for name in ("acreg register", "acreg data prepare", "acreg train", "acreg doctor"):
        assert f"\n{name}\n" in page
    assert "--fixed" in page and "  --resume" in page

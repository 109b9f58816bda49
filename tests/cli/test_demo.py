"""``acreg demo``: with a tiny network the whole way runs and leaves what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from acreg.cli.demo import MARK
from acreg.cli.main import main

TINY = """\
extends: {base}
autoencoder: null
model: {{arguments: {{losses: {{anatomical_prior: 0}}}}}}
optimizer: {{warmup_steps: 0}}
training: {{steps: 4, steps_per_epoch: 2, batch_size: 4}}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_demo_leaves_reports_a_preset_and_pictures(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY.format(base=repository / "acreg" / "experiments" / "acregnet" / "acregnet-phantoms.yaml"))
    folder = tmp_path / "demo"
    arguments = ["demo", "--out", str(folder), "--recipe", str(recipe), "--subjects", "15"]
    assert main(arguments) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "unregistered" in printed
    assert str(folder / "comparison" / "report.html") in printed
    for name in ("comparison/report.html", "registered/preview.png", "training/report.html", "training/preset"):
        assert (folder / name).exists(), name


def test_demo_keeps_what_is_not_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"
    assert not (tmp_path / MARK).exists()

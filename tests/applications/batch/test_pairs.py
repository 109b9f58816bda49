"""Pairs of a list: each has its own results, one method registers all of them, and a failure is of one pair alone."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import acreg
from acreg.applications.batch.items import Item, PairItem
from acreg.applications.batch.pairs import PairTask
from acreg.applications.batch.ray_engine import _item, _plain
from acreg.applications.batch.tasks import MethodChoice
from acreg.data.phantoms.chests import chest_phantom
from acreg.errors import AcregError, UsageError
from acreg.geometry import Image, Transform
from acreg.io import write_image


@dataclass
class Guided:
    """Moves nothing, and keeps the guides of each pair."""

    name: str = "guided"

    def __post_init__(self) -> None:
        self.guides: list[Any] = []

    def outcome(self, *, fixed: Image, moving: Image, guides: Any = None, say: Any = None) -> SimpleNamespace:
        self.guides.append(guides)
        transform = Transform.between_extents(fixed.grid, moving.grid)
        return SimpleNamespace(transform=transform, contrast="one", stages=[])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        phantom = chest_phantom(seed, (32, 28))
        write_image(Image.from_array(phantom.image), tmp_path / f"{name}.png")
        write_image(Image.from_array(phantom.labels, kind="labels"), tmp_path / f"{name}_labels.png")
    (tmp_path / "pairs.csv").write_text(
        "fixed,moving,labels,fixed_labels,out\n"
        "a.png,b.png,b_labels.png,a_labels.png,\n"
        "a.png,none.png,,,lost\n"
        "b.png,c.png,,,deep/er\n"
    )
    return tmp_path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def test_a_failure_is_of_one_pair_and_a_run_is_continued(files: Path) -> None:
    said: list[str] = []
    run = acreg.register_pairs(files / "pairs.csv", files / "out", method="unregistered", say=said.append)
    assert (run.tally.done, run.tally.failed) == (2, 1) and repr(run).startswith("BatchRun(2 of 3 pairs: ")
    first, second = run.rows
    assert [first["out"], second["out"]] == ["b_to_a", "deep/er"] and first["moving"] == str(files / "b.png")
    one = acreg.register(
        fixed=files / "a.png",
        moving=files / "b.png",
        labels=files / "b_labels.png",
        fixed_labels=files / "a_labels.png",
        method="unregistered",
    )
    assert float(first["ncc_after"]) == pytest.approx(one.after.ncc, abs=1e-4)
    assert float(first["dice_after"]) == pytest.approx(np.mean([s["dsc"] for s in one.scores_after.values()]), abs=1e-4)
    assert second["dice_after"] == "" and (files / "out" / "deep" / "er" / "transform.h5").is_file()
    (reason,) = rows(files / "out" / "failures.csv")[1:]
    assert reason[0] == "lost" and "The file must exist" in reason[1]
    table = (files / "out" / "registrations.csv").read_bytes()
    write_image(Image.from_array(chest_phantom(4, (32, 28)).image), files / "none.png")
    again = acreg.register_pairs(files / "pairs.csv", files / "out", method="unregistered")
    assert (again.tally.before, again.tally.done, again.tally.failed) == (2, 1, 0)
    assert (files / "out" / "registrations.csv").read_bytes().startswith(table), "what was done is not done again"
    with pytest.raises(UsageError, match="goes on with the settings .* method 'unregistered' there and 'acreg:rigid'"):
        acreg.register_pairs(files / "pairs.csv", files / "out", method="acreg:rigid")
    pairs = (files / "pairs.csv").read_text()
    for old, new in (("b_labels.png", "a_labels.png"), ("b.png,c.png", "b.png,a.png")):
        (files / "corrected.csv").write_text(changed := pairs.replace(old, new))
        assert changed != pairs
        with pytest.raises(UsageError, match="goes on with the files that it began with.*was made of others"):
            acreg.register_pairs(files / "corrected.csv", files / "out", method="unregistered")


def test_one_method_registers_all_pairs_of_a_process(files: Path) -> None:
    worker = PairTask(MethodChoice(method="unregistered"), files / "out", guide_labels=True).load()
    worker.method = Guided()
    mask = files / "a_labels.png"
    pair = PairItem("x", files / "a.png", files / "b.png", files / "b_labels.png", files / "a_labels.png", mask)
    (result,) = worker.compute([pair], [None])
    row = dict(zip(worker.task.columns, worker.save(pair, result), strict=True))
    assert row["verdict"] == result.verdict and row["concerns"].split(";") == [each.name for each in result.concerns]
    worker.compute([pair], [None])
    assert len(worker.method.guides) == 2
    for guides in worker.method.guides:
        assert guides.fixed_labels is not None and guides.fixed_mask is not None and guides.moving_mask is None


def test_what_is_wrong_with_all_pairs_is_said_at_once(files: Path) -> None:
    (files / "masks.csv").write_text("fixed,moving,fixed_mask\na.png,b.png,a_labels.png\n")
    with pytest.raises(UsageError, match="Received: fixed_mask with method='sitk:affine'"):
        acreg.register_pairs(files / "masks.csv", files / "out", method="sitk:affine")
    (files / "names.csv").write_text("fixed,moving,out\na.png,b.png,Run.json\n")
    with pytest.raises(AcregError, match=r"with a pair named Run\.json"):
        acreg.register_pairs(files / "names.csv", files / "out")
    with pytest.raises(UsageError, match="Give one of model and method"):
        acreg.register_pairs(files / "pairs.csv", files / "out", model="acregnet-jsrt", method="sitk:affine")
    assert not (files / "out").exists()


def test_items_reach_other_machines_unchanged() -> None:
    for item in (Item("x", Path("a.png"), truth=Path("t.png")), PairItem("y", Path("f"), Path("m"), initial=Path("t"))):
        assert _item(json.loads(json.dumps(_plain(item)))) == item

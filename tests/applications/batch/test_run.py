"""A run over many images: killed anywhere it goes on, each row is there once, a failure is of one image alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from acreg.applications.batch.items import Item
from acreg.applications.batch.run import FAILURES, Engine, Outcome, Tally, local, run
from acreg.errors import AcregError, UsageError

COLUMNS = ("subject", "square")


@dataclass
class Squares:
    """Squares the number in an item's name; some it cannot read, some not compute, and it counts what it is asked."""

    unreadable: tuple[int, ...] = ()
    incomputable: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: {"power": 2})
    table: str = "squares.csv"
    columns: tuple[str, ...] = COLUMNS
    inputs: tuple[str, ...] = ()
    computed: list[list[int]] = field(default_factory=list)

    def load(self) -> Squares:
        return self

    def read(self, item: Item) -> int:
        number = int(item.name)
        if number in self.unreadable:
            raise AcregError(f"cannot\nread {number}")
        return number

    def compute(self, items: Sequence[Item], contents: Sequence[int]) -> list[int]:
        self.computed.append(list(contents))
        if set(contents) & set(self.incomputable):
            raise ZeroDivisionError("0")
        return [number**2 for number in contents]

    def save(self, item: Item, result: int) -> list[str]:
        return [item.name, str(result)]


def items(count: int) -> list[Item]:
    return [Item(str(n), Path(f"{n}.png")) for n in range(count)]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def killed_after(count: int) -> Engine:
    """The local engine, that stops after some groups as if the process were killed."""

    def engine(task: Any, groups: Any) -> Iterator[list[Outcome]]:
        for number, outcomes in enumerate(local(task, groups)):
            if number == count:
                raise KeyboardInterrupt
            yield outcomes

    return engine


def test_rows_are_in_the_order_of_the_images_and_failures_apart(tmp_path: Path) -> None:
    task, seen = Squares(unreadable=(3,), incomputable=(5, 6)), list[tuple[str, int, int]]()
    tally = run(task, items(8), tmp_path, local, 3, lambda *told: seen.append(told))
    assert rows(tmp_path / "squares.csv") == [list(COLUMNS), *([str(n), str(n**2)] for n in (0, 1, 2, 4, 7))]
    assert rows(tmp_path / FAILURES) == [
        ["subject", "reason"],
        ["3", "cannot read 3"],
        ["5", "ZeroDivisionError: 0"],
        ["6", "ZeroDivisionError: 0"],
    ]
    assert (
        tally == Tally(images=8, before=0, done=5, failed=3)
        and tally.reason == "3: cannot read 3"
        and [(int(text.split()[1]), done, total) for text, done, total in seen] == [(0, 3, 8), (2, 6, 8), (3, 8, 8)]
    )


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_killed_run_goes_on_to_the_same_files(tmp_path: Path, after: int, cut: int) -> None:
    """Also when the kill left half a row (`cut` bytes are missing), and when it comes twice."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(Squares(unreadable=(4,)), items(20), whole, local, 3)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(Squares(unreadable=(4,)), items(20), broken, killed_after(after), 3)
        table = broken / "squares.csv"
        content = table.read_bytes()
        table.write_bytes(content[: len(content) - cut] if after else content)
    last = Squares(unreadable=(4,))
    tally = run(last, items(20), broken, local, 3)
    for name in ("squares.csv", FAILURES, "run.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert tally.before + tally.done == 19 and sum(map(len, last.computed)) == tally.done
    assert run(last, items(20), broken, local, 3) == Tally(20, 19, 0, 1)


def test_groups_are_the_same_in_a_run_that_goes_on(tmp_path: Path) -> None:
    """What a batch holds can decide the last digits of what a network finds."""
    with pytest.raises(KeyboardInterrupt):
        run(Squares(unreadable=(1,)), items(9), tmp_path, killed_after(2), 3)
    task = Squares(unreadable=(1,))
    run(task, items(9), tmp_path, local, 3)
    assert task.computed == [[6, 7, 8]]


def test_another_run_or_other_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(Squares(), items(2), folder, local)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="with power 2 there and 3 here; colour None there and 'red' here"):
        run(Squares(settings={"power": 3, "colour": "red"}), items(2), folder, local)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "run.json").write_text("{")
    with pytest.raises(AcregError, match="legal JSON.*run.json"):
        run(Squares(), items(2), folder, local)
    (folder / "run.json").unlink()
    with pytest.raises(AcregError, match="other files and no run.json"):
        run(Squares(), items(2), folder, local)


def test_a_model_that_cannot_be_loaded_leaves_no_folder(tmp_path: Path) -> None:
    class Absent(Squares):
        def load(self) -> Squares:
            raise AcregError("no such preset")

    with pytest.raises(AcregError, match="no such preset"):
        run(Absent(), items(2), tmp_path / "run", local)
    assert not (tmp_path / "run").exists()


def test_another_table_of_that_name_is_refused(tmp_path: Path) -> None:
    run(Squares(), items(2), tmp_path, local)
    (tmp_path / "squares.csv").write_text("a,b\n")
    with pytest.raises(AcregError, match="with the columns a, b, not subject, square"):
        run(Squares(), items(2), tmp_path, local)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    def second(task: Any, groups: Any) -> Iterator[list[Outcome]]:
        with ThreadPoolExecutor(1) as pool, pytest.raises(AcregError, match="into which another one writes"):
            pool.submit(run, Squares(), items(2), tmp_path, local).result()
        yield from local(task, groups)

    assert run(Squares(), items(2), tmp_path, second).done == 2
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"table": "squares.csv", "power": 2}


def test_a_result_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    class Full(Squares):
        def save(self, item: Item, result: int) -> list[str]:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run(Full(), items(4), tmp_path, local, 2)
    assert rows(tmp_path / "squares.csv") == [list(COLUMNS)]

"""The work on a Ray cluster of two nodes, some of it killed: the same rows, each once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acreg.applications.batch.items import Item
from acreg.applications.batch.ray_engine import RayEngine
from acreg.applications.batch.run import Tally, local, run
from acreg.errors import AcregError, UsageError

ray = pytest.importorskip("ray", reason="the extra 'scale' is not installed")
if sys.platform == "win32":
    pytest.skip("signals", allow_module_level=True)


@dataclass(frozen=True)
class Lengths:
    """The length of each item's name; the process that first comes to the item `deadly` kills itself."""

    folder: Path
    deadly: str = ""
    table: str = "lengths.csv"
    columns: tuple[str, ...] = ("subject", "length")

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"what": "length"}

    def load(self) -> Lengths:
        (self.folder / f"loaded-{os.getpid()}").touch()
        return self

    def read(self, item: Item) -> str:
        if item.name == "s13":
            raise ValueError("unlucky")
        return item.name

    def compute(self, items: Sequence[Item], contents: Sequence[str]) -> list[int]:
        time.sleep(0.05)
        mark = self.folder / "killed"
        if self.deadly in contents and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [len(name) for name in contents]

    def save(self, item: Item, result: int) -> list[str]:
        return [item.name, str(result)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    two.add_node(num_cpus=1)
    two.wait_for_nodes()
    yield two.address
    two.shutdown()


ITEMS = [Item(f"s{n}", Path(f"s{n}.png")) for n in range(20)]


def test_a_killed_worker_loses_and_repeats_nothing(cluster: str, tmp_path: Path) -> None:
    for name in ("marks", "first"):
        (tmp_path / name).mkdir()
    expected = run(Lengths(tmp_path / "first"), ITEMS, tmp_path / "local", local, 3)
    task = Lengths(tmp_path / "marks", deadly="s10")
    assert run(task, ITEMS, tmp_path / "ray", RayEngine(cluster, workers=2), 3) == expected == Tally(20, 0, 19, 1)
    assert (tmp_path / "marks" / "killed").exists()
    assert len(list((tmp_path / "marks").glob("loaded-*"))) == 3  # an actor on each node, and one for the killed one
    for name in ("lengths.csv", "failures.csv", "run.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_more_workers_than_cpus_are_refused(cluster: str) -> None:
    with pytest.raises(UsageError, match="--workers 3, and a cluster with 2"):
        RayEngine(cluster, workers=3)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", "127.0.0.1:port"])
def test_an_address_where_nothing_answers(address: str) -> None:
    with pytest.raises(AcregError, match=f"--address {address} .*ray start --head"):
        RayEngine(address)

"""The benchmarks' arithmetic, and that contenders are checked before they are timed. Nothing here depends on time."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acreg.errors import AcregError
from benchmarks import measure, plots, report
from benchmarks.__main__ import main
from benchmarks.measure import QUICK
from benchmarks.processes import Processes
from benchmarks.programs import Command
from benchmarks.worker import Work

CONTENDERS = """
import os
from functools import partial

import numpy as np

from benchmarks.measure import Benchmark, Contender


def adds(offset, shape=(3,)):
    print("a library that prints")  # must not be taken for an answer
    return lambda: [np.arange(3.0) + 1 + offset, np.zeros(2)] if shape == (3,) else np.ones(shape)


def fails():
    raise RuntimeError("no such device")


def ends():
    answers = iter([np.arange(3.0) + 1])
    return lambda: next(answers)


def dies():
    os._exit(3)


def benchmarks(quick):
    contenders = {
        "acreg": Contender(partial(adds, 0.0), size=1),
        "near": Contender(partial(adds, 1e-4)),
        "far": Contender(partial(adds, 0.3)),
        "other shape": Contender(partial(adds, 0, (2,))),
        "not a number": Contender(partial(adds, float("nan"))),
        "absent": Contender(partial(adds, 0.0), ("no_such_package",)),
        "fails": Contender(fails),
        "ends": Contender(ends),
    }
    if not quick:  # others would die with it
        contenders["dies"] = Contender(dies)
    return [Benchmark(__name__, "sums", "Sums", contenders, tolerance=0.01)]
"""

FIVE = """
import time

import numpy as np

from benchmarks.measure import Benchmark, Contender


def prepare():
    return lambda: time.sleep(0.15) or np.zeros(1)


def benchmarks(quick):
    return [Benchmark(__name__, "five", "Five", {"acreg": Contender(prepare, items=5)}, item="pair")]
"""


def times(seconds: list[float], **more: object) -> dict[str, object]:
    about = {"memory_mb": 10.0, "work_mb": 1.0, "difference": 0.0, "size": None, "moved": None}
    return {"state": "measured", "seconds": seconds, "cpu_seconds": seconds, **about, **more}


def result(contenders: dict[str, object], **more: object) -> dict[str, object]:
    about = {"name": "a", "title": "A", "note": "", "tolerance": 0.1, "faster": None, "within": None, "size_name": ""}
    return {**about, "contenders": contenders, **more}


@pytest.mark.parametrize("shared", [True, False])
def test_wrong_results_are_refused_and_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    (tmp_path / "sums_of_a_test.py").write_text(CONTENDERS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(filter(None, sys.path))}")
    monkeypatch.syspath_prepend(tmp_path)
    import sums_of_a_test

    with Processes(threads=1, shared=shared) as processes:
        found = measure.measure(sums_of_a_test.benchmarks(shared)[0], replace(QUICK, quick=shared), processes)
    found = found["contenders"]
    if not shared:
        assert "it ended with the code 3" in found.pop("dies")["why"]
    assert {name: one["state"] for name, one in found.items()} == {
        "acreg": "measured", "near": "measured", "far": "refused", "other shape": "refused", "not a number": "refused",
        "absent": "missing", "fails": "failed", "ends": "failed",
    }  # fmt: skip
    assert found["near"]["difference"] == pytest.approx(1e-4 / 3)
    assert "differs from the first one's by 0.1 of the largest value; 0.01 is allowed" in found["far"]["why"]
    assert found["absent"]["why"] == "to install: python -m pip install no_such_package"
    assert found["fails"]["why"] == "RuntimeError: no such device"
    assert found["ends"]["why"] == "StopIteration:"
    assert "seconds" not in found["far"]
    assert len(found["acreg"]["seconds"]) == len(found["near"]["seconds"]) >= QUICK.least
    assert min(found["acreg"]["seconds"]) > 0 and found["acreg"]["memory_mb"] > 1


def test_the_memory_of_a_command_is_its_own() -> None:
    here = b"x" * 2**28  # which a child's sum of resources would count
    found = {}
    for megabytes in (1, 100):
        code = f"import time; x = b'x' * {megabytes * 2**20}; time.sleep(0.3)"
        command = Command([sys.executable, "-c", code])
        command()
        found[megabytes] = command.peak_mb
    assert 1 < found[1] < 100 < found[100] < 256 and len(here)
    with pytest.raises(RuntimeError, match="ValueError: no"):
        Command([sys.executable, "-c", "raise ValueError('no')"])()


def test_ratios_are_formed_within_a_round() -> None:
    own, peer = [1.0, 2.0, 10.0, 4.0, 5.0], [2.0, 6.0, 10.0, 8.0, 20.0]  # ratios 2, 3, 1, 2, 4
    assert measure.ratio(peer, own) == (2.0, 2.0, 3.0)
    assert measure.quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)


def test_the_exponent_of_a_power_law_is_found() -> None:
    sizes = [32**3, 48**3, 64**3, 160**3]
    assert measure.exponent(sizes, [3e-7 * n**1.25 for n in sizes]) == pytest.approx(1.25)
    # a cost that is there for any size makes it smaller
    assert measure.exponent(sizes, [1e-2 + 1e-7 * n for n in sizes]) < 0.9


def test_targets_are_judged_by_the_fastest_peer() -> None:
    contenders = {
        "acreg": times([1.0, 1.0, 1.0]),
        "acreg, not compiled": times([1.1, 1.1, 1.1]),
        "slow": times([9.0, 9.0, 9.0]),
        "fast": times([1.5, 1.9, 1.8]),
    }
    assert "missed: fast takes 1.80 (1.65 to 1.85)" in report.verdict(result(contenders, faster=2.0))
    assert "met: fast takes" in report.verdict(result(contenders, faster=1.0))
    assert report.verdict(result(contenders, within=0.5)).endswith("missed.")
    contenders["acreg"] = {"state": "failed", "why": "it fell", "size": None, "moved": None}
    assert "not measured" in report.verdict(result(contenders, faster=1.0))
    assert "- acreg is not measured, failed: it fell." in report.table(result(contenders, faster=1.0))


def test_what_needs_a_gpu_is_named_where_there_is_none() -> None:
    skipped = result({}, skipped="JAX is not installed", title="GPU: warp")
    assert report.table(skipped).endswith("Not measured: JAX is not installed.") and "## GPU: warp" in report.table(
        skipped
    )
    assert plots.draw([skipped]) == {}


def test_growth_is_shown_with_its_exponents() -> None:
    contenders = {f"acreg {n}": times([n**2 / 1e3] * 3, size=n, memory_mb=700 + 200.0 * n) for n in (2, 4, 8)}
    contenders["acreg 1"] = times([1e-3] * 3, size=1, memory_mb=900.0)
    text = report.table(result(contenders, size_name="labels"))
    assert "Time grows as labels^2.00. Memory grows as labels^1.00." in text
    assert "| 4 | 16 ms (16 ms to 16 ms) | 1500, 1 |" in text


def test_a_share_of_the_bandwidth_is_shown() -> None:
    contenders = {"acreg": times([2.0] * 3, moved=10**9), "a copy": times([4.0] * 3, moved=8 * 10**9)}
    row = next(line for line in report.table(result(contenders)).splitlines() if line.startswith("| acreg"))
    assert row.endswith("| 0 | 25% |")
    assert report.peers(result(contenders)) == {}


def test_times_are_of_one_item_and_its_rate_is_shown(tmp_path: Path) -> None:
    made = {"acreg": times([0.02] * 3, cpu_seconds=[0.005] * 3), "a peer": times([0.5] * 3)}
    row = next(line for line in report.table(result(made, item="pair")).splitlines() if line.startswith("| acreg"))
    assert "| memory, MB | pairs/s | pairs/CPU s |" in report.table(result(made, item="pair"))
    assert row.endswith("| 50 | 200 |  |")
    (tmp_path / "five.py").write_text(FIVE, encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    try:
        work = Work("five", "five", "acreg", True, str(tmp_path / "results.npz"))
    finally:
        sys.path.remove(str(tmp_path))
    assert 0.02 < work.time()["seconds"] < 0.1  # a call takes 0.15


def test_peers_can_be_in_another_environment() -> None:
    processes = Processes(threads=1, torch_python=sys.executable + "-of-no-one")
    with pytest.raises(AcregError, match=r"--torch-python is the Python of an environment\. Received: .*-of-no-one"):
        processes.missing("torch", ["numpy"])
    assert processes.missing("keras", ["numpy", "no_such_package"]) == ["no_such_package"]
    other = Processes(threads=1, torch_python="python3" if Path(sys.executable).name != "python3" else "python")
    assert other.missing("torch", ["json", "no_such_package"]) == ["no_such_package"]


def test_quick_run_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "performance.md"
    words = ["scores-2d", "--quick", "--threads", "1", "--out", str(tmp_path / "out"), "--page", str(page)]
    assert main(words) == 0
    assert str(page) in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "scores-2d.json").read_text(encoding="utf-8"))
    assert found["quick"] and found["threads"] == 1 and found["machine"]["versions"]["numpy"] == np.__version__
    assert found["contenders"]["medpy on full arrays"]["difference"] < 1e-6
    text = page.read_text(encoding="utf-8")
    assert "Some inputs are the small ones of `--quick`" in text and "    make bench" in text
    assert "| medpy on full arrays | " in text
    assert (page.parent / "images" / "performance-ratios.png").read_bytes()[:4] == b"\x89PNG"
    read = f"{report.READING}\n\nThat it is fast.\n"
    page.write_text(f"# Older\n\n{read}", encoding="utf-8")
    assert main([*words, "--page-only"]) == 0
    assert page.read_text(encoding="utf-8") == f"{text}\n{read}"


def test_unknown_names_and_empty_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warp-4d"]) == 2
    assert "A benchmark is one of warp-2d, warp-2d-gradient" in capsys.readouterr().err
    assert main(["--page-only", "--out", str(tmp_path)]) == 1
    assert "A page is made of results" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_it_says_what_it_would_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.gpu.absent", lambda: "JAX sees no GPU, only the cpu")
    assert main(["gpu", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "Received: JAX sees no GPU, only the cpu." in said and "GPU: warp, 256 images of 256^2" in said
    assert not list(tmp_path.iterdir())


def test_each_benchmark_has_a_name_of_its_own_and_can_be_found() -> None:
    from benchmarks.__main__ import benchmarks

    for quick in (True, False):
        names = [benchmark.name for benchmark in benchmarks(quick)]
        assert len(set(names)) == len(names) > 30
    warps = measure.find(benchmarks(True), ["warp", "warp-2d"])
    assert [w.name for w in warps][:2] == ["warp-2d", "warp-2d-gradient"] and len(warps) == 6
    with pytest.raises(AcregError, match="Received: nothing-of-this"):
        measure.find(benchmarks(True), ["nothing-of-this"])

"""Who may write into a folder, and what a killed process leaves in it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

from acreg.errors import AcregError, UsageError
from acreg.io.folders import LOCK, READY, all_or_none, contents, sole_writer, writes_into

HOLD = """
import sys, time
from acreg.io.folders import sole_writer
with sole_writer(sys.argv[1]):
    {body}
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """Starts a process that writes into a folder, and ends it after the test."""
    started = []

    def start(folder, body="pass"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(body=body), str(folder)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_second_process_is_refused_and_told_whom_to_wait_for(tmp_path, holder):
    folder = tmp_path / "new" / "deep"
    first = holder(folder)
    with pytest.raises(AcregError, match=rf"One process at a time .*process {first.pid} on \S+ since 20") as error:
        sole_writer(folder).__enter__()
    assert error.value.exit_code == 1
    with sole_writer(tmp_path / "new"):  # another folder
        pass
    first.kill()
    first.wait()
    assert names(folder) == [LOCK]
    with sole_writer(folder):
        pass
    assert names(folder) == []


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, holder):
    body = """
    from pathlib import Path
    for name in (".0123456789ab.tmp.nii.gz", ".0123456789ac.tmp", ".mine.tmp", "a.txt"):
        (Path(sys.argv[1]) / name).write_text("")
    """.strip()
    first = holder(tmp_path, body)
    first.kill()
    first.wait()
    assert [path.name for path in contents(tmp_path) if path.name != ".mine.tmp"] == ["a.txt"]
    with sole_writer(tmp_path):
        assert names(tmp_path) == [LOCK, ".mine.tmp", "a.txt"]


def test_the_block_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_writer(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert names(tmp_path) == []
    (tmp_path / "empty").mkdir()
    with sole_writer(tmp_path / "empty"), sole_writer(tmp_path / "empty"):  # the same thread
        assert names(tmp_path / "empty") == [LOCK]
    assert names(tmp_path) == ["empty"]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="output must be a folder.*file"), sole_writer(tmp_path / "file"):
        pass


def test_another_thread_is_another_writer(tmp_path):
    refused = []

    def write():
        try:
            with sole_writer(tmp_path):
                pass
        except AcregError as error:
            refused.append(str(error))

    with sole_writer(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()}" in refused[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_keep_the_lock_of_a_dead_parent(tmp_path, holder):
    body = """
    import os
    if not os.fork():
        name = os.path.join(sys.argv[1], "child")
        with open(name + ".new", "w") as stream:
            stream.write(str(os.getpid()))
        os.rename(name + ".new", name)
        time.sleep(60)
        os._exit(0)
    while not os.path.exists(os.path.join(sys.argv[1], "child")):
        time.sleep(0.01)
    """.strip()
    first = holder(tmp_path, body)
    child = int((tmp_path / "child").read_text())
    try:
        first.kill()
        first.wait()
        os.kill(child, 0)  # lives
        with sole_writer(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def write_as_worker(folder):
    with sole_writer(folder):
        pass


def test_a_started_process_is_another_writer(tmp_path):
    with sole_writer(tmp_path):
        process = multiprocessing.get_context("spawn").Process(target=write_as_worker, args=(tmp_path,))
        process.start()
        process.join()
    assert process.exitcode == 1


def test_a_decorated_function_writes_alone(tmp_path):
    @writes_into("out")
    def write(number, out):
        """Its own text."""
        assert (out / LOCK).is_file()
        return number

    assert write(3, tmp_path) == write(out=tmp_path, number=3) == 3
    assert write.__doc__ == "Its own text."
    assert names(tmp_path) == []


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    import fcntl

    def refuse(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks .No locks available."), sole_writer(tmp_path):
        pass


def test_results_come_all_together(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "kept.txt").write_text("kept")
    with all_or_none(tmp_path, replaced=[tmp_path / "old.txt"]) as staged:
        (staged / "a.txt").write_text("new")
        (staged / "pair").mkdir()
        (staged / "pair" / "b.txt").write_text("new")
        assert (tmp_path / "old.txt").exists() and not (tmp_path / "a.txt").exists()
    assert names(tmp_path) == ["a.txt", "kept.txt", "pair", "pair/b.txt"]


def test_after_an_error_all_is_as_it_was(tmp_path):
    with pytest.raises(OSError, match="full"), all_or_none(tmp_path / "new") as staged:
        (staged / "a.txt").write_text("new")
        raise OSError("full")
    assert names(tmp_path) == []
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(AcregError, match="where a folder is"), all_or_none(tmp_path) as staged:
        (staged / "a.txt").write_text("new")
        (staged / "b.txt").write_text("new")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("moved", range(5))
def test_a_kill_while_results_are_put_in_place_loses_none(tmp_path, moved):
    """The process dies at each of the steps: two removals, that of their list, and two moves."""
    pid = os.fork()
    if not pid:
        steps = 0

        def die(function):
            def counted(*arguments, **more):
                nonlocal steps
                if steps == moved:
                    os._exit(0)
                steps += 1
                return function(*arguments, **more)

            return counted

        import acreg.io.folders as module

        for name in ("a.txt", "gone.txt"):
            (tmp_path / name).write_text("old")
        with all_or_none(tmp_path, replaced=[tmp_path / "a.txt", tmp_path / "gone.txt"]) as staged:
            for name in ("a.txt", "b.txt"):
                (staged / name).write_text("new")
            module.Path.unlink = die(module.Path.unlink)
            module.os.replace = die(module.os.replace)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / READY).is_dir()
    with sole_writer(tmp_path):
        pass
    assert names(tmp_path) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.txt").read_text() == "new"

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acreg.data.resuming import run_tasks

SCRIPT = """
from tests.data.test_resuming import note_and_wait
from acreg.data.resuming import run_tasks
if __name__ == "__main__":
    import sys
    list(run_tasks(note_and_wait, [sys.argv[1]] * 2, 2))
"""


def note_and_wait(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)


def double(number):
    return 2 * number


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition):
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_tasks_are_done(jobs):
    assert sorted(run_tasks(double, range(5), jobs)) == [0, 2, 4, 6, 8]


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_the_processes_end_with_the_one_that_started_them(tmp_path, repository):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pids").mkdir()
    command = [sys.executable, tmp_path / "script.py", tmp_path / "pids"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])}
    parent = subprocess.Popen(command, env=environment)
    try:
        assert wait_until(lambda: len(os.listdir(tmp_path / "pids")) == 2)
        pids = [int(name) for name in os.listdir(tmp_path / "pids")]
        assert all(map(alive, pids))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert wait_until(lambda: not any(map(alive, pids)))

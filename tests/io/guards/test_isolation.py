"""A decoder that crashes, hangs or takes memory is one error for one file; the next file is read."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError
from acreg.io import read_image
from acreg.io.guards import decoder, isolation

PIXELS = np.arange(600, dtype=np.uint16).reshape(10, 20, 3)


@pytest.fixture
def picture(tmp_path):
    """A picture in colour of 16 bits, which ITK decodes."""
    sitk.WriteImage(sitk.GetImageFromArray(PIXELS, isVector=True), str(tmp_path / "a.png"))
    return tmp_path / "a.png"


@pytest.fixture
def task(monkeypatch, tmp_path):
    """A decoder with a further task of the given body, in a new process."""

    def make(body):
        script = tmp_path / "decoder.py"
        with open(decoder.__file__, encoding="utf-8") as file:
            whole, main = file.read().split('\nif __name__ == "__main__":')
        script.write_text(
            f'{whole}\ndef bad(path):\n{body}\n\nTASKS["hdf5_bad"] = bad\n\nif __name__ == "__main__":{main}',
            encoding="utf-8",
        )
        monkeypatch.setattr(isolation.decoder, "__file__", str(script))
        isolation._stop()

    yield make
    isolation._stop()


def colours(path):
    facts, (array,) = isolation.decode("itk_voxels", path, decoder="PNGImageIO")
    assert facts["size"] == [20, 10]
    np.testing.assert_array_equal(array, PIXELS)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    import os; os.abort()", "crashes with signal 6"),
        ("    import os; os.kill(os.getpid(), 11)", "crashes with signal 11"),
        ("    while True: pass", "takes too long"),
        ("    return {}, [bytearray(8 * 2**30)]", "more memory than an image of its size"),
        ("    raise OSError('a\\nb')", "^a b$"),
    ],
)
def test_what_a_decoder_does_to_itself(task, picture, body, message):
    task(body)
    with pytest.raises(RuntimeError, match=message):
        isolation.decode("hdf5_bad", picture)
    colours(picture)


def test_a_damaged_picture_is_one_paragraph_and_the_next_is_read(picture):
    content = picture.read_bytes()
    (picture.parent / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(AcregError, match=r"must be a whole png.*cut\.png"):
        read_image(picture.parent / "cut.png")
    assert read_image(picture).array.shape == (10, 20)


def test_the_process_is_reused_and_is_not_shared_with_a_fork(picture):
    colours(picture)
    first = isolation._child._process.pid
    colours(picture)
    assert isolation._child._process.pid == first
    fork = os.fork()
    if fork == 0:  # a worker of a pool, say
        try:
            colours(picture)
            os._exit(0 if isolation._child._process.pid != first else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    colours(picture)
    assert isolation._child._process.pid == first


def test_a_signal_to_all_processes_of_a_run_does_not_make_a_file_bad(picture):
    colours(picture)
    first = isolation._child._process.pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(first, number)
        colours(picture)
    assert isolation._child._process.pid == first


def test_threads_take_turns(picture):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(colours, [picture] * 40))
    assert threading.active_count() < 20


@pytest.mark.parametrize("executable", ["", "/usr/bin/true-python-not-there", "/bin/true"])
def test_without_a_python_to_start_files_are_read_in_this_process(picture, monkeypatch, executable):
    isolation._stop()
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(isolation, "_possible", "python" in executable)
    colours(picture)
    assert isolation._child is None


def test_the_process_ends_with_its_parent(picture):
    code = (
        "import sys, os; from pathlib import Path; from acreg.io.guards import isolation;"
        "isolation.decode('itk_header', Path(sys.argv[1]), decoder='PNGImageIO');"
        "print(isolation._child._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(picture)], stdout=subprocess.PIPE, check=False, text=True)
    child = int(done.stdout)
    for _ in range(100):
        try:
            with open(f"/proc/{child}/stat", encoding="ascii") as file:
                if file.read().split()[2] == "Z":
                    return
        except FileNotFoundError:
            return
        threading.Event().wait(0.1)
    pytest.fail("it still runs")

"""Commands whose output goes nowhere, to a reader that leaves, or to a console of few letters; and empty words."""

import os
import subprocess
import sys

import numpy as np
import pytest

from acreg.cli.main import main
from acreg.io import Image, write_image

RESULTS = [
    "displacement.nii.gz",
    "inverse_transform.h5",
    "inverse_transform.h5.check.json",
    "preview.png",
    "result.json",
    "transform.h5",
    "transform.h5.check.json",
    "warped.png",
]


@pytest.fixture
def register(tmp_path, repository):
    """Runs `acreg register` on two small images, as a process of its own."""
    for name in ("fä.png", "m.png"):
        write_image(Image.from_array(np.random.default_rng(len(name)).random((24, 24)) * 255), tmp_path / name)

    def run(out="ö", environment=None, **streams):
        command = [sys.executable, "-m", "acreg.cli.main", "register", "--method=unregistered"]
        command += ["--fixed", tmp_path / "fä.png", "--moving", tmp_path / "m.png", "--out", tmp_path / out]
        path = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": path, **(environment or {})}, **streams)

    return run


def results(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="closes numbers of POSIX")
@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_closed_streams(register, tmp_path, closed):
    assert register(preexec_fn=lambda: [os.close(number) for number in closed]).returncode == 0
    assert results(tmp_path / "ö") == RESULTS


def test_a_reader_that_leaves(register, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = register(stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert results(tmp_path / "ö") == RESULTS


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
def test_output_that_cannot_be_written(register):
    with open("/dev/full", "wb") as full:
        done = register(stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The disk is full. Received: 'what the command prints'.")
    assert done.stderr.count("\n") == 1


def test_a_console_of_few_letters(register, tmp_path):
    done = register(environment={"PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert done.returncode == 0 and rb"\xf6" in done.stdout and done.stderr == b""
    assert results(tmp_path / "ö") == RESULTS


def test_a_name_that_is_no_text_is_refused(tmp_path, capsys):
    name = os.fsdecode(b"\xe4.png")
    (tmp_path / name).write_bytes(b"x")
    for words in (["inspect", str(tmp_path / name)], ["register", "--fixed=a", "--moving=b", "--method=unregistered"]):
        assert main([*words, f"--out={tmp_path / name}"] if "register" in words else words) == 1
        assert r"is text in UTF-8. Received" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["register", "--fixed=a.png", "--moving=b.png", "--method=unregistered", "--out", ""],
        ["register", "--fixed=a.png", "--moving=b.png", "--method=unregistered", "--out="],
        ["evaluate", "--data", "", "--out=results"],
        ["data", "check", ""],
        ["train", "acreg-jsrt", "--out", ""],
    ],
)
def test_an_empty_word_is_refused(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "Error: What is given on the command line is not empty. Received: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

"""Whole programs: registration from files to files, the scores of a pair, and the response time of `acreg`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from acreg.data.phantoms.chests import chest_phantom
from acreg.data.phantoms.hearts import heart_phantom
from acreg.geometry import Grid
from acreg.io import Image, write_image
from benchmarks import inputs
from benchmarks.measure import Benchmark, Contender
from benchmarks.worker import memory_mb

Run = Callable[[], Any]
SUBJECTS = 10
"""Of an evaluation, which takes pairs of them."""
CLASSICAL = {
    "elastix B-spline": ("elastix:bspline", ("itk",)),
    "ANTs SyN": ("ants:SyN", ("ants",)),
    "ANTs SyNCC": ("ants:SyNCC", ("ants",)),
    "greedy": ("greedy:deformable", ("picsl_greedy",)),
}
NOTE = (
    "The whole command `acreg register` is measured: it starts, reads two files, registers, writes and checks the "
    "transform, and writes the warped image and a picture. {}The results of the methods are not compared here; see "
    "docs/models."
)

MANY = (
    "The whole command `acreg evaluate` is measured. Each pair is registered in both directions, for the inverse "
    "consistency."
)


def _phantom(shape: Sequence[int], subject: int) -> tuple[Image, Image]:
    """The image and the labels of a phantom: a chest in 2-D, a heart in 3-D."""
    rank = len(shape)
    extent = (358.4, 358.4) if rank == 2 else (128.0, 112.0, 112.0)
    grid = Grid(tuple(shape), tuple(mm / n for mm, n in zip(extent, shape)), (0.0,) * rank)
    chosen: Any = heart_phantom if rank == 3 else chest_phantom
    made = chosen(subject, tuple(shape))
    return Image(made.image, grid), Image(made.labels, grid)


def _files(shape: Sequence[int], folder: Path) -> tuple[str, str]:
    """Two phantoms on disk."""
    paths = [str(folder / f"{subject}.nii.gz") for subject in (1, 2)]
    for subject, path in enumerate(paths, start=1):
        write_image(_phantom(shape, subject)[0], path)
    return paths[0], paths[1]


class Command:
    """A command that is run by each call.

    Args:
        words: words of the command line.
        read: extracts the result from the output.

    Attributes:
        peak_mb: the largest observed memory. (The system's own number for an ended child includes the size of the
            process that started it.)

    Raises:
        RuntimeError: the command failed; the message is the last line that it printed.
    """

    def __init__(self, words: Sequence[str], read: Callable[[str], float] = len) -> None:
        self.words, self._read, self.peak_mb = words, read, 0.0

    def __call__(self) -> Any:
        process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(process.pid, ended))
        watch.start()
        printed, errors = process.communicate()
        ended.set()
        watch.join()
        if process.returncode:
            raise RuntimeError((errors.strip() or "failed").splitlines()[-1])
        return np.array(self._read(printed))

    def _watch(self, number: int, ended: threading.Event) -> None:
        peak = 0.0
        while not ended.wait(0.01):
            with suppress(OSError, StopIteration):  # the process has just ended
                peak = memory_mb("VmHWM", number)
        self.peak_mb = max(self.peak_mb, peak)


class Registration(Command):
    """The command `acreg register` on two files; `threads` is passed to classical methods, models read it elsewhere.

    Raises:
        RuntimeError: as for `Command`, and if the images are not more similar than before.
    """

    def __init__(
        self, shape: Sequence[int], words: Sequence[str], threads: bool = False, engine: Sequence[str] = ()
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="acreg-bench-")  # exists as long as this object
        folder = Path(self._folder.name)
        fixed, moving = _files(shape, folder)
        command = [
            sys.executable,
            "-m",
            "acreg.cli.main",
            *engine,
            "register",
            *words,
            "--fixed",
            fixed,
            "--moving",
            moving,
        ]
        command += ["--out", str(folder / "out"), "--overwrite"]
        command += ["--threads", os.environ["OMP_NUM_THREADS"]] if threads else []
        super().__init__(command, self._similarity)

    @staticmethod
    def _similarity(printed: str) -> float:
        before, after = re.findall(r"NCC +before (\S+) +after (\S+)", printed)[0]
        if float(after) == float(before):
            raise RuntimeError("the images are as alike as they were")
        return float(after)


class PythonRegistration(Command):
    """A Python program that registers two files and writes the warped image.

    Raises:
        RuntimeError: as for `Command`.
    """

    PROGRAM = """
import sys, acreg, acreg.io
preset, fixed, moving, warped = sys.argv[1:]
transform = acreg.from_preset(preset).register(fixed=fixed, moving=moving)
acreg.io.write_image(transform.warp_image(acreg.read_image(moving)), warped)
"""

    def __init__(self, shape: Sequence[int], preset: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="acreg-bench-")
        folder = Path(self._folder.name)
        super().__init__(
            [sys.executable, "-c", self.PROGRAM, preset, *_files(shape, folder), str(folder / "warped.nii.gz")]
        )


class Evaluation(Command):
    """The command `acreg evaluate` on pairs of phantoms.

    Raises:
        RuntimeError: as for `Command`, and if a pair failed.
    """

    def __init__(self, shape: Sequence[int], preset: str, pairs: int, engine: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="acreg-bench-")
        folder = Path(self._folder.name)
        self._out = folder / "out"
        rows = ["subject,image,labels,split"]
        for subject in range(1, 1 + SUBJECTS):
            names = [f"{kind}-{subject}.nii.gz" for kind in ("image", "labels")]
            for name, image in zip(names, _phantom(shape, subject)):
                write_image(image, folder / name)
            rows.append(",".join([f"s{subject}", *names, "test"]))
        (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        words = ["--model", preset, "--data", str(folder), "--pairs", str(pairs), "--out", str(self._out)]
        super().__init__([sys.executable, "-m", "acreg.cli.main", "--engine", engine, "evaluate", *words])

    def __call__(self) -> Any:
        shutil.rmtree(self._out, ignore_errors=True)  # a complete evaluation is not repeated
        printed = super().__call__()
        if any(self._out.rglob("failures.csv")):
            raise RuntimeError("pairs failed")
        return printed


def answer(*words: str) -> Run:
    """A Python command."""
    return Command([sys.executable, *words])


def _maps(shape: Sequence[int], classes: int) -> list[np.ndarray]:
    return [inputs.labels(shape, classes, seed) for seed in (0, 1)]


def scores(shape: Sequence[int], classes: int) -> Run:
    """`acreg.metrics.label_metrics`."""
    from acreg.metrics import label_metrics

    a, b = _maps(shape, classes)

    def run() -> Any:
        found = label_metrics(a, b, range(1, classes), 1.5)
        return np.array([list(one.values()) for one in found.values()])

    return run


def scores_medpy(shape: Sequence[int], classes: int) -> Run:
    """The same with medpy: each metric of each label on the full arrays."""
    from medpy.metric import binary

    a, b = _maps(shape, classes)

    def run() -> Any:
        found = []
        for value in range(1, classes):
            one, two = a == value, b == value
            distances = [f(one, two, voxelspacing=1.5) for f in (binary.hd, binary.hd95, binary.assd)]
            found.append([binary.dc(one, two), *distances])
        return np.array(found)

    return run


def benchmarks(quick: bool) -> list[Benchmark]:
    """Registration in 2-D and 3-D, scores in 2-D and 3-D, and the start-up of help and import."""
    made = []
    preset = {2: "acregnet-jsrt", 3: "affine-deformable-brain"}
    remark = {2: "", 3: "The network was trained on brains: on these hearts, only its time is meaningful. "}
    shape: tuple[int, ...]
    for shape in ((64, 64), (16, 32, 32)) if quick else ((256, 256), (64, 64, 64)):
        rank = len(shape)
        words = ("--model", preset[rank])
        contenders = {
            f"acreg {preset[rank]}": Contender(partial(Registration, shape, words)),
            "acreg, in Python": Contender(partial(PythonRegistration, shape, preset[rank])),
            "acreg, engine Keras": Contender(partial(Registration, shape, words, engine=("--engine", "keras"))),
        }
        for name, (method, needs) in CLASSICAL.items():
            if rank == 3 and name == "ANTs SyNCC":
                continue  # it takes minutes
            contenders[name] = Contender(partial(Registration, shape, ("--method", method), True), needs)
        title = f"Registration from files to files, {' x '.join(map(str, shape))}"
        made.append(Benchmark(__name__, f"registration-{rank}d", title, contenders, note=NOTE.format(remark[rank])))
    many: dict[int, tuple[str, tuple[int, ...]]]
    many = {2: ("acregnet-jsrt", (256, 256)), 3: ("ddmr-hippocampus", (48, 64, 48))}
    for rank, (name, sizes) in many.items():
        pairs = 4 if quick else {2: 90, 3: 40}[rank]
        contenders = {
            f"acreg, engine {title}": Contender(partial(Evaluation, sizes, name, pairs, engine))
            for title, engine in (("ONNX Runtime", "onnx"), ("Keras", "keras"))
        }
        title = f"Evaluation of {pairs} pairs of {' x '.join(map(str, sizes))} with {name}"
        made.append(Benchmark(__name__, f"evaluation-{rank}d", title, contenders, note=MANY))
    for shape, classes in (((64, 64), 4), ((24,) * 3, 5)) if quick else (((256, 256), 4), ((128,) * 3, 17)):
        contenders = {
            "acreg": Contender(partial(scores, shape, classes)),
            "medpy on full arrays": Contender(partial(scores_medpy, shape, classes)),
        }
        title = f"Scores of a pair: {classes - 1} labels at {shape[0]}^{len(shape)}"
        made.append(Benchmark(__name__, f"scores-{len(shape)}d", title, contenders, 1e-6))
    command = ("-m", "acreg.cli.main", "--help")
    starts = {"help": ("acreg --help", command), "import": ("import acreg", ("-c", "import acreg"))}
    for name, (title, start) in starts.items():
        contenders = {f"acreg: {title}": Contender(partial(answer, *start))}
        contenders["Python alone"] = Contender(partial(answer, "-c", "pass"))
        made.append(Benchmark(__name__, name, f"Start: {title}", contenders, within=0.5))
    return made

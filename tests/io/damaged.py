"""Damaged and hostile files, and what the readers and the commands make of them.

    python -m tests.io.damaged --count 1000 --seed 0

writes the files into a temporary folder, gives each to its reader, to `acreg inspect` and to one of the other commands
in a child process, and prints the counts. A file may be read, the same each time and, where its damage leaves them
alone, with the values of the whole file; or it is refused by an `AcregError` of one paragraph that names it. Another
exception, a crash, more than 5 seconds of computing or more than 2 GB of memory is a fault; the program then names the
files, keeps them and returns 1.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tests.io.damages import DAMAGES
from tests.io.hostile import GENERATORS
from tests.io.samples import SHAPE, write_samples, write_series

SECONDS = 5
"""Of computing; the machine may be busy."""
WAIT = 60
MEMORY = 2 * 2**30
ADDRESSES = 12 * 2**30
"""What a child may ask for at most, so that a fault does not take the machine's memory."""
PACKED = (".gz", ".mgz")
SPECIAL = ("transform", "displacement", "points", "surfaces")


# --- the files --------------------------------------------------------------------------------------------------------


def make_corpus(folder: Path, seed: int, count: int, only: str = "") -> list[Path]:
    """`count` files in `folder`: hostile ones, wrong names, damaged copies of the samples with `only` in their names.

    Beside a file whose values must be those of the whole file, or refused, lies a link `whole` to that.
    """
    samples = write_samples(folder / "whole", seed)
    chosen = [path for path in samples if only in path.name]
    names = sorted({"".join(path.suffixes) for path in samples if not path.name.startswith(SPECIAL)})
    files = [path for make in GENERATORS if not only for path in make(_made(folder / make.__name__))]
    # A part of the hostile files where fewer are asked for, so that a short run has some of all.
    files = [files[k] for k in np.random.default_rng(seed).permutation(len(files))[: max(count // 2, 1)]]
    for index in range(len(files), count):
        rng = np.random.default_rng([seed, index])
        if index % 20 == 0 and not only:
            files.append(_damaged_series(folder / f"{index:04d}" / "series", rng))
            continue
        source = chosen[index % len(chosen)]
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content, name, whole = source.read_bytes(), source.name, False
        if rng.random() < 0.08:
            name = f"{source.name.split('.')[0]}{rng.choice(names)}"  # whole, but of another kind than its name says
        elif name.endswith(PACKED) and rng.random() < 0.6:
            content = gzip.compress(damage(rng, gzip.decompress(content)))
        else:
            damaged = damage(rng, content)
            start = next((k for k, (a, b) in enumerate(zip(content, damaged)) if a != b), len(damaged))
            whole = name.endswith((*PACKED, "v.mha", "v.nrrd")) and (start > 1000 or name.endswith(PACKED))
            content = damaged
        target = _made(folder / f"{index:04d}")
        (target / name).write_bytes(content)
        if whole:
            (target / "whole").symlink_to(source)
        for raw in source.parent.glob(f"{source.stem}.raw"):
            shutil.copy(raw, target)
        files.append(target / name)
    return files


def _damaged_series(folder: Path, rng: np.random.Generator) -> Path:
    """A DICOM series with one slice damaged."""
    write_series(folder, rng.integers(-99, 99, (4, 8, 7)).astype(np.int16))
    slice_ = folder / f"{rng.integers(4)}.dcm"
    slice_.write_bytes(DAMAGES[rng.integers(len(DAMAGES))](rng, slice_.read_bytes()))
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


# --- reading them -----------------------------------------------------------------------------------------------------


def read(path: Path) -> list[np.ndarray]:
    """The numbers that the reader of a file returns."""
    from acreg.geometry import Grid
    from acreg.io import read_displacement, read_image, read_labels, read_points
    from acreg.io.transforms import read_transform
    from acreg.shapes import read_surfaces

    grid = Grid(SHAPE, (3, 1.2, 0.7))
    if path.name.startswith("transform"):
        maps: list[Any] = list(read_transform(path, grid, grid).maps)
        return [part.matrix if hasattr(part, "matrix") else part.vectors for part in maps]
    if path.name.startswith("displacement"):
        return [read_displacement(path)]
    if path.name.startswith("points"):
        return [read_points(path).positions]
    if path.name.startswith("surfaces"):
        return [array for surface in read_surfaces(path) for array in (surface.points, surface.cells)]
    image = read_image(path)
    with contextlib.suppress(ValueError):
        read_labels(path)
    return [image.array, image.grid.matrix]


def read_one(path: Path) -> tuple[str, str]:
    """("read", "") or ("refused", message) or ("fault", what)."""
    from acreg.errors import AcregError

    try:
        found = read(path)
        size = sum(array.nbytes for array in found)
        if size < 2**22:
            junk = [np.full(size + 2**20, 0xA5, np.uint8) for _ in range(3)]  # memory that is not written shows it
            del junk
            for _ in range(2):
                if not all(np.array_equal(a, b) for a, b in zip(found, read(path), strict=True)):
                    return "fault", "read a second time it is another"
        whole = path.parent / "whole"
        if whole.is_symlink() and not np.array_equal(found[0], read(whole.resolve())[0]):
            return "fault", "read with other values than the whole file's"
    except AcregError as error:
        named = str(path) in str(error) or repr(str(path)) in str(error)
        if not named or ("\n" in str(error) and "\n" not in str(path)):
            return "fault", f"not a paragraph that names the file: {error}"
        return "refused", str(error)
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"
    return "read", ""


def commands(path: Path, out: Path, data: Path, turn: int) -> list[list[str]]:
    """`acreg inspect` and another command for a file."""
    name, whole = str(path), str(data.parent / "whole" / "v.nii")
    affine = str(data.parent / "whole" / "transform_affine.tfm")
    found = [["inspect", name, "--json"]]
    if path.name.startswith(("transform", "displacement")):
        image = ["warp", "--transform", name, "--reference", whole, "--image", whole, "--out", f"{out}.nii"]
        found += [image, ["jacobian", "--transform", name, "--reference", whole, "--out", f"{out}.nii"]][turn % 2 :][:1]
    elif path.name.startswith("points"):
        found += [["warp", "--transform", affine, "--reference", whole, "--points", name, "--to", "fixed"]]
        found[-1] += ["--out", f"{out}{''.join(path.suffixes[-2:]) if name.endswith('json') else path.suffix}"]
    elif not path.name.startswith("surfaces"):
        table = out.with_suffix(".csv")
        row = f'"{path}","{path}"' if path.name.isprintable() and path.name.isascii() else "none.png,none.png"
        table.write_text(f"subject,image,labels,split\na,{row},test\nb,{row},test\n", encoding="utf-8")
        method = ["--data", str(data), "--method", "sitk:demons[affine=false,iterations=2]", "--out", str(out)]
        others = [
            ["warp", "--transform", affine, "--reference", whole, "--image", name, "--out", f"{out}.nii"],
            ["warp", "--transform", affine, "--reference", whole, "--labels", name, "--out", f"{out}.nii"],
            ["warp", "--transform", affine, "--reference", name, "--image", whole, "--out", f"{out}.nii"],
            ["register", "--method", "unregistered", "--fixed", whole, "--moving", name, "--out", str(out)],
            ["segment", "--images", name, "--atlases", "1", *method],
            ["quality", "--images", name, "--references", "1", *method],
            ["data", "check", str(table)],
            ["evaluate", "--data", str(table), "--out", str(out)],
        ]
        found.append(others[turn % len(others)])
    return found


def command_one(arguments: list[str]) -> str:
    """What is wrong with what a command does, "" for nothing."""
    from acreg.cli.main import main as acreg

    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            code = acreg(arguments)
    except BaseException as error:
        return f"acreg {arguments}: {type(error).__name__}: {error}"
    said = text.getvalue()
    if code not in (0, 1, 2) or (code and not said.strip()) or "does not foresee" in said or "Traceback" in said:
        return f"acreg {arguments} returned {code}: {said[-500:]}"
    return ""


def child(data: Path) -> None:
    """Read the files named on standard input, as lines of JSON `[path, turn]`, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # libraries print what they like
    os.dup2(silent, 2)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    import acreg.io.transforms
    import acreg.shapes  # noqa: F401, takes seconds

    print("ready", file=answers, flush=True)
    for number, asked in enumerate(sys.stdin):
        path, turn = Path(json.loads(asked)[0]), json.loads(asked)[1]
        start = time.process_time()
        outcome, message = read_one(path)
        slowest = time.process_time() - start
        out = data.parent / f"out{os.getpid()}-{number}"
        for arguments in commands(path, out, data, turn) if turn >= 0 and outcome != "fault" else ():
            start = time.process_time()
            fault = command_one(arguments)
            # What a command needs once, above all its imports, is not the file's.
            slowest = max(slowest, time.process_time() - start) if number > 10 else slowest
            outcome, message = ("fault", fault) if fault else (outcome, message)
        peak = _peak_memory()
        if peak > MEMORY:
            outcome, message = "fault", f"{peak / 2**30:.1f} GB of memory"
        elif slowest > SECONDS:
            outcome, message = "fault", f"{slowest:.0f} seconds"
        print(json.dumps([outcome, message, peak]), file=answers, flush=True)
        if peak > MEMORY:
            return  # a peak stays: a new child for the next file


def _peak_memory() -> int:
    """Bytes, of this process or of its decoder. getrusage would begin with the process that started this one."""
    from acreg.io.guards import isolation

    decoder = [str(isolation._child._process.pid)] if isolation._child else []
    peaks = [0]
    for process in ("self", *decoder):
        with contextlib.suppress(OSError, StopIteration):
            text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
            peaks.append(1024 * int(next(line for line in text.splitlines() if line.startswith("VmHWM:")).split()[1]))
    return max(peaks)


def read_corpus(files: list[Path], with_commands: bool = True) -> list[tuple[str, str, int]]:
    """(outcome, message, peak memory of the child so far in bytes) of each file."""
    from acreg.data.phantoms.chests import make_dataset

    results: list[tuple[str, str, int]] = []
    process = None
    folder = next(parent for file in files for parent in file.parents if (parent / "whole").is_dir())
    if with_commands and not (folder / "data").exists():
        make_dataset(folder / "data", subjects=10, shape=(24, 20), seed=3)
    for turn, path in enumerate(files):
        if process is None:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.io.damaged", "--child", str(folder / "data")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            process.stdout.readline()
        process.stdin.write(json.dumps([str(path), turn if with_commands else -1]) + "\n")
        process.stdin.flush()
        waiting, _, _ = select.select([process.stdout], [], [], WAIT)
        answer = process.stdout.readline() if waiting else ""
        results.append(tuple(json.loads(answer)) if answer else ("fault", "", 0))
        if not answer or results[-1][2] > MEMORY:
            process.kill()
            code = process.wait()
            process.stdin.close()
            process.stdout.close()
            process = None
            if not answer:
                results[-1] = ("fault", f"died with signal {-code}" if waiting else f"no answer for {WAIT} seconds", 0)
    if process is not None:
        process.stdin.close()
        process.wait()
        process.stdout.close()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="damage only the samples with this in their names")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--verbose", action="store_true", help="print every file's result")
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="damaged-"))
    files = make_corpus(folder, options.seed, options.count, options.only)
    results = read_corpus(files)
    for path, (outcome, message, peak) in zip(files, results):
        if options.verbose or outcome == "fault":
            print(f"{outcome:8s} {peak / 2**20:5.0f} MB {os.fsencode(path)!r}: {message}")
    counts = Counter(outcome for outcome, _, _ in results)
    peak = max(peak for _, _, peak in results) / 2**20
    print(f"{len(files)} files: {dict(counts)}; peak memory {peak:.0f} MB")
    if counts["fault"]:
        print(f"The files are in {folder}.")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

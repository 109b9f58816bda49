"""Damaged files for the readers, and what the readers make of them.

    python -m tests.io.damaged --count 300 --seed 0

writes the files into a temporary folder, reads each of them in a child process, and prints the counts. A file may be
read, or refused with an `AcregError` of one paragraph that names it. Another exception, a crash, more than 20 seconds
or more than 2 GB of memory is a fault; the command then names the files, keeps them and returns 1.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import resource
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np

from tests.io.samples import SHAPE, write_samples, write_series

SECONDS = 20
MEMORY = 2 * 2**30
ADDRESSES = 12 * 2**30
"""What a child may ask for at most, so that a fault does not take the machine's memory."""
NUMBERS = [0, -1, 1, 2**15 - 1, 2**31 - 1, -(2**31), 10**9, float("nan"), float("inf"), -1e30, 1e-30]
TEXTS = [b"0", b"-1", b"nan", b"inf", b"1000000000", b"99999999999999999999", b"1e308", b"", b"abc"]
HEADER = 400
PACKED = (".gz", ".mgz")


# --- the damages: (rng, content) -> content ---------------------------------------------------------------------------


def cut(rng, content):
    return content[: rng.integers(1, len(content))]


def cut_header(rng, content):
    return content[: rng.integers(1, min(HEADER, len(content)))]


def cut_end(rng, content):
    return content[: -int(rng.integers(1, min(64, len(content))))]


def flip(rng, content, end=None):
    changed = bytearray(content)
    for at in rng.integers(0, min(end or len(content), len(content)), rng.integers(1, 20)):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_header(rng, content):
    return flip(rng, content, HEADER)


def flip_end(rng, content):
    return content[:-HEADER] + flip(rng, content[-HEADER:])


def number(rng, content):
    """One to three fields of the header, or of what is read as one, become a number that nobody expects."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind = str(rng.choice(["<h", ">h", "<i", ">i", "<q", "<f", ">f", "<d"]))
        value = NUMBERS[rng.integers(len(NUMBERS))]
        size = struct.calcsize(kind)
        if kind[1] in "hiq":
            limit = 2 ** (8 * size - 1)
            value = min(max(int(np.nan_to_num(value)), -limit), limit - 1)
        end = min(HEADER, len(content)) - size
        at = int(rng.integers(0, max(end // 2, 1))) * 2
        packed = struct.pack(kind, np.clip(value, -3e38, 3e38) if kind[1] == "f" else value)
        changed[at : at + size] = packed
    return bytes(changed)


def text(rng, content):
    """A number written out in the header becomes another; without one as `number`."""
    found = list(re.finditer(rb"(?<![\w.])-?\d+\.?\d*", content[:HEADER]))
    if not found:
        return number(rng, content)
    place = found[rng.integers(len(found))]
    return content[: place.start()] + TEXTS[rng.integers(len(TEXTS))] + content[place.end() :]


def word(rng, content):
    """A word of a text header becomes another of its words."""
    found = list(re.finditer(rb"[A-Za-z]{3,}", content[:HEADER]))
    if len(found) < 2:
        return flip_header(rng, content)
    place, other = (found[i] for i in rng.integers(0, len(found), 2))
    return content[: place.start()] + other[0] + content[place.end() :]


def zeros(rng, content):
    at = int(rng.integers(0, len(content)))
    size = int(rng.integers(1, 200))
    return content[:at] + bytes(min(size, len(content) - at)) + content[at + size :]


def insert(rng, content):
    at = int(rng.integers(0, len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]


def remove(rng, content):
    at = int(rng.integers(0, len(content)))
    return content[:at] + content[at + int(rng.integers(1, 40)) :]


DAMAGES = [
    cut,
    cut_header,
    cut_end,
    flip,
    flip_header,
    flip_end,
    number,
    number,
    text,
    text,
    word,
    zeros,
    insert,
    remove,
]


# --- files that are damaged on purpose --------------------------------------------------------------------------------


def bombs(folder: Path) -> list[Path]:
    """Small files that announce or unpack to far more than they are."""
    header = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes()[:352]

    def nifti(*shape):
        return header[:40] + struct.pack("<8h", len(shape), *shape, *(1,) * (7 - len(shape))) + header[56:]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width, height, depth, colour, rows):
        start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    zeros_ = zlib.compress(bytes(2**25), 1)
    nrrd = b"NRRD0004\ntype: float\ndimension: 3\nsizes: %s\nendian: little\nencoding: %s\n\n"
    mha = b"ObjectType = Image\nNDims = 3\nDimSize = %s\nElementType = MET_FLOAT\nElementDataFile = %s\n"
    files = {
        "bomb_small.nii.gz": gzip.compress(nifti(4, 4, 4) + bytes(2**26), 1),
        "bomb_large.nii.gz": gzip.compress(nifti(2000, 2000, 2000) + bytes(2**26), 1),
        "bomb_header.nii.gz": gzip.compress(nifti(32767, 32767, 32767)),
        "bomb_header.nii": nifti(32767, 32767, 32767),
        "bomb_axes.nii": nifti(*(32767,) * 7),
        "bomb.mgz": gzip.compress(struct.pack(">7i", 1, 10**9, 10**9, 10**9, 1, 3, 0) + bytes(500)),
        "bomb_header.png": png(60000, 60000, 8, 0, b""),
        "bomb_pixels.png": png(12000, 12000, 8, 6, zeros_),
        "bomb_deep.png": png(2000, 2000, 16, 6, zeros_),
        "bomb_raw.nrrd": nrrd % (b"1000000000 1000000000 1000000000", b"raw") + bytes(100),
        "bomb_gzip.nrrd": nrrd % (b"1000 1000 1000", b"gzip") + gzip.compress(bytes(2**20)),
        "bomb_axis.nrrd": nrrd % (b"1000000000 1 1", b"ascii") + b"1 2 3",
        "bomb.mha": mha % (b"1000000000 1000000000 1", b"LOCAL") + bytes(100),
        "bomb_device.mhd": mha % (b"1000 1000 1000", b"/dev/zero"),
        "bomb_list.mhd": mha % (b"1000 1000 1000", b"LIST\n/dev/zero"),
        "bomb_pattern.mhd": mha % (b"100000 100000 1000", b"%05d.raw 1 1000 1"),
        "bomb_axes.mhd": mha.replace(b"NDims = 3", b"NDims = 1000000000") % (b"1 1 1", b"LOCAL"),
        "transform_bomb.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: "
        + b"1 " * 10**6
        + b"\nFixedParameters: 0 0 0\n",
        "transform_bomb.mat": struct.pack("<5i", 0, 2**30, 1, 0, 30) + b"AffineTransform_double_3_3\0",
        "transform_bomb.nii": (lambda h: h[:68] + struct.pack("<h", 1007) + h[70:])(nifti(1000, 1000, 1000, 1, 3)),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    _hdf5_bombs(folder)
    return sorted(folder.glob("*bomb*"))


def _hdf5_bombs(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "bomb_empty.h5", "w") as file:
        file.create_dataset("image", (10**5, 10**5, 10**5), "f4", chunks=(64, 64, 64))
    transform = folder / "transform_bomb.h5"
    shutil.copy(folder.parent / "whole" / "transform_composite.h5", transform)
    with h5py.File(transform, "r+") as file:
        for name in [name for name in file["TransformGroup"] if "Transform" in name or name != "0"]:
            del file[f"TransformGroup/{name}/TransformParameters"]
            file.create_dataset(f"TransformGroup/{name}/TransformParameters", (10**9,), "f8", chunks=(10**5,))
    with h5py.File(folder / "bomb_text.h5", "w") as file:
        file["image"] = [[b"a", b"b"]]
    with h5py.File(folder / "bomb_loop.h5", "w") as file:
        file["image"] = h5py.SoftLink("/image")
        file.create_group("a")["b"] = file["/"]


def make_corpus(folder: Path, seed: int, count: int, only: str = "") -> list[Path]:
    """`count` files in `folder`: bombs, wrong names, and damaged copies of the samples with `only` in their names."""
    samples = write_samples(folder / "whole", seed)
    chosen = [path for path in samples if only in path.name]
    names = sorted({"".join(path.suffixes) for path in samples if not path.name.startswith(("transform", "displ"))})
    files = bombs(_made(folder / "bombs"))
    for index in range(len(files), count):
        rng = np.random.default_rng([seed, index])
        if index % 20 == 0:
            files.append(_damaged_series(folder / f"{index:04d}" / "series", rng))
            continue
        source = chosen[index % len(chosen)]
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content, name = source.read_bytes(), source.name
        if rng.random() < 0.08:
            name = f"{source.name.split('.')[0]}{rng.choice(names)}"  # whole, but of another kind than its name says
        elif name.endswith(PACKED) and rng.random() < 0.6:
            content = gzip.compress(damage(rng, gzip.decompress(content)))
        else:
            content = damage(rng, content)
        target = _made(folder / f"{index:04d}")
        (target / name).write_bytes(content)
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


def read_one(path: Path) -> tuple[str, str]:
    """("read", "") or ("refused", message) or ("fault", what)."""
    from acreg.errors import AcregError
    from acreg.geometry import Grid
    from acreg.io import read_displacement, read_image, read_labels
    from acreg.io.transforms import read_transform

    grid = Grid(SHAPE, (3, 1.2, 0.7))
    try:
        if path.name.startswith("transform"):
            read_transform(path, grid, grid)
        elif path.name.startswith("displacement"):
            read_displacement(path)
        else:
            read_image(path)
    except AcregError as error:
        if path.name not in str(error) or "\n" in str(error):
            return "fault", f"not a paragraph that names the file: {error}"
        if path.name.startswith(("transform", "displacement")):
            return "refused", str(error)
        try:
            read_labels(path)
        except AcregError:
            pass
        except Exception as other:
            return "fault", f"labels: {type(other).__name__}: {other}"
        return "refused", str(error)
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"
    return "read", ""


def child() -> None:
    """Read the files named on standard input, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # libraries print what they like
    os.dup2(silent, 2)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    import acreg.io.transforms  # noqa: F401, takes seconds

    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        outcome, message = read_one(Path(line.rstrip("\n")))
        peak = _peak_memory()
        if peak > MEMORY:
            outcome, message = "fault", f"{peak / 2**30:.1f} GB of memory"
        print(json.dumps([outcome, message, peak]), file=answers, flush=True)
        if peak > MEMORY:
            return  # a peak stays: a new child for the next file


def _peak_memory() -> int:
    """Bytes. The figure of getrusage begins with that of the process that started this one, so it comes last."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_corpus(files: list[Path]) -> list[tuple[str, str, int]]:
    """(outcome, message, peak memory of the child so far in bytes) of each file."""
    results: list[tuple[str, str, int]] = []
    process = None
    for path in files:
        if process is None:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.io.damaged", "--child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            process.stdout.readline()
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        waiting, _, _ = select.select([process.stdout], [], [], SECONDS)
        answer = process.stdout.readline() if waiting else ""
        results.append(tuple(json.loads(answer)) if answer else ("fault", "", 0))
        if not answer or results[-1][2] > MEMORY:
            process.kill()
            code = process.wait()
            process.stdin.close()
            process.stdout.close()
            process = None
            if not answer:
                results[-1] = ("fault", f"died with signal {-code}" if waiting else f"over {SECONDS} seconds", 0)
    if process is not None:
        process.stdin.close()
        process.wait()
        process.stdout.close()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="damage only the samples with this in their names")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--verbose", action="store_true", help="print every file's result")
    options = parser.parse_args()
    if options.child:
        child()
        return 0
    folder = Path(tempfile.mkdtemp(prefix="damaged-"))
    files = make_corpus(folder, options.seed, options.count, options.only)
    results = read_corpus(files)
    for path, (outcome, message, peak) in zip(files, results):
        if options.verbose or outcome == "fault":
            print(f"{outcome:8s} {peak / 2**20:5.0f} MB {path.relative_to(folder)}: {message}")
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

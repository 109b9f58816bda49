"""The process in which C and C++ code decodes files, and its tasks; see `acreg.io.guards.isolation`.

Run as a script, it reads requests from standard input, each a length and JSON, and answers with a length, JSON and the
bytes of arrays on standard output. It imports nothing from acreg, so that it starts in 0.1 s.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

Answer = tuple[dict[str, Any], list[Any]]
"""Facts that JSON can hold, and arrays."""
HEAD = struct.Struct("<I")
ROOM = 2**30
"""Bytes that a decoder may use beyond those of the values that it returns."""
SECONDS = 2
"""Computing time in seconds that a decoder may use in addition to that for the values; imports are not counted."""
BYTES_A_SECOND = 10 * 2**20
"""Decoded bytes per additional second of computing time."""
DATASETS = 5_000
GROUPS = 32
"""Largest number of datasets of an HDF5 file that are examined, and largest depth of groups."""
ATTRIBUTES = 64
"""Largest number of attributes of a dataset, and of values of an attribute, that are examined."""


def itk_header(path: str, decoder: str) -> Answer:
    """What an ITK decoder reports of a file before it reads the voxels."""
    import SimpleITK as sitk

    reader = _reader(path, decoder)
    pixel, channels = reader.GetPixelID(), reader.GetNumberOfComponents()
    itemsize = sitk.GetArrayViewFromImage(sitk.Image([1, 1], pixel, channels)).itemsize
    return {**_geometry(reader), "channels": channels, "itemsize": itemsize}, []


def _geometry(found: Any) -> dict[str, list[float]]:
    """The geometry of an image, or of a reader that has read a header."""
    return {
        "size": list(found.GetSize()),
        "spacing": list(found.GetSpacing()),
        "origin": list(found.GetOrigin()),
        "direction": list(found.GetDirection()),
    }


def itk_voxels(path: str, decoder: str) -> Answer:
    """The voxels that an ITK decoder reads from a file, as `acreg.io.volumes.format.Volume` keeps them."""
    import SimpleITK as sitk

    image = _reader(path, decoder).Execute()
    facts = {**_geometry(image), "channels": image.GetNumberOfComponentsPerPixel()}
    return facts, [sitk.GetArrayFromImage(image)]


def _reader(path: str, decoder: str) -> Any:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(decoder)  # only the decoder of the format: otherwise ITK would try all decoders by content
    reader.SetFileName(path)
    reader.ReadImageInformation()
    return reader


def hdf5_datasets(path: str) -> Answer:
    """The datasets of an HDF5 file, by name, as `acreg.io.hdf5.Stored` keeps them; links are not followed."""
    import h5py

    found: list[dict[str, Any]] = []

    def look(name: str, item: Any) -> None:
        if name.count("/") > GROUPS:
            raise ValueError(f"it holds groups within groups, more than {GROUPS}")
        if isinstance(item, h5py.Dataset):
            if len(found) >= DATASETS:
                raise ValueError(f"it holds more than {DATASETS} datasets")
            found.append(_dataset(name, item, h5py))

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return {"datasets": found}, []


def _dataset(name: str, item: Any, h5py: Any) -> dict[str, Any]:
    numbers = item.dtype.kind in "biuf"
    elsewhere = bool(item.is_virtual or item.external)
    facts: dict[str, Any] = {
        "name": name,
        "shape": None if item.shape is None else list(item.shape),
        "dtype": item.dtype.str if numbers else "",
        "described": str(item.dtype),
        "stored": 0 if elsewhere else item.id.get_storage_size(),
        "chunks": list(item.chunks or ()),
        "elsewhere": elsewhere,
    }
    if not numbers and not elsewhere and h5py.check_string_dtype(item.dtype) and item.size == 1:
        text = item[()] if item.shape == () else item[(0,) * len(item.shape)]
        facts["text"] = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    facts["attributes"] = {}
    for key in item.attrs if len(item.attrs) <= ATTRIBUTES else ():
        kept = item.attrs.get_id(key)
        if kept.dtype.kind in "biuf" and kept.shape is not None and math.prod(kept.shape) <= ATTRIBUTES:
            facts["attributes"][key] = item.attrs[key].tolist()
        else:
            facts["attributes"][key] = str(kept.dtype)
    return facts


def hdf5_values(path: str, names: list[str]) -> Answer:
    """The values of datasets of numbers."""
    import h5py

    with h5py.File(path, "r") as file:
        return {}, [file[name][()] for name in names]


TASKS: dict[str, Callable[..., Answer]] = {
    "itk_header": itk_header,
    "itk_voxels": itk_voxels,
    "hdf5_datasets": hdf5_datasets,
    "hdf5_values": hdf5_values,
}


def receive(read: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next message; None at the end."""
    head = read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    body = read(HEAD.unpack(head)[0])
    message: dict[str, Any] = json.loads(body)
    return message


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes."""
    body = json.dumps(message).encode("ascii")
    return HEAD.pack(len(body)) + body


def _limit(size: int) -> None:
    """Limit the memory and the computing time of the next task, which returns `size` bytes."""
    import resource

    with contextlib.suppress(OSError, ValueError):  # not every system has these limits
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM + 4 * size, resource.RLIM_INFINITY))
    with contextlib.suppress(OSError, ValueError):
        spent = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(spent.ru_utime + spent.ru_stime) + SECONDS + size // BYTES_A_SECOND
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def main() -> None:
    """Answer requests until the standard input ends."""
    import signal

    # The requesting process decides when to stop, even if a terminal or a scheduler signals all processes; the end of
    # standard input ends this process.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.path[:] = json.loads(sys.argv[1])
    import numpy as np

    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # libraries print to standard output
        os.dup2(silent, stream)
    answers.write(pack({"ready": True}))
    answers.flush()
    while (request := receive(requests.read)) is not None:
        arrays: list[Any] = []
        try:
            size, task = request.pop("bytes"), request.pop("task")
            __import__("h5py" if task.startswith("hdf5") else "SimpleITK")  # imports take time that is not counted
            _limit(size)
            facts, arrays = TASKS[task](**request)
            arrays = [np.ascontiguousarray(array) for array in arrays]
            answer = {"facts": facts, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
        except MemoryError:
            answer = {"error": "it asks for more memory than an image of its size"}
        except Exception as error:  # decoders raise many types of error
            answer = {"error": " ".join(str(error).split()) or type(error).__name__}
        answers.write(pack(answer))
        for array in arrays if "facts" in answer else ():
            answers.write(memoryview(array.reshape(-1).view(np.uint8)))
        answers.flush()


if __name__ == "__main__":
    main()

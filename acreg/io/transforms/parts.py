"""Parsers for ITK transform files: `.tfm` and `.txt`, `.mat` (MATLAB 4), `.h5`.

ITK's own readers crash on invalid sizes, so the files are parsed here. ITK is only used to compute the map of a linear
transform, after its few numbers have been checked.
"""

from __future__ import annotations

import math
import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement, Map
from acreg.io.formats import suffix
from acreg.io.guards import decoding
from acreg.io.guards.text import TEXT_LIMIT, check_regular, parse_numbers
from acreg.io.hdf5 import Stored, read_datasets, read_values
from acreg.io.transforms.itk import affine_from_itk

TEXT = (".tfm", ".txt")
READ = (".h5", ".hdf5", ".mat", *TEXT)
FIRST_LINE = b"#Insight Transform File V1.0"
FIELDS = (
    "DisplacementFieldTransform",
    "GaussianSmoothingOnUpdateDisplacementFieldTransform",
    "BSplineSmoothingOnUpdateDisplacementFieldTransform",
)
LINEAR = {
    3: {
        "IdentityTransform": 0,
        "TranslationTransform": 3,
        "ScaleTransform": 3,
        "ScaleLogarithmicTransform": 3,
        "AffineTransform": 12,
        "MatrixOffsetTransformBase": 12,
        "FixedCenterOfRotationAffineTransform": 15,
        "CenteredAffineTransform": 15,
        "Euler3DTransform": 6,
        "CenteredEuler3DTransform": 9,
        "VersorTransform": 3,
        "VersorRigid3DTransform": 6,
        "Similarity3DTransform": 7,
        "ScaleVersor3DTransform": 9,
        "ScaleSkewVersor3DTransform": 15,
        "ComposeScaleSkewVersor3DTransform": 12,
        "QuaternionRigidTransform": 7,
    },
    2: {
        "IdentityTransform": 0,
        "TranslationTransform": 2,
        "ScaleTransform": 2,
        "AffineTransform": 6,
        "MatrixOffsetTransformBase": 6,
        "CenteredAffineTransform": 8,
        "Euler2DTransform": 3,
        "Rigid2DTransform": 3,
        "CenteredRigid2DTransform": 5,
        "Similarity2DTransform": 4,
        "CenteredSimilarity2DTransform": 6,
    },
}
"""Number of parameters of each kind, by the number of axes. Most kinds have the centre as fixed parameters."""
CONVERTED = 20
"""Additional bytes that a value of a field takes while it is read: twice float64, once float32."""


@dataclass(frozen=True)
class Part:
    """A transform in a file.

    Args:
        kind: the name of its ITK class, without precision and number of axes.
        rank: 2 or 3.
        parameters, fixed: its parameters, and those that are not optimised.
        path: the file, for messages.
    """

    kind: str
    rank: int
    parameters: np.ndarray
    fixed: np.ndarray
    path: Path

    @property
    def map(self) -> Map:
        """The same map. Raises `AcregError` if it is neither linear nor a displacement field."""
        if self.kind in FIELDS:
            return self._field()
        if self.kind in LINEAR[self.rank]:
            return self.linear()
        raise AcregError(
            f"A transform is linear, a displacement field, or made of these. Received: {self.path} with a {self.kind}. "
            "Convert it to a displacement field, for example with SimpleITK's TransformToDisplacementField."
        )

    def grid(self) -> Grid:
        """The grid of a displacement field."""
        rank, fixed = self.rank, self.fixed.ravel()
        sizes = fixed[:rank]
        if len(fixed) != rank * (rank + 3) or (sizes < 1).any() or (sizes != np.rint(sizes)).any():
            raise damaged(self.path, f"a {self.kind} with the fixed parameters {fixed[:20].tolist()}")
        size, origin, spacing = (fixed[k * rank : (k + 1) * rank] for k in range(3))
        direction: Any = fixed[3 * rank :].reshape(rank, rank)[::-1, ::-1]
        shape = tuple(int(n) for n in size[::-1])
        if math.prod(shape) * rank != len(self.parameters):
            raise damaged(self.path, f"a field of {shape} voxels with {len(self.parameters)} values")
        return Grid(shape, tuple(spacing[::-1]), tuple(origin[::-1]), direction)

    def _field(self) -> Displacement:
        grid = self.grid()
        mm = self.parameters.reshape(*grid.shape, self.rank)[..., ::-1]
        return Displacement(mm @ np.linalg.inv(grid.matrix[:-1, :-1]).T, grid)

    def linear(self) -> Affine:
        """The map of a linear transform."""
        wanted = LINEAR[self.rank][self.kind]
        fixed = len(self.fixed)
        centred = self.kind not in ("IdentityTransform", "TranslationTransform")
        if len(self.parameters) != wanted or not self.rank * centred <= fixed <= self.rank + 1:
            raise damaged(self.path, f"a {self.kind} with {len(self.parameters)} parameters and {fixed} fixed ones")
        numbers = {"Parameters": self.parameters, "FixedParameters": self.fixed}
        if not all(np.isfinite(values).all() for values in numbers.values()):
            raise damaged(self.path, f"a {self.kind} whose parameters are not finite")
        lines = [FIRST_LINE.decode(), f"Transform: CompositeTransform_double_{self.rank}_{self.rank}"]
        lines += [f"Transform: {self.kind}_double_{self.rank}_{self.rank}"]
        lines += [f"{name}: {' '.join(map(repr, values.tolist()))}" for name, values in numbers.items()]
        with tempfile.TemporaryDirectory(prefix="acreg-") as folder:  # ITK reads transforms only from files
            copy = Path(folder) / "linear.tfm"
            copy.write_text("\n".join(lines) + "\n", encoding="ascii")
            found = sitk.ReadTransform(str(copy))
        if not found.IsLinear():
            raise damaged(self.path, f"a {self.kind} that is not linear")
        return affine_from_itk(found)


def read_parts(path: Path) -> list[Part]:
    """The transforms of a file in the order in which they are applied to a point of the fixed image.

    Raises:
        AcregError: the file is damaged, or it contains several transforms that are not one composite (some programs
            apply the first of them and others apply all).
        UsageError: the suffix is not supported.
    """
    readers = {**dict.fromkeys(TEXT, _read_text), ".mat": _read_mat, ".h5": _read_hdf5, ".hdf5": _read_hdf5}
    if suffix(path) not in readers:
        raise UsageError(f"Transforms are read from {', '.join(READ)}, .nii and .nii.gz. Received: {path}. Convert it.")
    with decoding(path, "transform"):
        parts = readers[suffix(path)](path)
        if len({part.rank for part in parts}) > 1 or not parts:
            raise damaged(path, "no transforms, or transforms of several numbers of axes")
        first, *others = parts
        if any(part.kind == "CompositeTransform" for part in others):
            raise damaged(path, "a composite within a composite")
        if first.kind != "CompositeTransform" and others:
            raise AcregError(
                f"A transform file holds one transform, or one composite. Received: {path} with {len(parts)}: "
                f"{', '.join(part.kind for part in parts[:5])}. Programs differ in which they apply, and in what "
                "order: write them as a CompositeTransform, or as a file each."
            )
        return others[::-1] if first.kind == "CompositeTransform" else parts  # ITK applies the last transform first


def damaged(path: Path, what: str) -> AcregError:
    """The error for a file that holds `what`."""
    return AcregError(f"The file must be a whole transform. Received: {path}, which holds {what}. Get the file again.")


def _part(path: Path, name: str, parameters: np.ndarray, fixed: np.ndarray) -> Part:
    found = re.fullmatch(r"([A-Za-z0-9]{1,99})_(?:double|float)_([23])_([23])(?:_\d)?", name.strip())
    if found is None or found[2] != found[3]:
        raise damaged(path, f"a transform of the type {name[:60]!r}, where ITK's name in 2 or 3 axes belongs")
    rank = int(found[2])
    if found[1] == "BSplineTransform" and math.prod(int(n) for n in fixed[:rank]) * rank != len(parameters):
        raise damaged(path, f"a spline on a grid of {fixed[:rank].tolist()} with {len(parameters)} parameters")
    return Part(found[1], rank, parameters, fixed, path)


def _read_text(path: Path) -> list[Part]:
    parts: list[tuple[str, dict[str, np.ndarray]]] = []
    check_regular(path, TEXT_LIMIT, "transform in text")
    with path.open("rb") as file:
        if file.readline(100).strip() != FIRST_LINE:
            raise damaged(path, f"no {FIRST_LINE.decode()!r} in its first line")
        for line in file:
            name, _, text = line.partition(b":")
            if not line.strip() or line.startswith(b"#"):
                continue
            name = name.strip()
            if name == b"Transform":
                parts.append((text.decode("latin-1"), {}))
            elif name in (b"Parameters", b"FixedParameters") and parts and name.decode() not in parts[-1][1]:
                parts[-1][1][name.decode()] = parse_numbers(text)
            else:
                raise damaged(path, f"the line {line[:60].decode('latin-1').strip()!r}")
    none = np.zeros(0)
    return [
        _part(path, name, values.get("Parameters", none), values.get("FixedParameters", none)) for name, values in parts
    ]


def _read_mat(path: Path) -> list[Part]:
    """Matrices of MATLAB 4: alternately one named like the transform and one named `fixed`."""
    content = path.read_bytes() if path.stat().st_size < 2**20 else b""
    matrices: list[tuple[str, np.ndarray]] = []
    at = 0
    while at < len(content):
        if at + 20 > len(content):
            raise damaged(path, "a matrix that is cut off")
        kind = struct.unpack_from("<i", content, at)[0]
        order, kind = ("<", kind) if 0 <= kind < 1000 else (">", struct.unpack_from(">i", content, at)[0] - 1000)
        rows, columns, imaginary, length = struct.unpack_from(f"{order}4i", content, at + 4)
        start = at + 20 + length
        size = rows * columns * (4 if kind == 10 else 8)
        if kind not in (0, 10) or imaginary or not 0 < length < 100 or min(rows, columns) < 0:
            raise damaged(path, "no matrices of MATLAB 4")
        if start + size > len(content):
            raise damaged(path, f"a matrix of {rows} x {columns} that is cut off")
        name = content[at + 20 : start].rstrip(b"\0").decode("latin-1")
        stored = np.frombuffer(content, f"{order}f{4 if kind == 10 else 8}", rows * columns, start)
        matrices.append((name, stored.astype(float)))
        at = start + size
    named = [name == "fixed" for name, _ in matrices]
    if not named or named != [False, True] * (len(named) // 2):
        raise damaged(path, f"the matrices {[name for name, _ in matrices][:5]}, where a transform and `fixed` belong")
    pairs = zip(matrices[::2], matrices[1::2], strict=True)
    return [_part(path, name, parameters, fixed) for (name, parameters), (_, fixed) in pairs]


def _read_hdf5(path: Path) -> list[Part]:
    found = read_datasets(path)
    groups = {name.split("/")[1] for name in found if re.fullmatch(r"TransformGroup/\d{1,4}/\w+", name)}
    parts = []
    for number in sorted(groups, key=int):
        inside = {name.split("/")[2]: found[name] for name in found if name.startswith(f"TransformGroup/{number}/")}
        kind = inside.get("TransformType")
        if kind is None or not kind.text:
            raise AcregError(f"Each part of a transform has a type. Received: {path} without one in part {number}.")
        # Older versions of ITK wrote the names without an s.
        parameters = inside.get("TransformParameters", inside.get("TranformParameters"))
        fixed = inside.get("TransformFixedParameters", inside.get("TranformFixedParameters"))
        parts.append(_part(path, kind.text, *_values(path, [parameters, fixed])))
    if sorted(map(int, groups)) != list(range(len(groups))):
        raise damaged(path, f"the parts {', '.join(sorted(groups, key=int)[:10])}, where some are missing")
    return parts


def _values(path: Path, datasets: Sequence[Stored | None]) -> list[np.ndarray]:
    """The values of datasets; a dataset that is absent or empty, as in composites, has no values."""
    present = [dataset for dataset in datasets if dataset is not None and dataset.shape and math.prod(dataset.shape)]
    values = iter(array.ravel() for array in read_values(path, present, CONVERTED)) if present else iter(())
    return [next(values) if dataset in present else np.zeros(0) for dataset in datasets]

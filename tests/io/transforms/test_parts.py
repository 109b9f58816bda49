"""ITK's transform files are parsed: each kind does what SimpleITK does, and what is damaged is refused."""

import struct

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io.transforms import read_transform
from acreg.io.transforms.parts import LINEAR

GRIDS = {2: Grid((8, 9), (1.5, 0.7)), 3: Grid((5, 6, 7), (3.0, 1.2, 0.7))}
FIXED_NUMBERS = (4.0, -5.0, 6.0)


def text(*parts):
    """A `.tfm` of parts `(kind, rank, parameters, fixed)`."""
    lines = ["#Insight Transform File V1.0"]
    for number, (kind, rank, parameters, fixed) in enumerate(parts):
        numbers = (" ".join(map(str, values)) for values in (parameters, fixed))
        lines += [f"#Transform {number}", f"Transform: {kind}_double_{rank}_{rank}"]
        lines += [f"{name}: {values}" for name, values in zip(("Parameters", "FixedParameters"), numbers)]
    return "\n".join(lines) + "\n"


def composite(rank):
    return ("CompositeTransform", rank, (), ())


def compare(path, rank, theirs=None):
    """acreg's points against SimpleITK's, which reads the same file if no transform is given."""
    theirs = sitk.ReadTransform(str(path)) if theirs is None else theirs
    points = GRIDS[rank].to_world(np.random.default_rng(0).uniform(0, GRIDS[rank].shape, (20, rank)))
    found = read_transform(path, GRIDS[rank], GRIDS[rank]).warp_points(points, to="moving")
    expected = [theirs.TransformPoint(p[::-1].tolist())[::-1] for p in points]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("rank", "kind"), [(rank, kind) for rank in LINEAR for kind in LINEAR[rank]])
def test_each_linear_kind(rank, kind, tmp_path):
    """In a composite SimpleITK reads all of them; alone, it fails on some."""
    rng = np.random.default_rng(sum(kind.encode()))
    parameters = np.round(rng.uniform(0.1, 0.5, LINEAR[rank][kind]), 3)
    if "Affine" in kind or kind == "MatrixOffsetTransformBase":
        parameters[: rank**2] += np.eye(rank).ravel()
    fixed = () if kind in ("IdentityTransform", "TranslationTransform") else FIXED_NUMBERS[:rank]
    path = tmp_path / "t.tfm"
    path.write_text(text(composite(rank), (kind, rank, parameters, fixed)))
    theirs = sitk.ReadTransform(str(path))
    compare(path, rank)
    path.write_text(text((kind, rank, parameters, fixed)))
    compare(path, rank, theirs)


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".txt"])
def test_composites_and_their_inverses_and_nested_ones(tmp_path, suffix):
    affine = sitk.AffineTransform((1.1, 0.1, 0, 0, 0.9, 0, 0.1, 0, 1), (1, 2, 3), (4, 5, 6))
    rigid = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    whole = sitk.CompositeTransform([affine, rigid])
    made = {"whole": whole, "inverse": whole.GetInverse(), "inverse_affine": affine.GetInverse()}
    inside = sitk.CompositeTransform([whole, sitk.TranslationTransform(3, (7, 8, 9))])
    inside.FlattenTransform()  # SimpleITK writes no composite within a composite
    for name, transform in {**made, "nested": inside}.items():
        path = tmp_path / f"{name}{suffix}"
        sitk.WriteTransform(transform, str(path))
        compare(path, 3, transform)


def test_a_rotation_in_the_other_order_of_its_angles(tmp_path):
    rigid = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    rigid.SetComputeZYX(True)
    sitk.WriteTransform(rigid, str(tmp_path / "zyx.tfm"))
    compare(tmp_path / "zyx.tfm", 3)


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
@pytest.mark.parametrize("rank", [2, 3])
def test_a_displacement_field_on_an_oblique_grid(tmp_path, rank, suffix):
    grid = GRIDS[rank]
    field = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(*grid.shape, rank)), isVector=True)
    field.SetSpacing(grid.spacing[::-1])
    field.SetDirection((0.8, -0.6, 0.6, 0.8) if rank == 2 else (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteTransform(sitk.DisplacementFieldTransform(field), str(tmp_path / f"t{suffix}"))
    compare(tmp_path / f"t{suffix}", rank)


def test_single_precision(tmp_path):
    """ITK writes what was computed in float32 with that in its name."""
    affine = ("AffineTransform", 3, (1.5, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3), (4, 5, 6))
    (tmp_path / "double.tfm").write_text(text(affine))
    (tmp_path / "t.tfm").write_text(text(affine).replace("double", "float"))
    compare(tmp_path / "t.tfm", 3, sitk.ReadTransform(str(tmp_path / "double.tfm")))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("size", [4, 8])
def test_matrices_of_both_byte_orders_and_precisions(tmp_path, order, size):
    parameters = (1.5, 0, 0, 0, 1, 0, 0.25, 0, 1, 1, 2, 3)
    content = b""
    for name, values in {"AffineTransform_double_3_3": parameters, "fixed": (4.0, 5.0, 6.0)}.items():
        kind = (10 if size == 4 else 0) + (1000 if order == ">" else 0)
        content += struct.pack(f"{order}5i", kind, len(values), 1, 0, len(name) + 1) + name.encode() + b"\0"
        content += np.array(values, f"{order}f{size}").tobytes()
    (tmp_path / "t.mat").write_bytes(content)
    (tmp_path / "same.tfm").write_text(text(("AffineTransform", 3, parameters, (4, 5, 6))))
    compare(tmp_path / "t.mat", 3, sitk.ReadTransform(str(tmp_path / "same.tfm")))


AFFINE = ("AffineTransform", 3, (1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0), (0, 0, 0))
REFUSED = {
    "two.tfm": (text(AFFINE, AFFINE), "one composite.*with 2: AffineTransform, AffineTransform. Programs differ"),
    "inside.tfm": (text(composite(3), AFFINE, composite(3)), "a composite within a composite"),
    "axes.tfm": (text(composite(3), AFFINE, ("Euler2DTransform", 2, (1, 2, 3), (0, 0))), "several numbers of axes"),
    "four.tfm": (text(("AffineTransform", 4, (1,) * 20, (0,) * 4)), "ITK's name in 2 or 3 axes"),
    "spline.tfm": (text(("BSplineTransform", 2, (0,) * 32, (4, 4) + (0,) * 8)), "with a BSplineTransform. Convert it"),
    "grid.tfm": (
        text(("BSplineTransform", 3, (0,), (100000,) * 3 + (0,) * 15)),
        "a spline on a grid of .* with 1 param",
    ),
    "no_grid.tfm": (text(("BSplineTransform", 3, (0,), ("1e30",) * 18)), "a spline on a grid of"),
    "unknown.tfm": (text(("FooTransform", 3, (), ())), "with a FooTransform"),
    "few.tfm": (text(("AffineTransform", 3, (1,) * 11, (0,) * 3)), "with 11 parameters and 3 fixed ones"),
    "many.tfm": (text(("AffineTransform", 3, (1,) * 10**5, (0,) * 3)), "with 100000 parameters"),
    "centre.tfm": (text(("AffineTransform", 3, (1,) * 12, ())), "and 0 fixed ones"),
    "nan.tfm": (text(AFFINE).replace("0 0 1 0", "0 nan 1 0"), "a word is no number"),
    "huge.tfm": (text(AFFINE).replace("1 0 0 0 1", "1e999 0 0 0 1"), "whole transform"),
    "flat.tfm": (text(("AffineTransform", 3, (0,) * 12, (0,) * 3)), "can be inverted"),
    "field.tfm": (text(("DisplacementFieldTransform", 3, (1, 2, 3), (100000,) * 3 + (0,) * 15)), "with 3 values"),
    "fraction.tfm": (text(("DisplacementFieldTransform", 2, (1, 2), (0.5, 4) + (0,) * 8)), "fixed parameters"),
    "parts.tfm": (
        text(composite(3), AFFINE).replace("#Transform 1", "ComponentTransformFile: /etc/passwd"),
        "the line",
    ),
    "twice.tfm": (text(AFFINE) + "Parameters: 1 2 3\n", "the line 'Parameters: 1 2 3'"),
    "text.tfm": ("hello", "no '#Insight Transform File V1.0'"),
    "nothing.tfm": ("#Insight Transform File V1.0\n", "no transforms"),
    "long.mat": (struct.pack("<5i", 0, 2**30, 1, 0, 30) + b"AffineTransform_double_3_3\0\0\0\0", "cut off"),
    "wrong.mat": (b"MATLAB 5.0 MAT-file" + bytes(200), "whole transform"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, name):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AcregError, match=message) as caught:
        read_transform(tmp_path / name, GRIDS[3], GRIDS[3])
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_other_suffixes_are_not_tried(tmp_path):
    (tmp_path / "t.xfm").write_text("MNI Transform File\n")
    with pytest.raises(UsageError, match=r"Transforms are read from \.h5.*t\.xfm"):
        read_transform(tmp_path / "t.xfm", GRIDS[3], GRIDS[3])


def test_parts_that_lie_in_other_files(tmp_path):
    whole = sitk.CompositeTransform([sitk.TranslationTransform(3, (1, 2, 3)), sitk.AffineTransform(3)])
    sitk.WriteTransform(whole, str(tmp_path / "other.h5"))
    sitk.WriteTransform(whole, str(tmp_path / "t.h5"))
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        del file["TransformGroup/1/TransformParameters"]
        file["TransformGroup/1/TransformParameters"] = h5py.ExternalLink(
            "other.h5", "/TransformGroup/1/TransformParameters"
        )
    with pytest.raises(AcregError, match="with 0 parameters"):
        read_transform(tmp_path / "t.h5", GRIDS[3], GRIDS[3])
    (tmp_path / "numbers").write_bytes(np.arange(3.0).tobytes())
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        del file["TransformGroup/1/TransformParameters"]
        file.create_dataset(
            "TransformGroup/1/TransformParameters", (3,), "f8", external=[(str(tmp_path / "numbers"), 0, 24)]
        )
    with pytest.raises(AcregError, match="lies in the file itself.*points to other files"):
        read_transform(tmp_path / "t.h5", GRIDS[3], GRIDS[3])

"""Awkward headers: each voxel lies where SimpleITK or nibabel puts it, with its value, or the file is refused.

Units, form codes, orders of bytes, types, scalings, tilts, shears, mirrored and permuted axes, axes of one voxel and
far origins are crossed at random, with a seed, over the formats that have a place.
"""

import gzip
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from acreg.errors import AcregError
from acreg.geometry import Grid, Transform
from acreg.geometry.label_grid import labels_on
from acreg.io import Image, read_image, read_labels, write_image
from tests.io.awkward import nifti_bytes

TO_LPS = np.diag([-1.0, -1, 1, 1])
MM = {0: 1, 1: 1000, 2: 1, 3: 0.001}


def voxel_places(affine, shape):
    """Places `(z, y, x, 3)` in mm (x, y, z; LPS) of voxels by a matrix of (x, y, z) indices."""
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    return (indices @ affine[:3, :3].T + affine[:3, 3]).transpose(2, 1, 0, 3)


def by_simpleitk(path):
    image = sitk.ReadImage(str(path))
    rank = image.GetDimension()
    affine = np.eye(4)
    affine[:rank, :rank] = np.reshape(image.GetDirection(), (rank, rank)) * image.GetSpacing()
    affine[:rank, 3] = image.GetOrigin()
    shape = (*image.GetSize(), 1)[:3]
    return sitk.GetArrayFromImage(image).reshape(shape[::-1]), voxel_places(affine, shape)


def by_nibabel(path, unit=2):
    image = nibabel.load(path)
    shape = (*image.shape, 1)[:3]
    affine = TO_LPS @ image.affine
    affine[:3] *= MM[unit]
    return np.asanyarray(image.dataobj).reshape(shape).T, voxel_places(affine, shape)


def by_acreg(image):
    shape = (*image.grid.shape[::-1], 1)[:3]
    return image.array.reshape(shape[::-1]), voxel_places(TO_LPS @ image.grid.affine(), shape)


def check_agreement(found, expected, grid):
    values, places = found
    np.testing.assert_allclose(values, expected[0].astype(np.float32), rtol=1e-6, atol=1e-6)
    size = np.abs(expected[1]).max()
    np.testing.assert_allclose(places, expected[1], rtol=0, atol=max(1e-3 * min(grid.spacing), 4e-7 * size))


class Draw:
    """What one awkward header says."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        rng = self.rng
        self.shape = rng.integers(2, 6, 3)  # x, y, z
        ones = rng.choice([0, 0, 1, 2])
        self.shape[rng.permutation(3)[:ones] if ones < 2 else [2]] = 1
        turn = np.eye(3) if rng.random() < 0.4 else Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        self.spacing = rng.choice([0.25, 0.7, 1.2, 6.0], 3)
        self.origin = rng.integers(-400, 400, 3) / 4 + rng.choice([0, 0, 1e4])
        self.direction = turn @ axes
        self.sheared = rng.random() < 0.2

    def affine(self):
        affine = np.eye(4)
        affine[:3, :3] = self.direction * self.spacing
        affine[:3, 3] = self.origin
        if self.sheared:
            affine[:3, 2] += 0.3 * affine[:3, 1]
        return affine

    def volume(self, dtype):
        """`(x, y, z)`"""
        if np.dtype(dtype).kind == "f":
            return self.rng.normal(scale=100, size=self.shape).astype(dtype)
        limits = np.iinfo(dtype)
        low, high = max(limits.min, -(2**20)), min(limits.max, 2**20)
        return self.rng.integers(low, high, self.shape, dtype=dtype)


# --- NIfTI and MGH ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_nifti(tmp_path, seed):
    draw = Draw(seed)
    rng = draw.rng
    two, order, unit = bool(rng.integers(2)), rng.choice(["<", ">"]), int(rng.choice([0, 1, 2, 3]))
    dtype = rng.choice(["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"])
    slope, intercept = [(np.nan, np.nan), (1, 0), (0, 0), (0.1, -3), (-2, 7)][rng.integers(5)]
    sform, qform = [(1, 1), (2, 1), (4, 0), (0, 1), (0, 3), (0, 0), (5, 5), (6, 1), (1, -1)][rng.integers(9)]
    volume, affine = draw.volume(dtype), draw.affine()
    fields = {"scl_slope": slope, "scl_inter": intercept, "sform_code": sform, "qform_code": qform}
    content = nifti_bytes(volume, affine, two, order, xyzt_units=unit + 8, **fields)
    path = tmp_path / rng.choice(["a.nii", "a.nii.gz"])
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    unknown = sform == 6 or qform == -1
    try:
        image = read_image(path)
    except AcregError as error:
        assert str(path) in str(error)
        assert ("form codes" in str(error) and unknown) or ("place the image alike" in str(error) and draw.sheared)
        return
    assert not unknown
    expected = by_nibabel(path, unit)
    if sform or qform:
        check_agreement(by_acreg(image), expected, image.grid)
    if not (draw.sheared or two or slope == 0):  # ITK reads no shears, and adds the intercept to a slope of 0
        check_agreement(by_acreg(image), by_simpleitk(path), image.grid)
    if np.dtype(dtype).kind != "f" and slope != 0.1:
        labels = read_labels(path)
        np.testing.assert_array_equal(labels.array, np.rint(expected[0]).reshape(labels.array.shape))
        assert labels.grid == image.grid and labels.grid.plane == image.grid.plane


@pytest.mark.parametrize("seed", range(20))
def test_mgh(tmp_path, seed):
    draw = Draw(seed)
    path = tmp_path / draw.rng.choice(["a.mgh", "a.mgz"])
    image = nibabel.MGHImage(draw.volume(draw.rng.choice(["u1", "i2", "i4", "f4"])), draw.affine())
    nibabel.save(image, path)
    found = read_image(path)
    check_agreement(by_acreg(found), by_nibabel(path), found.grid)


# --- NRRD and MetaImage -----------------------------------------------------------------------------------------------


def vector(numbers):
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"


NRRD_TYPES = {"u1": "uchar", "i1": "int8", "u2": "ushort", "i2": "int16_t", "i4": "int", "f4": "float", "f8": "double"}


def nrrd_text(draw, dtype, order):
    """The header of a NRRD and the affine that its vectors have by themselves."""
    affine = draw.affine()
    lines = ["NRRD0005", "# made to be awkward", f"type: {NRRD_TYPES[dtype]}", "dimension: 3"]
    lines += [f"sizes: {' '.join(map(str, draw.shape))}", f"endian: {'big' if order == '>' else 'little'}"]
    way = draw.rng.integers(3)
    if way == 0:
        lines += [f"spacings: {' '.join(map(str, draw.spacing))}"]
    else:
        space = ["left-posterior-superior", "RAS", "left-anterior-superior", "LPS"][draw.rng.integers(4)]
        lines += [f"space: {space}", "space directions: " + " ".join(vector(affine[:3, k]) for k in range(3))]
        lines += ['space units: "mm" "mm" "mm"'] if draw.rng.integers(2) else []
    if way == 1:
        lines += [f"space origin: {vector(affine[:3, 3])}"]
    if draw.rng.integers(2):
        lines += ["kinds: domain domain domain", f"centerings: {' '.join(draw.rng.choice(['cell', 'node'], 3))}"]
    return lines


@pytest.mark.parametrize("seed", range(60))
def test_nrrd(tmp_path, seed):
    draw = Draw(seed)
    dtype, order = draw.rng.choice(list(NRRD_TYPES)), draw.rng.choice(["<", ">"])
    lines = nrrd_text(draw, dtype, order)
    volume = draw.volume(dtype)
    raw = volume.T.astype(volume.dtype.newbyteorder(order)).tobytes()
    encoding = draw.rng.choice(["raw", "gzip", "ascii"])
    raw = {"raw": raw, "gzip": gzip.compress(raw), "ascii": " ".join(map(str, volume.T.ravel())).encode()}[encoding]
    lines += [f"encoding: {encoding}"]
    if draw.rng.integers(2):
        path = tmp_path / "a.nhdr"
        (tmp_path / "a.data").write_bytes(raw)
        path.write_text("\n".join([*lines, "data file: a.data", ""]), encoding="ascii")
    else:
        path = tmp_path / "a.nrrd"
        path.write_bytes("\n".join([*lines, "", ""]).encode() + raw)
    found = read_image(path)
    check_agreement(by_acreg(found), by_simpleitk(path), found.grid)


@pytest.mark.parametrize("unit", ["um", "\N{MICRO SIGN}m", "micrometers", "micron", "m", "cm", "metre", "inches"])
@pytest.mark.parametrize("field", ["space units", "units"])
def test_lengths_of_nrrd_are_in_mm(tmp_path, field, unit):
    """ITK takes all for mm; NRRD says that they are what the unit says."""
    geometry = "spacings: 1 2 3" if field == "units" else "space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)"
    lines = ["NRRD0005", "type: uchar", "dimension: 3", "sizes: 2 3 4", "encoding: raw", geometry]
    path = tmp_path / "a.nrrd"
    for said in ("mm", unit):
        units = f"{field}: " + " ".join([f'"{said}"'] * 3)
        path.write_bytes("\n".join([*lines, units, "", ""]).encode() + bytes(24))
        if said == "mm":
            assert read_image(path).grid.spacing == (3, 2, 1)
    with pytest.raises(AcregError, match=rf"in mm.*a\.nrrd with the unit '{unit}'"):
        read_image(path)


META_TYPES = {"u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "i4": "MET_INT"}
META_TYPES |= {"f4": "MET_FLOAT", "f8": "MET_DOUBLE"}


@pytest.mark.parametrize("seed", range(60))
def test_metaimage(tmp_path, seed):
    draw = Draw(seed)
    rng = draw.rng
    dtype, order = rng.choice(list(META_TYPES)), rng.choice(["<", ">"])
    volume = draw.volume(dtype)
    raw = volume.T.astype(volume.dtype.newbyteorder(order)).tobytes()
    packed = bool(rng.integers(2))
    raw = zlib.compress(raw) if packed else raw
    direction = draw.affine()[:3, :3] / np.linalg.norm(draw.affine()[:3, :3], axis=0)
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", f"CompressedData = {packed}"]
    lines += [f"CompressedDataSize = {len(raw)}"] if packed else []  # without it ITK makes up the voxels
    lines += [f"{rng.choice(['BinaryDataByteOrderMSB', 'ElementByteOrderMSB'])} = {order == '>'}"]
    lines += [f"{rng.choice(['Offset', 'Position', 'Origin'])} = {' '.join(map(repr, draw.origin.tolist()))}"]
    name = rng.choice(["TransformMatrix", "Rotation", "Orientation"])
    lines += [f"{name} = {' '.join(map(repr, direction.T.ravel().tolist()))}"]
    lines += ["CenterOfRotation = 0 0 0", f"AnatomicalOrientation = {rng.choice(['RAI', 'LPS', '???'])}"]
    lines += [f"{name} = {' '.join(map(str, draw.spacing))}" for name in ("ElementSpacing", "ElementSize")]
    lines += [f"DimSize = {' '.join(map(str, draw.shape))}", f"ElementType = {META_TYPES[dtype]}"]
    if rng.integers(2):
        path = tmp_path / "a.mhd"
        skipped = 0 if packed else int(rng.choice([0, 7, -1]))
        (tmp_path / "a.data").write_bytes((b"x" * 7 if skipped else b"") + raw)
        lines += [f"HeaderSize = {skipped}"] if skipped else []
        path.write_text("\n".join([*lines, "ElementDataFile = a.data", ""]), encoding="ascii")
    else:
        path = tmp_path / "a.mha"
        path.write_bytes("\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode() + raw)
    found = read_image(path)
    check_agreement(by_acreg(found), by_simpleitk(path), found.grid)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii"])
@pytest.mark.parametrize("channels", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_vectors_are_no_colours(tmp_path, dtype, channels, name):
    """Three or four values of a 2-D image are a colour, unless one is below 0; a field of vectors is no image."""
    pixels = np.random.default_rng(0).integers(0, 100, (5, 6, channels)).astype(dtype)
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(path))
    if channels in (3, 4) and name != "a.nii":
        np.testing.assert_allclose(read_image(path).array, pixels[..., :3] @ (0.299, 0.587, 0.114), rtol=1e-6)
        pixels = pixels - pixels.dtype.type(50) if dtype == "f4" else pixels.astype("i2") - 50
        sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(path))
    with pytest.raises(AcregError, match=rf"(one value or a colour|2 or 3 axes).*{name}"):
        read_image(path)


# --- a slice keeps its place ------------------------------------------------------------------------------------------


def slice_file(tmp_path, draw, name):
    draw.shape[2] = 1
    image = sitk.GetImageFromArray(draw.volume("f4").T)
    image.SetSpacing(draw.spacing.tolist())
    image.SetOrigin(draw.origin.tolist())
    image.SetDirection(draw.direction.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / name))
    return tmp_path / name


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd"])
def test_a_slice_is_written_where_it_was_read(tmp_path, seed, name):
    path = slice_file(tmp_path, Draw(seed), name)
    image = read_image(path)
    assert image.grid.rank == 2
    check_agreement(by_acreg(image), by_simpleitk(path), image.grid)
    for other in ("b.nii", "b.mha", "b.nrrd", "b.h5"):
        write_image(image, tmp_path / other)
        again = read_image(tmp_path / other)
        check_agreement(by_acreg(again), by_simpleitk(path), image.grid)
        np.testing.assert_allclose(again.grid.matrix, image.grid.matrix, atol=1e-3)
        if other != "b.h5":
            check_agreement(by_simpleitk(tmp_path / other), by_simpleitk(path), image.grid)
    warped = Transform(image.grid, image.grid).warp_image(image)
    check_agreement(by_acreg(warped), by_simpleitk(path), image.grid)


@pytest.mark.parametrize("seed", range(20))
def test_slices_of_one_plane_share_their_world(seed):
    """However they are stored: what lies at one place of the patient lies at one place of the plane."""
    draw = Draw(seed)
    draw.sheared = False
    affine = draw.affine()
    grid = Grid.from_affine(affine, (5, 4))
    other = affine.copy()
    other[:3, 3] += affine[:3, :3] @ (3, 4, 0)
    other[:3, :3] = affine[:3, [1, 0, 2]] * [-1, -1, 1]
    stored = Grid.from_affine(other, (4, 5))
    np.testing.assert_allclose(stored.to_world(np.array([3.0, 4.0])), grid.to_world(np.zeros(2)), atol=1e-6)
    np.testing.assert_allclose(stored.to_world(np.array([0.0, 0.0])), grid.to_world(np.array([4.0, 3.0])), atol=1e-6)
    assert grid.turned_from(stored) < 1e-3 and grid.off_plane(stored) < 1e-6
    next_slice = affine.copy()
    next_slice[:3, 3] += 2 * affine[:3, 2]
    assert Grid.from_affine(next_slice, (5, 4)).off_plane(grid) == pytest.approx(2)


PLANES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}


@pytest.mark.parametrize("fixed", PLANES)
@pytest.mark.parametrize("moving", [*PLANES, "a picture"])
def test_slices_of_different_planes_are_not_registered(fixed, moving):
    def grid(plane):
        return Grid.from_affine(np.eye(4)[:, [*PLANES[plane], 3]], (5, 4)) if plane in PLANES else Grid((5, 4))

    if moving in (fixed, "a picture"):
        Transform(grid(fixed), grid(moving))
    else:
        with pytest.raises(AcregError, match="about one plane.*90 degrees apart"):
            Transform(grid(fixed), grid(moving))


@pytest.mark.parametrize("away", [0.0, 0.3, 1.0, -4.0])
def test_labels_of_another_slice_are_refused(tmp_path, away):
    affine = Draw(3).affine()
    image = Image(np.zeros((5, 4)), Grid.from_affine(affine, (5, 4)), name="image.nii")
    affine[:3, 3] += away * affine[:3, 2]
    drawn = np.pad(np.ones((2, 2)), ((1, 2), (1, 1)))
    labels = Image(drawn, Grid.from_affine(affine, (5, 4)), "labels", "labels.nii")
    if abs(away) < 0.5:
        np.testing.assert_array_equal(labels_on(labels, image).array, drawn)
    else:
        with pytest.raises(AcregError, match=rf"another plane of the patient, by up to {abs(away):g} slices"):
            labels_on(labels, image)


def test_an_image_without_a_place_has_none(tmp_path):
    (tmp_path / "a.nii").write_bytes(nifti_bytes(np.zeros((4, 5, 1), "f4"), np.eye(4), sform_code=0, qform_code=0))
    assert not read_image(tmp_path / "a.nii").grid.plane
    write_image(Image(np.zeros((4, 5)), Grid((4, 5))), tmp_path / "b.mha")
    assert not read_image(tmp_path / "b.mha").grid.plane

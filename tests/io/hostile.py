"""Files that are made to do harm: they announce or unpack to far more than they are, name other files, or crash ITK."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
import PIL.Image

from tests.io.dicom_samples import hostile_dicom
from tests.io.transforms import test_parts
from tests.io.volumes import test_voxels


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
    block = bytes(2**24)
    files = {
        "bomb_small.nii.gz": gzip.compress(nifti(4, 4, 4) + bytes(2**26), 1),
        "bomb_large.nii.gz": gzip.compress(nifti(2000, 2000, 2000) + bytes(2**26), 1),
        "bomb_whole.nii.gz": gzip.compress(nifti(1024, 1024, 256), 1) + gzip.compress(block) * 64,
        "bomb_header.nii.gz": gzip.compress(nifti(32767, 32767, 32767)),
        "bomb_header.nii": nifti(32767, 32767, 32767),
        "bomb_axes.nii": nifti(*(32767,) * 7),
        "bomb.mgz": gzip.compress(struct.pack(">7i", 1, 10**9, 10**9, 10**9, 1, 3, 0) + bytes(500)),
        "bomb_header.png": png(60000, 60000, 8, 0, b""),
        "bomb_pixels.png": png(12000, 12000, 8, 6, zeros_),
        "bomb_deep.png": png(2000, 2000, 16, 6, zeros_),
        "bomb_raw.nrrd": nrrd % (b"1000000000 1000000000 1000000000", b"raw") + bytes(100),
        "bomb_gzip.nrrd": nrrd % (b"1000 1000 1000", b"gzip") + gzip.compress(bytes(2**20)),
        "bomb_bzip2.nrrd": nrrd % (b"1024 1024 1024", b"bzip2") + bz2.compress(block) * 256,
        "bomb_whole.nrrd": nrrd % (b"1024 1024 256", b"gzip") + gzip.compress(block) * 64,
        "bomb_axis.nrrd": nrrd % (b"1000000000 1 1", b"ascii") + b"1 2 3",
        "bomb_axes.nrrd": b"NRRD0004\ntype: uchar\ndimension: 16\nsizes:" + b" 2" * 16 + b"\nencoding: raw\n\n",
        "bomb.mha": mha % (b"1000000000 1000000000 1", b"LOCAL") + bytes(100),
        "bomb_packed.mha": mha.replace(b"NDims", b"CompressedData = True\nNDims") % (b"1024 1024 256", b"LOCAL")
        + _zeros(2**30),
        "bomb_device.mhd": mha % (b"1000 1000 1000", b"/dev/zero"),
        "bomb_list.mhd": mha % (b"1000 1000 1000", b"LIST\n/dev/zero"),
        "bomb_pattern.mhd": mha % (b"100000 100000 1000", b"%05d.raw 1 1000 1"),
        "bomb_axes.mhd": mha.replace(b"NDims = 3", b"NDims = 1000000000") % (b"1 1 1", b"LOCAL"),
        "transform_bomb.tfm": b"#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: "
        + b"1 " * 10**6
        + b"\nFixedParameters: 0 0 0\n",
        "transform_spline.tfm": b"#Insight Transform File V1.0\nTransform: BSplineTransform_double_3_3\nParameters: 0\n"
        b"FixedParameters: 100000 100000 100000 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1\n",
        "transform_bomb.mat": struct.pack("<5i", 0, 2**30, 1, 0, 30) + b"AffineTransform_double_3_3\0",
        "transform_bomb.nii": (lambda h: h[:68] + struct.pack("<h", 1007) + h[70:])(nifti(1000, 1000, 1000, 1, 3)),
        "points_deep.mrk.json": b"[" * 10**6,
        "points_lists.mrk.json": b'{"markups": [' + b"{}," * 10**6 + b"{}]}",
        "points_line.csv": b"x,y,z\n1,2," + b"3" * 10**7,
        "points_cells.csv": b"x,y,z\n" + b"," * 10**7,
        "points_zeros.csv": b"x,y,z\n1,2,3\n" + bytes(100),
        "points_lines.fcsv": b"#\n" * 10**6,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name in ("bomb_long.nii", "points_long.csv", "transform_long.tfm", "bomb_long.mha"):
        with (folder / name).open("wb") as file:
            file.truncate(2**40)
    frames = [PIL.Image.new("L", (4, 4), k % 256) for k in range(2000)]
    frames[0].save(folder / "bomb_frames.gif", save_all=True, append_images=frames[1:])
    PIL.Image.new("L", (10000, 9500)).save(folder / "bomb_pixels.tif", compression="tiff_adobe_deflate")
    _hdf5_bombs(folder)
    return sorted(folder.iterdir())


def _zeros(count: int) -> bytes:
    """The zlib stream of `count` zeros, made from one block that is repeated."""
    block = 2**20
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (count % 65521) << 16 | 1
    return b"\x78\xda" + packed * (count // block) + b"\x03\x00" + struct.pack(">I", adler)


def _hdf5_bombs(folder: Path) -> None:
    with h5py.File(folder / "bomb_empty.h5", "w") as file:
        file.create_dataset("image", (10**5, 10**5, 10**5), "f4", chunks=(64, 64, 64))
    with h5py.File(folder / "bomb_whole.h5", "w") as file:
        dataset = file.create_dataset("image", (1700, 1024, 1024), "u1", chunks=(100, 1024, 1024), compression="gzip")
        chunk = _zeros(100 * 2**20)
        for start in range(0, 1700, 100):
            dataset.id.write_direct_chunk((start, 0, 0), chunk)
    with h5py.File(folder / "bomb_chunk.h5", "w") as file:
        dataset = file.create_dataset(
            "image", (4, 4, 4), "u1", maxshape=(None,) * 3, chunks=(1000, 1000, 1000), compression="gzip"
        )
        dataset[:] = 1
    with h5py.File(folder / "transform_bomb.h5", "w") as file:
        group = file.create_group("TransformGroup/0")
        group["TransformType"] = np.array(["AffineTransform_double_3_3"], h5py.string_dtype())
        group.create_dataset("TransformParameters", (10**9,), "f8", chunks=(10**5,))
        group["TransformFixedParameters"] = np.zeros(3)
    with h5py.File(folder / "bomb_text.h5", "w") as file:
        file["image"] = [[b"a", b"b"]]
    with h5py.File(folder / "bomb_loop.h5", "w") as file:
        file["image"] = h5py.SoftLink("/image")
        file.create_group("a")["b"] = file["/"]
    with h5py.File(folder / "bomb_deep.h5", "w") as file:
        group = file
        for _ in range(2000):
            group = group.create_group("g")
    with h5py.File(folder / "bomb_many.h5", "w", libver="latest") as file:
        for number in range(11_000):
            file.create_dataset(f"d{number}", (), "u1")
    with h5py.File(folder / "surfaces_bomb.h5", "w") as file:
        file.create_dataset("region0/points", (10**9, 3), "f4", chunks=(10**5, 3))
        file["region0/cells"] = np.zeros((1, 3), np.int64)
    with zipfile.ZipFile(folder / "bomb_zip.h5", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("image", bytes(2**24))


def traps(folder: Path) -> list[Path]:
    """Files that lead to other files, to pipes and to devices, and names that are read as formats of names."""
    (folder / "secret").write_bytes(bytes(range(256)) * 8)
    inside = folder / "inside"
    inside.mkdir()
    mha = "ObjectType = Image\nNDims = 2\nDimSize = 16 16\nElementType = MET_UCHAR\nElementDataFile = {}\n"
    nrrd = "NRRD0004\ntype: uchar\ndimension: 2\nsizes: 16 16\nencoding: raw\nbyte skip: -1\ndata file: {}\n"
    secrets = (
        "/etc/passwd",
        "../secret",
        "./../secret",
        "link",
        "linked/secret",
        "LIST\n../secret",
        "../secret%d 1 1 1",
    )
    (inside / "link").symlink_to("../secret")
    (inside / "linked").symlink_to("..")
    for number, secret in enumerate(secrets):
        for suffix, head in {".mha": mha, ".mhd": mha, ".nhdr": nrrd, ".nrrd": nrrd}.items():
            (inside / f"trap{number}{suffix}").write_text(head.format(secret), encoding="utf-8")
    for name in ("trap_pipe.nii", "trap_pipe.png", "trap_pipe.mha", "transform_pipe.tfm", "points_pipe.csv"):
        os.mkfifo(inside / name)
    for name in ("trap_zero.nii.gz", "trap_zero.h5", "trap_zero.tif", "transform_zero.mat", "points_zero.mrk.json"):
        (inside / name).symlink_to("/dev/zero")
    (inside / "trap_folder.nrrd").mkdir()
    for name in ("%s%n%d.mha", "a\nb.nrrd", os.fsdecode(b"\xff\xfe.mha"), " .mhd", "-.mha"):
        (inside / name).write_text(mha.format("/etc/passwd"), encoding="utf-8")
    with h5py.File(inside / "other.h5", "w") as file:
        file["image"] = np.zeros((4, 5))
    with h5py.File(inside / "trap_link.h5", "w") as file:
        file["image"] = h5py.ExternalLink("other.h5", "/image")
    with h5py.File(inside / "trap_soft.h5", "w") as file:
        file["there"] = h5py.ExternalLink("other.h5", "/")
        file["image"] = h5py.SoftLink("/there/image")
    with h5py.File(inside / "trap_external.h5", "w") as file:
        file.create_dataset("image", (16, 16), "u1", external=[("../secret", 0, 256)])
    with h5py.File(inside / "trap_virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 5), "f8")
        layout[:] = h5py.VirtualSource(inside / "other.h5", "image", (4, 5))
        file.create_virtual_dataset("image", layout)
    return sorted(path for path in inside.iterdir() if path.name not in ("link", "linked", "other.h5"))


def headers(folder: Path) -> list[Path]:
    """The headers that the tests of each format refuse one by one, for all commands."""
    for name, (content, _) in {**test_voxels.REFUSED, **test_parts.REFUSED}.items():
        prefix = "transform_" if name.endswith((".tfm", ".mat")) else ""
        (folder / f"{prefix}{name}").write_bytes(content if isinstance(content, bytes) else content.encode())
    return sorted(folder.iterdir())


GENERATORS = [bombs, traps, headers, hostile_dicom]
"""Each makes its files in a folder of its own and returns their paths; a further one is added here."""

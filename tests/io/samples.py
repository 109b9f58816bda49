"""Small whole files of every format that is read, made by other programs or byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import nibabel
import numpy as np
import PIL.Image
import SimpleITK as sitk

SHAPE = (9, 8, 7)  # z, y, x


def dicom_bytes(array, *, series="1.2.3.4", uid=0, **elements):
    """A DICOM file, explicit little endian, of int16 `(rows, columns)` as stored; `elements` replace or add to these.

    Names are keywords of DICOM's dictionary in lower case; a value of None leaves the element out.
    """
    known = {
        "sop_instance": (0x0008, 0x0018, "UI", f"{series}.{uid}"),
        "sop_class": (0x0008, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        "modality": (0x0008, 0x0060, "CS", "CT"),
        "description": (0x0008, 0x103E, "LO", "axial"),
        "study": (0x0020, 0x000D, "UI", "1.2.3"),
        "series": (0x0020, 0x000E, "UI", series),
        "position": (0x0020, 0x0032, "DS", "0\\0\\0"),
        "orientation": (0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0"),
        "photometric": (0x0028, 0x0004, "CS", "MONOCHROME2"),
        "pixel_spacing": (0x0028, 0x0030, "DS", "1.2\\0.7"),
        "window_center": (0x0028, 0x1050, "DS", "40"),
        "window_width": (0x0028, 0x1051, "DS", "80"),
        "intercept": (0x0028, 0x1052, "DS", "0"),
        "slope": (0x0028, 0x1053, "DS", "1"),
    }
    table = [(*known[name][:3], elements.get(name, known[name][3])) for name in known]
    unknown = set(elements) - set(known)
    assert not unknown, unknown
    rows, columns = array.shape
    numbers = {0x0002: 1, 0x0010: rows, 0x0011: columns, 0x0100: 16, 0x0101: 16, 0x0102: 15, 0x0103: 1}
    table += [(0x0028, tag, "US", number) for tag, number in numbers.items()]
    body = b"".join(_element(*entry) for entry in sorted(table, key=lambda entry: entry[:2]) if entry[3] is not None)
    pixels = array.astype("<i2").tobytes()
    body += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels
    meta = _element(0x0002, 0x0002, "UI", known["sop_class"][3]) + _element(0x0002, 0x0003, "UI", f"{series}.{uid}")
    meta += _element(0x0002, 0x0010, "UI", "1.2.840.10008.1.2.1")
    return bytes(128) + b"DICM" + _element(0x0002, 0x0000, "UL", len(meta)) + meta + body


def _element(group, tag, kind, value):
    if kind in ("US", "UL"):
        data = struct.pack("<H" if kind == "US" else "<I", value)
    else:
        data = value.encode()
        data += (b"\0" if kind == "UI" else b" ") * (len(data) % 2)
    return struct.pack("<HH2sH", group, tag, kind.encode(), len(data)) + data


def write_series(folder, volume, *, step=(0, 0, 3), start=(0, 0, 0), order=None, prefix="", **elements):
    """A DICOM series of int16 `(z, rows, columns)`: slice `k` at `start + k * step` (x, y, z), named `order[k]`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = range(len(volume)) if order is None else order
    for k, (plane, name) in enumerate(zip(volume, names)):
        position = "\\".join(f"{a + k * b:g}" for a, b in zip(start, step))
        content = dicom_bytes(plane, uid=k, **{"position": position, **elements})
        (folder / f"{prefix}{name}.dcm").write_bytes(content)


def write_samples(folder: Path, seed: int = 0) -> list[Path]:
    """Files of every kind in `folder`; of transforms, displacements, points and surfaces the names begin with that."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    deep = sitk.GetImageFromArray(rng.integers(0, 65536, (40, 50, 3)).astype(np.uint16), isVector=True)
    for name, options in {
        "a.png": {},
        "a.jpg": {},
        "progressive.jpg": {"progressive": True},
        "a.bmp": {},
        "a.gif": {},
        "raw.tif": {},
        "lzw.tif": {"compression": "tiff_lzw"},
        "deflate.tif": {"compression": "tiff_adobe_deflate"},
    }.items():
        PIL.Image.fromarray(grey).save(folder / name, **options)
    PIL.Image.fromarray(np.stack([grey] * 2 + [grey.T.reshape(grey.shape)], -1)).save(folder / "colour.png")
    PIL.Image.fromarray(grey).quantize(16).save(folder / "palette.png")
    sitk.WriteImage(deep, str(folder / "deep.png"))
    sitk.WriteImage(deep, str(folder / "deep.tif"))

    volume = rng.normal(scale=100, size=SHAPE).astype(np.float32)
    affine = np.array([[-0.7, 0, 0, 5], [0, -1.2, 0.1, 6], [0, 0.1, 3, 7], [0, 0, 0, 1.0]])
    for name in ("v.nii", "v.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume.T, affine), folder / name)
    scaled = nibabel.Nifti1Image(volume.T.astype(np.int16), None)
    scaled.header.set_slope_inter(0.5, 3)
    scaled.set_qform(np.diag([-0.7, -1.2, 3, 1]), 1)
    nibabel.save(scaled, folder / "scaled.nii")
    nibabel.save(nibabel.Nifti2Image(volume.T, affine), folder / "two.nii.gz")
    for name in ("v.mgh", "v.mgz"):
        nibabel.save(nibabel.MGHImage(volume.T, np.diag([-0.7, -1.2, 3, 1])), folder / name)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 1.2, 3))
    for name, packed in {"raw.nrrd": 0, "v.nrrd": 1, "v.nhdr": 0, "raw.mha": 0, "v.mha": 1, "v.mhd": 0}.items():
        sitk.WriteImage(image, str(folder / name), useCompression=bool(packed))
    stored = volume.astype(np.int16)
    (folder / "x.dcm").write_bytes(dicom_bytes(stored[0], modality="CR", photometric="MONOCHROME1"))
    sitk.WriteImage(sitk.GetImageFromArray(grey[None]), str(folder / "j.dcm"), useCompression=True)
    for name, options in {"v.h5": {}, "packed.hdf5": {"compression": "gzip", "chunks": (3, 8, 7)}}.items():
        with h5py.File(folder / name, "w") as file:
            dataset = file.create_dataset("image", data=volume, **options)
            dataset.attrs["spacing"] = (3.0, 1.2, 0.7)
    with h5py.File(folder / "latest.h5", "w", libver="latest") as file:
        file.create_dataset("group/volume", data=volume, chunks=(3, 4, 7), compression="gzip", shuffle=True)

    field = sitk.GetImageFromArray(rng.normal(size=(*SHAPE, 3)), isVector=True)
    field.SetSpacing((0.7, 1.2, 3))
    for name in ("transform_field.nii", "transform_field.nii.gz"):
        sitk.WriteImage(field, str(folder / name))
    affine_map = sitk.AffineTransform(3)
    affine_map.SetMatrix((1.1, 0.1, 0, 0, 0.9, 0, 0.1, 0, 1))
    composite = sitk.CompositeTransform([affine_map, sitk.DisplacementFieldTransform(field)])
    for name in ("transform_composite.h5", "transform_composite.tfm"):
        sitk.WriteTransform(composite, str(folder / name))
    for name in ("transform_affine.mat", "transform_affine.tfm", "transform_affine.txt"):
        sitk.WriteTransform(affine_map, str(folder / name))

    from acreg.geometry import Grid
    from acreg.io import Points, write_displacement, write_points
    from acreg.shapes import Surface, write_surfaces

    for name in ("displacement.nii", "displacement.nii.gz"):
        write_displacement(rng.normal(size=(*SHAPE, 3)), Grid(SHAPE), folder / name)
    points = Points(rng.normal(size=(5, 3)), tuple("abcde"))
    for name in ("points.csv", "points.fcsv", "points.mrk.json"):
        write_points(points, folder / name)
    write_surfaces([Surface(points.positions, np.array([[0, 1, 2], [2, 3, 4]]))] * 2, folder / "surfaces.h5")
    return sorted(path for path in folder.iterdir() if path.suffix != ".raw")

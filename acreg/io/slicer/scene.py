"""A registered pair as a scene of 3D Slicer: a `.mrb` file, which is a ZIP of a `.mrml` file and what it names."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from acreg.geometry import Affine, Grid, Image, Transform
from acreg.geometry.transform import Border
from acreg.geometry.volumes import AXIAL, grid_volume, image_volume, transform_volume
from acreg.io.atomic import atomic_path
from acreg.io.formats import stem
from acreg.io.image import write_image
from acreg.io.slicer.segmentation import write_segmentation
from acreg.io.transforms import write_transform
from acreg.names import one_line

FOUR_VIEWS, RED_VIEW = "3", "6"
"""Slicer's numbers of two layouts: three slices and the 3-D view, or one slice alone."""
GREY = "vtkMRMLColorTableNodeGrey"
"""A colour table that Slicer itself has."""
VTK_CLASSES = {"Volume": "ScalarVolume", "VolumeDisplay": "ScalarVolumeDisplay"}
"""Elements whose class has another name; a node's ID begins with its class."""
MARGIN = 1.1
"""A view shows this many times the extent of the fixed image."""
TO_RAS = np.array([(0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)])
"""From acreg's world axes (superior, posterior, left) to RAS."""
VIEWS = {"Red": ((0, 0, 1), (0, -1, 0)), "Yellow": ((0, 1, 0), (1, 0, 0)), "Green": ((0, 0, 1), (1, 0, 0))}
"""The directions to the right and up on the screen of the axial, sagittal and coronal view, as acreg's world axes."""


def write_scene(
    path: Path,
    transform: Transform,
    *,
    fixed: Image,
    moving: Image,
    warped: Image,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    label_names: Mapping[int, str] | None = None,
    border: Border = "constant",
    fill: float = 0.0,
    written: Path | None = None,
) -> None:
    """Write a scene with the images, the label maps and the transform, which is applied to moving image and labels.

    The slice views show the fixed image, and over it the moving image at half opacity. Fixed labels are filled, moving
    labels are outlined, and a label has one colour in both. 2-D images become volumes of one slice, see
    `acreg.geometry.volumes`, and are shown in one view.

    Args:
        path: the file, with the suffix `.mrb`.
        transform: from the fixed to the moving image.
        fixed, moving, warped: the images.
        fixed_labels, moving_labels: their label maps.
        label_names: names of labels, see `acreg.io.slicer.segmentation.write_segmentation`.
        border, fill: see `acreg.io.transforms.write_transform`, which checks the transform that it writes.
        written: a file that this function wrote of this transform; it is copied if the transform is 3-D.

    Raises:
        AcregError: see `write_transform`.
        OSError: the disk is full, or writing is not permitted.
    """
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent, prefix=".scene") as made:
        folder, scene = Path(made), _Scene()
        with zipfile.ZipFile(temporary, "w") as bundle:

            def stored(file: Path, packed: bool = True) -> str:
                name = f"Data/{file.name}"
                bundle.write(file, f"{path.stem}/{name}", zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)
                file.unlink()
                return name

            file = folder / "transform.h5"
            _write_transform(transform, file, image_volume(moving), border, fill, written)
            applied = scene.transform("fixed to moving", stored(file, packed=False))
            ids = {}
            for role, image in (("fixed", fixed), ("moving", moving), ("warped", warped)):
                file = folder / f"{role}.nrrd"
                write_image(image_volume(image), file)
                ids[role] = scene.volume(_called(role, image), stored(file), applied if role == "moving" else None)
            for role, labels in (("fixed", fixed_labels), ("moving", moving_labels)):
                if labels is not None:
                    file, name = folder / f"{role}_labels.seg.nrrd", _called(f"{role} labels", labels)
                    write_segmentation(image_volume(labels), file, label_names)
                    scene.segmentation(name, stored(file), ids[role], applied if role == "moving" else None)
            scene.views(fixed.grid, ids["fixed"], ids["moving"])
            bundle.writestr(f"{path.stem}/{path.stem}.mrml", scene.text(), zipfile.ZIP_DEFLATED)


def _write_transform(
    transform: Transform, file: Path, moving: Image, border: Border, fill: float, written: Path | None
) -> None:
    if written is not None and transform.fixed.rank == 3 and transform.maps:
        shutil.copyfile(written, file)
        return
    space = transform_volume(transform)
    if not space.maps:  # Slicer refuses a composite of no maps
        space = dataclasses.replace(space, maps=(Affine(np.eye(4)),))
    write_transform(space, file, moving, border, fill)


class _Scene:
    """The nodes of a scene; its methods return the ID of the node that they add."""

    def __init__(self) -> None:
        self.root = ElementTree.Element("MRML", version="Slicer4.4.0", userTags="")

    def text(self) -> bytes:
        """The content of the `.mrml` file."""
        ElementTree.indent(self.root)
        return ElementTree.tostring(self.root, encoding="UTF-8", xml_declaration=True)

    def add(
        self,
        kind: str,
        name: str,
        values: Mapping[str, str] | None = None,
        references: Mapping[str, str | None] | None = None,
        tag: str = "",
        hidden: bool = True,
    ) -> str:
        """A node. One with a tag exists in every running Slicer, where it takes over the values."""
        number = tag or str(len(self.root.findall(kind)) + 1)
        attributes = {"id": f"vtkMRML{VTK_CLASSES.get(kind, kind)}Node{number}", "name": one_line(name)}
        attributes["hideFromEditors"] = "true" if hidden else "false"
        if tag:
            attributes["singletonTag"] = tag
        known = [f"{role}:{node};" for role, node in (references or {}).items() if node is not None]
        if known:
            attributes["references"] = "".join(known)
        ElementTree.SubElement(self.root, kind, attributes | dict(values or {}))
        return attributes["id"]

    def transform(self, name: str, file: str) -> str:
        """A transform of any kind, from the parent: it gives the place from which a value is taken, as in ITK."""
        storage = self.add("TransformStorage", "storage", {"fileName": file})
        return self.add("Transform", name, None, {"storage": storage}, hidden=False)

    def volume(self, name: str, file: str, transform: str | None = None) -> str:
        """A grey image; Slicer chooses the window of its grey values."""
        storage = self.add("VolumeArchetypeStorage", "storage", {"fileName": file, "useCompression": "1"})
        shown = {"colorNodeID": GREY, "autoWindowLevel": "1", "interpolate": "1"}
        display = self.add("VolumeDisplay", "display", shown)
        references = {"storage": storage, "display": display, "transform": transform}
        return self.add("Volume", name, None, references, hidden=False)

    def segmentation(self, name: str, file: str, image: str, transform: str | None = None) -> str:
        """The labels of an image, filled, or outlined if a transform is applied to them."""
        storage = self.add("SegmentationStorage", "storage", {"fileName": file, "useCompression": "1"})
        filled, outlined = ("false", "true") if transform else ("true", "false")
        shown = {"Visibility2DFill": filled, "Visibility2DOutline": outlined, "Opacity2DFill": "0.4"}
        display = self.add("SegmentationDisplay", "display", shown)
        references = {"storage": storage, "display": display, "transform": transform}
        references["referenceImageGeometryRef"] = image
        return self.add("Segmentation", name, None, references, hidden=False)

    def views(self, grid: Grid, background: str, foreground: str) -> None:
        """The slice views, through the middle voxel of the fixed image: three, or one in its plane if it is 2-D."""
        views: Mapping[str, tuple[Any, Any]] = VIEWS
        if grid.rank == 2:
            plane = np.asarray(grid.plane or AXIAL)
            views = {"Red": (plane[:, 2], plane[:, 1] * _upward(plane[:, 1]))}
        layout = RED_VIEW if grid.rank == 2 else FOUR_VIEWS
        self.add("Layout", "Layout", {"currentViewArrangement": layout}, tag="vtkMRMLLayoutNode")
        volume = grid_volume(grid)
        ends = np.indices((2, 2, 2)).reshape(3, -1).T * volume.shape - 0.5
        corners = volume.to_world(ends) @ TO_RAS.T
        middle = TO_RAS @ volume.to_world(np.array(volume.shape) // 2)
        for name, axes in views.items():
            right, up = (TO_RAS @ np.asarray(axis, float) for axis in axes)
            normal = np.cross(right, up)
            if abs(up[1]) > abs(up[2]):  # Slicer's axial view is left-handed, the others are right-handed
                normal = -normal
            matrix = np.eye(4)
            matrix[:3] = np.column_stack([right, up, normal, middle])
            side = MARGIN * max(float(np.ptp(corners @ axis)) for axis in (right, up))  # Slicer fits the height
            place = {"fieldOfView": _words((side, side, 1.0)), "sliceToRAS": _words(matrix.ravel())}
            self.add("Slice", name, {"layoutName": name, **place}, tag=name, hidden=False)
            layers = {"backgroundVolumeID": background, "foregroundVolumeID": foreground, "foregroundOpacity": "0.5"}
            self.add("SliceComposite", "layers", {"layoutName": name, "linkedControl": "1", **layers}, tag=name)


def _upward(axis: np.ndarray) -> float:
    """The sign with which an axis (superior, posterior, left) points up on the screen: to superior, or to anterior."""
    rises = abs(axis[0]) >= abs(axis[1])
    return float(np.sign(axis[0]) if rises else -np.sign(axis[1]))


def _called(role: str, image: Image) -> str:
    """The name of a node: its role, and the name of the image's file if it has one."""
    file = Path(image.name)
    return f"{role} {stem(file.name)}" if file.suffix else role


def _words(values: Iterable[float]) -> str:
    return " ".join(f"{value + 0.0:.12g}" for value in values)

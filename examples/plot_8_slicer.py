"""
A scene for 3D Slicer
=====================

``acreg register --slicer`` writes ``scene.mrb`` for 3D Slicer. Here, two heart phantoms are registered, and what the
scene holds is drawn: SimpleITK reads its files, and each picture lies where the scene places a slice view of Slicer.
"""

# %%
# Register and save
# -----------------
#
# The two hearts lie at different positions in space, as two scanners would place them.

import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk

import acreg
from acreg.data import heart_phantom
from acreg.geometry import Grid

folder = Path(tempfile.mkdtemp())
shape, spacing = (24, 56, 56), (128 / 24, 2, 2)
images, labels = {}, {}
for role, seed, origin in (("fixed", 3, (-60, -50, -50)), ("moving", 4, (-52, -42, -62))):
    phantom, grid = heart_phantom(seed, shape), Grid(shape, spacing, origin)
    images[role] = acreg.Image(phantom.image, grid)
    labels[role] = acreg.Image(phantom.labels, grid, kind="labels")
result = acreg.register(**images, labels=labels["moving"], fixed_labels=labels["fixed"])
result.save(folder / "result", what=["slicer"])
print(result)

# %%
# What is in the scene
# --------------------
#
# The file is a ZIP. Its ``.mrml`` file lists the images, the label maps and the transform; the other files hold them.

with zipfile.ZipFile(folder / "result" / "scene.mrb") as bundle:
    bundle.extractall(folder)
    print("\n".join(bundle.namelist()))
scene = ElementTree.parse(folder / "scene" / "scene.mrml").getroot()
data = folder / "scene" / "Data"
fixed, moving = (sitk.ReadImage(str(data / f"{role}.nrrd")) for role in ("fixed", "moving"))
filled, outlined = (sitk.ReadImage(str(data / f"{role}_labels.seg.nrrd")) for role in ("fixed", "moving"))
transform = sitk.ReadTransform(str(data / "transform.h5"))


# %%
# What the views show
# -------------------
#
# The fixed image below the moving image at half opacity; fixed labels filled, moving labels outlined. In the upper row
# the transform is switched off, in the lower row it is applied.


def view_grid(node, pixels=220):
    """A slice view as an image of one slice. Slicer's matrix is in RAS, its second axis points up."""
    matrix = np.reshape([float(word) for word in node.get("sliceToRAS").split()], (4, 4))
    side = float(node.get("fieldOfView").split()[0])
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix @ np.diag([1.0, -1.0, 1.0, 1.0])
    grid = sitk.Image(pixels, pixels, 1, sitk.sitkUInt8)
    grid.SetSpacing((side / pixels, side / pixels, 1.0))
    grid.SetDirection(matrix[:3, :3].ravel())
    grid.SetOrigin(matrix[:3, 3] - matrix[:3, :3] @ (side / 2, side / 2, 0))
    return grid


def cut(image, view, moved=None, order=sitk.sitkNearestNeighbor, outside=0.0):
    moved = sitk.Transform(3, sitk.sitkIdentity) if moved is None else moved
    return sitk.GetArrayFromImage(sitk.Resample(image, view, moved, order, outside))[0]


def grey(image, view, moved=None):
    """Grey values from 0 to 1, and NaN outside the image, where Slicer shows nothing of it."""
    bright = np.percentile(sitk.GetArrayViewFromImage(image), 99.5)
    return np.clip(cut(image, view, moved, sitk.sitkLinear, np.nan) / bright, 0, 1)


figure, rows = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
for row, (moved, title) in zip(rows, ((None, "transform off"), (transform, "transform on"))):
    for axes, node in zip(row, scene.findall("Slice")):
        view = view_grid(node)
        below, above = cut(filled, view), cut(outlined, view, moved)
        background, foreground = np.nan_to_num(grey(fixed, view)), grey(moving, view, moved)
        mixed = np.where(np.isnan(foreground), background, (background + foreground) / 2)
        picture = np.repeat(mixed[..., None], 3, axis=-1)
        for number in range(4):
            colour = [float(word) for word in filled.GetMetaData(f"Segment{number}_Color").split()]
            value = int(filled.GetMetaData(f"Segment{number}_LabelValue"))
            picture[below == value] = 0.6 * picture[below == value] + 0.4 * np.array(colour)
            axes.contour(above == value, levels=[0.5], colors=[colour], linewidths=1.2)
        axes.imshow(picture)
        axes.set_title(f"{node.get('name')} view, {title}", fontsize=9)
        axes.axis("off")
plt.show()

"""
Read awkward files
==================

Images come in many formats, and their headers say where each voxel lies. acreg believes the header, or refuses the file
in one paragraph that says what to do; it does not guess.
"""

# %%
# The same image in another order
# -------------------------------
#
# A volume is written with its axes permuted and one of them flipped, as scanners and converters do. The header
# records this, so a transform of one image fits the other.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np

import acreg
from acreg.data import heart_phantom
from acreg.geometry import Grid
from acreg.io import read_labelled, read_labels, write_image

folder = Path(tempfile.mkdtemp())
phantom = heart_phantom(0)
grid = Grid(phantom.image.shape, spacing=(8, 1.75, 1.75), origin=(-60, 40, 25))
write_image(acreg.Image(phantom.image, grid), folder / "heart.nii.gz")

stored = nibabel.load(folder / "heart.nii.gz")
turned = stored.as_reoriented(nibabel.orientations.axcodes2ornt(("P", "I", "L")))
nibabel.save(turned, folder / "turned.nii.gz")

heart, other = (acreg.read_image(folder / name) for name in ("heart.nii.gz", "turned.nii.gz"))
figure, panels = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
for axes, image in zip(panels, (heart, other)):
    axes.imshow(image.array[len(image.array) // 2], cmap="gray")
    axes.set(title=f"middle of the first axis: {image.array.shape}", xticks=[], yticks=[])
plt.show()

# %%
# Where is the brightest voxel? Its indices differ, but its position in the patient does not. Coordinates are in mm, in
# the order of the array's axes: (z, y, x) of ITK's LPS.

for image in (heart, other):
    index = np.argwhere(image.array == image.array.max())
    print(index, image.grid.to_world(index.astype(float)).round(2))

# %%
# Labels in another orientation than their image
# ----------------------------------------------
#
# They are reordered to the grid of the image, voxel by voxel, according to their own header.

write_image(acreg.Image(phantom.labels, grid, "labels"), folder / "labels.nrrd")
image, labels = read_labelled(folder / "turned.nii.gz", folder / "labels.nrrd")
print(image.array.shape, labels.array.shape, np.unique(labels.array))

# %%
# Files that are refused
# ----------------------
#
# These are a truncated file, an image where labels are expected, and an unknown suffix. Each error states the rule,
# what was received, and the remedy; commands print it and end with exit code 1, or 2 for wrong use.

(folder / "cut.nii.gz").write_bytes((folder / "heart.nii.gz").read_bytes()[:5000])
(folder / "notes.docx").write_text("no image")
for read, name in ((acreg.read_image, "cut.nii.gz"), (read_labels, "heart.nii.gz"), (acreg.read_image, "notes.docx")):
    try:
        read(folder / name)
    except acreg.errors.AcregError as error:
        print(str(error).replace(f"{folder}/", ""), end="\n\n")

# %%
# ``acreg inspect FILE`` describes any of these files, and ``acreg data check FOLDER`` lists all problems of a whole
# dataset.

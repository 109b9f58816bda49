"""
Compose, invert and save transforms
===================================

A :class:`~acreg.geometry.Transform` is a chain of maps of physical space: affine maps, displacements and velocities. It
can be composed, inverted, applied to images, labels and points, and written for other programs.
"""

# %%
# A known transform
# -----------------
#
# Two chest phantoms come with the exact displacement between them, in pixels of the fixed grid. The pixels are 2.8 mm
# wide.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import acreg
from acreg.data import phantom_pair
from acreg.geometry import Affine, Displacement, Transform

fixed_phantom, moving_phantom, displacement = phantom_pair(1, 2, (128, 128))
fixed = acreg.Image.from_array(fixed_phantom.image, spacing=(2.8, 2.8))
moving = acreg.Image.from_array(moving_phantom.image, spacing=(2.8, 2.8))
transform = Transform(fixed.grid, moving.grid, (Displacement(displacement, fixed.grid),))

# %%
# As in ITK, a transform maps points of the fixed image to the moving image: ``warped(x) = moving(T(x))``. A notebook
# shows its grid, its Jacobian determinant and its numbers; ``transform.plot(image=fixed)`` returns the figure.

transform

# %%
# Compose
# -------
#
# ``a.compose(b)`` applies ``a`` to a point first, then ``b``. Here ``b`` shifts by 20 mm to the side. An image is still
# resampled only once. Coordinates are in mm, in the order of the array's axes: (row, column).

shift = Affine(np.array([[1.0, 0, 0], [0, 1, 20], [0, 0, 1]]))
both = transform.compose(Transform(moving.grid, moving.grid, (shift,)))
point = np.array([[180.0, 180.0]])
print(both.warp_points(point, to="moving") - transform.warp_points(point, to="moving"))

# %%
# Invert
# ------
#
# The inverse warps the fixed image onto the moving grid. A displacement is inverted by iteration; ``residual`` is the
# remaining error in pixels.

inverse = transform.inverse()
print(f"largest error: {inverse.residual:.4f} pixels")

figure, panels = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
shown = {
    "Fixed": fixed,
    "Moving": moving,
    "Moving, warped": transform.warp_image(moving),
    "Fixed, warped back": inverse.warp_image(fixed),
}
for axes, (title, image) in zip(panels, shown.items()):
    axes.imshow(image.array, cmap="gray")
    axes.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# Move points
# -----------
#
# Landmarks are moved in both directions. ``to="fixed"`` moves a point of the moving image to the position where the
# warped image shows it.

landmarks = np.array([[95.0, 230.0], [180.0, 160.0], [245.0, 120.0]])  # mm in the fixed image
found = transform.warp_points(landmarks, to="moving")
back = transform.warp_points(found, to="fixed")
print(np.abs(back - landmarks).max(), "mm")

figure, panels = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
for axes, title, image, points in ((panels[0], "Fixed", fixed, landmarks), (panels[1], "Moving", moving, found)):
    rows, columns = image.grid.to_index(points).T
    axes.imshow(image.array, cmap="gray")
    axes.scatter(columns, rows, c=["tab:red", "tab:green", "tab:blue"])
    axes.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# Write for 3D Slicer, ANTs and SimpleITK
# ---------------------------------------
#
# ``.h5`` holds a composite transform of ITK, in mm. The file is read back and applied by SimpleITK, and refused if the
# result differs. Points become markups of 3D Slicer.

from acreg.io import Points, read_transform, write_points, write_transform

folder = Path(tempfile.mkdtemp())
difference = write_transform(transform, folder / "transform.h5", moving)
write_points(Points(found, ("apex", "hilum", "base")), folder / "landmarks.mrk.json")
print(f"SimpleITK's warped image differs by {difference:.1e} of the intensity range")

# %%
# ``read_transform`` also reads what these programs write.

again = read_transform(folder / "transform.h5", fixed.grid, moving.grid)
print(np.abs(again.displacement - transform.displacement).max(), "pixels")

# %%
# From the command line::
#
#     acreg warp --transform transform.h5 --reference fixed.nii.gz --image moving.nii.gz --out warped.nii.gz
#     acreg warp --transform transform.h5 --reference fixed.nii.gz --points moving.mrk.json --to fixed --out new.fcsv

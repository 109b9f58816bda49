"""
Register two chest X-rays
=========================

A trained network that ships with acreg registers one image onto another; it needs neither labels nor a GPU. The images
are *phantoms*: synthetic chest X-rays of two subjects, with labels of both lungs and the heart.
"""

# %%
# Two subjects
# ------------
#
# An :class:`~acreg.io.Image` is an array with its position in space: here 128 x 128 pixels of 2.8 mm.

import matplotlib.pyplot as plt

import acreg
from acreg.data import chest_phantom

fixed_phantom, moving_phantom = (chest_phantom(seed, (128, 128)) for seed in (1, 2))
fixed = acreg.Image.from_array(fixed_phantom.image, spacing=(2.8, 2.8))
moving = acreg.Image.from_array(moving_phantom.image, spacing=(2.8, 2.8))
moving_labels = acreg.Image.from_array(moving_phantom.labels, spacing=(2.8, 2.8), kind="labels")

# %%
# Registration
# ------------
#
# ``from_preset`` loads a trained network by name, or from the folder that a training wrote. ``fixed`` and ``moving``
# are always given by name, because programs differ in the order of the two images.

model = acreg.from_preset("acregnet-jsrt-diffeomorphic")
transform = model.register(fixed=fixed, moving=moving)

# %%
# The result is a :class:`~acreg.geometry.Transform`. It resamples the moving image and its labels on the grid of the
# fixed image.

warped = transform.warp_image(moving)
warped_labels = transform.warp_labels(moving_labels)

# %%
# Before and after
# ----------------
#
# Outlines of the fixed labels are green; those of the moving and the warped labels are orange.

figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
shown = [("Fixed", fixed, None), ("Moving", moving, moving_phantom.labels), ("Warped", warped, warped_labels.array)]
for axes, (title, image, labels) in zip(panels, shown):
    axes.imshow(image.array, cmap="gray")
    for label in (1, 2, 3):
        axes.contour(fixed_phantom.labels == label, [0.5], colors="tab:green", linewidths=1)
        if labels is not None:
            axes.contour(labels == label, [0.5], colors="tab:orange", linewidths=1)
    axes.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# How good is it?
# ---------------
#
# Dice measures the overlap of two labels; 1 is best. Where a transform folds, its Jacobian determinant is not positive:
# it turns the tissue inside out, which is not plausible.

from acreg.metrics import label_metrics

names = {1: "left lung", 2: "right lung", 3: "heart"}
before = label_metrics(moving_phantom.labels, fixed_phantom.labels, list(names), fixed.grid.spacing)
after = label_metrics(warped_labels.array, fixed_phantom.labels, list(names), fixed.grid.spacing)
for label, name in names.items():
    print(f"{name:10}  Dice before {before[label]['dsc']:.3f}, after {after[label]['dsc']:.3f}")
print(f"folded: {transform.folding()['folded_percent']:.3f} % of the pixels")

# %%
# The same from the command line, which also writes a picture, the transform and its inverse::
#
#     acreg register --model acregnet-jsrt-diffeomorphic --fixed a.png --moving b.png --out result

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

fixed, moving = (acreg.Image.from_array(chest_phantom(seed, (128, 128)).image, spacing=(2.8, 2.8)) for seed in (1, 2))
fixed_labels, moving_labels = (
    acreg.Image.from_array(chest_phantom(seed, (128, 128)).labels, spacing=(2.8, 2.8), kind="labels") for seed in (1, 2)
)

# %%
# Registration
# ------------
#
# ``model`` is the name of a trained network, or the folder that a training wrote. ``fixed`` and ``moving`` are always
# given by name, because programs differ in the order of the two images. The labels are optional; the network does not
# see them: they are warped and compared.

result = acreg.register(
    fixed=fixed,
    moving=moving,
    model="acregnet-jsrt-diffeomorphic",
    labels=moving_labels,
    fixed_labels=fixed_labels,
)
result

# %%
# A notebook shows the result as a picture and a table. *Dice* measures the overlap of two labels; 1 is best. Where a
# transform *folds*, it turns the tissue inside out, which is not plausible.
#
# Use of the result
# -----------------
#
# ``result.transform`` is a :class:`~acreg.geometry.Transform`. It resamples any image or labels on the moving grid, and
# ``result.save(folder)`` writes the images, the transform and its inverse for other programs. Below, the outlines of
# the fixed labels are green; those of the moving and the warped labels are orange.

warped = result.transform.warp_image(moving)
warped_labels = result.transform.warp_labels(moving_labels)

figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
shown = [("Fixed", fixed, None), ("Moving", moving, moving_labels), ("Warped", warped, warped_labels)]
for axes, (title, image, labels) in zip(panels, shown):
    axes.imshow(image.array, cmap="gray")
    for label in (1, 2, 3):
        axes.contour(fixed_labels.array == label, [0.5], colors="tab:green", linewidths=1)
        if labels is not None:
            axes.contour(labels.array == label, [0.5], colors="tab:orange", linewidths=1)
    axes.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# The same from the command line::
#
#     acreg register --model acregnet-jsrt-diffeomorphic --fixed a.png --moving b.png --out result

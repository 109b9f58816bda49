"""
Train a network in Keras
========================

A registration model is a Keras model: it has ``compile`` and ``fit``, and takes any optimiser and callback of Keras. It
is trained on pairs of images of different subjects. This example takes 150 small steps, enough to see the loss fall;
a network for use is trained for thousands, see :doc:`/how-to/train`.
"""

# %%
# Images as arrays
# ----------------
#
# Twenty phantoms of 64 x 64 pixels: images ``(subjects, rows, columns, channels)`` in [0, 1], and labels.

import keras
import matplotlib.pyplot as plt
import numpy as np

import acreg
from acreg.data import Augmentation, KerasPairs, PairSampler, chest_phantom
from acreg.io import Preprocessing
from acreg.metrics import label_metrics, mean_over_labels
from acreg.models import RegNet

phantoms = [chest_phantom(seed, (64, 64)) for seed in range(20)]
images = np.stack([phantom.image for phantom in phantoms])[..., None] / 255
labels = np.stack([phantom.labels for phantom in phantoms])[..., None]

# %%
# Pairs
# -----
#
# A sampler draws pairs of two subjects. A batch depends only on the seed and the step, so that a training can be
# repeated, and resumed where it stopped.

sampler = PairSampler(images, labels, batch_size=8, seed=0, augment=Augmentation(gamma=0.3, rotation=0.1, scale=0.1))

# %%
# Network and losses
# ------------------
#
# The losses reward similar images (``ncc``) and penalise a field that is not smooth (``diffusion``). They use no
# labels; with ``num_classes`` the Dice of the warped labels is logged as well. ``preprocessing`` defines how
# ``register`` turns an image of any size into the network's input.

keras.utils.set_random_seed(0)
model = RegNet(
    num_classes=4,
    filters=(16, 32, 32, 32),
    dropout=0.0,
    losses={"ncc": 1, "diffusion": 0.3},
    preprocessing=Preprocessing(shape=(64, 64)),
)
model.compile(optimizer=keras.optimizers.Adam(2e-3), jit_compile=False)
history = model.fit(KerasPairs(sampler), steps_per_epoch=15, epochs=10, shuffle=False, verbose=0).history

figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for axes, name in zip(panels, ("ncc", "dice")):
    axes.plot(history[name])
    axes.set(xlabel="epoch", title=name)
plt.show()

# %%
# Use
# ---
#
# Two subjects that the network has not seen, with a different image size.

fixed, moving = (chest_phantom(seed, (128, 128)) for seed in (100, 101))
transform = model.register(fixed=fixed.image, moving=moving.image)
warped = transform.warp_labels(acreg.Image.from_array(moving.labels, kind="labels"))
for title, found in (("before", moving.labels), ("after", warped.array)):
    scores = mean_over_labels(label_metrics(found, fixed.labels, (1, 2, 3)))
    print(f"mean Dice {title}: {scores['dsc']:.3f}")

# %%
# ``model.save_preset(folder)`` stores the model. ``acreg.from_preset(folder)`` and every command load it from there.

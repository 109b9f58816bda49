"""
Fine-tune a trained network
===========================

A network that was trained on similar images is a better start than random weights. The preset ``acregnet-jsrt`` was
trained on chest X-rays of patients; this example adapts it to phantoms.
"""

# %%
# Twelve phantoms for training, two for testing
# ---------------------------------------------

import keras
import matplotlib.pyplot as plt
import numpy as np

import acreg
from acreg.data import KerasPairs, PairSampler, chest_phantom
from acreg.metrics import label_metrics, mean_over_labels
from acreg.models import RegNet

phantoms = [chest_phantom(seed, (64, 64)) for seed in range(12)]
images = np.stack([phantom.image for phantom in phantoms])[..., None] / 255
labels = np.stack([phantom.labels for phantom in phantoms])[..., None]
sampler = PairSampler(images, labels, batch_size=8, seed=0)


def dice(model: RegNet) -> float:
    """The mean Dice of one unseen pair, registered by a model."""
    fixed, moving = chest_phantom(100, (128, 128)), chest_phantom(101, (128, 128))
    transform = model.register(fixed=fixed.image, moving=moving.image)
    warped = transform.warp_labels(acreg.Image.from_array(moving.labels, kind="labels"))
    return mean_over_labels(label_metrics(warped.array, fixed.labels, (1, 2, 3)))["dsc"]


# %%
# The network of the preset in a new model
# ----------------------------------------
#
# ``transfer_from`` copies the weights of another model's network, which must have the same layers and widths. The
# losses and labels may differ: this model is trained on the overlap of the labels as well.

keras.utils.set_random_seed(0)
start = acreg.models.from_preset("acregnet-jsrt")
model = RegNet(
    network="pyramid",
    num_classes=4,
    losses={"ncc": 1, "soft_dice": 1, "diffusion": 0.1},
    preprocessing=start.preprocessing,
)
model.transfer_from("acregnet-jsrt")
print(f"Dice before: {dice(model):.3f}")

# %%
# Train the rest
# --------------
#
# The encoder keeps its weights. The decoder, which predicts the field, is trained with a small learning rate.

model.freeze("encoder")
model.compile(optimizer=keras.optimizers.Adam(2e-4), jit_compile=False)
history = model.fit(KerasPairs(sampler), steps_per_epoch=5, epochs=6, shuffle=False, verbose=0).history
print(f"Dice after: {dice(model):.3f}")

figure, axes = plt.subplots(figsize=(4, 2.6), layout="constrained")
axes.plot(history["dice"])
axes.set(xlabel="epoch", title="Dice of the training pairs")
plt.show()

# %%
# With a recipe, from the command line::
#
#     acreg train my_recipe.yaml --from acregnet-jsrt --freeze encoder --out runs/mine

"""
Layers and models in plain Keras
================================

Everything of acreg that is trained is a layer or a model of Keras, so it goes where they go. These are ten ways to
combine them, each a small program on phantoms of 32 x 32 pixels.
"""

# %%
# Images, labels and random pairs of them
# ---------------------------------------

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import acreg
from acreg.data import chest_phantom
from acreg.layers import IntegrateVelocity, SpatialTransformer, ThinPlateSplineAugmentation
from acreg.losses import diffusion, ncc
from acreg.models import RegNet

keras.utils.set_random_seed(0)
phantoms = [chest_phantom(seed, (32, 32)) for seed in range(16)]
images = np.stack([phantom.image for phantom in phantoms])[..., None].astype("float32") / 255
labels = np.stack([phantom.labels for phantom in phantoms])[..., None]
pairs = {"moving": images[:8], "fixed": images[8:]}
small = {"filters": (8, 16), "losses": {"ncc": 1, "diffusion": 0.3}}

# %%
# A functional model
# ------------------
#
# A network of your own with acreg's layers. A layer of two inputs takes them as arguments or as a list.

moving, fixed = keras.Input((32, 32, 1), name="moving"), keras.Input((32, 32, 1), name="fixed")
x = keras.layers.Concatenate()([moving, fixed])
for filters in (8, 8):
    x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
velocity = keras.layers.Conv2D(2, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3))(x)
displacement = IntegrateVelocity(steps=5)(velocity)
warped = SpatialTransformer()([moving, displacement])
functional = keras.Model({"moving": moving, "fixed": fixed}, {"warped": warped, "velocity": velocity})
functional.compile("adam", loss={"warped": ncc, "velocity": lambda _, field: diffusion(field)})
targets = {"warped": pairs["fixed"], "velocity": np.zeros((8, 32, 32, 2), "float32")}
history = functional.fit(pairs, targets, epochs=3, verbose=0).history
print("functional:", np.round(history["loss"], 3))

# %%
# A sequential model
# ------------------
#
# The augmentation makes a pair from each image, and the network registers it. In ``predict`` nothing is changed, so
# both images are equal.

chain = keras.Sequential([ThinPlateSplineAugmentation(2, 2, 1, control_points=4, seed=0), RegNet(**small)])
pair = chain.layers[0](images)
still = chain.layers[0](images, training=False)
print("sequential:", float(ops.mean(ops.abs(pair["fixed"] - pair["moving"]))), chain.predict(images, verbose=0).keys())
assert float(ops.max(ops.abs(still["fixed"] - still["moving"]))) == 0

# %%
# A subclass
# ----------
#
# A model with a loss of its own around a network of acreg.


class Cyclic(keras.Model):
    """Registers both ways, and is punished if the two fields do not undo each other."""

    def __init__(self):
        super().__init__()
        self.network = RegNet(**small)

    def call(self, inputs):
        there = self.network(inputs)["displacement"]
        back = self.network([inputs["fixed"], inputs["moving"]])["displacement"]
        self.add_loss(ops.mean(ops.square(there + acreg.layers.functional.warp(back, there))))
        return acreg.layers.functional.warp(inputs["moving"], there)


cyclic = Cyclic()
cyclic.compile("adam", loss=ncc)
print("subclass:", np.round(cyclic.fit(pairs, pairs["fixed"], epochs=2, verbose=0).history["loss"], 3))

# %%
# A training loop
# ---------------

model, optimizer = RegNet(**small), keras.optimizers.Adam(1e-3)
for _ in range(3):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=pairs, y_pred=model(pairs, training=True))
    optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
print("loop:", round(float(loss), 3))

# %%
# A search
# --------
#
# Hyperparameters are arguments of a model, so any tuner finds them; here, the best of three.


def trained(weight):
    """The correlation that a network reaches with a weight of smoothness."""
    candidate = RegNet(filters=(8, 16), losses={"ncc": 1, "diffusion": weight})
    candidate.compile("adam")
    return candidate.fit(pairs, epochs=2, verbose=0).history["ncc"][-1]


found = {weight: trained(weight) for weight in (0.1, 1.0, 10.0)}
print("search:", min(found, key=found.get))

# %%
# Callbacks, losses and metrics of Keras
# --------------------------------------
#
# A loss and a metric of an output are added to the model's own.

folder = Path(tempfile.mkdtemp())
model = RegNet(**small)
model.compile("adam", loss={"warped": "mse"}, metrics={"warped": ["mae"]})
callbacks = [
    keras.callbacks.ModelCheckpoint(folder / "best.keras", monitor="mae", save_best_only=True),
    keras.callbacks.EarlyStopping(monitor="loss", patience=2),
    keras.callbacks.CSVLogger(folder / "log.csv"),
]
model.fit(pairs, {"warped": pairs["fixed"]}, epochs=2, callbacks=callbacks, verbose=0)
loaded = keras.models.load_model(folder / "best.keras")
print("callbacks:", type(loaded).__name__, (folder / "log.csv").read_text().splitlines()[0])

# %%
# Mixed precision, XLA and accumulated gradients
# ----------------------------------------------
#
# The network computes in half precision; images, fields and losses stay float32. With accumulation, the weights change
# after every second batch.

half = RegNet(**small, dtype="mixed_bfloat16")
accumulating = keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2)
half.compile(accumulating, jit_compile=True)
half.fit(pairs, epochs=2, batch_size=4, verbose=0)
print("half:", half.dtype_policy.name, half(pairs)["displacement"].dtype, int(accumulating.iterations))

# %%
# Several devices
# ---------------
#
# A strategy of TensorFlow shares each batch between devices; here between one.

strategy = tf.distribute.MirroredStrategy(["CPU:0"])
with strategy.scope():
    shared = RegNet(**small)
    shared.compile("adam", jit_compile=False)
print("devices:", strategy.num_replicas_in_sync, shared.fit(pairs, verbose=0).history["ncc"])

# %%
# tf.data, and the export of a network
# ------------------------------------
#
# Batches may be dictionaries or pairs of images. A network is exported without having been called.

batches = tf.data.Dataset.from_tensor_slices((pairs["moving"], pairs["fixed"])).batch(4)
model = RegNet(**small)
model.compile("adam")
model.fit(batches.map(lambda moving, fixed: ((moving, fixed),)), shuffle=False, verbose=0)
acreg.models.from_preset("acregnet-jsrt-diffeomorphic").export(folder / "network", verbose=False)
network = tf.saved_model.load(folder / "network")
served = network.serve(pairs)
print("export:", {name: tuple(value.shape) for name, value in served.items()})

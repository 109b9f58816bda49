"""The same numbers on other Keras backends, where one is installed."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

COMPUTE = """
import sys
import keras
import numpy as np
from acreg import layers, losses
from acreg.layers import functional
from acreg.layers.thin_plate_spline import interpolate_spline

results = {}
for rank, shape in ((2, (9, 8)), (3, (6, 5, 7))):
    rng = np.random.default_rng(rank)
    image, other = rng.uniform(size=(2, 2, *shape, 2)).astype("float32")
    a, b = rng.normal(size=(2, 2, *shape, rank)).astype("float32")
    found = {
        "linear": layers.SpatialTransformer()(image, a),
        "nearest": layers.SpatialTransformer("nearest")(image, a),
        "constant": layers.SpatialTransformer(border="constant", fill_value=2.0)(image, a),
        "compose": layers.ComposeDisplacements()(a, b),
        "integrate": layers.IntegrateVelocity(4)(a),
        "resize": layers.ResizeDisplacement([2 * n - 3 for n in shape])(a),
        "determinant": functional.jacobian_determinant(a),
    }
    control = rng.normal(size=(2, *(4,) * rank, rank)).astype("float32")
    parameters = {"control_displacements": control, "angles": rng.uniform(-20, 20, (2, 2 * rank - 3))}
    parameters |= {"gamma": np.array([[0.5, 2.0], [1.0, 1.5]]), "brightness": np.array([[0.1, -0.1], [0.2, 0.0]])}
    augment = layers.ThinPlateSplineAugmentation(return_displacement=True)
    found |= augment.apply_parameters({"image": image}, parameters)
    points = np.stack(np.indices((3,) * rank), -1).reshape(1, -1, rank).astype("float32")
    found["spline"] = interpolate_spline(points, points**2, points[:, ::2] + 0.4, order=rank - 1)
    for name, loss in {**losses.IMAGE_LOSSES, **losses.LABEL_LOSSES}.items():
        found[name] = loss(image, other)
    for name, loss in losses.FIELD_LOSSES.items():
        found[name] = loss(a)
    results.update({f"{name}_{rank}": keras.ops.convert_to_numpy(x) for name, x in found.items()})
np.savez(sys.argv[1], **results)
"""


def compute(backend, path):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", COMPUTE, path], env=environment, check=True, timeout=300)
    return np.load(path)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_gives_the_same_numbers(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    here = compute(keras.backend.backend(), tmp_path / "here.npz")
    there = compute(backend, tmp_path / "there.npz")
    assert set(here.files) == set(there.files)
    for name in here.files:
        np.testing.assert_allclose(there[name], here[name], atol=2e-5, rtol=1e-5, err_msg=name)

"""A training on two devices: what one device finds with the whole batch, to rounding."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acreg.errors import UsageError
from acreg.training import devices
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from tests.training.runs import arrays_of, metrics_of

TRAIN = """
import os, shutil, sys
recipe, folder = sys.argv[1:]
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    cpu, = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from acreg.cli.main import main
from acreg.training.devices import devices
assert len(devices()) == 2
command = ["train", recipe, "model.arguments.dropout=0", "training.steps=12", "autoencoder.steps=4", "--out"]
assert main([*command, f"{folder}/one"]) == 0
shutil.copytree(f"{folder}/one/autoencoder", f"{folder}/autoencoder")
command[-1:] = [f"autoencoder={folder}/autoencoder", "training.distribute=true", "--out"]
assert main([*command, f"{folder}/two"]) == 0
shutil.copytree(f"{folder}/two", f"{folder}/resumed")
os.remove(f"{folder}/resumed/checkpoints/network-000002.npz")
assert main([*command, f"{folder}/resumed", "--resume"]) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_find_what_one_finds_and_go_on(backend: str, recipe_file: Path, tmp_path: Path) -> None:
    """With batch normalisation, autoencoder, validation, checkpoints; without dropout, which devices draw alike."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    environment.pop("TF_DETERMINISTIC_OPS", None)  # the command's own setting
    program = [sys.executable, "-c", TRAIN, str(recipe_file), str(tmp_path)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = metrics_of(tmp_path / "one"), metrics_of(tmp_path / "two")
    assert [row["epoch"] for row in two] == ["1", "2"]
    for row, other in zip(one, two, strict=True):
        expected = {name: float(value) for name, value in row.items()}
        assert {k: float(v) for k, v in other.items()} == pytest.approx(expected, rel=2e-4, abs=2e-5)
    for name, value in arrays_of(tmp_path / "two").items():
        resumed = arrays_of(tmp_path / "resumed")[name]
        np.testing.assert_allclose(resumed, value, rtol=1e-4, atol=1e-6, err_msg=name)


def train_part(number: int, count: int, result: str) -> None:
    """Train on one part of `count` of each batch; the first writes the weights."""
    import keras

    from acreg.data import PairSampler
    from acreg.data.sampling.pipeline import KerasPairs
    from acreg.models import ACRegNet

    keras.utils.set_random_seed(1)
    images = np.random.default_rng(0).random((6, 16, 16, 1), "float32")
    sampler = PairSampler(images, (images > 0.6).astype("int32"), batch_size=4, seed=0)

    class Part:
        def batch(self, step: int) -> dict[str, np.ndarray]:
            return {name: value[number::count] for name, value in sampler.batch(step).items()}

    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        model = ACRegNet(2, filters=(4, 8), dropout=0.0, losses={"ncc": 1, "soft_dice": 1})
        model.compile(keras.optimizers.SGD(0.05))
        model.fit(KerasPairs(Part()), steps_per_epoch=2, epochs=1, shuffle=False, verbose=0)
        if number == 0:
            np.savez(result, *map(keras.ops.convert_to_numpy, model.weights))


PROCESS = """
import sys
import keras
from tests.training.test_devices import train_part
number, count, addresses, result = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
if count > 1:
    keras.distribution.initialize(addresses, count, number)
train_part(number, count, result)
"""

RAY = """
import sys
import ray.train
from ray.train.v2.jax import JaxConfig, JaxTrainer
def train(result):
    from tests.training.test_devices import train_part
    here = ray.train.get_context()
    train_part(here.get_world_rank(), here.get_world_size(), result)
ray.init(num_cpus=2, include_dashboard=False)
storage = ray.train.RunConfig(storage_path=sys.argv[2])
two = ray.train.ScalingConfig(num_workers=2)
gpu = JaxConfig(use_gpu=True)  # it joins the processes, on the platform of JAX_PLATFORMS
JaxTrainer(train, train_loop_config=sys.argv[1], jax_config=gpu, scaling_config=two, run_config=storage).fit()
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["processes", "ray"])
def test_two_processes_find_what_one_finds(launcher: str, tmp_path: Path) -> None:
    """On JAX, as docs/how-to/devices.md has it."""
    for package in ("jax", "ray")[: 1 + (launcher == "ray")]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"JAX_PLATFORMS": "cpu", "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("XLA_FLAGS", None)
    with socket.socket() as free, socket.socket() as other:
        free.bind(("localhost", 0))
        other.bind(("localhost", 0))
        addresses = ",".join(f"localhost:{s.getsockname()[1]}" for s in (free, other))
    for count in (1, 2):
        result = str(tmp_path / f"{count}.npz")
        programs = [[sys.executable, "-c", PROCESS, str(i), str(count), addresses, result] for i in range(count)]
        if count > 1 and launcher == "ray":
            programs = [[sys.executable, "-c", RAY, result, str(tmp_path)]]
        running = [subprocess.Popen(program, env=environment) for program in programs]
        assert [process.wait() for process in running] == [0] * len(programs)
    one, two = np.load(tmp_path / "1.npz"), np.load(tmp_path / "2.npz")
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6)


def test_batches_must_divide_into_equal_parts(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["one", "two", "three"])
    for change, name in (("training.batch_size=4", "training.batch_size"), ("data.validation_pairs=7", "validation")):
        recipe = load_recipe(recipe_file, ["training.distribute=true", "training.batch_size=6", change])
        with pytest.raises(UsageError, match=rf"{name}.* multiple of the number of devices, 3\. Received: [47]\."):
            run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pairs_made_on_a_device_are_refused(recipe_file: Path) -> None:
    with pytest.raises(UsageError, match=r"distribute needs pairs that are given"):
        load_recipe(recipe_file, ["training.distribute=true", "data.synthetic={}", "data.augmentation=null"])

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from acreg.errors import AcregError
from acreg.training.checkpoint import State, load_checkpoint, restore, save_checkpoint


def small_model(units: int = 8) -> keras.Model:
    """A compiled model with dropout and batch normalisation."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(1)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=2),
            keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(3)),
        ]
    )
    model.compile("adam", "mse")
    return model


def train_steps(model: keras.Model, first: int, last: int) -> None:
    for step in range(first, last):
        rng = np.random.default_rng(step)
        model.train_on_batch(rng.normal(size=(16, 6)), rng.normal(size=(16, 1)))


def test_a_restored_model_goes_on_bitwise_with_dropout_and_optimiser(tmp_path: Path) -> None:
    unbroken = small_model()
    train_steps(unbroken, 0, 5)
    save_checkpoint(tmp_path, "a", unbroken, State(epoch=5, best=0.1, history=[{"epoch": 5, "loss": 1 / 3}]))
    train_steps(unbroken, 5, 9)
    resumed = small_model()
    state, arrays = load_checkpoint(tmp_path, "a")
    restore(resumed, arrays)
    train_steps(resumed, 5, 9)
    assert state == State(epoch=5, best=0.1, history=[{"epoch": 5, "loss": 1 / 3}])
    assert isinstance(state.history[0]["epoch"], int)
    for one, other in zip(unbroken.get_weights(), resumed.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_weights_alone_would_not_be_enough(tmp_path: Path) -> None:
    """Keras' own weight file has no state of seed generators, ours has: this is why we write our own."""
    unbroken, resumed = small_model(), small_model()
    train_steps(unbroken, 0, 5)
    unbroken.save_weights(tmp_path / "a.weights.h5")
    resumed.load_weights(tmp_path / "a.weights.h5")
    seeds = [[v.numpy() for v in m.variables if "seed" in v.path] for m in (unbroken, resumed)]
    assert len(seeds[0]) == 1
    assert not np.array_equal(*seeds)


def test_the_last_two_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    model = small_model()
    for epoch in range(1, 5):
        save_checkpoint(tmp_path, "a", model, State(epoch=epoch))
    save_checkpoint(tmp_path, "a-b", model, State(epoch=9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-000003.npz", "a-000004.npz", "a-b-000009.npz"]
    content = (tmp_path / "a-000004.npz").read_bytes()
    (tmp_path / "a-000004.npz").write_bytes(content[: len(content) // 2])
    assert load_checkpoint(tmp_path, "a")[0].epoch == 3
    (tmp_path / "a-000003.npz").write_bytes(b"")
    with pytest.raises(AcregError, match=r"a-000003\.npz.*all damaged"):
        load_checkpoint(tmp_path, "a")
    assert load_checkpoint(tmp_path, "none") is None


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "a", small_model(), State(epoch=1))
    with pytest.raises(AcregError, match="must fit the model that the recipe describes"):
        restore(small_model(units=9), load_checkpoint(tmp_path, "a")[1])


def test_checkpoints_that_were_not_written_by_acreg_are_passed_over(tmp_path: Path) -> None:
    """One that takes more memory than its size, states of other types, a pipe."""
    path = save_checkpoint(tmp_path, "a", small_model(), State(epoch=1))
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez_compressed(tmp_path / "a-000002.npz", **arrays, more=np.zeros(10**7))
    for epoch, state in enumerate((b'{"epoch": "three"}', b"[]", b"[" * 10**5, b'{"epoch": 1, "best": "x"}'), start=3):
        np.savez(tmp_path / f"a-{epoch:06d}.npz", **{**arrays, "state": np.frombuffer(state, np.uint8)})
    os.mkfifo(tmp_path / "a-000007.npz")
    assert load_checkpoint(tmp_path, "a")[0].epoch == 1

"""The label autoencoder: its noise, its learning and its codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from acreg.models import LabelAutoencoder
from acreg.models.label_autoencoder import hard_dice, update_dice

Make = Callable[..., Any]


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[labels]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, (40, 24, 32))


def disturbed(labels: np.ndarray, **options: Any) -> np.ndarray:
    model = LabelAutoencoder(labels.shape[1:], num_classes=3, code_size=4, **options)
    noisy = keras.ops.convert_to_numpy(model.add_noise(one_hot(labels)))
    assert set(np.unique(noisy)) <= {0.0, 1.0}
    np.testing.assert_array_equal(noisy.sum(-1), 1)
    return noisy.argmax(-1)


def test_pair_swap_exchanges_whole_pairs_of_columns(labels: np.ndarray) -> None:
    noisy = disturbed(labels, noise="pair_swap", noise_probability=0.1)
    pairs, clean = (x.reshape(*x.shape[:-1], -1, 2) for x in (noisy, labels))
    swapped = (pairs == clean[..., ::-1]).all(-1)
    kept = (pairs == clean).all(-1)
    assert (swapped | kept).all()
    visible = clean[..., 0] != clean[..., 1]
    rate = swapped[visible].mean()
    assert rate == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / visible.sum()))


def test_border_takes_the_left_neighbours_label(labels: np.ndarray) -> None:
    noisy = disturbed(labels, noise="border", noise_probability=0.3)
    left = np.concatenate([labels[..., :1], labels[..., :-1]], axis=-1)
    changed = noisy != labels
    assert (noisy[changed] == left[changed]).all()
    on_border = left != labels
    assert not changed[~on_border].any()
    assert changed[on_border].mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / on_border.sum()))


@pytest.mark.parametrize("noise", ["pair_swap", "border"])
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_noise_never_and_always(noise: str, probability: float, labels: np.ndarray) -> None:
    noisy = disturbed(labels, noise=noise, noise_probability=probability)
    pairs = labels.reshape(*labels.shape[:-1], -1, 2)[..., ::-1].reshape(labels.shape)
    always = pairs if noise == "pair_swap" else np.concatenate([labels[..., :1], labels[..., :-1]], axis=-1)
    np.testing.assert_array_equal(noisy, always if probability else labels)


def test_noise_is_in_training_only_and_follows_the_seed(make_batch: Make) -> None:
    def outputs(seed: int) -> list[np.ndarray]:
        model = LabelAutoencoder((16, 16), num_classes=3, code_size=4, seed=seed)
        batch = one_hot(make_batch(model)[..., 0])
        return [keras.ops.convert_to_numpy(model.add_noise(batch)) for _ in range(2)]

    first, again, other = outputs(1), outputs(1), outputs(2)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any(), "each step draws anew"
    assert (first[0] != other[0]).any()
    model = LabelAutoencoder((16, 16), num_classes=3, code_size=4)
    batch = make_batch(model)
    np.testing.assert_array_equal(model(batch), model(batch))


def test_it_learns_and_logs_dice(make_batch: Make) -> None:
    keras.utils.set_random_seed(0)
    model = LabelAutoencoder((16, 16), num_classes=3, code_size=8)
    batch = make_batch(model, size=4)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = model.fit(np.repeat(batch, 15, axis=0), batch_size=20, epochs=10, shuffle=False, verbose=0).history
    assert set(history) == {"loss", "dice"}
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    logs = model.test_on_batch(batch, return_dict=True)
    reconstructed = np.argmax(model(batch), -1)
    expected = np.mean(np.asarray(hard_dice(batch[..., 0], reconstructed, 3)))
    assert logs["dice"] == pytest.approx(expected, abs=1e-5)
    logits = keras.ops.convert_to_numpy(model(batch)).astype(np.float64)
    likelihood = np.take_along_axis(np.exp(logits), batch, -1)[..., 0] / np.exp(logits).sum(-1)
    assert logs["loss"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-4)


def test_codes_of_labels_and_of_their_one_hot_are_equal(make_model: Make, make_batch: Make) -> None:
    model = make_model("autoencoder")
    batch = make_batch(model)
    codes = keras.ops.convert_to_numpy(model.encode(batch))
    assert codes.shape == (2, 6) and codes.dtype == np.float32
    np.testing.assert_array_equal(codes, model.encode(one_hot(batch[..., 0])))
    assert np.abs(codes[0] - codes[1]).max() > 1e-4


def test_hard_dice_counts_a_class_of_one_map_alone_with_0_and_one_of_neither_not() -> None:
    a = np.array([[[0, 1], [1, 2]], [[0, 1], [1, 1]], [[0, 1], [1, 2]], [[0, 0], [0, 0]]])
    b = np.array([[[0, 1], [0, 2]], [[0, 1], [0, 1]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]])
    dice = hard_dice(a, b, 3)
    np.testing.assert_allclose(dice, [(2 / 3 + 1) / 2, 4 / 5, (2 / 3 + 0) / 2, np.nan], rtol=1e-6)
    mean = keras.metrics.Mean()
    update_dice(mean, dice)
    assert float(mean.result()) == pytest.approx(np.nanmean(dice), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shape": (64, 60)}, r"divisible by 8. Received: shape=\(64, 60\)"),
        ({"shape": (64,)}, "2 or 3 sizes"),
        ({"num_classes": 1}, "at least 2. Received: 1"),
        ({"noise": "salt"}, "one of .*Received: noise='salt'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LabelAutoencoder(**options)

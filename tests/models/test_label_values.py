"""Labels that are not a model's are refused before they are one-hot of no class, with a loss of 0 and a Dice of 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from acreg.data import KerasPairs, PairSampler, label_batches, tf_pairs
from acreg.data.sampling.singles import ImageSampler, LabelSampler
from acreg.errors import AcregError
from acreg.models import ACRegNet, LabelAutoencoder

KNOWN = "labels of a model with num_classes=3 are integers from 0 to 2. Received: .*"


@pytest.fixture(scope="module")
def model() -> Any:
    made = ACRegNet(num_classes=3, network="unet", filters=(4, 8), losses={"ncc": 1, "soft_dice": 1})
    made.compile(optimizer="adam")
    return made


def pairs(labels: Any, size: int = 2) -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).random((size, 16, 16, 1)).astype("float32")
    labels = np.broadcast_to(np.asarray(labels), (size, 16, 16, 1)).copy()
    return {"moving": images, "fixed": images, "moving_labels": labels, "fixed_labels": labels}


def numbers(*values: int) -> np.ndarray:
    """A label map that has these values."""
    return np.resize(np.repeat(np.array(values, np.int32), 16), (16, 16, 1))


def sources(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """The same pairs in the forms that `fit` takes."""
    sampler = PairSampler(batch["fixed"], batch["fixed_labels"], batch_size=2, seed=0)
    return {
        "arrays": batch,
        "tf_pairs": tf_pairs(sampler, steps=1),
        "KerasPairs": KerasPairs(sampler),
        "made pairs": KerasPairs(ImageSampler(batch["fixed"], batch["fixed_labels"], np.ones((2, 2)), 2, 0)),
        "beside made pairs": KerasPairs(ImageSampler(batch["fixed"], None, np.ones((2, 2)), 2, 0, sampler)),
        "tf.data": tf.data.Dataset.from_tensors(batch),
    }


@pytest.mark.parametrize("source", list(sources(pairs(0))))
@pytest.mark.parametrize("use", ["fit", "evaluate", "validation_data"])
def test_labels_beyond_the_classes_are_refused_in_every_form(model: Any, source: str, use: str) -> None:
    data = sources(pairs(numbers(0, 255)))[source]
    with pytest.raises(AcregError, match=KNOWN + "0 to 255. Number them"):
        if use == "fit":
            model.fit(data, steps_per_epoch=1, verbose=0)
        elif use == "evaluate":
            model.evaluate(data, steps=1, verbose=0)
        else:
            model.fit(pairs(numbers(0, 1)), validation_data=data, verbose=0)


def test_a_rare_label_of_one_subject_is_found_by_the_sampler(model: Any) -> None:
    batch = pairs(numbers(0, 1, 2), size=5)
    batch["fixed_labels"][4, 0, 0] = 3
    sampler = PairSampler(batch["fixed"], batch["fixed_labels"], batch_size=1, seed=0)
    with pytest.raises(AcregError, match=KNOWN + "0 to 3"):
        model.fit(tf_pairs(sampler), steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(
    ("labels", "found"), [(numbers(0, -1), "-1 to 0"), (numbers(0, 1).astype("float32"), "an array of float32")]
)
def test_negative_and_fractional_types_are_refused(model: Any, labels: np.ndarray, found: str) -> None:
    with pytest.raises(AcregError, match=KNOWN + found):
        model.fit(pairs(labels), verbose=0)


def test_what_cannot_be_seen_before_makes_the_loss_nan(model: Any) -> None:
    """Batches of a generator: a loss of 0 would be taken for success."""
    good, bad = pairs(numbers(0, 1, 2)), pairs(numbers(0, 255))
    assert np.isfinite(model.test_on_batch(good, return_dict=True)["loss"])
    assert np.isnan(model.test_on_batch(bad, return_dict=True)["loss"])
    assert np.isnan(model.evaluate((each for each in [(bad,)]), steps=1, verbose=0, return_dict=True)["loss"])


@pytest.mark.parametrize("change", ["shape", "channels", "float"])
def test_labels_of_another_shape_or_type_are_refused(model: Any, change: str) -> None:
    batch = pairs(numbers(0, 1))
    wrong = {
        "shape": (batch["moving_labels"][:, :8], "moving .16, 16., its labels .8, 16."),
        "channels": (np.repeat(batch["moving_labels"], 3, axis=-1), r"integers .batch, \*spatial, 1..*3"),
        "float": (batch["moving_labels"].astype("float32"), "float32 of shape"),
    }
    batch["moving_labels"], reason = wrong[change]
    with pytest.raises(ValueError, match=reason):
        model.compute_loss(batch, y_pred=model(batch))


def test_an_autoencoder_knows_its_labels() -> None:
    model = LabelAutoencoder((16, 16), num_classes=3, code_size=4)
    model.compile(optimizer="adam")
    labels = np.stack([numbers(0, 255)] * 2)
    for data in (labels, label_batches(labels, 2, 0), KerasPairs(LabelSampler(labels, 2, 0))):  # type: ignore[arg-type]
        with pytest.raises(AcregError, match=KNOWN + "0 to 255"):
            model.fit(data, steps_per_epoch=1, verbose=0)
    assert np.isnan(model.test_on_batch(labels, return_dict=True)["loss"])
    with pytest.raises(ValueError, match="float32 of shape"):
        model.encode(labels.astype("float32"))
    with pytest.raises(AcregError, match=KNOWN + "0 to 255"):
        model.encode(labels)


def test_labels_of_the_model_train_as_before(model: Any) -> None:
    data = sources(pairs(numbers(0, 1, 2)))
    for name in ("arrays", "tf_pairs", "KerasPairs", "tf.data"):
        assert np.isfinite(model.evaluate(data[name], steps=1, verbose=0, return_dict=True)["loss"])

"""The precision policy of a model: each layer has it by its own argument, and no global state changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import keras
import pytest

from acreg.models import JRSNet, LabelAutoencoder, RegNet
from tests.models.conftest import MAKERS

Make = Callable[..., Any]
KINDS = [*MAKERS, "jrsnet with adversaries"]


def layers_of(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def policies(model: Any) -> dict[str, str]:
    names = ("encoder", "decoder") if isinstance(model, LabelAutoencoder) else ("network", "reverse", "judge_fixed")
    networks = [getattr(model, name) for name in names if getattr(model, name, None) is not None]
    return {layer.name: layer.dtype_policy.name for network in networks for layer in layers_of(network)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_argument_gives_each_layer_the_policy_that_the_global_one_would(
    kind: str, make_model: Make, restored_policy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**options: Any) -> Any:
        if kind == "jrsnet with adversaries":
            return JRSNet(filters=4, blocks=2, discriminator_filters=2, losses={"adversarial": 1}, **options)
        return make_model(kind, **options)

    keras.config.set_dtype_policy("mixed_bfloat16")
    expected = policies(make())
    keras.config.set_dtype_policy("float32")

    def refuse(policy: Any) -> None:
        raise AssertionError(f"the global policy was set to {policy}")

    for place in (keras.config, keras.mixed_precision):
        monkeypatch.setattr(place, "set_dtype_policy", refuse)
    found = policies(make(dtype="mixed_bfloat16"))
    assert found == expected and {"mixed_bfloat16", "float32"} >= set(found.values()) >= {"mixed_bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


def test_models_made_at_the_same_time_have_their_own_policies() -> None:
    start = Barrier(2)

    def make(dtype: str | None) -> list[set[str]]:
        start.wait()
        models = [RegNet(filters=(4, 8), dtype=dtype) for _ in range(5)]
        return [{layer.compute_dtype for layer in layers_of(m.network) if layer.weights} for m in models]

    with ThreadPoolExecutor(2) as pool:
        half, plain = pool.map(make, ["mixed_float16", None])
    assert half == [{"float16"}] * 5 and plain == [{"float32"}] * 5
    assert keras.config.dtype_policy().name == "float32"

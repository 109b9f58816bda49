"""The values that the losses of a model can use, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from keras import ops

from acreg.layers.tensor import Tensor
from acreg.losses import Loss

TRUE = "true_"
"""Prefix of the names of values that are known only for training pairs."""


def lacking(needs: Iterable[str], inputs: Collection[str]) -> bool:
    """Whether a loss with these needs is left out of validation with these inputs, which lack a true value."""
    return any(name.startswith(TRUE) and name.removeprefix(TRUE) not in inputs for name in needs)


def mean_over_batch(name: str, values: Tensor, sample_weight: Tensor) -> Tensor:
    """The mean of a loss over the batch, its samples weighted by ``(batch,)``, or alike if that is None.

    Raises:
        ValueError: the loss has one value for the whole batch, and there are weights of samples.
    """
    if sample_weight is None:
        return ops.mean(values)
    if len(values.shape) != 1:
        raise ValueError(
            f"Weights of samples need losses of samples. Received: {name!r}, one value for the whole batch"
        )
    return ops.mean(values * ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype))


class LossValues(Mapping[str, Tensor]):
    """Values by name; a value that is given by a function is computed once, when it is first used.

    Args:
        inputs: inputs of the model, in training; here, the true ``"displacement"`` and ``"velocity"`` are named
            ``true_...``.
        outputs: outputs of the model.
    """

    def __init__(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        given = {TRUE + name if name in ("displacement", "velocity") else name: x for name, x in inputs.items()}
        self._known = {**given, **outputs, "inputs": inputs}
        self._known["field"] = outputs.get("velocity", outputs.get("deformation", outputs["displacement"]))
        self._makers: dict[str, Callable[[], Tensor]] = {}

    def add(self, name: str, make: Callable[[], Tensor]) -> None:
        """Adds a value, or replaces the one with the same name."""
        self._known.pop(name, None)
        self._makers[name] = make

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._known:
            self._known[name] = self._makers[name]()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._makers})

    def __len__(self) -> int:
        return len({**self._known, **self._makers})

    def complete(self, losses: Sequence[Loss], training: bool) -> list[Loss]:
        """The losses whose values are all available.

        Raises:
            ValueError: labels are missing; a true displacement or velocity is missing in training; or a loss needs a
                value that the model does not have.
        """
        missing = {loss: [name for name in loss.needs if name not in self] for loss in losses}
        received = f"Received: inputs with the keys {sorted(self['inputs'])}"
        if without := [loss.name for loss in losses if missing[loss] and loss.compares_labels]:
            raise ValueError(f"The losses {without} need labels. {received}")
        for loss, names in missing.items():
            if odd := [name for name in names if not name.startswith(TRUE)]:
                raise ValueError(
                    f"A loss compares what the model has, {sorted(self)}. Received: {loss.name!r}, which needs {odd}"
                )
            if names and training:
                alike = [other.name for other in losses if missing[other] == names]
                raise ValueError(
                    f"The losses {alike} need the true {names[0].removeprefix(TRUE)!r} among the inputs of training. "
                    f"{received}"
                )
        return [loss for loss in losses if not missing[loss]]

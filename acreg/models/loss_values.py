"""What the losses of a model may compare, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from acreg.losses import Loss

TRUE = "true_"
"""Begins the names of what is known of training pairs alone."""


class LossValues(Mapping[str, Any]):
    """Values by name; those that a function makes are made when they are first asked for, and once.

    Args:
        inputs: of the model, in training; the true ``"displacement"`` and ``"velocity"`` are named ``true_...`` here.
        outputs: of the model.
    """

    def __init__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        given = {TRUE + name if name in ("displacement", "velocity") else name: x for name, x in inputs.items()}
        self._known = {**given, **outputs, "inputs": inputs}
        self._known["field"] = outputs.get("velocity", outputs.get("deformation", outputs["displacement"]))
        self._makers: dict[str, Callable[[], Any]] = {}

    def add(self, name: str, make: Callable[[], Any]) -> None:
        """Adds a value, in place of one that has the same name."""
        self._known.pop(name, None)
        self._makers[name] = make

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._makers[name]()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._makers})

    def __len__(self) -> int:
        return len({**self._known, **self._makers})

    def complete(self, losses: Sequence[Loss], training: bool) -> list[Loss]:
        """Those of some losses whose values are all here.

        Raises:
            ValueError: labels are missing; in training, a true displacement or velocity is; or a loss needs what the
                model does not have.
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

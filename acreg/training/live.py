"""A training as a notebook shows it while it runs: a bar, and curves that are drawn again after epochs."""

from __future__ import annotations

import time
from collections.abc import Mapping

import keras

from acreg.geometry.display import picture
from acreg.progress import NotebookBars, notebook_bars
from acreg.training.callbacks import some_numbers
from acreg.training.curves import training_curves

SHARE = 0.05
"""Share of the time of a training that is spent on drawing, at most."""


class LiveCurves(keras.callbacks.Callback):
    """Draws the curves of a training below its bar: after an epoch, unless that takes too long, and at the end.

    Arguments:
        bars: where they are drawn.
        history: a row for each epoch, to which other callbacks add rows.
    """

    def __init__(self, bars: NotebookBars | None, history: list[dict[str, float]]) -> None:
        super().__init__()
        self.bars = bars
        self.history = history
        self.next = 0.0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if time.monotonic() >= self.next:
            self._draw()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._draw()

    def _draw(self) -> None:
        if self.bars is not None and self.history:
            start = time.monotonic()
            note = "training is blue, validation orange, over the steps"
            self.bars.picture = picture(training_curves(self.history)._repr_png_, "curves of the training", note)
            self.bars.show()
            self.next = time.monotonic() + (time.monotonic() - start) / SHARE


class LivePlot(LiveCurves):
    """Shows a training in a notebook while it runs: a bar with the time left, and the curves of what is logged.

    The curves are drawn after each epoch, or more rarely if that would take more than a twentieth of the time, and
    at the end. Outside of a notebook, a line is printed after each epoch::

        model.fit(pairs, epochs=50, verbose=0, callbacks=[acreg.training.LivePlot()])

    Arguments:
        title: the name of what is trained.
    """

    def __init__(self, title: str = "training") -> None:
        super().__init__(None, [])
        self.title = title
        self.done = 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.bars = self.bars or notebook_bars()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.done += 1
        if self.bars is not None:
            steps = (self.params.get("steps") or 0) * self.params["epochs"]
            self.bars(f"{self.title}: {some_numbers(logs or {})}", self.done, steps)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, "step": self.done, **numbers})
        if self.bars is None:
            print(f"{self.title}: epoch {epoch + 1}/{self.params['epochs']}, {some_numbers(numbers)}", flush=True)
        super().on_epoch_end(epoch, logs)

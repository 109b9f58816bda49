"""Keras callbacks for training: what is recorded after each epoch, when training stops, and what is shown."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from acreg.errors import AcregError, Requeue
from acreg.io.csv_tables import write_table
from acreg.progress import Progress
from acreg.training.checkpoint import State, save_checkpoint
from acreg.training.pictures import PairPictures

"""Called with (text, done, total)."""

TIME_COLUMNS = ("seconds",)
LOST = 0.05
"""A discriminator has won if its loss is below this value; by chance it is log 2 = 0.69."""
EPOCHS_LOST = 3
TRACED = (11, 20)
"""First and last step of a trace: the first steps of training compile, and read data that are read only once."""


class _OfStage(keras.callbacks.Callback):
    """A callback that knows the name of what is trained, the steps in an epoch, and which epoch it is, from 0."""

    def __init__(self, stage: str, steps_per_epoch: int) -> None:
        super().__init__()
        self.stage = stage
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.epoch = epoch


class StopOnNonFinite(_OfStage):
    """Stops training with an error as soon as a loss term is NaN or infinite, before anything is saved.

    Arguments:
        stage: the name of what is trained, for the message.
        steps_per_epoch: steps in an epoch.

    Raises:
        AcregError: names the term, the step, and what to try.
    """

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._check(logs, f"step {self.epoch * self.steps_per_epoch + batch + 1}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._check(logs, f"the end of epoch {epoch + 1}")

    def _check(self, logs: Mapping[str, float] | None, when: str) -> None:
        bad = {name: float(value) for name, value in (logs or {}).items() if not math.isfinite(value)}
        if bad:
            terms = [f"{name}={value}" for name, value in bad.items() if not name.endswith("loss")]
            shown = ", ".join(terms or [f"{name}={value}" for name, value in bad.items()])
            raise AcregError(
                f"The loss of a training must stay finite. Received: {shown} at {when} of the {self.stage}. The last "
                "checkpoint is kept. Try a lower optimizer.learning_rate, optimizer.clipnorm=1.0, a smaller weight of "
                "that term, or training.mixed_precision=null; and check the images with `acreg data check`."
            )


class Recorder(keras.callbacks.Callback):
    """After each epoch: the metrics CSV, the preset if the epoch is the best, early stopping, then the checkpoint.

    They form one callback because their order matters: a kill between two of them must leave files from which
    training continues exactly. The checkpoint is last and contains all rows; files written after the previous
    checkpoint are written again, with the same content, when training is resumed.

    Arguments:
        stage: prefix of the checkpoint's file name.
        state: the state from which to continue; changed in place.
        checkpoints: folder of the checkpoints.
        metrics: path of the CSV.
        epochs: total number of epochs.
        steps_per_epoch: steps in an epoch.
        monitor: the logged number that determines the best epoch; with None, every epoch counts as better.
        mode: "max" or "min".
        patience: number of epochs without improvement after which training stops; None for no early stopping.
        plateau: (factor of the learning rate, number of epochs without improvement after which it is applied), or None.
        save_best: called with the row of a better epoch.
    """

    def __init__(
        self,
        stage: str,
        state: State,
        *,
        checkpoints: Path,
        metrics: Path,
        epochs: int,
        steps_per_epoch: int,
        monitor: str | None,
        mode: str,
        patience: int | None,
        plateau: tuple[float, int] | None,
        save_best: Callable[[Mapping[str, float]], object],
    ) -> None:
        super().__init__()
        self.stage = stage
        self.state = state
        self.checkpoints = checkpoints
        self.metrics = metrics
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.plateau = plateau
        self.save_best = save_best
        self.began = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        state = self.state
        row: dict[str, float] = {"epoch": epoch + 1, "step": (epoch + 1) * self.steps_per_epoch}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row |= {name: float(value) for name, value in (logs or {}).items()}
        row["seconds"] = round(time.perf_counter() - self.began, 3)
        state.history.append(row)
        state.epoch = epoch + 1
        write_metrics(self.metrics, state.history)
        if self._is_better(row):
            state.best = row[self.monitor] if self.monitor else None
            state.best_epoch, state.waited = epoch + 1, 0
            self.save_best(row)
        else:
            state.waited += 1
            if self.plateau is not None and state.waited % self.plateau[1] == 0:
                self.model.optimizer.learning_rate = row["learning_rate"] * self.plateau[0]
        out_of_patience = self.patience is not None and state.waited >= self.patience
        state.finished = out_of_patience or state.epoch >= self.epochs
        save_checkpoint(self.checkpoints, self.stage, self.model, state)
        if out_of_patience:
            self.model.stop_training = True

    def _is_better(self, row: Mapping[str, float]) -> bool:
        if self.monitor is None:
            return True
        best, value = self.state.best, row[self.monitor]
        return best is None or (value > best if self.mode == "max" else value < best)


class StopWhenAsked(_OfStage):
    """Stops training by an error once a stop was requested: after a step, or after the checkpoint of an epoch.

    It comes last, so that an epoch whose steps are complete is kept and shown. The steps of an incomplete epoch
    are repeated when training is resumed.

    Arguments:
        stage: the name of what is trained, for the message.
        steps_per_epoch: steps in an epoch.
        asked: whether training should stop.

    Raises:
        Requeue: a stop was requested.
    """

    def __init__(self, stage: str, steps_per_epoch: int, asked: Callable[[], bool]) -> None:
        super().__init__(stage, steps_per_epoch)
        self.asked = asked

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if batch + 1 < self.steps_per_epoch:
            self._check(f"in epoch {self.epoch + 1}, which will be done again from its beginning")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._check(f"after epoch {epoch + 1}")

    def _check(self, when: str) -> None:
        if self.asked():
            raise Requeue(f"{self.stage}: stopped as asked {when}. The same command with --resume goes on.")


class ShowProgress(_OfStage):
    """Calls `progress(text, done, total)` after each step or, without it, `say(line)` after each epoch."""

    def __init__(
        self, stage: str, epochs: int, steps_per_epoch: int, progress: Progress | None, say: Callable[[str], None]
    ) -> None:
        super().__init__(stage, steps_per_epoch)
        self.epochs = epochs
        self.progress = progress
        self.say = say
        self.began = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.progress is not None:
            done = self.epoch * self.steps_per_epoch + batch + 1
            self.progress(f"{self.stage}: {some_numbers(logs or {})}", done, self.epochs * self.steps_per_epoch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.progress is None:
            seconds = time.perf_counter() - self.began
            self.say(f"{self.stage}: epoch {epoch + 1}/{self.epochs}, {some_numbers(logs or {})}, {seconds:.1f} s")


class WarnOfCollapse(keras.callbacks.Callback):
    """Warns, once per occurrence, that discriminators have won: their loss was near 0 for `EPOCHS_LOST` epochs.

    Arguments:
        state: its history is read after the `Recorder` has written to it.
        say: called with the warning.
    """

    def __init__(self, state: State, say: Callable[[str], None]) -> None:
        super().__init__()
        self.state = state
        self.say = say

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        lost = [row.get("discriminator", math.inf) < LOST for row in self.state.history[-EPOCHS_LOST - 1 :]]
        if lost[-EPOCHS_LOST:] == [True] * EPOCHS_LOST and not (len(lost) > EPOCHS_LOST and lost[0]):
            self.say(
                f"The loss of the discriminators was below {LOST:g} for {EPOCHS_LOST} epochs: they distinguish "
                "every generated image from a real one, and the adversarial loss guides the generator no more. Lower "
                "optimizer.learning_rate or model.arguments.discriminator_filters, or the weights of adversarial and "
                "cycle."
            )


def some_numbers(logs: Mapping[str, float]) -> str:
    """Loss and Dice, as progress reports have them."""
    wanted = ("loss", "dice", "val_loss", "val_dice")
    return ", ".join(f"{name} {float(logs[name]):.4f}" for name in wanted if name in logs)


def write_metrics(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of a training run as CSV, in one step; numbers are written so that they read back exactly."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    write_table(path, [columns, *([row.get(column, "") for column in columns] for row in history)])


def tensorboard(
    folder: Path, say: Callable[[str], None], batch: Mapping[str, Any] | None, trace_within: int = 0
) -> list[keras.callbacks.Callback]:
    """Keras' TensorBoard callback if the backend is TensorFlow and TensorBoard is installed; else none, with a reason.

    It writes pictures of the pairs in `batch`, if given, and a trace of those of the steps `TRACED` that
    are among the first `trace_within` steps (0 for no trace).
    """
    if keras.backend.backend() != "tensorflow":
        say("TensorBoard logs are written with the TensorFlow backend only.")
        return []
    if importlib.util.find_spec("tensorboard") is None:
        say("TensorBoard is not installed (pip install tensorboard): its logs are left out; metrics.csv has the same.")
        return []
    first, last = (min(step, trace_within) for step in TRACED)
    if trace_within:
        viewer = "" if importlib.util.find_spec("xprof") else " (pip install xprof adds that page)"
        say(f"Steps {first} to {last} are traced; tensorboard --logdir {folder} shows them under Profile{viewer}.")
    curves = keras.callbacks.TensorBoard(str(folder), write_graph=False, profile_batch=(first, last) if last else 0)
    return [curves] if batch is None else [curves, PairPictures(folder / "pictures", batch)]

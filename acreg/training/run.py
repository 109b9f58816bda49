"""Running a recipe: first the label autoencoder, if the recipe has one, then the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from acreg.data.sampling.pipeline import KerasPairs, Sampler, tf_pairs
from acreg.data.sampling.singles import LabelSampler
from acreg.errors import AcregError, UsageError
from acreg.io import writes_into
from acreg.io.label_values import warn_of_other_names
from acreg.models import LabelAutoencoder, from_preset
from acreg.models.loss_values import lacking
from acreg.models.presets import load_autoencoder
from acreg.progress import NotebookBars, Progress, notebook_bars
from acreg.training import build, devices
from acreg.training.callbacks import (
    Recorder,
    ShowProgress,
    StopOnNonFinite,
    StopWhenAsked,
    WarnOfCollapse,
    tensorboard,
    write_metrics,
)
from acreg.training.checkpoint import State, load_checkpoint, restore
from acreg.training.curves import write_report
from acreg.training.data import (
    TrainingData,
    ValidationLabels,
    build_sampler,
    build_validation,
    image_sampler,
    load_data,
    or_none,
)
from acreg.training.grids import with_grid
from acreg.training.live import LiveCurves
from acreg.training.pictures import draw_pairs, png
from acreg.training.run_folder import CACHE, check_run_folder, describe_run, described, model_card
from acreg.training.schema import AutoencoderSection, DataSection, Recipe, TrainingSection

Say = Callable[[str], None]


@writes_into("run_folder")
def run_recipe(
    recipe: Recipe,
    run_folder: str | Path,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
    stop: Callable[[], bool] = lambda: False,
    profile: bool = False,
) -> Path:
    """Train the models of a recipe.

    The same recipe, data and machine give the same weights, even if a run was killed and resumed (on a GPU, and on
    machines with many cores, TensorFlow needs `TF_DETERMINISTIC_OPS=1` in the environment for this; `acreg train`
    sets it).

    Arguments:
        recipe: from `load_recipe`.
        run_folder: new or empty; with `resume`, the folder of the run to continue (a new one starts the run).
        resume: continue from the last checkpoint.
        progress: called with (text, done, total) after each step; without it, `say` gets a line after each epoch.
        say: called with messages. Without `progress` and `say`, a notebook shows bars, curves and messages.
        stop: called after each step; once it returns true, training stops with an error.
        profile: write a TensorBoard trace of ten steps of the network.

    Returns:
        The folder of the preset with the best weights, `<run_folder>/preset`.

    Raises:
        UsageError: the folder is in use, the recipe changed since the run began, or the model refuses a value.
        AcregError: another process writes into the folder, data are not suitable, a loss is not finite, or a checkpoint
            cannot be written or read.
        Requeue: `stop` returned true; the run can be continued with `resume`.
    """
    folder = Path(run_folder)
    if progress is None and say is None and (bars := notebook_bars()):
        progress, say = bars, bars.say
    say = say or (lambda text: None)
    recipe = with_grid(recipe, say)
    check_run_folder(folder, recipe, resume)
    data = load_data(recipe, progress, folder / CACHE)
    run = _Run(recipe, folder, data, progress, say, stop, profile)
    run.check()
    describe_run(folder, recipe)
    stages = {}
    autoencoder = None
    if recipe.autoencoder is not None:
        autoencoder, state = run.autoencoder()
        if state is not None:
            stages["Label autoencoder"] = (state.best_epoch, state.history)
    with devices.divided() if recipe.training.distribute else nullcontext():
        preset, state = run.network(autoencoder)
    stages["Network"] = (state.best_epoch, state.history)
    picture = None
    if run.validation is not None:
        picture = png(draw_pairs(from_preset(preset), run.validation[0][0]))
    write_report(folder / "report.html", recipe, described(data), stages, picture)
    shutil.rmtree(folder / CACHE, ignore_errors=True)
    return preset


class _Run:
    """The state that the two stages of a run share."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        data: TrainingData,
        progress: Progress | None,
        say: Say,
        stop: Callable[[], bool],
        profile: bool,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.data = data
        self.progress = progress
        self.say = say
        self.stop = stop
        self.profile = profile

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler of the network's training batches."""
        if not build.segments(self.recipe):
            return build_sampler(self.recipe, self.data)
        build.need_labels(self.data)
        return image_sampler(self.recipe, self.data)

    @cached_property
    def validation(self) -> keras.utils.PyDataset | None:
        """The network's validation pairs, or the validation images of a segmenter."""
        held_out = self.data.validation
        if held_out is None or held_out.labels is None or not build.segments(self.recipe):
            return build_validation(self.recipe, self.data)
        return ValidationLabels(held_out.labels, self.recipe.training.batch_size, held_out.images)

    def check(self) -> None:
        """Check models and pairs before anything is written, so that no autoencoder is trained in vain."""
        if self.recipe.training.distribute:
            devices.check_division(self.recipe)
        section = self.recipe.autoencoder
        autoencoder = None
        if isinstance(section, AutoencoderSection):
            autoencoder = build.build_autoencoder(self.recipe, section, self.data)
        elif section is not None:
            autoencoder = self._given_autoencoder(section)
        model = build.build_network(self.recipe, self.data, autoencoder)
        for begin, end, frozen in _phases(self.recipe):
            steps = (end - begin) * self.recipe.training.steps_per_epoch
            build.compile_network(model, self.recipe, steps, frozen)
        if self.recipe.start is not None and self._state("network")[1] is None:
            model.transfer_from(self.recipe.start.source)
        if self.data.validation is not None:
            inputs = self.validation[0][0] if self.validation is not None else {}
            _check_monitor(self.recipe.training.monitor, model, inputs)
        _ = self.sampler, self.validation

    def autoencoder(self) -> tuple[LabelAutoencoder, State | None]:
        """The trained autoencoder: given by the recipe, finished earlier in this run, or trained now."""
        section = self.recipe.autoencoder
        if not isinstance(section, AutoencoderSection):
            self.say(f"autoencoder: taken from the preset {section}")
            return self._given_autoencoder(str(section)), None
        preset = self.folder / "autoencoder"
        state, arrays = self._state("autoencoder")
        if state.finished:
            self.say(f"autoencoder: complete, taken from {preset}")
            write_metrics(self.folder / "autoencoder_metrics.csv", state.history)
            return from_preset(preset), state
        model = build.build_autoencoder(self.recipe, section, self.data)
        labels = build.need_labels(self.data)
        sampler = LabelSampler(labels, section.batch_size, self.recipe.seed, or_none(section.augmentation))
        held_out = None if self.data.validation is None else self.data.validation.labels
        self._fit(
            "autoencoder",
            model,
            sampler,
            None if held_out is None else ValidationLabels(held_out, section.batch_size),
            state,
            arrays,
            schedule=section,
            monitor="val_dice",
            mode="max",
            patience=None,
            preset=preset,
            title="label autoencoder",
        )
        return from_preset(preset), state

    def network(self, autoencoder: LabelAutoencoder | None) -> tuple[Path, State]:
        """The preset of the registration network, and the rows of its training."""
        training, preset = self.recipe.training, self.folder / "preset"
        state, arrays = self._state("network")
        if state.finished:
            self.say(f"network: complete, in {preset}")
            write_metrics(self.folder / "metrics.csv", state.history)
            return preset, state
        model = build.build_network(self.recipe, self.data, autoencoder)
        if self.recipe.start is not None and arrays is None:
            model.transfer_from(self.recipe.start.source)
            self.say(f"network: starts from {self.recipe.start.source}")
        optimizer = self.recipe.optimizer
        for begin, end, frozen in _phases(self.recipe):
            if state.epoch >= end:
                continue
            build.compile_network(model, self.recipe, (end - begin) * training.steps_per_epoch, frozen)
            self._fit(
                "network",
                model,
                self.sampler,
                self.validation,
                state,
                arrays,
                schedule=training,
                monitor=training.monitor,
                mode=training.mode,
                patience=training.early_stopping_patience if end == training.epochs else None,
                plateau=(optimizer.plateau_factor, optimizer.plateau_patience)
                if optimizer.schedule == "plateau"
                else None,
                preset=preset,
                title="segmenter" if build.segments(self.recipe) else "registration network",
                begin=begin,
                end=end,
            )
            arrays = None
        return preset, state

    def _state(self, stage: str) -> tuple[State, dict[str, np.ndarray] | None]:
        found = load_checkpoint(self.folder / "checkpoints", stage)
        if found is None:
            return State(data=self.data.digest), None
        state, arrays = found
        if state.data != self.data.digest:
            raise AcregError(
                f"A training is resumed with the data that it began with. Received: other images, labels or subjects "
                f"in {self.data.dataset.folder}, or a run of an acreg that did not round images to 16 bits. Restore "
                "them, or train into a new folder."
            )
        return state, arrays

    def _fit(
        self,
        stage: str,
        model: keras.Model,
        sampler: Sampler,
        validation: keras.utils.PyDataset | None,
        state: State,
        arrays: dict[str, np.ndarray] | None,
        *,
        schedule: AutoencoderSection | TrainingSection,
        monitor: str,
        mode: str,
        patience: int | None,
        plateau: tuple[float, int] | None = None,
        preset: Path,
        title: str,
        begin: int = 0,
        end: int | None = None,
    ) -> None:
        """Train one stage, or its epochs from `begin` to `end`, starting from `state`, which is updated in place.

        The optimiser is new at `begin`; a checkpoint of that epoch holds the previous optimiser.
        """
        end = schedule.epochs if end is None else end
        metrics = "metrics.csv" if stage == "network" else f"{stage}_metrics.csv"
        if arrays is not None:
            restore(model, dict(arrays), optimizer=state.epoch > begin)
            write_metrics(self.folder / metrics, state.history)
            self.say(f"{stage}: goes on after epoch {state.epoch} of {schedule.epochs}")
        if state.epoch == begin:
            state.waited = 0
        start = state.epoch * schedule.steps_per_epoch
        callbacks: list[keras.callbacks.Callback] = [
            StopOnNonFinite(stage, schedule.steps_per_epoch),
            Recorder(
                stage,
                state,
                checkpoints=self.folder / "checkpoints",
                metrics=self.folder / metrics,
                epochs=schedule.epochs,
                steps_per_epoch=schedule.steps_per_epoch,
                monitor=monitor if validation is not None else None,
                mode=mode,
                patience=patience if validation is not None else None,
                plateau=plateau,
                save_best=lambda row: model.save_preset(preset, model_card(self.recipe, self.data, row, title)),
            ),
            ShowProgress(stage, schedule.epochs, schedule.steps_per_epoch, self.progress, self.say),
        ]
        if isinstance(self.progress, NotebookBars):
            callbacks.append(LiveCurves(self.progress, state.history))
        if stage == "network":
            callbacks.append(WarnOfCollapse(state, self.say))
            shown = None if validation is None else validation[0][0]
            steps = schedule.steps_per_epoch if self.profile else 0
            callbacks += tensorboard(self.folder / "tensorboard", self.say, shown, trace_within=steps)
        callbacks.append(StopWhenAsked(stage, schedule.steps_per_epoch, self.stop))
        model.fit(
            batches(sampler, start, end * schedule.steps_per_epoch - start, workers(self.recipe.data)),
            steps_per_epoch=schedule.steps_per_epoch,
            shuffle=False,
            epochs=end,
            initial_epoch=state.epoch,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )

    def _given_autoencoder(self, name: str) -> LabelAutoencoder:
        model = load_autoencoder(name)
        wanted = (tuple(self.recipe.data.shape), self.data.num_classes)
        if (tuple(model.shape), model.num_classes) != wanted:
            raise UsageError(
                f"The autoencoder must have the recipe's grid and the dataset's labels, {wanted[0]} and {wanted[1]}. "
                f"Received: {name} for {tuple(model.shape)} and {model.num_classes}. Train one with this recipe."
            )
        if model.preprocessing is not None:
            warn_of_other_names(
                model.preprocessing.label_names, self.data.preprocessing.label_names, self.recipe.data.dataset
            )
        return model


def workers(section: DataSection) -> int:
    """The number of threads that make batches: never more than the cores, and by default half of them, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // 2, 8)) if section.workers is None else min(section.workers, cores)


def batches(sampler: Sampler, start: int, steps: int, workers: int = 1) -> Any:
    """The batches of `steps` steps, beginning with step `start`, for `fit`: tf.data on TensorFlow, else a PyDataset."""
    if keras.backend.backend() == "tensorflow":
        return tf_pairs(sampler, start, steps, workers)
    return KerasPairs(sampler, start, workers)


def _phases(recipe: Recipe) -> list[tuple[int, int, list[str]]]:
    """The phases of the network's training: first epoch, the epoch after the last, and frozen parts."""
    training, start = recipe.training, recipe.start
    if start is None:
        return [(0, training.epochs, [])]
    if start.freeze_steps is None:
        return [(0, training.epochs, start.freeze)]
    middle = start.freeze_steps // training.steps_per_epoch
    return [(0, middle, start.freeze), (middle, training.epochs, [])]


def _check_monitor(monitor: str, model: keras.Model, validation: Collection[str]) -> None:
    """Refuse a monitored number that will not be logged; `validation` has the names of the inputs in validation."""
    logged = [metric.name for metric in model.metrics]
    needs = {name: loss.needs for name, loss in getattr(model, "chosen_losses", {}).items()}
    measured = [name for name in logged if not lacking(needs.get(name, ()), validation)]
    if needs and not needs.keys() & set(measured):
        measured.remove("loss")  # a sum of nothing, see `FieldModel.evaluate`
    known = [*logged, *(f"val_{name}" for name in measured)]
    if monitor not in known:
        hint = " Dice is logged where the dataset has labels." if monitor.endswith("dice") else ""
        raise UsageError(
            f"training.monitor must be a number that is logged. Received: {monitor}. Logged: {', '.join(known)}.{hint}"
        )

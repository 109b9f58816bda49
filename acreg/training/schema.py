"""The schema of recipes: sections and their values."""

from __future__ import annotations

import math
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from acreg.data.sampling.augmentation import Augmentation
from acreg.data.sampling.deformation import RandomDeformation
from acreg.io.preprocessing import MOST_VOXELS, Centre, Intensity
from acreg.names import is_file_name

Split = Literal["train", "validation", "test"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class _Schedule(_Section):
    """Training length in steps; an epoch has `steps_per_epoch` steps and ends with validation and a checkpoint.

    Arguments:
        steps: number of batches; a multiple of `steps_per_epoch`.
        steps_per_epoch: number of batches between two validations, each of which ends with a checkpoint.
    """

    steps: int = Field(ge=1, le=10**9)
    steps_per_epoch: int = Field(default=100, ge=1, le=10**9)

    @model_validator(mode="before")
    @classmethod
    def _short_run_is_one_epoch(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("steps"), int):
            per_epoch = values.get("steps_per_epoch", cls.model_fields["steps_per_epoch"].default)
            if isinstance(per_epoch, int) and 1 <= values["steps"] < per_epoch:
                return {**values, "steps_per_epoch": values["steps"]}
        return values

    @model_validator(mode="after")
    def _epochs_are_whole(self) -> _Schedule:
        if self.steps % self.steps_per_epoch:
            raise ValueError(f"steps ({self.steps}) must be a multiple of steps_per_epoch ({self.steps_per_epoch})")
        return self

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.steps // self.steps_per_epoch


class SyntheticSection(_Section):
    """Pairs made from single images during training.

    Arguments:
        max_rotation, max_translation, max_deformation, control_points, gamma, brightness: see
            `acreg.layers.ThinPlateSplineAugmentation`.
        real_pairs: number of real pairs, of two subjects, in a batch; the other pairs are made from single images.
    """

    max_rotation: float = 10.0
    max_translation: float = 30.0
    max_deformation: float = 6.0
    control_points: int = Field(default=8, le=1024)
    gamma: float = 1.0
    brightness: float = 0.2
    real_pairs: int = Field(default=0, ge=0, le=2**16)

    def layer_arguments(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return self.model_dump(exclude={"real_pairs"})


class DataSection(_Section):
    """The training data.

    Arguments:
        dataset: the name or folder of a prepared dataset.
        shape: the network's grid, (rows, columns) or (z, y, x). Left out, it is that of the preset that the training
            starts from; without one, volumes get a grid that covers them, and pictures 64 x 64.
        spacing, centre, trim, window, intensity: see `acreg.io.Preprocessing`; the landmarks of the intensity
            "histogram" are learned from the training subjects.
        train_splits: the splits from which training pairs are drawn.
        train_subjects: the number of their subjects to use, from the first; null for all.
        validation_split: the split that determines which weights are kept; "none" keeps the last weights.
        validation_pairs: number of fixed pairs of this split that are registered after each epoch. If all training
            pairs are made from single images, so are the validation pairs, once.
        augmentation: augmentation of both images of real pairs, see `acreg.data.Augmentation`.
        augmentation_in: "input" makes it in the input, by NumPy; "model" in the model's graph, on its device, by
            `acreg.layers.ImageAugmentation`, for networks that register real pairs.
        moving_augmentation: augmentation of the moving image alone, after `augmentation`: a random rotation, scaling,
            shear and translation teaches a network to align.
        synthetic: how pairs are made from single images; null for real pairs only.
        deformed: the same for 2-D pairs of an image and its copy, which is rotated, translated and deformed until the
            labels hardly overlap, with the true displacement; for the limits, see
            `acreg.data.sampling.deformation.RandomDeformation`.
        velocities: the folder of reference velocities (see `acreg data velocities`), whose pairs are used for training;
            relative to the folder of the dataset. Velocities belong to the images as they are stored: `shape` must be
            that of the images, and their spacing is used. null for none.
        self_pairs: with velocities, also train on pairs of an image with itself, whose velocity is 0.
        max_shift: largest translation of a pair and its velocity in training, in voxels by axis; null for none.
        memory: largest size in memory of the preprocessed subjects, in GB (10^9 bytes): 2 bytes a voxel for images, 1
            for up to 256 labels. If they need more, they are stored in files, of which a part is held in memory.
        cache: the folder of these files, which other trainings on the same subjects then use as well; null for a
            folder `cache` in that of the run, which is removed at the end.
        workers: number of threads that make batches, at most the number of cores; null for half of the cores, at most
            8. Neither this nor `memory` changes the batches.
    """

    dataset: str
    shape: tuple[int, ...] = (64, 64)
    spacing: tuple[float, ...] | None = None
    centre: Centre = "extent"
    trim: bool = True
    window: tuple[float, float] | None = None
    intensity: Intensity = "minmax"
    train_splits: list[Split] = Field(default=["train"], min_length=1)
    train_subjects: int | None = Field(default=None, ge=1)
    validation_split: Split | Literal["none"] = "validation"
    validation_pairs: int = Field(default=50, ge=1, le=10**6)
    augmentation: Augmentation = Field(default_factory=Augmentation)
    augmentation_in: Literal["input", "model"] = "input"
    moving_augmentation: Augmentation = Field(default_factory=Augmentation)
    synthetic: SyntheticSection | None = None
    deformed: RandomDeformation | None = None
    velocities: str | None = None
    self_pairs: bool = False
    max_shift: tuple[int, ...] | None = None
    memory: float = Field(default=1.0, ge=0)
    cache: str | None = None
    workers: int | None = Field(default=None, ge=1)

    @property
    def pairs_are_made(self) -> bool:
        """Whether all pairs are made from single images."""
        return self.deformed is not None or (self.synthetic is not None and not self.synthetic.real_pairs)

    @model_validator(mode="after")
    def _made_pairs_have_their_own_augmentation(self) -> DataSection:
        for name in ("augmentation", "moving_augmentation"):
            if self.pairs_are_made and getattr(self, name) != Augmentation():
                raise ValueError(f"{name} is of real pairs: leave it out, or (with synthetic) set synthetic.real_pairs")
        return self

    @model_validator(mode="after")
    def _a_model_augments_real_pairs(self) -> DataSection:
        alike = self.synthetic is None and self.moving_augmentation == Augmentation()
        if self.augmentation_in == "model" and not alike:
            raise ValueError(
                "augmentation_in: model is for real pairs whose images are augmented alike: leave out synthetic and "
                "moving_augmentation, or set augmentation_in: input"
            )
        return self

    @model_validator(mode="after")
    def _pairs_are_made_in_one_way(self) -> DataSection:
        if self.deformed is not None and self.synthetic is not None:
            raise ValueError("pairs are made in one way: set synthetic or deformed, not both")
        if self.deformed is not None and len(self.shape) != 2:
            raise ValueError(f"deformed pairs are of 2-D images: shape must have 2 sizes, not {list(self.shape)}")
        return self

    @model_validator(mode="after")
    def _velocities_are_of_the_images_as_they_are(self) -> DataSection:
        if self.velocities is None:
            for name in ("max_shift", "self_pairs"):
                if getattr(self, name):
                    raise ValueError(f"{name} is of pairs with velocities: set velocities too, or leave it out")
            return self
        changed = {name: getattr(self, name) for name in ("spacing", "synthetic", "deformed")} | {
            "trim": self.trim or None,
            "centre": None if self.centre == "extent" else self.centre,
            "augmentation": None if self.augmentation == Augmentation() else "one",
            "moving_augmentation": None if self.moving_augmentation == Augmentation() else "one",
        }
        wrong = [name for name, value in changed.items() if value is not None]
        if wrong:
            raise ValueError(
                f"with velocities, which are of the images as they are stored, leave out {wrong} (trim: false)"
            )
        return self

    @model_validator(mode="after")
    def _shape_is_a_size(self) -> DataSection:
        if len(self.shape) not in (2, 3) or min(self.shape) < 8:
            raise ValueError(f"shape must be 2 or 3 sizes of at least 8, not {list(self.shape)}")
        if math.prod(self.shape) > MOST_VOXELS:
            raise ValueError(f"shape must be of at most {MOST_VOXELS} voxels, not {list(self.shape)}")
        return self


class AutoencoderSection(_Schedule):
    """How the label autoencoder of the anatomical prior is trained, before the network.

    Arguments:
        batch_size: number of label maps in a batch.
        learning_rate: of Adam, constant.
        code_size: length of the code of a label map.
        noise: "pair_swap" (columns 2k and 2k+1 of a row are swapped) or "border" (a pixel takes the label of its left
            neighbour).
        noise_probability: probability of each such change.
        augmentation: only the geometric parts have an effect on labels.
    """

    batch_size: int = Field(default=16, ge=1, le=2**16)
    learning_rate: float = Field(default=1e-3, gt=0)
    noise: Literal["pair_swap", "border"] = "pair_swap"
    noise_probability: float = Field(default=0.1, ge=0, le=1)
    code_size: int = Field(default=32, ge=1, le=2**16)
    augmentation: Augmentation = Field(default_factory=Augmentation)


class ModelSection(_Section):
    """The network: what follows from the data is filled in.

    Arguments:
        class_name (`class` in the file): of `acreg.models`, or the name under which another package registered its
            model with Keras, such as "mypackage>MyNet".
        arguments: arguments of the class; what is left out has its default, or the value of the preset that the
            training starts from. `losses` has a weight for each loss by its name, or the weight and arguments
            of the loss: `losses: {local_ncc: {weight: 1, window: 7}, "mypackage>edges": 0.5}`.
    """

    class_name: str = Field(default="ACRegNet", alias="class")
    arguments: dict[str, Any] = Field(default_factory=dict)


class StartSection(_Section):
    """The initial weights of the network, and the parts that are frozen.

    Arguments:
        source (`from` in the file): a preset, a `.keras` file or a `.weights.h5` file, of a network with the same
            widths. Class, arguments, grid and preprocessing that the recipe does not state are those of the preset.
        freeze: parts of the network that are not trained, such as "encoder"; see `acreg.models.RegistrationModel`.
        freeze_steps: number of steps after which the whole network is trained, with a new optimiser; null for never.
            This is the two-step transfer learning of DDMR.
    """

    source: str = Field(alias="from")
    freeze: list[str] = Field(default_factory=list)
    freeze_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _steps_need_parts(self) -> StartSection:
        if self.freeze_steps and not self.freeze:
            raise ValueError("freeze_steps needs the parts to freeze, such as freeze: [encoder]")
        return self


class OptimizerSection(_Section):
    """The optimiser and the schedule of its learning rate.

    Arguments:
        name: "adam" or "adamw".
        learning_rate: the highest, before the schedule lowers it.
        beta_1: decay of Adam's moving average of the gradient, per step.
        weight_decay: share by which each step shrinks the weights, times the learning rate; null for none ("adam"), or
            for that of Keras ("adamw").
        schedule: "constant"; "cosine" down to `final_fraction` of the learning rate; "step", which multiplies it by
            `step_factor` after every `step_epochs` epochs, but never below `floor`; or "plateau", which multiplies it
            by `plateau_factor` each time `training.monitor` has not improved for `plateau_patience` epochs.
        final_fraction: see `schedule`, "cosine".
        step_epochs, step_factor, floor: see `schedule`, "step".
        plateau_factor, plateau_patience: see `schedule`, "plateau".
        warmup_steps: number of steps in which the learning rate rises from 0; 0 for none.
        clipnorm: largest norm of the gradient of each variable; null for no limit.
        gradient_accumulation_steps: number of batches whose gradients are averaged for one update of the weights; null
            for one.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0)
    schedule: Literal["constant", "cosine", "step", "plateau"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    final_fraction: float = Field(default=0.01, ge=0, le=1)
    step_epochs: int = Field(default=10, ge=1)
    step_factor: float = Field(default=0.5, gt=0, lt=1)
    floor: float = Field(default=1e-6, ge=0)
    plateau_factor: float = Field(default=0.1, gt=0, lt=1)
    plateau_patience: int = Field(default=10, ge=1)
    clipnorm: float | None = Field(default=None, gt=0)
    gradient_accumulation_steps: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _parts_agree(self) -> OptimizerSection:
        if self.schedule in ("plateau", "step") and self.warmup_steps:
            raise ValueError(f"warmup_steps must be 0 with schedule {self.schedule}, not {self.warmup_steps}")
        if self.schedule == "step" and self.floor > self.learning_rate:
            raise ValueError(f"floor ({self.floor:g}) must be at most learning_rate ({self.learning_rate:g})")
        return self


class TrainingSection(_Schedule):
    """How long the network is trained.

    Arguments:
        batch_size: number of pairs in a batch; of images, for a segmenter.
        early_stopping_patience: number of epochs without improvement of `monitor` after which training stops; null for
            never.
        monitor: the logged number whose best epoch becomes the preset.
        mode: whether a larger or a smaller `monitor` is better.
        mixed_precision: a Keras policy such as "mixed_float16", which scales the loss; null for float32.
        distribute: train on all devices of this machine, each of which processes a part of each batch; see
            docs/how-to/devices.md.
        jit_compile: "auto" compiles the step with XLA on a GPU only.
    """

    batch_size: int = Field(default=32, ge=1, le=2**16)
    early_stopping_patience: int | None = Field(default=None, ge=1)
    monitor: str = "val_dice"
    mode: Literal["max", "min"] = "max"
    mixed_precision: Literal["mixed_float16", "mixed_bfloat16"] | None = None
    distribute: bool = False
    jit_compile: bool | Literal["auto"] = "auto"


class Recipe(_Section):
    """A complete training.

    Arguments:
        name: of the run's folder, below `runs`; by default, that of the file.
        description: one sentence for the model card and the report.
        seed: decides the initial weights, the order of the pairs and all random changes.
        data: the training data.
        autoencoder: the label autoencoder of the anatomical prior: how it is trained, a preset to reuse, or null.
        model: the network and its losses.
        start: the initial weights; null for random ones.
        optimizer: the optimiser and its learning rate.
        training: how long the network is trained, and which weights are kept.
    """

    name: str
    description: str = Field(default="", max_length=10_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSection
    autoencoder: AutoencoderSection | str | None = None
    model: ModelSection = Field(default_factory=ModelSection)
    start: StartSection | None = None
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    training: TrainingSection

    @field_validator("name")
    @classmethod
    def _name_is_of_a_folder(cls, name: str) -> str:
        if not is_file_name(name):
            raise ValueError("a recipe's name becomes a folder's: no slashes, no dot at its ends, at most 200 bytes")
        return name

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        if self.optimizer.schedule == "plateau" and self.data.validation_split == "none":
            raise ValueError("optimizer.schedule plateau needs a validation split (data.validation_split)")
        synthetic = self.data.synthetic
        if synthetic is not None and synthetic.real_pairs >= self.training.batch_size:
            raise ValueError(
                f"data.synthetic.real_pairs ({synthetic.real_pairs}) must be fewer than training.batch_size "
                f"({self.training.batch_size}); for real pairs alone leave data.synthetic out"
            )
        if self.training.distribute and synthetic is not None:
            raise ValueError(
                "training.distribute needs pairs that are given, of which data.synthetic has none: made on a device, "
                "they would be made alike on all. Leave the one or the other out"
            )
        frozen = None if self.start is None else self.start.freeze_steps
        if frozen and (frozen % self.training.steps_per_epoch or frozen >= self.training.steps):
            raise ValueError(
                f"start.freeze_steps ({frozen}) must be a multiple of training.steps_per_epoch "
                f"({self.training.steps_per_epoch}) and fewer than training.steps ({self.training.steps})"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as plain YAML types."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML text."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)

"""Registration methods with one interface: the model of a preset, an optimisation, a classical program, or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from acreg._moved import warn_of_old_name
from acreg.baselines.baseline import Baseline, baseline
from acreg.baselines.options import read_options, split_name, with_options
from acreg.baselines.tools import NAMES as CLASSICAL
from acreg.errors import AcregError, UsageError, argument, images_by_name
from acreg.geometry import Grid, Image, Transform
from acreg.geometry.extents import ALIGNMENTS, Align, unregistered
from acreg.inference import preset_folder
from acreg.inference.presets import preset_digest
from acreg.optimisation.names import NAMES as OPTIMISED
from acreg.registration.optimised import Optimised
from acreg.registration.presets import from_preset, is_segmenter
from acreg.registration.usual import Usual


class Method(Protocol):
    """A registration method: a model, an optimisation or a classical program, with the same interface."""

    name: str

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The transform that warps `moving` onto the grid of `fixed`."""
        ...


class Unregistered:
    """No registration, which shows the images as they lie.

    Args:
        align: see `acreg.geometry.unregistered`. It is part of the name, in brackets, unless it is the default.
    """

    name = "unregistered"

    def __init__(self, align: Align = "headers") -> None:
        self.align = align
        self.name = with_options(self.name, {} if align == "headers" else {"align": align})

    @property
    def settings(self) -> dict[str, Any]:
        """What determines its results."""
        return {"method": self.name, "options": {"align": self.align}}

    @images_by_name
    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The transform of `acreg.geometry.unregistered`."""
        return unregistered(fixed=fixed, moving=moving, align=self.align)


METHOD_NAMES = (Unregistered.name, *OPTIMISED, *CLASSICAL)
"""The names of all methods that need no preset, see `named_method`."""


class PresetMethod:
    """A model, with an optional name.

    Args:
        model: the name of a shipped preset, the folder of a preset, or a loaded model.
        name: the name in tables; by default, the name of the preset or model, followed by "-refined" with refinement.
        refine: maximum number of refinement steps for each pair, see `RegistrationModel.refine`.

    Raises:
        AcregError: the preset cannot be loaded, or does not register (an autoencoder).
    """

    def __init__(self, model: str | os.PathLike[str] | Any, name: str = "", refine: int = 0) -> None:
        stored = isinstance(model, (str, os.PathLike))
        self._model: Any = from_preset(model, "keras" if refine else None) if stored else model
        self.preset = str(model) if stored else ""
        self.refine = refine
        own = preset_name(self.preset) if stored else str(getattr(model, "name", type(model).__name__))
        self.name = name or own + ("-refined" if refine else "")
        if not hasattr(self._model, "register"):
            raise AcregError(
                f"A model that registers is needed. Received: {model}, a {type(self._model).__name__}. "
                "Give the preset of a registration network."
            )
        self.usual = Usual.of_preset(preset_folder(model)) if stored else None
        self.deforms, self.both_ways = True, not refine
        self.takes_mask = bool(getattr(self._model, "takes_mask", False))
        if stored:  # the weights of an object in memory may differ from those of any file
            self.sha256 = preset_digest(model)

    def affine_part(self) -> PresetMethod | None:
        """The affine part of the model as a method with the same name followed by "-affine"; None if it has none."""
        if getattr(self._model, "affine", "none") in ("none", False):
            return None
        part = copy(self)
        part._model, part.refine, part.name = self._model.affine_part(), 0, f"{self.name}-affine"
        part.usual, part.deforms = None, False  # usual results are known for the complete model only
        return part

    @images_by_name
    def register(self, *, fixed: Image, moving: Image, fixed_mask: Image | None = None) -> Transform:
        """Register with the model; the mask of the fixed image is for one that `takes_mask`."""
        if self.refine:
            return self._model.refine(fixed=fixed, moving=moving, steps=self.refine)
        return self._model.register(fixed=fixed, moving=moving, **_given(fixed_mask))

    @images_by_name
    def register_many(self, *, fixed: Sequence[Image], moving: Sequence[Image]) -> list[Transform]:
        """Register pairs in one batch through the network; one by one with refinement."""
        if self.refine:
            return [self.register(fixed=one, moving=other) for one, other in zip(fixed, moving, strict=True)]
        return self._model.register_many(fixed=fixed, moving=moving)

    def sees(self, image: Image) -> Grid:
        """The network's grid in an image."""
        return self._model.preprocessing.grid(image)

    def preprocessed(self, image: Image) -> NDArray[np.float32]:
        """An image as the network sees it, `(*spatial, 1)`."""
        array: NDArray[np.float32] = self._model.preprocessing.apply(image)
        return array

    @images_by_name
    def segment(self, *, fixed: Image, moving: Image, fixed_mask: Image | None = None) -> Image | None:
        """The model's mask of the fixed image; None for a model that does not segment."""
        if not getattr(self._model, "segments", False):
            return None
        return self._model.segment(fixed=fixed, moving=moving, **_given(fixed_mask))


def _given(fixed_mask: Image | None) -> dict[str, Image]:
    """The mask as an argument, for the models that have it."""
    return {} if fixed_mask is None else {"fixed_mask": fixed_mask}


def named_method(name: str, threads: int, seed: int) -> Baseline | Optimised | Unregistered:
    """A method that needs no preset.

    Args:
        name: "unregistered", which is `Unregistered`, or "unregistered[align=extents]"; one of
            `acreg.optimisation.NAMES`, which is `Optimised`; or a classical method of `acreg.baselines`. Until version
            0.3 "identity" is taken for the first, with a warning.
        threads, seed: threads of a classical method, and the random seed.

    Raises:
        UsageError: there is no method of this name.
        AcregError: as `acreg.baselines.baseline` and `Optimised`.
    """
    if name == "identity":
        warn_of_old_name("The method identity", Unregistered.name)
        name = Unregistered.name
    kind, options = split_name(name)
    if kind not in METHOD_NAMES:
        raise UsageError(
            f"A method is one of {', '.join(METHOD_NAMES)}, and may have options in brackets. Received: {name!r}. "
            "Correct the name; capitals count."
        )
    if kind == Unregistered.name:
        chosen = read_options(kind, options, {"align": ALIGNMENTS[0]}, {"align": ALIGNMENTS})
        return Unregistered(cast(Align, chosen["align"]))
    return Optimised(name, seed) if kind in OPTIMISED else baseline(name, threads, seed)


def one_method(
    model: str | os.PathLike[str] | Any | None = None,
    method: str | Method | None = None,
    *,
    refine: int = 0,
    threads: int = 1,
    seed: int = 0,
) -> Method:
    """The method for either a model or a method name.

    Args:
        model: as for `preset_method`.
        method: as for `named_method`, or any object with `name` and `register`.
        refine: maximum number of refinement steps of a model.
        threads, seed: threads of a classical method, and random seed of one and of an optimisation.

    Raises:
        UsageError: as for `check_one_method`.
        AcregError: as for `preset_method` and `named_method`.
    """
    check_one_method(model, method, refine)
    if isinstance(model, str) and model == Unregistered.name:
        warn_of_old_name(argument("model", model), argument("method", model), stacklevel=3)
        method = model
    if method is not None:
        return named_method(method, threads, seed) if isinstance(method, str) else method
    return preset_method(model, refine=refine, seed=seed)


def preset_method(
    model: str | os.PathLike[str] | Any, name: str = "", refine: int = 0, seed: int = 0
) -> PresetMethod | Optimised:
    """The method of a preset: its network; for a segmenter, `Optimised` by the anatomy that it predicts.

    Args:
        model, name, refine: as for `PresetMethod`.
        seed: of `Optimised`.

    Raises:
        UsageError: a segmenter is to be refined.
        AcregError: as for `PresetMethod` and `Optimised`.
    """
    if not isinstance(model, (str, os.PathLike)) or not is_segmenter(model):
        return PresetMethod(model, name, refine)
    if refine:
        raise UsageError(
            "Networks that register are refined; a segmenter's registration is an optimisation already. Received: "
            f"{argument('model', model)}, {argument('refine', refine)}. Leave out {argument('refine')}."
        )
    method = Optimised(seed=seed, features=os.fspath(model))
    method.name = name or preset_name(os.fspath(model))
    return method


def check_one_method(model: str | os.PathLike[str] | Any | None, method: str | Method | None, refine: int = 0) -> None:
    """Raise `UsageError` unless either a model or a method is given, and a model if the result is refined."""
    if (model is None) == (method is None):
        raise UsageError(
            "Images are registered by a model or by another method. Received: "
            f"{argument('model', model)}, {argument('method', method)}. "
            f"Give one of {argument('model')} and {argument('method')}."
        )
    if refine and method is not None:
        raise UsageError(
            f"Models alone refine. Received: {argument('refine', refine)} with {argument('method', method)}. Leave out "
            f"{argument('refine')}, or give a preset."
        )


def preset_name(model: str) -> str:
    """The name of a preset; for `runs/<name>/preset`, the name of the run's folder."""
    path = Path(model).resolve()
    return path.parent.name if path.name == "preset" and path.parent.name else path.name


def register_many(method: Method, pairs: Sequence[tuple[Image, Image]], at_once: int = 1) -> list[Transform]:
    """Register pairs (fixed, moving), `at_once` per batch if the method can; classical methods take one at a time."""
    many = getattr(method, "register_many", None)
    if many is None:
        return [method.register(fixed=fixed, moving=moving) for fixed, moving in pairs]
    parts = [pairs[n : n + at_once] for n in range(0, len(pairs), at_once)]
    return [found for part in parts for found in many(fixed=[f for f, _ in part], moving=[m for _, m in part])]

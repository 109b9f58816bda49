"""Registration by optimisation as a method with a name: `acreg:deformable[similarity=local_ncc]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import acreg
from acreg.baselines.baseline import SEEDS
from acreg.baselines.options import Value, read_options, split_name, written
from acreg.errors import AcregError, UsageError, images_by_name
from acreg.geometry import Affine, Image, Transform
from acreg.inference.presets import preset_digest
from acreg.optimisation.names import DEFAULT, DEMONS, LINEAR, NAMES
from acreg.registration.features import Features, network_start
from acreg.registration.usual import Usual

if TYPE_CHECKING:
    from acreg.optimisation import Alignment, Engine, EngineResult, Guides, LogDemons

NONE = "none"
"""The value of the options `linear` and `start` that leaves out this stage."""


class Optimised:
    """Registration of a pair by `acreg.optimisation.Engine` or `LogDemons`, without a trained network.

    `acreg:translation`, `acreg:rigid`, `acreg:similarity` and `acreg:affine` find a linear map. `acreg:deformable` goes
    on with a deformation, and compares the images by a similarity that fits them (one contrast or two);
    `acreg:multimodal` takes two contrasts for granted. Both take options in brackets: `linear` (the linear stage, or
    none), `discrete`, `similarity` (`auto` or a loss on images, see `acreg.losses`), `voxels` of the working grid at
    most, `features` (the preset of an `acreg.models.Segmenter`), `start` (the preset of a registration network, or
    none), and the fields of `acreg.optimisation.Settings`. `acreg:lcc-demons` is `acreg.optimisation.LogDemons`, with
    the options `linear`, `voxels` and the fields of `acreg.optimisation.DemonsSettings`.

    With `features`, the segmenter predicts the anatomy in both images, and the overlap of its label maps joins the
    energy, as labels that a user gives do; such labels take precedence. A segmenter may have options of its own
    (`Segmenter.registration`), which hold unless others are given. If an image is unlike those on which the segmenter
    was trained, or looks reversed, the images are registered without its labels and without `start`.

    With `start`, the registration starts from the transform of that network, without the linear and the discrete
    stage; unless the network's verdict is not "ok", or an initial transform is given.

    What is compiled for a pair is kept for further pairs of the same size.

    Args:
        name: one of `acreg.optimisation.NAMES`, optionally with options in brackets.
        seed: of the samples of the linear stage, from 0 to 2**31 - 2.
        features: the preset of a segmenter, instead of the option.

    Attributes:
        settings: all that determines a result, for the record: method, tool, version, options, seed.
        deforms: whether the result is more than a linear map.
        relies_on_network: False: images that a network does not know are registered without it.

    Raises:
        UsageError: the method or an option does not exist, or the seed is out of range.
    """

    relies_on_network = False

    def __init__(self, name: str = DEFAULT, seed: int = 0, features: str = "") -> None:
        method, text = split_name(name)
        if method not in NAMES:
            raise UsageError(
                f"A registration by optimisation is one of {', '.join(NAMES)}, perhaps with options in brackets. "
                f"Received: {name!r}. Correct the name; capitals count."
            )
        if not 0 <= seed < SEEDS:
            raise UsageError(f"A seed is from 0 to {SEEDS - 1}. Received: seed={seed}. Choose another number.")
        kind = method.partition(":")[2]
        defaults, words = _options(kind)
        options = read_options(method, text, defaults, words)
        chosen = features or str(options.get("features", ""))
        self._features = Features(chosen) if chosen else None
        if self._features is not None:
            own = ",".join(f"{key}={written(value)}" for key, value in self._features.options.items())
            given = {part.partition("=")[0].strip() for part in text.split(",")}
            asked = {key: value for key, value in options.items() if key in given}
            options = {**read_options(method, own, defaults, words), **asked, "features": chosen}
        self.name = name
        self.deforms = kind not in LINEAR
        self.settings: dict[str, Any] = {
            "method": name,
            "tool": "acreg",
            "version": acreg.__version__,
            "options": options,
            "seed": seed,
        }
        start = str(options.get("start") or NONE)
        self.settings |= preset_digests({"features": chosen, "start": start})
        self.engine = _engine(kind, options, seed)
        self._start = network_start(start) if start != NONE else None

    @images_by_name
    def outcome(
        self,
        *,
        fixed: Image,
        moving: Image,
        guides: Guides | None = None,
        say: Callable[[str], None] | None = None,
    ) -> EngineResult:
        """The transform, and what each stage did.

        Args:
            fixed, moving: the images.
            guides: what is known about them.
            say: called with a sentence after each stage and level.

        Raises:
            AcregError: a linear registration is to start from a transform that deforms; or as
                `acreg.optimisation.Engine.register`.
        """
        from acreg.optimisation import Guides

        initial = None if guides is None else guides.initial
        if not self.deforms and initial is not None and not all(isinstance(one, Affine) for one in initial.maps):
            raise AcregError(
                f"A linear registration starts from a linear transform. Received: {self.name} with an initial "
                f"transform that deforms. Register by {DEFAULT}, or give the linear part alone."
            )
        guides, tell = guides or Guides(), say or (lambda _: None)
        images, usual = {"fixed": fixed, "moving": moving}, self.usual
        strange = [role for role in images if usual and usual.is_strange(self.preprocessed(images[role]))]
        if strange:
            tell(f"without the segmenter: the {' and the '.join(strange)} image is unlike those it knows, or reversed")
        elif self._features is not None and guides.fixed_labels is None:
            one, other = (self._features.anatomy(image) for image in (fixed, moving))
            guides = replace(guides, fixed_labels=one, moving_labels=other)
        found = self._start(fixed, moving, tell) if self._start and initial is None and not strange else None
        start: dict[str, Any] = {} if found is None else {"start": found}
        return self.engine.register(fixed=fixed, moving=moving, guides=guides, progress=say, **start)

    @property
    def usual(self) -> Usual | None:
        """What is usual for the preset of the features; None without them, or if that is not known."""
        return None if self._features is None else self._features.usual

    def preprocessed(self, image: Image) -> NDArray[np.float32]:
        """An image as the segmenter sees it, `(*spatial, 1)`. With `features` only."""
        assert self._features is not None
        return self._features.preprocessed(image)

    @images_by_name
    def register(self, *, fixed: Image, moving: Image) -> Transform:
        """The transform that warps `moving` onto the grid of `fixed`.

        Raises:
            AcregError: as `acreg.optimisation.Engine.register`.
        """
        return self.outcome(fixed=fixed, moving=moving).transform


def preset_digests(presets: Mapping[str, str]) -> dict[str, str]:
    """The digests of the presets that a method uses, given by the names of its options, as `features_sha256`, ..."""
    used = {role: preset for role, preset in presets.items() if preset not in ("", NONE)}
    return {f"{role}_sha256": preset_digest(preset) for role, preset in used.items()}


def _options(kind: str) -> tuple[dict[str, Value], dict[str, tuple[str, ...]]]:
    """The options of a method with their defaults, which are those of the engine; and the words that some may be."""
    if kind in LINEAR:
        return {}, {}
    from acreg.optimisation import DemonsSettings, Engine, Settings

    engine, linear = Engine(), (*LINEAR, NONE)
    start: dict[str, Value] = {"linear": engine.alignment.linear or NONE}
    if kind == DEMONS:
        return start | {"voxels": engine.voxels, **asdict(DemonsSettings())}, {"linear": linear}
    from acreg.losses import IMAGE_LOSSES

    words = {
        "linear": linear,
        "similarity": ("auto", *IMAGE_LOSSES),
        "kind": ("velocity", "displacement"),
    }
    options: dict[str, Value] = {
        **start,
        "discrete": engine.discrete,
        "similarity": "auto",
        "voxels": engine.voxels,
        "features": "",
        "start": "",
        **asdict(Settings()),
    }
    return options, words


def _engine(kind: str, options: dict[str, Value], seed: int) -> Engine | LogDemons | Alignment:
    if kind in LINEAR:
        from acreg.optimisation import Alignment  # without Keras

        return Alignment(kind, seed)
    from acreg.optimisation import DemonsSettings, Engine, LogDemons, Settings
    from acreg.optimisation.engine import AUTO

    linear: Any = None if options["linear"] == NONE else options["linear"]
    if kind == DEMONS:
        given: dict[str, Any] = dict(options)
        demons = DemonsSettings(**{name: given[name] for name in asdict(DemonsSettings())})
        return LogDemons(linear, demons, given["voxels"], seed)
    engine: dict[str, Any] = {name: options[name] for name in ("discrete", "similarity", "voxels")}
    if engine["similarity"] == "auto" and kind == "multimodal":
        engine["similarity"] = AUTO["two"]
    for weighted in AUTO.values():  # with the weight that it has there: the smoothness is relative to it
        if list(weighted) == [engine["similarity"]]:
            engine["similarity"] = weighted
    settings: dict[str, Any] = {name: options[name] for name in asdict(Settings())}
    return Engine(linear, **engine, continuous=replace(Settings(), **settings), seed=seed)

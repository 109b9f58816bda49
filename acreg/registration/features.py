"""What trained networks add to a registration by optimisation: predicted anatomy, and a transform to start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acreg.errors import UsageError
from acreg.geometry import Image, Transform
from acreg.inference.presets import preset_folder
from acreg.registration.usual import Usual

KEPT = 4
"""Images whose predicted anatomy is kept: a pair is registered in both directions."""


class Features:
    """The label maps that a segmenter predicts.

    Args:
        preset: of an `acreg.models.Segmenter`.

    Attributes:
        options: of the registration by these features, see `Segmenter.registration`.
        usual: what is usual for the preset; None if that is not known.

    Raises:
        UsageError: the preset is that of another model.
    """

    def __init__(self, preset: str) -> None:
        from acreg.models import Segmenter, from_preset

        model = from_preset(preset)
        if not isinstance(model, Segmenter):
            raise UsageError(
                f"Features are those of a segmenter. Received: features={preset}, a {type(model).__name__}. Give the "
                "preset of a segmenter."
            )
        self._model: Segmenter = model
        self.options: Mapping[str, Any] = model.registration
        self.usual = Usual.of_preset(preset_folder(preset))
        self._known: list[tuple[Image, Image]] = []

    def anatomy(self, image: Image) -> Image:
        """The label map of an image; those of the last images are kept."""
        for known, labels in self._known:
            if known is image:
                return labels
        labels = self._model.segment(image)
        self._known = [*self._known, (image, labels)][-KEPT:]
        return labels

    def preprocessed(self, image: Image) -> NDArray[np.float32]:
        """An image as the segmenter sees it, `(*spatial, 1)`."""
        assert self._model.preprocessing is not None  # a preset has one
        array: NDArray[np.float32] = self._model.preprocessing.apply(image)
        return array


def network_start(preset: str) -> Callable[[Image, Image, Callable[[str], None]], Transform | None]:
    """The transforms of a network to start from, as a function of the fixed and the moving image and of what is told.

    It gives None if the verdict on the network's result is not "ok".

    Raises:
        AcregError: the preset does not exist, or does not register.
    """
    from acreg.registration.methods import PresetMethod
    from acreg.registration.pair import register_pair

    method = PresetMethod(preset)

    def start(fixed: Image, moving: Image, say: Callable[[str], None]) -> Transform | None:
        found = register_pair(method, fixed=fixed, moving=moving)
        if found.verdict == "ok":
            say(f"start: the transform of {method.name}")
            return found.transform
        say(f"start: without {method.name}, whose verdict is {found.verdict!r}")
        return None

    return start

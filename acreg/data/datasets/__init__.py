"""The public datasets that acreg prepares, one module each, and the reader for your own folders.

A new dataset is one name in `NAMES` and the module of that name, whose `DATASET` is an
`acreg.data.datasets.layout.PublicDataset`.

Each of jsrt, montgomery and shenzhen is read in two layouts: that of the public AC-RegNet repository (folders
``LR_64``, ``LR_256`` and ``split``), and the original files as their owners distribute them. The original layouts
were tested on synthetic files of the documented format only. The archive of
ChestX-ray14, which has no labels, is listed by `acreg.data.datasets.nih`.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from acreg.errors import UsageError

if TYPE_CHECKING:
    from acreg.data.datasets.layout import PublicDataset

NAMES = ("jsrt", "montgomery", "shenzhen")
"""The names of the public datasets."""

__all__ = ["NAMES", "get_dataset"]


def get_dataset(name: str) -> PublicDataset:
    """The public dataset with a name.

    Raises:
        UsageError: the name is unknown.
    """
    if name in NAMES:
        dataset: PublicDataset = importlib.import_module(f"acreg.data.datasets.{name}").DATASET
        return dataset
    close = difflib.get_close_matches(name.lower(), [*NAMES, "nih", "folder"], n=1)
    hint = f" Did you mean {close[0]}?" if close else " For your own images use folder."
    raise UsageError(
        f"The datasets that can be prepared are {', '.join(NAMES)}, nih and folder. Received: {name!r}.{hint}"
    )

"""The public chest X-ray datasets, a module each, and the reader of one's own folders.

Each of jsrt, montgomery and shenzhen is read in two layouts: that of the public AC-RegNet repository (folders
``LR_64``, ``LR_256`` and ``split``), and the original files as their owners distribute them. The original layouts
were tested on synthetic files of the documented format only.
"""

from __future__ import annotations

import difflib

from acreg.data.datasets import jsrt, montgomery, shenzhen
from acreg.data.datasets.layout import Item, Layout, PublicDataset, find_layout
from acreg.errors import UsageError

DATASETS: dict[str, PublicDataset] = {d.name: d for d in (jsrt.DATASET, montgomery.DATASET, shenzhen.DATASET)}
"""The public datasets by name."""

__all__ = ["DATASETS", "Item", "Layout", "PublicDataset", "find_layout", "get_dataset"]


def get_dataset(name: str) -> PublicDataset:
    """The dataset of a name.

    Raises:
        UsageError: unknown name.
    """
    if name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(name.lower(), [*DATASETS, "folder"], n=1)
    hint = f" Did you mean {close[0]}?" if close else " For your own images use folder."
    raise UsageError(
        f"The datasets that can be prepared are {', '.join(DATASETS)} and folder. Received: {name!r}.{hint}"
    )

"""What a run left in its folder."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from acreg.training import checkpoint
from acreg.training.callbacks import TIME_COLUMNS


def arrays_of(run: Path, stage: str = "network") -> dict[str, np.ndarray]:
    """The variables in the last checkpoint of a run."""
    found = checkpoint.load_checkpoint(run / "checkpoints", stage)
    assert found is not None
    return found[1]


def metrics_of(run: Path, file: str = "metrics.csv") -> list[dict[str, str]]:
    """The rows of a metrics CSV without its time columns."""
    with (run / file).open(encoding="utf-8") as stream:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(stream)]

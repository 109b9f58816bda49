"""The plausibility experiment with its table and figure: `acreg.plausibility`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acreg.applications.plausibility.results import COLUMNS, FILES, plausibility_figure, table_rows, write_results
from acreg.applications.plausibility.study import Outcome, run
from acreg.data.manifest import Dataset, dataset_folder
from acreg.geometry.display import table_html
from acreg.io import all_or_none
from acreg.models import LabelAutoencoder
from acreg.models.presets import load_autoencoder
from acreg.progress import Progress, notebook_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False, repr=False)
class Plausibility:
    """The outcome and the settings of the experiment. A notebook shows the table."""

    outcome: Outcome
    settings: dict[str, Any]

    @property
    def title(self) -> str:
        """Dataset and settings, on one line."""
        given = self.settings
        return f"{given['dataset']}, {given['masks']} masks, {given['pixels']} pixels changed"

    @property
    def rows(self) -> list[list[str]]:
        """A row for each modification, with the columns of `COLUMNS`."""
        return table_rows(self.outcome)

    def figure(self) -> Figure:
        """Maps and losses: Figure 2 of the AC-RegNet paper."""
        return plausibility_figure(self.outcome)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write table.csv, table.md, summary.json and figure.png, replacing existing ones; return their paths."""
        folder = Path(folder)
        with all_or_none(folder) as staged:
            write_results(self.outcome, staged, self.settings)
        return [folder / name for name in FILES]

    def __repr__(self) -> str:
        return f"Plausibility({self.title})"

    def _repr_html_(self) -> str:
        return table_html(self.rows, COLUMNS, self.title)


def plausibility(
    model: str | os.PathLike[str] | LabelAutoencoder,
    data: str | os.PathLike[str] | Dataset,
    *,
    split: str = "test",
    masks: int = 20,
    pixels: int = 120,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Plausibility:
    """Test whether codes distinguish plausible from implausible anatomy, as `acreg plausibility` does.

    Args:
        model: the preset of a label autoencoder, or a loaded one.
        data: a dataset, its folder, or its name under ACREG_DATA.
        split, masks, pixels, seed, progress: see `acreg.applications.plausibility.study.run`.
        say: called with messages.

    Raises:
        UsageError: the model is not an autoencoder; or as for `run`.
        AcregError: the preset or the data cannot be read; or as for `run`.
    """
    autoencoder = load_autoencoder(model) if isinstance(model, (str, os.PathLike)) else model
    dataset = data if isinstance(data, Dataset) else Dataset.load(dataset_folder(os.fspath(data)))
    if say:
        say(f"{masks} masks of {dataset.name} ({split}), {pixels} pixels changed in four ways")
    settings = {
        "model": str(model) if isinstance(model, (str, os.PathLike)) else autoencoder.name,
        "dataset": dataset.name,
        "split": split,
        "masks": masks,
        "pixels": pixels,
        "seed": seed,
        "grid": list(autoencoder.shape),
    }
    return Plausibility(run(autoencoder, dataset, split, masks, pixels, seed, progress or notebook_bars()), settings)

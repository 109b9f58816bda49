"""The origin of a method's results (data, weights, versions), as recorded in `summary.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import acreg
from acreg.baselines import Baseline
from acreg.data.manifest import Dataset
from acreg.data.tables.pair_files import Pair
from acreg.evaluation.method_result import MEASURES
from acreg.evaluation.pairs import foreground
from acreg.io.image_files import file_states
from acreg.registration.methods import Method, Unregistered
from acreg.registration.optimised import Optimised


def origin_of(
    method: Method,
    dataset: Dataset,
    split: str,
    pairs: Sequence[Pair],
    save: Collection[str],
    settings: dict[str, Any],
    truths: Mapping[Pair, Path],
) -> dict[str, Any]:
    """All that determines the results of a method, as recorded in `summary.json`."""
    files = [dataset.folder / name for name in ("manifest.csv", "dataset.json")]
    data = b"".join(path.read_bytes() for path in files if path.is_file())
    return {
        "method": method.name,
        "measures": MEASURES,
        "registers": not isinstance(method, Unregistered),
        "preset": str(getattr(method, "preset", "")),
        "dataset": _describe(dataset, split),
        "settings": {
            **settings,
            **({"baseline": method.settings} if isinstance(method, (Baseline, Optimised, Unregistered)) else {}),
            "preset_sha256": getattr(method, "sha256", ""),
            "data_sha256": hashlib.sha256(data).hexdigest(),
            "files_sha256": _files_digest(dataset, pairs, truths),
            "pairs_sha256": _digest(pairs),
            "saved": sorted(save),
            "acreg": acreg.__version__,
        },
    }


def is_known(method: Method) -> bool:
    """Whether name and settings determine the results, which is not the case for a caller's own object."""
    return isinstance(method, (Baseline, Optimised, Unregistered)) or hasattr(method, "sha256")


def _digest(pairs: Sequence[Pair]) -> str:
    return hashlib.sha256("\n".join(f"{fixed},{moving}" for fixed, moving in pairs).encode()).hexdigest()


def _files_digest(dataset: Dataset, pairs: Sequence[Pair], truths: Mapping[Pair, Path]) -> str:
    """A digest of name, size and time of the images, labels and true transforms of all pairs."""
    used = {subject for pair in pairs for subject in pair}
    records = [record for record in dataset.records if record.subject in used]
    paths = [path for record in records for path in (record.image, record.labels, record.points)]
    paths += [truths[pair] for pair in pairs if pair in truths]
    return hashlib.sha256(repr(file_states(paths)).encode()).hexdigest()


def _describe(dataset: Dataset, split: str) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "folder": str(dataset.folder.resolve()),
        "split": split,
        "unit": dataset.unit,
        "spacing": None if dataset.spacing is None else list(dataset.spacing),
        "licence": dataset.licence,
        "labels": {str(value): name for value, name in foreground(dataset).items()},
    }

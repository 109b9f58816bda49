"""Where presets lie: folders with everything that is needed to use a trained model."""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path

from acreg.errors import UsageError

SHIPPED = Path(__file__).resolve().parent.parent / "presets"


def preset_folder(name_or_folder: str | os.PathLike[str]) -> Path:
    """The folder of a shipped preset or a given folder.

    Raises:
        UsageError: neither exists; the message lists the shipped presets and the closest name.
    """
    shipped = shipped_presets()
    if str(name_or_folder) in shipped:
        return SHIPPED / str(name_or_folder)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    near = difflib.get_close_matches(str(name_or_folder), shipped, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UsageError(
        f"A preset is a folder, or the name of one that ships with acreg. Received: '{name_or_folder}', which is "
        f"neither.{hint} These ship: {', '.join(shipped) or 'none'}."
    )


def preset_digest(name_or_folder: str | os.PathLike[str]) -> str:
    """A digest of the weights, the configuration and the preprocessing of a preset. Errors: `preset_folder`."""
    files = sorted(p for p in preset_folder(name_or_folder).iterdir() if p.suffix in (".json", ".h5"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def shipped_presets() -> list[str]:
    """Names of the presets that ship with acreg."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))

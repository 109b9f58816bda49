"""The page of a registered pair."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from acreg.errors import UsageError, images_by_name
from acreg.geometry import Image, Transform
from acreg.geometry.transform import Border
from acreg.io import atomic_path
from acreg.viewing.encoding import (
    Encoded,
    encode_determinant,
    encode_displacement,
    encode_image,
    encode_labels,
    grid_facts,
)
from acreg.viewing.viewer import niivue
from acreg.viewing.volumes import Volumes, sample_pair

HEIGHT = 720
"""Height of the view in a notebook, in pixels."""
SCRIPTS = ("view.js", "overlays.js", "controls.js")
SAMPLES = 2**20
"""About the number of voxels from which the range of grey values is taken."""


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """The interactive page of a registered pair. A notebook shows it.

    Attributes:
        html: the whole page, which needs no other file and no network.
        notes: what was left out or changed for the page, one sentence each.
    """

    html: str
    notes: list[str] = field(default_factory=list)

    def save(self, path: str | Path) -> Path:
        """Write the page as an HTML file, and return its path; an existing file is replaced.

        Raises:
            UsageError: the name does not end in .html or .htm.
            AcregError: the file cannot be created there.
            OSError: the disk is full.
        """
        path = Path(path)
        check_page_name(path)
        with atomic_path(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return path

    def __repr__(self) -> str:
        return f"View({len(self.html) / 2**20:.1f} MiB)"

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {HEIGHT}px; border: 0"
        return f'<iframe srcdoc="{escape(self.html)}" style="{style}" title="registered pair"></iframe>'


def check_page_name(path: Path) -> None:
    """Raise `UsageError` for a name by which no browser would take a file for a page."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"A page is a file whose name ends in .html. Received: {path}. Give such a name.")


@images_by_name
def view(
    *,
    fixed: Image,
    moving: Image,
    transform: Transform,
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    title: str = "",
    verdict: str = "",
    concerns: Sequence[str] = (),
    scores: Sequence[tuple[str, str]] = (),
    border: Border = "constant",
    fill: float | None = None,
    at: Sequence[float] | None = None,
) -> View:
    """Make the interactive page of a registered pair.

    It shows the fixed image, and over it the moving image before and after registration, in linked slices; the outlines
    of labels, the deformed grid, and the Jacobian determinant of the deformation.

    Args:
        fixed, moving: two images or two volumes.
        transform: the result of the registration.
        fixed_labels, moving_labels: label maps, each on the grid of its image.
        title: heading of the page; by default, the names of the images.
        verdict, concerns: the verdict on the result, and a sentence for each of its reasons.
        scores: names and values.
        border, fill: values outside the moving image, see `Transform.warp_image`; by default, its lowest value, which
            is shown black.
        at: where the crosshair is at first, in mm by world axis (see `Grid`); by default, in the middle.

    Raises:
        UsageError: `at` has not one finite number for each axis.
        AcregError: images and transform differ in their number of axes, an axis has one voxel, labels cannot be placed
            on their image, or NiiVue is missing.
    """
    if at is not None and not (np.shape(at) == (fixed.grid.rank,) and np.isfinite(at).all()):
        raise UsageError(f"A place has a finite number in mm for each of {fixed.grid.rank} axes. Received: at={at}.")
    code, licence = niivue()
    volumes = sample_pair(
        fixed=fixed,
        moving=moving,
        transform=transform,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        border=border,
        fill=fill,
    )
    encoded = _encoded(volumes)
    has_place = fixed.has_place
    facts: dict[str, Any] = {name: each.facts for name, each in encoded.items()}
    facts["grid"] = grid_facts(volumes.grid, fixed.grid, has_place, at)
    names = [Path(image.name).name or role for image, role in ((fixed, "fixed image"), (moving, "moving image"))]
    content = {
        "title": escape(title or f"{names[1]} on {names[0]}"),
        "style": _asset("view.css"),
        "summary": _summary(verdict, concerns, scores, volumes.notes),
        "facts": _json(facts),
        "data": "\n".join(
            f'<script type="application/gzip" id="data-{name}">{each.text}</script>' for name, each in encoded.items()
        ),
        "licence": escape(licence),
        "niivue": code,
        "code": "\n".join(map(_asset, SCRIPTS)),
    }
    html = re.sub(r"\{\{(\w+)\}\}", lambda match: content[match[1]], _asset("view.html"))
    return View(html, list(volumes.notes))


def _encoded(volumes: Volumes) -> dict[str, Encoded]:
    grid = volumes.grid
    window, moving = _range(volumes.fixed), _range(volumes.before, volumes.warped)
    encoded = {
        "fixed": encode_image(volumes.fixed, grid, *window),
        "warped": encode_image(volumes.warped, grid, *moving),
        "before": encode_image(volumes.before, grid, *moving),
    }
    for name in ("fixed_labels", "warped_labels", "before_labels"):
        labels = getattr(volumes, name)
        if labels is not None:
            encoded[name] = encode_labels(labels)
    if volumes.displacement is not None and volumes.determinant is not None:
        encoded["displacement"] = encode_displacement(volumes.displacement, volumes.step)
        encoded["determinant"] = encode_determinant(volumes.determinant, volumes.folded)
    return encoded


def _range(*arrays: np.ndarray) -> tuple[float, float]:
    """The values that are shown black and white: the 0.5 and 99.5 percentiles."""
    step = max(1, sum(array.size for array in arrays) // SAMPLES)
    low, high = np.percentile(np.concatenate([array.ravel()[::step] for array in arrays]), (0.5, 99.5)).tolist()
    if high <= low:
        low, high = float(min(array.min() for array in arrays)), float(max(array.max() for array in arrays))
    return low, high if high > low else low + 1.0


def _summary(verdict: str, concerns: Sequence[str], scores: Sequence[tuple[str, str]], notes: Sequence[str]) -> str:
    """Verdict, concerns, scores and notes as HTML."""
    parts = []
    if verdict:
        kind = {"ok": "ok", "failed": "failed"}.get(verdict, "look")
        parts.append(f'<p class="verdict {kind}">Verdict: <strong>{escape(verdict)}</strong></p>')
    if concerns:
        parts.append(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in concerns)}</ul>")
    if scores:
        rows = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in scores)
        parts.append(f"<table>{rows}</table>")
    parts += [f'<p class="note">{escape(text)}</p>' for text in notes]
    return "\n".join(parts)


def _json(facts: dict[str, Any]) -> str:
    """JSON that cannot end the element that contains it."""
    return json.dumps(facts, allow_nan=False).replace("<", "\\u003c")


@cache
def _asset(name: str) -> str:
    return files("acreg.viewing").joinpath(name).read_text(encoding="utf-8")

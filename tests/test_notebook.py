"""What a notebook shows, executed in a kernel of its own and opened in Chromium."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest

from acreg.geometry.pictures import GAP, PANEL
from tests.browser import opened

CELLS = [
    """
import numpy as np
import acreg
from acreg.geometry import Displacement, Grid, Transform
from acreg.progress import counted, notebook_bars

grid = Grid((12, 16, 14), (3.0, 2.0, 2.0))
places = np.indices(grid.shape)
array = np.where(((places - np.array([[[[6]]], [[[8]]], [[[7]]]])) ** 2).sum(axis=0) < 25, 100.0, 10.0)
array[5:8, 6:9, 10:13] = 250.0  # at the patient's left
image = acreg.Image(array, grid, name="scan.nii.gz")
image
""",
    """
bend = np.zeros((*grid.shape, 3))
bend[..., 1] = 2 * np.sin(places[2] / 3)
transform = Transform(grid, grid, (Displacement(bend, grid),))
transform
""",
    "transform.plot(image=image)",
    "acreg.view(fixed=image, moving=image, transform=transform)",
    """
for _ in counted(range(50), "Reading", 50, notebook_bars()):
    pass
""",
]


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> list[dict[str, object]]:
    """The output of each cell, by type."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(repository), *filter(None, sys.path)]))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # that of the tests
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3").execute(cwd=str(tmp_path))
    found = []
    for cell in notebook.cells:
        (output,) = cell.outputs  # one each: nothing is printed, and a bar is updated in its place
        found.append(dict(output["data"]))
    return found


@pytest.mark.slow
def test_displays_and_the_view_are_shown_in_a_page_without_errors(browser, outputs, tmp_path: Path) -> None:
    image, transform, figure, view, bars = outputs
    assert set(image) == set(transform) == {"text/plain", "text/html", "image/png"}
    assert set(figure) == {"text/plain", "image/png"}, "although pyplot has drawn nothing"
    assert set(view) == {"text/plain", "text/html"} and str(view["text/plain"]).startswith("View(")
    assert (
        str(bars["text/plain"]).startswith("Reading: 50/50, ") and "<progress value='50' max='50'>" in bars["text/html"]
    )
    parts = [
        f"<div id='cell{number}'>{each.get('text/html') or _png(each['image/png'])}</div>"
        for number, each in enumerate(outputs)
    ]
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset='utf-8'>{''.join(parts)}", encoding="utf-8")
    with opened(browser, file, width=900, height=1200) as seen:
        inside = seen.page.frame_locator("#cell3 iframe")
        inside.locator("html[data-ready]").wait_for(timeout=60_000, state="attached")
        assert "the patient's left is on the right" in inside.locator("#convention").inner_text()
        assert np.ptp(seen.picture("#cell3 iframe").astype(int)) > 100
        for number, least in ((0, 200), (1, 400), (2, 400)):
            width, height = seen.page.locator(f"#cell{number} img").evaluate(
                "img => [img.naturalWidth, img.naturalHeight]"
            )
            assert width > height > least / 2 and width > least
        assert "12 x 16 x 14 voxels of 3 x 2 x 2 mm" in seen.page.inner_text("#cell0")
        assert seen.errors == [] and seen.requests == []
        shown = seen.picture("#cell0 img")
    width = round(PANEL * 28 / 36)  # of the axial panel, the first: 28 mm, and the longest side of the image is 36 mm
    axial = shown[:, GAP : GAP + width]
    marker = np.argwhere((axial == 255).all(axis=-1))
    assert len(marker) and (marker[:, 1] > width / 2).all(), "the patient's left is on the right"


def _png(data: object) -> str:
    return f"<img src='data:image/png;base64,{escape(str(data).strip())}'>"

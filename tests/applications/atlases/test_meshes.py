"""Surfaces fused from templates, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import acreg
from acreg.applications.atlases.meshes import segment_by_meshes, template_subjects
from acreg.cli.main import main
from acreg.data.manifest import Dataset, Record
from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, Transform
from acreg.io import Image, write_image
from acreg.plotting.figures import to_png
from acreg.report.surfaces import surface_figure
from acreg.shapes import Surface, region_surface, write_surfaces
from acreg.shapes.vtk import write_vtk

GRID = Grid((20, 24, 28), (2.0, 1.0, 1.0), (10.0, -5.0, 3.0))


class Shifts:
    """Registers by a shift that depends on the template: its mean grey value, in mm along the last axis."""

    name = "shifts"

    def register(self, fixed: Image, moving: Image) -> Transform:
        matrix = np.eye(4)
        matrix[2, 3] = fixed.array.mean()
        return Transform(fixed.grid, moving.grid, (Affine(matrix),))


@pytest.fixture
def templates(tmp_path: Path) -> tuple[Dataset, Path, Surface]:
    """Three subjects with the same surface and the grey values 1, 2 and 6."""
    places = np.moveaxis(np.indices(GRID.shape), 0, -1) - (np.array(GRID.shape) - 1) / 2
    ball = ((places * GRID.spacing) ** 2).sum(axis=-1) < 64
    surface = region_surface(Image(ball.astype(int), GRID, "labels"), [1], 2.0)
    records = []
    for name, grey in (("a", 1.0), ("b", 2.0), ("c", 6.0)):
        write_image(Image(np.full(GRID.shape, grey, np.float32), GRID), tmp_path / f"{name}.nii.gz")
        write_surfaces([surface, surface], tmp_path / "velocities" / "shapes" / f"{name}.h5")
        records.append(Record(name, tmp_path / f"{name}.nii.gz", None, "train"))
    return Dataset(tmp_path, "balls", records, {0: "background", 1: "ball"}), tmp_path / "velocities", surface


def test_fused_points_are_the_mean_and_spread_of_where_templates_put_them(templates) -> None:
    dataset, shapes, surface = templates
    image = Image(np.zeros(GRID.shape, np.float32), GRID)
    fused = segment_by_meshes(image, Shifts(), dataset, shapes, template_subjects(shapes, dataset))
    assert len(fused) == 2
    itself = Image(np.full(GRID.shape, 2, np.float32), GRID)  # the image of b, whatever its name
    without = segment_by_meshes(itself, Shifts(), dataset, shapes, template_subjects(shapes, dataset))
    assert without[0].templates == 2
    np.testing.assert_allclose(without[0].surface.points, surface.points + [0, 0, 3.5], atol=1e-5)
    with pytest.raises(AcregError, match="only one of 1 templates"):
        segment_by_meshes(itself, Shifts(), dataset, shapes, ["b"])
    for each in fused:
        np.testing.assert_allclose(each.surface.points, surface.points + [0, 0, 3.0], atol=1e-5)
        np.testing.assert_allclose(each.deviation, np.std([1, 2, 6]), atol=1e-5)
        assert each.templates == 3


def test_surfaces_that_do_not_correspond_or_are_missing_are_refused(templates) -> None:
    dataset, shapes, surface = templates
    image = Image(np.zeros(GRID.shape, np.float32), GRID)
    write_surfaces([surface, Surface(surface.points[:9], surface.cells[:1] * 0)], shapes / "shapes" / "b.h5")
    with pytest.raises(AcregError, match="b with other numbers of points than a"):
        segment_by_meshes(image, Shifts(), dataset, shapes, ["a", "b"])
    for name in "bc":
        (shapes / "shapes" / f"{name}.h5").unlink()
    with pytest.raises(AcregError, match="Received: 1 of the 3 subjects"):
        template_subjects(shapes, dataset)


def test_a_vtk_file_holds_points_in_lps_and_cells_that_face_outwards(templates, tmp_path: Path) -> None:
    surface = templates[2]
    values = np.linspace(0, 1, len(surface.points))
    write_vtk([surface, surface.moved(surface.points + 50)], tmp_path / "s.vtk", {"sd": [values, 2 * values]})
    lines = (tmp_path / "s.vtk").read_text(encoding="utf-8").splitlines()
    assert "SPACE=LPS" in lines[1]
    n = 2 * len(surface.points)
    points = np.array([line.split() for line in lines[5 : 5 + n]], float)
    np.testing.assert_allclose(points[: n // 2], surface.points[:, ::-1], atol=1e-3)
    m = 2 * len(surface.cells)
    cells = np.array([line.split()[1:] for line in lines[6 + n : 6 + n + m]], int)
    assert lines[5 + n] == f"POLYGONS {m} {4 * m}" and cells.max() == n - 1
    corners = points[cells[: m // 2]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = points[: n // 2].mean(axis=0)
    assert ((corners.mean(axis=1) - middle) * normals).sum(axis=1).min() > 0
    at = lines.index("SCALARS sd double 1")
    np.testing.assert_allclose(np.array(lines[at + 2 :], float), np.concatenate([values, 2 * values]), atol=1e-5)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_picture_shows_large_values_in_other_colours(rank: int, tmp_path: Path) -> None:
    from matplotlib.image import imread

    labels = np.zeros((16,) * rank, int)
    labels[(slice(4, 12),) * rank] = 1
    surface = region_surface(Image(labels, Grid(labels.shape), "labels"), [1], 1.0)
    pictures = []
    for name, values in (("flat", 0 * surface.points[:, 0]), ("steep", surface.points[:, 0])):
        drawn = surface_figure([surface], ["ball"], [values], "mm")
        (tmp_path / f"{name}.png").write_bytes(to_png(drawn))
        pictures.append(imread(tmp_path / f"{name}.png")[..., :3])
    yellow = [((p[..., 0] > 0.7) & (p[..., 1] > 0.7) & (p[..., 2] < 0.4)).mean() for p in pictures]
    assert yellow[1] > 1.2 * yellow[0]


def test_the_command_refuses_folders_without_surfaces_and_results_that_are_there(
    templates, tmp_path: Path, capsys
) -> None:
    dataset = templates[0]
    dataset.save()
    arguments = ["surfaces", "--image", str(tmp_path / "a.nii.gz"), "--data", str(tmp_path), "--model", "nothing"]
    assert main([*arguments, "--out", str(tmp_path / "r"), "--shapes", str(tmp_path)]) == 1
    assert "settings.json" in capsys.readouterr().err
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "surfaces.vtk").write_text("old")
    assert main([*arguments, "--out", str(tmp_path / "r")]) == 1
    assert "not replaced unasked" in capsys.readouterr().err
    assert (tmp_path / "r" / "surfaces.vtk").read_text(encoding="utf-8") == "old"


def test_the_function_returns_surfaces_that_are_drawn_and_saved(templates, tmp_path: Path) -> None:
    dataset, shapes, surface = templates
    (shapes / "settings.json").write_text('{"regions": [[1], [1]]}')
    image = Image(np.zeros(GRID.shape, np.float32), GRID)
    found = acreg.surfaces(image, dataset, Shifts(), shapes=shapes, templates=2)
    np.testing.assert_allclose(found.surfaces[0].surface.points, surface.points + [0, 0, 1.5], atol=1e-5)
    assert found.rows[0] == ("ball", f"{len(surface.points)} points, mean standard deviation 0.50 mm")
    assert "0.50 mm" in found._repr_html_() and "standard deviation over 2" in found.figure().axes[-1].get_ylabel()
    assert sorted(found.save(tmp_path / "r")) == sorted((tmp_path / "r").iterdir())
    with pytest.raises(AcregError, match="not replaced unasked"):
        found.save(tmp_path / "r")
    still = acreg.surfaces(image, dataset, method="unregistered", shapes=shapes)
    np.testing.assert_allclose(still.surfaces[0].surface.points, surface.points, atol=1e-5)
    with pytest.raises(UsageError, match="Give one of model and method"):
        acreg.surfaces(image, dataset, shapes=shapes)

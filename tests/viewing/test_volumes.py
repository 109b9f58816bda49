"""What the page shows: on which grid, how large images are reduced, and what is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from scipy import ndimage

from acreg.errors import AcregError
from acreg.geometry import Affine, Displacement, Grid, Image, Transform, resize_image
from acreg.viewing import view, viewer, volumes
from acreg.viewing.volumes import sample_pair, shown_grid

ROTATED = np.linalg.qr(np.eye(3) + 0.15 * np.random.default_rng(1).normal(size=(3, 3)))[0]
ROTATED = ROTATED * np.sign(np.diag(ROTATED))
GRID = Grid((12, 30, 26), (4.0, 1.0, 1.5), (10.0, -20.0, 5.0), (ROTATED @ np.diag([-1, 1, 1])[:, [0, 2, 1]]).tolist())


def volume(grid=GRID, seed=0, kind="intensity"):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), 2)
    return Image(smooth * 100 if kind == "intensity" else (smooth > 0).astype(int), grid, kind, placed=True)


def transform(grid=GRID, affine=True):
    field = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=(*grid.shape, 3)), (3, 3, 3, 0))
    maps = [Displacement(field / np.abs(field).max(), grid)]
    if affine:
        matrix = np.eye(4)
        matrix[:3, :3] += 0.05
        maps.append(Affine(matrix))
    return Transform(grid, grid, tuple(maps))


def test_voxels_are_turned_towards_the_viewer_and_keep_their_places_and_values():
    fixed, moving, found = volume(), volume(seed=1), transform()
    shown = sample_pair(fixed=fixed, moving=moving, transform=found)
    indices = np.moveaxis(np.indices(shown.grid.shape), 0, -1)
    stored = GRID.to_index(shown.grid.to_world(indices))
    np.testing.assert_allclose(stored, np.rint(stored), atol=1e-6)
    places = tuple(np.moveaxis(np.rint(stored).astype(int), -1, 0))
    np.testing.assert_allclose(shown.fixed, fixed.array[places], atol=1e-4)
    low = float(moving.array.min())  # what lies outside is shown black
    np.testing.assert_allclose(shown.warped, found.warp_image(moving, fill=low).array[places], atol=1e-3)
    np.testing.assert_allclose(shown.before, moving.array[places], atol=1e-4)
    # Superior, anterior and right grow along the axes.
    assert (np.diag(np.asarray(shown.grid.direction)) * (1, -1, -1) > 0.9).all()
    assert "whose axes are oblique" in " ".join(shown.notes)


def test_the_deformation_is_that_without_the_affine_part():
    plain, composed = (
        sample_pair(fixed=volume(), moving=volume(), transform=transform(affine=a)) for a in (False, True)
    )
    np.testing.assert_allclose(composed.displacement, plain.displacement, atol=1e-4)
    np.testing.assert_allclose(composed.determinant, plain.determinant, atol=1e-4)
    affine = sample_pair(fixed=volume(), moving=volume(), transform=Transform(GRID, GRID))
    assert affine.displacement is None
    assert "no deformation" in " ".join(affine.notes)


def test_large_images_are_averaged_and_the_page_says_so(monkeypatch):
    pair = {"fixed": volume(), "moving": volume(seed=1), "transform": transform(), "border": "edge"}
    whole = sample_pair(**pair)
    monkeypatch.setitem(volumes.VOXELS, 3, 2500)
    labels = volume(kind="labels")
    shown = sample_pair(**pair, fixed_labels=labels, moving_labels=labels)
    assert shown.fixed.size <= 2500
    assert shown.grid.shape[0] == 12, "the coarse axis keeps its voxels"
    size = [np.multiply(grid.shape, grid.spacing) for grid in (shown.grid, whole.grid)]
    np.testing.assert_allclose(*size)
    for name in ("fixed", "warped", "before"):
        small, large = getattr(shown, name), getattr(whole, name)
        assert np.corrcoef(small.ravel(), resize_image(large, small.shape).ravel())[0, 1] > 0.98, name
    for found in (shown.fixed_labels, shown.warped_labels, shown.before_labels):
        assert set(np.unique(found)) == {0, 1}
    assert re.match(r"Reduced for this page from 30 x 26 x 12 voxels of 1 x 1.5 x 4 mm to 13 x 16 x 12", shown.notes[0])


def test_no_axis_is_longer_than_a_texture():
    assert 0.95 * volumes.SIDE < max(shown_grid(Grid((100, 9000))).shape) <= volumes.SIDE


def test_what_cannot_be_viewed_is_refused():
    thin = Grid((30, 1, 26))
    flat = Image.from_array(np.zeros((8, 9)))
    with pytest.raises(AcregError, match=r"at least 2 voxels along each axis.*\(30, 1, 26\)"):
        sample_pair(fixed=volume(thin), moving=volume(), transform=Transform(thin, GRID))
    with pytest.raises(AcregError, match=r"number of axes of its images.*\(8, 9\), and a transform with 3"):
        sample_pair(fixed=flat, moving=flat, transform=Transform(GRID, GRID))


def test_a_transform_to_another_place_is_doubted():
    away = np.eye(4)
    away[:3, 3] = 500
    shown = sample_pair(fixed=volume(), moving=volume(), transform=Transform(GRID, GRID, (Affine(away),)))
    assert "No part of the moving image is visible" in " ".join(shown.notes)


@pytest.mark.parametrize("where", [slice(2, 4), slice(None)], ids=["at some voxels", "everywhere"])
def test_a_field_with_absurd_values_is_shown(where):
    field = np.random.default_rng(0).normal(size=(*GRID.shape, 3))
    far = field.copy()
    far[where] *= 1e30
    wrong = Transform(GRID, GRID, (Displacement(far, GRID),))
    page = view(fixed=volume(), moving=volume(), transform=wrong).html
    start = page.index('id="facts">') + len('id="facts">')
    facts = json.loads(page[start : page.index("</script>", start)])
    assert facts["determinant"]["folded"] > 0
    assert facts["displacement"]["scale"] < 0.01, "the other displacements keep their precision, in voxels"


def test_names_cannot_become_code():
    attack = "</script><script>alert(1)</script>"
    image = Image(np.random.default_rng(0).normal(size=(8, 9)), Grid((8, 9)), name=f"/data/{attack}.png")
    pair = {"fixed": image, "moving": image, "transform": Transform(image.grid, image.grid)}
    made = view(**pair, title="{{niivue}}" + attack, verdict=attack, concerns=[attack], scores=[(attack, attack)])
    assert "<script>alert" not in made.html
    assert "{{niivue}}&lt;/script&gt;" in made.html
    assert "<script>alert" not in made._repr_html_()


def test_the_licence_of_niivue_goes_with_its_code():
    image = Image.from_array(np.eye(8))
    made = view(fixed=image, moving=image, transform=Transform(image.grid, image.grid))
    assert "BSD 2-Clause License" in made.html
    assert "Redistributions of source code must retain" in made.html


@pytest.mark.parametrize(("content", "received"), [(None, "without no_viewer"), ("export default 1", "not found")])
def test_a_missing_viewer_is_named(tmp_path, monkeypatch, content, received):
    viewer.niivue.cache_clear()
    monkeypatch.setattr(viewer, "PACKAGE", "no_viewer")
    if content is not None:
        (tmp_path / "no_viewer" / "static").mkdir(parents=True)
        (tmp_path / "no_viewer" / "__init__.py").touch()
        (tmp_path / "no_viewer" / "static" / "widget.js").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AcregError, match=f"The page of a pair contains NiiVue.*{received}.*pip install"):
        viewer.niivue()
    viewer.niivue.cache_clear()

"""The page of a pair in a browser: what is seen where, and what it says about the place."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import ndimage

from acreg.geometry import Displacement, Grid, Image, Transform, jacobian_determinant
from acreg.viewing import view
from tests.browser import opened

OBLIQUE = np.linalg.qr(np.eye(3) + 0.2 * np.random.default_rng(5).normal(size=(3, 3)))[0]
OBLIQUE = OBLIQUE * np.sign(np.diag(OBLIQUE))  # near the patient's axes, then turned as scanners store volumes
STORED = {
    "superior, posterior, left": np.eye(3),
    "sagittal, as (right, inferior, anterior)": np.array([[0, -1, 0], [0, 0, -1], [-1, 0, 0]]),
    "oblique, as (inferior, left, posterior)": OBLIQUE @ np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]),
}


def page_of(path, **pair):
    view(**pair).save(path)
    return path


@contextmanager
def shown(browser, file, width=900, height=520):
    """The page, when its images are there; windows are small, because without a GPU the drawing takes time."""
    with opened(browser, file, width=width, height=height) as seen:
        seen.page.wait_for_selector("html[data-ready]", timeout=60_000, state="attached")
        yield seen
        assert seen.errors == []
        assert seen.requests == []


def set_slider(page, name, value):
    page.locator(f"#{name}").evaluate("(input, value) => { input.value = value; input.oninput(); }", str(value))


def choose(page, name, value):
    page.locator(f"[name={name}][value='{value}']").dispatch_event("click")


def stage(seen):
    """The slices as they are seen, without the line of text below them."""
    return seen.picture("#stage").astype(int)[:-40]


def coloured(picture, colour, tolerance=60):
    """Rows and columns of the pixels of about this colour."""
    return np.argwhere(np.abs(picture - colour).max(axis=-1) < tolerance)


def test_fixed_and_moving_are_compared_in_four_ways(browser, tmp_path):
    rows, columns = np.indices((60, 80))
    fixed, moving = (Image.from_array(array.astype(float)) for array in (rows, columns * 1.0))
    file = page_of(tmp_path / "p.html", fixed=fixed, moving=moving, transform=Transform(fixed.grid, moving.grid))
    with shown(browser, file) as seen:
        page = seen.page
        page.locator("#crosshair").dispatch_event("click")
        pictures = {}
        for share in (0, 50, 100):
            set_slider(page, "fade", share)
            pictures[share] = stage(seen)
        assert np.abs(pictures[0] - pictures[100]).mean() > 20
        np.testing.assert_allclose(pictures[50], (pictures[0] + pictures[100]) / 2, atol=3)
        # A picture is shown as it is stored: the fixed image gets brighter downward, the moving one to the right.
        height, width = pictures[0].shape[:2]
        middle = pictures[0][:, width // 2, 0], pictures[100][height // 2, :, 0]
        assert middle[0][height // 4] < middle[0][3 * height // 4]
        assert middle[1][width // 4] < middle[1][3 * width // 4]

        choose(page, "mode", "wipe")
        for share in (30, 70):
            set_slider(page, "wipe", share)
            wiped = stage(seen)
            same = [(np.abs(wiped - pictures[each]).max(axis=(0, 2)) <= 2) for each in (0, 100)]
            tile = np.flatnonzero(pictures[0].max(axis=(0, 2)) > 100)
            edge = tile[0] + (tile[-1] - tile[0]) * share // 100
            assert same[0][: edge - 12].all(), "fixed on the left"
            assert same[1][edge + 12 :].all(), "moving on the right"

        choose(page, "mode", "checkerboard")
        differ = np.abs(pictures[0] - pictures[100]).max(axis=-1) > 8
        board = stage(seen)
        is_fixed, is_moving = (np.abs(board - pictures[each]).max(axis=-1) <= 2 for each in (0, 100))
        assert (is_fixed | is_moving)[differ].mean() > 0.97
        assert 0.4 < is_fixed[differ].mean() < 0.6

        choose(page, "mode", "blink")
        set_slider(page, "blink", 150)
        seen_of = "[document.getElementById('caption').textContent, document.getElementById('upper').style.visibility]"
        for text, visibility in (("moving, after", "visible"), ("fixed", "hidden"), ("moving, after", "visible")):
            page.wait_for_function(f"want => `${{{seen_of}}}` === `${{want}}`", arg=[text, visibility])


def marked(direction):
    """A pair whose images are dark except for a bright cube, which lies to the left, in front and above."""
    grid = Grid((20, 22, 24), (3.0, 2.5, 2.0), (7.0, -30.0, 40.0), tuple(map(tuple, direction)))
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    voxel = np.rint(grid.to_index(centre + (10.0, -9.0, 12.0))).astype(int)
    place = grid.to_world(voxel)
    cube = np.abs(world - place).max(axis=-1) < 4.5
    image = Image(np.where(cube, 100.0, 10.0), grid, placed=True)
    labels = Image(cube.astype(int), grid, "labels")
    return image, labels, voxel, place


@pytest.mark.parametrize("direction", STORED.values(), ids=STORED.keys())
def test_the_patients_left_is_on_the_right_however_a_volume_is_stored(browser, tmp_path, direction):
    image, labels, voxel, place = marked(direction)
    fixed = dataclasses.replace(image, name="a.nii.gz")
    pair = {"fixed": fixed, "moving": image, "transform": Transform(image.grid, image.grid)}
    file = page_of(tmp_path / "p.html", **pair, fixed_labels=labels, at=place)
    with shown(browser, file) as seen:
        page = seen.page
        assert "Radiological convention: the patient's left is on the right" in page.inner_text("#convention")
        s, p, left = place
        assert page.inner_text("#lps") == f"{left:.2f}, {p:.2f}, {s:.2f}"
        assert page.inner_text("#ras") == f"{-left:.2f}, {-p:.2f}, {s:.2f}"
        assert page.input_value("#voxel") == ", ".join(map(str, voxel[::-1]))
        # Which half of the slice the cube is in: axial, coronal, sagittal.
        for plane, (right, upper) in enumerate([(True, True), (True, True), (False, True)]):
            choose(page, "planes", plane)
            picture = stage(seen)
            bright = np.argwhere(picture.min(axis=-1) > 200).mean(axis=0)
            height, width = (np.array(page.locator("#stage").bounding_box()[side]) for side in ("height", "width"))
            assert (bright[1] > width / 2) == right, plane
            assert (bright[0] < height / 2) == upper, plane
            outline = coloured(picture, (0x3D, 0xDC, 0x84))
            np.testing.assert_allclose((outline.min(axis=0) + outline.max(axis=0)) / 2, bright, atol=6)


def test_the_crosshair_is_at_the_voxel_that_is_typed_or_clicked(browser, tmp_path):
    image, _, voxel, place = marked(STORED["oblique, as (inferior, left, posterior)"])
    file = page_of(
        tmp_path / "p.html", fixed=image, moving=image, transform=Transform(image.grid, image.grid), at=place
    )
    with shown(browser, file) as seen:
        page = seen.page
        page.fill("#voxel", "3, 17, 5")
        page.press("#voxel", "Enter")
        s, p, left = image.grid.to_world(np.array([5, 17, 3]))
        assert page.inner_text("#ras") == f"{-left:.2f}, {-p:.2f}, {s:.2f}"
        assert page.inner_text("#value-fixed") == "10"

        page.fill("#voxel", ", ".join(map(str, voxel[::-1])))
        page.press("#voxel", "Enter")
        choose(page, "planes", 0)
        bright = np.argwhere(stage(seen).min(axis=-1) > 200)
        page.locator("#stage").click(position={"x": 200, "y": 300})
        page.locator("#stage").click(position=dict(zip("yx", ((bright.min(axis=0) + bright.max(axis=0)) / 2).tolist())))
        assert page.input_value("#voxel") == ", ".join(map(str, voxel[::-1]))
        assert page.inner_text("#value-fixed") == "100"

        # The wheel goes through axial slices, the arrows move to the patient's left and to the front.
        before = np.array([float(x) for x in page.inner_text("#lps").split(",")])
        for act, direction in (
            (lambda: page.mouse.wheel(0, -120), (0, 0, 1)),
            (lambda: page.keyboard.press("ArrowRight"), (1, 0, 0)),
            (lambda: page.keyboard.press("ArrowUp"), (0, -1, 0)),
        ):
            act()
            page.wait_for_function("old => document.getElementById('lps').textContent !== old", arg=text_of(before))
            after = np.array([float(x) for x in page.inner_text("#lps").split(",")])
            assert np.argmax(np.abs(after - before)) == np.argmax(np.abs(direction))
            assert (after - before) @ direction > 1
            before = after

        # With the keyboard alone: Tab goes to the slices, and the arrows move in the plane that is shown alone.
        choose(page, "planes", 1)
        page.evaluate("document.activeElement.blur()")
        page.locator("#lower").focus()
        assert page.evaluate("document.querySelector('#upper').tabIndex") == -1
        page.keyboard.press("ArrowUp")
        after = np.array([float(x) for x in page.inner_text("#lps").split(",")])
        assert (after - before) @ (0, 0, 1) > 1


def text_of(numbers):
    return ", ".join(f"{number:.2f}" for number in numbers)


def test_the_deformation_is_drawn_where_it_is_and_folds_are_marked(browser, tmp_path):
    grid = Grid((24, 40, 50), (2.0, 1.5, 1.0), (0.0, 0.0, 0.0))
    z, y, x = np.indices(grid.shape)
    dome = np.exp(-((z - 12) ** 2 + (y - 20) ** 2 + (x - 14) ** 2) / 18)
    shift = np.zeros((*grid.shape, 3))
    shift[..., 2] = -5.0 * (x - 14) / 3 * dome
    image = Image(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=grid.shape), 2), grid, placed=True)
    file = page_of(
        tmp_path / "p.html",
        fixed=image,
        moving=image,
        transform=Transform(grid, grid, (Displacement(shift, grid),)),
        at=(24.0, 30.0, 30.0),
    )
    determinant = jacobian_determinant(shift.astype(np.float32))
    folded = int((determinant <= 0).sum())
    assert folded > 20
    with shown(browser, file) as seen:
        page = seen.page
        choose(page, "planes", 0)
        set_slider(page, "fade", 0)
        page.locator("#crosshair").dispatch_event("click")
        plain = stage(seen)
        page.click("#determinant")
        assert f"{folded} of the {grid.shape[0] * 2000:,} voxels" in page.inner_text("#folded")
        assert f"Lowest {determinant.min():.2f}, highest {determinant.max():.2f}." in page.inner_text("#extremes")
        magenta = coloured(stage(seen), (255, 0, 255), 40)
        # The axial slice is drawn with x to the left: voxel 14 of 50 is on the left of the patient, so on the right.
        columns = np.flatnonzero(plain.max(axis=(0, 2)) > 12)
        expected = columns[0] + (columns[-1] - columns[0]) * (14 + 0.5) / 50
        assert abs(magenta.mean(axis=0)[1] - expected) < 12
        page.click("#next-fold")
        assert page.inner_text("#value-determinant") == "folded"
        i, j, k = (int(n) for n in page.input_value("#voxel").split(","))
        assert determinant[k, j, i] <= 0
        page.click("#determinant")
        page.click("#displacement")
        assert len(coloured(stage(seen), (0x4A, 0xA8, 0xFF))) > 2000


def test_lines_of_the_grid_lie_where_points_of_the_fixed_image_go(browser, tmp_path):
    """A shift by half the distance of two lines to the patient's left moves all lines to the right of the screen."""
    grid = Grid((10, 56, 56), (4.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([1.0, 1.0, -1.0]))  # stored from left to right
    image = Image(np.zeros(grid.shape), grid, placed=True)
    places = []
    for by in (0.0, -1.0):
        shift = np.zeros((*grid.shape, 3))
        shift[..., 2] = by
        transform = Transform(grid, grid, (Displacement(shift, grid),))
        file = page_of(tmp_path / "p.html", fixed=image, moving=image, transform=transform)
        with shown(browser, file) as seen:
            choose(seen.page, "planes", 0)
            seen.page.locator("#crosshair").dispatch_event("click")
            seen.page.click("#displacement")
            rows = stage(seen)[60:220]  # without letters
            blue = (rows[..., 2] - rows[..., 0]).min(axis=0)  # of lines across, not of those along
            places.append(np.flatnonzero((blue[1:-1] > 40) & (blue[1:-1] >= blue[:-2]) & (blue[1:-1] > blue[2:])))
    still, moved = places
    two_voxels = np.median(np.diff(still))
    assert len(still) == 28
    # The line at the border has left the image, and all others have moved by a voxel.
    np.testing.assert_allclose(moved, still[:-1] + two_voxels / 2, atol=1.5)


def test_a_page_fits_a_small_window_and_a_2d_slice_says_where_left_is(browser, tmp_path):
    """A coronal slice of a patient, stored with its columns to the right: it is turned, and keeps its place."""
    volume = Grid((1, 30, 40), (5.0, 2.0, 1.0), (80.0, -20.0, 60.0), [[0, -1, 0], [1, 0, 0], [0, 0, -1]])
    grid = volume.slice()
    picture = np.zeros(grid.shape)
    picture[4:8, 6:12] = 100.0  # above, and at the patient's left
    image = Image(picture, grid, placed=True)
    file = page_of(tmp_path / "p.html", fixed=image, moving=image, transform=Transform(grid, grid))
    with shown(browser, file, width=480, height=800) as seen:
        page = seen.page
        assert "left is on the right" in page.inner_text("#convention")
        bright = np.argwhere(stage(seen).min(axis=-1) > 200).mean(axis=0)
        box = page.locator("#stage").bounding_box()
        assert bright[1] > box["width"] / 2
        assert bright[0] < box["height"] / 2
        page.fill("#voxel", "6, 4")
        page.press("#voxel", "Enter")
        s, p, left = volume.to_world(np.array([0, 4, 6]))
        assert page.inner_text("#ras") == f"{-left:.2f}, {-p:.2f}, {s:.2f}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 480

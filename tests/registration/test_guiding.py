"""Guides reach the methods that take them, and are refused elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import acreg
from acreg.errors import AcregError, UsageError
from acreg.geometry import Affine, Grid, Image, Transform
from acreg.io import Points, read_points
from acreg.io.transforms import write_transform

GRID = Grid((12, 10), (2.0, 1.0))


class Guided:
    """Keeps the guides that it is given, and moves nothing."""

    name = "guided"

    def outcome(self, *, fixed: Image, moving: Image, guides: Any = None, say: Any = None) -> SimpleNamespace:
        self.guides = guides
        transform = Transform(fixed.grid, moving.grid, ())
        return SimpleNamespace(transform=transform, contrast="one", stages=[{"stage": "none"}])

    def register(self, *, fixed: Image, moving: Image) -> Transform:
        raise AssertionError("a method with stages is asked for its outcome")


@pytest.fixture
def images() -> dict[str, Image]:
    rng = np.random.default_rng(0)
    return {
        name: Image(rng.random(GRID.shape, np.float32), GRID, name=f"{name}.nii.gz") for name in ("fixed", "moving")
    }


@pytest.mark.filterwarnings("ignore::acreg.errors.DoubtfulResult")
def test_guides_are_read_from_files_and_objects(images: dict[str, Image], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,y,name\n3,4,tip\n5,6,base\n")
    shift = Affine(np.array([[1.0, 0, 2], [0, 1, 3], [0, 0, 1]]))
    write_transform(Transform(GRID, GRID, (shift,)), tmp_path / "t.h5", images["moving"])
    mask, labels, fixed_labels = (Image(np.eye(12, 10, dtype=np.int32) + n, GRID, "labels") for n in (0, 1, 1))
    method = Guided()
    result = acreg.register(
        **images,
        method=method,
        labels=labels,
        fixed_labels=fixed_labels,
        guide_labels=True,
        fixed_mask=mask,
        fixed_points=tmp_path / "p.csv",
        moving_points=np.array([[1.0, 2.0], [3.0, 4.0]]),
        initial=[tmp_path / "t.h5", Transform(GRID, GRID, (shift,))],
    )
    guides = method.guides
    assert guides.fixed_mask is mask and guides.moving_mask is None
    assert guides.fixed_labels is result.fixed_labels and guides.moving_labels is result.moving_labels
    np.testing.assert_array_equal(guides.fixed_points, [[4, 3], [6, 5]])
    np.testing.assert_array_equal(guides.moving_points, [[1, 2], [3, 4]])
    np.testing.assert_allclose(guides.initial.affine_part.matrix[:2, 2], [4, 6], atol=1e-5)
    assert (result.contrast, result.stages) == ("one", [{"stage": "none"}])
    swapped = guides.swapped()
    assert swapped.moving_mask is mask and swapped.fixed_labels is guides.moving_labels
    assert swapped.moving_points is guides.fixed_points
    np.testing.assert_allclose(swapped.initial.affine_part.matrix[:2, 2], [-4, -6], atol=1e-5)
    acreg.register(**images, method=method, labels=labels, fixed_labels=fixed_labels)
    assert method.guides is None, "labels measure, and guide only if asked to"


@pytest.mark.parametrize(
    "arguments, found",
    [
        ({"fixed_mask": "m", "model": "acregnet-jsrt"}, r"fixed_mask with model='acregnet-jsrt'\. Leave it out, or "),
        ({"initial": "t.h5", "method": "ants:SyN"}, "initial with method='ants:SyN'.*warp the moving image by it"),
        ({"fixed_points": "p", "moving_points": "q", "method": "unregistered"}, "fixed_points, moving_points with"),
        ({"fixed_points": "p", "method": "acreg:rigid"}, "landmarks and labels guide a deformation. .* fixed_points"),
        ({"guide_labels": True}, "Received: guide_labels=True without labels"),
        ({"guide_labels": True, "labels": "l.png"}, "Received: guide_labels=True without fixed_labels"),
    ],
)
def test_guides_that_have_no_use_are_refused(images: dict[str, Image], arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        acreg.register(**images, **arguments)


def test_guides_that_do_not_fit(images: dict[str, Image], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,y\n3,4\n")
    points = read_points(tmp_path / "p.csv")
    with pytest.raises(AcregError, match="those of the fixed image alone"):
        acreg.register(**images, method=Guided(), fixed_points=points)
    with pytest.raises(AcregError, match=r"pairs of points. Received: arrays of shapes \(1, 2\) and \(2, 2\)"):
        two = Points(np.zeros((2, 2)))
        acreg.register(**images, method=Guided(), fixed_points=points, moving_points=two)
    with pytest.raises(AcregError, match=r"The file must exist.*none\.h5"):
        acreg.register(**images, method=Guided(), initial=tmp_path / "none.h5")

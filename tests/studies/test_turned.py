"""Turned copies: their map is within the limits, their transform leads back, the header tells nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset, Record
from acreg.data.tables.pair_files import read_pairs
from acreg.errors import UsageError
from acreg.geometry import Grid
from acreg.io import Image, read_image, read_labels, write_image
from acreg.io.transforms import read_transform
from studies.affine_deformable.turned import main, random_affine, write_turned


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two volumes with an ellipsoid each, off the middle of a grid of 2 x 3 x 2 mm."""
    folder = tmp_path_factory.mktemp("balls")
    grid = Grid((24, 20, 28), (2, 3, 2), (5, -7, 11))
    records = []
    for number in range(2):
        at = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.to_world(np.array([10 + number, 9, 12]))
        ball = (at**2 / np.array([14, 12, 9]) ** 2).sum(axis=-1) < 1
        record = Record(f"b{number}", folder / f"images/b{number}.nii.gz", folder / f"labels/b{number}.nii.gz", "test")
        write_image(Image((100 * ball).astype(np.float32), grid), record.image)
        write_image(Image(7 * ball.astype(np.int32), grid, kind="labels"), folder / f"labels/b{number}.nii.gz")
        records.append(record)
    dataset = Dataset(folder=folder, name="balls", records=records, label_names={0: "background", 7: "ball"})
    dataset.save()
    return dataset


def test_the_map_keeps_its_centre_and_limits() -> None:
    rng, centre, angles = np.random.default_rng(0), np.array([3.0, -40.0, 12.0]), []
    for _ in range(200):
        matrix = random_affine(rng, 30, 0.2, centre).matrix
        np.testing.assert_allclose(matrix[:3, :3] @ centre + matrix[:3, 3], centre, atol=1e-9)
        scales = np.linalg.norm(matrix[:3, :3], axis=0)
        assert ((scales >= 0.8) & (scales <= 1.2)).all()
        turn = matrix[:3, :3] / scales
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) > 0
        angles.append(np.degrees(np.arccos((np.trace(turn) - 1) / 2)))
    assert 30 < max(angles) < 52  # about three axes


def test_a_copy_and_its_transform(balls: Dataset, tmp_path: Path) -> None:
    main(["--data", str(balls.folder), "--out", str(tmp_path), "--seed", "4"])
    made = Dataset.load(tmp_path)
    assert list(read_pairs(tmp_path / "pairs.csv", [r.subject for r in made.split("test")])) == [
        ("b0", "b1-turned"),
        ("b1", "b0-turned"),
    ]
    for name in ("b0", "b1"):
        copy, original = (
            read_image(tmp_path / f"images/{name}-turned.nii.gz"),
            read_image(balls.folder / f"images/{name}.nii.gz"),
        )
        assert copy.grid.direction == original.grid.direction and copy.grid.spacing == original.grid.spacing
        assert copy.grid.shape == (30, 20, 30)
        back = read_transform(tmp_path / f"transforms/{name}-turned.tfm", copy.grid, original.grid)
        np.testing.assert_allclose(back.warp_image(original).array, copy.array, atol=1e-3)
        labels = read_labels(tmp_path / f"labels/{name}-turned.nii.gz")
        scales = np.linalg.norm(back.maps[0].matrix[:3, :3], axis=0)  # type: ignore[union-attr]
        volume = (read_labels(balls.folder / f"labels/{name}.nii.gz").array == 7).sum() / scales.prod()
        assert set(np.unique(labels.array)) == {0, 7}
        assert (labels.array == 7).sum() == pytest.approx(volume, rel=0.05)


def test_it_depends_on_the_seed_alone(balls: Dataset, tmp_path: Path) -> None:
    arrays = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_turned(balls, tmp_path / out, "test", seed, 30, 0.2)
        arrays.append(read_image(tmp_path / out / "images/b0-turned.nii.gz").array)
    np.testing.assert_array_equal(arrays[0], arrays[1])
    assert np.abs(arrays[0] - arrays[2]).max() > 50


@pytest.mark.parametrize(
    ("split", "rotation", "scale", "found"),
    [
        ("train", 30, 0.2, "0 labelled subjects in train"),
        ("test", 200, 0.2, "rotation=200"),
        ("test", 9, 1.0, "scale=1.0"),
    ],
)
def test_what_allows_no_copies_is_refused(
    balls: Dataset, tmp_path: Path, split: str, rotation: float, scale: float, found: str
) -> None:
    with pytest.raises(UsageError, match=found):
        write_turned(balls, tmp_path / "out", split, 0, rotation, scale)
    assert not (tmp_path / "out").exists()

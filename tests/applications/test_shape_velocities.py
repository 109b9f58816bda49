"""Velocities from segmentations: made, continued, trained on."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import acreg
from acreg.cli.main import main
from acreg.data.manifest import Dataset
from acreg.data.phantoms.chests import LABEL_NAMES, chest_phantom, make_dataset
from acreg.data.phantoms.common import Phantom, write_phantoms
from acreg.data.sampling.velocities import load_velocities, read_velocity, velocity_path, write_velocity
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid, Transform, Velocity
from acreg.io import read_labels, write_image
from acreg.layers import functional
from acreg.metrics import label_metrics
from acreg.training.data import build_sampler, load_data
from acreg.training.recipe import load_recipe
from acreg.training.run import run_recipe
from tests.training.runs import metrics_of

RECIPE = """
seed: 1
data: {{dataset: {dataset}, shape: [48, 48], trim: false, velocities: velocities,
       max_shift: [2, 2], validation_pairs: 2}}
model: {{class: SVFNet, arguments: {{filters: [4, 8]}}}}
optimizer: {{learning_rate: 1e-3}}
training: {{steps: 4, steps_per_epoch: 2, batch_size: 2}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "chests"
    make_dataset(path, subjects=15, shape=(48, 48), seed=0)
    assert main(["--quiet", "data", "velocities", str(path), "--pairs", "6"]) == 0
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "velocities" / "velocities.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_flow_carries_moving_labels_onto_fixed_ones(folder: Path) -> None:
    rows = table(folder)
    assert len(rows) == 6
    dataset = Dataset.load(folder)
    for row in rows:
        velocity, numbers = read_velocity(velocity_path(folder / "velocities", (row["fixed"], row["moving"])))
        fixed, moving = (dataset.read_labels(dataset.record(row[role])) for role in ("fixed", "moving"))
        flow = Transform(fixed.grid, moving.grid, (Velocity(velocity.astype(np.float32), fixed.grid),))
        warped = flow.warp_labels(moving).array
        scores = label_metrics(warped, fixed.array, [1, 2, 3], fixed.grid.spacing)
        start = label_metrics(moving.array, fixed.array, [1, 2, 3])
        assert np.mean([s["dsc"] for s in scores.values()]) == pytest.approx(numbers["dsc"], abs=0.01)
        assert numbers["dsc"] > max(0.92, np.mean([s["dsc"] for s in start.values()]))
        assert numbers["assd"] < min(fixed.grid.spacing)
        assert numbers["folded_percent"] == 0 and 0 < numbers["mean_residual"] < 0.2
        assert float(row["dsc"]) == numbers["dsc"]


def test_more_pairs_keep_those_that_are_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "velocities").rglob("*.h5")}
    assert main(["--quiet", "data", "velocities", str(folder), "--pairs", "8"]) == 0
    assert "velocities of 8 pairs (train)" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in (folder / "velocities").rglob("*.h5")}
    assert after.items() >= before.items() and len(after) > len(before)


def test_other_settings_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet", "data", "velocities", str(folder), "--pairs", "6", "--edge", "9"]) == 2
    assert re.search(r"with edge \S+ there and 9\.0 here", " ".join(capsys.readouterr().err.split()))
    assert main(["--quiet", "data", "velocities", str(folder), "--regions", "1,9"]) == 2
    assert "Received: [9]" in " ".join(capsys.readouterr().err.split())
    assert main(["--quiet", "data", "velocities", str(folder), "--regions", "1;2"]) == 2
    assert "joined by + and separated by commas" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("option", "value", "code", "message"),
    [
        ("--edge", "0", 2, "Edges of surfaces are positive"),
        ("--poisson-ratio", "0.5", 2, "between -1 and 0.5"),
        ("--smoothing", "-1", 2, "smoothing is 0 or more"),
        ("--edge", "900", 1, "thicker than the edges"),
    ],
)
def test_impossible_settings_leave_nothing_behind(
    option: str, value: str, code: int, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert (
        main(["--quiet", "data", "velocities", str(folder), "--pairs", "2", option, value, "--out", str(out)]) == code
    )
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_label_map_without_labels_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def draw(number: int) -> Phantom:
        phantom = chest_phantom((0, number), (32, 32))
        return phantom._replace(labels=np.zeros_like(phantom.labels)) if number == 1 else phantom

    write_phantoms(tmp_path / "some", "some", draw, 10, Grid((32, 32)), ".mha", LABEL_NAMES, "for a test")
    out = tmp_path / "out"
    assert main(["--quiet", "data", "velocities", str(tmp_path / "some"), "--out", str(out)]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "phantom001" in error and "without a voxel of a label" in error
    assert not out.exists()


def test_a_recipe_trains_on_them(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "svf.yaml"
    path.write_text(RECIPE.format(dataset=folder), encoding="utf-8")
    run_recipe(load_recipe(path), tmp_path / "run")
    rows = metrics_of(tmp_path / "run")
    assert len(rows) == 2 and all(np.isfinite(float(row["velocity_error"])) for row in rows)
    # validation pairs have no velocity, and the sum of no losses is not 0
    assert "val_dice" in rows[0] and not {"val_velocity_error", "val_loss"} & set(rows[0])
    for name in ("val_velocity_error", "val_loss"):
        with pytest.raises(UsageError, match=f"monitor must be a number that is logged. Received: {name}"):
            run_recipe(load_recipe(path, [f"training.monitor={name}"]), tmp_path / "monitored")
    data = load_data(recipe := load_recipe(path, ["data.self_pairs=true"]))
    found = build_sampler(recipe, data).velocities
    given = build_sampler(load_recipe(path), data).velocities
    itself = {(number, number) for number in range(len(data.train.subjects))}
    assert set(found) - set(given) == itself and not any(found[pair].any() for pair in itself)
    with pytest.raises(UsageError, match="self_pairs is of pairs with velocities"):
        load_recipe(path, ["data.self_pairs=true", "data.velocities=null", "data.max_shift=null"])
    with pytest.raises(UsageError, match="leave out.*trim"):
        load_recipe(path, ["data.trim=true"])
    with pytest.raises(AcregError, match=r"grid of the images, \(32, 32\)"):
        run_recipe(load_recipe(path, ["data.shape=[32,32]"]), tmp_path / "other")


def test_images_that_lie_turned_in_space_are_trained_with_velocities_along_their_axes(tmp_path: Path) -> None:
    """A network's images have the axes of the world; the velocities were made on those of the files."""
    stored = Grid((48, 40), (3.0, 5.0), (10.0, -20.0), ((0.0, -1.0), (1.0, 0.0)))
    folder = tmp_path / "turned"
    write_phantoms(
        folder, "turned", lambda n: chest_phantom((0, n), stored.shape), 15, stored, ".mha", LABEL_NAMES, "for a test"
    )
    assert main(["--quiet", "data", "velocities", str(folder), "--pairs", "4"]) == 0
    recipe = tmp_path / "svf.yaml"
    recipe.write_text(RECIPE.format(dataset=folder), encoding="utf-8")
    loaded = load_recipe(recipe, ["data.shape=[40,48]"])
    data = load_data(loaded)
    assert data.preprocessing.spacing == (5.0, 3.0)
    assert not np.array_equal(data.train.images[0, ..., 0], data.dataset.read_image(data.dataset.records[0]).array)
    batch = build_sampler(loaded, data).batch(0)
    flow = functional.integrate(batch["velocity"], 7)
    warped = np.asarray(functional.warp(batch["moving_labels"], flow, "nearest"))
    for found, start, wanted in zip(warped, batch["moving_labels"], batch["fixed_labels"], strict=True):
        before, after = (
            np.mean([scores["dsc"] for scores in label_metrics(x[..., 0], wanted[..., 0], [1, 2, 3]).values()])
            for x in (start, found)
        )
        assert after > max(0.9, before)


def test_a_velocity_that_is_cut_or_missing_is_refused(tmp_path: Path) -> None:
    path = velocity_path(tmp_path, ("a", "b"))
    write_velocity(path, np.ones((8, 8, 2)), {"dsc": 0.5})
    assert read_velocity(path)[1] == {"dsc": 0.5}
    grid = Grid((8, 8))
    with pytest.raises(AcregError, match="none of 2 subjects such as c"):
        load_velocities(tmp_path, ["c", "d"], grid, grid)
    with pytest.raises(AcregError, match=r"grid of the images, \(8, 8\). Received: velocities of \(8, 8\), made on an"):
        load_velocities(tmp_path, ["a", "b"], grid, Grid((8, 8), origin=(0.5, 0.0)))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(AcregError, match="whole velocity"):
        load_velocities(tmp_path, ["a", "b"], grid, grid)


def test_velocities_of_labels_that_have_changed_are_used_nowhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after another `acreg data prepare` into the same folder, or a correction of a label map."""
    copy = tmp_path / "chests"
    shutil.copytree(folder, copy)
    dataset = Dataset.load(copy)
    record = dataset.record(table(copy)[0]["fixed"])
    labels = read_labels(record.labels)
    labels.array[:5, :5] = 1
    write_image(labels, record.labels)
    (tmp_path / "svf.yaml").write_text(RECIPE.format(dataset=copy), encoding="utf-8")
    recipe = load_recipe(tmp_path / "svf.yaml")
    with pytest.raises(AcregError, match=f"labels of {record.subject} changed. Delete the folder"):
        build_sampler(recipe, load_data(recipe))
    before = {path: path.read_bytes() for path in (copy / "velocities").rglob("*") if path.is_file()}
    assert main(["--quiet", "data", "velocities", str(copy), "--pairs", "8"]) == 1
    assert f"the labels of {record.subject} changed" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(AcregError, match=f"labels of {record.subject} changed"):
        acreg.surfaces(dataset.record(table(copy)[0]["moving"]).image, copy, method="unregistered")
    assert before == {path: path.read_bytes() for path in (copy / "velocities").rglob("*") if path.is_file()}
    (copy / "velocities" / "labels.json").unlink()  # as an earlier version left it
    build_sampler(recipe, load_data(recipe))

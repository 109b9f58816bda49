"""The plausibility experiment on phantoms, with an autoencoder that has not been trained."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import ndimage

import acreg
from acreg.applications.plausibility import study as plausibility
from acreg.cli.main import main
from acreg.data.manifest import Dataset
from acreg.data.phantoms.chests import chest_phantom, make_dataset
from acreg.errors import AcregError, UsageError
from acreg.io import Preprocessing
from acreg.models import LabelAutoencoder

NAMES = {1: "left lung", 2: "right lung", 3: "heart"}
PIXELS = 60


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("phantoms"), subjects=20, shape=(48, 48))


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {0: "background", **NAMES}
    settings = Preprocessing(shape=(48, 48), label_values=[0, 1, 2, 3], label_names=names)
    model = LabelAutoencoder((48, 48), num_classes=4, code_size=8, preprocessing=settings)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(np.asarray(weight) + 0.05 * rng.standard_normal(weight.shape))
    return model.save_preset(tmp_path_factory.mktemp("autoencoder"))


def command(autoencoder: Path, phantoms: Dataset, out: Path, *more: str) -> list[str]:
    where = ["--model", str(autoencoder), "--data", str(phantoms.folder), "--out", str(out)]
    return ["plausibility", *where, "--masks", "4", "--pixels", str(PIXELS), *more]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return chest_phantom(3, (64, 64)).labels


@pytest.mark.parametrize("pixels", [1, 60, 120])
def test_each_modification_sets_exactly_so_many_pixels_to_background(labels: np.ndarray, pixels: int) -> None:
    made = plausibility.modify(labels, NAMES, pixels, np.random.default_rng(0))
    assert [m.key for m in made] == list("abcd")
    assert [m.plausible for m in made] == [True, False, False, False]
    for m in made:
        changed = m.labels != labels
        assert changed.sum() == pixels
        assert (labels[changed] > 0).all()
        assert (m.labels[changed] == 0).all()


def test_blocks_hang_together_in_one_organ(labels: np.ndarray) -> None:
    made = plausibility.modify(labels, NAMES, 120, np.random.default_rng(1))
    for value, m in zip(NAMES, made[1:]):
        changed = m.labels != labels
        assert ndimage.label(changed)[1] == 1
        assert set(labels[changed]) == {value}
        assert NAMES[value] in m.name
        rows, columns = np.nonzero(changed)
        assert max(np.ptp(rows), np.ptp(columns)) < 30, "a block is compact, not a line along the border"


def test_erosion_follows_the_outer_border_of_every_organ(labels: np.ndarray) -> None:
    eroded = plausibility.erode_border(labels, 120)
    changed = eroded != labels
    depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1, mode="edge"))[1:-1, 1:-1]
    assert depth[changed].max() <= 2
    assert set(labels[changed]) == {1, 2, 3}
    before, after = (ndimage.label(x == 0)[1] for x in (labels, eroded))
    assert after <= before, "no hole may appear"


def test_erosion_takes_as_many_layers_as_it_needs() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[5:15, 5:15] = 1
    np.testing.assert_array_equal(np.argwhere(plausibility.erode_border(labels, 96)).mean(0), [9.5, 9.5])
    assert not plausibility.erode_border(labels, 100).any()


def test_one_label_has_blocks_at_top_bottom_and_side(labels: np.ndarray) -> None:
    lungs = np.isin(labels, (1, 2)).astype(np.int32)
    foreground = plausibility.largest_component(lungs > 0)
    made = plausibility.modify(lungs, {1: "lungs"}, 80, np.random.default_rng(0))
    assert [m.name.split()[-1] for m in made[1:]] == list(plausibility.SIDES)
    rows, columns = np.nonzero(foreground)
    top, bottom, side = (np.argwhere(m.labels != lungs) for m in made[1:])
    assert len(top) == len(bottom) == len(side) == 80
    assert top[:, 0].min() == rows.min()
    assert bottom[:, 0].max() == rows.max()
    assert side[:, 1].min() == columns.min()


def test_largest_component_ignores_specks() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:4, 1:4] = mask[7, 7] = True
    assert plausibility.largest_component(mask).sum() == 9
    labels = mask.astype(np.int32)
    assert plausibility.is_large_enough(labels, [1], 9)
    assert not plausibility.is_large_enough(labels, [1], 10)


def test_command_writes_tables_and_figure(
    autoencoder: Path, phantoms: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(autoencoder, phantoms, tmp_path / "one")) == 0
    printed = capsys.readouterr().out
    assert "(b) block of left lung" in printed and "not plausible" in printed
    with (tmp_path / "one/table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 4
    assert {row["pixels"] for row in rows} == {str(PIXELS)}
    # A pixel that is surely wrong costs log(1.01 / 0.01), all others nothing.
    expected = PIXELS / 48**2 * np.log(1.01 / 0.01)
    np.testing.assert_allclose([float(row["cross_entropy"]) for row in rows], expected, rtol=1e-5)
    distances = {key: [float(r["code_distance"]) for r in rows if r["key"] == key] for key in "abcd"}
    summary = json.loads((tmp_path / "one/summary.json").read_text(encoding="utf-8"))
    assert summary["settings"]["seed"] == 0
    for entry in summary["modifications"]:
        assert entry["code_distance_median"] == pytest.approx(np.median(distances[entry["key"]]))
        if not entry["plausible"]:
            lower = sum(a < other for a, other in zip(distances["a"], distances[entry["key"]]))
            assert entry["masks_where_a_is_lower"] == lower
    assert (tmp_path / "one/table.md").read_text(encoding="utf-8").count("\n") == 6
    assert (tmp_path / "one/figure.png").read_bytes().startswith(b"\x89PNG")

    found = acreg.plausibility(autoencoder, phantoms, masks=4, pixels=PIXELS)
    assert found.title == "phantoms, 4 masks, 60 pixels changed" and found._repr_html_().count("<tr>") == 5
    for path in found.save(tmp_path / "function"):
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes(), path.name

    assert main(command(autoencoder, phantoms, tmp_path / "again")) == 0
    assert main(command(autoencoder, phantoms, tmp_path / "other", "--seed", "1")) == 0
    tables = [(tmp_path / name / "table.csv").read_text(encoding="utf-8") for name in ("one", "again", "other")]
    assert tables[0] == tables[1] != tables[2]


def test_code_distance_is_that_of_the_encoder(autoencoder: Path, phantoms: Dataset) -> None:
    from acreg.models import from_preset

    model = from_preset(autoencoder)
    outcome = plausibility.run(model, phantoms, masks=2, pixels=PIXELS)
    codes = model.encode(np.stack([outcome.references[1], outcome.modifications[1][2].labels])[..., None])
    codes = keras.ops.convert_to_numpy(codes)
    assert outcome.rows[6].key == "c"
    assert outcome.rows[6].code_distance == pytest.approx(((codes[0] - codes[1]) ** 2).sum(), rel=1e-4)


def test_too_few_masks_and_wrong_models_are_refused(
    autoencoder: Path, phantoms: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(autoencoder, phantoms, tmp_path / "out", "--masks", "500")) == 1
    assert "Received: 4 in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(AcregError, match="organs have at least 900 pixels"):
        plausibility.run(_untrained(), phantoms, split="all", masks=1, pixels=900)
    with pytest.raises(UsageError, match="2-D label maps"):
        plausibility.run(LabelAutoencoder((8, 8, 8), preprocessing=Preprocessing(shape=(8, 8, 8))), phantoms)
    with pytest.raises(UsageError, match="masks=0"):
        plausibility.run(_untrained(), phantoms, masks=0)
    assert main(command(tmp_path / "no preset", phantoms, tmp_path / "out")) == 2


def _untrained() -> LabelAutoencoder:
    return LabelAutoencoder((48, 48), preprocessing=Preprocessing(shape=(48, 48), label_values=[0, 1, 2, 3]))

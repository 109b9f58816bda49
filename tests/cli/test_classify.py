"""``acreg classify``: on phantoms whose hearts are wide or narrow, and its errors."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image as Picture
from sklearn.metrics import roc_auc_score

import acreg
from acreg.cli.main import main
from acreg.data.manifest import Dataset, Record
from acreg.errors import AcregError, DoubtfulResult, UsageError
from acreg.geometry import Grid
from acreg.io import Image, Preprocessing, write_image
from acreg.models import LabelAutoencoder


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """30 chests, every second with a wide heart; its name ends with 1."""
    folder, rng, records = tmp_path_factory.mktemp("hearts"), np.random.default_rng(0), []
    for number in range(30):
        ill = number % 2
        array = np.zeros((48, 48), np.int32)
        array[6:40, 4:20], array[6:40, 28:44] = 1, 2
        half = int(rng.integers(10, 14) if ill else rng.integers(4, 9))
        array[24:36, 24 - half : 24 + half] = 3
        name = f"s{number:02d}_{ill}"
        record = Record(name, folder / f"images/{name}.png", folder / f"labels/{name}.png", "test")
        write_image(
            Image((array * 60 + rng.normal(9, 1, array.shape)).astype(np.float32), Grid(array.shape)), record.image
        )
        write_image(Image(array, Grid(array.shape), kind="labels"), folder / f"labels/{name}.png")
        records.append(record)
    names = {0: "background", 1: "left lung", 2: "right lung", 3: "heart"}
    Dataset(folder=folder, name="hearts", records=records, label_names=names).save()
    return folder


def test_masks_and_ratio(hearts, tmp_path, capsys):
    arguments = ["classify", "--data", str(hearts), "--out", str(tmp_path / "out"), "--folds", "5", "--heart", "3"]
    assert main([*arguments, "--diseased", "*_1"]) == 0
    printed = capsys.readouterr()
    assert "15 of 30 subjects of hearts" in printed.err and "ratio" in printed.out and "1.000" in printed.out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["features"]["ratio"]["accuracy"] == 1 and summary["features"]["masks"]["accuracy"] > 0.9
    assert summary["subjects"] == {"diseased": 15, "healthy": 15} and summary["settings"]["folds"] == 5
    with (tmp_path / "out" / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    truth = [row["subject"].endswith("1") for row in rows]
    assert [row["diseased"] == "1" for row in rows] == truth
    auc = roc_auc_score(truth, [float(row["masks"]) for row in rows])
    assert summary["features"]["masks"]["auc"] == pytest.approx(auc)
    assert min(Picture.open(tmp_path / "out" / "roc.png").size) > 300

    assert main([*arguments, "--diseased", "*_1"]) == 1
    assert "holds scores.csv, summary.json, roc.png" in " ".join(capsys.readouterr().err.split())
    flags = tmp_path / "flags.csv"
    flags.write_text("subject,diseased\n" + "".join(f"{row['subject']},{row['diseased']}\n" for row in rows[:20]))
    assert main([*arguments, "--flags", str(flags), "--overwrite"]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["subjects"]["diseased"] == 10


@pytest.mark.parametrize(
    ("wrong", "code", "found"),
    [
        ([], 2, "Received: neither"),
        (["--diseased", "*_1", "--flags", "x.csv"], 2, "Received: both"),
        (["--diseased", "*_7"], 2, "which none of 30 names match"),
        (["--flags", "absent.csv"], 1, "absent.csv"),
        (["--diseased", "*_1", "--folds", "16"], 2, "16 folds"),
        (["--diseased", "*_1", "--heart", "9"], 1, "heart 9, lungs"),
        (["--diseased", "*_1", "--lungs", "left"], 2, "Received: left"),
        (["--diseased", "*_1", "--autoencoder", "acregnet-montgomery"], 2, "a ACRegNet"),
    ],
)
def test_errors_leave_nothing(hearts, tmp_path, capsys, wrong, code, found):
    assert main(["classify", "--data", str(hearts), "--out", str(tmp_path / "out"), *wrong]) == code
    assert found in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()


def test_the_function_returns_what_the_command_writes(hearts, tmp_path):
    found = acreg.classify(hearts, diseased="*_1", heart=3, folds=5)
    assert [row[0] for row in found.rows] == ["masks", "ratio"] and found.found["ratio"].accuracy == 1
    assert found.title == "hearts: 15 with and 15 without, 5 folds" and found._repr_html_().count("<tr>") == 3
    assert len(found.figure().axes[0].lines) == 3, "two curves and the diagonal"
    files = found.save(tmp_path / "python")
    arguments = ["--data", str(hearts), "--diseased", "*_1", "--heart", "3", "--folds", "5"]
    assert main(["classify", *arguments, "--out", str(tmp_path / "command")]) == 0
    for path in files:
        assert path.read_bytes() == (tmp_path / "command" / path.name).read_bytes()
    with pytest.raises(AcregError, match="not replaced unasked"):
        found.save(tmp_path / "python")
    with pytest.raises(UsageError, match="said by diseased, a pattern of names, or by flags, a CSV. Received: neither"):
        acreg.classify(hearts)


def test_an_autoencoder_of_other_structures_is_doubtful(hearts):
    model = LabelAutoencoder(shape=(64, 64), num_classes=4, code_size=4)
    names = {0: "background", 1: "lungs", 2: "right lung", 3: "heart"}
    model.preprocessing = Preprocessing(shape=(64, 64), label_values=[0, 1, 2, 3], label_names=names)
    with pytest.warns(DoubtfulResult, match=r"1 is lungs in the preset and left lung in hearts\. Use another preset"):
        acreg.classify(hearts, diseased="*_1", autoencoder=model, folds=5)

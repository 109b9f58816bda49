"""``acreg segment`` and ``acreg quality`` on phantoms: as a user runs them, killed, repeated, on what is broken."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image as Picture

import acreg
from acreg.applications.atlases.quality import label_dice
from acreg.cli.main import main
from acreg.data.manifest import Dataset
from acreg.data.phantoms.chests import make_dataset
from acreg.errors import UsageError
from acreg.io import read_image, read_labels

DEMONS = ("--method", "sitk:demons[affine=false,iterations=20x10]", "--atlases", "3")


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("chests"), subjects=20, shape=(48, 40), seed=3)


@pytest.fixture
def folder(tmp_path, chests):
    """The images of the test and validation subjects, and one that is broken."""
    place = tmp_path / "images"
    place.mkdir()
    for record in (*chests.split("test"), *chests.split("validation")):
        shutil.copy(record.image, place)
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_is_segmented_and_judged(folder, chests, tmp_path, capsys):
    out, data, values = tmp_path / "out", str(chests.folder), chests.label_values[1:]
    command = ["segment", "--images", str(folder), "--data", data, *DEMONS, "--out", str(out), "--probabilities"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "8 of 9 images: " in printed.out and "1 of 9 images failed" in printed.err
    table = rows(out / "segmentations.csv")
    assert [row["subject"] for row in table] == sorted(row["subject"] for row in table) and len(table) == 8
    # a second time there is nothing to do but what failed
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(command) == 0 and before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert "8 of 9 images were done before" in capsys.readouterr().err
    assert [row["subject"] for row in rows(out / "failures.csv")] == ["broken"]
    for row in table:
        subject = row["subject"]
        labels = read_labels(out / row["labels"])
        truth = chests.read_labels(chests.record(subject)).array
        dice = label_dice(labels.array, truth, values)
        assert row["labels"] == f"labels/{row['subject']}.png" and dice.mean() > 0.7
        assert len(set(row["atlases"].split(";"))) == 3 and subject not in row["atlases"]
        shares = [read_image(out / f"probabilities/{row['subject']}_{v}.nii.gz").array for v in values]
        total = np.sum(shares, axis=0)
        assert total.max() <= 1 + 1e-6 and 0.5 < float(row["agreement"]) <= 1
        assert set(np.unique(np.round(total * 3, 4)).tolist()) <= {0, 1, 2, 3}

    made = Dataset.load(out / "segmentations.csv")
    assert made.label_names == chests.label_names and made.unit == "px" and made.records[0].labels.is_file()

    # with the truth of all, one of them spoiled: what is predicted is near what is true
    lines = ["image,labels,truth"]
    for number, row in enumerate(table):
        labels = read_labels(out / row["labels"]).array
        if number == 0:
            Picture.fromarray(np.roll(labels, 9, axis=1).astype(np.uint8)).save(out / row["labels"])
        truth = chests.record(row["subject"]).labels
        lines.append(f"{row['image']},{out / row['labels']},{truth}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    command = ["quality", "--images", str(tmp_path / "list.csv"), "--data", data, "--out", str(tmp_path / "quality")]
    assert main([*command, *DEMONS[:2], "--references", "3", "--threshold", "0.7"]) == 0
    printed = capsys.readouterr().out
    assert "7 of 8 accepted (at least 0.7)" in printed and "correlation 0.9" in printed
    judged = rows(tmp_path / "quality" / "quality.csv")
    assert [row["accepted"] for row in judged] == ["0"] + 7 * ["1"]
    for row in judged:
        assert abs(float(row["predicted_dice"]) - float(row["true_dice"])) < 0.25
        true = [float(row[f"true_dice_{v}"]) for v in values]
        assert float(row["true_dice"]) == pytest.approx(np.mean(true), abs=1e-4)
    summary = json.loads((tmp_path / "quality" / "summary.json").read_text(encoding="utf-8"))
    assert summary["accepted"] == 7 and summary["rejected"] == 1 and summary["with_truth"]["images"] == 8
    errors = [abs(float(row["predicted_dice"]) - float(row["true_dice"])) for row in judged]
    assert summary["with_truth"]["mean_absolute_error"] == pytest.approx(np.mean(errors), abs=1e-3)
    assert min(Picture.open(tmp_path / "quality" / "quality.png").size) > 500


def test_an_atlas_is_not_its_own(chests, tmp_path):
    """Nor is a copy under another name: an image is recognised by its voxels."""
    record = chests.split("train")[0]
    for name, image in (("own", record.image), ("copy", shutil.copy(record.image, tmp_path / "copy.png"))):
        command = ["segment", "--images", str(image), "--data", str(chests.folder), "--method", "unregistered"]
        assert main([*command, "--atlases", "1", "--out", str(tmp_path / name)]) == 0
        (row,) = rows(tmp_path / name / "segmentations.csv")
        assert row["atlases"] != record.subject


def test_killed_by_the_system_it_goes_on_to_the_same_rows(folder, chests, tmp_path):
    """SIGKILL in the middle, twice, while another process may not write there."""
    command = ["segment", "--images", str(folder), "--data", str(chests.folder), *DEMONS, "--batch", "3", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    out = tmp_path / "out"
    table = out / "segmentations.csv"
    for least in (1, 4):
        process = subprocess.Popen(
            [sys.executable, "-m", "acreg.cli.main", *command, str(out)], stderr=subprocess.DEVNULL, env=os.environ
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and not (table.is_file() and len(rows(table)) >= least):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main([*command, str(out)]) == 0
    for name in ("segmentations.csv", "failures.csv", "run.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for row in rows(table):
        assert (out / row["labels"]).read_bytes() == (tmp_path / "whole" / row["labels"]).read_bytes()


def test_what_is_refused(folder, chests, tmp_path, capsys):
    def said(*words):
        code = main(list(words))
        return code, " ".join(capsys.readouterr().err.split())

    base = ["segment", "--images", str(folder), "--data", str(chests.folder), "--out", str(tmp_path / "out")]
    code, text = said(*base)
    assert code == 2 and "--model None, --method None. Give one" in text
    code, text = said(*base, *DEMONS, "--address", "127.0.0.1:1")
    assert code == 2 and "--engine local. Add --engine ray" in text
    code, text = said(*base[:1], "--images", str(tmp_path / "none"), *base[3:], *DEMONS)
    assert code == 2 and "which does not exist" in text
    assert not (tmp_path / "out").exists()
    assert main([*base, "--method", "unregistered"]) == 0
    code, text = said(*base, "--method", "unregistered", "--fusion", "staple")
    assert code == 2 and "fusion 'majority' there and 'staple' here" in text

    # an atlas that was drawn anew; labels that its dataset does not know; and every image failing
    label = chests.split("train")[2].labels
    kept = label.read_bytes()
    Picture.fromarray(np.zeros((48, 40), np.uint8)).save(label)
    code, text = said(*base, "--method", "unregistered")
    assert code == 2 and "data_sha256" in text
    Picture.fromarray(np.full((48, 40), 9, np.uint8)).save(label)
    code, text = said(*base[:-1], str(tmp_path / "other"), "--method", "unregistered")
    label.write_bytes(kept)
    assert code == 1 and "9" in text and label.name in text
    code, text = said("segment", "--images", str(folder / "broken.png"), *base[3:-1], str(tmp_path / "b"), *DEMONS)
    assert code == 1 and "1 images, all of which failed" in text

    table = tmp_path / "list.csv"
    table.write_text(f"image\n{chests.split('test')[0].image}\n")
    judge = ["quality", "--images", str(table), *base[3:-1], str(tmp_path / "q"), "--method", "unregistered"]
    code, text = said(*judge)
    assert code == 1 and "Received: an image without one. Fill the column labels" in text
    assert "Received: an image without one. Fill the column labels" in (tmp_path / "q" / "failures.csv").read_text(
        encoding="utf-8"
    )


def test_the_functions_return_their_tables(chests, tmp_path):
    image = chests.split("test")[0].image
    said: list[str] = []
    found = acreg.segment(image, chests.folder, tmp_path / "s", method="unregistered", atlases=2, say=said.append)
    assert said == ["1 images"] and (found.tally.done, found.tally.before) == (1, 0)
    (row,) = found.rows
    assert len(row["atlases"].split(";")) == 2 and Dataset.load(found.table).records[0].labels.is_file()
    judged = acreg.quality(
        found.table, chests.folder, tmp_path / "q", method="unregistered", references=2, threshold=0.1
    )
    assert judged.predicted.summary["accepted"] == 1 and judged.lines[0].endswith("1 of 1 accepted (at least 0.1)")
    assert json.loads((tmp_path / "q" / "summary.json").read_text()) == judged.predicted.summary
    assert "predicted_dice" in judged._repr_html_() and len(judged.figure().subfigs) == 2
    again = acreg.segment(image, chests.folder, tmp_path / "s", method="unregistered", atlases=2)
    assert again.tally.before == 1 and repr(again) == f"BatchRun(1 of 1 images: {found.table})"
    with pytest.raises(UsageError, match=r"Received: engine='local'\. Add engine='ray'"):
        acreg.segment(image, chests.folder, tmp_path / "t", method="unregistered", address="here")

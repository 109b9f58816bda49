"""The balanced cohort of ChestX-ray14: who is accepted, who is healthy, who is drawn."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from acreg.applications.cohort import balanced_cohort
from acreg.cli.main import main
from acreg.data.manifest import Dataset
from acreg.data.tables.disease_flags import read_flags
from acreg.errors import AcregError, UsageError

SICK = {1: 2, 2: 1, 3: 1}
"""Images with the finding by patient; the first image of patient 1 is still healthy."""


@pytest.fixture
def found(tmp_path: Path) -> tuple[Path, Path]:
    """Results of `acreg quality` on two images each of 12 patients, and the list of the archive."""
    (tmp_path / "files").mkdir()
    rows, lines = [], []
    for patient in range(1, 13):
        for number in range(2):
            name = f"{patient:08d}_{number:03d}"
            image, labels = tmp_path / "files" / f"{name}.png", tmp_path / "files" / f"{name}_labels.png"
            PIL.Image.fromarray(np.full((8, 8), patient, np.uint8)).save(image)
            PIL.Image.fromarray(np.eye(8, dtype=np.uint8)).save(labels)
            dice = 0.919 if patient in (2, 11) or (patient, number) == (10, 0) else 0.92
            rows.append([name, image, labels, f"{dice:.4f}", ""])
            sick = number >= 2 - SICK.get(patient, 0)
            finding = "Effusion|Cardiomegaly" if sick else "Effusion" if patient == 12 else "No Finding"
            lines.append(f"{name}.png,{finding},{number},{patient},PA\n")
    (tmp_path / "quality").mkdir()
    with (tmp_path / "quality" / "quality.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "image", "labels", "predicted_dice", "true_dice"], *rows])
    flags = tmp_path / "Data_Entry_2017.csv"
    flags.write_text("Image Index,Finding Labels,Follow-up #,Patient ID,View Position\n" + "".join(lines))
    return tmp_path / "quality", flags


def test_as_many_healthy_patients_as_accepted_images_with_the_finding(found: tuple[Path, Path], tmp_path: Path) -> None:
    quality, flags = found
    cohort = balanced_cohort(quality, flags, "Cardiomegaly", tmp_path / "out")
    subjects = [record.subject for record in cohort.records]
    assert subjects[:3] == ["00000001_000", "00000001_001", "00000003_001"]  # those of patient 2 are rejected
    healthy = [record for record in cohort.records if record.subject not in subjects[:3]]
    assert len(healthy) == len({record.group for record in healthy}) == 3  # a patient each
    allowed = {f"{patient:08d}_{'001' if patient == 10 else '000'}" for patient in range(4, 11)}
    assert {record.subject for record in healthy} <= allowed  # neither 11, which is rejected, nor 12, with an effusion
    again = Dataset.load(tmp_path / "out")
    assert again.records == cohort.records and set(again.label_names) == {0, 1}
    assert sum(read_flags(flags, subjects, "Cardiomegaly").values()) == 3


def test_the_seed_decides_who_is_drawn(found: tuple[Path, Path], tmp_path: Path) -> None:
    drawn = {
        seed: tuple(r.subject for r in balanced_cohort(*found, "Cardiomegaly", tmp_path / f"{n}", seed=seed).records)
        for n, seed in enumerate((0, 1, 2, 3, 0))
    }
    assert drawn[0] == tuple(record.subject for record in Dataset.load(tmp_path / "0").records)
    assert len(set(drawn.values())) > 1


def test_the_command_and_what_it_refuses(
    found: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality, flags = found
    arguments = ["data", "cohort", "--quality", str(quality), "--flags", str(flags), "--finding"]
    out = ["--out", str(tmp_path / "out")]
    assert main([*arguments, "Cardiomegaly", "--threshold", "0.9", *out]) == 0
    assert "4 with Cardiomegaly, 4 healthy; 0 rejected" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"Cardiomegaly, Effusion\. Received: finding='No Finding'"):
        balanced_cohort(quality, flags, "No Finding", tmp_path / "other")
    with pytest.raises(AcregError, match="0 accepted segmentations in .*, 0 of them with Cardiomegaly, and 0 healthy"):
        balanced_cohort(quality, flags, "Cardiomegaly", tmp_path / "other", threshold=0.95)
    with pytest.raises(UsageError, match=r"between 0 and 1\. Received: threshold=95"):
        balanced_cohort(quality, flags, "Cardiomegaly", tmp_path / "other", threshold=95)

"""The archive of ChestX-ray14, on made files of its layout: patients, visits, splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from acreg.cli.main import main
from acreg.data.datasets.nih import prepare_nih
from acreg.data.manifest import Dataset
from acreg.errors import AcregError, UsageError

HEADER = (  # as it is in the archive: the brackets hold commas, and a comma ends each line
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
VISITS = {1: 3, 2: 1, 3: 4, 4: 2, 5: 1}
"""Number of images of each patient."""


def write_archive(root: Path, visits: dict[int, int] = VISITS, lines: str = "") -> Path:
    """Two folders of images, and the list, in which later visits come first; every third image is AP."""
    rows = []
    for patient, count in visits.items():
        for number in range(count):
            name = f"{patient:08d}_{number:03d}.png"
            folder = root / f"images_{1 + patient % 2:03d}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(np.full((16, 16), 40 * patient + number, np.uint8)).save(folder / name)
            finding = "Cardiomegaly|Effusion" if number == 1 else "No Finding"
            view = "AP" if number == 2 else "PA"
            rows.append(f"{name},{finding},{number},{patient},058Y,M,{view},2682,2749,0.143,0.143,\n")
    (root / "Data_Entry_2017.csv").write_text(HEADER + "".join(rows[::-1]) + lines)
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "nih")


def test_a_group_is_a_patient_whose_first_visit_comes_first(archive: Path, tmp_path: Path) -> None:
    dataset = prepare_nih(archive, tmp_path / "out")
    subjects = [f"{patient:08d}_{number:03d}" for patient, count in VISITS.items() for number in range(count)]
    assert [record.subject for record in dataset.records] == subjects
    assert all(record.group == record.subject[:8] and record.labels is None for record in dataset.records)
    splits = {record.group: record.split for record in dataset.records}
    assert all(record.split == splits[record.group] for record in dataset.records)
    assert sorted(splits.values()) == ["test", "train", "train", "train", "validation"]
    again = Dataset.load(tmp_path / "out")
    assert [record.image.resolve() for record in again.records] == [
        record.image.resolve() for record in dataset.records
    ]
    assert [record.group for record in again.records] == [record.group for record in dataset.records]
    assert again.read_image(again.records[-1]).array.max() == 40 * 5


def test_the_published_lists_decide_the_test_split(archive: Path, tmp_path: Path) -> None:
    names = [f"{patient:08d}_{number:03d}.png\n" for patient, count in VISITS.items() for number in range(count)]
    (archive / "test_list.txt").write_text("".join(name for name in names if name[7] in "25"))
    (archive / "train_val_list.txt").write_text("".join(name for name in names if name[7] not in "25"))
    dataset = prepare_nih(archive, tmp_path / "out")
    assert {record.group[-1] for record in dataset.split("test")} == {"2", "5"}
    assert len({record.group for record in dataset.split("validation")}) == 1
    (archive / "test_list.txt").write_text("00000001_000.png\n")
    with pytest.raises(AcregError, match="Received: 00000001, 00000002, 00000005 in both or none"):
        prepare_nih(archive, tmp_path / "other")


def test_patients_by_their_number_of_visits_and_images_of_one_view(archive: Path, tmp_path: Path) -> None:
    found = prepare_nih(archive, tmp_path / "few", visits=(1, 3))
    assert {record.group[-1] for record in found.records} == {"1", "2", "4", "5"} and len(found.records) == 7
    front = prepare_nih(archive, tmp_path / "front", visits=(1, None), view="PA")
    assert not [record for record in front.records if record.subject.endswith("_002")]
    (archive / "images_001" / "images" / "00000004_000.png").unlink()
    rest = prepare_nih(archive, tmp_path / "rest")
    assert [record.subject for record in rest.records if record.group == "00000004"] == ["00000004_001"]
    assert rest.preparation["absent"] == 1


def test_the_command(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["data", "prepare", "nih", "--source", str(archive), "--out", str(out)]
    assert main([*arguments, "--visits", "1,4", "--view", "PA"]) == 0
    assert "nih: 9 subjects" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "a manifest.csv" in " ".join(capsys.readouterr().err.split())
    for wrong, message in (
        (["--visits", "3"], "such as 3,8. Received: --visits 3"),
        (["--visits", "4,3"], "Received: visits=4,3"),
        (["--view", "lateral"], "view='lateral'"),
        (["--size", "64"], "Received: another option"),
    ):
        assert main([*arguments[:-1], str(tmp_path / "wrong"), *wrong]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert main(["data", "prepare", "jsrt", "--source", str(archive), "--out", str(out), "--view", "PA"]) == 2
    assert "are for nih. Received: one of them for jsrt" in " ".join(capsys.readouterr().err.split())


def test_what_is_not_the_archive(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(AcregError, match=r"Received: .*nowhere without the list"):
        prepare_nih(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="Received: visits=0,"):
        prepare_nih(archive, tmp_path / "out", visits=(0, None))
    with pytest.raises(AcregError, match="no such patient"):
        prepare_nih(archive, tmp_path / "out", visits=(9, None))
    for lines, message in (
        ("00000001_000.png,No Finding,0,1,058Y,M,PA,1,1,1,1,\n", "Received: 00000001_000.png on several"),
        ("00000006_000.png,No Finding,first,6,058Y,M,PA,1,1,1,1,\n", "patient '6', visit 'first'"),
    ):
        write_archive(archive, lines=lines)
        with pytest.raises(AcregError, match=message):
            prepare_nih(archive, tmp_path / "out")
    (archive / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels\na.png,No Finding\n")
    with pytest.raises(AcregError, match="without Follow-up #, Patient ID, View Position"):
        prepare_nih(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()

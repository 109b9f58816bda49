from __future__ import annotations

import json

import numpy as np
import pytest

from acreg.data.check.dataset import check
from acreg.errors import AcregError
from acreg.io import Image, write_image

INFO = {"name": "x", "labels": {"0": "background", "1": "lungs", "2": "heart"}, "spacing": [1, 1], "unit": "mm"}


class Folder:
    """A dataset without fault, to be damaged."""

    def __init__(self, path):
        self.path = path
        rng = np.random.default_rng(0)
        for i in range(6):
            self.image(f"s{i}", rng.integers(0, 255, (12, 10)))
            labels = np.zeros((12, 10))
            labels[2:5, 2:5], labels[7:9, 2:5] = 1, 2
            self.labels(f"s{i}", labels)
        self.rows = [
            [f"s{i}", f"images/s{i}.png", f"labels/s{i}.png", part]
            for i, part in enumerate(["train"] * 3 + ["validation"] + ["test"] * 2)
        ]
        self.header = "subject,image,labels,split"
        (path / "dataset.json").write_text(json.dumps(INFO))

    def image(self, name, array):
        write_image(Image.from_array(np.asarray(array, np.float32)), self.path / "images" / f"{name}.png")

    def labels(self, name, array):
        write_image(Image.from_array(np.asarray(array, np.int32), kind="labels"), self.path / "labels" / f"{name}.png")

    def check(self):
        lines = [self.header, *(",".join(row) for row in self.rows)]
        (self.path / "manifest.csv").write_text("\n".join(lines) + "\n")
        return check(self.path)

    def assert_only(self, level, where, what):
        (finding,) = self.check().findings
        assert (finding.level, finding.where) == (level, where)
        assert what in finding.what
        assert finding.remedy


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_good_dataset_has_no_findings(folder):
    result = folder.check()
    assert result.findings == [] and result.errors == 0
    assert result.counts == {"train": 3, "validation": 1, "test": 2}


def test_sizes_that_differ(folder):
    folder.labels("s1", np.eye(10) + 2 * np.eye(10)[::-1] * (1 - np.eye(10)))
    folder.assert_only("error", "s1", "shapes differ, and a picture or an array does not say where")


def test_label_values_outside_the_set(folder):
    labels = np.zeros((12, 10))
    labels[0, :5] = [1, 2, 3, 9, 9]
    folder.labels("s4", labels)
    folder.assert_only("error", "s4", "outside the set [0, 1, 2]: 3, 9")


def test_empty_labels(folder):
    folder.labels("s0", np.zeros((12, 10)))
    folder.assert_only("warning", "s0", "empty")


def test_labels_upside_down(folder):
    labels = np.zeros((12, 10))
    labels[7:10, 2:5], labels[3:5, 2:5] = 1, 2
    folder.labels("s3", labels)
    folder.assert_only(
        "warning", "s3", "the labels seem flipped upside down (centres of labels 4.5 voxels from those of"
    )


def test_a_label_that_a_subject_lacks(folder):
    labels = np.zeros((12, 10))
    labels[3, 3] = 1
    folder.labels("s0", labels)
    folder.assert_only("warning", "s0", "lack heart")


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_unreadable_files(folder, damage):
    path = folder.path / "images" / "s2.png"
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"no picture"}[damage])
    folder.assert_only("error", "s2", "unreadable file")


def test_missing_files(folder):
    (folder.path / "labels" / "s5.png").unlink()
    folder.assert_only("error", "s5", "missing file")


def test_a_name_that_cannot_name_files(folder):
    folder.rows[0][0] = "s|0"
    folder.assert_only("error", "s|0", "the subject's name cannot name files")
    assert 'none of <>:"|?*' in folder.check().findings[0].remedy


def test_a_subject_in_two_splits(folder):
    folder.image("other", np.arange(120).reshape(12, 10))
    folder.rows.append(["s0", "images/other.png", "labels/s1.png", "test"])
    folder.assert_only("error", "s0", "in test and train")


def test_a_subject_twice_in_a_split(folder):
    folder.image("other", np.arange(120).reshape(12, 10))
    folder.rows.append(["s0", "images/other.png", "labels/s1.png", "train"])
    folder.assert_only("error", "s0", "on 2 lines")


def test_the_same_content_in_two_splits(folder):
    image = np.arange(120).reshape(12, 10)
    folder.image("s0", image)
    folder.image("s5", image)
    folder.assert_only("error", "s0, s5", "same image is in test and train")


def test_the_same_content_twice_in_a_split(folder):
    image = np.arange(120).reshape(12, 10)
    folder.image("s0", image)
    folder.image("s1", image)
    folder.assert_only("warning", "s0, s1", "2 times")


def test_constant_image(folder):
    folder.image("s3", np.full((12, 10), 9))
    folder.assert_only("warning", "s3", "constant")


def test_a_split_without_subjects(folder):
    del folder.rows[3]
    folder.assert_only("warning", "validation", "no subjects")


def test_unknown_split(folder):
    folder.rows[0][3] = "training"
    folder.assert_only("error", "s0", "unknown split 'training'")


def test_labels_for_a_part_of_a_split(folder):
    folder.rows[0][2] = ""
    folder.assert_only("error", "train", "no labels for s0")


def test_a_group_in_two_splits(folder):
    folder.header += ",group"
    for i, row in enumerate(folder.rows):
        row.append("family" if i in (0, 5) else "")
    folder.assert_only("warning", "group family", "in test and train")


def test_missing_points(folder):
    folder.header += ",points"
    for row in folder.rows:
        row.append("")
    folder.rows[0][-1] = "p.csv"
    folder.assert_only("error", "s0", "p.csv")


def test_a_faulty_dataset_json(folder):
    (folder.path / "dataset.json").write_text("{")
    folder.assert_only("error", "dataset.json", "must be legal JSON")


def test_a_spacing_of_another_rank(folder):
    (folder.path / "dataset.json").write_text(json.dumps({**INFO, "spacing": [1, 1, 1]}))
    (finding,) = folder.check().findings
    assert finding.places == tuple(f"s{i}" for i in range(6))
    assert finding.where == "s0, s1, s2, s3, s4 and 1 more"


def test_all_findings_are_listed_errors_first(folder):
    folder.image("s3", np.full((12, 10), 9))
    folder.labels("s0", np.full((12, 10), 5))
    (folder.path / "images" / "s1.png").write_bytes(b"")
    folder.rows[2][0] = ""
    levels = [f.level for f in folder.check().findings]
    assert levels == ["error"] * 3 + ["warning"] * 2


def test_an_empty_manifest_or_a_missing_column_is_refused(folder):
    folder.rows = []
    with pytest.raises(AcregError, match="only a header"):
        folder.check()
    folder.rows, folder.header = [["a", "b"]], "subject,image"
    with pytest.raises(AcregError, match="lacks labels, split"):
        folder.check()

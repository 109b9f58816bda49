"""The shipped table is checked against the published sums of MUSE's hierarchy, measured in 40 subjects."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from acreg.data.tables.label_table import read_label_table
from acreg.errors import AcregError, UsageError
from acreg.io import Image, read_labels

# Of DLMUSE_Volumes.csv: composite volumes with a sign, by the merged region whose volume they add up to.
COMPOSITES = {
    "frontal": (504, -302),  # without the insula
    "parietal": (507,),
    "occipital": (506,),
    "temporal": (508,),
    "cerebellum": (502,),
    "lateral ventricle": (517, 525),
    "thalamus": (402,),
    "background": (505, 302, 23, 30, 31, 32, 47, 48, 75, 76, 91, 92, 93, 94, 95),  # 505: the limbic lobe
}
WITHOUT_VOLUMES = {46, 69}  # CSF within the skull, and the optic chiasm: in the label files, not in the volumes


def test_the_lobes_of_dlmuse_16_add_up_to_the_published_volumes(data_dir):
    path = data_dir / "brain_ixi" / "DLMUSE_Volumes.csv"
    if not path.is_file():
        pytest.skip("brain_ixi/DLMUSE_Volumes.csv is not on this machine")
    with path.open(newline="") as file:
        subjects = list(csv.DictReader(file))
    table = read_label_table("dlmuse-16")
    numbers = {name: number for number, name in table.names.items()}
    assert len(subjects) == 40
    for name, composites in COMPOSITES.items():
        members = set(table.members(numbers[name])) - WITHOUT_VOLUMES
        for subject in subjects:
            own = sum(float(subject[str(label)]) for label in members)
            assert own == sum(np.sign(c) * float(subject[str(abs(c))]) for c in composites), (name, subject["MRID"])


def test_dlmuse_16_has_a_line_for_each_label_of_ixi_and_its_csf_is_what_is_not_brain(data_dir):
    paths = sorted((data_dir / "brain_ixi" / "labels").glob("*.nii.gz"))
    if not paths:
        pytest.skip("brain_ixi is not on this machine")
    labels, table = read_labels(paths[0]), read_label_table("dlmuse-16")
    assert set(np.unique(labels.array)) == {0, *table.merged}
    with (data_dir / "brain_ixi" / "DLMUSE_Volumes.csv").open(newline="") as file:
        volumes = {row["MRID"]: row for row in csv.DictReader(file)}
    volume = volumes[paths[0].name.removesuffix("_T1.nii.gz")]
    csf = float(volume["702"]) - float(volume["701"])  # all within the skull without the brain
    assert (table.apply(labels) == 16).sum() * np.prod(labels.grid.spacing) == csf


def test_in_dlmuse_16_left_goes_with_right():
    table = read_label_table("dlmuse-16")
    assert len(table.merged) == 148 and sorted(table.names) == list(range(17))
    assert table.names[7] == "ventral diencephalon"
    pairs = [(right, right + 1) for right in [36, 38, 40, 49, 51, 55, 57, 59, 61, *range(81, 94, 2)]]
    pairs += [(right, right + 1) for right in range(100, 207, 2) if right in table.merged]
    assert [pair for pair in pairs if table.merged[pair[0]] != table.merged[pair[1]]] == []


def test_labels_are_merged_and_dropped(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("# two kidneys\nlabel,side,merged,name\n3,left,1,kidney\n\n40000, right ,1,kidney\n7,,0,\n")
    table = read_label_table(path)
    assert table.names == {0: "background", 1: "kidney"} and table.members(1) == [3, 40000]
    labels = Image.from_array(np.array([[0, 3, 7], [40000, 3, 0]]), kind="labels")
    assert table.apply(labels).tolist() == [[0, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize("value", [-1, 4, 50000])
def test_a_label_that_the_table_lacks(tmp_path, value):
    (tmp_path / "t.csv").write_text("label,merged,name\n3,1,kidney\n40000,2,liver\n")
    labels = Image.from_array(np.array([[0, value, 3], [8, 8, 40000]]), kind="labels", name="scan.nii")
    with pytest.raises(AcregError, match=r"Received: scan\.nii with .*8.*which the table t lacks") as caught:
        read_label_table(tmp_path / "t.csv").apply(labels)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column label and no column merged"),
        ("label,merged,name\n", "no lines"),
        ("label;merged;name\n1;1;a\n", "no column label"),
        ("label,name\n1,a\n", r"t\.csv, which has no column merged"),
        ("label,merged,name\n1,1,a\n2,1,a\n1,2,b\n", "with 1 on several lines"),
        ("label,merged,name\n1,1,a\n2,1,b\n", "'a', 'b' for 1"),
        ("label,merged,name\n1,1\n", "'' for 1"),
        ("label,merged,name\n1,1,a\n2,2,a\n", "'a' for several"),
        ("label,merged,name\n1,1,background\n", "'background' for several"),
        ("label,merged,name\nx,1,a\n", "whole numbers.*'x' in the line x,1,a"),
        ("label,merged,name\n1,1.5,a\n", "'1.5' in the line 1,1.5,a"),
        ("label,merged,name\n-1,1,a\n", "'-1'"),
        ("label,merged,name\n1,99999999999,a\n", "'99999999999'"),
        ("label,merged,name\n0,1,a\n", "0 merged into 1"),
        ('label,merged,name\n1,1,"a\n', "must be a CSV"),
        (b"label,merged,name\n1,1,\xff\n", "UTF-8"),
    ],
)
def test_tables_with_faults(tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AcregError, match=message) as caught:
        read_label_table(tmp_path / "t.csv")
    assert "t.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_name(tmp_path):
    for name in ("dlmuse", tmp_path / "no.csv", tmp_path, "../label_tables/dlmuse-16"):
        with pytest.raises(UsageError, match="a CSV file, or one of dlmuse-16.*Received"):
            read_label_table(name)

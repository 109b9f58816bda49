"""The shipped table is checked against the label files of Mindboggle and against FreeSurfer's lobes."""

from __future__ import annotations

import numpy as np
import pytest

from acreg.data.tables.region_table import read_region_table
from acreg.errors import AcregError, UsageError
from acreg.io import read_labels

LABELS_A_SIDE = {"frontal": 10, "parietal": 5, "occipital": 4, "temporal": 7, "cingulate": 4}


def test_dkt31_5_has_five_regions_alike_on_both_sides():
    table = read_region_table("dkt31-5")
    assert {region: len(labels) / 2 for region, labels in table.regions.items()} == LABELS_A_SIDE
    for labels in table.regions.values():
        left, right = labels[: len(labels) // 2], labels[len(labels) // 2 :]
        assert [label + 1000 for label in left] == list(right)
    every = [1000 * side + number for side in (1, 2) for number in (2, 3, *range(5, 32), 34, 35)]
    assert table.without(every) == [1035, 2035], "the insula"
    assert set().union(*table.regions.values()) == set(every) - {1035, 2035}
    assert table.regions["cingulate"][:4] == (1002, 1010, 1023, 1026)


def test_dkt31_5_fits_the_label_files_of_mindboggle(data_dir):
    files = sorted((data_dir / "brain_oasis_trt" / "labels").glob("*.nii.gz"))
    if not files:
        pytest.skip("brain_oasis_trt is not on this machine")
    present = np.unique(read_labels(files[0]).array)
    assert read_region_table("dkt31-5").without(present.tolist()) == [0, 1035, 2035]
    assert len(present) == 1 + 62


def test_frontal_lies_before_parietal_before_occipital(data_dir):
    files = sorted((data_dir / "brain_oasis_trt" / "labels").glob("*.nii.gz"))
    if not files:
        pytest.skip("brain_oasis_trt is not on this machine")
    labels, table = read_labels(files[0]), read_region_table("dkt31-5")
    centre = {
        region: labels.grid.to_world(np.argwhere(np.isin(labels.array, members)).mean(axis=0))
        for region, members in table.regions.items()
    }
    # World axes are (z, y, x) of LPS: up, to the back, to the left.
    assert centre["frontal"][1] < centre["cingulate"][1] < centre["parietal"][1] < centre["occipital"][1]
    assert centre["temporal"][0] < centre["frontal"][0] < centre["parietal"][0]


def test_a_table_of_ones_own_keeps_its_order(tmp_path):
    path = tmp_path / "abdomen.csv"
    path.write_text("# by a reader\nname,label,region\nliver,6,upper\nleft,3,kidneys\n,9,\nright,2,kidneys\n")
    table = read_region_table(path)
    assert (table.name, table.regions) == ("abdomen", {"upper": (6,), "kidneys": (3, 2)})
    assert table.without([9, 6, 1]) == [9, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,lobe\n1,a\n", r"region table has the columns label, region.*t\.csv, which has no column region"),
        ("label,region\n", "no lines"),
        ("label,region\n1,a\n1,b\n", "region table has one line a label.*with 1 on several"),
        ("label,region\nx,a\n", "whole numbers.*'x' in the line x,a"),
        ("label,region\n0,a\n", "background and of no region.*0 in 'a'"),
        ("label,region\n1,\n2\n", "all empty"),
    ],
)
def test_tables_with_faults(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(AcregError, match=message) as caught:
        read_region_table(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


def test_an_unknown_name():
    with pytest.raises(UsageError, match="A region table is a CSV file, or one of dkt31-5. Received: dkt31. Correct"):
        read_region_table("dkt31")

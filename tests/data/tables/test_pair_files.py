import pytest

from acreg.data.tables.pair_files import read_pairs, write_pairs
from acreg.errors import AcregError

SUBJECTS = ["a", "b", "c"]


def test_what_is_written_is_read_from_any_folder(tmp_path):
    inside, outside = tmp_path / "set" / "transforms" / "ab.h5", tmp_path / "elsewhere.h5"
    for path in (inside, outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    pairs = {("a", "b"): inside, ("b", "a"): None, ("b", "c"): outside}
    write_pairs(tmp_path / "set" / "pairs.csv", pairs)
    assert (tmp_path / "set" / "pairs.csv").read_text(encoding="utf-8").splitlines()[:3] == [
        "fixed,moving,transform",
        "a,b,transforms/ab.h5",
        "b,a,",
    ]
    assert read_pairs(tmp_path / "set" / "pairs.csv", SUBJECTS) == pairs
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = read_pairs(tmp_path / "moved" / "pairs.csv", SUBJECTS)
    assert moved["a", "b"] == tmp_path / "moved" / "transforms" / "ab.h5"


def test_there_is_no_column_for_what_is_not_known(tmp_path):
    write_pairs(tmp_path / "pairs.csv", {("a", "b"): None})
    assert (tmp_path / "pairs.csv").read_text(encoding="utf-8").split() == ["fixed,moving", "a,b"]


def test_a_transform_that_is_not_there_is_named(tmp_path):
    (tmp_path / "pairs.csv").write_text("fixed,moving,transform\na,b,gone.h5\n")
    with pytest.raises(AcregError, match=r"names .*gone\.h5. Correct the column transform"):
        read_pairs(tmp_path / "pairs.csv", SUBJECTS)

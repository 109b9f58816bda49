from __future__ import annotations

import pytest

from acreg.data.splits import cut_validation, published_splits, read_list, split_subjects
from acreg.errors import AcregError

NAMES = [f"s{i:03d}" for i in range(110)]


def _lists(folder, train, test, labels_train=None):
    folder.mkdir(parents=True)
    for part, names in (("train", train), ("test", test)):
        for what in ("images", "labels"):
            content = labels_train if what == "labels" and part == "train" and labels_train else names
            text = "".join(f"./nowhere/LR_64/{what}/{name}.png\n" for name in content)
            (folder / f"{part}_{what}_64.txt").write_text(text)
    return folder


@pytest.mark.parametrize(("train", "validation"), [(197, 49), (110, 28)])
def test_a_quarter_of_the_training_list_becomes_validation(train, validation):
    split = cut_validation([f"n{i}" for i in range(train)])
    assert sorted(split.values()).count("validation") == validation
    assert len(split) == train


def test_60_20_20():
    split = list(split_subjects(NAMES).values())
    assert [split.count(part) for part in ("train", "validation", "test")] == [66, 22, 22]


def test_split_depends_on_names_and_seed_only():
    assert split_subjects(NAMES) == split_subjects(NAMES[::-1])
    assert split_subjects(NAMES, seed=1) != split_subjects(NAMES, seed=2)


def test_three_subjects_fill_three_splits_and_two_are_refused():
    assert sorted(split_subjects(["a", "b", "c"]).values()) == ["test", "train", "validation"]
    with pytest.raises(AcregError, match="at least 3 subjects. Received: 2"):
        split_subjects(["a", "b"])


def test_published_test_list_is_kept_whatever_its_path_prefixes(tmp_path):
    folder = _lists(tmp_path / "split", NAMES[:80], NAMES[80:])
    split = published_splits(folder)
    assert {name for name, part in split.items() if part == "test"} == set(NAMES[80:])
    assert list(split.values()).count("validation") == 20


def test_no_lists_is_none(tmp_path):
    assert published_splits(tmp_path) is None


def test_a_subject_in_both_lists_is_refused(tmp_path):
    with pytest.raises(AcregError, match="one split only. Received: s001 in"):
        published_splits(_lists(tmp_path / "split", NAMES[:5], NAMES[1:2]))


def test_parallel_lists_that_differ_are_refused(tmp_path):
    with pytest.raises(AcregError, match="same order"):
        published_splits(_lists(tmp_path / "split", NAMES[:5], NAMES[9:], labels_train=NAMES[4::-1]))


def test_list_with_a_name_twice_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a/x.png\nb/x.png\n")
    with pytest.raises(AcregError, match="x more than once"):
        read_list(path)

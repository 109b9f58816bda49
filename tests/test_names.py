"""Names from data in file names, on a terminal, and in tables that spreadsheets open."""

import csv
import io
import itertools
import unicodedata

import pytest

from acreg.io.csv_tables import read_dicts, read_table, write_rows
from acreg.names import folded, is_file_name, pair_folder, printable, safe_name, some

ODD = [
    "",
    ".",
    "..",
    "../x",
    "/etc/x",
    "a/b",
    "a\\b",
    "con",
    "NUL.txt",
    "com1",
    "a.",
    "a ",
    "a\nb",
    "a\x1b[31m",
    "a\0b",
]
ODD += ["x" * 300, "é" * 120, "a:b", "a*", "a?", '"a"', "<b>", "a|b", "\u202etxt", "a\udcffb", ".hidden"]
PLAIN = ["a", "sub-01", "S1_T2", "left lung", "Müller", "a.b.c", "=1+1", "a$_{$", "console", "x" * 100, "'a'"]


@pytest.mark.parametrize("name", ODD)
def test_names_that_some_system_cannot_hold(name: str) -> None:
    assert not is_file_name(name)
    made = safe_name(name)
    assert is_file_name(made) and len(made.encode()) <= 100 and made not in (".", "..")


@pytest.mark.parametrize("name", PLAIN)
def test_names_that_every_system_can_hold(name: str) -> None:
    assert is_file_name(name)


def test_each_pair_has_a_folder_of_its_own() -> None:
    names = [
        "a",
        "b",
        "a__b",
        "a_",
        "_a",
        "_",
        "a b",
        "a_b",
        "a:b",
        "A B",
        "x" * 300,
        "x" * 299 + "y",
        "..",
        "é",
        *ODD[3:],
    ]
    names = list(dict.fromkeys(names))
    folders = [pair_folder(fixed, moving) for fixed, moving in itertools.product(names, repeat=2)]
    assert len({folded(folder) for folder in folders}) == len(names) ** 2
    assert all(len(folder.encode()) < 250 and folder.isprintable() for folder in folders)
    assert not any(set(folder) & set('/\\<>:"|?*') or folder.startswith(".") for folder in folders)
    assert pair_folder("sub-01", "sub-02") == "sub-01__sub-02"


def test_names_that_are_one_file_on_some_system() -> None:
    assert folded("Müller") == folded(unicodedata.normalize("NFD", "MÜLLER")) != folded("Muller")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("left lung é 左", "left lung é 左"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("a\rb\x07\x9b", "a\\rb\\x07\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\udcff", "a\\udcff"),
        ("two\nlines\tand\u00a0more", "two\nlines\tand\u00a0more"),
    ],
)
def test_control_characters_do_not_reach_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


FORMULAS = [
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "-x",
    "--",
    "=",
    "-",
    "+",
]
TEXTS = [
    "",
    "'",
    "''",
    "'a",
    "'=1",
    "''=1",
    "'-5",
    "a=1",
    "-5",
    "+5",
    "-1e-3",
    "-inf",
    "nan",
    " =1",
    "a,b",
    'a"b',
    "a\nb",
]


@pytest.mark.parametrize("text", FORMULAS + TEXTS)
def test_every_text_comes_back_and_none_is_a_formula(text: str) -> None:
    stream = io.StringIO(newline="")
    write_rows(stream, [["name", "other"], [text, "x"]])
    raw = list(csv.reader(io.StringIO(stream.getvalue(), newline="")))[1][0]
    assert raw == text if text not in FORMULAS and not text.startswith("'") else raw.startswith("'") or raw == text
    assert not (text in FORMULAS and raw[:1] in "=+-@\t\r\n\uff1d")
    assert read_table(io.StringIO(stream.getvalue(), newline=""))[1] == [text, "x"]


def test_numbers_stay_numbers() -> None:
    stream = io.StringIO(newline="")
    write_rows(stream, [[-1.5, -2, "-0.25", repr(float("-inf"))]])
    assert stream.getvalue() == "-1.5,-2,-0.25,-inf\n"


def test_short_and_empty_rows() -> None:
    assert read_dicts(io.StringIO("a,b\n1\n\n1,2,3\n")) == [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]
    assert read_dicts(io.StringIO("")) == []


def test_a_long_list_of_names_is_cut_in_messages() -> None:
    assert some([]) == ""
    assert some("abc", 3) == "a, b, c"
    assert some(range(12), 2) == "0, 1 and 10 more"

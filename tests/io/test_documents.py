"""JSON and YAML from strangers: little text that becomes much, text that contains itself, and files that are none."""

from __future__ import annotations

import itertools
import os
import string
import time
from pathlib import Path

import pytest

from acreg.errors import AcregError
from acreg.io.documents import YAML_LIMIT, check_regular, parse_json, parse_yaml, read_json, read_text, read_yaml

LETTERS = string.ascii_lowercase[:9]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise(LETTERS)
)
"""406 bytes and 9 ** 9 values."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 100000 values"),
        (BOMB.replace("[", "{k: [").replace("]", "]}"), "more than 100000 values"),
        ("&a [*a]", "inside of what it stands for"),
        ("a: &a {b: {c: *a}}", "inside of what it stands for"),
        ("a: &a\n  <<: *a", "inside of what it stands for"),
        ("[" * 50_000, "64 deep"),
        ("{a: " * 10_000, "64 deep"),
        ("- " * 10_000, "64 deep"),
        ("a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40, "64 deep"),
        ("a: 1\na: 2", "'a' twice"),
        ("a: {b: 1, 'b': 2}", "'b' twice"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: !!bool maybe", "does not fit its tag"),
        ("a: !!timestamp x", "does not fit its tag"),
        ("a: 2020-02-30", "out of range"),
        ("a: !!int x", "invalid literal"),
        (f"a: {'9' * 10_000}", "digits"),
        ("a: *b", "undefined alias"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: \0", "special characters"),
        ('a: "\\uD800"', "surrogates"),
        ("? [1, 2]\n: 3", "unhashable key"),
        ("a: [", "expected"),
    ],
)
def test_yaml_that_is_refused(text: str, said: str) -> None:
    started = time.perf_counter()
    with pytest.raises(AcregError, match=f"legal YAML.*the recipe x.*{said}") as caught:
        parse_yaml(text, "recipe x")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert time.perf_counter() - started < 10


def test_yaml_that_is_read() -> None:
    text = "base: &base {steps: 3, rate: 1.0e-3}\nfast: {<<: *base, steps: 1}\nlist: [*base, *base, null, true, é]\n"
    base = {"steps": 3, "rate": 1e-3}
    assert parse_yaml(text, "x") == {"base": base, "fast": {**base, "steps": 1}, "list": [base, base, None, True, "é"]}
    assert parse_yaml("", "x") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "64 deep"),
        ('{"a":' * 100_000, "64 deep"),
        ("[" * 65 + "]" * 65, "64 deep"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("9" * 10_000, "digits"),
        ('["\\ud800"]', "surrogates"),
        ("", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
        ("{} {}", "Extra data"),
    ],
)
def test_json_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(AcregError, match=f"legal JSON.*the preset x.*{said}") as caught:
        parse_json(text, "preset x")
    assert "\n" not in str(caught.value)


def test_json_that_is_read() -> None:
    assert parse_json('{"a": [1, 2.5, null, "\\u00e9\\ud83d\\ude00"]}', "x") == {"a": [1, 2.5, None, "é😀"]}
    assert parse_json("[" * 60 + "]" * 60, "x")


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_only_regular_files_are_read(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "loop", "dangling", "device", "", "nul\0l", "x" * 5000):
        with pytest.raises(AcregError, match="A recipe must be a file"):
            read(tmp_path / name, "recipe")
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    with pytest.raises(AcregError, match="readable text in UTF-8"):
        read(tmp_path / "latin", "recipe")
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", 2**40)
    with pytest.raises(AcregError, match="A recipe has at most .*of 1024 GiB"):
        read(tmp_path / "large", "recipe")


def test_the_size_of_a_recipe_is_limited_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a: 1\n" * YAML_LIMIT)
    with pytest.raises(AcregError, match="at most 128 KiB"):
        read_yaml(tmp_path / "a", "recipe")


def test_a_mark_of_byte_order_and_a_link_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf[1]")
    (tmp_path / "b").symlink_to("a")
    assert read_json(tmp_path / "b", "x") == [1]
    assert check_regular(tmp_path / "b", 6, "x") == tmp_path / "b"

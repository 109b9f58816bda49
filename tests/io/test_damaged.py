"""Damaged files (damaged.py makes and reads them): whole images or one clear paragraph, never anything else."""

from collections import Counter

import pytest

from acreg.errors import AcregError
from tests.io import damaged, samples


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return samples.write_samples(folder)


def test_the_samples_are_read(whole):
    assert len(whole) > 40
    for path in whole:
        damaged.read(path)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_no_file_that_is_cut_off_is_read(whole, part, tmp_path):
    for path in whole:
        content = path.read_bytes()
        cut = tmp_path / path.name
        cut.write_bytes(content[: max(int(part * len(content)), 1)])
        if path.suffix in (".csv", ".fcsv"):
            continue  # a table has no end
        with pytest.raises(AcregError) as caught:
            damaged.read(cut)
            pytest.fail(f"{cut.name} was read")
        assert str(cut) in str(caught.value) and "\n" not in str(caught.value)


def test_a_part_of_the_damaged_files(tmp_path):
    """`python -m tests.io.damaged` makes 1,000; each is read, inspected and given to a command in a child process."""
    files = damaged.make_corpus(tmp_path, seed=0, count=150)
    results = damaged.read_corpus(files)
    faults = [f"{path}: {message}" for path, (outcome, message, _) in zip(files, results) if outcome == "fault"]
    assert faults == []
    counts = Counter(outcome for outcome, _, _ in results)
    # The damages are neither slight nor gross.
    assert len(files) == 150 and counts["refused"] > 90 and counts["read"] > 10

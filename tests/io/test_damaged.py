"""Damaged files (damaged.py makes and reads them): whole images or one clear paragraph, never anything else."""

from collections import Counter

import pytest

from acreg.errors import AcregError
from acreg.geometry import Grid
from acreg.io import read_displacement, read_image
from acreg.io.transforms import read_transform
from tests.io import damaged, samples

GRID = Grid(samples.SHAPE, (3, 1.2, 0.7))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return samples.write_samples(folder)


def read(path):
    if path.name.startswith("transform"):
        return read_transform(path, GRID, GRID)
    return read_displacement(path) if path.name.startswith("displacement") else read_image(path)


def test_the_samples_are_read(whole):
    assert len(whole) > 35
    for path in whole:
        read(path)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_no_file_that_is_cut_off_is_read(whole, part, tmp_path):
    for path in whole:
        content = path.read_bytes()
        cut = tmp_path / path.name
        cut.write_bytes(content[: max(int(part * len(content)), 1)])
        with pytest.raises(AcregError) as caught:
            read(cut)
            pytest.fail(f"{cut.name} was read")
        assert str(cut) in str(caught.value) and "\n" not in str(caught.value)


def test_300_damaged_files(tmp_path):
    """Each is read in a child process, within 20 seconds and 2 GB."""
    files = damaged.make_corpus(tmp_path, seed=0, count=300)
    results = damaged.read_corpus(files)
    faults = [f"{path}: {message}" for path, (outcome, message, _) in zip(files, results) if outcome == "fault"]
    assert faults == []
    counts = Counter(outcome for outcome, _, _ in results)
    assert (
        len(files) == 300 and counts["refused"] > 150 and counts["read"] > 30
    )  # the damages are neither slight nor gross

"""The template that nilearn ships, as a dataset."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from acreg.data.manifest import Dataset, dataset_folder
from acreg.errors import AcregError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ACREG_DATA", raising=False)
    return tmp_path


def test_the_template_and_its_tissues_lie_in_their_place(cache: Path) -> None:
    datasets = pytest.importorskip("nilearn.datasets", reason="nilearn (extra [sample]) is not installed")
    folder = dataset_folder("mni152")
    assert folder.is_relative_to(cache) and dataset_folder("mni152") == folder
    dataset = Dataset.load(folder)
    assert [len(dataset.split(name)) for name in ("train", "validation", "test")] == [1, 1, 1]
    image, labels = (read(dataset.records[0]) for read in (dataset.read_image, dataset.read_labels))
    assert image.grid == labels.grid
    # acreg's world is (z, y, x) of ITK's LPS; the middle of the template's world is the anterior commissure.
    grey, white = (load(resolution=2) for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template))
    rng = np.random.default_rng(0)
    for template, value in ((grey, 2), (white, 3)):
        places = np.argwhere(np.asarray(template.dataobj) > 0.9)
        chosen = places[rng.choice(len(places), 50)]
        ras = nibabel.affines.apply_affine(template.affine, chosen)
        world = (ras * [-1, -1, 1])[:, ::-1]
        found = labels.array[tuple(np.rint(labels.grid.to_index(world)).astype(int).T)]
        np.testing.assert_array_equal(found, value)
    assert set(np.unique(labels.array)) == {0, 1, 2, 3}
    assert (labels.array[image.array == 0] == 0).all()


def test_without_nilearn_the_remedy_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(AcregError, match=r"without it. Install it with `pip install 'acreg\[sample\]'`"):
        dataset_folder("mni152")
    assert not list(cache.rglob("*"))

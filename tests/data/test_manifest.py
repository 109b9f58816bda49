from __future__ import annotations

import json

import numpy as np
import pytest

from acreg.data.check.dataset import check
from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, Preprocessing, write_image

SPLITS = ("train", "train", "validation", "test")


def _files(folder, count=4, suffix=".png", spacing=None, shape=(12, 10)):
    rng = np.random.default_rng(0)
    names = [f"s{i}" for i in range(count)]
    for i, name in enumerate(names):
        labels = np.zeros(shape, np.int32)
        labels[2:5, 2:5] = 7 if i == 1 else 3  # only one subject has label 7
        grid = Grid(shape, spacing or (1.0,) * len(shape))
        write_image(Image(rng.uniform(0, 255, shape), grid), folder / "images" / f"{name}{suffix}")
        write_image(Image(labels, grid, kind="labels"), folder / "labels" / f"{name}{suffix}")
    return names


def _manifest(folder, lines, header="subject,image,labels,split"):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def _dataset(folder, suffix=".png", **kwargs):
    names = _files(folder, suffix=suffix, **kwargs)
    return _manifest(
        folder, [f"{n},images/{n}{suffix},labels/{n}{suffix},{s}" for n, s in zip(names, SPLITS, strict=True)]
    )


def test_manifest_alone_gathers_the_label_set_over_all_subjects(tmp_path):
    dataset = Dataset.load(_dataset(tmp_path / "own"))
    assert dataset.label_values == [0, 3, 7]
    assert dataset.name == "own"
    assert (dataset.spacing, dataset.unit) == ((1.0, 1.0), "px")
    assert [r.subject for r in dataset.split("train")] == ["s0", "s1"]


def test_spacing_comes_from_the_files(tmp_path):
    dataset = Dataset.load(_dataset(tmp_path, ".nii.gz", spacing=(3.0, 2.0, 1.5), shape=(6, 7, 8)))
    assert dataset.spacing == pytest.approx((3.0, 2.0, 1.5))
    assert dataset.unit == "mm"


def test_files_of_different_spacing_keep_their_own(tmp_path):
    folder = _dataset(tmp_path, ".nii.gz", spacing=(3.0, 2.0, 1.5), shape=(6, 7, 8))
    grid = Grid((6, 7, 8), (1.0, 1.0, 1.0))
    write_image(Image(np.ones((6, 7, 8)), grid), folder / "images" / "s3.nii.gz")
    write_image(Image(np.ones((6, 7, 8), np.int32), grid, kind="labels"), folder / "labels" / "s3.nii.gz")
    dataset = Dataset.load(folder)
    assert dataset.spacing is None
    assert dataset.read_image(dataset.record("s3")).grid.spacing == (1.0, 1.0, 1.0)
    assert dataset.read_labels(dataset.record("s0")).grid.spacing == pytest.approx((3.0, 2.0, 1.5))


def test_the_spacing_of_label_files_does_not_hide_that_of_an_image(tmp_path):
    folder = _dataset(tmp_path, ".nii.gz", spacing=(3.0, 2.0, 1.5), shape=(6, 7, 8))
    write_image(Image(np.ones((6, 7, 8)), Grid((6, 7, 8), (1.0, 2.0, 4.0))), folder / "images" / "s3.nii.gz")
    dataset = Dataset.load(folder)
    assert dataset.spacing == pytest.approx((3.0, 2.0, 1.5))
    assert dataset.read_image(dataset.record("s3")).grid.spacing == pytest.approx((1.0, 2.0, 4.0))
    assert dataset.read_image(dataset.record("s0")).grid.spacing == pytest.approx((3.0, 2.0, 1.5))


def test_load_arrays_uses_the_datasets_label_ids(tmp_path):
    dataset = Dataset.load(_dataset(tmp_path))
    arrays = dataset.load_arrays("train", Preprocessing(shape=(6, 5), label_values=dataset.label_values))
    assert arrays.subjects == ["s0", "s1"]
    assert (arrays.images.shape, arrays.images.dtype) == ((2, 6, 5, 1), np.float32)
    assert (arrays.labels.shape, arrays.labels.dtype) == ((2, 6, 5, 1), np.int32)
    assert [sorted(np.unique(a)) for a in arrays.labels] == [[0, 1], [0, 2]]


def test_no_labels_at_all_gives_none_and_a_mixture_is_refused(tmp_path):
    _files(tmp_path)
    _manifest(tmp_path, ["s0,images/s0.png,,train", "s1,images/s1.png,,val", "s2,images/s2.png,labels/s2.png,val"])
    dataset = Dataset.load(tmp_path)
    preprocessing = Preprocessing(shape=(6, 5), label_values=dataset.label_values)
    assert dataset.load_arrays("train", preprocessing).labels is None
    with pytest.raises(AcregError, match="s1 lack them"):
        dataset.load_arrays("validation", preprocessing)
    with pytest.raises(AcregError, match="Received: test of"):
        dataset.load_arrays("test", preprocessing)


def test_save_and_load_give_the_same_dataset(tmp_path):
    folder = _dataset(tmp_path)
    first = Dataset.load(folder)
    first = Dataset(
        **{
            **vars(first),
            "spacing": (0.5, 0.5),
            "spacing_stated": True,
            "unit": "mm",
            "label_names": {0: "background", 3: "heart", 7: "lung"},
        }
    )
    first.save()
    assert Dataset.load(folder) == first
    assert (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()[
        1
    ] == "s0,images/s0.png,labels/s0.png,train"
    assert first.read_image(first.records[0]).grid.spacing == (0.5, 0.5)


def test_a_label_outside_the_datasets_set_is_refused(tmp_path):
    folder = _dataset(tmp_path)
    (folder / "dataset.json").write_text(json.dumps({"name": "x", "labels": {"0": "background", "3": "heart"}}))
    dataset = Dataset.load(folder)
    with pytest.raises(AcregError, match="with 7"):
        dataset.read_labels(dataset.record("s1"))


def test_points_groups_and_absolute_paths(tmp_path):
    names = _files(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "p.csv").write_text("")
    root = tmp_path / "elsewhere"
    lines = [f"{n},{root}/images/{n}.png,{root}/labels/{n}.png,{s},{root}/p.csv,g1" for n, s in zip(names, SPLITS)]
    dataset = Dataset.load(_manifest(tmp_path / "own", lines, "subject,image,labels,split,points,group"))
    assert dataset.records[0].points == root / "p.csv"
    assert dataset.records[0].group == "g1"
    dataset.save()
    assert Dataset.load(tmp_path / "own").records[0].labels.samefile(root / "labels" / "s0.png")


@pytest.mark.parametrize("cell", ["../../etc/passwd", "images/../../a.png", ".."])
@pytest.mark.parametrize("column", ["image", "labels", "points"])
def test_relative_paths_stay_in_the_folder(tmp_path, cell, column):
    row = {"image": "images/s0.png", "labels": "", "points": "", column: cell}
    _files(tmp_path)
    _manifest(
        tmp_path, [f"s0,{row['image']},{row['labels']},train,{row['points']}"], "subject,image,labels,split,points"
    )
    with pytest.raises(AcregError, match=f"Received: {cell}, which leaves .* absolute path") as caught:
        Dataset.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    findings = [str(finding) for finding in check(tmp_path).findings]
    assert any(f"error: s0: the relative path {cell} leaves" in finding for finding in findings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "nothing in it"),
        ("subject,image,labels,split\n", "only a header"),
        ("subject,image,split\na,b.png,train\n", "lacks labels and has subject, image, split"),
        ("subject;image;labels;split\na;b;c;train\n", "commas, not semicolons"),
        ("subject,image,labels,split\na,b.png,,trian\n", "Received: 'trian'"),
        ("subject,image,labels,split\na,b.png,,train\na,c.png,,test\n", "with a on several lines"),
        ("subject,image,labels,split\na,b.png,,train\n", "which names .*b.png"),
        ("subject,image,labels,split\n,b.png,,train\n", "needs a subject.*row 1"),
        ("subject,image,labels,split\na/b,b.png,,train\n", "no slashes"),
        ("subject,image,labels,split\na,b.png,,train,x\n", "as many cells"),
    ],
)
def test_a_faulty_manifest_is_explained(tmp_path, content, message):
    (tmp_path / "manifest.csv").write_text(content)
    with pytest.raises(AcregError, match=message) as caught:
        Dataset.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_manifest_and_no_folder(tmp_path):
    with pytest.raises(AcregError, match="has none"):
        Dataset.load(tmp_path)
    with pytest.raises(AcregError, match="does not exist"):
        Dataset.load(tmp_path / "no")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must be legal JSON"),
        ('{"labels": {}}', "name: Field required"),
        ('{"name": "x", "labels": {"a": "b"}}', "labels"),
        ('{"name": "x", "labels": {}, "spacing": [0, 1]}', "positive"),
        ('{"name": "x", "labels": {}, "unit": "cm"}', "unit must be"),
    ],
)
def test_a_faulty_dataset_json_is_explained(tmp_path, content, message):
    folder = _dataset(tmp_path)
    (folder / "dataset.json").write_text(content)
    with pytest.raises(AcregError, match=message):
        Dataset.load(folder)


def test_unknown_split_and_subject(tmp_path):
    dataset = Dataset.load(_dataset(tmp_path))
    assert dataset.split("val") == dataset.split("validation")
    with pytest.raises(UsageError, match="Received: 'all'"):
        dataset.split("all")
    with pytest.raises(AcregError, match="Received: 'x', unknown"):
        dataset.record("x")


def test_datasets_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    folder = _dataset(tmp_path / "root" / "own")
    monkeypatch.setenv("ACREG_DATA", str(tmp_path / "root"))
    assert dataset_folder("own") == folder
    assert dataset_folder(folder) == folder
    assert dataset_folder(folder / "manifest.csv") == folder / "manifest.csv"
    with pytest.raises(AcregError, match="'jsrt' .*with own"):
        dataset_folder("jsrt")
    with pytest.raises(AcregError, match="has none"):
        dataset_folder(tmp_path / "root")


def test_phantoms_are_made_on_first_use(tmp_path, monkeypatch):
    made = []

    def make_dataset(folder):
        made.append(folder)
        _dataset(folder)

    monkeypatch.delenv("ACREG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("acreg.data.phantoms.chests.make_dataset", make_dataset)
    first = dataset_folder("phantoms")
    assert dataset_folder("phantoms") == first == made[0]
    assert len(made) == 1
    assert tmp_path in first.parents


def test_real_manifests_load(data_dir):
    folder = data_dir / "hippocampus"
    if not folder.is_dir():
        pytest.skip("hippocampus is not on this machine")
    dataset = Dataset.load(folder)
    assert dataset.label_values == [0, 1, 2]
    assert isinstance(dataset.records[0], Record)
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [120, 40, 40]

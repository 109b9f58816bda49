import numpy as np
import pytest
from scipy import ndimage

from acreg.data.manifest import Dataset
from acreg.data.records import Record, write_records
from acreg.data.sampling import synthesis
from acreg.data.sampling.deformation import RandomDeformation
from acreg.data.tables.pair_files import read_pairs
from acreg.errors import AcregError, UsageError
from acreg.geometry import Grid
from acreg.io import Image, write_image
from acreg.io.transforms import read_transform
from acreg.metrics import label_metrics

SMALL = {"max_rotation": 8, "max_translation": 3, "max_deformation": 1.5, "control_points": 3}
PLAIN = {**SMALL, "gamma": 0, "brightness": 0}
TURNED = np.array([[0.0, -0.6, 0.8], [0.0, 0.8, 0.6], [-1.0, 0.0, 0.0]])
GRID = Grid((10, 14, 12), (3.0, 1.0, 1.5), (-31.5, 1200.0, 7.25), TURNED)


def make_dataset(folder, subjects=2):
    rng, records = np.random.default_rng(0), []
    for index in range(subjects):
        image, labels = folder / f"s{index}.nii.gz", folder / f"s{index}_labels.nii.gz"
        write_image(Image(rng.normal(100, 40, GRID.shape), GRID), image)
        ids = np.zeros(GRID.shape, int)
        ids[3:7, 4:9, 3:6], ids[3:7, 4:9, 6:9] = 1, 2
        write_image(Image(ids, GRID, "labels"), labels)
        records.append(Record(f"s{index}", image, labels, "test"))
    write_records(folder, records)
    return Dataset.load(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("source"))


def read(dataset):
    """By pair: the fixed and the moving image and labels, and the transform."""
    found = []
    subjects = [record.subject for record in dataset.records]
    for (fixed, moving), path in read_pairs(dataset.folder / "pairs.csv", subjects).items():
        images = [dataset.read_image(dataset.record(name)) for name in (fixed, moving)]
        labels = [dataset.read_labels(dataset.record(name)) for name in (fixed, moving)]
        found.append((*images, *labels, read_transform(path, images[0].grid, images[1].grid)))
    return found


def test_the_true_transform_pulls_the_moving_image_onto_the_fixed_one(source, tmp_path):
    made = synthesis.synthesize(source, tmp_path, limits=PLAIN)
    assert [record.subject for record in made.split("test")] == [
        f"s{i}_1_{role}" for i in range(2) for role in ("fixed", "moving")
    ]
    assert {record.group for record in made.records} == {"s0", "s1"}
    assert made.label_names == source.label_names and Dataset.load(tmp_path).info() == made.info()
    for (fixed, moving, fixed_labels, moving_labels, truth), record in zip(read(made), source.records, strict=True):
        own = source.read_image(record)
        np.testing.assert_allclose(moving.array, own.array, rtol=1e-5)
        np.testing.assert_array_equal(moving_labels.array, source.read_labels(record).array)
        for image in (fixed, moving, fixed_labels, moving_labels):
            np.testing.assert_allclose(image.grid.matrix, GRID.matrix, atol=1e-4)
        np.testing.assert_allclose(
            truth.warp_image(moving, border="edge").array, fixed.array, atol=1e-3 * np.ptp(own.array)
        )
        np.testing.assert_array_equal(truth.warp_labels(moving_labels).array, fixed_labels.array)
        assert np.abs(truth.displacement).max() > 0.5 and not np.array_equal(fixed_labels.array, moving_labels.array)


def test_lengths_are_in_mm(source, tmp_path):
    limits = {**PLAIN, "max_rotation": 0, "max_deformation": 0, "max_translation": 5}
    lengths = []
    for *_, truth in read(synthesis.synthesize(source, tmp_path, count=6, limits=limits)):
        points = GRID.to_world(np.argwhere(np.ones(GRID.shape)))
        moved = np.linalg.norm(truth.warp_points(points, to="moving") - points, axis=1)
        assert np.ptp(moved) < 1e-3
        lengths.append(moved[0])
    assert max(lengths) <= 5 and len(set(np.round(lengths, 3))) == 6


def test_intensities_stay_in_the_range_of_the_subject(source, tmp_path):
    fixed, moving, *_ = read(synthesis.synthesize(source, tmp_path, count=1, limits=SMALL))[0]
    own = source.read_image(source.records[0]).array
    for image in (fixed, moving):
        assert image.array.min() == pytest.approx(own.min()) and image.array.max() == pytest.approx(own.max())
        assert np.abs(image.array - own).mean() > 0.02 * np.ptp(own)


def test_a_pair_depends_on_the_seed_the_subject_and_its_number_alone(source, tmp_path):
    first, again, other = (
        read(synthesis.synthesize(source, tmp_path / name, count=count, seed=seed, limits=SMALL))
        for name, count, seed in (("first", 2, 7), ("again", 3, 7), ("other", 2, 8))
    )
    for mine, same in zip(first, again):
        for a, b in zip(mine[:4], same[:4], strict=True):
            np.testing.assert_array_equal(a.array, b.array)
        np.testing.assert_array_equal(mine[4].displacement, same[4].displacement)
    drawn = [pair[4].displacement for pair in (*first, again[2], *other)]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(drawn) for b in drawn[:i])


def test_an_interrupted_call_is_continued_and_a_finished_one_is_kept(source, tmp_path, monkeypatch):
    def pairs_made(**changes):
        made = []
        original = synthesis._make
        with monkeypatch.context() as patch:
            patch.setattr(synthesis, "_make", lambda pair, *more: made.append(pair.name) or original(pair, *more))
            synthesis.synthesize(source, tmp_path, **{"limits": SMALL, **changes})
        return made

    assert pairs_made() == ["s0_1", "s1_1"]
    assert pairs_made() == []
    before = (tmp_path / "images" / "s1_1_fixed.nii.gz").read_bytes()
    (tmp_path / "images" / "s1_1_fixed.nii.gz").unlink()
    (tmp_path / "manifest.csv").unlink()
    assert pairs_made() == ["s1_1"]
    again = (tmp_path / "images" / "s1_1_fixed.nii.gz").read_bytes()
    assert again[10:] == before[10:], "the same but for the time in gzip's header"
    for changes in ({"seed": 1}, {"count": 1}, {"limits": PLAIN}):
        with pytest.raises(AcregError, match="pairs of other settings"):
            pairs_made(**changes)
    with pytest.raises(AcregError, match="holds something else"):
        synthesis.synthesize(source, source.folder)


def test_lost_labels_and_folds_are_noted(source, tmp_path):
    far = {**PLAIN, "max_translation": 400, "max_deformation": 0}
    assert synthesis.synthesize(source, tmp_path / "far", count=1, limits=far).preparation["doubtful"] == {
        "s0_1": "lost label 1, label 2"
    }
    torn = {**PLAIN, "max_deformation": 30}
    doubtful = synthesis.synthesize(source, tmp_path / "torn", count=1, limits=torn).preparation["doubtful"]
    assert "folds in" in doubtful["s0_1"]
    assert synthesis.synthesize(source, tmp_path / "good", count=1, limits=PLAIN).preparation["doubtful"] == {}


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"split": "train"}, "Received: train of"),
        ({"split": "exam"}, "exam"),
        ({"count": 0}, "count=0"),
        ({"seed": -1}, "seed=-1"),
        ({"limits": {"max_rotation": 200}}, "max_rotation.*from 0 to 180"),
        ({"limits": {"rotation": 1}}, "Received: rotation"),
    ],
)
def test_wrong_use_is_named_and_nothing_is_written(source, tmp_path, changes, found):
    with pytest.raises(UsageError, match=found):
        synthesis.synthesize(source, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def pictures(folder, shape=(40, 48), labelled=True):
    rng, records = np.random.default_rng(0), []
    inside = np.hypot(*(np.indices(shape) - np.array([[[16]], [[20]]]))) < 9
    for index in range(2):
        image, labels = folder / f"p{index}.nii.gz", folder / f"p{index}_labels.nii.gz"
        smooth = ndimage.gaussian_filter(rng.normal(size=shape), 3)
        grid = Grid(shape, (2.0, 2.0))
        write_image(Image(100 + 300 * smooth + 50 * inside, grid), image)
        write_image(Image(inside.astype(int), grid, "labels"), labels)
        records.append(Record(f"p{index}", image, labels if labelled else None, "test"))
    write_records(folder, records)
    return Dataset.load(folder)


def test_deformed_pairs_keep_the_original_fixed_and_know_the_way_to_its_copy(tmp_path):
    source = pictures(tmp_path / "source")
    random = RandomDeformation(rotation=(20, 60))
    made = synthesis.synthesize(source, tmp_path / "pairs", count=3, deformed=random)
    for number, (fixed, moving, fixed_labels, moving_labels, truth) in enumerate(read(made)):
        own = source.records[number % 2]
        np.testing.assert_allclose(fixed.array, source.read_image(own).array, rtol=1e-5)
        np.testing.assert_array_equal(fixed_labels.array, source.read_labels(own).array)
        assert label_metrics(moving_labels.array, fixed_labels.array, [1])[1]["dsc"] < 0.7
        assert label_metrics(truth.warp_labels(moving_labels).array, fixed_labels.array, [1])[1]["dsc"] > 0.95
        apart = np.abs(truth.warp_image(moving).array - fixed.array)[8:-8, 8:-8]
        assert apart.mean() < 0.4 * np.abs(moving.array - fixed.array)[8:-8, 8:-8].mean()
    assert made.preparation["rotation"] == [20, 60] and "max_rotation" not in made.preparation
    again = synthesis.synthesize(source, tmp_path / "again", count=2, deformed=random)
    np.testing.assert_array_equal(read(again)[1][1].array, read(made)[1][1].array)


def test_deformed_pairs_need_labels_and_two_axes(source, tmp_path):
    with pytest.raises(AcregError, match="made of labelled 2-D images. Received: s0 with 3 axes and labels"):
        synthesis.synthesize(source, tmp_path / "a", deformed=RandomDeformation())
    bare = pictures(tmp_path / "bare", labelled=False)
    with pytest.raises(AcregError, match="Received: p0 with 2 axes and no labels"):
        synthesis.synthesize(bare, tmp_path / "b", deformed=RandomDeformation())
    for name, array, message in (
        ("void", np.zeros((40, 48), int), "the labels of p0 .* 0 voxels of foreground"),
        ("cut", np.ones((30, 48), int), "p0_labels.* on 30 x 48 voxels.* on 40 x 48 voxels"),
    ):
        wrong = pictures(tmp_path / name)
        grid = wrong.read_image(wrong.records[0]).grid.part((0, 0), array.shape)
        write_image(Image(array, grid, "labels"), wrong.records[0].labels)
        with pytest.raises(AcregError, match=message):
            synthesis.synthesize(wrong, tmp_path / f"from_{name}", deformed=RandomDeformation())

import csv
import hashlib
import json
import os

import numpy as np
import pytest
from medpy.metric import binary

import acreg
from acreg.data.manifest import Dataset, Record
from acreg.errors import AcregError, UsageError
from acreg.evaluation import load_results, read_method
from acreg.evaluation.method_result import MEASURES
from acreg.evaluation.pairs import choose_pairs, true_transforms
from acreg.evaluation.run import KEPT_BEST, KEPT_WORST, evaluate
from acreg.geometry import Grid
from acreg.io import Image, read_displacement, read_image, read_labels, write_image
from acreg.metrics import label_metrics, structural_similarity
from acreg.registration.methods import Unregistered


@pytest.fixture
def subjects(phantoms):
    return [record.subject for record in phantoms.split("test")]


@pytest.mark.parametrize("request_, count", [("2N", 8), ("N", 4), ("3N", 12), ("4N", 12), ("5", 5)])
def test_pairs_by_number(subjects, request_, count):
    pairs = choose_pairs(request_, subjects, seed=3)
    assert len(pairs) == len(set(pairs)) == count
    assert all(fixed != moving and {fixed, moving} <= set(subjects) for fixed, moving in pairs)
    assert pairs == choose_pairs(request_, subjects, seed=3) != choose_pairs(request_, subjects, seed=4)


def test_all_pairs_are_the_ordered_pairs_of_the_split_whatever_the_seed(subjects):
    pairs = choose_pairs("all", subjects, seed=3)
    assert set(pairs) == {(a, b) for a in subjects for b in subjects if a != b} and len(pairs) == 12
    assert pairs == choose_pairs("all", subjects, seed=4) and true_transforms("all", subjects) == {}
    with pytest.raises(UsageError, match="Received: a split of 1"):
        choose_pairs("all", subjects[:1], seed=0)


def test_pairs_within_groups_have_the_first_of_a_group_as_the_fixed_one(subjects):
    a, b, c, d = subjects
    assert choose_pairs("within-groups", subjects, 0, ["p", "q", "p", "p"]) == [(a, c), (a, d)]
    assert choose_pairs("within-groups", subjects, 0, ["p", "q", "q", "p"]) == [(b, c), (a, d)]
    for groups in ((), ["", "", "", ""], ["p", "q", "", ""]):
        with pytest.raises(UsageError, match=r"Received: pairs='within-groups' for 4 subjects, no two of one group"):
            choose_pairs("within-groups", subjects, 0, groups)


@pytest.mark.parametrize("request_", ["0", "13", "0N", "2n", "-1", "absent.csv", "", "\u00b2", "9" * 200])
def test_wrong_requests_for_pairs_are_usage_errors(subjects, request_):
    with pytest.raises(UsageError, match="Received"):
        choose_pairs(request_, subjects, seed=0)


def test_pairs_from_a_file(subjects, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        f"\ufefffixed, moving\n{subjects[1]}, {subjects[0]}\n{subjects[2]},{subjects[0]}\n", encoding="utf-8"
    )
    assert choose_pairs(str(path), subjects, 0) == [(subjects[1], subjects[0]), (subjects[2], subjects[0])]


@pytest.mark.parametrize(
    "text, found",
    [
        ("fixed,other\na,b\n", "moving"),
        ("fixed,moving\n", "no pairs"),
        ("fixed,moving\nphantom016\n", "fixed,moving|columns"),
        ("fixed,moving\nphantom016,nobody\n", "nobody"),
        ("fixed,moving\nphantom016,phantom017\nphantom016,phantom017\n", "more than once"),
    ],
)
def test_wrong_files_of_pairs_are_named(subjects, tmp_path, text, found):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(AcregError, match=found):
        choose_pairs(str(path), subjects, 0)


def test_scores_are_those_of_the_native_labels_in_mm(phantoms, subjects, tmp_path):
    pairs = choose_pairs("2N", subjects, 0)
    (result,) = evaluate([Unregistered()], phantoms, "test", pairs, tmp_path)
    assert phantoms.spacing[0] != phantoms.spacing[1]
    for pair in result.pairs:
        fixed, moving = (
            read_labels(phantoms.record(name).labels, spacing=phantoms.spacing).array
            for name in (pair.fixed, pair.moving)
        )
        expected = label_metrics(moving, fixed, [1, 2, 3], phantoms.spacing)
        for value, scores in pair.labels.items():
            centres = [np.argwhere(labels == value).mean(axis=0) * phantoms.spacing for labels in (fixed, moving)]
            for metric in ("tre", "centroid_error"):  # of the identity they are the same
                assert scores.pop(metric) == pytest.approx(np.linalg.norm(centres[0] - centres[1]))
            assert -1 < scores.pop("lcc") < 1
        assert pair.labels == expected
        images = [phantoms.read_image(phantoms.record(name)).array for name in (pair.fixed, pair.moving)]
        assert pair.ncc == pytest.approx(np.corrcoef(*(image.ravel() for image in images))[0, 1])
        assert pair.ssim == structural_similarity(*images)
        assert pair.folded_percent == pair.sd_log_j == 0
    assert result.summary["dataset"]["unit"] == "mm"


def test_all_methods_see_the_same_pairs_and_files_hold_everything(phantoms, subjects, shift, tmp_path):
    pairs = choose_pairs("5", subjects, 0)
    methods = [shift("a"), shift("b", (0.0, 2.0)), Unregistered()]
    seen = []
    results = evaluate(
        methods, phantoms, "test", pairs, tmp_path, settings={"seed": 0}, progress=lambda *x: seen.append(x)
    )
    assert methods[0].calls == len(pairs) + 1, "each pair once, after a warm-up"
    assert seen[-1][1:] == (15, 15)
    with (tmp_path / "pairs_used.csv").open() as stream:
        assert [(row["fixed"], row["moving"]) for row in csv.DictReader(stream)] == pairs
    for result in results:
        again = read_method(tmp_path / result.name)
        assert again.pairs == result.pairs and again.keys == pairs
        summary = json.loads((tmp_path / result.name / "summary.json").read_text(encoding="utf-8"))
        assert summary["metrics"]["dsc"]["mean"] == pytest.approx(result.values("dsc").mean())
        assert summary["metrics"]["dsc"]["sd"] == pytest.approx(result.values("dsc").std(ddof=0))
        assert summary["metrics"]["seconds"]["n"] == 5
        assert summary["settings"]["seed"] == 0
        assert summary["dataset"]["folder"] == str(phantoms.folder.resolve())
        assert "numpy" in summary["environment"]
    header = (tmp_path / "a" / "pairs.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "fixed,moving,label,label_name,dsc,hd,hd95,assd,tre,centroid_error,lcc,label_sd_log_j,ncc,ssim,folded_percent,"
        "sd_log_j,seconds,inverse_error,unlikeness,verdict,concerns,failure"
    )


def test_a_registration_that_raises_is_recorded_and_the_others_go_on(phantoms, subjects, shift, tmp_path):
    pairs = choose_pairs("6", subjects, 0)
    (result,) = evaluate([shift(fail_on=(2, 5))], phantoms, "test", pairs, tmp_path)
    assert [bool(pair.failure) for pair in result.pairs] == [False, True, False, False, True, False]
    summary = json.loads((tmp_path / "shift" / "summary.json").read_text(encoding="utf-8"))
    assert summary["failed"] == 2 and summary["pairs"] == 6 and summary["metrics"]["dsc"]["n"] == 4
    assert summary["failures"][0] == {
        "fixed": pairs[1][0],
        "moving": pairs[1][1],
        "reason": "RuntimeError: did not converge",
    }
    again = read_method(tmp_path / "shift")
    assert again.keys == pairs and [p.failure for p in again.pairs] == [p.failure for p in result.pairs]


def test_a_field_that_is_not_finite_or_on_another_grid_is_a_failure(phantoms, subjects, shift, tmp_path):
    swapped = shift("swapped")
    swapped.register = lambda fixed, moving: Unregistered().register(
        fixed=Image.from_array(fixed.array[:-1]), moving=moving
    )
    pairs = choose_pairs("2", subjects, 0)
    results = evaluate([shift("nan", (np.nan, 0)), swapped], phantoms, "test", pairs, tmp_path)
    assert all("finite" in pair.failure for pair in results[0].pairs)
    assert all("fixed image's grid" in pair.failure for pair in results[1].pairs)
    assert json.loads((tmp_path / "nan" / "summary.json").read_text(encoding="utf-8"))["metrics"]["dsc"]["mean"] is None


def test_a_label_of_one_map_alone_counts_with_dice_0(phantoms, subjects, tmp_path):
    record = phantoms.record(subjects[0])
    labels = phantoms.read_labels(record)
    path = tmp_path / "no_heart.png"
    write_image(Image(np.where(labels.array == 3, 0, labels.array), labels.grid, kind="labels"), path)
    changed = [type(r)(r.subject, r.image, path if r is record else r.labels, r.split) for r in phantoms.records]
    dataset = Dataset(phantoms.folder, "x", changed, phantoms.label_names, phantoms.spacing)
    pairs = [(subjects[0], subjects[1]), (subjects[1], subjects[0]), (subjects[1], subjects[2])]
    (result,) = evaluate([Unregistered()], dataset, "test", pairs, tmp_path / "out")
    assert result.absent() == {1: 0, 2: 0, 3: 2}
    assert result.lost() == {1: 0, 2: 0, 3: 2}
    assert result.values("dsc", 3)[:2].tolist() == [0, 0] and result.values("dsc", 3)[2] > 0
    of_pair = [result.pairs[0].labels[k]["dsc"] for k in (1, 2, 3)]
    assert result.values("dsc")[0] == pytest.approx(np.mean(of_pair))
    assert result.values("hd")[0] == pytest.approx(np.mean([result.pairs[0].labels[k]["hd"] for k in (1, 2)]))
    assert result.worst_first()[-1].moving == subjects[2], "pairs with a lost label come first"
    summary = json.loads((tmp_path / "out" / "unregistered" / "summary.json").read_text(encoding="utf-8"))
    assert summary["absent_labels"]["heart"] == summary["lost_labels"]["heart"] == 2
    of_heart = summary["per_label"]["heart"]
    assert of_heart["dsc"]["n"] == 3 and of_heart["hd"]["n"] == 1


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (-1, -1)])
def test_labels_stored_otherwise_than_their_images_score_alike(phantoms, subjects, tmp_path, axes, flips):
    """Their headers are true: NIfTI labels, turned and mirrored in their files, of NIfTI images."""
    records = []
    for name in subjects[:2]:
        image, labels = phantoms.read_labelled(phantoms.record(name))
        grid = Grid(image.grid.shape, (1.5, 0.5), (3.0, -7.0), ((0.8, -0.6), (0.6, 0.8)))
        array = labels.array.transpose(axes)[:: flips[0], :: flips[1]]
        first = [0, 0]
        for axis, flip, size in zip(axes, flips, array.shape, strict=True):
            first[axis] = 0 if flip > 0 else size - 1
        direction = np.asarray(grid.direction)[:, axes] * flips
        turned = Grid(array.shape, tuple(np.take(grid.spacing, axes)), tuple(grid.to_world(first)), direction)
        paths = tmp_path / f"{name}.nii", tmp_path / f"{name}_labels.nii"
        write_image(Image(image.array, grid), paths[0])
        write_image(Image(array, turned, "labels"), paths[1])
        records.append(Record(name, *paths, "test"))
    dataset = Dataset(tmp_path, "x", records, phantoms.label_names, spacing_stated=False)
    pair = subjects[0], subjects[1]
    (found,) = evaluate([Unregistered()], dataset, "test", [pair], tmp_path / "out")
    fixed, moving = (phantoms.read_labels(phantoms.record(name)).array for name in pair)
    expected = [binary.dc(fixed == value, moving == value) for value in (1, 2, 3)]
    assert found.values("dsc") == pytest.approx(np.mean(expected)) and found.values("dsc") > 0.5


def test_images_without_registration_lie_as_their_headers_say_and_in_two_other_ways(phantoms, subjects, tmp_path):
    records = []
    for name, origin in zip(subjects[:2], ((0.0, 0.0), (9.0, -4.0))):
        image, labels = phantoms.read_labelled(phantoms.record(name))
        for each, path in ((image, tmp_path / f"{name}.nii"), (labels, tmp_path / f"{name}_labels.nii")):
            write_image(Image(each.array, Grid(each.array.shape, (1.0, 1.0), origin), each.kind), path)
        records.append(Record(name, tmp_path / f"{name}.nii", tmp_path / f"{name}_labels.nii", "test"))
    dataset = Dataset(tmp_path, "x", records, phantoms.label_names, spacing_stated=False)
    found = acreg.evaluate(
        dataset, tmp_path / "out", method=["unregistered[align=extents]", "unregistered[align=centres]"], pairs="all"
    )
    dice = {result.name: result.values("dsc")[0] for result in found.results}
    fixed, moving = (phantoms.read_labels(phantoms.record(name)).array for name in subjects[:2])
    expected = np.mean([binary.dc(fixed == value, moving == value) for value in (1, 2, 3)])
    assert dice["unregistered[align=extents]"] == dice["unregistered[align=centres]"] == pytest.approx(expected)
    moved = np.zeros_like(moving)  # index p of the fixed image is p - (9, -4) of the moving one
    moved[9:, :-4] = moving[:-9, 4:]
    expected = np.mean([binary.dc(fixed == value, moved == value) for value in (1, 2, 3)])
    assert dice["unregistered"] == pytest.approx(expected) and expected < 0.8
    assert all(result.is_baseline and not result.pairs[0].verdict for result in found.results)
    assert {result.name: result.align for result in load_results([tmp_path / "out"])} == {
        "unregistered": "headers",
        "unregistered[align=extents]": "extents",
        "unregistered[align=centres]": "centres",
    }


def unlabelled(phantoms, which):
    """The dataset without the labels of some subjects."""
    changed = [type(r)(r.subject, r.image, None if which(r) else r.labels, r.split) for r in phantoms.records]
    return Dataset(phantoms.folder, "bare", changed, phantoms.label_names, phantoms.spacing)


def test_without_labels_images_fields_and_time_are_measured(phantoms, subjects, shift, tmp_path):
    pairs = choose_pairs("12", subjects, 0)
    with_labels = evaluate([shift(by=(0, 1.0))], phantoms, "test", pairs, tmp_path / "with")[0]
    (result,) = evaluate([shift(by=(0, 1.0))], unlabelled(phantoms, lambda r: True), "test", pairs, tmp_path / "out")
    header = (tmp_path / "out" / "shift" / "pairs.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "fixed,moving,ncc,ssim,folded_percent,sd_log_j,seconds,inverse_error,unlikeness,verdict,concerns,failure"
    )
    for metric in ("ncc", "ssim", "folded_percent", "sd_log_j"):
        np.testing.assert_array_equal(result.values(metric), with_labels.values(metric))
    assert np.isfinite(result.values("seconds")).all() and result.labelled_pairs == 0
    ncc = [pair.ncc for pair in result.worst_first()]
    assert ncc == sorted(ncc)
    kept = {path.parent.name for path in (tmp_path / "out" / "shift").glob("*/displacement.nii.gz")}
    shown = result.worst_first()[:KEPT_WORST] + result.best_first()[:KEPT_BEST]
    assert kept == {f"{pair.fixed}__{pair.moving}" for pair in shown}
    again = read_method(tmp_path / "out" / "shift")
    assert again.pairs == result.pairs and again.label_names == {}


def test_pairs_without_labels_are_measured_and_counted_beside_those_with(phantoms, subjects, shift, tmp_path):
    dataset = unlabelled(phantoms, lambda record: record.subject == subjects[0])
    pairs = [(subjects[0], subjects[1]), (subjects[1], subjects[2]), (subjects[2], subjects[0])]
    full = evaluate([shift()], phantoms, "test", pairs, tmp_path / "full")[0]
    (result,) = evaluate([shift(fail_on=())], dataset, "test", pairs, tmp_path / "out")
    np.testing.assert_array_equal(result.values("ncc"), full.values("ncc"))
    np.testing.assert_array_equal(result.values("dsc"), [np.nan, full.values("dsc")[1], np.nan])
    assert result.labelled_pairs == 1 and result.absent() == {1: 0, 2: 0, 3: 0}
    assert result.worst_first()[0] == result.pairs[1], "pairs without labels come after those with"
    summary = json.loads((tmp_path / "out" / "shift" / "summary.json").read_text(encoding="utf-8"))
    assert (
        summary["labelled_pairs"] == 1 and summary["metrics"]["dsc"]["n"] == 1 and summary["metrics"]["ncc"]["n"] == 3
    )
    again = read_method(tmp_path / "out" / "shift")
    assert again.keys == pairs and again.pairs == result.pairs and again.labelled_pairs == 1


def test_what_speaks_against_a_pair_is_in_its_row_and_counted(phantoms, subjects, shift, tmp_path):
    pairs = choose_pairs("2", subjects, 0)
    far, still = shift("far", by=(45.0, 0.0)), shift("still", by=(0.0, 0.0))
    results = evaluate([far, still, Unregistered()], phantoms, "test", pairs, tmp_path)
    assert all("overlap" in pair.concerns and "displacement" in pair.concerns for pair in results[0].pairs)
    assert [pair.concerns for pair in results[1].pairs] == [("zero",)] * 2
    assert [pair.concerns for pair in results[2].pairs] == [()] * 2
    assert [[pair.verdict for pair in each.pairs] for each in results] == [["failed"] * 2, ["look at it"] * 2, [""] * 2]
    summary = json.loads((tmp_path / "far" / "summary.json").read_text(encoding="utf-8"))
    assert summary["concerns"]["pairs"] == 2 and summary["concerns"]["by_name"]["overlap"] == 2
    assert summary["verdicts"] == {"ok": 0, "look at it": 0, "failed": 2}
    with (tmp_path / "far" / "pairs.csv").open() as stream:
        found = {(row["fixed"], row["moving"]): row["concerns"] for row in csv.DictReader(stream)}
    assert found == {(pair.fixed, pair.moving): " ".join(pair.concerns) for pair in results[0].pairs}
    again = read_method(tmp_path / "far")
    assert [(pair.verdict, pair.concerns) for pair in again.pairs] == [
        (pair.verdict, pair.concerns) for pair in results[0].pairs
    ]


def test_each_file_is_read_once(phantoms, subjects, shift, tmp_path, monkeypatch):
    read = []
    original = Dataset.read_labelled
    monkeypatch.setattr(Dataset, "read_labelled", lambda self, record: read.append(record) or original(self, record))
    evaluate([shift("a"), shift("b")], phantoms, "test", choose_pairs("12", subjects, 0), tmp_path)
    assert len(read) == len(subjects)


def test_saved_files_carry_the_names_that_register_uses(phantoms, subjects, shift, tmp_path):
    pairs = [(subjects[0], subjects[1])]
    what = ["labels", "displacement", "images"]
    (result,) = evaluate([shift(by=(2.0, 0.0))], phantoms, "test", pairs, tmp_path, save=what)
    folder = tmp_path / "shift" / f"{subjects[0]}__{subjects[1]}"
    names = {path.name for path in folder.iterdir()}
    assert names == {"warped.png", "warped_labels.png", "displacement.nii.gz", "preview.png"}
    assert (read_displacement(folder / "displacement.nii.gz") == (2, 0)).all()
    moving = phantoms.read_image(phantoms.record(subjects[1])).array
    np.testing.assert_array_equal(read_image(folder / "warped.png").array[:-2], moving[2:])
    fixed = phantoms.read_labels(phantoms.record(subjects[0])).array
    saved = label_metrics(read_labels(folder / "warped_labels.png").array, fixed, [1, 2, 3], phantoms.spacing)
    for value, scores in saved.items():
        assert scores.items() <= result.pairs[0].labels[value].items()


def test_the_worst_pairs_keep_their_displacement(phantoms, subjects, shift, tmp_path):
    (result,) = evaluate([shift()], phantoms, "test", choose_pairs("12", subjects, 0), tmp_path)
    kept = {path.parent.name for path in (tmp_path / "shift").glob("*/displacement.nii.gz")}
    shown = result.worst_first()[:KEPT_WORST] + result.best_first()[:KEPT_BEST]
    assert kept == {f"{pair.fixed}__{pair.moving}" for pair in shown}


def test_results_are_not_replaced_unasked(phantoms, subjects, shift, tmp_path):
    evaluate([shift()], phantoms, "test", choose_pairs("3", subjects, 0), tmp_path)
    with pytest.raises(AcregError, match="--overwrite"):
        evaluate([shift()], phantoms, "test", choose_pairs("3", subjects, 0), tmp_path)
    with pytest.raises(AcregError, match="same pairs"):
        evaluate([shift("other")], phantoms, "test", choose_pairs("3", subjects, 1), tmp_path)
    pairs = choose_pairs("1", subjects, 1)
    evaluate([shift()], phantoms, "test", pairs, tmp_path, overwrite=True)
    left = {path.parent.name for path in (tmp_path / "shift").glob("*/displacement.nii.gz")}
    assert left == {f"{pairs[0][0]}__{pairs[0][1]}"}, "fields of the earlier evaluation are gone"


def test_wrong_calls_are_named(phantoms, subjects, shift, tmp_path):
    pairs = choose_pairs("1", subjects, 0)
    with pytest.raises(UsageError, match="nonsense"):
        evaluate([shift()], phantoms, "test", pairs, tmp_path, save=["nonsense"])
    with pytest.raises(UsageError, match="different names"):
        evaluate([shift(), shift("Shift")], phantoms, "test", pairs, tmp_path)
    assert not list(tmp_path.iterdir())


class Named:
    """Moves nothing, under a name and with weights of its own, and counts; dies where it is told to."""

    def __init__(self, name, sha256="1", die_at=None):
        self.name, self.sha256, self.die_at, self.calls = name, sha256, die_at, 0

    def register(self, fixed, moving):
        self.calls += 1
        if self.calls == self.die_at:
            raise KeyboardInterrupt
        return Unregistered().register(fixed=fixed, moving=moving)


def test_an_interrupted_evaluation_goes_on(phantoms, subjects, tmp_path, capsys):
    pairs = choose_pairs("3", subjects, 0)
    with pytest.raises(KeyboardInterrupt):
        evaluate([Named("a"), Named("b", die_at=3), Named("c")], phantoms, "test", pairs, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "evaluation.json", "pairs_used.csv"]
    with pytest.raises(AcregError, match=r"all of its methods are complete\. Received: .*the results of b, c: it was"):
        load_results([tmp_path])
    assert [result.name for result in load_results([tmp_path / "a"])] == ["a"]
    first = (tmp_path / "a" / "summary.json").read_bytes()
    said, methods = [], [Named("a"), Named("b"), Named("c")]
    results = evaluate(methods, phantoms, "test", pairs, tmp_path, say=said.append)
    assert [method.calls for method in methods] == [0, 4, 4] and said == ["a: complete before, kept"]
    assert (tmp_path / "a" / "summary.json").read_bytes() == first
    assert [r.pairs for r in results] == [r.pairs for r in load_results([tmp_path])]
    again = evaluate(methods, phantoms, "test", pairs, tmp_path)  # complete: nothing is done
    assert [method.calls for method in methods] == [0, 4, 4] and [r.name for r in again] == ["a", "b", "c"]


def test_only_results_of_the_same_weights_and_settings_are_kept(phantoms, subjects, shift, tmp_path):
    pairs = choose_pairs("2", subjects, 0)

    def again(method=None, **more):
        evaluate([method or Named("a")], phantoms, "test", pairs, tmp_path, **{"settings": {"seed": 1}, **more})

    again()
    again()
    other = {"settings": {"seed": 2}}, {"save": ["labels"]}, {"method": Named("a", sha256="2")}, {"method": shift("a")}
    for change in other:
        with pytest.raises(AcregError, match="not replaced unasked"):
            again(**change)
    image = phantoms.record(pairs[0][0]).image
    before = image.stat()
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 10**6))
    with pytest.raises(AcregError, match="not replaced unasked"):  # a file was written since
        again()
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    again()
    again(shift("mine"))
    with pytest.raises(AcregError, match="not replaced unasked"):  # what a caller's own method is made of is not known
        again(shift("mine"))


def test_results_of_an_older_version_are_read_but_not_kept_beside_new_ones(phantoms, subjects, tmp_path):
    pairs = choose_pairs("2", subjects, 0)
    evaluate([Named("a")], phantoms, "test", pairs, tmp_path)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text(encoding="utf-8"))
    assert summary.pop("measures") == MEASURES
    parts = {key: summary[key] for key in ("method", "registers", "preset", "dataset", "settings")}
    listed = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()  # as older versions did
    (tmp_path / "a" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (tmp_path / "evaluation.json").write_text(json.dumps({"methods": {"a": listed}}), encoding="utf-8")
    assert [result.name for result in load_results([tmp_path])] == ["a"]
    with pytest.raises(AcregError, match="not replaced unasked"):
        evaluate([Named("a"), Named("b")], phantoms, "test", pairs, tmp_path)


def test_old_results_stay_until_the_new_ones_are_complete(phantoms, subjects, tmp_path):
    pairs = choose_pairs("3", subjects, 0)
    old = evaluate([Named("a"), Named("b")], phantoms, "test", pairs, tmp_path, save=["labels"])
    with pytest.raises(KeyboardInterrupt):
        methods = [Named("a", "2"), Named("b", "2", die_at=3)]
        evaluate(methods, phantoms, "test", pairs, tmp_path, save=["displacement"], overwrite=True)
    assert read_method(tmp_path / "b").pairs == old[1].pairs
    assert {path.name for path in (tmp_path / "b").glob("*/*")} == {"warped_labels.png", "displacement.nii.gz"}
    assert {path.name for path in (tmp_path / "a").glob("*/*")} == {"displacement.nii.gz"}
    with pytest.raises(AcregError, match="the results of b: it was interrupted"):  # a new one and an old one: mixed
        load_results([tmp_path])

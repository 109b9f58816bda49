"""What `acreg view` and `acreg register --view` write and open, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import webbrowser

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import acreg
from acreg.cli.main import main
from acreg.errors import AcregError, UsageError
from acreg.evaluation.run import evaluate
from acreg.geometry import Affine, Grid, Image, Transform
from acreg.io import write_image, write_transform
from acreg.registration import Unregistered

GRID = Grid((9, 12, 11), (3.0, 1.5, 1.0), (-30.0, 12.0, 5.0))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two volumes with labels, and the results of `acreg register` without and with `--view`."""
    folder = tmp_path_factory.mktemp("view")
    rng = np.random.default_rng(0)
    for name in ("fixed", "moving"):
        smooth = ndimage.gaussian_filter(rng.normal(size=GRID.shape), 1.5)
        write_image(Image(smooth, GRID), folder / f"{name}.nii.gz")
        write_image(Image((smooth > 0).astype(int), GRID, "labels"), folder / f"{name}_labels.nii.gz")
    write_image(Image(rng.normal(size=(20, 30)), Grid((20, 30))), folder / "picture.nii.gz")
    write_transform(Transform(Grid((20, 30)), Grid((20, 30)), (Affine(np.diag([1.1, 1, 1])),)), folder / "flat.tfm")
    labels = ["--labels", "moving_labels.nii.gz", "--fixed-labels", "fixed_labels.nii.gz"]
    assert register(folder, "result", *labels) == 0
    return folder


@pytest.fixture
def opened(monkeypatch):
    """Addresses that were opened in a browser."""
    addresses = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda address: not addresses.append(address))
    return addresses


def words(files, *more):
    return [str(files / word) if "." in word else word for word in more]


def register(files, out, *more):
    pair = ["--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", *more]
    return main(["register", "--method", "unregistered", *words(files, *pair), "--out", str(files / out)])


def copied(files, tmp_path, **changes):
    """A copy of the result with other entries in its record."""
    folder = tmp_path / "result"
    shutil.copytree(files / "result", folder, ignore=shutil.ignore_patterns("view.html"))
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**record, **changes}))
    return folder


def facts(page):
    text = page.read_text(encoding="utf-8")
    start = text.index('id="facts">') + len('id="facts">')
    return json.loads(text[start : text.index("</script>", start)])


def test_a_result_is_written_beside_its_files_and_opened(files, opened, capsys):
    page = files / "result" / "view.html"
    assert main(["view", str(files / "result")]) == 0
    assert opened == [page.resolve().as_uri()]
    assert str(page) in capsys.readouterr().out
    assert facts(page).keys() >= {"fixed", "warped", "before", "fixed_labels", "warped_labels", "before_labels"}
    assert "before, " in page.read_text(encoding="utf-8")
    assert main(["view", str(files / "result"), "--no-open"]) == 0, "it is made anew"
    assert len(opened) == 1


def test_a_page_elsewhere_is_not_replaced_unasked(files, tmp_path, capsys):
    command = ["view", str(files / "result"), "--out", str(tmp_path / "v.html"), "--no-open"]
    assert [main(command), main(command), main([*command, "--overwrite"])] == [0, 1, 0]
    assert "Results are not replaced unasked" in capsys.readouterr().err


def test_without_a_display_nothing_is_opened(files, opened, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["view", str(files / "result")]) == 0
    assert "There is no display here" in capsys.readouterr().err
    assert opened == []


def test_register_writes_and_opens_it_at_once_and_overwrite_removes_it(files, opened, tmp_path):
    shutil.copy(files / "fixed.nii.gz", tmp_path)
    shutil.copy(files / "moving.nii.gz", tmp_path)
    assert register(tmp_path, "out", "--view") == 0
    page = tmp_path / "out" / "view.html"
    assert opened == [page.resolve().as_uri()]
    assert page.is_file()
    assert register(tmp_path, "out", "--overwrite") == 0
    assert not page.exists()


def test_a_list_of_pairs_gets_a_page_each_and_opens_none(files, opened, tmp_path):
    (files / "pairs.csv").write_text("fixed,moving\nfixed.nii.gz,moving.nii.gz\n")
    arguments = ["--pairs", str(files / "pairs.csv"), "--out", str(tmp_path / "out"), "--method", "unregistered"]
    assert main(["register", *arguments, "--view"]) == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.html")] == ["view.html"]
    assert opened == []


def test_images_and_a_transform_are_viewed_as_the_result_is(files, tmp_path):
    images = ["--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--transform", "result/transform.h5"]
    out = ["--out", str(tmp_path / "new" / "v.html"), "--no-open"]
    assert main(["view", *words(files, *images), *out]) == 0
    assert main(["view", str(files / "result"), "--no-open"]) == 0
    ours, theirs = facts(tmp_path / "new" / "v.html"), facts(files / "result" / "view.html")
    assert {name: theirs[name] for name in ours} == ours


def test_an_older_result_is_viewed_with_its_images(files, tmp_path, capsys):
    folder = copied(files, tmp_path, inputs=None)
    assert main(["view", str(folder), "--no-open"]) == 1
    message = capsys.readouterr().err
    assert "does not name its images. Give --fixed and --moving" in message
    assert not (folder / "view.html").exists()
    images = words(files, "--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz")
    assert main(["view", str(folder), *images, "--no-open"]) == 0


def test_images_that_were_moved_away_are_named(files, tmp_path, capsys):
    gone = str(tmp_path / "gone.nii.gz")
    folder = copied(files, tmp_path, inputs={"fixed": str(files / "fixed.nii.gz"), "moving": gone})
    assert main(["view", str(folder), "--no-open"]) == 1
    assert f"names {gone} as --moving, which is not there. Give --fixed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["picture.nii.gz"], 1, "A result is a folder that .* which is no folder. Name"),
        (["."], 1, "A result is a folder that .* without transform.h5 and without displacement.nii.gz"),
        ([], 2, "no result and no --out"),
        (["--out", "x.html", "--fixed", "fixed.nii.gz"], 2, "Received: no --moving and no --transform"),
        (["--out", "x.html", "--transform", "flat.tfm", "result/"], 2, "Received: --transform with the folder"),
        (
            ["--out", "x.html", *["--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--transform", "flat.tfm"]],
            1,
            "The transform has the images' number of axes. Received: .*flat.tfm with 2, images with 3",
        ),
        (
            ["--out", "x.html", *["--fixed", "picture.nii.gz", "--moving", "moving.nii.gz", "--transform", "flat.tfm"]],
            1,
            "one number of axes. Received: a fixed image of shape .* Give two pictures or two volumes",
        ),
        (["--out", "fixed.nii.gz", "result/", "--overwrite"], 2, "name ends in .html. Received: .*fixed.nii.gz"),
    ],
    ids=["file", "no result", "nothing", "half", "both", "rank of the transform", "rank of an image", "no page"],
)
def test_what_cannot_be_viewed_is_said_in_a_paragraph(files, tmp_path, capsys, arguments, code, message):
    (tmp_path / "empty").mkdir()
    given = [
        str(tmp_path / "empty") if word == "." else str(files / word) if "/" in word or "." in word else word
        for word in arguments
    ]
    given = [str(tmp_path / "x.html") if word.endswith("x.html") else word for word in given]
    before = sorted(files.rglob("*"))
    assert main(["view", *given, "--no-open"]) == code
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert re.search(message, error), error
    assert not (tmp_path / "x.html").exists()
    assert sorted(files.rglob("*")) == before


def test_a_volume_of_one_slice_is_viewed_or_refused_with_the_reason(files, tmp_path, capsys):
    for name, grid in (("axial", Grid((1, 12, 11), (3.0, 1.5, 1.0))), ("coronal", Grid((9, 1, 11), (3.0, 1.5, 1.0)))):
        array = np.random.default_rng(1).normal(size=grid.shape)
        write_image(Image(array, grid), tmp_path / f"{name}.nii.gz")
        images = ["--fixed", str(tmp_path / f"{name}.nii.gz"), "--moving", str(tmp_path / f"{name}.nii.gz")]
        rank = 2 if name == "axial" else 3
        write_transform(Transform(Grid((4,) * rank), Grid((4,) * rank)), tmp_path / f"{name}.tfm")
        images += ["--transform", str(tmp_path / f"{name}.tfm"), "--out", str(tmp_path / f"{name}.html"), "--no-open"]
        assert main(["view", *images]) == (0 if name == "axial" else 1)
    assert "at least 2 voxels along each axis" in capsys.readouterr().err
    assert not (tmp_path / "coronal.html").exists()


def test_a_pair_of_an_evaluation_is_viewed(phantoms, tmp_path):
    names = [record.subject for record in phantoms.split("test")][:2]
    evaluate([Unregistered()], phantoms, "test", [tuple(names)], tmp_path / "out", save=["transform", "view"])
    folder = next(path for path in (tmp_path / "out").rglob("transform.h5")).parent
    for page in (folder / "view.html", acreg.view(folder).save(tmp_path / "v.html")):
        assert facts(page).keys() >= {"fixed_labels", "warped_labels"}
    summary = folder.parent / "summary.json"
    summary.write_text(summary.read_text().replace(json.dumps(str(phantoms.folder.resolve())), '"/gone"'))
    with pytest.raises(AcregError, match="belongs to the dataset /gone, which is not there. Give fixed and moving"):
        acreg.view(folder)


def test_python_takes_a_registration(files):
    images = {"fixed": files / "fixed.nii.gz", "moving": files / "moving.nii.gz"}
    result = acreg.register(**images, method="unregistered")
    html = acreg.view(result).html
    assert "moving.nii.gz on fixed.nii.gz" in html
    assert acreg.view(result)._repr_html_().startswith("<iframe srcdoc=")
    with pytest.raises(UsageError, match="Received: a registration with images or a transform"):
        acreg.view(result, **images)
    with pytest.raises(UsageError, match=r"Write view\(fixed=..., moving=...\)"):
        acreg.view(images["fixed"], images["moving"])
    for wrong, message in (
        ({"at": (1.0, 2.0)}, r"finite number in mm for each of 3 axes. Received: at=\(1.0, 2.0\)"),
        ({"at": (1.0, np.nan, 2.0)}, "finite number in mm"),
        ({"border": "edge", "fill": 3.0}, "Received: fill=3.0 with border='edge'"),
    ):
        with pytest.raises(UsageError, match=message):
            acreg.view(result, **wrong)
    with pytest.raises(UsageError, match=r"\.html\. Received: view\.pdf"):
        acreg.view(result).save("view.pdf")


def test_a_transform_of_another_library_is_refused_with_the_way_out(files):
    other = sitk.AffineTransform(3)
    images = {"fixed": files / "fixed.nii.gz", "moving": files / "moving.nii.gz"}
    for call in (
        lambda: acreg.view(**images, transform=other),
        lambda: acreg.warp([other], images["fixed"], image=images["moving"]),
        lambda: acreg.jacobian(other, images["fixed"]),
        lambda: acreg.register(**images, initial=other, method="acreg:rigid"),
    ):
        with pytest.raises(UsageError, match="Received: AffineTransform. Write a transform of another program into"):
            call()

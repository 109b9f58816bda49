"""Views beside a report: which there are, and that none is left of an earlier comparison."""

import pytest

import acreg
from acreg.report.pair_views import view_folders
from acreg.report.worst_pairs import worst_pairs


def test_a_comparison_writes_a_view_of_each_pair_shown_and_removes_earlier_ones(bump, tmp_path, monkeypatch):
    for name in ("_plots", "_overview"):
        monkeypatch.setattr(f"acreg.report.html.{name}", lambda results: "")  # charts take seconds
    out = tmp_path / "out"
    views = [out / "views" / "still" / name for name in ("f__m.html", "m__f.html")]
    files = acreg.compare(bump.folder).save(out, worst=2)
    assert files[-2:] == views and all(path.is_file() for path in files)
    assert "No transform: RuntimeError: no" in views[1].read_text(encoding="utf-8")
    assert 'href="views/still/f__m.html"' in (out / "report.html").read_text(encoding="utf-8")
    assert acreg.compare(bump.folder).save(out, worst=0) == files[:-2]
    assert not any(path.exists() for path in views)


def test_the_best_pair_follows_the_worst_unless_it_is_one_of_them(make):
    result = make("one", [0.8, 0.3, 0.9, 0.5], failed=[3])
    heads = [part.partition("</b>")[0] for part in worst_pairs([result], 2, None).split("<b>")[1:]]
    assert heads == ["1. s3 &larr; s4", "2. s1 &larr; s2", "Best: s2 &larr; s3"]
    assert "Best:" not in worst_pairs([result], 4, None) and "Best:" not in worst_pairs([result], 0, None)


def test_without_the_data_the_reason_is_shown_and_no_link(make, tmp_path):
    text = worst_pairs([make("one", [0.8])], 1, None, tmp_path)
    assert "No picture: the results were not read from a folder" in text and "<a " not in text


@pytest.mark.parametrize(
    ("names", "folders"),
    [(["ants:SyN", "a b"], ["ants_SyN", "a_b"]), (["x/A", "x:a", "b"], ["x_A-1", "x_a-2", "b"])],
)
def test_each_method_has_a_folder_of_its_own(make, names, folders):
    assert view_folders([make(name, [0.5]) for name in names]) == folders

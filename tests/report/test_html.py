import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest

from acreg.data.phantoms.chests import make_dataset
from acreg.evaluation import MethodResult, PairScores, write_method
from acreg.evaluation.statistics import compare_methods
from acreg.io import Image, write_displacement, write_image
from acreg.report.html import build_report


class Reader(HTMLParser):
    """Checks that tags are closed in order, and gathers addresses, tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tags, self.text = [], [], set(), ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "action", "data")]
        if tag not in ("img", "meta", "source", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def report(results, **options):
    return build_report(results, compare_methods(results), **options)


@pytest.fixture
def drawn(tmp_path, make):
    """Two methods with saved fields on a dataset that can be read; pair 1 is the worst, pair 3 failed."""
    dataset = make_dataset(tmp_path / "data", subjects=10, shape=(40, 48), seed=0)
    names = [record.subject for record in dataset.records]
    results = []
    for name, size in (("one", 1.0), ("two", 2.0)):
        result = make(name, [0.8, 0.3, 0.7, 0.5], failed=[3])
        result.summary["dataset"]["folder"] = str(dataset.folder)
        for index, pair in enumerate(result.pairs):
            pair.fixed, pair.moving = names[index], names[index + 1]
        write_method(result, tmp_path / "out" / name)
        grid = dataset.read_image(dataset.records[0]).grid
        for pair in result.pairs[:2]:
            field = np.full((40, 48, 2), size, np.float32)
            write_displacement(field, grid, result.folder / f"{pair.fixed}__{pair.moving}" / "displacement.nii.gz")
        results.append(result)
    return results


def test_report_needs_nothing_but_itself(drawn):
    text = report(drawn)
    page = Reader(text)
    assert page.addresses and all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert not page.tags & {"link", "iframe", "object"} and text.count("<script") == text.count("<script>\n//") == 1
    assert not re.search(r"https?:|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    for address in page.addresses:
        if address.startswith("data:"):
            PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).verify()
        else:
            assert f'id="{address[1:]}"' in text


def test_report_has_every_part(drawn):
    text = Reader(report(drawn)).text
    for part in ("Summary", "Box plots", "Significance", "Worst pairs", "Labels", "Failures", "Settings", "Wilcoxon"):
        assert part in text
    assert "left lung" in text and "DSC by label" in text


def test_worst_pairs_come_first_with_seven_panels_each(drawn):
    text = report(drawn, worst=3)
    order = re.findall(r"<b>\d\. (\S+) &larr;", text)
    worst = [pair.fixed for pair in drawn[0].worst_first()[:3]]
    assert order == worst * 2 and worst[:2] == ["phantom003", "phantom001"]
    blocks = text.split('<div class="pair">')[1:]
    assert blocks[0].count("<figure>") == 2, "a failed pair shows its two images"
    assert blocks[1].count("<figure>") == 7
    assert "No picture" in blocks[2], "no field was saved for it"
    for caption in ("Fixed", "Moving", "Warped", "Labels", "Checkerboard", "Deformed grid", "det J"):
        assert f"<figcaption>{caption}" in blocks[1]


def test_names_and_reasons_are_escaped(drawn):
    drawn[0].name = "<script>alert(1)</script>"
    text = report(drawn)
    assert text.count("<script>") == 1 and "<script>alert" not in text and "<b>no & no</b>" not in text
    assert "RuntimeError: &lt;b&gt;no &amp; no&lt;/b&gt;" in text


def test_a_saved_preview_stands_in_for_a_dataset_out_of_reach(make, tmp_path):
    result = make("one", [0.5])
    write_method(result, tmp_path / "one")
    assert "No picture: " in report([result])
    write_image(Image.from_array(np.full((9, 9), 70)), tmp_path / "one" / "s0__s1" / "preview.png")
    text = report([result])
    assert "Preview saved by the evaluation" in text and "nothing to compare" in text


def test_significance_has_a_chart_and_names_the_effect(two):
    text = build_report(two, compare_methods(two, ["dsc"], test="tukey"))
    section = text[text.index('<section id="significance">') :]
    assert section.index("<picture>") < section.index("<table") and ", d +" in section and ", r " not in section


def test_a_one_sided_test_is_shown_for_the_first_method_alone(two, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")  # charts take seconds
    text = build_report(two, compare_methods(two, ["dsc"], "mann-whitney", alternative="better"), worst=0)
    section = text[text.index('<section id="significance">') :]
    section = section[: section.index("</section>")]
    assert "Mann-Whitney U, one-sided (the first method is better), within" in section
    assert section.count('class="better"') == 1 and 'class="worse"' not in section
    assert len(re.findall("<td[^>]*></td>", section)) == 3


def test_tests_by_label_have_a_section_with_the_share_of_pairs_won(two, monkeypatch):
    monkeypatch.setattr("acreg.report.html._plots", lambda results: "")  # charts take seconds
    two[1].pairs[0].labels[2]["dsc"] = 0.99
    by_label = compare_methods(two, ["dsc"], test="welch", labels=[1, 2])
    text = build_report(two, [], worst=0, label_comparisons=by_label)
    section = text[text.index('<section id="label-tests">') :]
    section = section[: section.index("</section>")]
    assert section.index("left lung") < section.index("better in 100%") < section.index("heart")
    assert section.index("heart") < section.index("better in 92%") and "over 2; effect: Hedges" in section
    assert "better - unregistered" in section and 'href="#label-tests"' in text
    assert "label-tests" not in build_report(two, [], worst=0)


def test_a_metric_that_one_method_lacks_does_not_break_the_report(make):
    known, plain = make("known", [0.8, 0.9, 0.7]), make("plain", [0.7, 0.7, 0.6])
    for pair in known.pairs:
        for scores in pair.labels.values():
            scores["tre_true"] = 2.0
    text = Reader(report([known, plain])).text
    assert "True TRE (mm) by label" in text and "nan" not in text


def test_significance_marks_the_better_method(two):
    text = report(two)
    assert 'class="better">+0.0' in text and 'class="worse">&minus;0.0' in text


def test_a_method_without_any_score_and_absent_labels_do_not_break_the_report(make):
    none = make("none", [0.5, 0.5], failed=[0, 1])
    other = make("other", [0.5, 0.6])
    other.pairs[0].labels[1] = dict.fromkeys(("dsc", "hd", "hd95", "assd"), float("nan"))
    other.pairs[0].labels[2] = {**other.pairs[0].labels[1], "dsc": 0.0}
    text = Reader(report([none, other])).text
    assert "heart is absent in one of the maps: Dice 0, no distances" in text and "nan" not in text
    assert "left lung is absent in both maps: no scores" in text


def test_many_pairs_are_listed_up_to_a_bound():
    pairs = [
        PairScores(f"s{i}", f"t{i}", {1: dict.fromkeys(("dsc", "hd", "hd95", "assd"), i / 200)}) for i in range(200)
    ]
    text = report([MethodResult("a", {1: "x"}, pairs)], worst=0)
    assert "The 40 worst of 200 pairs" in text and "s39 &larr;" in text and "s40 &larr;" not in text

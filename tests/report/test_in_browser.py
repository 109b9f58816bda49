"""The report in Chromium: columns that sort, a column that stays in sight, methods that are hidden."""

from __future__ import annotations

import pytest

from acreg.evaluation.statistics import compare_methods
from acreg.plotting import page
from acreg.report.html import build_report
from acreg.report.pictures import PictureSource
from acreg.report.worst_pairs import worst_pairs
from tests.browser import opened


@pytest.fixture
def shown(tmp_path, browser):
    """Opens the HTML of a page's body in a window of this width."""

    def show(body, width=1280):
        path = tmp_path / "page.html"
        path.write_text(body if body.startswith("<!doctype") else page.page("Page", body), encoding="utf-8")
        return opened(browser, path, width=width)

    return show


def column(tab, number=1, table="table"):
    """The texts of a column of the rows that are seen."""
    return tab.page.locator(f"{table} tbody tr:visible > :nth-child({number})").all_inner_texts()


ROWS = [["b", "0.95 (0.01)"], ["c", "&ndash;"], ["a10", "\u22121.5 (0.2)"], ["a9", '10<span class="sd">(0.5)</span>']]


def test_a_click_sorts_a_column_by_its_numbers(shown):
    with shown(page.html_table(["Method", "Mean"], ROWS)) as tab:
        header = tab.page.get_by_role("columnheader", name="Mean")
        assert header.get_attribute("aria-sort") == "none"
        header.get_by_role("button").click()
        assert column(tab) == ["a10", "b", "a9", "c"] and header.get_attribute("aria-sort") == "ascending"
        tab.page.keyboard.press("Enter")  # the button has the focus
        assert column(tab) == ["a9", "b", "a10", "c"] and header.get_attribute("aria-sort") == "descending"
        tab.page.keyboard.press("Space")
        assert column(tab) == ["b", "c", "a10", "a9"] and header.get_attribute("aria-sort") == "none"
        tab.page.get_by_role("button", name="Method").click()
        assert column(tab) == ["a9", "a10", "b", "c"], "names are texts, and their numbers count"
        assert tab.errors == tab.requests == []


@pytest.mark.parametrize(("kind", "first"), [("wide", 1), ("wide grouped", 2)])
def test_the_method_stays_in_sight(shown, kind, first):
    rows = [["label", *["a-method-with-a-long-name"] * (first - 1), *["0.812 (0.043)"] * 30] for _ in range(3)]
    with shown(page.html_table([f"Column {n}" for n in range(len(rows[0]))], rows, kind=kind), width=1000) as tab:
        cells = [tab.page.locator(f"tbody tr:first-child td:nth-child({n})") for n in range(1, first + 2)]
        before = [cell.bounding_box()["x"] for cell in cells]
        tab.page.locator(".scroll").evaluate("frame => frame.scrollLeft = 600")
        after = [cell.bounding_box()["x"] for cell in cells]
        assert after[:first] == pytest.approx(before[:first], abs=1.5)
        assert after[-1] < before[-1] - 500, "the other columns move"
        at = cells[first - 1].bounding_box()
        place = [at["x"] + at["width"] / 2, at["y"] + at["height"] / 2]
        on_top = tab.page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('td').cellIndex", place)
        assert on_top == first - 1, "no other cell lies over it"


@pytest.fixture(scope="module")
def written():
    """The report of three methods."""
    from tests.conftest import make_result

    results = [make_result(name, [0.8, 0.7, value, 0.5]) for name, value in (("one", 0.9), ("two", 0.5))]
    results.append(make_result("unregistered", [0.2, 0.3, 0.1, 0.2]))
    patch = pytest.MonkeyPatch()
    for name in ("_plots", "_overview"):
        patch.setattr(f"acreg.report.html.{name}", lambda results: "")  # charts take seconds
    patch.setattr("acreg.report.significance.page.themed_chart", lambda draw, text: "")
    by_label = compare_methods(results, ["dsc"], test="welch", labels=[1, 2])
    text = build_report(results, compare_methods(results, ["dsc"], test="welch"), label_comparisons=by_label)
    patch.undo()
    return text


def test_a_method_is_hidden_everywhere_but_in_the_charts(shown, written):
    with shown(written) as tab:
        rows = {name: len(column(tab, table=f"#{name} table")) for name in ("summary", "labels", "label-tests")}
        cells = tab.page.locator("#significance tbody tr:visible > *:visible")
        assert rows == {"summary": 3, "labels": 3 + 6, "label-tests": 6} and cells.count() == 12
        choice = tab.page.locator("#methods")
        choice.locator("summary").click()
        choice.get_by_label("two").uncheck()
        assert choice.locator("output").inner_text() == "2 of 3"
        assert column(tab, table="#summary table") == ["one", "unregistered"]
        assert column(tab, 2, table="#label-tests table") == ["one - unregistered"] * 2
        assert len(column(tab, table="#labels table")) == 2 + 4 and cells.count() == 6
        assert tab.page.locator("#worst > details:visible > summary").all_inner_texts() == ["one"]
        tab.page.locator("#labels table").last.get_by_role("button", name="DSC").click()
        order = list(zip(column(tab, 1, "#labels table.grouped"), column(tab, 2, "#labels table.grouped")))
        assert order == [(label, method) for method in ("unregistered", "one") for label in ("left lung", "heart")]
        choice.get_by_label("two").check()
        assert {name: len(column(tab, table=f"#{name} table")) for name in rows} == rows
        assert tab.errors == tab.requests == []


def test_without_scripts_the_report_reads_as_it_is(browser, written, tmp_path):
    (tmp_path / "report.html").write_text(written, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.locator("#summary tbody tr:visible").count() == 3
    assert tab.locator("thead button").count() == 0 and not tab.locator("#methods").is_visible()
    context.close()


def test_the_link_of_a_pair_opens_its_view_at_the_largest_error(browser, bump, tmp_path):
    text = worst_pairs([bump], 2, None, tmp_path)
    (tmp_path / "report.html").write_text(page.page("Report", text), encoding="utf-8")
    with opened(browser, tmp_path / "report.html") as tab:
        assert tab.page.get_by_role("link", name="interactive view").count() == 2
        tab.page.get_by_role("link", name="interactive view").last.click()
        tab.page.wait_for_url("**/views/still/f__m.html")
        assert tab.page.get_by_role("heading", level=1).inner_text() == "m on f: still"
        point = PictureSource().draw(bump, bump.pairs[0]).error.point
        shown = tab.page.get_by_text("LPS, mm").locator("xpath=following-sibling::*[1]")
        assert [float(n) for n in shown.inner_text().split(", ")] == pytest.approx(point[::-1], abs=0.01)
        assert not tab.errors
        assert {url.rpartition("/")[2] for url in tab.requests} == {"f__m.html"}, "the view needs no other file"

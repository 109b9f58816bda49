"""The layout of reports: every table is seen whole, or scrolls in a frame of its own."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from acreg.evaluation.statistics import compare_methods
from acreg.plotting import page
from acreg.report.significance import label_tests


class Frames(HTMLParser):
    """What each table lies in."""

    def __init__(self, content):
        super().__init__()
        self.open, self.around = [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        kind = dict(attributes).get("class", "")
        if tag == "table":
            self.around.append(self.open[-1])
        if tag not in ("img", "meta", "source", "br"):
            self.open.append((tag, kind))

    def handle_endtag(self, tag):
        self.open.pop()


def wide_page(methods):
    """A report's kinds of tables, of so many methods."""
    names = [f"a-method-with-a-long-name-{number}" for number in range(methods)]
    columns = ["Method", *(f"Metric {number} (mm)" for number in range(15)), "Seconds", "Pairs"]
    summary = page.html_table(columns, [[name, *["0.812 (0.043)"] * 17] for name in names], kind="wide")
    head = "<th></th>" + "".join(f"<th>{name}</th>" for name in names)
    row = '<td>+0.027<span class="sub">p = 0.0073, r +0.78</span></td>' * methods
    matrix = page.scrolled("matrix", head, "".join(f"<tr><th>{name}</th>{row}</tr>" for name in names))
    matrices = f'<div class="matrices">{f"<div><h3>DSC</h3>{matrix}</div>" * 3}</div>'
    details = f"<details open><summary>{'x' * 300}</summary>{summary}</details>"
    parts = (("a", "Summary", summary), ("b", "Tests", matrices), ("c", "Pairs", details))
    return page.page("Tables", "".join(page.section(*part) for part in parts))


@pytest.mark.parametrize("methods", [1, 4, 12])
def test_every_table_scrolls_in_a_frame_of_its_own(methods):
    around = Frames(wide_page(methods)).around
    assert len(around) == 5 and set(around) == {("div", "scroll")}


def test_the_tables_of_tests_by_label_too(two):
    found = compare_methods(two, labels=[1, 2])
    assert Frames(label_tests(two, found)).around == [("div", "scroll")]


def test_nothing_is_cut_off_by_the_style():
    assert "overflow: hidden" not in page.STYLE and "overflow-x: hidden" not in page.STYLE
    assert re.search(r"\.scroll \{ overflow-x: auto", page.STYLE)
    assert re.search(r"\.matrices > \*[^}]*min-width: 0", page.STYLE), "else a grid's cell grows with its table"


MEASURE = """<script>window.onload = () => { const wrong = [];
document.querySelectorAll('table').forEach((table, n) => {
  const frame = table.parentElement.getBoundingClientRect();
  const card = table.closest('section').getBoundingClientRect();
  if (frame.right > card.right + 1 || frame.left < card.left - 1) wrong.push('table ' + n + ' leaves its card');
  if (table.parentElement.scrollWidth > table.parentElement.clientWidth + 1
      && getComputedStyle(table.parentElement).overflowX != 'auto') wrong.push('table ' + n + ' is cut off'); });
if (document.documentElement.scrollWidth > window.innerWidth) wrong.push('the page is wider than the window');
document.body.innerHTML = '<p id="found">' + (wrong.join('; ') || 'nothing') + '</p>'; }</script>"""


@pytest.mark.parametrize(("methods", "width"), [(1, 2560), (4, 1300), (12, 600)])
def test_in_a_browser(methods, width, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    path = tmp_path / "page.html"
    path.write_text(wide_page(methods).replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [browser, *options, f"--window-size={width},1000", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.findall('<p id="found">(.*?)</p>', shown) == ["nothing"]


def test_markdown_escapes_and_aligns():
    assert page.markdown(["M", "x"], [["a|b", "1"]]) == "| M | x |\n| --- | ---: |\n| a\\|b | 1 |\n"
    assert page.markdown(["M", "x"], [], text_columns=(0, 1)).splitlines()[1] == "| --- | --- |"

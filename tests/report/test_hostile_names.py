"""Names that mean something to a program that shows them: Matplotlib, a browser, a terminal, a spreadsheet."""

import csv
import io
import warnings
from html.parser import HTMLParser

from acreg.cli import console
from acreg.evaluation import read_method, write_method
from acreg.evaluation.statistics import compare_methods
from acreg.evaluation.tables import write_summary_csv
from acreg.plotting.figures import to_png
from acreg.plotting.page import markdown
from acreg.report.html import build_report

NAMES = ["a$_{$", "$\\frac{$", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=cmd|'/c calc'!A0"]
NAMES += ["a\x1b[31m", "[red]a[/red]", "\\textbf{", "a_b^c", "100 %", "_hidden", "a\nb", "x" * 500, "左肺", "\u202eabc"]


class Page(HTMLParser):
    """The tags, the addresses and the text of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.addresses, self.text = set(), [], ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset") or name[:2] == "on"]

    def handle_data(self, data):
        self.text += data


def test_names_are_text_in_every_output_of_a_comparison(make, tmp_path):
    warnings.simplefilter("error")
    results = [make(name, [0.8, 0.3, 0.7, 0.5], failed=[3]) for name in NAMES[5:8]]
    for number, result in enumerate(results):
        result.label_names = dict(enumerate(NAMES[:5], 1))
        for pair, fixed, moving in zip(result.pairs, NAMES[8:12], NAMES[-4:], strict=True):
            pair.fixed, pair.moving = fixed, moving
            pair.labels = {label: pair.labels.get(1, {}) for label in result.label_names} if pair.labels else {}
        result.summary["dataset"]["name"] = NAMES[2]
        write_method(result, tmp_path / str(number))
        again = read_method(tmp_path / str(number))
        assert (again.name, again.label_names, again.keys) == (result.name, result.label_names, result.keys)
    text = build_report(results, compare_methods(results), worst=1)
    page = Page(text)
    assert text.count("<script>") == 1, "the report's own"
    assert all(" ".join(name.split()) in " ".join(page.text.split()) for name in NAMES)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    write_summary_csv(results, tmp_path / "summary.csv")
    for path in tmp_path.rglob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
            assert not any(cell.startswith(("=", "@", "\t")) for cell in row)
    assert len(markdown(["Method"], [[name] for name in NAMES]).splitlines()) == 2 + len(NAMES)


def test_a_users_settings_of_matplotlib_do_not_matter(make):
    """LaTeX would run on names."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.usetex": True, "text.parse_math": True}):
        figure = Figure()
        axes = figure.add_subplot()
        axes.set_title("$\\input{/etc/passwd}$")
        axes.set_xscale("log")
        axes.set_xlim(1e-3, 10)
        axes.set_xlabel("$\\frac{$")
        to_png(figure)
        assert [tick.get_text() for tick in axes.get_xticklabels()][1:4] == ["0.001", "0.01", "0.1"]


def test_a_terminal_gets_no_control_characters(capsys):
    for name in NAMES:
        console.out(name)
        console.table(name, [name], [[name]])
        console.note(name)
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "\\x1b[31m" in shown.out and "[red]a[/red]" in shown.out

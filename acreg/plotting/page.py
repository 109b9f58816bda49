"""The frame of an HTML report: one file, which needs nothing from the network; tables in Markdown."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from acreg.plotting.figures import THEMES, Theme, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark;
  --ground: #f5f7fa; --card: #ffffff; --ink: #1d2731; --soft: #5b6876; --line: #dde3ea; --accent: #0072b2;
  --good: #d9f2e3; --good-ink: #10613a; --bad: #fbe0da; --bad-ink: #93311c; --none: #eef1f4; --edge: #1d273140; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #12171d; --card: #1a2129; --ink: #e4eaf0; --soft: #9aa7b4; --line: #303a45; --accent: #56b4e9;
  --good: #14432b; --good-ink: #8fe3b4; --bad: #512219; --bad-ink: #f7b3a3; --none: #242d37; --edge: #000000a0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1760px; margin: 0 auto; padding: 28px 20px 60px; }
h1, h2, h3, p, summary, .small { overflow-wrap: anywhere; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 18px 0 8px; }
p { margin: 4px 0 12px; max-width: 110ch; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
nav { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 14px 0 20px; font-size: 14px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
section { scroll-margin-top: 60px; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 20px 22px; margin: 0 0 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 0 0 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tile b { display: block; font-size: 21px;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; line-height: 1.3; }
/* Every table scrolls in a frame of its own, whose bar and shadow at an edge show that there is more. */
.scroll { overflow-x: auto; max-width: 100%; scrollbar-width: thin;
  background: linear-gradient(90deg, var(--card) 30%, transparent) left / 40px 100% no-repeat local,
    linear-gradient(270deg, var(--card) 30%, transparent) right / 40px 100% no-repeat local,
    linear-gradient(90deg, var(--edge), transparent) left / 12px 100% no-repeat scroll,
    linear-gradient(270deg, var(--edge), transparent) right / 12px 100% no-repeat scroll; }
section, section > *, .matrices > *, details > *, .pair > * { min-width: 0; max-width: 100%; }
[hidden] { display: none !important; }
/* Borders of collapsed cells would not stay with the columns that do. */
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; font-size: 14px; }
table.wide { width: 100%; }
th, td { padding: 7px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child, table.matrix th { white-space: normal; overflow-wrap: anywhere; min-width: 14ch; }
table.wide th:first-child { min-width: 20ch; }
th:first-child, td:first-child { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; z-index: 1; background: var(--card);
  box-shadow: 1px 0 var(--line); }
table.grouped th:first-child, table.grouped td:first-child { width: 150px; min-width: 150px; max-width: 150px; }
table.grouped th:nth-child(2), table.grouped td:nth-child(2) { text-align: left; }
@media (min-width: 900px) { table.grouped th:nth-child(2), table.grouped td:nth-child(2) {
  position: sticky; left: 150px; z-index: 1; background: var(--card); box-shadow: 1px 0 var(--line); } }
.again { color: var(--soft); font-weight: 400; }
thead th button { all: unset; cursor: pointer; }
thead th button:hover { text-decoration: underline; }
thead th button:focus-visible, .methods :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
.methods { position: sticky; top: 0; z-index: 2; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 8px 16px; margin: 0 0 18px; }
.methods div { display: flex; flex-wrap: wrap; gap: 4px 20px; padding-top: 8px; }
.methods label { overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; font-size: 13px; border-bottom-width: 2px; }
tbody tr:last-child td { border-bottom: 0; }
.sd { display: block; font-size: 12px; color: var(--soft); font-weight: 400; }
th.text, td.text { text-align: left; } td.text { white-space: normal; overflow-wrap: anywhere; }
table.matrix td, table.matrix th { text-align: center; }
table.matrix th:first-child { text-align: left; font-weight: 500; }
.better { background: var(--good); color: var(--good-ink); } .worse { background: var(--bad); color: var(--bad-ink); }
.same { background: var(--none); color: var(--soft); }
.matrices { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 620px), 1fr)); gap: 8px 28px; }
.matrices.many { grid-template-columns: minmax(0, 1fr); }
.sub { display: block; font-size: 11.5px; opacity: .85; }
details { border-top: 1px solid var(--line); padding: 10px 0; } details:last-child { padding-bottom: 0; }
summary { cursor: pointer; font-weight: 600; }
details.labels { border: 0; padding: 0; } details.labels summary { font-weight: 400; }
.pair { margin: 14px 0 20px; } .pair > div:first-child, .pair > .small { padding-bottom: 4px; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); gap: 12px; }
.panels.planes { grid-template-columns: repeat(auto-fit, minmax(min(100%, 150px), 1fr)); }
figure { margin: 0; } figcaption { font-size: 12.5px; color: var(--soft); padding-top: 4px; }
img { max-width: 100%; height: auto; display: block; } .panels img { width: 100%; border-radius: 6px; }
.method { display: inline-flex; align-items: baseline; max-width: 100%; }
.dot { flex: none; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; text-align: center; }
@media print { body { background: none; } section, .tile { break-inside: avoid; } nav, .methods { display: none; } }
"""


def page(title: str, body: str) -> str:
    """A whole document; `title` is plain text, `body` HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>\n{_script()}</script>\n</body>\n</html>\n"
    )


@cache
def _script() -> str:
    return files("acreg.plotting").joinpath("tables.js").read_text(encoding="utf-8")


def section(anchor: str, title: str, body: str, note: str = "") -> str:
    """A card with a heading; `note` is plain text under it."""
    text = f'<p class="soft small">{escape(note)}</p>' if note else ""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{text}{body}</section>'


def html_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    text_columns: Sequence[int] = (),
    kind: str = "",
    methods: Sequence[int] = (),
) -> str:
    """A table of HTML cells (escape them first), which a reader can sort by a column.

    Args:
        columns: headings, as plain text.
        rows: the cells.
        text_columns: columns that are left-aligned and may wrap.
        kind: classes of the table: "wide" fills the page, "grouped" keeps the second column in sight, too.
        methods: the number of each row's method (see `about`), with which the row is hidden.
    """
    head = "".join(
        f'<th class="text">{escape(c)}</th>' if i in text_columns else f"<th>{escape(c)}</th>"
        for i, c in enumerate(columns)
    )
    body = "".join(
        f"<tr{about(*methods[number : number + 1])}>"
        + "".join(f'<td class="text">{c}</td>' if i in text_columns else f"<td>{c}</td>" for i, c in enumerate(row))
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return scrolled(f"{kind} sortable".strip(), head, body)


def scrolled(kind: str, head: str, body: str) -> str:
    """A table from the HTML cells of its head and HTML rows, in a frame that scrolls if the table is wider.

    The first column stays in sight. If the classes `kind` have "sortable", a reader can sort by a column.
    """
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'


def about(*methods: int) -> str:
    """The attribute of an element that is about these methods, so that `method_choice` hides it with any of them."""
    return f' data-methods="{" ".join(map(str, methods))}"' if methods else ""


def method_choice(names: Sequence[str], note: str) -> str:
    """Boxes to tick by which a reader hides methods; `names` are HTML, `note` is plain text. Scripts are needed."""
    boxes = "".join(
        f'<label><input type="checkbox" value="{number}" checked> {name}</label>' for number, name in enumerate(names)
    )
    return (
        f'<details class="methods" id="methods" hidden><summary>Methods shown: <output>{len(names)}</output></summary>'
        f'<div>{boxes}</div><p class="soft small">{escape(note)}</p></details>'
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)) -> str:
    """A Markdown table, `text_columns` to the left, the others to the right."""
    lines = [columns, ["---" if i in text_columns else "---:" for i in range(len(columns))], *rows]
    return "\n".join("| " + " | ".join(_markdown_cell(str(c)) for c in line) + " |" for line in lines) + "\n"


def _markdown_cell(text: str) -> str:
    """On one line, without the marks of a column and of HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def data_uri(png: bytes) -> str:
    """A PNG as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def image(png: bytes, text: str) -> str:
    """An embedded picture with its alternative text."""
    return f'<img src="{data_uri(png)}" alt="{escape(text, quote=True)}">'


def themed_chart(draw: Callable[[Theme], Figure], text: str) -> str:
    """A chart in the reader's colour scheme, with its alternative text; `draw` draws it in a given theme."""
    light, dark = (to_png(draw(theme)) for theme in THEMES)
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(dark)}">'
    return f"<picture>{source}{image(light, text)}</picture>"

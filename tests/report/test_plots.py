import io

import matplotlib.colors
import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from acreg.evaluation.statistics import compare_methods
from acreg.plotting.figures import GROUND, THEMES, figure_of, shortened, to_png
from acreg.report.plots import _forest, box_plots, forest_plots, legend, method_styles


@pytest.fixture
def eight(make):
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.7, 15)
    gains = (0.2, 0.19, 0.15, 0.1, 0.1, 0.05, 0.0, -0.1)
    names = (*"abcdefg", "unregistered")
    return [make(name, base + gain + rng.normal(0, 0.03, 15)) for name, gain in zip(names, gains)]


@pytest.mark.parametrize("test", ["tukey", "welch", "wilcoxon", "mann-whitney"])
def test_a_row_shows_the_effect_in_the_colour_of_the_better_method(eight, test):
    styles = method_styles(eight)
    for metric, sign in (("dsc", 1), ("hd", -1)):
        rows = compare_methods(eight, [metric], test=test)
        axes = Figure().subplots()
        _forest(axes, rows, styles, "light")
        zero, *drawn = axes.lines
        assert list(zero.get_xdata()) == [0, 0] and len(drawn) == 2 * len(rows) == 56
        seen = set()
        for at, (row, line, dot) in enumerate(zip(rows, drawn[::2], drawn[1::2], strict=True)):
            value = row.mean_difference if np.isfinite(row.low) else row.effect
            assert dot.get_xdata()[0] == pytest.approx(value) and dot.get_ydata()[0] == at
            assert list(line.get_xdata()) == pytest.approx(
                [row.low, row.high] if test in ("tukey", "welch") else [0, value]
            )
            better = row.first if sign * value > 0 else row.second
            expected = styles[better].colour if row.p_corrected < 0.05 else GROUND["light"]
            assert matplotlib.colors.same_color(dot.get_markerfacecolor(), expected)
            seen.add(bool(row.p_corrected < 0.05))
        low, high = axes.get_xlim()
        shown = [x for line in drawn for x in line.get_xdata()]
        assert low < min(0, *shown) <= max(0, *shown) < high and seen == {True, False}


@pytest.mark.filterwarnings("error")
def test_a_metric_that_all_methods_lack_is_an_empty_panel(make):
    """As the TRE in results of older versions."""
    results = [make("a", [0.8, 0.9]), make("b", [0.7, 0.6])]
    for result in results:
        for pair in result.pairs:
            for scores in pair.labels.values():
                scores["centroid_error"] = scores.pop("tre")
    titles = [axes.get_title(loc="left") for axes in box_plots(results).axes if axes.get_visible()]
    assert titles[-2:] == ["TRE (mm)", "Centroid error (mm)"]


@pytest.mark.filterwarnings("error")
def test_eight_methods_are_a_readable_picture_and_failed_ones_an_empty_row(eight, make):
    results = [*eight[:2], make("none", [0.5] * 15, failed=range(15))]
    few = compare_methods(results, test="tukey")
    sizes = {}
    for name, methods, comparisons in (("few", results, few), ("many", eight, compare_methods(eight))):
        pictures = [PIL.Image.open(io.BytesIO(to_png(forest_plots(methods, comparisons, theme)))) for theme in THEMES]
        assert pictures[0].size == pictures[1].size and pictures[0].tobytes() != pictures[1].tobytes()
        sizes[name] = pictures[0].size
    assert sizes["few"][0] == sizes["many"][0] == 1365
    assert sizes["many"][1] > 2 * 28 * 20, "two lines of panels with 28 rows of at least 20 pixels"


@pytest.mark.parametrize("dots", [True, False])
def test_many_methods_are_told_apart_and_all_are_in_the_legend(make, dots):
    results = [make(f"a-method-with-a-long-name:{n}", [0.5, 0.6]) for n in range(12)] + [make("unregistered", [0.4])]
    assert len(set(method_styles(results).values())) == 13
    figure, _ = figure_of(1, 2, width=10.5, height=3.6, theme="light")
    legend(figure, results, "light", dots)
    figure.canvas.draw()
    assert len(figure.legends[0].get_texts()) == 13
    for text in figure.legends[0].get_texts():
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 and 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_long_names_keep_both_ends():
    name = "greedy:svf[affine=false,radius=2,smoothing=0.7]"
    short = shortened(name)
    assert len(short) == 34 and short.startswith("greedy:svf[affi") and short.endswith("smoothing=0.7]")
    assert shortened(name[:34]) == name[:34]

"""
Evaluate methods on the same pairs
==================================

Methods are compared on the same pairs of images, none of which was used in training. This example compares a network
that ships with acreg with a classical program, and both with no registration at all, on phantoms.
"""

# %%
# A dataset
# ---------
#
# A dataset is a folder with a ``manifest.csv``, see :doc:`/how-to/data`. This one has 20 phantoms, four of them in the
# test split.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from acreg.data import fixed_pairs, make_dataset
from acreg.evaluation.run import evaluate
from acreg.registration import PresetMethod, Unregistered, named_method

folder = Path(tempfile.mkdtemp())
dataset = make_dataset(folder / "phantoms", subjects=20)
subjects = [record.subject for record in dataset.split("test")]

# %%
# Methods and pairs
# -----------------
#
# Any object with a ``name`` and a ``register(fixed=..., moving=...)`` is a method. The pairs are drawn once, with a
# seed.

methods = [PresetMethod("acregnet-jsrt"), named_method("sitk:demons", threads=1, seed=0), Unregistered()]
pairs = fixed_pairs(subjects, 8, seed=0)
results = evaluate(methods, dataset, "test", pairs, folder / "results")

# %%
# Scores
# ------
#
# Each pair gets the Dice and the surface distances (mm) of its labels, the share of pixels that fold, and the time.

for result in results:
    dice, folded = result.values("dsc"), result.values("folded_percent")
    print(f"{result.name:14} Dice {dice.mean():.3f} ({dice.std():.3f}), folded {folded.mean():.2f} %")

figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
axes.boxplot([result.values("dsc") for result in results], orientation="horizontal")
axes.set(yticks=[1, 2, 3], yticklabels=[result.name for result in results], xlabel="Dice, mean over labels")
plt.show()

# %%
# Is the difference more than chance?
# -----------------------------------
#
# A paired test compares the methods pair by pair and corrects for the number of comparisons.

from acreg.evaluation.statistics import compare_methods

comparisons = compare_methods(results)
for comparison in comparisons:
    if comparison.metric == "dsc":
        print(f"{comparison.first} against {comparison.second}: p = {comparison.p_corrected:.3f}")

# %%
# A report
# --------
#
# One HTML file holds all tables, plots and tests, and pictures of the worst pairs.

from acreg.report.html import build_report

report = folder / "report.html"
report.write_text(build_report(results, comparisons, worst=1), encoding="utf-8")
print(f"{report.stat().st_size / 1e6:.1f} MB")

# %%
# From the command line::
#
#     acreg evaluate --model acregnet-jsrt --method sitk:demons --data phantoms --split test --pairs 8 --out results
#     acreg compare results

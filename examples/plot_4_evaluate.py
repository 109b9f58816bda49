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

import acreg
from acreg.data import make_dataset

folder = Path(tempfile.mkdtemp())
dataset = make_dataset(folder / "phantoms", subjects=20)

# %%
# Methods and pairs
# -----------------
#
# Models and classical methods are given by name; an object of your own with a ``name`` and a
# ``register(fixed=..., moving=...)`` is a method as well. The pairs are drawn once, with a seed. Each pair gets the
# Dice and the surface distances (mm) of its labels, the share of pixels that fold, and the time.

evaluation = acreg.evaluate(dataset, folder / "results", model="acregnet-jsrt", method="sitk:demons", pairs=8, seed=0)
evaluation

# %%
# The scores of every pair are at hand.

figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
axes.boxplot([result.values("dsc") for result in evaluation.results], orientation="horizontal")
axes.set(yticks=[1, 2, 3], yticklabels=[result.name for result in evaluation.results], xlabel="Dice, mean over labels")
plt.show()

# %%
# Is the difference more than chance?
# -----------------------------------
#
# A paired test compares the methods pair by pair and corrects for the number of comparisons.

comparison = acreg.compare(folder / "results")
for test in comparison.comparisons:
    if test.metric == "dsc":
        print(f"{test.first} against {test.second}: p = {test.p_corrected:.3f}")

# %%
# A report
# --------
#
# ``save`` writes the tables, the tests, and ``report.html`` with plots and pictures of the worst pairs and of the best;
# the folder ``views`` has an interactive view of each of these pairs.

comparison.save(folder / "comparison")
print(", ".join(sorted(path.name for path in (folder / "comparison").iterdir())))

# %%
# From the command line::
#
#     acreg evaluate --model acregnet-jsrt --method sitk:demons --data phantoms --split test --pairs 8 --out results
#     acreg compare results

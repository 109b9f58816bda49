"""Learned and classical registration on the same pairs of chest X-rays.

Run as ``python -m benchmarks.comparison [DATASET ...] [--out FOLDER]`` with the extra baselines;
without names, on ``montgomery`` and ``jsrt``, prepared under $ACREG_DATA. Presets that do not ship are first trained
with their recipes in ``FOLDER/runs`` (20 minutes each on one core) unless they exist there. Each method registers the
same 30 pairs of the test split with 2 threads; then `acreg compare` writes the report.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

DATASETS = ("montgomery", "jsrt")
RECIPES = ("regnet-{}", "acregnet-{}", "acregnet-{}-diffeomorphic")
CLASSICAL = (
    "elastix:acregnet",
    "elastix:bspline",
    "ants:SyN",
    "greedy:deformable",
    "greedy:svf",
    "sitk:demons",
    "sitk:diffeomorphic-demons",
    "sitk:symmetric-demons",
    "sitk:bspline",
)
PAIRS, SEED, THREADS = 30, 0, 2


def run(*words: str) -> None:
    """Run an `acreg` command in a separate process; end the program if it fails."""
    print("acreg", *words, flush=True)
    threads = {"TF_NUM_INTRAOP_THREADS": str(THREADS), "TF_NUM_INTEROP_THREADS": "1"}
    code = subprocess.run([sys.executable, "-m", "acreg.cli.main", *words], env=threads | os.environ, check=False)
    if code.returncode:
        sys.exit(code.returncode)


def preset(recipe: str, runs: Path) -> str:
    """The preset of a recipe: a shipped one, or one trained before or now."""
    from acreg.inference import shipped_presets

    if recipe in shipped_presets():
        return recipe
    trained = runs / recipe / "preset"
    if not (runs / recipe / "report.html").is_file():  # the last file that a training writes
        resumed = ["--resume"] if (runs / recipe).is_dir() else []
        run("train", recipe, "--out", str(runs / recipe), *resumed)
    return f"{recipe}={trained}"


def main() -> None:
    """Train what is missing, evaluate, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=DATASETS)
    parser.add_argument("--out", type=Path, default=Path("results/comparison"))
    given = parser.parse_args()
    for dataset in given.datasets:
        models = [preset(recipe.format(dataset), given.out / "runs") for recipe in RECIPES]
        folder = str(given.out / dataset)
        methods = [word for name in models for word in ("--model", name)]
        methods += [word for name in CLASSICAL for word in ("--method", name)]
        drawn = ["--pairs", str(PAIRS), "--seed", str(SEED), "--threads", str(THREADS)]
        run("evaluate", "--data", dataset, "--split", "test", *drawn, *methods, "--out", folder, "--overwrite")
        run("compare", folder)


if __name__ == "__main__":
    main()

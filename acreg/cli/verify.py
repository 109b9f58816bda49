"""``acreg verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acreg.cli.console import bars, hold, note, out, table
from acreg.errors import AcregError

NAMED_WITH_REASONS = 5
"""Failed checks whose reasons the error says; of more it says the names."""


def verify(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for verification.md and verification.json.", show_default=False)
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the presets, which take most of the time.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Check that this installation computes what it should.

    The checks compare warping, composition, inverses, velocities, physical space, splines, losses and metrics with
    SciPy, SimpleITK, NumPy, scikit-learn, scikit-image and medpy. They read back every format that acreg writes, and
    compare what each preset predicts with values stored in acreg. They need neither data nor a network, and take about
    half a minute on one core, ten seconds with --quick.

    The results are verification.md, a page that lists each check with its largest difference and its limit, and the
    versions of all packages; and verification.json, the same as data. The exit code is 1 if a check fails; the other
    checks still run.

    \b
    Examples:
      acreg verify --out verification
      acreg verify --quick --out verification
    """
    from acreg.applications import verification
    from acreg.cli import _gpu
    from acreg.io import check_free

    hold(folder)
    check_free(folder, (verification.PAGE, verification.RESULTS), overwrite=overwrite)
    checks = verification.all_checks(quick)
    note(f"{len(checks)} checks")
    with bars() as progress:
        outcomes = verification.run_checks(checks, progress)
    versions = verification.environment()
    gpus = _gpu.observe(versions["Keras backend"]).visible
    verification.write_page(folder, outcomes, versions | ({"GPU": ", ".join(gpus)} if gpus else {}), quick)
    sections = verification.by_section(outcomes)
    rows = [(section, len(group), len(verification.failed(group))) for section, group in sections.items()]
    table(f"Verification of acreg {versions['acreg']}", ("section", "checks", "failed"), rows)
    out(f"\nPage: {folder / verification.PAGE}")
    wrong = verification.failed(outcomes)
    if wrong:
        reasons = len(wrong) <= NAMED_WITH_REASONS
        named = "; ".join(f"{o.check.name}: {o.reason}" if reasons else o.check.name for o in wrong)
        raise AcregError(
            f"Every check of an installation must pass. Received: {len(wrong)} of {len(outcomes)} that failed: "
            f"{named}. Run `acreg doctor`, and install the packages again that it names. If the checks still fail, "
            f"report them with {folder / verification.PAGE}, which has the reason of each."
        )
    out(f"All {len(outcomes)} checks passed.")

"""``acreg doctor``: shows the packages of this installation, whether a GPU is used and, if not, why."""

from __future__ import annotations

from typing import Annotated

import typer

from acreg.cli.console import out, table
from acreg.errors import AcregError


def doctor(
    gpu: Annotated[bool, typer.Option("--gpu", help="Require a GPU: exit with code 1 if none is usable.")] = False,
) -> None:
    """Check the installation, the Keras backend and the GPU.

    The exit code is 1 if a part of acreg itself is missing, or if a required package is missing, has an unsupported
    version or cannot be imported.

    \b
    Examples:
      acreg doctor
      acreg doctor --gpu    # at the start of a GPU job
    """
    from acreg import _parts
    from acreg.cli import _gpu, _installation

    packages = _installation.packages()
    backend = _installation.backend()
    facts = _gpu.observe(backend.name)
    diagnosis = _gpu.diagnose(facts)

    rows = [(p.name, p.installed or "missing", p.needed) for p in packages]
    table("Packages", ("package", "installed", "needed"), rows)
    out()
    for name, value in (*_installation.machine(), *_installation.data_folder()):
        out(f"{name + ':':<20}{value}")
    out()
    out(f"Keras backend: {backend.name}" + (f" {backend.version}" if backend.version else ""))
    if backend.problem:
        out(f"  It cannot be used: {backend.problem}")
    out(f"GPU: {diagnosis.message}")
    if diagnosis.command:
        out(f"  To run: {diagnosis.command}")

    if missing := _parts.missing_parts():
        raise AcregError(_parts.incomplete(missing))
    problems = [p.problem for p in packages if p.problem]
    if backend.problem:
        problems.append(f"The Keras backend {backend.name!r} cannot be imported.")
    if problems:
        raise AcregError(
            f"acreg needs packages that are not as they must be. Received: {' '.join(problems)} "
            f"To run: {_installation.repair_command(packages)}"
        )
    if gpu and not diagnosis.usable:
        raise AcregError("A GPU is asked for with --gpu. Received: none that Keras sees. See the line `GPU` above.")
    out("Everything that acreg needs is there.")

"""The table of classical registration programs: commands, messages and `Baseline` look a method up here.

A new program is one entry in `TOOLS` and one module, which is imported when a method of it is made. The module has:

- `load()`, which imports the program, so that the import does not count as registration time;
- `KINDS`, the fixed parameters of each kind of registration, for the record of a result;
- `OPTIONS`, the options that a name may set in brackets, with their defaults, for each kind that has options
  (`acreg.baselines.options`);
- `register(kind, fixed, moving, options, threads, seed, folder)`, which returns the maps from the fixed to the moving
  image, in the order in which they are applied. `options` are all options of the kind; `seed` is positive; `folder` is
  an empty folder for temporary files. It may raise any error: `Baseline` turns it into one message.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tool:
    """A classical registration program.

    Args:
        name: the part of a method's name before the colon.
        kinds: what may follow the colon.
        package: its name on PyPI.
        home: the name of its module.
    """

    name: str
    kinds: tuple[str, ...]
    package: str
    home: str

    @property
    def module(self) -> Any:
        """The module with the functions of the program."""
        return importlib.import_module(self.home)


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("ants", ("affine", "SyN", "SyNCC", "SyNOnly"), "antspyx", "acreg.baselines.ants"),
        Tool(
            "sitk",
            ("affine", "demons", "diffeomorphic-demons", "symmetric-demons", "bspline"),
            "SimpleITK",
            "acreg.baselines.simpleitk",
        ),
        Tool("elastix", ("affine", "bspline", "acregnet", "jrsnet"), "itk-elastix", "acreg.baselines.elastix"),
        Tool("greedy", ("affine", "deformable", "svf"), "picsl-greedy", "acreg.baselines.greedy"),
    )
}
"""All programs by name."""

NAMES = tuple(f"{tool.name}:{kind}" for tool in TOOLS.values() for kind in tool.kinds)
"""The names of all classical methods, such as ``"ants:SyN"``."""

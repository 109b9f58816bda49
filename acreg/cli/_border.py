"""The options of what lies outside of a warped image."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

BorderOption = Annotated[
    Literal["constant", "edge"] | None,
    typer.Option(
        help="Outside of the moving image a warped one has a constant (the default, as in ITK and ANTs) or the nearest "
        "edge value."
    ),
]
FillOption = Annotated[
    float | None,
    typer.Option(help="That constant, 0 if left out; -1000 is air in CT.", show_default=False, metavar="VALUE"),
]

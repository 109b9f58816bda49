"""The options for the values outside a warped image."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

BorderOption = Annotated[
    Literal["constant", "edge"] | None,
    typer.Option(
        help="Values of a warped image outside the moving image: a constant (the default, as in ITK and ANTs) or the "
        "nearest edge value."
    ),
]
FillOption = Annotated[
    float | None,
    typer.Option(
        help="Constant outside the moving image. Default: 0; air in CT is -1000.", show_default=False, metavar="VALUE"
    ),
]

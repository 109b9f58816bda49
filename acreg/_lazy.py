"""Packages whose names are loaded on first use; a stub, `__init__.pyi`, lists the names with their types."""

from __future__ import annotations

import sys
from collections.abc import Callable

import lazy_loader


def attach(
    package: str, file: str, otherwise: Callable[[str], object] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package with a stub beside its ``__init__.py``.

    Args:
        package: its `__name__`.
        file: its `__file__`.
        otherwise: function that finds names that the stub does not list, such as old ones.
    """
    find, _, names = lazy_loader.attach_stub(package, file)

    def find_name(name: str) -> object:
        if name in names:
            return find(name)
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find_name, lambda: sorted({*vars(sys.modules[package]), *names}), names

"""The names of the registrations by optimisation, for help texts and messages: nothing heavy is imported."""

from __future__ import annotations

LINEAR = ("translation", "rigid", "similarity", "affine")
"""The linear registrations, each with more freedom than the one before."""

DEMONS = "lcc-demons"
"""Symmetric log-demons with local correlation."""

KINDS = (*LINEAR, "deformable", DEMONS, "multimodal")
"""What may follow the colon in a method's name."""

NAMES = tuple(f"acreg:{kind}" for kind in KINDS)
"""The names of the registrations by optimisation, such as ``"acreg:deformable"``."""

DEFAULT = "acreg:deformable"
"""The method of a registration without a model and without the name of another method."""

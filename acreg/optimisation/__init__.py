"""Registration of two images without a trained network, by optimisation of their similarity."""

from acreg.optimisation.linear import KINDS, linear

__all__ = ["KINDS", "linear"]

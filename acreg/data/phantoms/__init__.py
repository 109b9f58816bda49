"""Synthetic images with labels: chest X-rays and hearts."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.data.phantoms.chests")

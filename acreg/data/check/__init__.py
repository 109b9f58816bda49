"""Checks that find problems in a dataset before training does."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.data.check.dataset")

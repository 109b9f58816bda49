"""What is wrong with a dataset, before a training finds it."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.data.check.dataset")

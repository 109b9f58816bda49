"""Networks that other programs trained, as presets."""

from acreg._moved import forward

__getattr__ = forward(__name__, "acreg.applications.conversion.weights")

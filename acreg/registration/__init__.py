"""Registration of a pair: methods by name, the transform, doubts about the result, and the result files."""

from acreg.registration.concerns import Concern
from acreg.registration.methods import Method, PresetMethod, Unregistered, named_method
from acreg.registration.pair import Registration, register_pair
from acreg.registration.saving import save_registration

__all__ = [
    "Concern",
    "Method",
    "PresetMethod",
    "Registration",
    "Unregistered",
    "named_method",
    "register_pair",
    "save_registration",
]

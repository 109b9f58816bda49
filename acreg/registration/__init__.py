"""Registering a pair: methods by name, the transform, what speaks against it, and the files of the result."""

from acreg.registration.concerns import Concern
from acreg.registration.methods import Method, PresetMethod, Unregistered, named_method, one_method
from acreg.registration.pair import Registration, register_pair
from acreg.registration.registering import register
from acreg.registration.saving import save_registration

__all__ = [
    "Concern",
    "Method",
    "PresetMethod",
    "Registration",
    "Unregistered",
    "named_method",
    "one_method",
    "register",
    "register_pair",
    "save_registration",
]

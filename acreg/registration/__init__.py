"""Registration of a pair: methods by name, the transform, the verdict on the result, and the result files."""

from acreg.registration.concerns import Concern
from acreg.registration.consistency import Consistency, inverse_consistency
from acreg.registration.determinants import JacobianMap, jacobian
from acreg.registration.methods import Method, PresetMethod, Unregistered, named_method, one_method
from acreg.registration.optimised import Optimised
from acreg.registration.pair import Registration, register_pair
from acreg.registration.registering import register
from acreg.registration.saving import save_registration
from acreg.registration.warping import Warped, WarpedPoints, warp

__all__ = [
    "Concern",
    "Consistency",
    "JacobianMap",
    "Method",
    "Optimised",
    "PresetMethod",
    "Registration",
    "Unregistered",
    "Warped",
    "WarpedPoints",
    "inverse_consistency",
    "jacobian",
    "named_method",
    "one_method",
    "register",
    "register_pair",
    "save_registration",
    "warp",
]

"""Registration models, the autoencoder of anatomy, and presets."""

from acreg._moved import forward
from acreg.models.acregnet import ACRegNet
from acreg.models.affine_deformable_net import AffineDeformableNet
from acreg.models.ddmr import DDMR
from acreg.models.dirnet import DIRNet
from acreg.models.jrsnet import JRSNet
from acreg.models.label_autoencoder import LabelAutoencoder
from acreg.models.presets import from_preset
from acreg.models.registration_model import RegistrationModel
from acreg.models.regnet import RegNet
from acreg.models.segmenter import Segmenter
from acreg.models.svfnet import SVFNet
from acreg.models.symnet import SYMNet

__all__ = [
    "ACRegNet",
    "AffineDeformableNet",
    "DDMR",
    "DIRNet",
    "JRSNet",
    "LabelAutoencoder",
    "RegNet",
    "Segmenter",
    "RegistrationModel",
    "SVFNet",
    "SYMNet",
    "from_preset",
]

__getattr__ = forward(__name__, "acreg.inference")

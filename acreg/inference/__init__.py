"""Use of trained networks: where presets lie, and what runs them without TensorFlow and Keras."""

from acreg.inference.onnx_model import OnnxModel
from acreg.inference.onnx_network import OnnxNetwork
from acreg.inference.presets import preset_folder, shipped_presets
from acreg.inference.registering import Network

__all__ = ["Network", "OnnxModel", "OnnxNetwork", "preset_folder", "shipped_presets"]

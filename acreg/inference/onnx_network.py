"""A registration network in ONNX, run by ONNX Runtime: neither TensorFlow nor Keras is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acreg.errors import AcregError
from acreg.inference.description import KEY, NetworkDescription
from acreg.inference.presets import SHIPPED
from acreg.inference.registering import Arrays, padded_sizes
from acreg.io import Preprocessing
from acreg.io.guards.text import check_regular
from acreg.io.preset_config import PresetConfig, check_weights_file, read_preset_config
from acreg.io.stored_weights import open_weights

if TYPE_CHECKING:
    import onnx

FILE = "network.onnx"
"""The name of a network in the folder of a preset."""
LIMIT = 2**31 - 1
"""The largest size of an ONNX file in bytes."""
INPUTS = ("fixed", "moving")
OUTPUTS = ("velocity", "displacement", "affine", "activation", "threshold")
AGAIN = "Export the network again with `acreg export`."


class OnnxNetwork:
    """See `acreg.inference.registering.Network`.

    It runs on the CPU, on as many threads as ``OMP_NUM_THREADS`` says, or else on all cores.

    Args:
        path: the file, which `acreg.export` wrote.
        weights: the preset's weights, for a network whose constants are there; None for a file that holds them.
        only: the outputs that are computed; None for all.
        config: of the preset that the network must belong to.

    Raises:
        AcregError: the file is not a regular file, cut short or no ONNX; it was not written by `acreg.export`; refers
            to other files; has operations of other programs; or ONNX Runtime does not know its operations.
    """

    def __init__(
        self,
        path: Path,
        weights: Path | None = None,
        only: tuple[str, ...] | None = None,
        config: PresetConfig | None = None,
    ) -> None:
        self.path, self._weights = path, weights
        proto = _read(path)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.description = NetworkDescription.read(metadata.get(KEY), str(path))
        if config is not None:
            self._check_preset(config)
        self.preprocessing: Preprocessing | None = self.description.preprocessing
        self.multiple, self.integration_steps = self.description.multiple, self.description.integration_steps
        _check_content(proto, path)
        if self.description.stored:
            _restore(proto, self.description, weights, path)
        if only is not None:
            kept = [output for output in proto.graph.output if output.name in only]
            del proto.graph.output[:]
            proto.graph.output.extend(kept)
        self._session = _session(proto, path)
        self.outputs = [output.name for output in self._session.get_outputs()]
        self._check_ports()

    @classmethod
    def of_preset(cls, folder: Path) -> OnnxNetwork:
        """The network of a preset.

        Raises:
            AcregError: as the class; or the file belongs to other weights than the preset's.
        """
        config = read_preset_config(folder)
        preprocessing = Preprocessing.from_json(folder / "preprocessing.json")
        weights = check_weights_file(folder, config.weights_sha256)
        network = cls(folder / FILE, weights, config=config)
        rank = network.description.rank
        if len(preprocessing.shape) != rank:
            raise AcregError(
                f"The shape in a preset's preprocessing.json must be one of {rank} axes. Received: {folder} with "
                f"{preprocessing.shape}. Get the whole folder again; files of two presets cannot be mixed."
            )
        network.preprocessing = preprocessing
        return network

    @property
    def takes_mask(self) -> bool:
        """See `Network`: such a network is not exported."""
        return False

    def part(self, *outputs: str) -> OnnxNetwork:
        """The same network, of which only these outputs are computed."""
        network = OnnxNetwork(self.path, self._weights, outputs)
        network.preprocessing = self.preprocessing
        return network

    def predict(self, batch: Arrays) -> Arrays:
        """See `Network`."""
        sizes, shape = self.description.sizes, batch["fixed"].shape[1:-1]
        if sizes is not None and tuple(sizes) != shape:
            raise AcregError(
                f"A network that was exported with fixed sizes takes images of these. Received: {shape} for "
                f"{self.path}, which takes {tuple(sizes)}. Export it with free sizes, or use the engine keras."
            )
        given = {name: np.ascontiguousarray(batch[name], np.float32) for name in INPUTS}
        return dict(zip(self.outputs, self._session.run(None, given), strict=True))

    def memory_of(self, shape: tuple[int, ...]) -> int:
        """See `Network`: that of the preset's own grid, in proportion to the voxels."""
        own = np.prod(padded_sizes(self.description.preprocessing.shape, self.multiple))
        return int(self.description.memory * np.prod(padded_sizes(shape, self.multiple)) / own)

    def _check_preset(self, config: PresetConfig) -> None:
        """Raise `AcregError` if the network was not exported from a preset's weights and arguments."""
        found = self.description
        if found.class_name != config.class_name or found.weights_sha256 != config.weights_sha256:
            raise AcregError(
                f"The {FILE} of a preset is that of its weights. Received: {self.path}, which was exported from other "
                f"weights or another model ({found.class_name}; the preset is a {config.class_name}). {AGAIN}"
            )
        if found.config_sha256 not in (None, config.config_sha256):
            raise AcregError(
                f"The {FILE} of a preset is that of the arguments in its config.json. Received: {self.path}, which was "
                f"exported before config.json changed. {AGAIN.removesuffix('.')}, or choose the engine keras."
            )

    def _check_ports(self) -> None:
        """Raise `AcregError` unless the network has the inputs and outputs that its description needs."""
        rank, channels = self.description.rank, self.description.channels
        inputs = {one.name: one for one in self._session.get_inputs()}
        fits = sorted(inputs) == sorted(INPUTS) and all(
            one.type == "tensor(float)" and len(one.shape) == rank + 2 and one.shape[-1] == channels
            for one in inputs.values()
        )
        field = "velocity" if self.integration_steps else "displacement"
        known = {field, "affine"} & set(self.outputs) and set(self.outputs) <= set(OUTPUTS)
        if not (fits and known):
            raise AcregError(
                f"A registration network takes a fixed and a moving image of {rank} axes and gives a field. Received: "
                f"{self.path} from {', '.join(f'{n} {one.shape}' for n, one in inputs.items())} to "
                f"{', '.join(self.outputs)}. {AGAIN}"
            )


def _read(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    check_regular(path, LIMIT, "network in ONNX")
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError, TypeError) as error:
        raise AcregError(
            f"A network in ONNX must be whole. Received: {path}, which cannot be read. It is cut short, damaged or of "
            "another kind; get it again."
        ) from error
    return proto


def _check_content(proto: onnx.ModelProto, path: Path) -> None:
    """Raise `AcregError` for data in other files, and for operations that are not ONNX's own."""
    import onnx

    for tensor in _tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise AcregError(
                f"A network in ONNX holds its own weights. Received: {path}, whose {tensor.name or 'constant'} lies in "
                f"another file. {AGAIN}"
            )
    foreign = sorted({node.domain for node in _nodes(proto.graph)} - {"", "ai.onnx"})
    if foreign or proto.functions:
        raise AcregError(
            f"A network in ONNX has operations of ONNX alone. Received: {path} with operations of "
            f"{', '.join(foreign) or 'its own'}. {AGAIN}"
        )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _restore(proto: onnx.ModelProto, description: NetworkDescription, weights: Path | None, path: Path) -> None:
    """Put the constants into the network that lie in the preset's weights."""
    from onnx import numpy_helper

    if weights is None:
        raise AcregError(
            f"The {FILE} of a preset has its weights in the file beside it. Received: {path} alone. Give the preset, "
            "or export the network to a file outside of the preset's folder."
        )
    with open_weights(weights, "file of weights", trusted=path.parent.parent == SHIPPED) as file:
        try:
            for stored in description.stored:
                array: NDArray[Any] = file[stored.path][()].transpose(stored.axes).reshape(stored.shape)
                proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), stored.name))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise AcregError(
                f"The {FILE} of a preset is that of its weights. Received: {path}, which needs an array that {weights} "
                f"does not have ({' '.join(str(error).split())[:100]}). {AGAIN}"
            ) from error


def _session(proto: onnx.ModelProto, path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # `acreg export` has done it: again it takes three times as long as to register a pair.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an error class for each of its codes, without a common base
        versions: Mapping[str, int] = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
        raise AcregError(
            f"A network in ONNX has operations that ONNX Runtime knows. Received: {path} of opset "
            f"{versions.get('ai.onnx', 'none')}, which ONNX Runtime {onnxruntime.__version__} refuses "
            f"({' '.join(str(error).split())[:300]}). {AGAIN}"
        ) from error

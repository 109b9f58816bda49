"""What is changed in a network in ONNX before it is written: it becomes faster and smaller, its results stay."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

LEAST_INPUTS, MOST_OUTPUTS = 16, 16
"""Channels of a convolution that `split_convolutions` changes: otherwise it saves little, or the sum takes longer."""


def optimised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The network as ONNX Runtime simplifies it for every machine, which then need not be done at each start."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "network.onnx")
        onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def split_convolutions(graph: onnx.GraphProto) -> None:
    """Write each 3-D convolution with a window of 3^3 as one with a window of 1 x 3 x 3 and a sum of three slices.

    The three weights along the first axis become output channels, three times as many, which are then shifted and
    added. The operations are the same, but ONNX Runtime's matrix products are larger: 1.4 to 2.3 times faster on a
    CPU (docs/decisions.md).
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes, new = [], {}
    for node in graph.node:
        weight = constants.get(node.input[1]) if _splits(node) else None
        if weight is None or weight.dims[0] > MOST_OUTPUTS or weight.dims[1] < LEAST_INPUTS:
            nodes.append(node)
            continue
        channels, name, inputs = weight.dims[0], node.output[0], [node.input[0], f"{weight.name}_split"]
        array = numpy_helper.to_array(weight).transpose(2, 0, 1, 3, 4)
        new[inputs[1]] = np.ascontiguousarray(array.reshape(3 * channels, -1, 1, 3, 3))
        if len(node.input) > 2:
            inputs.append(f"{node.input[2]}_split")
            new[inputs[2]] = np.pad(numpy_helper.to_array(constants[node.input[2]]), (0, 2 * channels))
        nodes.append(helper.make_node("Conv", inputs, [f"{name}_all"], kernel_shape=[1, 3, 3], pads=[1] * 6))
        new["split_axes"] = np.array([1, 2])
        for place, end in enumerate((-2, -1, np.iinfo(np.int64).max)):
            bounds = [f"split_{edge}_{place}_{channels}" for edge in ("from", "to")]
            new[bounds[0]] = np.array([place * channels, place])
            new[bounds[1]] = np.array([(place + 1) * channels, end])
            nodes.append(helper.make_node("Slice", [f"{name}_all", *bounds, "split_axes"], [f"{name}_{place}"]))
        nodes.append(helper.make_node("Sum", [f"{name}_{place}" for place in range(3)], [name]))
    used = {name for node in nodes for name in node.input}
    kept = [tensor for name, tensor in constants.items() if name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *(numpy_helper.from_array(array, name) for name, array in new.items())])


def _splits(node: onnx.NodeProto) -> bool:
    """Whether a node is a convolution with a window of 3^3 that keeps the size."""
    from onnx import helper

    if node.op_type != "Conv":
        return False
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    same = given.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER") or given.get("pads") == [1] * 6
    ones = {*given.get("strides", [1]), *given.get("dilations", [1]), given.get("group", 1)} == {1}
    return bool(given.get("kernel_shape") == [3, 3, 3] and same and ones)


def rename(graph: onnx.GraphProto) -> None:
    """Give what is inside of the network short names: TensorFlow's are a third of the file."""
    ports = {port.name for port in (*graph.input, *graph.output)}
    short: dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        return name if name in ports else short.setdefault(name, f"t{len(short)}")

    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    del graph.value_info[:]

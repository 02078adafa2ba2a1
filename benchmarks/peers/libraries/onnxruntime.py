"""ONNX Runtime, which predicts only: the network as an ONNX graph of Gemm and Relu."""

from collections.abc import Callable
from typing import Any

import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.peers.problem import Problem


def model(problem: Problem) -> bytes:
    """Return the network as a serialised ONNX model."""
    nodes, constants, source = [], [], "x"
    last = len(problem.weights) - 1
    for layer, (weight, bias) in enumerate(problem.weights):
        constants += [
            numpy_helper.from_array(weight, f"W{layer}"),
            numpy_helper.from_array(bias, f"b{layer}"),
        ]
        inputs = [source, f"W{layer}", f"b{layer}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"z{layer}"]))
        source = f"z{layer}"
        if layer < last:
            nodes.append(helper.make_node("Relu", [source], [f"a{layer}"]))
            source = f"a{layer}"
    sizes = problem.sizes
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", sizes[0]])
    z = helper.make_tensor_value_info(source, TensorProto.FLOAT, ["rows", sizes[-1]])
    graph = helper.make_graph(nodes, "network", [x], [z], constants)
    # Versions that every ONNX Runtime of recent years reads.
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    return bytes(made.SerializeToString())


def train(problem: Problem, epochs: int, threads: int, lap: Any) -> None:
    """Refuse: this library runs networks that others trained."""
    raise NotImplementedError("ONNX Runtime's package for prediction does not train")


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict by ``session.run``, from ndarray to ndarray."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        model(problem), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": x}
    return lambda: session.run(None, feed)[0]

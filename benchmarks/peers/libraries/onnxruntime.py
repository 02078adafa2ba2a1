"""ONNX Runtime, which predicts only: the network as an ONNX graph of Gemm and Relu."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.peers.problem import Problem


def model(problem: Problem) -> bytes:
    """Return the network as a serialised ONNX model."""
    nodes, constants, a = [], [], "x"
    last = len(problem.weights) - 1
    for layer, (weight, bias) in enumerate(problem.weights):
        W, b, z = f"W{layer}", f"b{layer}", "z" if layer == last else f"z{layer}"
        constants += [numpy_helper.from_array(weight, W), numpy_helper.from_array(bias, b)]
        nodes.append(helper.make_node("Gemm", [a, W, b], [z]))
        if layer < last:
            a = f"a{layer}"
            nodes.append(helper.make_node("Relu", [z], [a]))
    sizes = problem.sizes
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", sizes[0]])
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["rows", sizes[-1]])
    graph = helper.make_graph(nodes, "network", [x], [output], constants)
    # Versions that every ONNX Runtime of recent years reads.
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    return bytes(made.SerializeToString())


def train(problem: Problem, epochs: int, threads: int, lap: Any) -> None:
    """Refuse: this library runs networks that others trained."""
    raise NotImplementedError("ONNX Runtime's package for prediction does not train")


def predictor(problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
    """Predict from one ndarray to another, both bound beforehand: faster than ``session.run``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        model(problem), options, providers=["CPUExecutionProvider"]
    )
    z = np.empty((len(x), problem.sizes[-1]), np.float32)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("z", "cpu", 0, np.float32, z.shape, z.ctypes.data)

    def predict() -> Any:
        session.run_with_iobinding(binding)
        return z

    return predict

"""ONNX Runtime on the CPU; nothing else is loaded."""

from typing import Any


def open_session(data: bytes, *, optimised: bool = True, threads: int = 1) -> Any:
    """Open a model in ONNX Runtime on the CPU.

    Args:
        data: the model's bytes.
        optimised: whether its graph may be rewritten before it is run.
        threads: of one operator; 0 for all cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

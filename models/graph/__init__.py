"""Networks as ONNX: a file that runs anywhere, and the skeleton that makes it from a network's tensors."""

from kirigami.models.graph.export import cut, to_onnx
from kirigami.models.graph.restore import fill

__all__ = ["cut", "fill", "to_onnx"]

"""Networks as ONNX: a file that runs anywhere, and the skeleton that makes it of a network's tensors without torch."""

from typing import TYPE_CHECKING

from kirigami.on_demand import on_demand

if TYPE_CHECKING:
    from kirigami.models.graph.export import cut, to_onnx
    from kirigami.models.graph.restore import fill
else:
    __getattr__ = on_demand(__name__, {"export": ("cut", "to_onnx"), "restore": ("fill",)})

__all__ = ["cut", "fill", "to_onnx"]

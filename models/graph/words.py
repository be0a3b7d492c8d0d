"""The tables of numbered words in skeletons: operators, attributes, usual nodes, constants. Append new ones."""

import struct

from kirigami.models.graph.model import FLOAT, INT64, Attribute, Form, Tensor

OPERATORS = (
    "DequantizeLinear", "Conv", "BatchNormalization", "Relu", "MaxPool", "ReduceMean", "Gemm", "Add", "Mul", "Sub",
    "Div", "Cast", "Reshape", "MatMul", "Transpose", "Sigmoid", "Tanh", "Clip", "Round", "Min", "Max", "Gelu", "Mish",
    "Elu", "LeakyRelu", "Softplus", "Sin", "Exp", "Neg", "Sqrt", "Pow", "Erf", "Softmax", "LayerNormalization",
    "GroupNormalization", "InstanceNormalization", "Gather", "Shape", "Slice", "Squeeze", "Unsqueeze", "Concat",
    "Split", "Where", "Less", "Greater", "Equal", "Not", "And", "Or", "IsNaN", "Expand", "Trilu", "ConstantOfShape",
    "Range", "Identity", "Flatten", "Pad", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMax",
    "ReduceSum", "ArgMax", "ConvTranspose", "Resize", "GRU", "LSTM", "RNN", "Attention", "QuantizeLinear", "HardSwish",
    "HardSigmoid", "Selu", "PRelu", "Celu", "Abs", "Log", "Reciprocal", "Floor", "Ceil", "Sign", "Cos", "LogSoftmax",
    "Einsum", "Tile", "GatherElements", "GatherND", "ScatterND", "CumSum", "TopK", "OneHot", "Swish",
    "RMSNormalization", "GreaterOrEqual", "LessOrEqual", "ReduceMin", "ReduceProd", "DepthToSpace", "SpaceToDepth",
    "Dropout", "Size", "NonZero", "Mod", "CastLike", "LpNormalization", "RotaryEmbedding", "IsInf", "Sum", "Mean",
)  # fmt: skip

ATTRIBUTES = (
    "pads", "kernel_shape", "strides", "dilations", "group", "epsilon", "momentum", "keepdims", "transA", "transB",
    "alpha", "beta", "axis", "axes", "to", "perm", "approximate", "num_groups", "is_causal", "scale", "num_outputs",
    "start", "end", "allowzero", "ceil_mode", "auto_pad", "count_include_pad", "noop_with_empty_axes", "hidden_size",
    "linear_before_reset", "direction", "activations", "layout", "mode", "upper", "value", "stash_type", "saturate",
    "block_size", "output_dtype", "training_mode", "fmod", "largest", "sorted", "equation", "q_num_heads",
    "kv_num_heads", "storage_order", "output_padding", "output_shape", "coordinate_transformation_mode",
    "nearest_mode", "reduction", "batch_dims", "exclusive", "reverse", "gamma", "bias", "lambd", "detect_negative",
    "detect_positive", "select_last_index",
)  # fmt: skip

# Numbers that stand in many models: the axes of an image, the largest values of pixels.
CONSTANTS = (
    Tensor(INT64, (2,), struct.pack("<2q", -2, -1)),
    Tensor(INT64, (1,), struct.pack("<q", -1)),
    Tensor(INT64, (1,), struct.pack("<q", -3)),
    Tensor(FLOAT, (), struct.pack("<f", 16)),
    Tensor(FLOAT, (), struct.pack("<f", 255)),
)


def _form(op: str, inputs: int = 1, outputs: int = 1, **attributes: Attribute) -> Form:
    return Form(op, "", inputs, outputs, tuple(sorted(attributes.items())))


_AROUND, _HALF = (1, 1, 1, 1), (2, 2)
FORMS = (
    _form("Conv", 2, pads=_AROUND),
    _form("BatchNormalization", 5),
    _form("Relu"),
    _form("MaxPool", kernel_shape=_HALF, strides=_HALF),
    _form("ReduceMean", 2, keepdims=0),
    _form("Gemm", 3, transB=1),
    _form("Gemm", 2, transB=1),
    _form("Reshape", 2, allowzero=1),
    _form("Reshape", 2),
    _form("Add", 2),
    _form("Mul", 2),
    _form("Sub", 2),
    _form("Div", 2),
    _form("Cast", to=FLOAT),
    _form("Sigmoid"),
    _form("Tanh"),
    _form("Gelu"),
    _form("Mish"),
    _form("Elu"),
    _form("LeakyRelu"),
    _form("Softplus"),
    _form("Sin"),
    _form("Neg"),
    _form("Exp"),
    _form("Pow", 2),
    _form("Max", 2),
    _form("Min", 2),
    _form("Round"),
    _form("Conv", 2, pads=_AROUND, strides=_HALF),
    _form("Conv", 2, strides=_HALF),
    _form("Conv", 3, pads=_AROUND),
    _form("Conv", 2, pads=(2, 2, 2, 2)),
    _form("Conv", 3),
    _form("Conv", 2),
    _form("Squeeze", 2),
    _form("Unsqueeze", 2),
    _form("GroupNormalization", 3, num_groups=8),
    _form("LayerNormalization", 3),
    _form("MatMul", 2),
    _form("Gather", 2),
    _form("Transpose", perm=(0, 2, 1, 3)),
    _form("Transpose", perm=(1, 0, 2)),
    _form("Transpose", perm=(0, 2, 1)),
    _form("Slice", 3),
    _form("Slice", 4),
    _form("Shape"),
    _form("Shape", end=1),
    _form("Concat", 2, axis=0),
    _form("Concat", 3, axis=0),
    _form("ConstantOfShape"),
    _form("Expand", 2),
    _form("Equal", 2),
    _form("Greater", 2),
    _form("Where", 3),
    _form("Trilu", upper=0),
    _form("Softmax"),
    _form("Attention", 3, is_causal=1),
    _form("Split", 1, 3, axis=2, num_outputs=3),
    _form("IsNaN"),
    _form("Or", 2),
)

"""One case, or several, of every registered network: its config, its shapes and a batch for it."""

import torch
from torch import Tensor, nn

from kirigami.models import build_network

IMAGES = {"in_shape": (3, 8, 8), "out_features": 5}


PIXELS = {**IMAGES, "out_features": 1, "dense": True}
TEXT = {"in_shape": (9,), "out_features": 7, "vocabulary": 7}


CASES: dict[str, tuple[dict, dict]] = {
    "mlp": ({"name": "mlp", "width": 16}, IMAGES),
    "mlp-norm": ({"name": "mlp", "width": 16, "norm": "batch", "activation": "sin"}, IMAGES),
    "mlp-vector": ({"name": "mlp", "width": 16, "depth": 0}, {"in_shape": (20,), "out_features": 1}),
    "convnet": ({"name": "convnet", "width": 8}, IMAGES),
    "convnet-group": ({"name": "convnet", "width": 8, "norm": "group", "activation": "mish"}, IMAGES),
    "convnet-dense": ({"name": "convnet", "width": 8}, PIXELS),
    "resnet": ({"name": "resnet", "depth": 8, "width": 8}, IMAGES),
    "resnet-dense": ({"name": "resnet", "stages": 1, "blocks": 2, "preactivation": True}, PIXELS),
    "wrn": ({"name": "wrn", "depth": 10, "widen": 1}, IMAGES),
    "vgg": ({"name": "vgg", "width": 8}, IMAGES),
    "vgg-plan": ({"name": "vgg", "plan": [8, 0, 8], "norm": "none"}, IMAGES),
    "vgg-dense": ({"name": "vgg", "plan": [8, 0, 8]}, {**IMAGES, "dense": True}),
    "gru": ({"name": "gru", "width": 8, "depth": 2}, TEXT),
    "transformer": ({"name": "transformer", "width": 8, "depth": 1, "heads": 2}, TEXT),
}


def build(case: str, seed: int = 0) -> nn.Module:
    config, shapes = CASES[case]
    torch.manual_seed(seed)
    return build_network(config, **shapes)


def batch(case: str, rows: int = 6) -> Tensor:
    shapes = CASES[case][1]
    generator = torch.Generator().manual_seed(1)
    if "vocabulary" in shapes:
        return torch.randint(shapes["vocabulary"], (rows, *shapes["in_shape"]), generator=generator)
    return torch.randn(rows, *shapes["in_shape"], generator=generator)

"""Whether what a network learns is where files and checkpoints look for it: in its parameters and buffers."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from kirigami.search.errors import InputError


def check_learns(network: nn.Module, name: str) -> None:
    """Say of a network whose layers lie in plain lists or mappings that they are not trained.

    Raises:
        InputError: naming the attribute.
    """
    known = set(network.parameters())
    for module in network.modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            held = value.values() if isinstance(value, dict) else value
            if any(isinstance(part, nn.Module) and set(part.parameters()) - known for part in held):
                better = "ModuleDict" if isinstance(value, dict) else "ModuleList"
                raise InputError(
                    f"{name} keeps layers in a {type(value).__name__}, self.{attribute}, where they are not trained "
                    f"or saved; it must be a torch.nn.{better}."
                )


@contextmanager
def keeps_in_files(network: nn.Module, name: str) -> Iterator[None]:
    """Check that what training changes meanwhile is in the network's state, which files and checkpoints hold.

    Raises:
        InputError: naming the attribute.
    """
    before = {key: value.clone() for key, value in _loose(network).items()}
    yield
    for key, value in _loose(network).items():
        old = before.get(key)
        if old is not None and old.shape == value.shape and not bool((old == value).all()):
            raise InputError(
                f"{name} changes self.{key} in training, which neither checkpoints nor files hold; "
                f"it must be a persistent buffer (register_buffer)."
            )


def _loose(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that stand in no state dict, by their paths."""
    saved = set(network.state_dict())
    tensors = {path: buffer for path, buffer in network.named_buffers() if path not in saved}
    for path, module in network.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                tensors[f"{path}.{key}".lstrip(".")] = value.detach()
    return {key: value for key, value in tensors.items() if not value.is_meta}

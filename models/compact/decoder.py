"""Load an encoded file into a network."""

from collections.abc import Callable, Mapping, Sequence

import numpy
import torch
from torch import Tensor, nn

from kirigami.models.bits.inputs import CHILD, FEWEST, MOST, InputQuantiser, insert
from kirigami.models.compact.effective import COUNTER, plain
from kirigami.models.compact.file import LIMIT, File, read
from kirigami.models.compact.kinds import Kind, Patterns
from kirigami.models.compact.plan import Record
from kirigami.models.technique import weighted

WIDTHS = (0, *range(FEWEST, MOST + 1))  # bits of inputs, 0 where a quantiser never saw any


def decode(data: bytes, network: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """Load an encoded file into a plain network and return it; its outputs are those of the network encoded.

    Layers whose inputs were rounded get their quantisers, which the plain network does not have, from the file.

    Args:
        data: the file's bytes.
        network: a network without links, or a function that makes it.

    Raises:
        ValueError: where the file is damaged, or is not of this network; the network is unchanged then.
    """
    built = network if isinstance(network, nn.Module) else network()
    expected = {name: value for name, value in built.state_dict().items() if isinstance(value, Tensor)}
    plain_layers = {name: layer for name, layer in weighted(built) if not hasattr(layer, CHILD)}
    optional = {name: InputQuantiser(MOST).to(dtype=layer.weight.dtype) for name, layer in plain_layers.items()}
    state = _tensors(read(data, check=lambda records: _check(records, expected, optional)))
    for name, value in state.items():
        if name.endswith(f".{CHILD}.bits") and not all(bits in WIDTHS for bits in value.reshape(-1).tolist()):
            raise ValueError(f"{name} must be one of {WIDTHS}, but is {value.reshape(-1).tolist()}.")
    for name, quantiser in optional.items():
        if f"{name}.{CHILD}.bits" in state:
            insert(plain_layers[name], quantiser.to(plain_layers[name].weight.device))
    built.load_state_dict(state, strict=False)
    return built


def decode_state(data: bytes, limit: int = LIMIT) -> dict[str, Tensor]:
    """Return the tensors of an encoded file by their names in the plain network, without counters of batches.

    Args:
        data: the file's bytes.
        limit: bytes of contents above which a file is refused.

    Raises:
        ValueError: where the file is foreign, damaged, cut short, too large or of another version.
    """
    return _tensors(read(data, limit))


def change(network: nn.Module, data: bytes, inputs: Tensor) -> float:
    """Return the largest absolute difference that an encoded file makes to a network's outputs in evaluation."""
    before, after = plain(network).eval(), decode(data, plain(network)).eval()
    with torch.no_grad():
        return float((before(inputs) - after(inputs)).abs().max())


def _tensors(file: File) -> dict[str, Tensor]:
    return {name: _tensor(values, file.kinds[name]) for name, values in file.patterns.items()}


def _tensor(values: Patterns, kind: Kind) -> Tensor:
    raw = numpy.array(values, copy=True, order="C").reshape(-1).view(numpy.uint8)
    return torch.from_numpy(raw).view(getattr(torch, kind.name)).reshape(values.shape)


def _check(records: Sequence[Record], expected: dict[str, Tensor], optional: Mapping[str, nn.Module]) -> None:
    """Refuse a file whose tensors do not match a network's, including the input quantisers that the file has."""
    stored = {record.name: list(record.shape) for record in records}
    added = {f"{name}.{CHILD}": quantiser for name, quantiser in optional.items() if f"{name}.{CHILD}.bits" in stored}
    expected = expected | {
        f"{at}.{key}": value for at, quantiser in added.items() for key, value in quantiser.state_dict().items()
    }
    shapes = {name: list(value.shape) for name, value in expected.items() if name.rpartition(".")[2] != COUNTER}
    for name in [*shapes, *stored]:
        if stored.get(name) != shapes.get(name):
            raise ValueError(
                f"the file is of another network: {name} has shape {stored.get(name, 'none')} in the file "
                f"and {shapes.get(name, 'none')} in the network."
            )
    for record in records:
        dtype = str(expected[record.name].dtype).removeprefix("torch.")
        if dtype != record.kind.name:
            raise ValueError(
                f"the file has {record.name} as {record.kind.name}, but the network as {dtype}. "
                "Convert the network first."
            )

"""The costs of a network: multiplications for one sample, parameters, and time and memory on its device.

Multiplications and parameters are counted, the same everywhere. Bytes are counted too, by an exact definition given
in `memory_bytes`. Milliseconds are measured, hold for the device and the threads of the measurement, and are noisy.
"""

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from kirigami.arguments import at_least
from kirigami.models.operations import UNCOUNTED, unfused
from kirigami.several import Tensors, cut, each, listed, run

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

# A median absolute deviation times this estimates the standard deviation of a normal distribution.
NORMAL = 1.4826
# Passes timed for one that counts, at most; and passes enough for a median where they are slow.
MOST = 4
FEW = 10


class Latency(NamedTuple):
    """The measured times of a forward pass, in milliseconds.

    Attributes:
        median: of the passes that count.
        deviation: median absolute deviation from it, scaled to be a standard deviation where the noise is normal.
        fastest: the shortest of them.
        repeats: how many passes count.
        disturbed: share of all timed passes during which the process was interrupted.
    """

    median: float
    deviation: float
    fastest: float
    repeats: int
    disturbed: float


def macs(network: nn.Module, inputs: Tensors) -> int:
    """Count the multiply-accumulates of a forward pass for one sample.

    Matrix products, convolutions, attention and recurrence count, products with zeros too; sums, norms and activations
    do not. The network is left in the mode it was in.

    Args:
        network: any module.
        inputs: a batch (N, ...) whose first sample is used; several, in a tuple or a dictionary, are its arguments.
    """
    counter = FlopCounterMode(display=False, custom_mapping=UNCOUNTED)
    with evaluating(network), torch.no_grad(), unfused(), counter:
        run(network, cut(inputs, slice(1)))
    return int(counter.get_total_flops()) // 2


def parameters(network: nn.Module) -> int:
    """Count the parameters, a shared one once."""
    return sum(parameter.numel() for parameter in network.parameters())


def latency_ms(network: nn.Module, inputs: Tensors, repeats: int = 50, warmup: int = 10, seconds: float = 5.0) -> float:
    """Measure the median time of a forward pass of the whole batch, in milliseconds; see `latency`."""
    return latency(network, inputs, repeats, warmup, seconds).median


def latency(network: nn.Module, inputs: Tensors, repeats: int = 50, warmup: int = 10, seconds: float = 5.0) -> Latency:
    """Measure the time of a forward pass on the inputs' device, with its spread.

    Every pass is timed by itself, from the call until its result is there: an accelerator is waited for. The network
    is evaluated, under `inference_mode`, and left in the modes it was in. A pass during which the system took the
    processor away for somebody else (an involuntary context switch, where the system counts them) is repeated, up to
    `MOST` times as many passes in all; where too few are left, all count.

    Args:
        network: any module, on the inputs' device.
        inputs: a batch (N, ...): all of it is one pass. Take real rows: noise may take some per cent longer, where an
            operation such as pooling branches on values.
        repeats: passes that count, at least 1.
        warmup: passes before them that are not timed, at least 0.
        seconds: after which no more than `FEW` passes are waited for.

    Raises:
        ValueError: where a number is out of its range.
    """
    at_least("repeats", repeats, 1)
    at_least("warmup", warmup, 0)
    with _uncollected(), evaluating(network), torch.inference_mode():
        for _ in range(warmup):
            run(network, inputs)
        timed: list[tuple[float, bool]] = []
        begin, few = perf_counter(), min(FEW, repeats)
        while sum(clean for _, clean in timed) < repeats and len(timed) < MOST * repeats:
            if perf_counter() - begin > seconds and len(timed) >= few:
                break
            timed.append(_pass(network, inputs))
    clean = [time for time, undisturbed in timed if undisturbed]
    times = clean if len(clean) >= few else [time for time, _ in timed]
    middle = median(times)
    spread = NORMAL * median(abs(time - middle) for time in times)
    return Latency(middle, spread, min(times), len(times), 1 - len(clean) / len(timed))


def memory_bytes(network: nn.Module, inputs: Tensors) -> int:
    """Count the bytes that inference needs: `stored_bytes` and `activation_bytes` together.

    Args:
        network: any module, on the inputs' device.
        inputs: a batch (N, ...): all of it is one pass.
    """
    return stored_bytes(network) + activation_bytes(network, inputs)


def stored_bytes(network: nn.Module) -> int:
    """Count the bytes of all parameters and buffers, a shared tensor once, as they are in memory."""
    tensors = [*network.parameters(), *network.buffers()]
    return sum(tensor.untyped_storage().nbytes() for tensor in _once(tensors))


def activation_bytes(network: nn.Module, inputs: Tensors) -> int:
    """Count the largest number of bytes of activations that are held at one time during a forward pass.

    Counted are the inputs and the results of PyTorch's operations, from when an operation returns them until nothing
    refers to them any more, as the network is written: evaluated, without a graph, by plain (eager) execution. A view
    costs nothing. Not counted are the parameters and buffers, what operations need inside themselves (an unfolded
    image, say), and what the allocator rounds up. So the figure is the same on every device.

    Args:
        network: any module, on the inputs' device; left in the modes it was in.
        inputs: a batch (N, ...): all of it is one pass.
    """
    held = each(torch.clone, inputs)  # a view would stand for all it is a view of
    with evaluating(network), torch.no_grad(), _Live() as live:
        live.ignore([*network.parameters(), *network.buffers()])
        for part in listed(held):
            live.add(part)
        run(network, held)
    return live.peak


def saved_bytes(step: Callable[[], Any], leave_out: Iterable[Tensor] = ()) -> int:
    """Count the largest number of bytes that are held at one time for the backward pass while `step` runs.

    Counted are the storages of the tensors that operations save for their gradients, each once, whole, from when one
    saves it until the last graph that holds it is freed: by going backward through it, or since nobody has it any
    more. What is saved without a tensor, and what the backward pass itself needs, is not counted.

    Args:
        step: runs forward and, mostly, backward.
        leave_out: tensors whose storages do not count, such as parameters, which are there in any case.
    """
    with saving(leave_out) as saved:
        step()
    return saved.peak


@contextmanager
def saving(leave_out: Iterable[Tensor] = ()) -> Iterator["Saved"]:
    """Track the tensors saved for the backward pass while the block runs; the yielded `peak` is `saved_bytes`."""
    saved = Saved(leave_out)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        yield saved


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluate a network for a while; each of its modules then returns to the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Live(TorchDispatchMode):
    """Follow which storages are alive, and keep the largest sum of their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, int] = {}
        self._ignored: set[int] = set()

    def ignore(self, tensors: list[Tensor]) -> None:
        """Do not count these tensors' storages."""
        self._ignored |= {tensor.untyped_storage()._cdata for tensor in tensors}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._ignored and key not in self._alive:
            self._alive[key] = storage.nbytes()
            weakref.finalize(storage, self._alive.pop, key, None)
            self.peak = max(self.peak, sum(self._alive.values()))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and count the tensors that it returns."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result


class _Kept:
    """Stands for a saved tensor in a graph, and is freed with it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Saved:
    """Follow which storages graphs hold, and keep the largest sum of their bytes."""

    def __init__(self, leave_out: Iterable[Tensor]) -> None:
        self.peak = 0
        self._now = 0
        self._holders: dict[int, int] = {}
        self._left_out = [tensor.untyped_storage() for tensor in leave_out]  # kept, so that no other gets its number
        self._ignored = {storage._cdata for storage in self._left_out}

    def pack(self, tensor: Tensor) -> _Kept:
        """Count a tensor that a graph saves."""
        kept, storage = _Kept(tensor), tensor.untyped_storage()
        if storage._cdata not in self._ignored:
            self._hold(storage._cdata, storage.nbytes())
            weakref.finalize(kept, self._release, storage._cdata, storage.nbytes())
        return kept

    def unpack(self, kept: _Kept) -> Tensor:
        """Return the saved tensor."""
        return kept.tensor

    def _hold(self, key: int, size: int) -> None:
        self._holders[key] = self._holders.get(key, 0) + 1
        if self._holders[key] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self._now -= size


def _pass(network: nn.Module, inputs: Tensors) -> tuple[float, bool]:
    """Return the milliseconds of a pass, and whether the process kept the processor."""
    device = listed(inputs)[0].device
    _finish(device)
    switches, before = _switches(), perf_counter()
    run(network, inputs)
    _finish(device)
    time = 1e3 * (perf_counter() - before)
    return time, _switches() == switches


def _switches() -> int:
    """Count the involuntary context switches of this process; always 0 where the system does not tell."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from running: a collection inside a pass is not the network's time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _once(tensors: list[Tensor]) -> list[Tensor]:
    """Return one tensor of each storage."""
    return list({tensor.untyped_storage()._cdata: tensor for tensor in tensors}.values())


def _finish(device: torch.device) -> None:
    """Wait until an accelerator has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

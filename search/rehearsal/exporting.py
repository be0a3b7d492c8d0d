"""The export of a network of the user's own, tried once, untrained, before any trial."""

import copy

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from kirigami import tasks
from kirigami.models import compact, graph
from kirigami.models.technique import network_of
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError, one_line
from kirigami.search.export import parity
from kirigami.search.export.files import to_onnx
from kirigami.search.export.session import open_session
from kirigami.search.rehearsal.places import part_of, raised_at
from kirigami.search.rehearsal.running import has_own_preprocessing
from kirigami.search.training.building import build_module
from kirigami.several import Tensors, cut, each, run

ROWS = (5, 1, 2, 3)  # of training data; the first number is traced, and the file has to take the others too
CLOSE = 1e-3  # share of the largest output by which forms may differ


def export_once(config: TrialConfig, task: tasks.Task) -> None:
    """Write an untrained network as ONNX and in compact form, and compare what they say of a few training rows.

    Raises:
        InputError: in one line, for what `kirigami export` could not do.
    """
    with isolate_rng():
        network = network_of(build_module(config, task)).cpu().eval()
        name = part_of("network", config.network)
        try:
            _compare(network, task)
        except Exception as error:
            reason, place = one_line(error).rstrip(".")[:300], raised_at(error)
            where = f" ({place})" if place and place not in reason else ""
            raise InputError(
                f"{name} cannot be exported: {reason}{where}. Change it, or search without: Set export=false."
            ) from error


def _compare(network: nn.Module, task: tasks.Task) -> None:
    inputs, _ = next(iter(task.train_dataloader()))
    rows = each(lambda part: part[: ROWS[0]].cpu(), inputs)
    if any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
        with torch.no_grad():
            run(network, rows)  # lazy layers find out their sizes
    copied = _copied(network)
    _check_answers(copied, rows)
    model = graph.to_onnx(copied, rows, dequantise=False)
    small = compact.read(compact.encode(copied, extra={"graph": graph.cut(model, copied)}))
    if graph.fill(small.extra["graph"], small) != model:
        raise ValueError("its compact file does not decode to the bytes of its ONNX file")
    session = open_session(model)
    for count in ROWS:
        some = cut(rows, slice(count))
        with torch.no_grad():
            wanted = run(copied, some).numpy()
        outputs = session.run(None, parity.feed(session, some))[0]
        if outputs.shape != wanted.shape or not np.allclose(outputs, wanted, atol=CLOSE * max(1, abs(wanted).max())):
            raise ValueError(f"for {count} rows its ONNX file says something else than the network, which was traced")

    if has_own_preprocessing(task):
        to_onnx(copied, task)


def _check_answers(network: nn.Module, rows: Tensors) -> None:
    """Check that a network answers each row alike whenever it is asked, whatever stands beside it."""
    with torch.no_grad():
        first, again, fewer = (run(network, cut(rows, slice(count))) for count in (ROWS[0], ROWS[0], ROWS[-1]))
    if not _is_close(again, first):
        raise ValueError("in eval mode its values for the same rows are others the second time: it draws, or counts")
    if fewer.shape[1:] == first.shape[1:] and not _is_close(fewer, first[: len(fewer)]):
        raise ValueError("in eval mode its values for a row depend on the rows beside it")


def _is_close(outputs: Tensor, wanted: Tensor) -> bool:
    close = CLOSE * max(1.0, float(wanted.abs().max()))
    return outputs.shape == wanted.shape and torch.allclose(outputs, wanted, atol=close, equal_nan=True)


def _copied(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except RuntimeError as error:
        if "weight_norm" in str(error):
            advice = "torch.nn.utils.parametrizations.weight_norm is the one that can be"
            raise ValueError(f"the older torch.nn.utils.weight_norm cannot be copied; {advice}") from error
        raise

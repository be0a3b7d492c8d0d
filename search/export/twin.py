"""The same network trained without techniques, to stand beside an exported one."""

from typing import Any

from rich.console import Console

from kirigami import tasks
from kirigami.models.technique import stored_parameters
from kirigami.search.config.resolve import unlimited
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export.files import timed, to_onnx
from kirigami.search.export.finish import metrics_of
from kirigami.search.training.alone import train
from kirigami.search.training.building import Assembly
from kirigami.search.training.job import Job


def dense_twin(config: TrialConfig, task: tasks.Task, metric: str, console: Console) -> dict[str, Any]:
    """Train the same network without techniques under the same seed, and return what it scores and weighs."""
    with console.status("training the dense twin"):
        outcome = train(Job(0, unlimited(config.without_techniques().plain), lambda fidelity, metrics: None))
    assert isinstance(outcome.trained, Assembly), "a trial without pruner and budget is complete"
    network = outcome.trained.network.cpu().eval()
    model = to_onnx(network, task)
    return {
        "what": "the same network and settings, trained under the same seed without any technique",
        "validation": outcome.metrics[metric],
        "test": metrics_of(network, task, "test")[metric],
        "parameters": stored_parameters(network),
        "float32_bytes": 4 * stored_parameters(network),
        "onnx_bytes": len(model),
        "macs": outcome.metrics.get("macs"),
        "latency_ms": timed(model, task),
    }

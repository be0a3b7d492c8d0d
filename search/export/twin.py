"""The same network trained without techniques, to stand beside an exported one."""

from typing import Any

from rich.console import Console

from kirigami import tasks
from kirigami.models.technique import stored_parameters
from kirigami.search.config.resolve import unlimited
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export.files import timed, to_onnx
from kirigami.search.export.judge import Judge
from kirigami.search.training.alone import train_draw
from kirigami.search.training.job import Job


def dense_twin(config: TrialConfig, task: tasks.Task, judge: Judge, console: Console) -> dict[str, Any]:
    """Train the same network without techniques under the same seed, and return what it scores and weighs."""
    with console.status("training the dense twin"):
        plain = unlimited(config.without_techniques().plain)
        trained = train_draw(Job(0, plain, lambda fidelity, metrics: None), task.fold)
    network = trained.network.cpu().eval()
    model = to_onnx(network, task)
    return {
        "what": "the same network and settings, trained under the same seed without any technique",
        "validation": None if task.fold is None else judge.scores(network, "validation", task)[judge.metric],
        "test": judge.scores(network, "test", task)[judge.metric],
        "parameters": stored_parameters(network),
        "float32_bytes": 4 * stored_parameters(network),
        "onnx_bytes": len(model),
        "macs": trained.costs.get("macs"),
        "latency_ms": timed(model, task),
    }

"""The answer of `confirm` for a study, where it stands in the study's folder, and whether it still holds."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

FOLDER, FILE = "confirm", "confirm.json"


def verdict_in(folder: Path) -> Mapping[str, Any] | None:
    """Return the answer in a study's folder; None where there is none that can be read."""
    with suppress(OSError, ValueError):
        answer = json.loads((folder / FOLDER / FILE).read_text())
        if isinstance(answer, dict) and isinstance(answer.get("winner"), int) and answer.get("trials"):
            return answer
    return None


def holds(answer: Mapping[str, Any], best: FrozenTrial) -> bool:
    """Return whether the study's best trial is among those that were trained anew: else the study has gone on since."""
    return any(row.get("trial") == best.number for row in answer["trials"])

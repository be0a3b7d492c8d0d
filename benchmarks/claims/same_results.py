"""The same seeded studies from two checkouts: parameters, scores and states of every trial, to the last digit.

Five studies on bundled data, one worker each: digits; digits for accuracy and bytes, pruned by successive halving of
the front; breast cancer under Hyperband; digits with trials trained by two ranks; and digits in full and, again, with
two SIGKILLs of the whole process group in the midst of a trial, each followed by the same command. The trials of the
killed study, retries in the place of what they replace, must be those of the undisturbed one.

Compared are state, parameters, objective values and the values at every rung, as Optuna's tables hold them, by the
shortest text that reads back as the same float. Seconds are left out. `OTHER` names the other side: the `kirigami` of
another checkout, or a file of its results; without it this checkout runs twice. To keep the results of a checkout:

    python -m benchmarks.claims.same_results path/to/bin/kirigami results.json
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.rig.command import COMMAND, ENV, trials
from kirigami.search.study.provenance import revision

DENSE = ("study=digits_dense", "pruner=none", "~pruner.min_resource")
STUDIES: dict[str, tuple[str, ...]] = {
    "digits": ("study=digits", "budget.trials=16"),
    "pareto": (
        "study=digits",
        "objective=[accuracy,bytes]",
        "trainer.epochs=27",
        "pruner.min_resource=3",
        "budget.trials=12",
        "budget.bytes=6000",
    ),
    "hyperband": ("study=breast_cancer", "pruner=hyperband", "budget.trials=24"),
    "ranks": (*DENSE, "trainer.devices=2", "trainer.epochs=6", "budget.trials=4"),
}
# The median pruner heeds complete trials alone, so that what a killed attempt reported decides nothing.
LONG = (
    "study=digits_dense",
    "pruner=median",
    "~pruner.min_resource",
    "sampler.n_startup_trials=5",
    "trainer.epochs=12",
    "checkpoint.every_s=0",
    "budget.trials=12",
)
STRIKES = (4, 8)  # trials that have ended before each SIGKILL
LIMIT_S = 600.0
SHOWN = 20  # differences in the record


def measure() -> dict[str, Any]:
    """Run both sides and return how many figures are equal, and the first that are not."""
    here = Path(__file__).parent
    ours = side(COMMAND, ENV, here)
    theirs = read(Path(os.environ["OTHER"])) if os.environ.get("OTHER") else side(COMMAND, ENV, here)
    table = {name: compared(ours["studies"][name], theirs["studies"][name]) for name in ours["studies"]}
    resumed = {
        "ours": compared(ours["studies"]["killed"], ours["studies"]["undisturbed"]),
        "other": compared(theirs["studies"]["killed"], theirs["studies"]["undisturbed"]),
    }
    record = {
        "ours": ours["revision"],
        "other": theirs["revision"],
        "kills": {"ours": ours["kills"], "other": theirs["kills"]},
        "studies": table,
        "killed_against_undisturbed": resumed,
    }
    return {**record, "prose": prose(record)}


def read(path: Path) -> dict[str, Any]:
    """Return the results in a file, or those of another checkout's command, which sees none of this one's paths."""
    if path.suffix == ".json":
        return dict(json.loads(path.read_text()))
    path = path.absolute()
    return side([str(path)], {name: value for name, value in ENV.items() if name != "PYTHONPATH"}, path.parent)


def side(command: Sequence[str], env: Mapping[str, str], code: Path) -> dict[str, Any]:
    """Run all studies by one command; return their trials, the kills and the revision of the folder of its code."""
    env = {**env, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    studies = {}
    for name, overrides in (*STUDIES.items(), ("undisturbed", LONG)):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(_search(command, overrides), cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
            studies[name] = shown(trials(folder, "study"))
        print(f"{name}: {len(studies[name])} trials", flush=True)
    studies["killed"], kills = killed(command, env)
    return json.loads(json.dumps({"revision": revision(code), "kills": kills, "studies": studies}))


def _search(command: Sequence[str], overrides: Sequence[str]) -> list[str]:
    return [*command, "search", *overrides, "name=study", "seed=0", "workers=1", "trainer.device=cpu"]


def shown(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what is compared of trials, in order; a trial that was run again from its parameters gives up its place.

    Args:
        rows: trials in order of their numbers; a retry has the parameters of what it replaces.
    """
    later = [{json.dumps(row.params) for row in rows[place + 1 :]} for place in range(len(rows))]
    return [
        {
            "state": row.state.name,
            "params": dict(sorted(row.params.items())),
            "values": row.values,
            "rungs": row.intermediate_values,
        }
        for row, retries in zip(rows, later, strict=True)
        if row.state.name != "FAIL" or json.dumps(row.params) not in retries
    ]


def killed(command: Sequence[str], env: Mapping[str, str]) -> tuple[list[dict[str, Any]], int]:
    """Kill a search in the midst of two trials, and then let it end; return its trials and how many were struck."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = _search(command, LONG)
        for ended in STRIKES:
            while not strike(arguments, Path(folder), env, ended):
                pass  # its trial had just ended
        subprocess.run(arguments, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        rows = trials(folder, "study")
    ends = shown(rows)
    print(f"killed: {len(ends)} trials, {len(rows) - len(ends)} kills", flush=True)
    return ends, len(rows) - len(ends)


def strike(arguments: Sequence[str], folder: Path, env: Mapping[str, str], ended: int) -> bool:
    """Kill a search in a trial that has reported, after so many have ended; return whether one was running.

    Raises:
        RuntimeError: where the search ends, or nothing of the kind happens in ten minutes.
    """
    search = subprocess.Popen(arguments, cwd=folder, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + LIMIT_S
    try:
        while not (_count(folder, "ended") >= ended and _count(folder, "reported")):
            if search.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no trial could be struck after {ended} trials: the search ended or hangs")
            time.sleep(0.05)
    finally:
        if search.poll() is None:
            os.killpg(search.pid, signal.SIGKILL)
        search.wait()
    return _count(folder, "running") == 1


QUERIES = {
    "ended": "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')",
    "running": "SELECT count(*) FROM trials WHERE state = 'RUNNING'",
    "reported": "SELECT count(*) FROM trials JOIN trial_intermediate_values USING (trial_id) WHERE state = 'RUNNING'",
}


def _count(folder: Path, what: str) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'studies.db'}?mode=ro", uri=True)) as connection:
            return int(connection.execute(QUERIES[what]).fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or busy
        return 0


def compared(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many trials and figures two lists of trials have, and which figures are not equal."""
    first, second = dict(figures(ours)), dict(figures(theirs))
    different = [key for key in first | second if first.get(key) != second.get(key)]
    return {
        "trials": [len(ours), len(theirs)],
        "figures": len(first | second),
        "different": len(different),
        "first": {key: [first.get(key), second.get(key)] for key in different[:SHOWN]},
    }


def figures(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name and exact text of each figure of trials, such as `("3 params optimizer.lr", "0.0125")`."""
    for place, row in enumerate(rows):
        yield f"{place} state", row["state"]
        for name, value in row["params"].items():
            yield f"{place} params {name}", json.dumps(value)
        for index, value in enumerate(row["values"] or []):
            yield f"{place} values {index}", json.dumps(value)
        for fidelity, value in row["rungs"].items():
            yield f"{place} rungs {fidelity}", json.dumps(value)


def prose(record: Mapping[str, Any]) -> str:
    """Say what was compared and whether all of it is equal."""
    table = record["studies"]
    different = sum(row["different"] for row in table.values())
    counts = ", ".join(f"{name} {row['trials'][0]}" for name, row in table.items())
    verdict = "all equal to the last digit" if not different else f"{different:,} differ"
    worst = sum(row["different"] for row in record["killed_against_undisturbed"].values())
    resumed = "ends as the undisturbed one" if not worst else f"differs from the undisturbed one in {worst:,} figures"
    trials = sum(row["trials"][0] for row in table.values())
    total = sum(row["figures"] for row in table.values())
    return (
        f"{record['ours']} against {record['other']}, seeded studies: {trials} trials ({counts}), {total:,} states, "
        f"parameters, values and values at rungs, {verdict}. The study killed {record['kills']['ours']} and "
        f"{record['kills']['other']} times {resumed}."
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(read(Path(sys.argv[1])), indent=1) + "\n")

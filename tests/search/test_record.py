"""What is stored of trials and studies: each fact goes round, and no other file spells the names it is stored under."""

import ast
import json
from math import inf, isnan, nan
from pathlib import Path

import pytest

from kirigami.search.study.facts import SCHEMA, Copied, StudyFacts
from kirigami.search.study.record import (
    Checkpoint,
    GivenUp,
    Origin,
    Result,
    Resumed,
    Retry,
    Rung,
    Screened,
    Worker,
    write,
)

ROOT = Path(__file__).parents[2]
WORKER = Worker("host/boot/pid:[1]", 7, "1234", 0.5)
RESULT = Result(
    state="complete",
    metrics={"accuracy": 0.9, "bytes": 2500.0},
    curve=((1, {"accuracy": 0.5}), (2, {"accuracy": 0.9})),
    wall_s=1.5,
    device_s=3.0,
    fit_s=1.2,
    devices=2,
    device="cpu",
    energy_j=10.0,
    energy_of=["package-0"],
    saved_bytes=4096,
    shrinks=True,
    resumed_from=Resumed(3, 1),
    gradients={"sent_bytes": 10, "plain_bytes": 20, "ratio": 2.0},
    similarity=[{"layers": ["a", "b"], "matrix": [[1.0, 0.5], [0.5, 1.0]], "chance": 0.4, "p": 0.1}],
    figures={"params": 100, "bytes": 2500, "density": 0.5},
)


def stored(fact):
    """Return what a store holds of a fact."""
    return json.loads(json.dumps(fact.to_attrs(), allow_nan=False))


@pytest.mark.parametrize(
    "fact",
    [
        Origin({"task": {"name": "digits"}, "seed": 3}, 3, {"torch": "2.11"}, "abc+"),
        WORKER,
        RESULT,
        Result("surplus"),
        Result("failed", "ValueError: no", raised_at="net.py:3"),
        Checkpoint("checkpoint-s-00001-0.pt", 4, "ab" * 32, 1000),
        Retry(3, 1),
        GivenUp(True, 2.5),
        GivenUp(),
        Screened("draw"),
        StudyFacts(SCHEMA, {"always": {"accuracy": 0.1}}, "f00d", Copied("sqlite:///a", "now", WORKER), {"a": 1}),
        StudyFacts(data="f00d"),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_goes_round(fact):
    assert type(fact).from_attrs(stored(fact)) == fact


def test_a_rung_goes_round():
    rung = Rung(9, 1, {"loss": 0.5, "bytes": 100.0}, 0.25)
    assert Rung.from_attrs(stored(rung), 9) == rung
    assert Rung.from_attrs(stored(rung), 3) is None


@pytest.mark.parametrize("kind", [Origin, Worker, Result, Checkpoint, Retry, Screened])
def test_what_is_not_stored_is_none(kind):
    assert kind.from_attrs({}) is None


def test_another_programs_values_are_none_of_ours():
    assert Result.from_attrs({"outcome": "red"}) is None
    assert Worker.from_attrs({"worker": "me"}) is None


def test_what_a_later_version_adds_is_left_alone():
    assert Worker.from_attrs({"worker": {**vars(WORKER), "rank": 3}}) == WORKER


def test_numbers_that_are_none_are_stored_as_text():
    result = Result("pruned", metrics={"loss": nan}, curve=((1, {"loss": inf}),))
    again = Result.from_attrs(stored(result))
    assert isnan(again.metrics["loss"])
    assert again.curve == ((1, {"loss": inf}),)


def test_a_runners_details_find_their_fields():
    details = {"fit_s": 1.0, "devices": 1, "params": 5, "init_s": 0.1, "resumed_from": {"trial": 1, "fidelity": 2}}
    result = Result.from_details(state="complete", details=details)
    assert (result.fit_s, result.devices, result.resumed_from) == (1.0, 1, Resumed(1, 2))
    assert result.figures == {"params": 5, "init_s": 0.1}
    assert {name: stored(result)["outcome"][name] for name in details} == details


def test_facts_are_written_one_by_one_and_the_identity_last():
    written = []
    facts = StudyFacts(SCHEMA, {"always": {"accuracy": 0.1}}, "f00d", None, {"a": 1})
    write(facts, lambda name, value: written.append(name))
    assert written == ["schema", "baselines", "data", "identity"]


KEYS = {
    *("origin", "worker", "outcome", "checkpoint", "retry_of", "retries", "handed_back", "lost_s", "screen"),
    *("schema", "identity", "data", "copied", "baselines", "rivals"),
}
SETTERS = ("set_user_attr", "set_trial_user_attr", "set_study_user_attr")


def spelled(tree):
    """Yield the line of every stored name that code spells: where it writes an attribute, or reads one."""
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_attrs = isinstance(node.func.value, ast.Attribute) and node.func.value.attr == "user_attrs"
            if node.func.attr in SETTERS or (of_attrs and node.func.attr in ("get", "pop")):
                parts = node.args
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            parts = [node.slice] if node.value.attr == "user_attrs" else []
        elif isinstance(node, ast.Compare) and any(
            isinstance(one, ast.Attribute) and one.attr == "user_attrs" for one in node.comparators
        ):
            parts = [node.left]
        elif isinstance(node, ast.keyword) and node.arg == "user_attrs" and isinstance(node.value, ast.Dict):
            parts = node.value.keys
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_user_attributes" in node.value:
            parts = [ast.Constant(key, lineno=node.lineno) for key in KEYS if f"'{key}'" in node.value]
        elif isinstance(node, ast.Assign) and any(
            isinstance(one, ast.Name) and one.id == "KEY" for one in node.targets
        ):
            parts = [node.value]
        for part in parts:
            text = part.values[0] if isinstance(part, ast.JoinedStr) else part
            if isinstance(text, ast.Constant) and (text.value in KEYS or str(text.value).startswith("rung:")):
                yield part.lineno


def test_the_search_for_spelled_names_finds_each_way():
    for line in (
        'trial.set_user_attr("outcome", 1)',
        'trial.user_attrs["worker"]',
        'trial.user_attrs.get("retry_of")',
        '"copied" in study.user_attrs',
        'create_trial(user_attrs={"retries": 1})',
        'trial.user_attrs[f"rung:{one}"]',
        'KEY = "worker"',
        "query = \"SELECT * FROM trial_user_attributes WHERE key = 'worker'\"",
    ):
        assert list(spelled(ast.parse(line))) == [1], line


def test_nobody_else_spells_the_names_of_stored_facts():
    record = {ROOT / "search" / "study" / name for name in ("record.py", "facts.py")}
    files = [file for room in ("search", "benchmarks") for file in sorted((ROOT / room).rglob("*.py"))]
    assert record < set(files)
    places = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        if file not in record
        for line in spelled(ast.parse(file.read_text()))
    ]
    assert places == [], "use kirigami.search.study.record"

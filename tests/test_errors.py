"""Errors speak of arguments as Python has them; the path in a config is added once, at the border."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from kirigami.errors import ArgumentError, at, choose, closest, did_you_mean
from kirigami.models.bits import Uniform
from kirigami.models.networks import ConvNet
from kirigami.models.sparsity import ContinuousSparsification
from kirigami.search.config.groups import MADE_BY
from kirigami.search.training.building import build_techniques, group_of
from kirigami.tasks import build

ROOT = Path(__file__).parent.parent
GROUPS = ("task", "output", *MADE_BY)
SPELT = re.compile(rf"(?<![\w./])(?:{'|'.join(GROUPS)})\.(?=[a-z_{{])")
ROOMS = [file for room in ("models", "tasks", "spaces") for file in sorted((ROOT / room).rglob("*.py"))]


def texts(tree: ast.AST) -> list[str]:
    """Return all strings of a module but its docstrings; what an f-string computes is `{`."""
    apart = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    apart |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    strings = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            strings.append("".join(str(part.value) if isinstance(part, ast.Constant) else "{" for part in node.values))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            strings.append(node.value)
    return strings


@pytest.mark.parametrize("file", ROOMS, ids=[str(file.relative_to(ROOT)) for file in ROOMS])
def test_rooms_below_search_know_no_path_of_the_config(file: Path) -> None:
    assert [text for text in texts(ast.parse(file.read_text())) if SPELT.search(text)] == []


def test_paths_in_messages_are_found() -> None:
    check = 'check("bits.bits", f"at {x}: sparsity.{name} is wrong", at="task.path")'
    code = f'def f():\n    """Read init.ridge."""\n    {check}'
    assert {text for text in texts(ast.parse(code)) if SPELT.search(text)} == {
        "bits.bits",
        "at {: sparsity.{ is wrong",
        "task.path",
    }


def test_a_caller_from_python_is_told_of_the_argument() -> None:
    with pytest.raises(ArgumentError, match=r"^penalty must be at least 0 and finite, but got -1\.$"):
        ContinuousSparsification(penalty=-1)
    with pytest.raises(ArgumentError, match=r"^kernel must be odd, but got 4\. Set kernel=5\.$"):
        ConvNet((1, 8, 8), 10, kernel=4)
    with pytest.raises(
        ArgumentError, match=r"^fraction must be above 0 and at most 1, but got 2\. Set fraction=1\.0\.$"
    ):
        build({"name": "digits", "fraction": 2}, seed=0)


def test_a_config_names_arguments_by_their_path() -> None:
    with pytest.raises(ArgumentError, match=r"^sparsity\.penalty must be at least 0 and finite, but got -1\.$"):
        build_techniques({"sparsity": {"method": "continuous", "penalty": -1}})


@pytest.mark.parametrize(
    ("error", "plain", "placed"),
    [
        (ArgumentError("a", "must be 1."), "a must be 1.", "x.y.a must be 1."),
        (ArgumentError("a", ": no file.", ("b", 2)), "a: no file. Set b=2.", "x.y.a: no file. Set x.y.b=2."),
        (ArgumentError("a", "=3 is odd."), "a=3 is odd.", "x.y.a=3 is odd."),
        (ArgumentError("", "two fit."), "two fit.", "x.y: two fit. Set x.y.method=none."),
        (ArgumentError("", "two fit.", ("a", 1)), "two fit. Set a=1.", "x.y: two fit. Set x.y.a=1."),
    ],
)
def test_a_path_is_put_before_every_argument(error: ArgumentError, plain: str, placed: str) -> None:
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == plain
    with pytest.raises(ArgumentError) as caught, at("x"), at("y", otherwise=("method", "none")):
        raise error
    assert caught.value is error
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == placed


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match=r"^as it was$"), at("x"):
        raise ValueError("as it was")


def test_every_technique_has_the_group_it_is_built_from() -> None:
    assert group_of(Uniform()) == "bits"
    assert group_of(ContinuousSparsification()) == "sparsity"


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(
        ArgumentError, match=r"^kind must be one of \(relu, gelu\), but got 'rleu'\. Did you mean 'relu'\?"
    ):
        choose("kind", "rleu", ["relu", "gelu"])
    assert choose("kind", "gelu", ["relu", "gelu"]) == "gelu"
    assert did_you_mean("zebra", ["relu", 8]) == ""
    assert (closest("18", [8, 3]), did_you_mean("18", [8, 3])) == (8, " Did you mean 8?")


def test_of_many_names_the_first_are_listed() -> None:
    with pytest.raises(ArgumentError, match=r"c29, \.\.\.\), but got 'd7'"):
        choose("column", "d7", [f"c{number}" for number in range(99)])

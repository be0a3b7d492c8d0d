"""Tasks are found by name, and wrong configs are answered in one line."""

import ast
from pathlib import Path

import pytest

from kirigami import tasks

HEAVY = {"pandas", "datasets", "pyarrow", "sklearn", "PIL"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "digist"}, r"name must be one of \(digits, .*\), but got 'digist'\. Did you mean 'digits'\?"),
        ({}, r"name must be one of .* but got None"),
        ({"name": "digits", "fractoin": 1}, r"fractoin is no argument of digits\. Did you mean 'fraction'\?"),
        ({"name": "digits", "zzzzzz": 1}, r"zzzzzz is no argument of digits\. It has \(fraction, coreset\)\."),
        ({"name": "digits", "seed": 1}, r"seed is no argument of digits"),
        ({"name": "table", "train": "a.csv"}, r"target is missing: table needs it\. Set target=VALUE\."),
        ({"name": "images", "path": None}, r"path is not set\. Set path=FOLDER or the .* KIRIGAMI_DATA\."),
        ({"name": "images", "path": ""}, r"path is not set"),
        ({"name": "text", "path": None}, r"path is not set"),
        ({"name": "text", "path": " "}, r"path is not set"),
        ({"name": "text", "path": "no/where"}, r"path: there is no file or folder 'no/where'"),
        ({"name": "text", "path": ".", "length": 0}, r"length must be a whole number of at least 1, but got 0"),
        ({"name": "images", "path": ".", "augment": "flip"}, r"augment must be one of \(none, flip_crop\)"),
        ({"name": "images", "path": ".", "channels": 2}, r"channels must be one of \(null, 1, 3\), but got 2"),
        ({"name": "images", "path": ".", "validation": 0}, r"validation must be a share below 1 or a number"),
        ({"name": "images", "path": ".", "rows": 0.5}, r"rows must be null or a whole number"),
        ({"name": "paths", "size": 2}, r"size must be a whole number of at least 3, but got 2"),
        ({"name": "paths", "density": 0.9}, r"density must be between 0 and 0\.6, but got 0\.9"),
        ({"name": "paths", "difficulty": 0}, r"difficulty must be above 0 and at most 1, but got 0"),
    ],
)
def test_wrong_config(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        tasks.build(config, seed=0)
    assert "\n" not in str(caught.value)


def test_build_leaves_the_config_alone() -> None:
    config = {"name": "digits", "fraction": 0.5}
    tasks.build(config, seed=0)
    assert config == {"name": "digits", "fraction": 0.5}


def test_slow_imports_wait_until_they_are_needed() -> None:
    for file in Path(tasks.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & HEAVY, file.name

"""A user's files of config: a byte order mark is nothing, and what is wrong is said in one line that names the file."""

import re
from pathlib import Path

import pytest
from hydra import compose as hydra_compose

from kirigami.search.config import compose as module
from kirigami.search.config.compose import compose
from kirigami.search.errors import InputError

HEAD = "# @package _global_\n"
READ = {
    "as it is": f"{HEAD}seed: 7\n".encode(),
    "a byte order mark": f"{HEAD}seed: 7\n".encode("utf-8-sig"),
    "line ends of Windows": f"{HEAD}seed: 7\n".replace("\n", "\r\n").encode("utf-8-sig"),
    "a remark before the package": f"# mine\n\n{HEAD}seed: 7\n".encode(),
    "no line end": f"{HEAD}seed: 7".encode(),
    "no list of defaults": f"{HEAD}defaults:\nseed: 7\n".encode(),
}
REFUSED = {
    "no package": (b"defaults:\n  - override /task: table\n", "its first line must be `# @package _global_`"),
    "another package": (b"# @package task\nseed: 1\n", "its first line must be `# @package _global_`"),
    "words behind the package": (HEAD.replace("\n", " now\n").encode(), "its first line must be"),
    "a package too late": (b"seed: 1\n# @package _global_\n", "its first line must be"),
    "empty": (b"", "mine.yaml is empty: its first line must be"),
    "a list": (f"{HEAD}- seed\n".encode(), "must hold keys and values, but holds a list"),
    "a tab": (f"{HEAD}budget:\n\ttrials: 1\n".encode(), r"line 3 cannot be read as YAML: .*Indent by blanks"),
    "a key twice": (f"{HEAD}seed: 1\nseed: 2\n".encode(), "line 3 cannot be read as YAML: found duplicate key seed"),
    "letters of another code": (f"{HEAD}name: grün\n".encode("latin-1"), "line 2 is not in UTF-8"),
    "UTF-16": (f"{HEAD}seed: 1\n".encode("utf-16"), "line 1 is not in UTF-8"),
    "a number for a key": (f"{HEAD}3: 1\n".encode(), "the key 3 is no text"),
    "defaults of a word": (f"{HEAD}defaults: digits\n".encode(), "defaults must be a list"),
    "defaults of a number": (f"{HEAD}defaults: [3]\n".encode(), "defaults: 3 names no file"),
    "no such group": (f"{HEAD}defaults: [override /tsk: table]\n".encode(), "no group '/tsk'.*Did you mean 'task'"),
    "no slash": (f"{HEAD}defaults: [override task: table]\n".encode(), "write `override /task: table`"),
    "no word": (f"{HEAD}defaults: [task: table]\n".encode(), "write `override /task: table` for `task: table`"),
}


def written(folder: Path, content: bytes, name: str = "mine") -> Path:
    file = folder / "study" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return folder


def refused(*overrides: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        compose(list(overrides), [folder])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_a_study_is_read(content, tmp_path):
    assert compose(["study=mine"], [written(tmp_path, content)])["seed"] == 7


@pytest.mark.parametrize(("content", "pattern"), REFUSED.values(), ids=REFUSED)
def test_a_study_is_refused_by_its_name(content, pattern, tmp_path):
    assert re.search(
        rf"study/mine\.yaml.*{pattern}|{pattern}", refused("study=mine", folder=written(tmp_path, content))
    )
    assert "study/mine.yaml" in refused("study=mine", folder=tmp_path)


def test_files_of_other_groups_are_read_alike(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_bytes("name: sgd\nlr: 1.0e-5\n".encode("utf-8-sig"))
    assert compose(["optimizer=slow", "space=[]"], [tmp_path])["optimizer"] == {"name": "sgd", "lr": 1e-5}

    (tmp_path / "optimizer" / "slow.yaml").write_text("- sgd\n")
    assert "optimizer/slow.yaml must hold keys and values" in refused("optimizer=slow", folder=tmp_path)


def test_studies_that_stand_on_themselves_or_on_nothing(tmp_path):
    written(tmp_path, f"{HEAD}defaults: [two]\n".encode(), "one")
    written(tmp_path, f"{HEAD}defaults: [one]\n".encode(), "two")
    written(tmp_path, f"{HEAD}defaults: [override /task: tabel]\n".encode(), "none")

    assert refused("study=one", folder=tmp_path).startswith("study=one: the defaults of its file lead back to it")
    assert "task=tabel: no such file in the config. Did you mean 'table'?" in refused("study=none", folder=tmp_path)


@pytest.mark.parametrize("override", ["optimizer.lrr=1", "optimiser=adam", "~space.netwrk", "study=digit"])
def test_an_error_is_explained_by_composing_once_more_at_most(override, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "hydra_compose", lambda *args, **more: calls.append(1) or hydra_compose(*args, **more))

    refused(override, "seed.x=1", folder=tmp_path)

    assert len(calls) <= 2


def test_a_file_that_is_called_or_lies_otherwise_is_found(tmp_path):
    written(tmp_path, HEAD.encode()).joinpath("study/mine.yaml").rename(tmp_path / "study" / "mine.yml")
    (tmp_path / "other.yaml").write_text(HEAD)

    assert "study/mine.yml is there: call it " in refused("study=mine", folder=tmp_path)
    assert "study/other.yaml." in refused("study=other", folder=tmp_path)
    assert "which is a file" in refused("study=mine", folder=tmp_path / "other.yaml")


def test_a_users_file_takes_the_place_of_ours(tmp_path):
    written(tmp_path, f"{HEAD}seed: 31\n".encode(), "digits")
    (tmp_path / "config.yaml").write_text("seed: 99\n")

    assert compose(["study=digits"], [tmp_path])["seed"] == 31
    assert compose(["study=breast_cancer"], [tmp_path])["seed"] == 0

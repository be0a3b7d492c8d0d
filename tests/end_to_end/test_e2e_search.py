"""A small study from the first run to the last: files, no-ops, a raised budget, results, refusals, determinism."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kirigami.search.command.cli import main
from kirigami.search.study.states import STATES
from tests.end_to_end.commands import SECONDS, Ended, Folder, environment, inside

STUDY = ("study=breast_cancer", "trainer.epochs=2", "pruner.min_resource=1")
FEW, MORE = "budget.trials=4", "budget.trials=6"


@dataclass(frozen=True)
class Story:
    """Two stores: `resumed` was given four trials and then two more, `direct` six at once."""

    resumed: Folder
    direct: Folder
    first: Ended
    files: set[str]
    again: Ended
    dumps: tuple[list[str], list[str]]
    raised: Ended
    results: dict[str, Any]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    resumed = Folder(tmp_path_factory.mktemp("resumed"))
    direct = Folder(tmp_path_factory.mktemp("direct"))
    first = resumed.run("search", *STUDY, FEW).check()
    files, before = resumed.files(), resumed.dump()
    again = inside(resumed, "search", *STUDY, FEW).check()
    after = resumed.dump()
    raised = resumed.run("search", *STUDY, MORE).check()
    inside(direct, "search", *STUDY, MORE).check()
    results = json.loads(inside(resumed, "results", "study=breast_cancer", "format=json", "top=3").check().out)
    return Story(resumed, direct, first, files, again, (before, after), raised, results)


def test_first_run_says_where_the_store_is(story: Story) -> None:
    assert f"sqlite:///{story.resumed.path}/studies.db" in story.first.out.splitlines()[0]
    assert "budget.trials=4 is met" in story.first.out
    assert story.first.error == ""


def test_files_lie_in_the_store_and_the_studys_folder_only(story: Story) -> None:
    own = {"studies.db", "studies", "studies/breast_cancer"}

    assert own <= story.files
    assert all(name.startswith("studies/breast_cancer/") for name in story.files - own)


def test_only_networks_of_the_best_are_kept(story: Story) -> None:
    networks = (story.resumed.path / "studies/breast_cancer/networks").glob("*")
    kept = {int(file.name.removeprefix("trial-").removesuffix(".safetensors")) for file in networks}
    trials, best = story.resumed.trials("breast_cancer"), story.results["best"]
    smallest = {
        trial.number for trial in trials if trial.user_attrs["outcome"].get("bytes", best["bytes"]) < best["bytes"]
    }

    assert best["number"] in kept
    assert all(trials[number].values == best["values"] for number in kept - smallest)
    assert all(trials[number].state.name == "COMPLETE" for number in kept)


def test_second_run_changes_nothing(story: Story) -> None:
    assert "the budget is met. Raise budget.trials to go on." in story.again.out
    assert story.again.out.count("4 trials: ") == 1
    assert story.dumps[0] == story.dumps[1]


def test_raised_budget_continues(story: Story) -> None:
    assert "resuming: 4 trials" in story.raised.out
    assert "trial    0" not in story.raised.out
    assert "trial    5" in story.raised.out
    assert [trial.number for trial in story.resumed.trials("breast_cancer")] == list(range(6))


def test_seed_decides_everything(story: Story) -> None:
    """Two stores, one by workers that the end of a budget interrupted, one in this process: equal to the last digit."""
    pairs = zip(story.resumed.trials("breast_cancer"), story.direct.trials("breast_cancer"), strict=True)
    for one, other in pairs:
        assert one.params == other.params
        assert (one.state, one.values) == (other.state, other.values)
        assert one.user_attrs["outcome"]["curve"] == other.user_attrs["outcome"]["curve"]
        assert one.intermediate_values == other.intermediate_values


def test_another_seed_decides_otherwise(story: Story) -> None:
    trials = story.direct.trials("breast_cancer")

    assert len({json.dumps(trial.params, sort_keys=True) for trial in trials}) == len(trials)


def test_each_trial_records_what_it_was_made_with(story: Story) -> None:
    for trial in story.direct.trials("breast_cancer"):
        origin = trial.user_attrs["origin"]
        assert origin["config"]["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert origin["config"]["network"]["depth"] == trial.params["network.depth"]
        assert {"python", "torch", "optuna"} <= origin["versions"].keys()


def test_results_as_json(story: Story) -> None:
    found = story.results
    trials = story.resumed.trials("breast_cancer")
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]

    assert {"study", "best", "front", "trials", "cost"} <= found.keys()
    assert {"number", "value", "bytes", "params"} <= found["best"].keys()
    assert found["trials"].keys() == set(STATES)
    assert {"wall_s", "device_s", "trials_s"} <= found["cost"].keys()
    assert found["study"] == "breast_cancer"
    assert found["best"]["value"] == max(trial.value for trial in complete)
    assert found["best"]["params"] == trials[found["best"]["number"]].params
    assert found["trials"]["complete"] == len(complete)
    assert found["trials"]["complete"] + found["trials"]["pruned"] == 6
    assert len(found["top"]) == min(3, len(complete))
    assert found["cost"]["wall_s"] > 0


def test_results_as_a_table(story: Story) -> None:
    out = inside(story.resumed, "results", "study=breast_cancer").check().out
    found = story.results

    assert "balanced_accuracy" in out
    assert f"{found['best']['value']:.4g}" in out
    assert f"{found['trials']['complete']} complete" in out
    assert "optimizer.lr=" in out


def test_studies_are_listed_with_their_whole_names(story: Story) -> None:
    out = inside(story.resumed, "studies").check().out

    assert "breast_cancer" in out
    assert "balanced_accuracy" in out


def test_unknown_study_is_named_with_the_nearest(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(story.resumed.path)

    assert main(["results", "study=breast_cancr"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "breast_cancr" in error
    assert "Did you mean 'breast_cancer'?" in error


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("task.fraction=0.5", "task.fraction: 1.0 -> 0.5"),
        ("space.optimizer.lr.high=0.5", "space.optimizer.lr.high: 0.3 -> 0.5"),
        ("~space.network.norm", "space.network.norm"),
        ("seed=1", "seed: 0 -> 1"),
        ("objective=f1", "objective: balanced_accuracy -> f1"),
    ],
)
def test_another_meaning_under_the_same_name_is_refused(
    story: Story, override: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(story.resumed.path)
    before, files = story.resumed.dump(), story.resumed.files()

    assert main(["search", *STUDY, "budget.trials=9", override]) == 2
    error = capsys.readouterr().err
    assert shown in error
    assert error.startswith("kirigami: ")
    assert error.count("\n") == 1
    assert (story.resumed.dump(), story.resumed.files()) == (before, files)


TORCH_FREE = [
    ["--help"],
    ["search", "--help"],
    ["results", "study=breast_cancer"],
    ["results", "study=breast_cancer", "format=json"],
    ["studies"],
    ["search", *STUDY, MORE],
    ["config", "study=digits"],
    ["search", "study=nowhere"],
]
ASK = """
import json, sys
from kirigami.search.command.cli import main
from kirigami.search.study.states import STATES
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit:
        pass
    found = [name for name in ("torch", "lightning", "sklearn", "pandas") if name in sys.modules]
    if found:
        sys.exit(f"{arguments} imported {found}")
"""


def test_only_workers_wait_for_torch(story: Story) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(TORCH_FREE)],
        cwd=story.resumed.path,
        env=environment({}),
        timeout=SECONDS,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


def test_reading_leaves_nothing_behind(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"storage.url=sqlite:///{story.direct.path}/studies.db"

    assert main(["results", "study=breast_cancer", url]) == 0
    assert main(["studies", url]) == 0
    assert "breast_cancer" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

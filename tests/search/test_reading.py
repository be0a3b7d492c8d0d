"""Which study and store are meant is read from the defaults where that is enough: it must be what composing says."""

import itertools
from pathlib import Path

import pytest

from kirigami.search.config import reading
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.storage import Settings
from kirigami.search.storage.server.local import located

CONF = Path(__file__).parents[2] / "conf"
STUDIES = sorted(file.stem for file in (CONF / "study").glob("*.yaml"))
OVERRIDES: list[list[str]] = [
    [],
    ["name=mine"],
    ["storage.url=sqlite:///other.db", "storage.retries=0"],
    ["storage=postgres", "storage.url='postgresql://me@host/db?passfile=/a'"],
    ["storage.artifacts=shared"],
    ["seed=3", "storage.grace_s=5"],
]


@pytest.mark.parametrize(("study", "overrides"), itertools.product(STUDIES[:3], OVERRIDES))
def test_it_is_what_composing_says(study, overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIRIGAMI_STORAGE", raising=False)
    overrides = [f"study={study}", *overrides]
    raw = compose(overrides)
    config = resolve({"name": raw["name"], "storage": raw["storage"]})
    store = Settings.read({**config["storage"], "url": located(config["storage"]["url"])})

    meant = reading.named(overrides, [])

    assert (meant.name, meant.storage) == (config["name"], store)


def test_no_study_of_ours_needs_composing(monkeypatch):
    monkeypatch.setattr(reading, "_composed", lambda overrides, config_dirs: pytest.fail("Hydra was asked"))
    assert [reading.named([f"study={study}"], []).name for study in STUDIES] == STUDIES


@pytest.mark.parametrize(
    ("text", "decides"),
    [
        ("objective: accuracy", False),
        ("defaults: [{override /task: digits}, _self_]\nseed: 1", False),
        ("# name: x\nseed: 1  # storage: none", False),
        ('"name": x', True),
        ("{seed: 1, storage: {retries: 0}}", True),
        ("defaults: [{'override /storage': postgres}]", True),
        ("defaults: [digits]", True),
        ("defaults: [{/study: digits}]", True),
        ("seed: [1", True),
        ("- 1", True),
    ],
)
def test_a_study_that_may_decide_its_place_is_composed(text, decides, tmp_path):
    (tmp_path / "study.yaml").write_text(text)
    assert reading._has_own_place(tmp_path / "study.yaml") == decides

"""The report is one self-contained page."""

import re
import shutil
import subprocess

import optuna
import pytest

from kirigami.search.config.sampler import Random
from kirigami.search.loop import Loop
from kirigami.search.proposal.pruners import Pruning
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.report.page import write_report
from kirigami.search.storage import Settings, open_storage
from kirigami.search.study.study import create
from kirigami.search.training.runners import surrogate
from kirigami.spaces import Budget, PriorSampler, Space
from tests.end_to_end.commands import SECONDS

CHROMIUM = shutil.which("chromium")
SPACE = {"x": {"low": 0.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    settings = {"url": f"sqlite:///{folder}/studies.db", "heartbeat_s": 10, "grace_s": 60}
    store = open_storage(Settings.read(settings))
    space = Space.from_config(SPACE, {"x": 0.0, "kind": "a"})
    joined = create(store, "pages <&>", {"accuracy": "maximize"}, {})
    joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)

    def evaluate(config):
        for epoch in (1, 2, 3):
            yield epoch, config["x"] * epoch / 3

    Loop(
        joined,
        space,
        surrogate(evaluate, "accuracy"),
        Budget(trials=8),
        lambda values: space.apply({"x": 0.0, "kind": "a"}, values),
        judge=Pruning(),
    ).run()
    return joined, folder


def test_report_holds_everything_it_shows(study):
    joined, folder = study
    page = write_report(joined, folder / "studies").read_text()
    best = max(trial.values[0] for trial in joined.get_trials())
    assert f"{best:.4f}" in page
    assert "pages &lt;&amp;&gt;" in page
    assert "<script src=" not in page
    assert not re.search(r"<link[^>]+href=", page)
    for title in ("History", "Learning curves", "What mattered", "Each parameter", "Timeline"):
        assert f"<h2>{title}</h2>" in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed")
def test_report_draws_its_figures_in_a_browser(study, tmp_path):
    joined, folder = study
    page = write_report(joined, folder / "drawn")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}"]
    done = subprocess.run(
        [CHROMIUM, *flags, "--virtual-time-budget=10000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    figures = page.read_text().count("<h2>")
    assert figures >= 6
    assert len(re.findall(r'class="main-svg"[^>]*><defs', done.stdout)) >= figures, done.stderr[-500:]


def test_report_of_a_study_without_trials(study):
    joined, folder = study
    empty = optuna.create_study(study_name="empty", storage=joined._storage)
    empty.set_metric_names(["accuracy"])
    assert "no complete trial yet" in write_report(empty, folder / "empty").read_text()

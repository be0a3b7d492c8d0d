"""Wrong input: exit code 2, one line that names the thing, no traceback, nothing left behind.

The command runs in this process; where a worker would start, its rehearsal runs here too. The input at the end goes the
whole way through real processes.
"""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from kirigami.search.command.cli import main
from kirigami.search.errors import InputError
from kirigami.search.workers import worker
from kirigami.search.workers.supervisor import Supervisor
from tests.end_to_end.commands import Folder

TABLE = "a,b,kind\n" + "".join(f"{n},{n * n},{'cat' if n % 2 else 'dog'}\n" for n in range(40))
FILES = {
    "rows.csv": TABLE,
    "one.csv": "a,kind\n" + "".join(f"{n},cat\n" for n in range(20)),
    "empty.csv": "",
    "foreign.db": "this is no database, but it is long enough to look like one",
    "conf/study/bad.yaml": "# @package _global_\nseed: [1\nname: x\n",
    "conf/study/typo.yaml": "# @package _global_\nbudgte: {trials: 2}\n",
    "own.py": "class Broken:\n    def __init__(self):\n        raise ValueError('no such luck')\n\n\n"
    "class Odd:\n    def __init__(self):\n        raise RuntimeError('odd')\n",
}
CANCER = "study=breast_cancer"
OWN_TABLE = [
    "study=breast_cancer",
    "network=mlp",
    "task=table",
    "task.train=rows.csv",
    "task.target=kind",
    "task.path=.",
    "space=[]",
]
OWN = [CANCER, "~space.network"]

CASES: dict[str, tuple[list[str], list[str]]] = {
    # what is asked for
    "verb": (["serach"], ["serach", "search"]),
    "no verb": (["--config-dir", "."], ["VERB"]),
    "option": (["search", "--worker", "2"], ["--worker"]),
    "word without a key": (["search", "digits"], ["'digits'", "study=digits"]),
    "study": (["search", "study=digitss"], ["study=digitss", "Did you mean 'digits'?"]),
    "group option": (["search", CANCER, "optimizer=adma"], ["optimizer=adma", "'adam'"]),
    "key": (["search", CANCER, "optimizer.lrr=1"], ["optimizer.lrr", "optimizer.lr"]),
    "added top-level key": (["search", CANCER, "+budgte=1"], ["budgte", "budget"]),
    "unparsable override": (["search", CANCER, "optimizer.lr={"], ["optimizer.lr={"]),
    "sweep": (["search", CANCER, "optimizer.lr=1,2"], ["optimizer.lr=1,2"]),
    "null group": (["search", CANCER, "optimizer=null"], ["optimizer"]),
    "config folder": (["search", "--config-dir", "nowhere"], ["--config-dir", "nowhere"]),
    "YAML": (["search", "--config-dir", "conf", "study=bad"], ["bad.yaml, line"]),
    "key in a file": (["search", "--config-dir", "conf", "study=typo"], ["budgte", "'budget'"]),
    "environment variable": (["search", "study=fashion"], ["KIRIGAMI_DATA", "task.path"]),
    # plain settings
    "workers": (["search", CANCER, "workers=0"], ["workers", "at least 1", "0"]),
    "seed": (["search", CANCER, "seed=-1"], ["seed", "-1"]),
    "name": (["search", CANCER, "name=a/b"], ["name", "'a/b'"]),
    "budget": (["search", CANCER, "budget.trials=none"], ["budget.trials", "'none'"]),
    "budget key": (["search", CANCER, "+budget.trails=3"], ["budget.trails", "budget.trials"]),
    "seconds": (["search", CANCER, "budget.wall_s=-1"], ["budget.wall_s", "-1"]),
    "objective": (["search", CANCER, "objective=acuracy"], ["objective", "'acuracy'", "'accuracy'"]),
    "objective of another kind": (["search", CANCER, "objective=rmse"], ["objective", "'rmse'", "auc"]),
    "objective direction": (["search", CANCER, "objective={auc: up}"], ["objective.auc", "'up'", "maximize"]),
    "objective number": (["search", CANCER, "objective=3"], ["objective", "3"]),
    "no objective": (["search", CANCER, "objective=[]"], ["objective", "[]"]),
    "objective twice": (["search", CANCER, "objective=[auc,auc]"], ["objective", "auc"]),
    # the search
    "range": (["search", CANCER, "space.optimizer.lr.low=2"], ["space.optimizer.lr", "low=2"]),
    "range of words": (["search", CANCER, "space.optimizer.lr.low=abc"], ["space.optimizer.lr.low", "'abc'"]),
    "path": (
        ["search", CANCER, "+space.optimizer.lrr={low: 1,high: 2}"],
        ["space.optimizer.lrr", "space.optimizer.lr"],
    ),
    "value for a range": (["search", CANCER, "space.optimizer.lr=0.1"], ["space.optimizer.lr", "~space.optimizer.lr"]),
    "choice of a target": (
        ["search", CANCER, "space.network.activation.choices=[relu,rleu]"],
        ["space.network.activation", "'rleu'", "Did you mean 'relu'?"],
    ),
    "end of a range": (
        ["search", CANCER, "space.network.width.low=-4", "space.network.width.log=false"],
        ["width", "-4"],
    ),
    "space": (["search", CANCER, "space=[optimzer]"], ["optimzer", "Did you mean 'optimizer'?"]),
    "sampler": (["search", CANCER, "sampler=tpee"], ["sampler=tpee", "'tpe'"]),
    "sampler argument": (["search", CANCER, "+sampler.n_startup=3"], ["sampler.n_startup", "n_startup_trials"]),
    "sampler value": (["search", CANCER, "sampler.n_startup_trials=few"], ["sampler", "few"]),
    "sampler for several": (["search", CANCER, "sampler=gp", "objective=[auc,params]"], ["sampler", "gp", "nsga2"]),
    "pruner value": (["search", CANCER, "pruner.min_resource=0"], ["pruner", "min_resource", "0"]),
    # the store
    "url": (["search", CANCER, "storage.url=mystore"], ["storage.url", "'mystore'"]),
    "folder of the store": (["search", CANCER, "storage.url=sqlite:///no/such.db"], ["storage.url", "no/such.db"]),
    "foreign file": (["search", CANCER, "storage.url=sqlite:///foreign.db"], ["storage.url", "foreign.db"]),
    "heartbeat": (["search", CANCER, "storage.heartbeat_s=0"], ["storage.heartbeat_s", "0"]),
    "no store to read": (["results", CANCER], ["studies.db", "does not exist"]),
    "format": (["results", CANCER, "format=xml"], ["format", "'xml'", "json"]),
    "top": (["results", CANCER, "top=all"], ["top", "'all'"]),
    # training
    "epochs": (["search", CANCER, "trainer.epochs=0"], ["trainer.epochs", "0"]),
    "steps between validations": (["search", CANCER, "trainer.val_every=7"], ["trainer.val_every", "7"]),
    "batch size": (["search", CANCER, "trainer.batch_size=64.0"], ["trainer.batch_size", "64.0"]),
    "precision": (["search", CANCER, "trainer.precision=8"], ["trainer.precision", "8", "32-true"]),
    "device": (["search", CANCER, "trainer.device=cuda:99"], ["trainer.device", "'cuda:99'", "cpu"]),
    "trainer key": (["search", CANCER, "+trainer.epoch=3"], ["trainer.epoch", "'epochs'"]),
    "rate": (["search", CANCER, "optimizer.lr=abc", "~space.optimizer.lr"], ["optimizer.lr", "'abc'"]),
    "optimizer argument": (["search", CANCER, "+optimizer.betas=1"], ["optimizer.betas"]),
    "schedule": (["search", CANCER, "schedule.rise=7"], ["schedule.rise", "7"]),
    "loss": (["search", CANCER, "output.loss=mse"], ["output.loss", "'mse'", "cross_entropy"]),
    "output key": (["search", CANCER, "+output.smooth=1"], ["output.smooth"]),
    # the network
    "width": (["search", *OWN, "network.width=0"], ["network.width", "0"]),
    "width not whole": (["search", *OWN, "network.width=1.5"], ["network.width", "1.5"]),
    "network for the task": (["search", *OWN, "network=convnet"], ["network.name", "'convnet'", "mlp"]),
    "network's key": (["search", *OWN, "+network.widht=8"], ["network.widht", "'width'"]),
    "own network unknown": (["search", *OWN, "network._target_=nowhere.Net"], ["network._target_", "nowhere"]),
    "own network without module": (["search", *OWN, "network._target_=Net"], ["network._target_", "'Net'"]),
    "own network no class": (["search", *OWN, "network._target_=math.pi"], ["network._target_", "math.pi"]),
    "own network no network": (["search", *OWN, "network._target_=datetime.date.today"], ["network._target_"]),
    "own network raises": (
        ["search", *OWN, "network._target_=own.Broken"],
        ["network._target_", "own.Broken", "no such luck"],
    ),
    "own network raises in its own way": (
        ["search", *OWN, "network._target_=own.Odd"],
        ["network._target_", "own.Odd"],
    ),
    "own network not named": (["search", *OWN, "network=own"], ["network._target_"]),
    # the data
    "task": (["search", CANCER, "task=digts"], ["task=digts", "'digits'"]),
    "fraction": (["search", CANCER, "task.fraction=2"], ["task.fraction", "2"]),
    "task key": (["search", CANCER, "+task.fractoin=1"], ["task.fractoin", "'fraction'"]),
    "data file": (["search", *OWN_TABLE, "task.train=rws.csv"], ["task.train", "'rws.csv'", "rows.csv"]),
    "data folder": (["search", *OWN_TABLE, "task.path=nowhere"], ["task.path", "'nowhere'"]),
    "column": (["search", *OWN_TABLE, "task.target=kid"], ["task.target", "'kid'", "'kind'"]),
    "dropped column": (["search", *OWN_TABLE, "task.drop=[c]"], ["task.drop", "'c'"]),
    "one class": (["search", *OWN_TABLE, "task.train=one.csv"], ["task.target"]),
    "empty file": (["search", *OWN_TABLE, "task.train=empty.csv"], ["task.train", "empty.csv"]),
    "no target": (["search", CANCER, "task=table", "space=[]", "network=mlp", "task.train=rows.csv"], ["task.target"]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder with a user's files, where a worker rehearses in this process instead of in its own."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("KIRIGAMI_DATA", raising=False)
    monkeypatch.setattr(Supervisor, "run", rehearse)
    return Folder(tmp_path)


def rehearse(supervisor: Supervisor) -> str:
    """Do what the first worker does before its first trial."""
    try:
        worker.prepare(supervisor.launcher.orders[0], threading.Event())
    except InputError:
        raise
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    raise AssertionError("wrong input was accepted")


def studies(store: Path) -> list[str]:
    """Return the names of the studies in a store; none where there is no store."""
    if not store.exists():
        return []
    with closing(sqlite3.connect(store)) as connection:
        return [name for (name,) in connection.execute("SELECT study_name FROM studies")]


def check(error: str, named: list[str]) -> None:
    assert error.startswith("kirigami: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    assert [name for name in named if name not in error] == [], error


@pytest.mark.parametrize(("arguments", "named"), CASES.values(), ids=CASES)
def test_wrong_input(
    folder: Folder, arguments: list[str], named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder.files()
    code = main(arguments)
    shown = capsys.readouterr()

    assert code == 2
    check(shown.err, named)
    assert "Traceback" not in shown.out
    assert folder.files() - before <= {"studies.db"}
    assert studies(folder.path / "studies.db") == []
    assert (folder.path / "foreign.db").read_text() == FILES["foreign.db"]


def test_password_is_not_shown(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    url = "storage.url=postgresql+psycopg://me:secret@127.0.0.1:1/x"

    assert main(["search", CANCER, url]) == 2
    shown = capsys.readouterr()
    check(shown.err, ["storage.url", "me:***@127.0.0.1"])
    assert "secret" not in shown.err + shown.out


def test_wrong_input_that_a_worker_finds(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(TABLE)
    folder = Folder(tmp_path)
    ended = folder.run("search", *OWN_TABLE, "task.train=rws.csv").check(2)

    check(ended.error, ["task.train", "'rws.csv'", "rows.csv"])
    assert folder.files() <= {"rows.csv", "studies.db"}
    assert studies(tmp_path / "studies.db") == []

"""`kirigami new` looks at data and writes a study that the search takes as it is."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirigami.search.command.cli import main
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.drafting.sizes import sizes_of

ROWS = 240


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def table() -> Path:
    """A table with a nameless counter, ids, dates, gaps, texts that are names, and letters of the world."""
    generator = np.random.default_rng(0)
    size, plan = generator.normal(size=ROWS), generator.choice(["basic", "größer"], ROWS)
    churned = np.where(size + (plan == "basic") + generator.normal(size=ROWS) > 1.2, "yes", "no")
    lines = [",customer_id,Größe (cm),plan,since,note,churned"]
    for row in range(ROWS):
        gap = "" if row % 9 == 0 else f"{size[row]:.3f}"
        day = np.datetime64("2020-01-01") + int(generator.integers(900))
        lines.append(f"{row},{7000 + 3 * row},{gap},{plan[row]},{day},note {row},{churned[row]}")
    file = Path("über${x}, %31?.csv")
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def config_of(name: str, folder: str = "conf") -> dict:
    return resolve(compose([f"study={name}"], [Path(folder)]))


def test_a_table(table, capsys):
    assert main(["new", str(table), "target=churned", "name=churn"]) == 0

    shown, config = capsys.readouterr().out, config_of("churn")
    task = config["task"]
    assert (task["train"], task["target"]) == (str(table), "churned")
    assert set(task["drop"]) == {"Unnamed: 0", "customer_id", "note"}
    assert "left out 'customer_id': it names the rows" in shown
    assert "'since' holds dates" in shown
    assert "2 classes (no " in shown
    assert config["objective"] == "balanced_accuracy"
    assert "# or validation: {folds: 5}, so that every row judges once" in Path("conf/study/churn.yaml").read_text()
    assert 0 < config["pruner"]["n_startup_trials"] < config["budget"]["trials"]
    assert config["pruner"]["n_warmup_steps"] < config["trainer"]["epochs"]
    assert 2000 < config["budget"]["bytes"] < 20000
    assert [line.split()[1] for line in shown.splitlines()[-3:]] == ["search", "export", "predict"]
    assert "kirigami search --config-dir conf study=churn" in shown


def test_it_writes_over_nothing_and_leaves_nothing_behind(table, capsys):
    Path("conf/study").mkdir(parents=True)
    Path("conf/study/mine.yaml").write_text("mine")
    refused = {
        ("target=churned", "name=mine"): "conf/study/mine.yaml is there already, and is not overwritten",
        ("target=churnd",): "target must be one of",
        (): "target= is not set: the column of .* Columns: .*churned. Set target=churned, say",
        ("target=churned", "name=a/b"): "name must be a name that a file can have",
        ("target=churned", "task.missing=some"): r"task\.missing must be one of",
        ("target=churned", "task.drop=3"): r"task\.drop must be a list of columns, but got 3",
        ("target=churned", "task.train=a.csv"): r"task\.train is said by the file",
        ("target=churned", "trainer.epochs=3"): "new takes DATA, but got 2 of them: .*, trainer.epochs=3",
    }
    for words, line in refused.items():
        assert main(["new", str(table), *words]) == 2
        assert re.search(line, capsys.readouterr().err)
    assert [file.name for file in Path("conf/study").iterdir()] == ["mine.yaml"]
    assert Path("conf/study/mine.yaml").read_text() == "mine"


def test_knobs_of_the_task_and_the_folder_are_the_users(table):
    command = ["target=Größe (cm)", "task.drop=[note]", "task.validation=0.3", "to=own, (2)", "name=size"]
    assert main(["new", str(table), *command]) == 2, "a target with gaps is refused"
    text = table.read_text(encoding="utf-8").splitlines()
    full = Path("full.csv")
    full.write_text("\n".join(line for line in text if ",,größer" not in line and ",,basic" not in line))
    assert main(["new", str(full), *command]) == 0

    config = config_of("size", "own, (2)")
    assert config["objective"] == "rmse"
    assert config["task"]["validation"] == 0.3
    assert "note" in config["task"]["drop"]


def test_pictures(capsys):
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        folder = Path("pictures") / name
        folder.mkdir(parents=True)
        for number in range(24):
            pixels = generator.integers(0, 256, (70 + number % 2, 72, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")

    assert main(["new", "pictures"]) == 0
    config = config_of("pictures")
    assert (config["task"]["path"], config["task"]["size"], config["task"]["validation"]) == ("pictures", 64, 0.25)
    assert (config["network"]["name"], config["objective"]) == ("convnet", "accuracy")
    assert "brought to 64 pixels" in capsys.readouterr().out
    assert main(["new", "pictures/a/0.png"]) == 2
    assert "is one picture. Name the folder" in capsys.readouterr().err


def test_a_text():
    Path("book.txt").write_text("the cat sat on the mat. " * 400)

    assert main(["new", "book.txt"]) == 0
    config = config_of("book")
    assert (config["task"]["path"], config["network"]["name"], config["objective"]) == ("book.txt", "gru", "bits")


@pytest.mark.parametrize("rows", [30, 1000, 50_000, 2_000_000])
def test_a_trial_takes_as_long_for_any_number_of_rows(rows, monkeypatch):
    monkeypatch.setattr("kirigami.search.drafting.sizes._weights", lambda *_: 1000)

    class Look:
        name = "table"

    Look.rows = rows
    sizes = sizes_of(Look)
    steps = rows * sizes.fraction * sizes.epochs / sizes.batch_size

    assert 50 <= steps <= 5000
    assert 9 <= sizes.epochs <= 60
    assert sizes.bytes == 5500

"""Export: from a study's trial to files that agree with each other, on the command line and read back."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas
import pytest
import torch
from PIL import Image

from kirigami import models, tasks
from kirigami.search.command import cli
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.sampler import Random
from kirigami.search.config.settings import TrialConfig
from kirigami.search.loop import Loop
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.storage import Settings, open_storage
from kirigami.search.study.study import check_data, create
from kirigami.search.training import alone as trial
from kirigami.search.training import building
from kirigami.search.training.runners import Solo
from kirigami.spaces import Budget, PriorSampler, Space

pytestmark = pytest.mark.usefixtures("operators_once")

NAME = "small"
OVERRIDES = [
    *(
        "study=digits_dense",
        "~space.network",
        "space=[]",
        "sparsity=magnitude",
        "bits=uniform",
        "network.width=8",
        "network.multiplier=1",
    ),
    *("trainer.epochs=6", "trainer.device=cpu", "sparsity.density=0.3", f"name={NAME}"),
]
SPACE = {"bits": {"bits": {"choices": [2, 8]}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Search a little, and return where the store is."""
    folder = tmp_path_factory.mktemp("export")
    url = f"sqlite:///{folder}/studies.db"
    raw = compose([*OVERRIDES, f"storage.url={url}"])
    config = resolve(raw)
    space = Space.from_config(SPACE, config)
    store = open_storage(Settings.read(config["storage"]))
    study = create(store, NAME, {"accuracy": "maximize", "bytes": "minimize"}, {})
    study.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)
    check_data(study, building.open_task(TrialConfig.from_resolved(config)).fingerprint())
    networks = folder / "studies" / NAME / "networks"
    Loop(
        study,
        space,
        Solo(trial.train),
        Budget(trials=3),
        lambda values: resolve(space.apply(raw, values)),
        store,
        folder=networks,
    ).run()
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    """Export the best trial by the command, with its dense twin."""
    assert command(folder, "export") == 0
    return folder / "studies" / NAME / "export"


def command(folder: Path, verb: str, *options: str) -> int:
    return cli.main([verb, f"name={NAME}", f"storage.url=sqlite:///{folder}/studies.db", *options])


def test_folder_holds_what_a_stranger_needs(exported: Path) -> None:
    assert {file.name for file in exported.iterdir()} == {"model.onnx", "model.kgm", "card.md", "card.json"}
    card = json.loads((exported / "card.json").read_text())
    assert card["bytes"] == {name: (exported / name).stat().st_size for name in ("model.onnx", "model.kgm")}
    assert card["test"]["interval"][0] <= card["test"]["value"] <= card["test"]["interval"][1]
    judged = card["validation"]
    assert judged["optimism"] == pytest.approx(judged["value"] - card["test"]["value"])  # of accuracy, more is better
    assert 0 < judged["error"] < 0.05
    assert card["dense_twin"]["float32_bytes"] > 3 * card["bytes"]["model.kgm"]
    assert card["search"]["trials"] == 3
    assert len(card["sha256_of_tensors"]) == len(card["tensors"])
    page = (exported / "card.md").read_text()
    assert f"{card['test']['value']:.4f}" in page
    assert "masks | save size, not time" in page


def test_snippet_of_the_card_runs(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippet = (exported / "card.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(snippet, names)
    assert names["outputs"].shape == (1, 10)  # type: ignore[attr-defined]
    assert float(names["rows"].max()) == pytest.approx(63 * 4 / 255 * 16)  # type: ignore[attr-defined]


def test_all_forms_score_what_the_card_says(exported: Path) -> None:
    card = json.loads((exported / "card.json").read_text())
    task = tasks.build({"name": "digits"}, seed=0)
    task.setup("test")
    assert task.test is not None
    targets = task.test.targets.numpy()
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    outputs = session.run(None, {"input": task.raw_test().numpy()})[0]
    assert (outputs.argmax(1) == targets).mean() == pytest.approx(card["test"]["value"])
    network = models.load(exported / "model.kgm")
    with torch.no_grad():
        found = network(task.test.inputs).numpy()
    assert (found.argmax(1) == outputs.argmax(1)).all()
    assert np.abs(found - outputs).max() < 1e-3
    assert session.get_modelmeta().custom_metadata_map["classes"] == json.dumps(
        list("0123456789"), separators=(",", ":")
    )


def test_file_loads_into_a_network_of_ones_own(exported: Path, tmp_path: Path) -> None:
    card = json.loads((exported / "card.json").read_text())
    config = {key.partition(".")[2]: one for key, one in card["config"].items() if key.startswith("network.")}
    own = models.build_network(config, in_shape=(1, 8, 8), out_features=10)
    loaded = models.load(exported / "model.kgm", network=own)
    assert loaded is own
    inputs = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(inputs), models.load(exported / "model.kgm")(inputs))
    with pytest.raises(ValueError, match=r"features"):
        models.load(exported / "model.kgm", network=torch.nn.Linear(2, 2))


def test_compact_file_holds_the_onnx(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "again.onnx"
    assert cli.main(["inspect", str(exported / "model.kgm"), "--unpack", f"to={to}"]) == 0
    assert to.read_bytes() == (exported / "model.onnx").read_bytes()
    assert "as card.json says" in capsys.readouterr().out
    assert cli.main(["inspect", str(exported / "model.onnx")]) == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.kgm", b"", "another format"),
        ("model.kgm", b"PK\x03\x04" + bytes(100), "another format"),
        ("model.onnx", b"no model at all", "no sound ONNX"),
    ],
)
def test_foreign_file_is_refused_in_one_line(
    name: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert cli.main(["inspect", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["model.kgm", "model.onnx"])
def test_changed_file_is_refused(name: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((exported / name).read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / name).write_bytes(data)
    (tmp_path / "card.json").write_text((exported / "card.json").read_text())
    assert cli.main(["inspect", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["model.kgm", "model.onnx"])
def test_rows_of_a_table_are_classified(name: str, exported: Path, tmp_path: Path) -> None:
    task = tasks.build({"name": "digits"}, seed=0)
    task.setup("test")
    assert task.test is not None
    rows = pandas.DataFrame(task.raw_test().flatten(1).numpy())
    rows.columns = [f"pixel {one}" for one in rows.columns]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    to = tmp_path / "found.csv"
    assert cli.main(["predict", str(exported / name), str(tmp_path / "rows.csv"), f"to={to}"]) == 0
    found = pandas.read_csv(to)
    card = json.loads((exported / "card.json").read_text())
    assert (found["class"].to_numpy() == task.test.targets.numpy()).mean() == pytest.approx(card["test"]["value"])
    assert found["share"].between(0.1, 1).all()


def test_images_are_classified(exported: Path, tmp_path: Path) -> None:

    for number in range(3):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    to = tmp_path / "found.csv"
    assert cli.main(["predict", str(exported / "model.kgm"), str(tmp_path), f"to={to}"]) == 0
    assert [Path(one).name for one in pandas.read_csv(to)["input"]] == ["0.png", "1.png", "2.png"]


def test_images_in_a_parquet_are_classified(exported: Path, tmp_path: Path) -> None:
    import io

    cells = []
    for number in range(3):
        written = io.BytesIO()
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(written, "png")
        cells.append({"bytes": written.getvalue(), "path": None})
    pandas.DataFrame({"image": cells, "label": [0, 1, 2]}).to_parquet(tmp_path / "rows.parquet")
    to = tmp_path / "found.csv"
    assert cli.main(["predict", str(exported / "model.onnx"), str(tmp_path / "rows.parquet"), f"to={to}"]) == 0
    assert len(pandas.read_csv(to)) == 3


@pytest.mark.parametrize(
    ("rows", "said"), [("a,b\n1,2\n", "2 columns of numbers, but the network takes 64"), (None, "no such file")]
)
def test_rows_of_another_shape_are_refused(
    rows: str | None, said: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if rows is not None:
        (tmp_path / "rows.csv").write_text(rows)
    assert cli.main(["predict", str(exported / "model.onnx"), str(tmp_path / "rows.csv")]) == 2
    assert said in capsys.readouterr().err


def test_front_is_exported_and_what_was_not_kept_is_trained_again(folder: Path, exported: Path) -> None:
    networks = folder / "studies" / NAME / "networks"
    dropped = min(networks.iterdir())
    before = models.compact.encoded_bytes(_kept(dropped))
    dropped.unlink()
    assert command(folder, "export", "trial=front", "twin=false") == 0
    found = sorted(exported.glob("trial-*/card.json"))
    assert len(found) == len(list(networks.iterdir()))
    assert not (exported / "model.kgm").exists()  # the folder is replaced as a whole
    assert models.compact.encoded_bytes(_kept(dropped)) == before


def _kept(path: Path) -> torch.nn.Module:
    return building.load(path)[0]


def test_forms_that_disagree_leave_the_old_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = folder / "studies" / NAME / "export"
    before = {file: file.read_bytes() for file in target.rglob("*") if file.is_file()}
    assert before
    from kirigami.search.export import parity

    outputs = parity.onnx_outputs
    monkeypatch.setattr(parity, "onnx_outputs", lambda *args, **options: -outputs(*args, **options))
    assert command(folder, "export", "twin=false") == 1
    error = capsys.readouterr().err
    assert "disagrees with the trained network" in error
    assert {file: file.read_bytes() for file in target.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["trial=7"], "trial=7 of study=small is not there"),
        (["trial=all"], "trial must be chosen, best, front or a trial's number, but got 'all'"),
        (["tolerance=2"], "tolerance must be a number from 0 to 1, but got '2'"),
        (["twin=maybe"], "twin must be true or false"),
        (["name=other"], "study=other: not in the store"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(folder, "export", *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_code_that_a_file_names_is_not_imported(exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.kgm"
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    file.write_bytes(
        models.compact.encode(network, extra={"about": b'{"network":{"_target_":"evil.Net"},"shapes":{}}'})
    )
    with pytest.raises(ValueError, match=r"evil\.Net, which is no built-in one\. Build it and pass it"):
        models.load(file)
    assert "evil" not in sys.modules
    assert models.load(file, network=torch.nn.Sequential(torch.nn.Linear(2, 2))) is not None

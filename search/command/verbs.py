"""The verbs of the `kirigami` command. What a verb needs is imported when it is run; nothing here imports torch."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kirigami.search.errors import masked, one_of

if TYPE_CHECKING:
    from kirigami.search.config.reading import Named


class Verb(NamedTuple):
    """A verb of the command: what it does, its own key=value options, its function, the files and flags it takes.

    A verb that takes files reads no config, and gets the files where others get overrides. Nor does one that is not
    `configured`: it takes its own options alone.
    """

    summary: str
    options: dict[str, Any]
    run: Callable[[list[str], list[Path], dict[str, Any]], int]
    files: tuple[str, ...] = ()
    flags: dict[str, str] = {}
    told: dict[str, str] = {}
    configured: bool = True


def search(overrides: list[str], config_dirs: list[Path], _options: dict[str, Any]) -> int:
    """Run, resume or join a study."""
    from kirigami.search.command.search import run_study
    from kirigami.search.config.compose import compose

    return run_study(compose(overrides, config_dirs), config_dirs)


def results(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Print what a study has found."""
    from rich.console import Console

    from kirigami.search.config.reading import named
    from kirigami.search.report import results as printing
    from kirigami.search.study import study as studies

    if options["format"] not in ("table", "json"):
        raise one_of("format", options["format"], ("table", "json"))
    meant = named(overrides, config_dirs)
    study = studies.known(_open(meant), meant.name)
    if options["format"] == "json":
        printing.print_json(study, options["top"])
    else:
        printing.print_table(study, options["top"], Console())
    return 0


def ledger(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Print what a study has cost."""
    from kirigami.search.config.reading import named
    from kirigami.search.report import accounts
    from kirigami.search.study import study as studies

    for name, known in (("format", accounts.FORMATS), ("by", accounts.BY)):
        if options[name] not in known:
            raise one_of(name, options[name], known)
    meant = named(overrides, config_dirs)
    study = studies.known(_open(meant), meant.name)
    accounts.print_account(study, meant.folder, options["by"], options["format"])
    return 0


def report(overrides: list[str], config_dirs: list[Path], _options: dict[str, Any]) -> int:
    """Write an HTML page with the study's figures."""
    from kirigami.search.config.reading import named
    from kirigami.search.report.page import write_report
    from kirigami.search.study import study as studies

    meant = named(overrides, config_dirs)
    study = studies.known(_open(meant), meant.name)
    print(write_report(study, meant.folder))
    return 0


def list_studies(overrides: list[str], config_dirs: list[Path], _options: dict[str, Any]) -> int:
    """List the studies in the store."""
    import optuna
    from rich.console import Console

    from kirigami.search import storage
    from kirigami.search.config.reading import named
    from kirigami.search.report import results

    meant = named(overrides, config_dirs)
    store = _open(meant)
    print(f"store {storage.shown(meant.storage.url)}")
    names = sorted(optuna.get_all_study_names(store))
    ours = [optuna.load_study(study_name=name, storage=store) for name in names]
    Console().print(results.studies_table([results.summary(study) for study in ours]))
    return 0


def show_config(overrides: list[str], config_dirs: list[Path], _options: dict[str, Any]) -> int:
    """Print the composed config as YAML."""
    from omegaconf import OmegaConf

    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve

    print(masked(OmegaConf.to_yaml(resolve(compose(overrides, config_dirs)))), end="")
    return 0


def export(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Write a trial's network as files that run elsewhere."""
    from rich.console import Console

    from kirigami.search.config.reading import named
    from kirigami.search.storage.artifacts import open_artifacts
    from kirigami.search.study import study as studies

    meant = named(overrides, config_dirs)
    study = studies.known(_open(meant), meant.name)
    shared = open_artifacts(meant.storage.artifacts, meant.folder) if meant.storage.artifacts else None
    from kirigami.search.config import own_code
    from kirigami.search.export.run import Options, export_study  # torch comes with it: after what can be said without

    own_code.add_folders([Path.cwd(), *config_dirs])
    asked = Options.read(options)
    print(export_study(study, meant.folder, asked, Console(soft_wrap=True), shared))
    return 0


def lr_range(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Find a study's learning rates by a range test."""
    from kirigami.search.comparing.range_test import lr_range as run

    return run(overrides, config_dirs, options)


def inspect(files: list[str], _config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Verify and describe an exported file."""
    from kirigami.search.export.inspecting import inspect_file

    inspect_file(Path(files[0]), unpack=options["unpack"], to=Path(options["to"]) if options["to"] else None)
    return 0


def predict(files: list[str], _config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Classify rows or images by an exported file."""
    from kirigami.search.export.predict import predict as predict_rows

    written = predict_rows(Path(files[0]), Path(files[1]), Path(options["to"]) if options["to"] else None)
    if written is not None:
        print(written)
    return 0


def compare(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Compare the values of one dimension by paired repeats."""
    from kirigami.search.command.compare import compare as run

    return run(overrides, config_dirs, options)


def confirm(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Train a study's leaders under new seeds and name the winner."""
    from kirigami.search.command.compare import confirm as run

    return run(overrides, config_dirs, options)


def screen(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Train draws of a study's space for an epoch and queue the best for its search."""
    from kirigami.search.command.screen import screen as run

    return run(overrides, config_dirs, options)


def store(_overrides: list[str], _config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Start, stop or ask after a Postgres store in the folder `store`."""
    from kirigami.search.command.store import store as run

    return run(options)


def copy(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Copy a study to another store."""
    from kirigami.search.command.copy import copy as run

    return run(overrides, config_dirs, options)


def dashboard(overrides: list[str], config_dirs: list[Path], options: dict[str, Any]) -> int:
    """Serve the Optuna dashboard on the store."""
    from kirigami.search import storage
    from kirigami.search.config.reading import named
    from kirigami.search.report.dashboard.serving import Options, serve
    from kirigami.search.storage.optuna_private import study_id_of
    from kirigami.search.study import study as studies

    asked = Options(**options)
    meant = named(overrides, config_dirs)
    store = _open(meant)
    print(f"store {storage.shown(meant.storage.url)}")
    given = any(one.startswith(("study=", "name=")) for one in overrides)
    serve(store, asked, study_id_of(studies.known(store, meant.name)) if given else None)
    return 0


VERBS = {
    "search": Verb("run, resume or join a study", {}, search),
    "results": Verb("print what a study has found", {"format": "table", "top": 10}, results),
    "ledger": Verb(
        "print what a study has cost: seconds, device seconds, energy, bytes, money",
        {"by": "worker", "format": "table"},
        ledger,
        told={"by": "worker, trial, or state", "format": "table, json, or csv"},
    ),
    "report": Verb("write an HTML page with a study's figures", {}, report),
    "export": Verb(
        "write the best network of a study as files that run elsewhere",
        {"trial": "best", "tolerance": "0.005", "twin": "true", "path": ""},
        export,
        told={
            "trial": "best, front, or a trial's number",
            "tolerance": "share of the validation score that the last cuts may cost",
            "twin": "train the same network without techniques, to stand beside it",
            "path": "where the data lie now, if not where the trial read them",
        },
    ),
    "compare": Verb(
        "tell by paired repeats whether a choice matters",
        {
            "over": "",
            "values": "",
            "reference": "",
            "against": "",
            "repeats": 20,
            "margin": "0.02",
            "from": "auto",
            "metric": "",
            "format": "table",
        },
        compare,
        told={
            "over": "what to compare: a leaf of the config, a group of files, or study",
            "values": "a list such as [0.5,1.0]; by default all choices of the study's space",
            "reference": "what the others are compared with; by default the config's own value",
            "against": "the other study, for over=study",
            "repeats": "seeds, which all values share",
            "margin": "the largest difference that does not matter, in the metric's unit",
            "from": "where all else comes from: best (trial), config, or auto",
            "metric": "of the validation rows; by default the first objective",
            "format": "table or json",
        },
    ),
    "confirm": Verb(
        "train a study's leaders under new seeds and name the winner",
        {"top": 5, "seeds": 10, "format": "table"},
        confirm,
        told={"top": "how many leaders", "seeds": "how many new seeds", "format": "table or json"},
    ),
    "screen": Verb(
        "train draws of a study's space for an epoch and queue the best for its search",
        {"draws": 30, "top": 10, "epochs": 1, "by": "score", "format": "table"},
        screen,
        told={
            "draws": "how many configurations are drawn and trained",
            "top": "how many of them the next `kirigami search` trains first",
            "epochs": "for which each is trained",
            "by": "score, smoothness (largest Kz/|W| first, as published), or flatness (smallest first)",
            "format": "table or json",
        },
    ),
    "inspect": Verb(
        "verify and describe an exported file",
        {"to": ""},
        inspect,
        files=("FILE",),
        flags={"unpack": "write the ONNX that a compact file holds"},
        told={"to": "where --unpack writes; by default beside the file"},
    ),
    "predict": Verb(
        "classify the rows of a table, or images, by an exported file",
        {"to": ""},
        predict,
        files=("FILE", "DATA"),
        told={"to": "the CSV to write; by default it is printed"},
    ),
    "lr-range": Verb(
        "find a study's learning rates by an LR range test, the learning-rate finder",
        {"lowest": "1e-6", "highest": "10", "steps": 100, "format": "table"},
        lr_range,
        told={
            "lowest": "the first rate",
            "highest": "the last rate",
            "steps": "how many rates, each a step of training",
            "format": "table or json",
        },
    ),
    "store": Verb(
        "start a Postgres store in ./store, for workers on many machines",
        {"action": "start", "host": "", "port": ""},
        store,
        told={
            "action": "start, status or stop",
            "host": "the address to listen on: at first 127.0.0.1, this machine alone; 0.0.0.0 lets others in",
            "port": "at first 5433, or the next that is free; then the same again",
        },
        configured=False,
    ),
    "copy": Verb(
        "copy a study with all its trials to another store",
        {"to": ""},
        copy,
        told={"to": "the other store's URL, or `store` for the one that `kirigami store` started here"},
    ),
    "studies": Verb("list the studies in the store", {}, list_studies),
    "config": Verb("print the composed config of a study", {}, show_config),
    "dashboard": Verb(
        "serve the Optuna dashboard on the store",
        {"host": "127.0.0.1", "port": 8080, "change": "notes"},
        dashboard,
        told={
            "host": "the address it listens on; 0.0.0.0: all of this machine's, for anybody, without a login",
            "port": "the first to try; one other than 8080 must be free",
            "change": "what a visitor may change: notes, or all (rename and delete studies)",
        },
    ),
}


def _open(meant: "Named") -> Any:
    from kirigami.search.storage import open_storage

    return open_storage(meant.storage, create=False)

"""Options of a verb are declared once: help, parsing and errors come from there; help loads nothing that is heavy."""

import subprocess
import sys
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import get_type_hints

import pytest

from kirigami.search.command.cli import main
from kirigami.search.command.compare import Options as Comparison
from kirigami.search.command.export import Options as Export
from kirigami.search.command.inspect import Options as Inspection
from kirigami.search.command.options import fields_of, flags_of, help_lines, meaning_of, read, split
from kirigami.search.command.store import Options as Store
from kirigami.search.command.verb import Call
from kirigami.search.command.verbs import VERBS
from kirigami.search.errors import InputError


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verb_gets_its_own_options_typed(verb):
    hints = get_type_hints(verb.module.run)

    assert [hints[name] for name in signature(verb.module.run).parameters] == [Call, verb.options]
    assert verb.options.model_config["frozen"]
    assert all(meaning_of(field) for field in {**fields_of(verb.options), **flags_of(verb.options)}.values())


def test_help_of_every_verb_loads_nothing_heavy():
    program = (
        "import contextlib, io, sys\n"
        "from kirigami.search.command.cli import main\n"
        "from kirigami.search.command.verbs import VERBS\n"
        "def show(*words):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "        main([*words, '--help'])\n"
        "    assert shown.getvalue().startswith('usage: ')\n"
        "show()\n"
        "assert 'pydantic' not in sys.modules\n"
        "for verb in VERBS:\n"
        "    show(verb)\n"
        "print(*{'optuna', 'torch', 'numpy', 'hydra', 'omegaconf', 'rich', 'sqlalchemy'} & set(sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout == "\n"


def test_texts_become_values_of_their_types():
    options = read(Comparison, {"over": "optimizer", "values": "[adam,sgd]", "repeats": "7", "margin": "1e-3"})

    assert (options.values, options.repeats, options.margin) == (["adam", "sgd"], 7, 1e-3)
    assert (options.reference, options.from_, options.format) == (None, "auto", "table")
    assert read(Comparison, {"over": "study", "from": "best"}).from_ == "best"
    assert read(Export, {"twin": "false", "path": ""}).model_dump(include={"twin", "path"}) == {
        "twin": False,
        "path": None,
    }
    assert read(Inspection, {"to": "a/b"}, ["unpack"]) == Inspection(to=Path("a/b"), unpack=True)
    assert read(Store, {"port": ""}).port is None


@pytest.mark.parametrize(
    ("options", "texts", "line"),
    [
        (
            Comparison,
            {"repeats": "two"},
            "repeats must be a whole number of at least 5, but got 'two'. Set repeats=20.",
        ),
        (Comparison, {"repeats": "²"}, "repeats must be a whole number of at least 5, but got '²'. Set repeats=20."),
        (Comparison, {"margin": "inf"}, "margin must be a number above 0, in the metric's unit, but got 'inf'."),
        (
            Comparison,
            {"from": "bets"},
            "from must be one of (auto, best, config), but got 'bets'. Did you mean 'best'?",
        ),
        (Export, {"tolerance": "-1"}, "tolerance must be a number from 0 to 1, but got '-1'."),
        (Export, {"twin": "yes"}, "twin must be true or false, but got 'yes'."),
        (Store, {"port": "70000"}, "port must be a number from 1 to 65535, but got '70000'."),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed(options, texts, line):
    with pytest.raises(InputError) as error:
        read(options, {**({"over": "optimizer"} if options is Comparison else {}), **texts})

    assert str(error.value) == line


def test_words_are_options_or_overrides():
    assert split(["top=3", "study=digits", "~space.network"], VERBS["results"].options) == (
        ["study=digits", "~space.network"],
        {"top": "3"},
    )
    with pytest.raises(InputError, match=r"'digits' is no override\. Write key=value \(study=digits, perhaps\)"):
        split(["digits"], VERBS["results"].options)


def test_help_shows_defaults_as_they_would_be_typed():
    assert help_lines(Export)[:3] == [
        "  trial=chosen             chosen, best, front, or a trial's number",
        "  tolerance=0.005          share of the validation score that the last cuts may cost",
        "  twin=true                train the same network without techniques, to stand beside it",
    ]
    assert [line.split()[0] for line in help_lines(VERBS["lr-range"].options)][:2] == ["lowest=1e-6", "highest=10"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["store", "study=digits"], "'study=digits' means nothing to store. See `kirigami store --help`."),
        (
            ["predict", "model.onnx"],
            "predict takes FILE DATA, but got 1 of them: model.onnx. See `kirigami predict --help`.",
        ),
        (["inspect", "a.kgm", "--pack"], "unrecognized argument --pack. See `kirigami inspect --help`."),
        (
            ["search", "task=table", "task.train=rows.csv"],
            "task=table without study= would be searched as study=digits, with its limits. Write a study of your own "
            "by `kirigami new DATA`, or name one: study=NAME.",
        ),
        (["compare", "task.path=a", "over=seed"], "task.path=a without study= would be searched as study=digits, "),
        (["serach"], "'serach' is no verb. Did you mean 'search'? Verbs: new, search, "),
    ],
)
def test_words_that_mean_nothing_are_refused(words, line, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"kirigami: {line}")


def test_a_folder_of_studies_is_not_passed_over(tmp_path, capsys):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text("# @package _global_\n")

    assert main(["search", "--config-dir", str(tmp_path)]) == 2
    assert "no study is named, and --config-dir holds some. Add study=mine." in capsys.readouterr().err
    assert main(["config", "study=breast_cancer", "task=digits", "--config-dir", str(tmp_path)]) == 0


def test_without_a_verb_there_is_help_and_a_version(capsys):
    assert main([]) == 0
    assert "predict " in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["kirigami", version("kirigami-search")]

"""The words that follow a verb on the command line: their help and their parsing."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from kirigami.search.command.options import fields_of, flags_of, help_lines, meaning_of, read, split
from kirigami.search.command.verb import Call, Verb
from kirigami.search.errors import InputError
from kirigami.search.schema import Group

TASK = r"task(\.(name|path|train|test|target|_target_))?$"
OVERRIDES = """\
overrides are key=value pairs, as Hydra reads them:
  study=digits                     which study (a file in conf/study, or in --config-dir)
  name=digits-2                    another name for its record in the store
  workers=2                        worker processes; the cores are split between them
  workers=auto                     one for each GPU, else for each cores_per_worker=2 cores
  launcher=ray | slurm             start them on a Ray cluster, or as SLURM jobs (files in conf/launcher)
  budget.trials=100                stop after so many trials, over all workers
  budget.wall_s=600                stop after so many seconds of work
  budget.device_s=3600             stop after so many seconds of devices, over all workers
  budget.money=20 cost.per_device_hour=2.5     stop when they have cost so much
  objective=f1                     the validation metric; two give a Pareto search: objective=[accuracy,params]
  sampler=gp pruner=hyperband      files in conf/sampler and conf/pruner
  space.optimizer.lr.high=0.5      change a range; ~space.network freezes a branch
  network=wrn optimizer.lr=0.1     choose a file of a group, set a leaf
  network._target_=mine.Net        your own torch.nn.Module or LightningModule; a _target_ also in task, optimizer,
                                   schedule, output.loss, metrics, trainer.callbacks and trainer.logger
  task.path=FOLDER                 where the data lie (or the environment variable KIRIGAMI_DATA)
  storage.url=sqlite:///my.db      the store (or the environment variable KIRIGAMI_STORAGE)
  storage=postgres                 the store that `kirigami store` started here
"""


def describe(parser: ArgumentParser, verb: Verb) -> None:
    """Add the arguments of a verb to its parser."""
    options = "".join(f"{line}\n" for line in help_lines(verb.options))
    parser.epilog = (f"options:\n{options}\n" if options else "") + (
        OVERRIDES if verb.configured and not verb.files else ""
    )
    metavar = " ".join((*verb.files, "key=value"))
    meaning = "the file, and options" if verb.files else "overrides of the config" if verb.configured else "options"
    parser.add_argument("words", nargs="*", metavar=metavar, help=meaning)
    for flag, field in flags_of(verb.options).items():
        parser.add_argument(f"--{flag}", action="store_true", help=meaning_of(field))


def understood(verb: Verb, parsed: Namespace, words: Sequence[str]) -> tuple[Call, Group]:
    """Return the arguments of a verb, and its options.

    Raises:
        InputError: in one line, where a word means nothing.
    """
    files, rest = _files(verb, words)
    overrides, texts = split(rest, verb.options)
    if verb.files or not verb.configured:
        unknown = [override for override in overrides if not verb.takes or not override.startswith(verb.takes)]
        if unknown:
            raise InputError(f"{unknown[0]!r} means nothing to {verb.name}. See `kirigami {verb.name} --help`.")
    folders = [*parsed.config_dirs, *parsed.config_dir]
    if verb.trains:
        check_study(overrides, folders)
    flags = [flag for flag in flags_of(verb.options) if getattr(parsed, flag)]
    return Call(overrides, folders, files), read(verb.options, texts, flags)


def check_study(overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """Check that a study is named where data or studies of the user's own are: the default one is for its digits alone.

    Raises:
        InputError: with what to write.
    """
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    if "study" in keys:
        return
    task = next((override for override, key in zip(overrides, keys, strict=True) if re.match(TASK, key)), None)
    if task is not None and task not in ("task=digits", "task.name=digits"):
        raise InputError(
            f"{task} without study= would be searched as study=digits, with its limits. Write a study of your own by "
            "`kirigami new DATA`, or name one: study=NAME."
        )
    studies = sorted(file.stem for folder in folders for file in folder.glob("study/*.yaml"))
    if studies:
        raise InputError(f"no study is named, and --config-dir holds some. Add study={' or study='.join(studies[:5])}.")


def _files(verb: Verb, words: Sequence[str]) -> tuple[list[Path], Sequence[str]]:
    """Take the files that a verb wants out of the words that follow it.

    Raises:
        InputError: where they are too many or too few.
    """
    if not verb.files:
        return [], words
    options = tuple(f"{key}=" for key in fields_of(verb.options))
    files = [
        word for word in words if not word.startswith(options) and not (verb.takes and word.startswith(verb.takes))
    ]
    if len(files) != len(verb.files):
        wanted = " ".join(verb.files)
        words_got = f"{len(files)} of them: {', '.join(files)}" if files else "none"
        raise InputError(f"{verb.name} takes {wanted}, but got {words_got}. See `kirigami {verb.name} --help`.")
    return [Path(file) for file in files], [word for word in words if word not in files]

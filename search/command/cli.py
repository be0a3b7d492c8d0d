"""The `kirigami` command: verbs, and Hydra overrides after them. Nothing here imports torch."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from kirigami.search.command.verbs import VERBS, Verb
from kirigami.search.errors import InputError, StudyStopped, masked

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
  network._target_=mine.Net        your own torch.nn.Module or LightningModule
  task.path=FOLDER                 where the data lie (or the environment variable KIRIGAMI_DATA)
  storage.url=sqlite:///my.db      the store (or the environment variable KIRIGAMI_STORAGE)
  storage=postgres                 the store that `kirigami store` started here
"""


def entry() -> None:
    """Run the command and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one verb; return 0 (done), 1 (the run failed) or 2 (the input is wrong)."""
    try:
        parsed, later = _parser().parse_known_args(list(arguments))
        unknown = [one for one in later if one.startswith("-")]
        if unknown:
            raise InputError(f"unrecognized argument {unknown[0]}. See `kirigami {parsed.verb} --help`.")
        verb = VERBS[parsed.verb]
        given = [*parsed.overrides, *later]
        files, given = _files(parsed.verb, verb, given)
        overrides, options = _split(given, verb.options)
        options |= {flag: getattr(parsed, flag) for flag in verb.flags}
        if overrides and (verb.files or not verb.configured):
            raise InputError(f"{overrides[0]!r} means nothing to {parsed.verb}. See `kirigami {parsed.verb} --help`.")
        return verb.run(files or overrides, [*parsed.config_dirs, *parsed.config_dir], options)
    except InputError as error:
        return _fail(error, 2)
    except StudyStopped as error:
        return _fail(error, 1)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - whoever read us has gone; nothing more to say
        return 0
    except KeyboardInterrupt:
        return 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kirigami",
        description="Hyperparameter and architecture search that ends with the smallest network that does the job.",
    )
    _add_config_dir(parser, "config_dirs")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        options = "".join(
            f"  {f'{key}={_shown(default)}':<24} {verb.told.get(key, '')}".rstrip() + "\n"
            for key, default in verb.options.items()
        )
        sub = verbs.add_parser(
            name,
            help=verb.summary,
            description=verb.summary[0].upper() + verb.summary[1:] + ".",
            epilog=(f"options:\n{options}\n" if options else "")
            + (OVERRIDES if verb.configured and not verb.files else ""),
            usage=f"kirigami {name} {' '.join(verb.files)} [key=value ...]" if verb.files else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        words = " ".join((*verb.files, "key=value"))
        said = "the file, and options" if verb.files else "overrides of the config" if verb.configured else "options"
        sub.add_argument("overrides", nargs="*", metavar=words, help=said)
        for flag, meaning in verb.flags.items():
            sub.add_argument(f"--{flag}", action="store_true", help=meaning)
        _add_config_dir(sub, "config_dir")
    return parser


def _add_config_dir(parser: argparse.ArgumentParser, destination: str) -> None:
    parser.add_argument(
        "--config-dir",
        dest=destination,
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a folder with your own studies, tasks, spaces, …, laid out like conf/ (may be given more than once)",
    )


def _files(name: str, verb: Verb, given: list[str]) -> tuple[list[str], list[str]]:
    """Take the files that a verb wants out of what was given."""
    if not verb.files:
        return [], given
    known = [f"{key}=" for key in verb.options]
    files = [one for one in given if not one.startswith(tuple(known))]
    if len(files) != len(verb.files):
        wanted = " ".join(verb.files)
        raise InputError(f"{name} takes {wanted}, but got {len(files)} of them. See `kirigami {name} --help`.")
    return files, [one for one in given if one not in files]


def _shown(default: Any) -> str:
    return str(default) if default != "" else "..."


def _split(given: Sequence[str], options: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Take a verb's own key=value options out of the overrides."""
    found, overrides = dict(options), []
    for one in given:
        key, equals, value = one.partition("=")
        if not equals and not one.startswith("~"):
            raise InputError(
                f"{one!r} is no override. Write key=value (study={one}, perhaps), or ~key to remove a key."
            )
        if key in options:
            found[key] = _typed(key, value, options[key])
        else:
            overrides.append(one)
    return overrides, found


def _typed(key: str, value: str, default: Any) -> Any:
    if not isinstance(default, int):
        return value
    if not value.isdigit() or int(value) < 1:
        raise InputError(f"{key} must be a whole number of at least 1, but got {value!r}.")
    return int(value)


def _fail(error: Exception, code: int) -> int:
    print(f"kirigami: {masked(' '.join(str(error).split()))}", file=sys.stderr)
    return code

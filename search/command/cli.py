"""The `kirigami` command: verbs, and Hydra overrides after them. Nothing here imports torch."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from kirigami.errors import did_you_mean
from kirigami.search.command.verbs import VERBS
from kirigami.search.errors import TRACEBACK, InputError, failure_of, masked, traced


def entry() -> None:
    """Run the command and exit with its code; what a terminal cannot show is written as `\\xe9` instead of raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one verb; return 0 (done), 1 (the run failed) or 2 (the input is wrong)."""
    try:
        return _run(list(arguments))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - whoever read us has gone; nothing more to say
        return 0
    except KeyboardInterrupt:
        return 1
    except Exception as error:  # the one place where errors of all verbs become a line
        return _fail(error)


def _run(arguments: list[str]) -> int:
    parser = _parser(arguments)
    if not arguments:
        parser.print_help()
        return 0
    if arguments == ["--version"]:
        print(f"kirigami {version('kirigami-search')}")
        return 0
    parsed, later = parser.parse_known_args(arguments)
    unknown = next((word for word in later if word.startswith("-")), None)
    if unknown is not None:
        raise InputError(f"unrecognized argument {unknown}. See `kirigami {parsed.verb} --help`.")
    from kirigami.search.command.words import understood

    verb = VERBS[parsed.verb]
    call, options = understood(verb, parsed, [*parsed.words, *later])
    return verb.run(call, options)


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        if unknown := re.search(r"VERB: invalid choice: '(.*?)' \(choose", message):
            near = did_you_mean(unknown[1], VERBS)
            raise InputError(f"{unknown[1]!r} is no verb.{near} Verbs: {', '.join(VERBS)}. See `kirigami --help`.")
        raise InputError(f"{message}. See `{self.prog} --help`.")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; of the verbs, only one that is named among the arguments is loaded with its options."""
    parser = _Parser(
        prog="kirigami",
        description="Hyperparameter and architecture search that ends with the smallest network that does the job.",
    )
    _add_config_dir(parser, "config_dirs")
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        subparser = verbs.add_parser(
            name,
            help=verb.summary,
            description=verb.summary[0].upper() + verb.summary[1:] + ".",
            usage=f"kirigami {name} {' '.join(verb.files)} [key=value ...]" if verb.files else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in arguments:
            from kirigami.search.command.words import describe  # takes a tenth of a second: only for who needs it

            describe(subparser, verb)
            _add_config_dir(subparser, "config_dir")
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


def _fail(error: Exception) -> int:
    failure = failure_of(error)
    details = traced(error) if os.environ.get(TRACEBACK) else ""
    print(f"{details}kirigami: {masked(failure.line)}", file=sys.stderr)
    return failure.code

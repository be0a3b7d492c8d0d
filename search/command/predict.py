"""The `predict` verb: an exported file's answers for a table or images."""

from pathlib import Path
from typing import Annotated

from annotated_types import doc

from kirigami.search.command.verb import Call
from kirigami.search.schema import Group


class Options(Group):
    """Where the answers go."""

    to: Annotated[Path | None, doc("the CSV to write; by default it is printed")] = None


def run(call: Call, options: Options) -> int:
    """Classify rows or images by an exported file."""
    from kirigami.search.export.predict import predict

    file, data = call.files
    written = predict(file, data, options.to)
    if written is not None:
        print(written)
    return 0

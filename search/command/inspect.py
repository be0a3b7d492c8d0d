"""The `inspect` verb: an exported file, verified and described."""

from pathlib import Path
from typing import Annotated

from annotated_types import doc

from kirigami.search.command.options import Flag
from kirigami.search.command.verb import Call
from kirigami.search.schema import Group


class Options(Group):
    """What is unpacked of the file, and where."""

    to: Annotated[Path | None, doc("where --unpack writes; by default beside the file")] = None
    unpack: Annotated[bool, Flag(), doc("write the ONNX that a compact file holds")] = False


def run(call: Call, options: Options) -> int:
    """Verify and describe an exported file."""
    from kirigami.search.export.inspecting import inspect_file

    inspect_file(call.files[0], unpack=options.unpack, to=options.to)
    return 0

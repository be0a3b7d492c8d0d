"""The `inspect` verb: verify a file by its own digests or its card's, and say what is in it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kirigami.search.errors import InputError, one_line
from kirigami.search.export import contents
from kirigami.search.export.predict import onnx_bytes
from kirigami.search.files import check_place, write_bytes
from kirigami.search.report.tables import plain_console

LARGEST = 1 << 31  # bytes; what is larger is no file of ours


def inspect_file(file: Path, *, unpack: bool, to: Path | None) -> None:
    """Verify a `.kgm` or `.onnx` and print what it holds; `unpack` writes the ONNX that a `.kgm` holds.

    Raises:
        InputError: where the file is damaged or foreign, in one line.
    """
    console = plain_console(soft_wrap=True)
    if to is not None:
        check_place(to, "to")
    data = _bytes(file)
    if file.suffix == ".onnx":
        if unpack:
            raise InputError(f"{file}: is an ONNX already. --unpack takes a .kgm.")
        _onnx(file, data, console)
        return
    from kirigami.models import compact

    try:
        content = compact.read(data)
    except ValueError as error:
        raise InputError(f"{file}: {one_line(error)}") from error
    console.print(f"{file}: {len(data):,} bytes, every tensor as its digest says", highlight=False)
    console.print(_tensors(contents.table(content)))
    about = json.loads(content.extra.get("about", b"{}"))
    if about:
        named = " ".join(f"{key}={value}" for key, value in about.get("network", {}).items())
        console.print(f"network {named}", highlight=False, markup=False)
    console.print(_card(file, data), highlight=False)
    if unpack:
        model = onnx_bytes(file)
        place = to or file.with_suffix(".onnx")
        write_bytes(place, model)
        console.print(f"{place}: {len(model):,} bytes", highlight=False)


def _bytes(file: Path) -> bytes:
    try:
        if file.stat().st_size > LARGEST:
            raise InputError(f"{file}: is larger than {LARGEST:,} bytes, and no exported network.")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error


def _card(file: Path, data: bytes) -> str:
    """Return what the card beside a file says of it.

    Raises:
        InputError: where it says that the file is another.
    """
    card = file.with_name("card.json")
    if not card.exists():
        return "no card.json beside it"
    try:
        facts = json.loads(card.read_text())
        wanted = facts["sha256"].get(file.name)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{card}: is no card of an export ({one_line(error)}).") from error
    if wanted is None:
        return "card.json beside it does not name it"
    if wanted != hashlib.sha256(data).hexdigest():
        raise InputError(f"{file}: is not the file that card.json beside it describes: its SHA-256 differs.")
    test = facts["test"]
    return f"as card.json says: {facts['study']}, trial {facts['trial']}, test {test['metric']} {test['value']:.4f}"


def _onnx(file: Path, data: bytes, console: Console) -> None:
    import onnx

    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, onnx and its checker each raise their own
        raise InputError(f"{file}: is no sound ONNX model ({one_line(error)}).") from error
    verified = _card(file, data)
    console.print(f"{file}: {len(data):,} bytes, {verified}", highlight=False)
    table = Table("initialiser", "type", "shape", "bytes")
    for tensor in model.graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        table.add_row(tensor.name, kind, "×".join(map(str, tensor.dims)) or "1", str(len(tensor.raw_data)))
    console.print(table)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if metadata:
        console.print("  ".join(f"{key} {value}" for key, value in metadata.items()), highlight=False, markup=False)


def _tensors(rows: list[dict[str, Any]]) -> Table:
    table = Table("tensor", "shape", "form", "kept", "bits")
    for row in rows:
        table.add_row(
            row["name"], "×".join(map(str, row["shape"])) or "1", row["form"], str(row["kept"]), str(row["bits"])
        )
    return table

"""Find and open the files of a data set; report errors in one line."""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kirigami.errors import ArgumentError, did_you_mean

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNSET = "path", "is not set.", ("path", "FOLDER or the environment variable KIRIGAMI_DATA")


def require_path(path: str | None) -> Path:
    """Return `path` as an existing file or folder, or raise `ArgumentError`."""
    if path is None or not str(path).strip():
        raise ArgumentError(*UNSET)
    existing = expanded(path)
    if not existing.exists():
        raise ArgumentError("path", f": there is no file or folder {str(path)!r}.{near(existing)}", ("path", "FOLDER"))
    return existing


def expanded(path: str) -> Path:
    """Return a path with the home folder in place of `~`; a name that only begins with it stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def require_file(where: str, name: str, folder: Path | None) -> Path:
    """Return the file `name`, relative to `folder` if one is given; `where` is the argument for `ArgumentError`."""
    file = (folder or Path()) / expanded(name)
    if file.is_file():
        return file
    if folder is None and not file.is_absolute():
        raise ArgumentError(where, f": there is no file {name!r} here, and path is not set.", UNSET[2])
    raise ArgumentError(where, f": there is no file {name!r} in {str(file.parent)!r}.{near(file)}")


def near(path: Path) -> str:
    """Return ` Did you mean 'x'?` for the file or folder that is most like a path, or nothing."""
    return did_you_mean(path.name, [other.name for other in path.parent.iterdir()]) if path.parent.is_dir() else ""


def find_parts(folder: Path, suffix: str) -> dict[str, tuple[Path, ...]]:
    """Map "train", "validation" and "test" to the files of that part, in order; a part without files is left out.

    Files are named as the Hugging Face hub names them: train-00000-of-00002.parquet, or just train.parquet, in the
    folder or in its subfolder data.
    """
    files = sorted((*folder.glob(f"*{suffix}"), *folder.glob(f"data/*{suffix}")))
    parts = {
        part: tuple(file for file in files if file.name[: -len(suffix)].split("-")[0].lower() in names)
        for part, names in _NAMES.items()
    }
    return {part: files for part, files in parts.items() if files}


def find_part_folders(folder: Path) -> dict[str, Path]:
    """Map "train", "validation" and "test" to the subfolders of that name, where there are such.

    Raises:
        ArgumentError: where two are of one part, such as `val` and `valid`.
    """
    parts: dict[str, Path] = {}
    for child in sorted(child for child in folder.iterdir() if child.is_dir()):
        part = next((part for part, names in _NAMES.items() if child.name.lower() in names), None)
        if part in parts:
            raise ArgumentError("path", f": {str(parts[part])!r} and {str(child)!r} are both {part} parts. Join them.")
        if part is not None:
            parts[part] = child
    return parts


def read_parquet(files: Sequence[Path], columns: Sequence[str] | None = None, where: str = "path") -> Any:
    """Read Parquet files into one Arrow table, without a copy on disk; only `columns` if given."""
    import pyarrow as arrow

    tables = [_read_one(file, columns, where) for file in files]
    try:
        return arrow.concat_tables(tables)
    except arrow.ArrowException as error:
        raise ArgumentError(where, f": {str(files[0])!r} and its like differ: {first_line(error)}") from None


def _read_one(file: Path, columns: Sequence[str] | None, where: str) -> Any:
    """Read one file as a file: `read_table` would take folders such as `run=3` in its path for columns."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            return opened.read(columns=list(columns) if columns else None)
    except (arrow.ArrowException, OSError) as error:
        raise ArgumentError(where, f": {str(file)!r} cannot be read as Parquet: {first_line(error)}") from None


def read_schema(file: Path) -> Any:
    """Read a Parquet file's column names, types and metadata, none of its rows."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(file)
    except (arrow.ArrowException, OSError) as error:
        raise ArgumentError("path", f": {str(file)!r} cannot be read as Parquet: {first_line(error)}") from None


def count_rows(file: Path) -> int:
    """Count the rows of a Parquet file by its footer; none is read."""
    from pyarrow import parquet

    read_schema(file)
    return int(parquet.read_metadata(file).num_rows)


def encoding_of(start: bytes, chosen: str | None) -> str:
    """Return the encoding of a text file: what its first bytes say, else the chosen one, else UTF-8."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), chosen or "utf-8")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, short enough to stand in one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]

"""Find and open the files of a data set; report errors in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kirigami.errors import ArgumentError, choose, did_you_mean

_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
UNSET = "path", "is not set.", ("path", "FOLDER or the environment variable KIRIGAMI_DATA")


def require_path(path: str | None) -> Path:
    """Return `path` as an existing file or folder, or raise `ArgumentError`."""
    if path is None or not str(path).strip():
        raise ArgumentError(*UNSET)
    existing = Path(path).expanduser()
    if not existing.exists():
        raise ArgumentError("path", f": there is no file or folder {str(path)!r}.{_near(existing)}", ("path", "FOLDER"))
    return existing


def require_file(where: str, name: str, folder: Path | None) -> Path:
    """Return the file `name`, relative to `folder` if one is given; `where` is the argument for `ArgumentError`."""
    file = (folder or Path()) / Path(name).expanduser()
    if file.is_file():
        return file
    if folder is None and not file.is_absolute():
        raise ArgumentError(where, f": there is no file {name!r} here, and path is not set.", UNSET[2])
    raise ArgumentError(where, f": there is no file {name!r} in {str(file.parent)!r}.{_near(file)}")


def _near(path: Path) -> str:
    return did_you_mean(path.name, [other.name for other in path.parent.iterdir()]) if path.parent.is_dir() else ""


def find_parts(folder: Path, suffix: str) -> dict[str, tuple[Path, ...]]:
    """Map "train", "validation" and "test" to the files of that part, in order; a part without files is left out.

    Files are named as the Hugging Face hub names them: train-00000-of-00002.parquet, or just train.parquet, in the
    folder or in its subfolder data.
    """
    files = sorted((*folder.glob(f"*{suffix}"), *folder.glob(f"data/*{suffix}")))
    parts = {
        part: tuple(file for file in files if file.name[: -len(suffix)].split("-")[0] in names)
        for part, names in _NAMES.items()
    }
    return {part: files for part, files in parts.items() if files}


def find_part_folders(folder: Path) -> dict[str, Path]:
    """Map "train", "validation" and "test" to the subfolders of that name, where there are such."""
    candidates = ((part, folder / name) for part, names in _NAMES.items() for name in names)
    return {part: subfolder for part, subfolder in candidates if subfolder.is_dir()}


def read_parquet(files: Sequence[Path], columns: Sequence[str] | None = None, where: str = "path") -> Any:
    """Read Parquet files into one Arrow table, without a copy on disk; only `columns` if given."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        tables = [parquet.read_table(file, columns=list(columns) if columns else None) for file in files]
        return arrow.concat_tables(tables)
    except (arrow.ArrowException, OSError) as error:
        raise ArgumentError(where, f": {str(files[0])!r} cannot be read as Parquet: {first_line(error)}") from None


def read_schema(file: Path) -> Any:
    """Read a Parquet file's column names, types and metadata, none of its rows."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(file)
    except (arrow.ArrowException, OSError) as error:
        raise ArgumentError("path", f": {str(file)!r} cannot be read as Parquet: {first_line(error)}") from None


def read_text(files: Sequence[Path], column: str) -> str:
    """Read text files, or the text column of Parquet files, into one string; rows are joined by line ends."""
    if files[0].suffix == ".parquet":
        choose("column", column, read_schema(files[0]).names)
        rows = read_parquet(files, [column]).column(column).to_pylist()
    else:
        rows = [_decode(file) for file in files]
    text = "\n".join(str(row) for row in rows if row is not None)
    if not text:
        raise ArgumentError("path", f": {str(files[0])!r} holds no text.")
    return text


def _decode(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ArgumentError("path", f": {str(file)!r} cannot be read as UTF-8 text: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, short enough to stand in one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]

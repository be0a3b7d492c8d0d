"""Read CSV and Parquet tables into data frames."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from kirigami.errors import ArgumentError
from kirigami.tasks.files import first_line, read_parquet

_SEPARATORS = (",", ";", "\t", "|")


@lru_cache(maxsize=8)
def read_frame(where: str, files: tuple[Path, ...]) -> Any:
    """Read tables of the same columns below one another into one frame; `where` is the argument that names them."""
    import pandas as pd

    frames = [_read_one(where, file) for file in files]
    for file, frame in zip(files, frames, strict=True):
        require_columns(f"{where}: {file.name!r}", frame, frames[0].columns)
    return (
        frames[0] if len(frames) == 1 else pd.concat([frame[frames[0].columns] for frame in frames], ignore_index=True)
    )


def require_columns(where: str, frame: Any, columns: Sequence[str]) -> None:
    """Raise `ValueError` if `frame` lacks one of `columns`."""
    lacking = [str(column) for column in columns if column not in frame.columns]
    if lacking:
        raise ArgumentError(where, f"lacks the columns ({', '.join(lacking)}), which the first file has.")


def _read_one(where: str, file: Path) -> Any:
    frame = read_parquet([file], where=where).to_pandas() if file.suffix == ".parquet" else _read_csv(where, file)
    if frame.empty:
        raise ArgumentError(where, f": {str(file)!r} has no rows.")
    return frame


def _read_csv(where: str, file: Path) -> Any:
    """Read a CSV file; a column name that occurs again gets a number (name, name.1), `?` stands for nothing."""
    import pandas as pd

    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            header = lines.readline()
        separator = max(_SEPARATORS, key=header.count)
        return pd.read_csv(file, sep=separator, skipinitialspace=True, na_values=["?"])
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ArgumentError(where, f": {str(file)!r} cannot be read as CSV: {first_line(error)}") from None

"""Rows of tables that a user has, as the numbers that a network takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line
from kirigami.search.export.predicting.types import numpy_type

TABLES = (".csv", ".parquet")


def read_table(data: Path, argument: Any, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    """Return the numbers of the rows of a table, and the rows."""
    import pandas

    try:
        frame = pandas.read_csv(data) if data.suffix.lower() == ".csv" else pandas.read_parquet(data)
    except (ValueError, OSError) as error:
        raise InputError(f"{data}: cannot be read ({one_line(error)}).") from error
    if rules.get("columns") is not None or rules.get("categories"):
        from kirigami.tasks.features import Features

        features = Features.from_dict({"log1p": [], "fill": [], "indicators": [], "categories": {}, **rules})
        missing = [name for name in (*features.numbers, *dict(features.categories)) if name not in frame.columns]
        if missing:
            raise InputError(f"{data}: has no column {missing[0]!r}. It needs ({', '.join(features.numbers)}).")
        try:
            return range(len(frame)), features.raw(frame, str(data)).numpy()
        except ValueError as error:
            raise InputError(f"{data}: {one_line(error)}") from error
    shape = [int(size) for size in argument.shape[1:]]
    numbers = frame.select_dtypes("number").to_numpy(np.float32)
    if numbers.shape[1] != int(np.prod(shape)):
        raise InputError(
            f"{data}: has {numbers.shape[1]} columns of numbers, but the network takes {int(np.prod(shape))} a row."
        )
    return range(len(frame)), numbers.reshape(-1, *shape).astype(numpy_type(argument))

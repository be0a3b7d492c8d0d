"""Arrays of numbers in a file of numpy's, as the inputs of a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line

ARRAYS = (".npy", ".npz")
TYPES = {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64}


def read_arrays(data: Path, arguments: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Return an array for each input of a network, by name: of one input the file's only array, whatever its name.

    Args:
        data: an .npy or .npz; nothing in it is unpickled.
        arguments: the network's inputs, as ONNX Runtime describes them.

    Raises:
        InputError: where an array is missing, or has another shape or type than the network takes.
    """
    arrays, names = _loaded(data), [argument.name for argument in arguments]
    if len(arguments) == len(arrays) == 1:
        arrays = dict(zip(names, arrays.values(), strict=True))
    if set(arrays) != set(names):
        raise InputError(f"{data}: holds the arrays ({', '.join(arrays)}), but the network takes ({', '.join(names)}).")
    feed = {argument.name: _fitting(data, argument, arrays[argument.name]) for argument in arguments}
    counts = {name: len(rows) for name, rows in feed.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"{data}: its arrays must have as many rows as each other, but have {counts}.")
    return feed


def _loaded(data: Path) -> Mapping[str, NDArray[Any]]:
    try:
        with data.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return dict(content) if isinstance(content, np.lib.npyio.NpzFile) else {"rows": content}
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{data}: cannot be read as arrays ({one_line(error)}).") from error


def _fitting(data: Path, argument: Any, rows: NDArray[Any]) -> NDArray[Any]:
    wanted = tuple(size if isinstance(size, int) else None for size in argument.shape[1:])
    fits = rows.ndim == len(wanted) + 1 and all(
        size in (None, length) for size, length in zip(wanted, rows.shape[1:], strict=True)
    )
    if not fits:
        shape = ", ".join("any" if size is None else str(size) for size in wanted)
        raise InputError(f"{data}: {argument.name} must have the shape (rows, {shape}), but has {rows.shape}.")
    kind = np.dtype(TYPES.get(argument.type, np.float32))
    if rows.dtype.kind not in "iufb" or (kind.kind in "iu" and not (rows == rows.astype(kind)).all()):
        raise InputError(f"{data}: {argument.name} must be of {kind}, but is of {rows.dtype}, which is not the same.")
    if not np.isfinite(rows).all():
        row = int(np.argwhere(~np.isfinite(rows))[0][0])
        raise InputError(f"{data}: {argument.name} has a value that is not finite in row {row}.")
    return rows.astype(kind)

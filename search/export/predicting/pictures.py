"""Pictures that a user has, brought to the size that a network takes."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line
from kirigami.search.export.predicting.types import numpy_type

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def read_pictures(data: Path, argument: Any) -> tuple[Sequence[Any], NDArray[Any]]:
    """Return the names of an image, or of all images of a folder, and the images (n, c, h, w)."""
    files = [data] if data.is_file() else sorted(file for file in data.rglob("*") if file.suffix.lower() in IMAGES)
    if not files:
        raise InputError(f"{data}: holds no images (*{', *'.join(IMAGES)}).")
    return [str(file) for file in files], _decoded(((str(file), file) for file in files), argument)


def picture_column(frame: Any) -> str | None:
    """Return the first column of a frame that holds encoded images, or None."""
    return next((name for name in frame.columns if isinstance(_first(frame[name]), bytes | dict)), None)


def pictures_of(frame: Any, column: str, argument: Any) -> tuple[Sequence[Any], NDArray[Any]]:
    """Return the numbers of the rows and the images (n, c, h, w) that a column holds."""
    cells = (cell["bytes"] if isinstance(cell, dict) else cell for cell in frame[column])
    return range(len(frame)), _decoded(((f"row {i}", io.BytesIO(cell)) for i, cell in enumerate(cells)), argument)


def _decoded(sources: Iterable[tuple[str, Any]], argument: Any) -> NDArray[Any]:
    """Return images (n, c, h, w) brought to the network's size."""
    from PIL import Image, UnidentifiedImageError

    if len(argument.shape) != 4:
        raise InputError(f"the network takes rows of shape {argument.shape[1:]}, no images.")
    channels, height, width = (int(size) for size in argument.shape[1:])
    images = []
    for name, source in sources:
        try:
            with Image.open(source) as image:
                sized = image.convert("L" if channels == 1 else "RGB").resize((width, height))
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{name}: is no readable image ({one_line(error)}).") from error
        images.append(np.asarray(sized).reshape(height, width, channels).transpose(2, 0, 1))
    return np.stack(images).astype(numpy_type(argument))


def _first(column: Any) -> Any:
    return column.iloc[0] if len(column) else None

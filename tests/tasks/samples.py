"""Write small data sets of every make."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as arrow
from PIL import Image
from pyarrow import parquet

from kirigami.tasks.tables.cells import Cells, Frame


def encode_image(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """Encode uint8 pixels, (H, W) or (H, W, 3), without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return buffer.getvalue()


def write_images(
    file: Path, pixels: np.ndarray, labels: list, names: list[str] | None = None, form: str = "PNG"
) -> None:
    """Write a Parquet file in the layout of the Hugging Face hub."""
    label = {"_type": "ClassLabel", "names": names} if names else {"_type": "Value", "dtype": "int64"}
    features = {"image": {"_type": "Image"}, "label": label}
    cells = [{"bytes": encode_image(image, form), "path": None} for image in pixels]
    table = arrow.table({"image": cells, "label": labels})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(metadata), file)


def write_table(file: Path, rows: int, seed: int) -> None:
    """Write a CSV file with a repeated header, numbers, a category, gaps, and a count to learn."""
    generator = np.random.default_rng(seed)
    a, b = generator.exponential(50, rows), generator.normal(size=rows)
    color = generator.choice(["red", "green", "blue"], rows)
    bugs = generator.poisson(0.6, rows)
    lines = ["name,name,a,b,color,bug"]
    for row in range(rows):
        gap = "" if row % 7 == 3 else f"{b[row]:.6f}"
        lines.append(f"x,{seed}.{row},{a[row]:.6f},{gap},{color[row]},{bugs[row]}")
    file.write_text("\n".join(lines) + "\n")


def raw_frame(**columns: list) -> Frame:
    """Return a frame of text cells as a CSV file of these columns has them, None being an empty cell."""
    cells = {
        name: Cells("text", np.array(["" if value is None else str(value) for value in values], dtype=object), "text")
        for name, values in columns.items()
    }
    rows = len(next(iter(columns.values())))
    origin = np.stack([np.zeros(rows, np.int64), np.arange(1, rows + 1)], axis=1)
    return Frame(cells, ("t.csv",), origin)

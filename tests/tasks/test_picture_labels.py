"""However parts write their labels, the train part's names number them all, and a name that it lacks is refused."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kirigami import tasks
from tests.tasks.samples import write_images

EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))
WORDS, NUMBERS = ("cat", "Cat", "dog", "größe, (2)", "eel"), ("1", "2", "10", "3", "-1")
FORMS = {"words": ("names", "text", "blanks", "folders"), "numbers": ("names", "text", "int", "float", "folders")}


def write_part(folder: Path, part: str, names: list[str], form: str, pool: tuple[str, ...]) -> None:
    """Write two pictures of each class, whose brightness is the place of its name in the pool."""
    labels = [name for name in names for _ in range(2)]
    pixels = np.array([[[40 * pool.index(name)] * 3] * 3 for name in labels], np.uint8)
    if form == "folders":
        for number, (name, picture) in enumerate(zip(labels, pixels, strict=True)):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / part / name / f"{number}.png")
        return
    written = {
        "names": [names.index(name) for name in labels],
        "text": labels,
        "blanks": [f" {name} " if row % 2 else name for row, name in enumerate(labels)],
        "int": [int(name) if form == "int" else 0 for name in labels],
        "float": [float(name) if form == "float" else 0.0 for name in labels],
    }[form]
    write_images(folder / f"{part}.parquet", pixels, written, names if form == "names" else None)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_labels_are_matched_by_name_or_refused(data: st.DataObject) -> None:
    pool, kind = data.draw(st.sampled_from([(WORDS, "words"), (NUMBERS, "numbers")]))
    parts = {
        "train": data.draw(st.lists(st.sampled_from(pool), min_size=2, unique=True)),
        "validation": data.draw(st.lists(st.sampled_from(pool), min_size=1, unique=True)),
        "test": data.draw(st.lists(st.sampled_from(pool), min_size=1, unique=True)),
    }
    in_folders = data.draw(st.booleans())
    lacking = [name for part in ("validation", "test") for name in parts[part] if name not in parts["train"]]
    with tempfile.TemporaryDirectory() as place:
        for part, names in parts.items():
            form = "folders" if in_folders else data.draw(st.sampled_from(FORMS[kind][:-1]))
            write_part(Path(place), part, names, form, pool)
        task = tasks.build({"name": "images", "path": place}, seed=0)
        if lacking:
            with pytest.raises(ValueError, match="holds the class") as caught:
                task.setup("test")
            assert any(f"the class {name!r} (" in str(caught.value) for name in lacking)
            return
        task.setup("test")
        assert task.classes is not None
        assert task.test is not None
        for split in (task.train, task.validation, task.test):
            brightness = split.inputs[:, 0, 0, 0].tolist()
            assert [task.classes[number] for number in split.targets] == [pool[value // 40] for value in brightness]

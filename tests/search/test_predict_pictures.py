"""`predict` sees a picture as training saw it: same channels, depth, orientation, size, whatever file it came in."""

import os
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kirigami import tasks
from kirigami.search.export.predicting.pictures import read_picture_rows, read_pictures
from tests.tasks.picture_files import Drawn, pictures, write_parquet

EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))


def _check_reason(line: str, drawn: list[Drawn]) -> None:
    """Pictures are refused for what they hold only: values beside whole numbers, or nothing to tell apart."""
    has_values = [picture.mode in ("I", "F") for picture in drawn]
    reason = "have no scale in common" if any(has_values) and not all(has_values) else "only, once they are decoded"
    assert reason in line
    assert "\n" not in line


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(pictures(), min_size=4, max_size=7), st.sampled_from([None, 1, 3]), st.sampled_from([5, 8]), st.booleans()
)
def test_training_and_predict_see_the_same(drawn: list[Drawn], channels: int | None, size: int, in_rows: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, picture in enumerate(drawn):
            place = folder / "train" / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}{picture.suffix}").write_bytes(picture.encoded)
        config = {"name": "images", "path": name, "channels": channels, "size": size, "validation": 1, "test_share": 1}
        task = tasks.build(config, seed=0)
        try:
            task.setup("test")
        except ValueError as error:  # floats beside whole numbers, or one value everywhere
            _check_reason(str(error), drawn)
            return
        rules = task.preparation()["picture"]
        assert isinstance(rules, dict)
        assert task.test is not None
        seen = [row.numpy().tobytes() for part in (task.train, task.validation, task.test) for row in part.inputs]
        if in_rows:
            write_parquet(folder / "rows.parquet", [picture.encoded for picture in drawn])
            answer = read_picture_rows(folder / "rows.parquet", rules)
            assert answer is not None
            rows = answer[1]
        else:
            rows = read_pictures(folder, rules)[1]
        assert sorted(row.tobytes() for row in rows) == sorted(seen)
        assert all(np.isfinite(row.astype(float)).all() for row in rows)

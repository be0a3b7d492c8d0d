"""Folders and Parquet files of labelled pictures: which files count, and classes that are matched by name alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirigami import tasks
from kirigami.tasks.pictures import store
from tests.tasks.picture_files import encode, image_of, write_parquet
from tests.tasks.samples import write_images

COLOURS = {"a": (200, 40, 40), "b": (40, 200, 40), "c": (40, 40, 200)}


def write(folder: Path, classes: str, rows: int = 6, suffix: str = ".png") -> None:
    """Write noisy pictures of each class's colour."""
    drawn = np.random.default_rng(len(str(folder)))
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for row in range(rows):
            noise = drawn.integers(-20, 20, (8, 8, 3))
            Image.fromarray((np.array(COLOURS[name]) + noise).astype(np.uint8)).save(folder / name / f"{row}{suffix}")


def opened(path: Path, **arguments: object) -> tasks.Task:
    task = tasks.build({"name": "images", "path": str(path), "validation": 0.25, **arguments}, seed=0)
    task.setup("fit")
    return task


def colours(split: tasks.Split) -> list[int]:
    """Return the class that each picture's colour says."""
    return split.inputs.float().mean(dim=(2, 3)).argmax(dim=1).tolist()


class TestParts:
    @pytest.mark.parametrize("part", ["test", "validation"])
    def test_a_part_that_lacks_a_class_is_numbered_by_name(self, part: str, tmp_path: Path) -> None:
        write(tmp_path / "train", "abc")
        write(tmp_path / part, "ac")
        task = opened(tmp_path)
        task.check_test_part()
        task.setup("test")
        assert task.test is not None
        for split in (task.train, task.validation, task.test):
            assert split.targets.tolist() == colours(split)

    @pytest.mark.parametrize("part", ["test", "validation"])
    def test_a_class_that_train_lacks_is_refused_by_name(self, part: str, tmp_path: Path) -> None:
        write(tmp_path / "train", "abc")
        write(tmp_path / part, "ab")
        (tmp_path / part / "b").rename(tmp_path / part / "B")
        with pytest.raises(
            ValueError, match=rf"^path: the {part} part holds the class 'B' \(.*B.*only \(a, b, c\)\. Did you mean 'b'"
        ):
            opened(tmp_path).check_test_part()

    def test_test_pictures_are_checked_unopened(self, tmp_path: Path) -> None:
        write(tmp_path / "train", "abc")
        (tmp_path / "test" / "c").mkdir(parents=True)
        (tmp_path / "test" / "c" / "0.png").write_bytes(b"never opened in a search")
        task = opened(tmp_path)
        task.check_test_part()
        with pytest.raises(
            ValueError, match=r"^path: .*test.c.0\.png cannot be decoded: .* no picture of a kind"
        ) as caught:
            task.setup("test")
        assert "\n" not in str(caught.value)

    def test_an_empty_test_part_is_refused_before(self, tmp_path: Path) -> None:
        write(tmp_path / "train", "ab")
        (tmp_path / "test" / "a").mkdir(parents=True)
        with pytest.raises(ValueError, match=r"^path: the test part of '.*' holds no pictures"):
            opened(tmp_path).check_test_part()

    def test_a_test_part_in_grey_is_said(self, tmp_path: Path) -> None:
        write(tmp_path / "train", "ab")
        write(tmp_path / "test", "ab", rows=2)
        for file in (tmp_path / "train").rglob("*.png"):
            Image.open(file).convert("L").save(file)
        task = opened(tmp_path)
        task.setup("test")
        task.raw_test()
        assert task.in_shape == (1, 8, 8)
        assert task.notices[-1] == "test: 4 of 4 pictures: colours, which become grey."

    def test_numbers_of_files_are_matched_by_their_names(self, tmp_path: Path) -> None:
        pixels = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 3), np.uint8)
        write_images(tmp_path / "train.parquet", pixels, [0, 1] * 20, ["even", "odd"])
        write_images(tmp_path / "test.parquet", pixels, [1, 0] * 20, ["odd", "even"])
        task = opened(tmp_path)
        task.check_test_part()
        task.setup("test")
        assert task.test is not None
        for split in (task.train, task.validation, task.test):
            assert (split.inputs[:, 0, 0, 0] % 2).tolist() == split.targets.tolist()
        write_images(tmp_path / "test.parquet", pixels, [1, 0] * 20, ["odd", "other"])
        with pytest.raises(ValueError, match=r"the class 'other' \(.*test\.parquet\), but the train part has only"):
            opened(tmp_path).check_test_part()

    def test_labels_written_in_two_ways_are_one(self, tmp_path: Path, fresh: object) -> None:
        encoded = [encode(image_of("L", 3, 3, seed), "PNG") for seed in range(12)]
        write_parquet(tmp_path / "train.parquet", encoded, [1, 2, 10] * 4)
        write_parquet(tmp_path / "test.parquet", encoded, [1.0, 2.0, 10.0] * 4)
        task = opened(tmp_path)
        task.setup("test")
        assert task.test is not None
        assert task.classes == ("1", "2", "10")
        assert task.test.targets.tolist() == [0, 1, 2] * 4
        write_parquet(tmp_path / "train.parquet", encoded, ["yes", "no ", "yes "] * 4)
        write_parquet(tmp_path / "test.parquet", encoded, ["Yes", "no", "no"] * 4)
        fresh()  # type: ignore[operator]
        task = opened(tmp_path)
        assert task.classes == ("no", "yes")
        with pytest.raises(ValueError, match=r"'Yes' \(.*test\.parquet, row 0\).*Did you mean 'yes'\?"):
            task.setup("test")


class TestFolders:
    def test_what_systems_leave_behind_is_no_class(self, tmp_path: Path) -> None:
        write(tmp_path, "abc")
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "0.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
        (tmp_path / "a" / "._0.png").write_bytes(b"of a Mac")
        (tmp_path / "a" / "Thumbs.db").write_bytes(b"of Windows")
        task = opened(tmp_path)
        assert task.classes == ("a", "b", "c")
        header, *rows = (line.split() for line in task.notices)
        assert header == ["class", "train", "validation", "test"]
        assert [name for name, *_ in rows] == ["a", "b", "c"]
        assert [sum(map(int, counts)) for _, *counts in rows] == [6, 6, 6]

    def test_other_suffixes_are_counted_and_said(self, tmp_path: Path) -> None:
        write(tmp_path, "ab")
        write(tmp_path, "c", suffix=".TIF")
        for name in ("x.txt", "y.txt", "z.heic"):
            (tmp_path / "a" / name).write_text("?")
        task = opened(tmp_path)
        assert task.classes == ("a", "b", "c")
        assert task.notices[-1] == "train: 3 files (2 .txt, 1 .heic) of other suffixes were passed over."

    def test_a_folder_without_pictures_is_refused_unless_left_out(self, tmp_path: Path) -> None:
        write(tmp_path, "abc")
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "x.heic").write_text("?")
        with pytest.raises(
            ValueError, match=r"the folder '.*notes' holds no picture .* 1 file \(1 \.heic\).*drop=\[notes\]"
        ):
            opened(tmp_path)
        assert opened(tmp_path, drop=["notes"]).classes == ("a", "b", "c")
        assert opened(tmp_path, drop=["notes", "b"]).classes == ("a", "c")

    def test_a_name_to_drop_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "train", "ab")
        write(tmp_path / "test", "abc")
        with pytest.raises(ValueError, match=r"^drop must be one of \(a, b, c\), but got 'd'"):
            opened(tmp_path, drop=["d"])
        opened(tmp_path, drop=["c"]).check_test_part()

    def test_links_are_followed_but_not_upwards(self, tmp_path: Path) -> None:
        write(tmp_path / "data", "ab")
        write(tmp_path / "elsewhere", "c")
        (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere" / "c")
        (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
        task = opened(tmp_path / "data")
        assert task.classes == ("a", "b", "c")
        assert len(task.train.targets) + len(task.validation.targets) + len(task.load_test().targets) == 18

    def test_folders_beside_the_parts_are_said(self, tmp_path: Path) -> None:
        write(tmp_path / "train", "ab")
        write(tmp_path / "extra", "c")
        assert "train: the folders (extra) beside it were passed over." in opened(tmp_path).notices

    def test_a_path_that_is_mistyped_is_not_asked_of_the_hub(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "pictures" / "train", "ab")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"^path: 'pictures/trian' is not there\. Did you mean 'train'\?"):
            opened(Path("pictures/trian"))

    def test_folders_in_a_class_belong_to_it(self, tmp_path: Path) -> None:
        write(tmp_path, "ab")
        write(tmp_path / "a", "c")
        task = opened(tmp_path)
        counts = Counter(task.train.targets.tolist() + task.validation.targets.tolist())
        assert counts[0] > counts[1]
        assert task.classes == ("a", "b")

    def test_two_folders_of_one_part_are_refused(self, tmp_path: Path) -> None:
        for name in ("Train", "val", "valid"):
            write(tmp_path / name, "ab")
        with pytest.raises(ValueError, match=r"val' and '.*valid' are both validation parts"):
            opened(tmp_path)

    @pytest.mark.parametrize("name", ["a b, (c) [d]", "größe ☃", "x?y%31#z", "run=3", "${b}"])
    def test_any_name_is_a_folder(self, name: str, tmp_path: Path) -> None:
        write(tmp_path / name, "ab")
        assert opened(tmp_path / name).classes == ("a", "b")
        encoded = [file.read_bytes() for file in sorted(tmp_path.rglob("*.png"))]
        (tmp_path / f"{name} rows").mkdir()
        write_parquet(tmp_path / f"{name} rows" / "train.parquet", encoded, [0, 1] * (len(encoded) // 2))
        assert opened(tmp_path / f"{name} rows").classes == ("0", "1")


class TestContent:
    def test_what_has_changed_is_read_again(self, tmp_path: Path) -> None:
        write(tmp_path / "data", "ab")
        assert opened(tmp_path / "data").classes == ("a", "b")
        write(tmp_path / "data", "c")
        assert opened(tmp_path / "data").classes == ("a", "b", "c")
        (tmp_path / "data" / "a" / "0.png").unlink()
        task = opened(tmp_path / "data")
        assert len(task.train.targets) + len(task.validation.targets) + len(task.load_test().targets) == 17

    def test_pictures_of_two_parts_and_missing_classes_are_said(self, tmp_path: Path) -> None:
        write(tmp_path / "train", "abc")
        for part, names in (("validation", "ab"), ("test", "c")):
            for name in names:
                (tmp_path / part / name).mkdir(parents=True)
                Image.open(tmp_path / "train" / name / "0.png").save(tmp_path / part / name / "x.png")
        task = opened(tmp_path)
        task.setup("test")
        assert "validation: no picture of (c)." in task.notices
        assert "test: no picture of (a, b)." in task.notices
        assert "validation: 2 of 2 pictures are in the train part too, to the last pixel." in task.notices
        assert task.notices[-1] == "test: 1 of 1 picture is in the train part too, to the last pixel."

    def test_more_than_the_memory_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, "ab")
        monkeypatch.setattr(store, "_memory", lambda: 1000)
        with pytest.raises(ValueError, match=r"^size: \d+ pictures of 3x8x8 take 0 GB, .* Set size=128"):
            opened(tmp_path)

    def test_one_picture_with_colours_keeps_them_in_all(self, tmp_path: Path) -> None:
        write(tmp_path, "ab")
        Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(tmp_path / "a" / "0.png")
        task = opened(tmp_path)
        assert task.in_shape == (3, 8, 8)
        assert colours(task.validation) == task.validation.targets.tolist()

    def test_sixteen_bits_are_not_clipped(self, tmp_path: Path) -> None:
        for number, name in enumerate("ab"):
            (tmp_path / name).mkdir()
            for row in range(6):
                pixels = image_of("I;16", 6, 6, row, top=300)
                Image.fromarray(np.asarray(pixels) + np.uint16(3000 * number)).save(tmp_path / name / f"{row}.png")
        task = opened(tmp_path)
        assert ((task.train.inputs.mean(dim=(1, 2, 3)) > 1500).long() == task.train.targets).all()
        inputs = next(iter(task.val_dataloader()))[0]
        assert inputs.abs().max() < 2
        assert ((inputs.mean(dim=(1, 2, 3)) > 0).long() == task.validation.targets).all()

    def test_a_set_that_collapses_is_refused(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).mkdir()
            for row in range(6):
                shape = np.zeros((8, 8, 4), np.uint8)
                shape[..., 3] = np.random.default_rng(row).integers(0, 256, (8, 8))
                Image.fromarray(shape).save(tmp_path / name / f"{row}.png")
        with pytest.raises(ValueError, match=r"^path: .* the value 0 only, once they are decoded; .*a.0\.png"):
            opened(tmp_path, background=0)
        assert any("transparent parts" in line for line in opened(tmp_path).notices)

    @pytest.mark.parametrize("in_rows", [False, True])
    def test_a_cut_off_picture_is_named(self, in_rows: bool, tmp_path: Path) -> None:
        write(tmp_path, "abc")
        file = tmp_path / "b" / "2.png"
        file.write_bytes(file.read_bytes()[:60])
        place = r"b.2\.png"
        if in_rows:
            files = sorted(tmp_path.rglob("*.png"))
            write_parquet(tmp_path / "train.parquet", [one.read_bytes() for one in files], [0, 1, 2] * 6)
            place = r"train\.parquet, row 8"
        with pytest.raises(ValueError, match=rf"^path: .*{place} cannot be decoded: .*truncated") as caught:
            opened(tmp_path)
        assert "\n" not in str(caught.value)
        assert "0x" not in str(caught.value)

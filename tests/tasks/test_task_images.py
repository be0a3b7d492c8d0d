"""Images from Parquet files, folders and the hub, decoded once and changed on the device."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kirigami import tasks
from kirigami.tasks import Task
from kirigami.tasks.augment import FlipCrop, Normalise, channel_statistics
from kirigami.tasks.pictures import store
from tests.tasks.samples import encode_image, write_images


def pixels(rows: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape), dtype=np.uint8)


def images(path: Path | str, seed: int = 0, **arguments: object) -> Task:
    task = tasks.build({"name": "images", "path": str(path), **arguments}, seed=seed)
    task.setup("test")
    return task


def write_folder(folder: Path, parts: tuple[str, ...], rows: int = 10, size: int = 6) -> None:
    for part in parts:
        for number, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for row, image in enumerate(pixels(rows, size, size, 3, seed=10 * len(part) + number)):
                (folder / part / name / f"{row}.png").write_bytes(encode_image(image))


class TestSources:
    @pytest.mark.parametrize("form", ["PNG", "WEBP"])
    def test_parquet_is_read_without_loss(self, tmp_path: Path, form: str) -> None:
        train, test = pixels(20, 5, 7, 3), pixels(6, 5, 7, 3, seed=1)
        write_images(tmp_path / "train-00000-of-00002.parquet", train[:12], [0, 1] * 6, ["a", "b"], form)
        write_images(tmp_path / "train-00001-of-00002.parquet", train[12:], [0, 1] * 4, ["a", "b"], form)
        write_images(tmp_path / "test-00000-of-00001.parquet", test, [0, 1] * 3, ["a", "b"], form)
        task = images(tmp_path, validation=4)
        assert (task.in_shape, task.classes) == ((3, 5, 7), ("a", "b"))
        assert np.array_equal(task.test.inputs.numpy(), test.transpose(0, 3, 1, 2))
        seen = torch.cat((task.train.inputs, task.validation.inputs))
        assert {row.numpy().tobytes() for row in seen} == {row.transpose(2, 0, 1).tobytes() for row in train}
        place = {row.transpose(2, 0, 1).tobytes(): index for index, row in enumerate(train)}
        for image, label in zip(*task.train, strict=True):
            assert place[image.numpy().tobytes()] % 2 == int(label)

    def test_grey_images_have_one_channel_unless_asked(self, tmp_path: Path) -> None:
        write_images(tmp_path / "train.parquet", pixels(20, 5, 5), [0, 1] * 10)
        assert images(tmp_path).in_shape == (1, 5, 5)
        assert images(tmp_path, channels=3).in_shape == (3, 5, 5)
        assert images(tmp_path).classes == ("0", "1")

    def test_size_resizes(self, tmp_path: Path) -> None:
        write_images(tmp_path / "train.parquet", pixels(20, 5, 5), [0, 1] * 10)
        assert images(tmp_path, size=8).in_shape == (1, 8, 8)

    def test_without_a_test_file_rows_are_put_aside(self, tmp_path: Path) -> None:
        write_images(tmp_path / "train.parquet", pixels(100, 4, 4), [0, 1] * 50)
        task = images(tmp_path, test_share=0.3, validation=0.2)
        assert [len(part.targets) for part in (task.train, task.validation, task.test)] == [56, 14, 30]

    def test_own_validation_file_is_used(self, tmp_path: Path) -> None:
        for part, rows in (("train", 30), ("validation", 12), ("test", 8)):
            write_images(tmp_path / f"{part}.parquet", pixels(rows, 4, 4, seed=rows), [0, 1] * (rows // 2))
        task = images(tmp_path)
        assert [len(part.targets) for part in (task.train, task.validation, task.test)] == [30, 12, 8]

    def test_folders_of_classes(self, tmp_path: Path) -> None:
        write_folder(tmp_path, ("train", "test"))
        task = images(tmp_path, validation=0.2)
        assert task.classes == ("cat", "dog")
        assert [len(part.targets) for part in (task.train, task.validation, task.test)] == [16, 4, 20]
        assert len(images(tmp_path / "train", validation=0.2).train.targets) == 13

    def test_other_columns(self, tmp_path: Path) -> None:
        import pyarrow as arrow
        from pyarrow import parquet

        cells = [encode_image(image) for image in pixels(20, 4, 4)]
        parquet.write_table(arrow.table({"photo": cells, "kind": ["x", "y"] * 10}), tmp_path / "train.parquet")
        task = images(tmp_path, image_column="photo", label_column="kind")
        assert (task.in_shape, task.classes) == ((1, 4, 4), ("x", "y"))
        with pytest.raises(ValueError, match=r"^image_column is not set and none of \(photo, kind\) of .* looks like"):
            images(tmp_path)
        with pytest.raises(ValueError, match=r"^image_column must be one of .*Did you mean 'photo'\?"):
            images(tmp_path, image_column="phto")

    def test_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})

        def load(name: str, split: str) -> datasets.Dataset:
            assert name == "someone/something"
            cells = [{"bytes": encode_image(image), "path": None} for image in pixels(20, 4, 4, seed=len(split))]
            return datasets.Dataset.from_dict({"image": cells, "label": [0, 1] * 10}, features=features)

        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: ["train", "test"])
        monkeypatch.setattr(datasets, "load_dataset", load)
        task = images("someone/something", validation=0.2)
        assert (task.in_shape, task.classes, len(task.test.targets)) == ((1, 4, 4), ("a", "b"), 20)
        assert np.array_equal(task.test.inputs.squeeze(1).numpy(), pixels(20, 4, 4, seed=4))

    def test_hub_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        def refuse(name: str) -> list[str]:
            raise FileNotFoundError(f"no {name}\nand more")

        monkeypatch.setattr(datasets, "get_dataset_split_names", refuse)
        with pytest.raises(ValueError, match=r"^path: there is no folder 'a/b', and the .* hub .*: no a/b$"):
            images("a/b")


class TestRows:
    def test_limit_is_exact_and_in_proportion(self, tmp_path: Path) -> None:
        write_images(tmp_path / "train.parquet", pixels(120, 4, 4), [0, 0, 1] * 40)
        task = images(tmp_path, rows=30, validation=0.25, test_share=20)
        assert [len(part.targets) for part in (task.train, task.validation, task.test)] == [30, 10, 20]
        assert torch.bincount(task.train.targets).tolist() == [20, 10]
        assert not torch.equal(task.train.inputs, images(tmp_path, seed=1, rows=30).train.inputs)
        with pytest.raises(ValueError, match=r"^rows must be at most 90, the train rows there are, but got 91"):
            images(tmp_path, rows=91, validation=10, test_share=20)

    def test_only_rows_asked_for_are_decoded_and_once(self, data: Path, monkeypatch, fresh) -> None:
        decoded: list[str] = []
        original = store.decode
        monkeypatch.setattr(
            store, "decode", lambda encoded, rules, where: decoded.append(where) or original(encoded, rules, where)
        )
        config = {"name": "images", "path": str(data / "pictures"), "rows": 30, "validation": 10}
        tasks.build(config, seed=0).setup("fit")
        assert len(decoded) == 40
        tasks.build({**config, "fraction": 0.5}, seed=0).setup("fit")
        assert len(decoded) == 40
        tasks.build(config, seed=1).setup("fit")
        assert len(decoded) == len(set(decoded)) > 40


class TestErrors:
    def test_folder_without_images(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"^path: .* holds neither train-\*\.parquet nor a folder of pictures"):
            images(tmp_path)

    def test_sizes_that_differ(self, tmp_path: Path) -> None:
        write_folder(tmp_path, ("train",))
        (tmp_path / "train" / "dog" / "0.png").write_bytes(encode_image(pixels(1, 9, 9, 3)[0]))
        with pytest.raises(
            ValueError, match=r"^size is not set, but .*train.dog.0\.png is 9x9 pixels, not 6x6\. Set size=6"
        ):
            images(tmp_path)

    def test_bytes_that_are_no_image(self, tmp_path: Path) -> None:
        write_folder(tmp_path, ("train",))
        (tmp_path / "train" / "dog" / "3.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match=r"^path: .*train.dog.3\.png cannot be decoded"):
            images(tmp_path)

    def test_one_class_and_unknown_labels(self, tmp_path: Path) -> None:
        write_images(tmp_path / "train.parquet", pixels(10, 4, 4), [0] * 10)
        with pytest.raises(ValueError, match=r"^path: .* holds one class only"):
            images(tmp_path)
        write_images(tmp_path / "train-1.parquet", pixels(10, 4, 4), [0, -1] * 5, ["a", "b"])
        (tmp_path / "train.parquet").unlink()
        other = tmp_path.rename(tmp_path.with_name("other"))
        with pytest.raises(
            ValueError, match=r"^label_column: the label -1 \(.*train-1\.parquet, row 1\) is none of the 2"
        ):
            images(other)

    def test_unreadable_parquet(self, tmp_path: Path) -> None:
        (tmp_path / "train.parquet").write_bytes(b"nothing")
        with pytest.raises(ValueError, match=r"^path: .* cannot be read as Parquet"):
            images(tmp_path)


class TestTransforms:
    def test_statistics_and_normalise(self) -> None:
        batch = torch.from_numpy(pixels(50, 3, 8, 8))
        mean, deviation = channel_statistics(batch)
        scaled = batch.double() / 255
        assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist(), rel=1e-6)
        assert deviation == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-5)
        normal = Normalise(mean, deviation)(batch)
        assert normal.dtype == torch.float32
        assert torch.allclose(normal.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
        assert torch.allclose(normal.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-4)

    def test_a_black_channel_stays_finite(self) -> None:
        batch = torch.zeros(4, 1, 3, 3, dtype=torch.uint8)
        assert torch.equal(Normalise(*channel_statistics(batch))(batch), torch.zeros(4, 1, 3, 3))

    def test_each_result_is_a_window_of_the_padded_image(self) -> None:
        batch = torch.from_numpy(pixels(60, 2, 6, 5)) // 2 + 1
        shifted = FlipCrop(Normalise((0.0,) * 2, (1.0,) * 2), padding=2).shift(batch, torch.Generator().manual_seed(0))
        padded = torch.nn.functional.pad(batch, (2, 2, 2, 2))
        found = set()
        for image, result in zip(padded, shifted, strict=True):
            matches = self.matches(image, result)
            assert len(matches) == 1
            found.update(matches)
        assert len(found) > 25
        assert {mirrored for *_, mirrored in found} == {False, True}

    @staticmethod
    def matches(image: torch.Tensor, result: torch.Tensor) -> list[tuple[int, int, bool]]:
        windows = {(top, left): image[:, top : top + 6, left : left + 5] for top in range(5) for left in range(5)}
        straight = [(*place, False) for place, window in windows.items() if torch.equal(result, window)]
        mirrored = [(*place, True) for place, window in windows.items() if torch.equal(result, window.flip(2))]
        return straight + mirrored

    def test_flip_can_be_left_out(self) -> None:
        batch = torch.from_numpy(pixels(30, 1, 5, 5))
        change = FlipCrop(Normalise((0.0,), (1.0,)), flip=False, padding=0)
        assert torch.equal(change.shift(batch, torch.Generator().manual_seed(0)), batch)

    def test_only_training_is_augmented(self, data: Path) -> None:
        task = images(data / "pictures", augment="flip_crop", validation=0.2)
        plain = images(data / "pictures", validation=0.2)
        first, second = ([inputs for inputs, _ in task.train_dataloader()] for _ in range(2))
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
        assert not torch.equal(first[0], next(iter(plain.train_dataloader()))[0])
        assert torch.equal(next(iter(task.val_dataloader()))[0], next(iter(plain.val_dataloader()))[0])

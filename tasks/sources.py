"""Where a user's own rows come from: arrays, data sets, loaders, functions that return them, or a data module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from kirigami.errors import ArgumentError, did_you_mean

PARTS = ("train", "validation", "test")
FORMS = "a pair (inputs, targets), a mapping of train, validation and test to one each, or a LightningDataModule"


@dataclass
class Source:
    """The parts of a user's rows, each read when it is first asked for, and the test part by nobody but an export.

    Args:
        parts: part -> a function that returns its rows in any form that `rows_of` reads, or None where there are none.

    Attributes:
        notices: what the reading of the parts has changed, in sentences.
    """

    parts: Mapping[str, Callable[[], Any]]
    notices: list[str] = field(default_factory=list)
    _rows: dict[str, tuple[Any, Any] | None] = field(default_factory=dict, repr=False)

    def rows(self, part: str) -> tuple[Any, Any] | None:
        """Return inputs and targets of a part, as the user gives them; None where there is no such part."""
        if part not in self._rows:
            content = self.parts[part]() if part in self.parts else None
            rows = None if content is None else rows_of(part, content, self.notices)
            known = None if part == "train" else self.rows("train")
            self._rows[part] = rows if rows is None or known is None else (_like(part, rows[0], known[0]), rows[1])
        return self._rows[part]

    @property
    def has_test(self) -> bool:
        """Whether the test rows are apart from the others; they are not read for that."""
        return "test" in self.parts


def _like(part: str, inputs: Any, train: Any) -> Any:
    """Return inputs of a part with names, of inputs and of columns of a frame, in the order of those of train.

    Raises:
        ArgumentError: they have other names, or are 8-bit numbers where those of train are not.
    """
    if isinstance(inputs, Mapping) and isinstance(train, Mapping):
        _check_names(part, "inputs", inputs, train)
        return {name: _like(part, inputs[name], train[name]) for name in train}
    if isinstance(inputs, Mapping | tuple) or isinstance(train, Mapping | tuple):
        if type(inputs) is not type(train) or len(inputs) != len(train):
            raise ArgumentError(
                "_target_", f"gives {part} {_described(inputs)} as inputs, and train {_described(train)}."
            )
        return tuple(_like(part, *pair) for pair in zip(inputs, train, strict=True))
    if all(hasattr(value, "columns") and hasattr(value, "iloc") for value in (inputs, train)):
        _check_names(part, "columns", inputs.columns, train.columns)
        return inputs if list(inputs.columns) == list(train.columns) else inputs[list(train.columns)]
    types = [str(getattr(value, "dtype", "")).removeprefix("torch.") for value in (inputs, train)]
    if all(types) and (types[0] == "uint8") != (types[1] == "uint8") and any("float" in name for name in types):
        raise ArgumentError(
            "_target_", f"gives {part} inputs of {types[0]}, and train of {types[1]}: they may have no scale in common."
        )
    return inputs


def _check_names(part: str, what: str, names: Any, known: Any) -> None:
    odd = [name for name in (*names, *known) if (name in names) != (name in known)]
    if odd:
        whose = (part, "train") if odd[0] in names else ("train", part)
        raise ArgumentError(
            "_target_", f"gives {whose[0]} {odd[0]!r} among its {what}, and {whose[1]} does not have it."
        )


def source_of(content: Any) -> Source:
    """Return the parts of what a user's function or class has given.

    Raises:
        ArgumentError: it is of no form that is known.
    """
    if isinstance(content, pl.LightningDataModule):
        return _of_module(content)
    if hasattr(content, "_asdict"):
        content = content._asdict()
    elif is_dataclass(content) and not isinstance(content, type):
        content = vars(content)
    if isinstance(content, Mapping):
        return _of_mapping(content)
    if isinstance(content, Dataset | DataLoader) or _is_pair(content):
        return Source({"train": lambda: content})
    raise ArgumentError("_target_", f"must return {FORMS}, but returned {_described(content)}.")


def _of_mapping(content: Mapping[Any, Any]) -> Source:
    for name in content:
        if name not in PARTS:
            near = did_you_mean(name, PARTS)
            raise ArgumentError("_target_", f"returned a part {name!r}; parts are (train, validation, test).{near}")
    if "train" not in content:
        raise ArgumentError("_target_", f"must return a part 'train', but returned ({', '.join(content)}).")
    present = {name: value for name, value in content.items() if value is not None}
    return Source({name: value if callable(value) else _held(value) for name, value in present.items()})


def _held(value: Any) -> Callable[[], Any]:
    return lambda: value


def _of_module(module: pl.LightningDataModule) -> Source:
    """Return the parts of a data module; its test loader is made when it is asked for."""
    module.prepare_data()
    module.setup("fit")

    def test() -> Any:
        module.setup("test")
        return _only("test", module.test_dataloader())

    loaders: dict[str, Callable[[], Any]] = {"train": lambda: _only("train", module.train_dataloader())}
    for name, hook, read in (
        ("validation", "val_dataloader", lambda: _only("validation", module.val_dataloader())),
        ("test", "test_dataloader", test),
    ):
        if getattr(type(module), hook) is not getattr(pl.LightningDataModule, hook):
            loaders[name] = read
    return Source(loaders)


def _only(part: str, loaders: Any) -> Any:
    """Return the one loader of a part; None where there is none."""
    if not isinstance(loaders, list | tuple):
        return loaders
    if len(loaders) > 1:
        raise ArgumentError("_target_", f"gives {len(loaders)} loaders for {part}, but one is taken. Join them.")
    return loaders[0] if loaders else None


def rows_of(part: str, content: Any, notices: list[str]) -> tuple[Any, Any]:
    """Return all inputs and targets of a part: of a pair itself, of a data set or loader its rows, read once in order.

    Raises:
        ArgumentError: a row is no pair, or the part is of no form that is known.
    """
    if isinstance(content, DataLoader):
        return _of_loader(part, content, notices)
    if isinstance(content, TensorDataset) and len(content.tensors) > 1:
        *inputs, targets = content.tensors
        return (inputs[0] if len(inputs) == 1 else tuple(inputs)), targets
    if isinstance(content, Dataset):
        return _of_loader(part, DataLoader(content, batch_size=256), notices)
    if _is_pair(content):
        return content[0], content[1]
    if hasattr(content, "__iter__") and not isinstance(content, Mapping | str | tuple | list):
        return _joined(part, list(content))
    raise ArgumentError(
        "_target_", f"must give {part} as a pair (inputs, targets), a Dataset or a DataLoader: {_described(content)}."
    )


def _of_loader(part: str, loader: DataLoader[Any], notices: list[str]) -> tuple[Any, Any]:
    dataset = loader.dataset
    in_order = DataLoader(dataset, batch_size=loader.batch_size or 256, collate_fn=loader.collate_fn)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batches = list(in_order)
        if part == "train" and not isinstance(dataset, IterableDataset) and _is_random(dataset):
            notices.append("The rows of train differ from one reading to the next: they are read once, and stay so.")
    if type(loader.sampler).__name__ not in ("SequentialSampler", "RandomSampler", "_InfiniteConstantSampler"):
        notices.append(f"The {type(loader.sampler).__name__} of {part} is not used: each row counts once an epoch.")
    return _joined(part, batches)


def _is_random(dataset: Any) -> bool:
    first, again = (default_collate([dataset[0]]) for _ in range(2))
    return not _alike(first, again)


def _alike(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, Mapping):
        return all(_alike(first[name], second[name]) for name in first)
    return all(map(_alike, first, second)) if isinstance(first, tuple | list) else bool(first == second)


def _joined(part: str, batches: list[Any]) -> tuple[Any, Any]:
    """Join batches of (inputs, targets)."""
    if not batches:
        raise ArgumentError("_target_", f"gives no rows for {part}.")
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ArgumentError(
                "_target_", f"must give rows of {part} as pairs (input, target), but gave {_described(batch)}."
            )
    inputs, targets = zip(*batches, strict=True)
    return _together(inputs), _together(targets)


def _together(values: Any) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        return {name: _together([value[name] for value in values]) for name in first}
    if isinstance(first, tuple | list) and not isinstance(first[0], str | int | float):
        return tuple(_together(list(column)) for column in zip(*values, strict=True))
    return np.concatenate([np.asarray(value) for value in values])


def _is_pair(content: Any) -> bool:
    """Tell whether something is inputs and targets: two arrays, or inputs of several and an array."""
    return (
        isinstance(content, tuple | list)
        and len(content) == 2
        and not isinstance(content[1], tuple | Dataset | DataLoader)
        and not isinstance(content[0], Dataset | DataLoader | str)
        and (hasattr(content[1], "__array__") or isinstance(content[1], list))
    )


def _described(content: Any) -> str:
    if isinstance(content, tuple | list):
        kinds = ", ".join(type(part).__name__ for part in content[:4])
        return f"a {type(content).__name__} of {len(content)} ({kinds}{', ...' if len(content) > 4 else ''})"
    return f"a {type(content).__name__}"

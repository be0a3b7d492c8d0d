"""For all tests: one thread for these tiny tensors, none of the developer's own store, the same examples each time."""

import functools
import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.disable()  # while torch is loaded and thousands of tests are collected: none of it is garbage, and half the time

# Examples take as long as the machine is busy, so none has a deadline.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile("quick")


def pytest_collection_finish() -> None:
    """Look for garbage from now on, among what tests make alone."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIRIGAMI_STORAGE", raising=False)


@pytest.fixture(scope="session")
def operators_once() -> Iterator[None]:
    """Read the sources of ONNX's operators once instead of at each export, which is a third of what an export takes."""
    from onnxscript._framework_apis import torch_2_5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_2_5, "get_torchlib_ops", functools.cache(torch_2_5.get_torchlib_ops))
        yield

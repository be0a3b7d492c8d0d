"""For all tests: one thread for these tiny tensors, and none of the developer's own store."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIRIGAMI_STORAGE", raising=False)

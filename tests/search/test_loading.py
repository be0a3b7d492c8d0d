"""A worker begins its first trial soon: it loads what a trial needs, and Lightning without SciPy's signals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import literal, resolve
from kirigami.search.config.study import checked
from kirigami.search.errors import InputError

JOIN = """
import gc, json, os, sys, threading
from kirigami.search.workers import worker

def joined():
    unused = ("sklearn", "pandas", "scipy.signal", "plotly", "onnx", "onnxruntime", "datasets")
    loaded = [name for name in unused if name in sys.modules]
    collects, frozen = gc.isenabled(), gc.get_freeze_count() > 100_000
    from scipy import signal
    print(json.dumps([loaded, collects, frozen, len(signal.windows.hamming(3))]), flush=True)
    os._exit(0)

worker.work(worker.Orders(json.load(sys.stdin), "folder", 0, 1, []), threading.Event(), joined)
"""


def test_a_worker_loads_what_a_trial_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = checked(compose(["study=breast_cancer", f"storage.url=sqlite:///{tmp_path}/studies.db"])).raw
    subprocess.run([sys.executable, "-c", JOIN], input=json.dumps(raw), text=True, check=True, timeout=600)
    log = (tmp_path / "folder" / "worker-0.log").read_text().splitlines()
    assert json.loads(log[-1]) == [[], True, True, 3]


WORDS = st.text(st.sampled_from("ab$ {}\\?.:'é\n"), max_size=6).map(literal) | st.sampled_from(["???", "a.b", "null"])
CONFIGS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | WORDS,
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from("xyz"), parts, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(CONFIGS)
@settings(max_examples=50)
def test_a_config_without_interpolations_is_resolved_as_by_omegaconf(config: dict[str, object]) -> None:
    try:
        wanted = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
    except Exception:
        with pytest.raises(InputError):
            resolve(config)
    else:
        assert resolve(config) == wanted
        assert json.dumps(resolve(config)) == json.dumps(wanted)


def test_what_is_resolved_shares_nothing_with_the_config() -> None:
    raw = {"group": {"list": [1, 2]}}
    resolve(raw)["group"]["list"].append(3)
    assert raw == {"group": {"list": [1, 2]}}

"""Joules from counters: of a made-up powercap tree and a made-up NVML."""

import sys
from types import SimpleNamespace

import pytest

from kirigami.search.study.energy import Meter, gpus, packages


def zone(folder, name, kind, microjoules, wraps=1_000_000):
    made = folder / name
    made.mkdir()
    (made / "name").write_text(f"{kind}\n")
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{wraps}\n")
    return made / "energy_uj"


def used(meter, device="cpu"):
    return meter.figures(meter.take(), device)


def test_packages_are_counted_without_their_parts(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 200_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:1", "psys", 1)
    (tmp_path / "intel-rapl").mkdir()
    meter = Meter(list(packages(tmp_path)))
    first.write_text("700000\n")
    assert used(meter) == {"energy_j": 0.5, "energy_of": ["package-0"]}


def test_a_counter_that_begins_anew(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    meter = Meter(list(packages(tmp_path)))
    file.write_text("100000\n")
    assert used(meter)["energy_j"] == pytest.approx(0.2)


def test_it_is_looked_at_before_it_begins_anew_twice(tmp_path):
    file, now = zone(tmp_path, "intel-rapl:0", "package-0", 0), [0.0]
    meter = Meter(list(packages(tmp_path)), clock=lambda: now[0])
    for microjoules in (800_000, 600_000, 400_000):
        now[0] += 11
        file.write_text(str(microjoules))
        meter.check()
    assert used(meter)["energy_j"] == pytest.approx(2.4)
    assert used(meter)["energy_j"] == 0


@pytest.mark.parametrize("text", ["", "none\n"])
def test_what_cannot_be_read_is_absent_not_0(tmp_path, text):
    zone(tmp_path, "intel-rapl:0", "package-0", 0).write_text(text)
    assert used(Meter(list(packages(tmp_path)))) == {}
    assert used(Meter(list(packages(tmp_path / "nowhere")))) == {}


def test_without_permission_it_is_absent(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0).unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # root may read every file, but no folder
    assert list(packages(tmp_path)) == []


def test_a_counter_that_fails_later_is_absent(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = Meter(list(packages(tmp_path)))
    file.unlink()
    assert used(meter) == {}


class TestNvidia:
    @pytest.fixture
    def millijoules(self, monkeypatch):
        counted = {"0": 1_000, "1": 2_000, "GPU-x": 2_000}

        def energy(handle):
            if handle not in counted:
                raise RuntimeError("not supported")
            return counted[handle]

        fake = SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: 3,
            nvmlDeviceGetHandleByIndex=str,
            nvmlDeviceGetHandleByUUID=str,
            nvmlDeviceGetTotalEnergyConsumption=energy,
        )
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return counted

    def test_only_the_trials_device_is_counted(self, millijoules):
        meter = Meter(list(gpus()))
        millijoules["0"] += 3_000
        millijoules["1"] += 500
        joules = meter.take()
        assert meter.figures(joules, "cuda:0") == {"energy_j": 3.0, "energy_of": ["cuda:0"]}
        assert meter.figures(joules, "cuda") == {"energy_j": 3.5, "energy_of": ["cuda:0", "cuda:1"]}
        assert meter.figures(joules, "cpu") == {}

    def test_devices_are_those_that_cuda_shows(self, millijoules, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 0")
        assert [counter.read() for counter in gpus()] == [2.0, 1.0]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-x")
        assert [(counter.name, counter.read()) for counter in gpus()] == [("cuda:0", 2.0)]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert list(gpus()) == []

    def test_without_a_driver_there_are_none(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert list(gpus()) == []

"""How the cores and GPUs of a machine are counted, and dealt to workers."""

import os

import pytest

from kirigami.search.training import devices
from kirigami.search.workers.launchers import places


class TestPlaces:
    @pytest.fixture(autouse=True)
    def machine(self, tmp_path, monkeypatch):
        """A machine without GPUs and limits; tests add what they need."""
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr(places, "NVIDIA", tmp_path / "nvidia")
        monkeypatch.setattr(devices, "PROC", tmp_path / "proc")
        monkeypatch.setattr(devices, "CGROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        self.root = tmp_path

    def smi(self, text, code=0):
        (self.root / "bin").mkdir(exist_ok=True)
        program = self.root / "bin/nvidia-smi"
        program.write_text(f"#!/bin/sh\n/bin/cat <<'E'\n{text}\nE\nexit {code}\n")
        program.chmod(0o755)

    def cgroup(self, line, **files):
        (self.root / "proc/self").mkdir(parents=True)
        (self.root / "proc/self/cgroup").write_text(line)
        for name, text in files.items():
            path = self.root / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def test_cores_are_shared_where_there_is_no_gpu(self):
        shares, said = places.share_out("auto", 2, "auto")
        assert [share.threads for share in shares] == [2, 2, 2, 2]
        assert said == "4 workers on 8 cores"
        assert len(places.share_out("auto", 16, "auto")[0]) == 1
        assert [share.threads for share in places.share_out(3, 2, "auto")[0]] == [2, 2, 2]

    def test_one_worker_for_each_gpu(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc,MIG-def")
        shares, said = places.share_out("auto", 2, "auto")
        assert [share.env["CUDA_VISIBLE_DEVICES"] for share in shares] == ["2", "GPU-abc", "MIG-def"]
        assert [share.threads for share in shares] == [2, 2, 2]
        assert said == "3 workers on 3 GPUs (CUDA_VISIBLE_DEVICES 2, GPU-abc, MIG-def)"

    def test_trials_on_several_devices_get_groups_of_gpus(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
        shares, said = places.share_out("auto", 2, "auto", devices=2)
        assert [share.env["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0,1", "2,3"]
        assert said == "2 workers on 4 GPUs (CUDA_VISIBLE_DEVICES 0,1 and 2,3)"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
        shares, _ = places.share_out("auto", 2, "auto", devices=2)
        assert [share.env["CUDA_VISIBLE_DEVICES"] for share in shares] == ["7"], "the worker refuses in its own words"

    def test_more_workers_than_gpus_are_dealt_round(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
        dealt = [share.env["CUDA_VISIBLE_DEVICES"] for share in places.share_out(5, 2, "cuda")[0]]
        assert dealt == ["4", "5", "4", "5", "4"]

    @pytest.mark.parametrize(("workers", "device"), [(1, "auto"), (2, "cpu"), (2, "cuda:1")])
    def test_gpus_are_left_alone(self, monkeypatch, workers, device):
        """One worker may want all of them, one on the CPU none, and who names a GPU means it."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        assert all(not share.env for share in places.share_out(workers, 2, device)[0])

    def test_a_named_gpu_takes_one_worker(self):
        assert len(places.share_out("auto", 2, "cuda:1")[0]) == 1

    @pytest.mark.parametrize(("visible", "found"), [("", []), ("-1", []), ("0,-1,1", ["0"]), ("NoDevFiles", [])])
    def test_hidden_gpus_stay_hidden(self, monkeypatch, visible, found):
        self.smi("GPU 0: NVIDIA H200 (UUID: GPU-1)")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert places.gpus() == found

    def test_nvidia_smi_is_asked(self):
        self.smi("GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)")
        assert places.gpus() == ["0", "1"]

    def test_slices_of_a_gpu_go_by_their_names(self):
        slices = "  MIG 1g.18gb     Device  0: (UUID: MIG-a)\n  MIG 1g.18gb     Device  1: (UUID: MIG-b)"
        self.smi(f"GPU 0: NVIDIA H200 (UUID: GPU-1)\n{slices}\nGPU 1: NVIDIA H200 (UUID: GPU-2)")
        assert places.gpus() == ["MIG-a", "MIG-b", "1"]

    def test_the_driver_is_asked_where_nvidia_smi_fails(self):
        self.smi("Failed to initialize NVML", 1)
        for card in ("0000:01:00.0", "0000:02:00.0"):
            (self.root / "nvidia" / card).mkdir(parents=True)
        assert places.gpus() == ["0", "1"]

    def test_limits_of_the_control_groups_count(self):
        self.cgroup("0::/a/b\n", a__b__cpu_dot_max="max 100000", a__cpu_dot_max="350000 100000")
        assert devices.cores() == 3
        assert [devices.threads_per_worker(workers) for workers in (1, 2)] == [3, 1]
        assert [share.threads for share in places.share_out(2, 2, "cpu")[0]] == [1, 1]

    def test_limits_of_old_control_groups_count(self):
        quota = {"cpu__docker__cpu_dot_cfs_quota_us": "50000", "cpu__docker__cpu_dot_cfs_period_us": "100000"}
        self.cgroup("4:cpu,cpuacct:/docker\n", **quota)
        assert devices.cores() == 1

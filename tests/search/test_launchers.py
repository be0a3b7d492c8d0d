"""Who takes a dead worker's slot, and what the launchers refuse."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kirigami.search.config.compose import compose
from kirigami.search.config.study import checked
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.report.progress import Progress
from kirigami.search.workers import launchers
from kirigami.search.workers.launchers import process
from kirigami.search.workers.launchers.base import LONGEST_PAUSE_S, Patience
from kirigami.search.workers.launchers.local import Local
from kirigami.search.workers.supervisor import Supervisor
from kirigami.search.workers.worker import Orders
from tests.waiting import GUARD_SECONDS, wait_until

# A worker without a study: does what the config says, after it has joined.
FAKE_WORKER = """
import json, os, sys, time
orders = json.loads(sys.stdin.readline())
does = orders["raw"]["does"][orders["index"]]
say = lambda **answer: print(json.dumps(answer), flush=True)
if does == "never joins":
    sys.exit("ModuleNotFoundError: no such thing")
if does == "starts slowly":
    time.sleep(3600)
say(joined=True)
if does == "dies once" and not os.path.exists(orders["folder"] + "/died"):
    open(orders["folder"] + "/died", "w").close()
    os.kill(os.getpid(), 9)
if does == "refuses":
    say(error="lr must be above 0")
    sys.exit(2)
if does == "waits":
    sys.stdin.read()
    say(ended="stopped")
else:
    say(ended="budget.trials=3 is met")
"""


@pytest.fixture
def team(tmp_path, monkeypatch):
    """Return a function that makes a local launcher of fake workers, one for each thing to do."""
    monkeypatch.setattr(process, "COMMAND", [sys.executable, "-c", FAKE_WORKER])
    made = []

    def make(*does, finished=lambda: 0, **settings):
        orders = [Orders({"does": does}, str(tmp_path), index, 1, []) for index in range(len(does))]
        made.append(Local(orders, settings.pop("deaths_in_a_row", 3), finished, **settings))
        return made[-1]

    yield make
    for one in made:
        one.kill()
        one.close()


@pytest.fixture
def supervise(capsys):
    from rich.console import Console

    def run(launcher):
        with Progress(Console(soft_wrap=True), None, None) as progress:
            return Supervisor(launcher, lambda: None, progress).run()

    return run


def polled(launcher, what):
    """Poll until something is true of the reports; return them."""
    found = []

    def look():
        found[:] = launcher.poll()
        return what(found)

    wait_until(look)
    return found


class TestPatience:
    def test_it_ends_where_no_trial_does(self):
        patience = Patience(4, lambda: 7)
        pauses = [patience.after_death() for _ in range(4)]
        assert pauses[3] is None
        assert pauses[:3] == sorted(pauses[:3])
        assert pauses[0] < pauses[2]

    def test_sixty_deaths_stop_nothing_while_trials_end(self):
        ended = iter(range(60))
        patience = Patience(2, lambda: next(ended))
        assert None not in [patience.after_death() for _ in range(60)]

    def test_a_store_that_is_away_is_no_progress(self):
        answers = iter([5, None, None])
        patience = Patience(3, lambda: next(answers))
        assert [patience.after_death() is None for _ in range(3)] == [False, False, True]

    def test_pauses_stay_short(self):
        patience = Patience(100, lambda: 0)
        assert max(patience.after_death() for _ in range(50)) == LONGEST_PAUSE_S


class TestLocal:
    def test_a_dead_worker_is_replaced(self, team, supervise, capsys):
        assert supervise(team("dies once")) == "budget.trials=3 is met"
        assert "worker 0 was killed by signal 9; starting another" in capsys.readouterr().out

    def test_one_that_cannot_start_is_given_up(self, team, supervise, tmp_path):
        with pytest.raises(StudyStopped, match="no such thing, 3 times in a row, while no trial ended"):
            supervise(team("never joins"))
        assert "no such thing" in (tmp_path / "worker-start.log").read_text()

    def test_the_others_go_on_without_it(self, team, supervise):
        assert supervise(team("never joins", "works", at_once=1, deaths_in_a_row=1)) == "budget.trials=3 is met"

    def test_what_one_refuses_stops_all(self, team, supervise):
        with pytest.raises(InputError, match="lr must be above 0"):
            supervise(team("waits", "refuses", at_once=2))

    def test_when_the_study_has_ended_nobody_else_starts(self, team, supervise):
        launcher = team("works", "starts slowly", "starts slowly", at_once=2)
        assert supervise(launcher) == "budget.trials=3 is met"
        assert all(report.met for report in launcher.poll())

    def test_no_more_start_at_once_than_there_are_cores(self, team):
        launcher = team("starts slowly", "starts slowly", "starts slowly", at_once=2)
        launcher.start()
        launcher.poll()
        assert [slot.worker is not None for slot in launcher.slots] == [True, True, False]

    def test_the_next_starts_when_one_has_joined(self, team):
        launcher = team("waits", "waits", "waits", at_once=1)
        launcher.start()
        reports = polled(launcher, lambda reports: all(report.joined for report in reports))
        assert len({report.pid for report in reports}) == 3
        launcher.stop()
        assert [report.ended for report in polled(launcher, lambda found: all(one.gone for one in found))] == (
            ["stopped"] * 3
        )

    def test_nobody_is_started_after_a_stop(self, team):
        launcher = team("waits", "waits", at_once=1)
        launcher.start()
        launcher.stop()
        launcher.slots[0].worker.process.kill()
        reports = polled(launcher, lambda found: all(report.gone for report in found))
        assert [report.ended for report in reports] == ["stopped", "stopped"]

    def test_orders_bring_their_environment(self, tmp_path, monkeypatch):
        program = "import os, json; print(json.dumps({'joined': os.environ['CUDA_VISIBLE_DEVICES']}))"
        monkeypatch.setattr(process, "COMMAND", [sys.executable, "-c", program])
        worker = process.start(Orders({}, str(tmp_path), 0, 1, [], {"CUDA_VISIBLE_DEVICES": "MIG-a"}))
        worker.close()
        assert worker.answer == {"joined": "MIG-a"}


def test_sigterm_asks_a_worker_to_stop(tmp_path):
    """SLURM and Kubernetes send it to every process before they end them."""
    program = """
import kirigami.search.workers.worker as worker
def work(orders, stop, on_joined, notify):
    on_joined()
    assert stop.wait(30)
    return "stopped"
worker.work = work
worker.main()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    orders = {"raw": {}, "folder": str(tmp_path), "index": 0, "threads": 1, "paths": []}
    started.stdin.write(json.dumps(orders) + "\n")
    started.stdin.flush()
    assert json.loads(started.stdout.readline()) == {"joined": True}
    started.send_signal(signal.SIGUSR2)  # a warning for the process above
    started.send_signal(signal.SIGTERM)
    out, _ = started.communicate(timeout=GUARD_SECONDS)
    assert json.loads(out) == {"ended": "stopped"}
    assert started.returncode == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["workers=0"], "workers must be a whole number of at least 1 or auto, but got 0"),
        (["workers=many"], "workers must be a whole number of at least 1 or auto, but got 'many'"),
        (["cores_per_worker=0"], "cores_per_worker must be a whole number of at least 1, but got 0"),
        (["+launcher.num_cpu=2", "launcher=ray"], "Did you mean 'num_cpus'?"),
        (["launcher=kubernetes"], "Choose one of (local, ray, slurm)"),
        (["launcher=slurm", "workers=auto"], "workers must be a number with launcher=slurm"),
        (["launcher.deaths_in_a_row=0"], "launcher.deaths_in_a_row must be a whole number"),
    ],
)
def test_wrong_words_are_named(overrides, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        checked(compose(["study=breast_cancer", *overrides]))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Return a function that builds the launcher of a composed config."""
    monkeypatch.chdir(tmp_path)

    def build(*overrides):
        settings = checked(compose(["study=breast_cancer", *overrides]))
        return launchers.build(settings, tmp_path / "studies" / "s", [Path.cwd()], lambda: 0)

    return build


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launcher=ray", "launcher.num_cpus=0"], "launcher.num_cpus must be a number above 0, but got 0"),
        (["launcher=ray", "launcher.num_gpus=1.5"], "launcher.num_gpus must be auto, a fraction"),
        (["launcher=ray", "launcher.max_restarts=-2"], "launcher.max_restarts must be a whole number"),
        (["launcher=slurm", "launcher.cluster=pbs"], "launcher.cluster must be one of (slurm, local), but got 'pbs'"),
        (["launcher=slurm", "launcher.timeout_min=0"], "launcher.timeout_min must be a whole number of at least 1"),
        (["launcher=slurm"], "SLURM runs the workers on others. Set storage.url=postgresql"),
    ],
)
def test_wrong_settings_are_named(built, overrides, said):
    pytest.importorskip("ray", reason="Ray is not installed")
    pytest.importorskip("submitit", reason="submitit is not installed")
    with pytest.raises(InputError) as refused:
        built(*overrides)
    assert said in str(refused.value)


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named(built, monkeypatch, launcher, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"Run: pip install 'kirigami-search\[{launcher}\]'"):
        built(f"launcher={launcher}")


class TestRay:
    """What can be said without a cluster."""

    @pytest.fixture(autouse=True)
    def _ray(self):
        pytest.importorskip("ray", reason="Ray is not installed")

    def test_an_address_where_nobody_answers_is_named_at_once(self, built):
        with pytest.raises(InputError, match=r"launcher.address=127.0.0.1:9 cannot be reached: .*Is the cluster up"):
            built("launcher=ray", "launcher.address=127.0.0.1:9").start()

    def test_another_server_is_no_cluster(self, built):
        import socket
        import threading

        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=lambda: server.accept()[0].sendall(b"220 mail.example ESMTP"), daemon=True).start()
            address = f"ray://127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(InputError, match=r"answers, but is no Ray cluster"):
                built("launcher=ray", f"launcher.address={address}").start()

    def test_a_word_is_no_address(self, built):
        with pytest.raises(InputError, match=r"must be auto, local, HOST:PORT"):
            built("launcher=ray", "launcher.address=cluster").start()

    def test_a_store_of_this_machine_is_refused_on_others(self):
        from kirigami.search.workers.launchers.cluster import check_store

        for url in ("sqlite:////a/studies.db", "postgresql://a:secret@localhost/b", "postgresql:///b?host=/run"):
            check_store(url, {"10.0.0.1"}, "local")
            with pytest.raises(InputError, match="on this machine alone, but the workers run on 2 machines") as refused:
                check_store(url, {"10.0.0.1", "10.0.0.2"}, "local")
            assert "secret" not in str(refused.value)
            with pytest.raises(InputError, match="another machine"):
                check_store(url, {"10.0.0.1"}, "ray://10.0.0.1:10001")
        check_store("postgresql://a@db.example/b", {"10.0.0.1", "10.0.0.2"}, "ray://10.0.0.1:10001")

    def test_workers_are_counted_by_whole_nodes(self):
        from kirigami.search.config.launcher import Ray
        from kirigami.search.workers.launchers.cluster import Needs, needs_of, no_room

        nodes = [{"Resources": {"CPU": 5.0, "GPU": 1.0}}, {"Resources": {"CPU": 3.0}}]
        assert [Needs(2, 0).fit(node) for node in nodes] == [2, 1]
        assert [Needs(1, 0.5).fit(node) for node in nodes] == [2, 0]
        assert needs_of(Ray(name="ray"), nodes) == Needs(1, 1)
        assert needs_of(Ray(name="ray"), nodes[1:]) == Needs(1, 0)
        assert "no node of the Ray cluster has 8 CPUs and 1 GPU; the largest of its 2 has 5 CPUs" in (
            no_room(Needs(8, 1), nodes)
        )

    def test_a_config_that_reads_the_environment_takes_it_along(self, monkeypatch):
        monkeypatch.setenv("KIRIGAMI_DATA", "/data")
        raw = {"task": {"path": "${oc.env:KIRIGAMI_DATA,null}"}, "list": ["${oc.env:NOT_SET,1}"]}
        assert launchers.carried(raw) == {"KIRIGAMI_DATA": "/data"}


SBATCH = """#!/bin/sh
for file; do :; done
cp "$file" "$SAW/script"
echo "$KIRIGAMI_STORAGE" > "$SAW/url"
echo "Submitted batch job 12"
"""


def test_sbatch_gets_an_array_and_no_password(built, tmp_path, monkeypatch):
    """With wait=false the jobs are submitted and left alone; the store's URL is in no file."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "srun", "sacct", "scontrol"):
        (tmp_path / "bin" / name).write_text(SBATCH if name == "sbatch" else "#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SAW", str(tmp_path))
    monkeypatch.setattr("kirigami.search.storage.check", lambda settings, create: settings.url)
    url = "postgresql://kirigami:hunter2@db.example/studies"
    launcher = built(
        *("launcher=slurm", "workers=4", f"storage.url={url}", "launcher.wait=false", "launcher.partition=gpu"),
        *("launcher.gpus_per_node=1", "launcher.timeout_min=30", "+launcher.additional_parameters.reservation=night"),
    )
    launcher.start()

    script = (tmp_path / "script").read_text()
    for line in ("--array=0-3", "--partition=gpu", "--gpus-per-node=1", "--time=30", "--reservation=night"):
        assert f"#SBATCH {line}" in script
    assert (tmp_path / "url").read_text().strip() == url
    assert "KIRIGAMI_STORAGE" not in os.environ
    logs = tmp_path / "studies/s/slurm"
    assert not [file for file in logs.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]
    assert launcher.leaves
    assert "4 jobs on SLURM: 12_0, 12_1, 12_2, 12_3" in launcher.notes[0]
    assert "squeue --me" in launcher.notes[1]

"""One trial on several devices: the result of one device, whoever dies; two gloo processes on the CPU."""

import pytest
import torch
from safetensors.torch import load_file

from kirigami.search.config.compose import compose
from kirigami.search.config.identity import difference, identity
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.rehearsal import building as rehearsal
from kirigami.search.training import alone as trial
from kirigami.search.training import devices
from kirigami.search.training.checks import check_devices
from kirigami.search.training.job import Interrupted, Job, Paused, Pruned
from kirigami.search.training.ranks.pool import POOL
from kirigami.search.training.ranks.strategy import own_chance, share
from kirigami.search.training.runners import Solo

# 37 rows do not divide by two, and neither do the 13 of the last batch.
SMALL = ["study=digits_dense", "~space.network", "space=[]", "trainer.device=cpu", "network=mlp", "network.width=32"]
SMALL += ["trainer.epochs=3", "trainer.batch_size=37", "task.fraction=0.3"]
TWO = "trainer.devices=2"


def config_of(*overrides):
    return resolve(compose([*SMALL, *overrides]))


def run(*overrides, on_report=lambda fidelity, metrics: None):
    job = Job(0, config_of(*overrides), on_report)
    return Solo(lambda one: trial.train(one, threads=2)).outcome(job), job


def weights(outcome, folder):
    outcome.trained.save(folder / "network.safetensors")
    return load_file(folder / "network.safetensors")


def at_second_report(action):
    return lambda fidelity, metrics: action() if fidelity == 2 else None


def prune():
    raise Pruned("bad")


def pause():
    raise Paused


def interrupt():
    raise Interrupted("stopped by the user")


@pytest.fixture(autouse=True, scope="module")
def _dismissed():
    yield
    POOL.dismiss()


class TestShare:
    @pytest.mark.parametrize(("rows", "world", "least"), [(64, 2, 2), (37, 2, 2), (5, 4, 2), (1, 3, 2), (4, 4, 1)])
    def test_every_row_counts_once(self, rows, world, least):
        values = torch.arange(1.0, rows + 1)
        shares = [share(rows, rank, world, least) for rank in range(world)]
        taken = [row for place, weight in shares if weight for row in range(rows)[place]]
        mean = sum(weight * values[place].mean() for place, weight in shares) / world

        assert sorted(taken) == list(range(rows))
        assert float(mean) == pytest.approx(float(values.mean()))

    @pytest.mark.parametrize("rows", range(2, 20))
    def test_nobody_steps_on_fewer_rows_than_batch_norm_needs(self, rows):
        assert all(len(range(rows)[share(rows, rank, 4, 2)[0]]) >= 2 for rank in range(4))


def test_chance_inside_a_step_is_each_ranks_own_and_outside_common():
    torch.manual_seed(0)
    drawn = []
    for rank, step in ((0, 0), (1, 0), (0, 1), (0, 0)):
        with own_chance(7, rank, step):
            drawn.append(torch.rand(4))
    after = torch.rand(4)
    torch.manual_seed(0)

    assert torch.equal(after, torch.rand(4))
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


class TestTogether:
    @pytest.mark.parametrize(
        ("overrides", "apart"),
        [
            (["trainer.gradient_clip=0.5"], 1e-5),
            (["optimizer=avagrad", "network.norm=group"], 1e-5),
            # Its scores are a hundred times the weights.
            (["sparsity=continuous", "schedule=lipschitz"], 1e-2),
        ],
        ids=["sgd clipped", "avagrad", "sparse"],
    )
    def test_two_devices_train_what_one_trains(self, overrides, apart, tmp_path):
        (one, _), (two, job) = run(*overrides), run(*overrides, TWO)
        ours, theirs = weights(one, tmp_path), weights(two, tmp_path)

        assert (one.state, two.state) == ("complete", "complete"), two.reason
        close = 1e-4 if apart < 1e-4 else 0.05  # the rates of `lipschitz` come from each device's own rows
        for name in ("loss", "accuracy", "balanced_accuracy"):
            assert two.metrics[name] == pytest.approx(one.metrics[name], abs=close)
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name], value, rtol=0, atol=apart, msg=name)
        assert job.details["devices"] == 2

    @pytest.mark.parametrize(
        "overrides",
        [["network.norm=batch", "network.dropout=0.2", "bits=smol"], ["trainer.compress_gradients=0.1"]],
        ids=lambda overrides: overrides[-1],
    )
    def test_what_is_random_or_of_each_device_is_trained_too(self, overrides):
        outcome, job = run(*overrides, TWO)

        assert outcome.state == "complete", outcome.reason  # all ranks have the same weights, or it would have failed
        if "compress" in overrides[0]:  # whose signs need more than these few steps
            assert job.details["gradients"]["ratio"] > 5
        else:
            assert outcome.metrics["accuracy"] > 0.4

    @pytest.mark.parametrize("end", [prune, pause])
    def test_a_trial_that_ends_early_leaves_the_processes_for_the_next(self, end):
        before = [rank.process.pid for rank in POOL.ranks]
        ended, job = run(TWO, on_report=at_second_report(end))
        complete, _ = run(TWO)

        assert (ended.state, ended.reason) == (("pruned", "bad") if end is prune else ("paused", None))
        assert [fidelity for fidelity, _ in job.curve] == [1, 2]
        assert complete.state == "complete"
        assert len(before) == 1
        assert [rank.process.pid for rank in POOL.ranks] == before

    def test_a_rank_that_is_killed_fails_the_trial_and_is_replaced(self):
        outcome, _ = run(TWO, on_report=at_second_report(lambda: POOL.ranks[0].process.kill()))

        assert outcome.state == "failed"
        assert outcome.reason == "RankLost: rank 1 was killed by signal 9, and the trial cannot go on without it"
        assert POOL.ranks == []
        assert not torch.distributed.is_initialized()

    def test_a_stop_ends_all_ranks_at_once(self):
        with pytest.raises(Interrupted):
            run(TWO, on_report=at_second_report(interrupt))
        assert POOL.ranks == []


REFUSED = {
    "trainer.devices=0": ["trainer.devices", "0"],
    "trainer.devices=1.5": ["trainer.devices", "1.5"],
    "trainer.devices=38": ["trainer.devices", "trainer.batch_size=37", "38"],
    "trainer.compress_gradients=0.1": ["trainer.compress_gradients", "one device", "0.1"],
    "trainer.devices=2 trainer.compress_gradients=2": ["trainer.compress_gradients", "2"],
    "trainer.devices=2 growth=gradmax": ["trainer.devices", "growth=gradmax"],
    "trainer.devices=2 sparsity=structured": ["trainer.devices", "sparsity=structured"],
    "trainer.devices=2 regime=local": ["trainer.devices", "regime=local"],
}


@pytest.mark.parametrize(("overrides", "parts"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_one_line(overrides, parts):
    with pytest.raises(InputError) as refused:
        rehearsal.rehearse_trial(TrialConfig.from_resolved(config_of(*overrides.split())))

    assert all(part in str(refused.value) for part in parts)
    assert "\n" not in str(refused.value)


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    two = TrialConfig.from_resolved(config_of(TWO))
    assert devices.of_ranks(two.with_changes(trainer={"device": "auto"}).trainer) == ("cuda:0", "cuda:1")
    with pytest.raises(
        InputError, match=r"trainer.devices must be at most 1, the GPUs there are from cuda:1, but got 2"
    ):
        check_devices(two.with_changes(trainer={"device": "cuda:1"}))


def test_the_number_of_devices_is_part_of_what_a_trial_means():
    """Batch norm sees a share of the batch on each."""
    assert difference(identity(config_of()), identity(config_of(TWO))) == ["trainer.devices: 1 -> 2"]


def test_a_trial_recorded_before_there_was_a_choice_had_one_device():
    config = config_of()
    recorded = {key: value for key, value in config["trainer"].items() if key != "devices"}
    assert TrialConfig.from_resolved({**config, "trainer": recorded}).trainer.ranks == 1
    assert TrialConfig.from_resolved(config_of("trainer.epochs=0", "trainer.devices=4")).trainer.ranks == 1

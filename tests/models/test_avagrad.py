"""AvaGrad is the paper's formula over all groups at once, and an ordinary torch optimiser."""

import io
from collections.abc import Iterator

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import build_network
from kirigami.models.optimizers import AvaGrad, AvaGradW, build_optimizer
from kirigami.models.schedules import build_schedule
from kirigami.models.structure import remove, units, widen


def gradients(shapes: list[tuple[int, ...]], steps: int = 6) -> Iterator[list[Tensor]]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def run(optimizer: torch.optim.Optimizer, steps: list[list[Tensor]]) -> list[Tensor]:
    """Take a step for each list of gradients, in the order of the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for grads in steps:
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def weights(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=draw, dtype=torch.float64)) for shape in shapes]


def published(start: Tensor, grads: list[Tensor], lr: float, eps: float) -> Tensor:
    """Follow the paper's formula, all parameters in one vector."""
    w, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for grad in grads:
        m = 0.9 * m + 0.1 * grad
        eta = 1 / (v.sqrt() + eps)
        w = w - lr * len(w) ** 0.5 / eta.norm() * eta * m
        v = 0.999 * v + 0.001 * grad**2
    return w


SHAPES = [(3, 4), (5,), (2, 2)]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


class TestStep:
    @pytest.mark.parametrize("foreach", [None, True, False])
    @pytest.mark.parametrize("eps", [1e-8, 1e-3, 1.0])
    def test_is_the_formula_over_all_groups(self, eps: float, foreach: bool | None) -> None:
        steps = list(gradients(SHAPES))
        params = weights(SHAPES)
        groups = [{"params": params[:1]}, {"params": params[1:]}]
        found = run(AvaGrad(groups, lr=0.3, eps=eps, foreach=foreach), steps)
        wanted = published(flat(weights(SHAPES)), [flat(grads) for grads in steps], 0.3, eps)
        torch.testing.assert_close(flat(found), wanted)

    def test_is_averaged_sgd_for_a_large_epsilon(self) -> None:
        steps = list(gradients(SHAPES))
        found = run(AvaGrad(weights(SHAPES), lr=0.3, eps=1e9), steps)
        averaged = torch.optim.SGD(weights(SHAPES), lr=0.3, momentum=0.9)
        wanted = run(averaged, [[0.1 * grad for grad in grads] for grads in steps])
        torch.testing.assert_close(found, wanted)

    def test_rates_have_the_root_mean_square_lr(self) -> None:
        (param,) = weights([(1000,)])
        optimizer = AvaGrad([param], lr=0.3, betas=(0.0, 0.999), eps=1e-6)
        run(optimizer, [[grad.pow(3)] for grads in gradients([(1000,)]) for grad in grads])
        before = param.detach().clone()
        run(optimizer, [[torch.ones(1000, dtype=torch.float64)]])
        rates = before - param.detach()
        assert rates.square().mean().sqrt() == pytest.approx(0.3)
        assert rates.max() > 2 * rates.min()

    def test_groups_keep_their_own_settings(self) -> None:
        one, other = weights([(4,), (4,)])
        start = other.detach().clone()
        run(AvaGrad([{"params": [one]}, {"params": [other], "lr": 0.0}]), list(gradients([(4,), (4,)])))
        assert torch.equal(other, start)
        assert not torch.equal(one, start)

    def test_waits_for_no_device(self) -> None:
        """On the meta device there are no values, so whatever asks for one fails."""
        params = [nn.Parameter(torch.zeros(shape, device="meta")) for shape in SHAPES]
        steps = [[torch.zeros(shape, device="meta") for shape in SHAPES]] * 3
        for decay in (0.0, 0.1):
            run(AvaGrad(params, lr=torch.tensor(0.1, device="meta"), weight_decay=decay), steps)
            run(AvaGradW(params, weight_decay=decay), steps)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_serves_half_precision(self, dtype: torch.dtype) -> None:
        param = nn.Parameter(torch.ones(100, dtype=dtype))
        run(AvaGrad([param]), [[torch.ones(100, dtype=dtype)]] * 3)
        assert param.detach().float().sub(1 - 0.1 * (0.1 + 0.19 + 0.271)).abs().max() < 1e-2

    def test_maximizes(self) -> None:
        steps = list(gradients(SHAPES))
        up = run(AvaGrad(weights(SHAPES), maximize=True), steps)
        down = run(AvaGrad(weights(SHAPES)), [[-grad for grad in grads] for grads in steps])
        torch.testing.assert_close(up, down)

    def test_takes_a_tensor_for_a_rate(self) -> None:
        steps = list(gradients(SHAPES))
        found = run(AvaGradW(weights(SHAPES), lr=torch.tensor(0.3, dtype=torch.float64), weight_decay=0.1), steps)
        torch.testing.assert_close(found, run(AvaGradW(weights(SHAPES), lr=0.3, weight_decay=0.1), steps))

    def test_is_captured_with_its_rate_in_a_tensor_on_the_device(self) -> None:
        """The meta device stands for an accelerator: whatever asks it for a value fails, as under capture."""
        params = [nn.Parameter(torch.zeros(shape, device="meta")) for shape in SHAPES]
        steps = [[torch.zeros(shape, device="meta") for shape in SHAPES]] * 3
        for kind in (AvaGrad, AvaGradW):
            optimizer = kind(params, lr=torch.tensor(0.1, device="meta"), weight_decay=0.1, capturable=True)
            run(optimizer, steps)
            assert {tensor.device.type for state in optimizer.state.values() for tensor in state.values()} == {"meta"}
        with pytest.raises(ValueError, match=r"^lr must be a number, or a tensor on meta to be captured, but got cpu"):
            run(AvaGrad(params, lr=torch.tensor(0.1), capturable=True), steps)

    def test_refuses_to_be_captured_on_the_cpu(self) -> None:
        with pytest.raises(ValueError, match=r"^capturable=True needs parameters on an accelerator"):
            run(AvaGrad(weights(SHAPES), capturable=True), list(gradients(SHAPES, 1)))

    def test_asks_a_closure(self) -> None:
        (param,) = weights([(3,)])

        def closure() -> Tensor:
            loss = param.square().sum()
            loss.backward()
            return loss

        assert AvaGrad([param]).step(closure) > 0


class TestDead:
    """1 / eps of an entry that has no gradient would outweigh all others."""

    def test_do_not_slow_the_living(self) -> None:
        steps = list(gradients([(50,)], 20))
        alone = run(AvaGrad(weights([(50,)]), eps=1e-8), steps)
        padded = nn.Parameter(torch.cat([*weights([(50,)]), torch.ones(5, dtype=torch.float64)]).detach())
        (found,) = run(AvaGrad([padded], eps=1e-8), [[torch.cat([grad, torch.zeros(5)])] for (grad,) in steps])
        torch.testing.assert_close(found[:50], alone[0])
        assert torch.equal(found[50:], torch.ones(5, dtype=torch.float64))
        # Under the formula without the exception, the living hardly move after the first step.
        grads, start = [torch.cat([grad, torch.zeros(5)]) for (grad,) in steps], torch.ones(55, dtype=torch.float64)
        late = published(start, grads, 0.1, 1e-8) - published(start, grads[:1], 0.1, 1e-8)
        assert late.abs().max() < 1e-5 < (found[:50] - weights([(50,)])[0]).abs().min()

    def test_begin_with_the_rate_lr(self) -> None:
        param = nn.Parameter(torch.ones(50))
        optimizer = AvaGrad([param], lr=0.3, betas=(0.0, 0.999), eps=1e-8)
        late = torch.cat([torch.randn(49, generator=torch.Generator().manual_seed(0)), torch.zeros(1)])
        run(optimizer, [[late]] * 5)
        run(optimizer, [[torch.ones(50)]])
        assert float(param.detach()[-1]) == pytest.approx(1 - 0.3)

    def test_decay_makes_nobody_live(self) -> None:
        param = nn.Parameter(torch.ones(4))
        optimizer = AvaGrad([param], lr=0.1, betas=(0.0, 0.999), weight_decay=0.5)
        run(optimizer, [[torch.tensor([1.0, 1.0, 1.0, 0.0])]] * 2)
        assert float(param.detach()[-1]) == pytest.approx(0.95**2)
        assert (optimizer.state[param]["exp_avg_sq"] > 0).tolist() == [True, True, True, False]

    def test_all_may_be_dead(self) -> None:
        param = nn.Parameter(torch.ones(4))
        run(AvaGrad([param]), [[torch.zeros(4)]] * 3)
        assert torch.equal(param, torch.ones(4))

    def test_parameters_without_a_gradient_stay_out(self) -> None:
        one, other = weights([(4,), (3,)])
        optimizer = AvaGrad([one, other])
        one.grad = torch.ones_like(one)
        optimizer.step()
        assert other not in optimizer.state


def test_decoupled_decay_shrinks_before_the_step() -> None:
    steps = list(gradients(SHAPES, 1))
    (plain,) = weights([(3, 4)])
    found = run(AvaGradW(weights(SHAPES), lr=0.2, weight_decay=0.5), steps)[0]
    torch.testing.assert_close(found, 0.9 * plain.detach() - 0.2 * 0.1 * steps[0][0])


class TestState:
    def test_goes_through_a_file(self) -> None:
        steps = list(gradients(SHAPES, 8))
        whole = run(AvaGrad(weights(SHAPES), eps=1e-4), steps)
        first = AvaGrad(weights(SHAPES), eps=1e-4)
        half = run(first, steps[:4])
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = AvaGrad([nn.Parameter(tensor.clone()) for tensor in half])
        second.load_state_dict(torch.load(file, weights_only=True))
        torch.testing.assert_close(run(second, steps[4:]), whole, rtol=0, atol=0)

    def test_may_be_older_than_a_setting(self) -> None:
        first = AvaGrad(weights(SHAPES))
        kept = first.state_dict()
        for group in kept["param_groups"]:
            del group["capturable"]
        first.load_state_dict(kept)
        assert first.param_groups[0]["capturable"] is False
        run(first, list(gradients(SHAPES, 1)))

    def test_is_two_tensors_of_the_parameters_shape(self) -> None:
        optimizer = AvaGrad(weights(SHAPES))
        run(optimizer, list(gradients(SHAPES)))
        for param, state in optimizer.state.items():
            assert {key: value.shape for key, value in state.items()} == dict.fromkeys(
                ("exp_avg", "exp_avg_sq"), param.shape
            )

    def test_groups_can_come_later(self) -> None:
        one, other = weights([(4,), (3,)])
        optimizer = AvaGrad([one])
        run(optimizer, list(gradients([(4,)])))
        optimizer.add_param_group({"params": [other], "lr": 1.0})
        before = other.detach().clone()
        run(optimizer, list(gradients([(4,), (3,)], 1)))
        grad = next(gradients([(4,), (3,)], 1))[1]
        torch.testing.assert_close(other.detach(), before - 0.1 * grad)

    def test_follows_units_by_index(self) -> None:
        torch.manual_seed(0)
        network = build_network({"name": "mlp", "depth": 2, "width": 6}, in_shape=(4,), out_features=3)
        optimizer = build_optimizer(network, {"name": "avagrad", "weight_decay": 1e-3})
        inputs = torch.randn(8, 4)

        def step() -> None:
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

        step()
        one = units(network, inputs)[0]
        remove(network, one, [1, 2], optimizer)
        step()
        widen(network, one, 3, optimizer=optimizer)
        step()
        held = [param for group in optimizer.param_groups for param in group["params"]]
        assert {id(param) for param in held} == {id(param) for param in network.parameters()}
        assert all(optimizer.state[param]["exp_avg"].shape == param.shape for param in held)

    def test_lightning_resumes(self, tmp_path: object) -> None:
        class Module(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(0)
                self.layer = nn.Linear(3, 1)

            def training_step(self, batch: list[Tensor], index: int) -> Tensor:
                return self.layer(batch[0]).square().mean()

            def configure_optimizers(self) -> object:
                optimizer = AvaGradW(self.parameters(), weight_decay=0.1)
                return [optimizer], [CosineAnnealingLR(optimizer, 4)]

        def fit(epochs: int, resumed: str | None = None) -> tuple[Trainer, Module]:
            data = DataLoader(TensorDataset(torch.arange(24.0).view(8, 3) / 24), batch_size=4)
            quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
            trainer = Trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, **quiet)
            module = Module()
            trainer.fit(module, data, ckpt_path=resumed)
            return trainer, module

        _, whole = fit(4)
        trainer, _ = fit(2)
        trainer.save_checkpoint(f"{tmp_path}/half.ckpt")
        _, resumed = fit(4, f"{tmp_path}/half.ckpt")
        assert torch.equal(whole.layer.weight, resumed.layer.weight)


def test_schedules_swing_rate_and_momentum() -> None:
    ours, theirs = AvaGrad(weights(SHAPES), betas=(0.95, 0.999)), AvaGrad(weights(SHAPES), betas=(0.95, 0.999))
    one, other = build_schedule(ours, {"name": "onecycle"}, 20, 5), OneCycleLR(theirs, max_lr=0.1, total_steps=20)
    for _ in range(19):
        for optimizer, schedule in ((ours, one), (theirs, other)):
            optimizer.step()
            schedule.step()
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        assert ours.param_groups[0]["betas"] == pytest.approx(theirs.param_groups[0]["betas"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lr": -1.0}, "lr must be at least 0 and finite, but got -1.0"),
        ({"eps": 0.0}, "eps must be above 0 and finite, but got 0.0"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers .* but got \(0.9, 1.0\)"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0"),
    ],
)
def test_names_the_fault(settings: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        AvaGrad(weights(SHAPES), **settings)
    with pytest.raises(ValueError, match=expected):
        AvaGrad([{"params": weights(SHAPES), **settings}])


def test_names_the_fault_of_a_config() -> None:
    with pytest.raises(ValueError, match=r"^epsilon must be above 0 and finite, but got 0"):
        build_optimizer(nn.Linear(2, 1), {"name": "avagrad", "epsilon": 0.0})


def test_refuses_what_it_cannot_follow() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="sparse=False"):
        AvaGrad(table.parameters()).step()
    wave = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    wave.grad = torch.ones_like(wave)
    with pytest.raises(ValueError, match="complex"):
        AvaGrad([wave]).step()

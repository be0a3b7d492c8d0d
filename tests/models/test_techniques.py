"""The contract of techniques: each alone, on what knows nothing of this project, by a plain Trainer."""

import copy
import functools
import importlib
import inspect
import json
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_model, save_model
from torch import Tensor

from kirigami import models
from kirigami.models.compact import decode, encode, lower_bound, plain
from kirigami.models.technique import Link, Technique
from tests.models.foreign import Foreign, fit, loss_of, rows
from tests.models.technique_table import STAGES, TECHNIQUES

LATE = 1  # epoch after which a run is cut: before anything is hard


@dataclass(frozen=True)
class Run:
    """A technique that has had its run, on a module in evaluation mode."""

    module: Foreign
    technique: Technique
    before: float

    def outputs(self) -> Tensor:
        """Return the module's outputs on all rows."""
        with torch.no_grad():
            return self.module(rows()[0])


@functools.cache
def trained(name: str) -> Run:
    """Train once with a technique of the table."""
    module, technique = Foreign(), TECHNIQUES[name].alone()
    before = loss_of(module)
    fit(module.train(), technique)
    return Run(module.eval(), technique, before)


def restored(name: str) -> Foreign:
    """Bring a fresh module, of other weights, to the form of the one that was trained."""
    recipe = json.loads(json.dumps(trained(name).technique.recipe()))
    fresh = Foreign(seed=1).eval()
    TECHNIQUES[name].alone().restore(fresh, recipe)
    return fresh


class Cut(Callback):
    """Writes a checkpoint after an epoch, if the technique can go on from it, and notes whether it can."""

    def __init__(self, path: Path, technique: Technique) -> None:
        self.path, self.technique, self.resumable = path, technique, False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == LATE:
            self.resumable = self.technique.resumable
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("name", TECHNIQUES)
class TestTechnique:
    def test_loss_falls(self, name: str) -> None:
        run = trained(name)
        assert loss_of(run.module) < 0.85 * run.before

    def test_ends_hard_and_finite(self, name: str) -> None:
        run = trained(name)
        assert run.technique.hard
        assert run.outputs().isfinite().all()
        assert all(value.isfinite().all() for value in run.module.state_dict().values())

    def test_tells_finite_figures_that_a_study_can_keep(self, name: str) -> None:
        technique = trained(name).technique
        figures = technique.figures()
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures
        assert technique.report().keys() <= figures.keys()
        assert all(math.isfinite(figures[key]) for key in technique.report())

    def test_comes_to_no_less_than_it_said(self, name: str) -> None:
        run = trained(name)
        least, figures = TECHNIQUES[name].alone().least(), run.technique.figures()
        assert 0 < least.density <= 1
        assert figures.get("density", 1.0) >= least.density - 1e-3  # whole weights
        assert least.bits is None or least.bits - 0.01 <= figures["bits"]
        assert lower_bound(run.module, density=least.density, bits=least.bits) < len(encode(run.module))

    def test_comes_back_from_recipe_and_state(self, name: str) -> None:
        run, fresh = trained(name), restored(name)
        assert not torch.equal(fresh(rows()[0]), run.outputs())
        fresh.load_state_dict(run.module.state_dict(), strict=True)
        assert torch.equal(fresh(rows()[0]), run.outputs())

    def test_state_alone_makes_it_hard(self, name: str) -> None:
        run, fresh, technique = trained(name), Foreign(seed=1), TECHNIQUES[name].alone()
        technique.attach(fresh)
        if run.technique.recipe():
            pytest.skip("has another form than a fresh network, which its recipe tells")
        fresh.load_state_dict(run.module.state_dict(), strict=True)
        assert technique.hard
        assert torch.equal(fresh.eval()(rows()[0]), run.outputs())

    def test_comes_back_from_a_file_of_tensors(self, name: str, tmp_path: Path) -> None:
        run, fresh = trained(name), restored(name)
        path = str(tmp_path / "weights.safetensors")
        save_model(run.module, path)
        load_model(fresh, path)
        assert torch.equal(fresh(rows()[0]), run.outputs())

    def test_comes_back_from_the_encoded_file(self, name: str) -> None:
        run, target = trained(name), plain(restored(name))
        assert not torch.equal(target(rows()[0]), run.outputs())
        assert torch.equal(decode(encode(run.module), target)(rows()[0]), run.outputs())

    def test_goes_on_from_a_checkpoint_to_the_bit(self, name: str, tmp_path: Path) -> None:
        whole, technique = Foreign(), TECHNIQUES[name].alone()
        cut = Cut(tmp_path / "cut.ckpt", technique)
        fit(whole, technique, cut, epochs=LATE + 3)
        rest, again = Foreign(seed=1), TECHNIQUES[name].alone()
        fit(rest, again, epochs=LATE + 3, ckpt_path=cut.path, weights_only=True)
        assert cut.resumable
        assert again.hard
        assert torch.equal(rest.eval()(rows()[0]), whole.eval()(rows()[0]))

    def test_copies(self, name: str) -> None:
        run = trained(name)
        body = copy.deepcopy(run.module.body)
        assert torch.equal(body(rows()[0]), run.outputs())
        with torch.no_grad():
            for parameter in body.parameters():
                parameter.zero_()
        assert trained(name).outputs().abs().sum() > 0
        assert copy.deepcopy(run.technique).run is None

    def test_exports(self, name: str) -> None:
        body, inputs = plain(trained(name).module.body).eval(), rows()[0]
        program = torch.export.export(body, (inputs,))
        assert torch.equal(program.module()(inputs), body(inputs))

    def test_hard_form_still_learns(self, name: str) -> None:
        module, technique = copy.deepcopy((trained(name).module, trained(name).technique))
        before = trained(name).outputs()
        fit(module.train(), technique, epochs=1)
        assert technique.hard
        assert not torch.equal(module.eval()(rows()[0]), before)


def classes() -> list[type]:
    """Return every class of techniques and of links."""
    for module in pkgutil.walk_packages(models.__path__, "kirigami.models."):
        importlib.import_module(module.name)
    bases: list[type] = [Technique, Link]
    for base in bases:
        bases += [below for below in base.__subclasses__() if below.__module__.startswith("kirigami.")]
    return list(dict.fromkeys(bases))


def defined(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield (name, function) of each method and property that a class defines."""
    for name, value in vars(kind).items():
        function = value.fget if isinstance(value, property) else value
        if inspect.isfunction(function) and not name.startswith("__"):
            yield name, function


class TestRule:
    def test_table_holds_every_technique(self) -> None:
        ours = {kind for kind in classes() if issubclass(kind, Technique) and not inspect.isabstract(kind)}
        assert ours == {row.kind for row in TECHNIQUES.values()}
        assert {row.stage for row in TECHNIQUES.values()} == set(STAGES)

    @pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
    def test_a_class_is_abstract_or_final(self, kind: type) -> None:
        assert inspect.isabstract(kind) != getattr(kind, "__final__", False)

    @pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
    def test_what_is_defined_once_is_defined_nowhere_else(self, kind: type) -> None:
        """Abstract methods and hooks are there to be defined; nothing else of ours is replaced."""
        for base in kind.__mro__[1:]:
            if base.__module__.startswith("kirigami."):
                open_ = {
                    name
                    for name, function in defined(base)
                    if getattr(function, "__isabstractmethod__", False) or hasattr(function, "is_hook")
                }
                assert {name for name, _ in defined(kind)} & {name for name, _ in defined(base)} <= open_, base

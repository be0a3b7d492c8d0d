"""A folded network comes back from its file: the recipe brings a fresh one to the form that the weights fit."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import Learner, build_network, compact, cost
from kirigami.models.bits import Uniform
from kirigami.models.sharing import SoftSharing, TiedLayers, fold, normalise
from kirigami.models.sharing.bank import bank_of, banks
from kirigami.models.sparsity import ContinuousSparsification, MagnitudePruning
from kirigami.models.technique import Technique, stored_parameters

RESNET = {"name": "resnet", "stages": 1, "blocks": 4, "width": 8, "preactivation": True}
VGG = {"name": "vgg", "plan": [4, 0, 4, 4, 4, 4, 4, 4]}
FOLDED: dict[str, Any] = {"pressure": 30.0, "fold": True, "harden_at": 0.8}
INPUTS = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def build(config: dict[str, Any] = RESNET, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(config, in_shape=(1, 8, 8), out_features=2)


def fit(network: nn.Module, *techniques: Technique, epochs: int = 15) -> None:
    sgd = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
    module: LightningModule = Learner(network, F.cross_entropy, lambda outputs, targets: {}, sgd, {"name": "constant"})
    rows = DataLoader(TensorDataset(INPUTS, (INPUTS.mean((1, 2, 3)) > 0).long()), batch_size=8)
    Trainer(
        max_epochs=epochs,
        callbacks=list(techniques),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, rows)


def through_file(
    network: nn.Module, made: list[Technique], fresh: nn.Module, again: list[Technique], path: Path
) -> None:
    """Load a network's file into a fresh one, which the recipes alone bring to its form."""
    recipes = json.loads(json.dumps([technique.recipe() for technique in made]))
    save_model(network, str(path))
    for technique, recipe in zip(again, recipes, strict=True):
        technique.restore(fresh, recipe)
    missing, unexpected = load_model(fresh, path, strict=True)
    assert not missing
    assert not unexpected


def outputs(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return network.eval()(INPUTS)


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (RESNET, {"distinct": 2}),
    (RESNET, {"distinct": 1, "templates": 2, "pattern": "sequence"}),
    (RESNET, {"distinct": 3, "pattern": "found", "groups": ["stages.0.[!0].conv*"]}),
    (VGG, {"distinct": 2}),
]


@pytest.mark.parametrize(("config", "arguments"), CASES)
def test_folded_network_comes_back_to_the_bit(
    config: dict[str, Any], arguments: dict[str, Any], tmp_path: Path
) -> None:
    network, technique = build(config), SoftSharing(**FOLDED, **arguments)
    fit(network, technique)
    assert technique.folding is not None
    assert technique.folding.pattern, "nothing was folded"
    fresh, again = build(config, seed=7), SoftSharing(**FOLDED, **arguments, seed=7)
    through_file(network, [technique], fresh, [again], tmp_path / "folded.safetensors")
    assert torch.equal(outputs(fresh), outputs(network))
    assert cost.parameters(fresh) == cost.parameters(network) == technique.folding.after
    assert again.hard
    assert again.report() == technique.report()
    assert again.recipe() == technique.recipe()
    assert fold(fresh).kept == tuple(banks(network))  # nothing is left to fold


def test_what_only_trains_is_not_stored() -> None:
    alone, masked, folded = SoftSharing(**FOLDED), SoftSharing(**FOLDED), build()
    assert alone.shrinks
    assert not SoftSharing(4).shrinks
    fit(folded, alone)
    network = build()
    fit(network, masked, ContinuousSparsification(0.5))
    assert alone.folding is not None
    assert stored_parameters(folded) == stored_parameters(network) == alone.folding.after
    assert cost.parameters(network) > alone.folding.after  # the scores of the masks


def test_without_its_recipe_it_does_not_load(tmp_path: Path) -> None:
    network, technique = build(), SoftSharing(**FOLDED)
    fit(network, technique)
    save_model(network, str(tmp_path / "folded.safetensors"))
    fresh = build()
    SoftSharing(**FOLDED).restore(fresh, {})
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        load_model(fresh, tmp_path / "folded.safetensors")


@pytest.mark.parametrize("technique", [SoftSharing(3), TiedLayers(distinct=2), TiedLayers(pattern="sequence")])
def test_what_was_not_folded_needs_no_recipe(technique: Technique, tmp_path: Path) -> None:
    again, network, fresh = copy.deepcopy(technique), build(), build(seed=7)
    fit(network, technique, epochs=1)
    assert technique.recipe() == {}
    through_file(network, [technique], fresh, [again], tmp_path / "shared.safetensors")
    assert torch.equal(outputs(fresh), outputs(network))


def test_recipe_knows_a_fold_by_somebody_else(tmp_path: Path) -> None:
    """`fold`, called on a trained network, leaves the technique that trained it in the dark."""
    network, technique = build(), SoftSharing(4)
    fit(network, technique, epochs=1)
    names = list(technique.layers)
    done = fold(network, pattern=[names[0::2], names[1::2]])
    assert technique.recipe() == {"folded": done.pattern}
    fresh = build(seed=7)
    through_file(network, [technique], fresh, [SoftSharing(4)], tmp_path / "folded.safetensors")
    assert torch.equal(outputs(fresh), outputs(network))


def test_links_that_follow_come_back_too(tmp_path: Path) -> None:
    def techniques() -> list[Technique]:
        return [SoftSharing(**FOLDED, distinct=1), MagnitudePruning(0.5), Uniform(4)]

    (network, made), (fresh, again) = (build(), techniques()), (build(seed=7), techniques())
    fit(network, *made)
    assert made[0].recipe()
    through_file(network, made, fresh, again, tmp_path / "all.safetensors")
    assert torch.equal(outputs(fresh), outputs(network))


def test_restored_network_is_encoded_as_the_trained_one() -> None:
    network, technique = build(), SoftSharing(**FOLDED, distinct=1)
    fit(network, technique)
    fresh = build(seed=7)
    SoftSharing(**FOLDED, distinct=1, seed=7).restore(fresh, technique.recipe())
    fresh.load_state_dict(network.state_dict())
    data = compact.encode(network.eval())
    assert compact.encode(fresh.eval()) == data
    assert len(data) < 0.5 * len(compact.encode(compact.plain(network)))
    assert torch.equal(outputs(compact.decode(data, lambda: build(seed=3))), outputs(network))


def test_restored_network_learns_on() -> None:
    network, technique = build(), SoftSharing(**FOLDED)
    fit(network, technique)
    fresh, again = build(seed=7), SoftSharing(**FOLDED)
    again.restore(fresh, technique.recipe())
    before = {key: bank_of(layers[key]).templates.detach().clone() for key, layers in banks(fresh).items()}
    fit(fresh, again, epochs=1)
    assert [key for key, old in before.items() if torch.equal(bank_of(banks(fresh)[key][key]).templates, old)] == []
    assert again.recipe() == technique.recipe()


def test_recipe_of_another_network() -> None:
    with pytest.raises(ValueError, match="are no layers of one bank"):
        SoftSharing(4).restore(build(), {"folded": [["elsewhere.0", "elsewhere.1"]]})


def test_recipe_of_other_arguments() -> None:
    network, technique = build(), SoftSharing(4)
    technique.attach(network)
    names = list(technique.layers)
    fold(network, pattern=[names[0::2], names[1::2]])
    with pytest.raises(ValueError, match=r"templates=2 is as many weights as the fold of .* leaves\. Set it"):
        SoftSharing(2).restore(build(), technique.recipe())


def test_a_folded_weight_is_stored_by_the_scale_of_one_layer() -> None:
    network, technique = build(), SoftSharing(**FOLDED)
    fit(network, technique)
    before = outputs(network)
    normalise(network)
    torch.testing.assert_close(outputs(network), before, rtol=1e-5, atol=1e-5)
    for layers in banks(network).values():
        bank = bank_of(next(iter(layers.values())))
        if len(bank.templates) == 1:
            assert torch.equal(next(iter(layers.values())).weight, bank.templates[0])

"""SMOL against fp32, uniform quantisation and its own bits shuffled: test accuracy and stored bits a weight.

Paired by seed (initial weights and batches), the same epochs for all. Digits: `convnet`, width 16, depth 3; the
target of mean bits and all other settings were chosen on validation rows, the figures are of the test rows, opened
when everything is trained. With KIRIGAMI_DATA also 10,000 rows of Fashion-MNIST, few epochs. Bits a weight are
counted over the layers quantised (all but the last), map and scales included, as an adaptive arithmetic coder
writes them. At last the layers' inputs: digits with weights of 4 bits, and inputs of 8, 4 or 2 bits (of 8 for the
first layer) against inputs that are not rounded.
"""

import os
from collections.abc import Callable
from typing import Any

from benchmarks.rig.record import spread

TARGET = 1.15
ALL = ("fp32", "uniform 1", "uniform 2", "smol", "shuffled")
DATASETS: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 40, "seeds": range(4), "arms": ALL},
    "fashion": {"epochs": 5, "seeds": range(3), "arms": ("fp32", "uniform 1", "smol", "shuffled")},
}
INPUTS: dict[str, int | None] = {"32": None, "8": 8, "4": 4, "2": 2}
INPUT_SEEDS = range(3)
NETWORK = {"name": "convnet", "width": 16, "depth": 3}


def measure() -> dict[str, Any]:
    """Run every arm on every data set there is, and return accuracies, bits and paired differences."""
    import torch

    torch.set_num_threads(1)
    names = ["digits", "fashion"] if os.environ.get("KIRIGAMI_DATA") else ["digits"]
    results = {name: compare(name) for name in names}
    inputs = activations()
    lines = " ".join([*(prose(name, results[name]) for name in names), activation_prose(inputs)])
    return {"target_mean_bits": TARGET, **results, "activations": inputs, "prose": lines}


def arms() -> dict[str, Callable[[int], Any]]:
    """Return what makes each arm's callbacks from a seed, the technique first."""
    from kirigami.models.bits import SMOL, Uniform

    return {
        "fp32": lambda seed: [],
        "uniform 1": lambda seed: [Uniform(1, harden_at=0.4)],
        "uniform 2": lambda seed: [Uniform(2, harden_at=0.4)],
        "smol": lambda seed: [SMOL(TARGET, seed=seed)],
        "shuffled": shuffled,
    }


def shuffled(seed: int) -> list[Any]:
    """Make SMOL, and what gives the same histogram of bits in each layer to its weights at random."""
    import torch
    from lightning.pytorch import Callback

    from kirigami.models.bits import SMOL

    class Shuffle(Callback):
        done = False

        def on_train_batch_start(self, *_: Any) -> None:
            """Shuffle the bits, once, when they have just been fixed."""
            if self.done or not smol.hard:
                return
            self.done = True
            generator = torch.Generator().manual_seed(seed)
            for link in smol.links.values():
                order = torch.randperm(link.bits.numel(), generator=generator)
                link.bits.copy_(link.bits.flatten()[order].reshape(link.bits.shape))

    smol = SMOL(TARGET, seed=seed)
    return [smol, Shuffle()]


def compare(dataset: str) -> dict[str, Any]:
    """Train every arm under every seed, then open the test rows."""
    seeds, make = DATASETS[dataset]["seeds"], arms()
    task, config = prepare(dataset)
    trained = {arm: [train(task, config, make[arm](seed), seed) for seed in seeds] for arm in DATASETS[dataset]["arms"]}
    task.setup("test")
    rows: dict[str, Any] = {}
    for arm, runs in trained.items():
        accuracy = [accuracy_of(module, task) for module, _ in runs]
        figures = [technique.report() for _, technique in runs if technique is not None]
        rows[arm] = {"accuracy": spread(accuracy)}
        rows[arm] |= {key: spread([figure[key] for figure in figures]) for key in figures[0]} if figures else {}
    smol = rows["smol"]["accuracy"]["runs"]
    for arm, row in rows.items():
        pairs = zip(smol, row["accuracy"]["runs"], strict=True)
        row["smol_less_this_pt"] = spread([100 * (score - other) for score, other in pairs])
        print(
            f"{dataset:<8} {arm:<10} test accuracy {row['accuracy']['mean']:.4f} ± {row['accuracy']['sd']:.4f}   "
            f"stored bits {row['stored_bits']['mean'] if 'stored_bits' in row else 32:6.3f}   "
            f"SMOL less this {row['smol_less_this_pt']['mean']:+.2f} ± {row['smol_less_this_pt']['sd']:.2f} pt"
        )
    return {"rows": len(task.test.targets), "epochs": DATASETS[dataset]["epochs"], "arms": rows}


def activations() -> dict[str, Any]:
    """Train with weights of 4 bits and inputs of each number of bits under every seed, then open the test rows."""
    from kirigami.models.bits import Uniform

    task, config = prepare("digits")
    trained = {
        name: [train(task, config, [Uniform(4, activation_bits=bits, harden_at=0.4)], seed)[0] for seed in INPUT_SEEDS]
        for name, bits in INPUTS.items()
    }
    task.setup("test")
    accuracy = {name: [accuracy_of(module, task) for module in modules] for name, modules in trained.items()}
    table = {}
    for name, runs in accuracy.items():
        less = [100 * (rounded - unrounded) for rounded, unrounded in zip(runs, accuracy["32"], strict=True)]
        table[name] = {"accuracy": spread(runs), "less_unrounded_pt": spread(less)}
        print(f"digits   weights 4 bits, inputs {name:>2} bits: {table[name]['accuracy']['mean']:.4f}, {less} pt")
    return table


def activation_prose(table: dict[str, Any]) -> str:
    """Say what rounding inputs costs."""
    differences = [
        f"{name} bits {row['accuracy']['mean']:.4f} ({difference(row['less_unrounded_pt'])} none)"
        for name, row in table.items()
        if name != "32"
    ]
    return (
        f"Activations (digits, weights 4 bits, {len(INPUT_SEEDS)} seeds): inputs not rounded "
        f"{table['32']['accuracy']['mean']:.4f}, " + ", ".join(differences) + "."
    )


def prepare(dataset: str) -> tuple[Any, Any]:
    """Open a data set's training and validation rows under its study's config."""
    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve
    from kirigami.search.config.settings import TrialConfig
    from kirigami.search.training.building import open_task

    overrides = [f"study={dataset}", f"trainer.epochs={DATASETS[dataset]['epochs']}", "trainer.device=cpu"]
    resolved = {**resolve(compose(overrides)), "network": NETWORK}
    config = TrialConfig.from_resolved(resolved).with_changes(trainer={"batch_size": 64})
    return open_task(config), config


def train(task: Any, config: Any, callbacks: list[Any], seed: int) -> tuple[Any, Any]:
    """Train one arm and return its module and technique, which is the first of its callbacks or None."""
    import torch
    from lightning.pytorch import Trainer

    from kirigami.search.training.building import build_module
    from kirigami.search.training.trainer import quiet

    quiet()
    torch.manual_seed(seed)
    task.shuffle_seed = seed
    module = build_module(config, task)
    trainer = Trainer(
        max_epochs=config.trainer.epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(module, task.train_dataloader(), task.val_dataloader())
    return module, next(iter(callbacks), None)


def accuracy_of(module: Any, task: Any) -> float:
    """Return the share of test rows that a module names rightly."""
    import torch

    module.eval()
    with torch.no_grad():
        batches = [(module(inputs), targets) for inputs, targets in task.test_dataloader()]
    right = sum(int((outputs.argmax(1) == targets).sum()) for outputs, targets in batches)
    return right / sum(len(targets) for _, targets in batches)


def prose(dataset: str, results: dict[str, Any]) -> str:
    """Say what came out, aims missed included."""
    arms = results["arms"]
    smol, bits = arms["smol"], arms["smol"]["stored_bits"]["mean"]
    gap = arms["fp32"]["smol_less_this_pt"]
    reached = "reached" if bits <= 1.5 and gap["mean"] >= -1 else "NOT reached"
    against = {
        arm: f"{arm} {'bit' if arm.endswith('1') else 'bits'} ({row['stored_bits']['mean']:.2f} stored)"
        for arm, row in arms.items()
        if arm.startswith("uniform")
    }
    against["shuffled"] = "its own bits shuffled in each layer"
    differences = ", ".join(f"{difference(arms[arm]['smol_less_this_pt'])} {rival}" for arm, rival in against.items())
    return (
        f"{dataset} ({results['rows']} test rows, {len(gap['runs'])} seeds, {results['epochs']} epochs): SMOL "
        f"{smol['accuracy']['mean']:.4f} at {bits:.2f} stored bits, {gap['mean']:+.2f} ± {gap['sd']:.2f} pt from fp32 "
        f"(aim of at most 1.5 bits within 1 pt {reached}); {differences}."
    )


def difference(row: dict[str, Any]) -> str:
    """Say a mean of paired differences, and whether its 95 % interval (Student's t) holds zero."""
    from scipy.stats import t

    runs = len(row["runs"])
    undecided = abs(row["mean"]) < t.ppf(0.975, runs - 1) * row["sd"] / runs**0.5
    return f"{row['mean']:+.2f} ± {row['sd']:.2f} pt{' (undecided)' if undecided else ''} against"

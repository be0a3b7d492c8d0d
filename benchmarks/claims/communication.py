"""Compressed gradients between two workers: bytes sent, test accuracy against plain DDP, and seconds on a loopback.

Two gloo processes share each batch of 64, under the same seed with plain DistributedDataParallel and with each setting
of the hook; the rate, the schedule and the epochs are those of plain training, untuned for the hook. A control sends
1 % and forgets the rest, without error feedback. A convolutional network on digits and, where KIRIGAMI_DATA is set, on
10,000 rows of Fashion-MNIST at 14x14. Bytes are those a worker sends: of a ring all-reduce for plain, of a gathering
for the hook; with two workers they are the gradient in float32, and the code. With n workers the lead is 2 / n of that.
Signs are also raced: what zstd and our range coder make of the same codes, and how long they take. And the work of the
hook on a million entries says on how slow a network it begins to pay.
"""

import os
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.rig.record import spread
from benchmarks.rig.training import SGD, build, open_task, score

WORKERS = 2
CONTROL = "1 %, forgetful"
ARMS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "10 %": {"density": 0.1},
    "1 %": {"density": 0.01},
    "all signs": {"density": 1.0},
    CONTROL: {"density": 0.01},
}
AIM, MARGIN = 10, 0.005
NETWORK = {"name": "convnet", "width": 16, "depth": 3}
SAMPLED = 50  # steps from one bucket kept for the race of coders to the next
LEVELS = (3, 19)  # of zstd
ENTRIES = 1_000_000


def settings() -> dict[str, tuple[dict[str, Any], int, range]]:
    """Return the task, the epochs and the seeds of each data set."""
    by_name: dict[str, tuple[dict[str, Any], int, range]] = {"digits": ({"name": "digits"}, 20, range(5))}
    if os.environ.get("KIRIGAMI_DATA"):
        path = f"{os.environ['KIRIGAMI_DATA']}/fashion_mnist"
        fashion = {"name": "images", "path": path, "rows": 10000, "validation": 0.2, "size": 14}
        by_name["fashion"] = (fashion, 5, range(3))
    else:
        print("fashion is skipped: KIRIGAMI_DATA is not set")
    return by_name


def measure() -> dict[str, Any]:
    """Train all arms in two processes, race the coders, and print what came out."""
    import torch
    import torch.multiprocessing

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (folder, settings()), nprocs=WORKERS)
        rows, buckets = torch.load(Path(folder) / "found.pt", weights_only=True)
    results = {name: summary(runs) for name, runs in rows.items()}
    for name, arms in results.items():
        for arm, row in arms.items():
            print(f"{name:<8} {arm:<15} {line(row)}")
    race = {arm: coders(samples, arm) for arm, samples in buckets.items()}
    for arm, row in race.items():
        print(f"codes of {arm}: " + ", ".join(f"{k} {v['bytes']:,.0f} ({v['ms']:.1f} ms)" for k, v in row.items()))
    worth = speed()
    for arm, row in worth.items():
        print(f"a million entries, {arm}: {row['ms']:.1f} ms, pays below {row['mbit_s']:,.0f} Mbit/s")
    print(f"{time.perf_counter() - began:.0f} s")
    return {"runs": results, "coders": race, "speed": worth, "prose": prose(results, race, worth)}


def line(row: dict[str, Any]) -> str:
    """Return the figures of one arm."""
    accuracy, less = row["accuracy"], row["less"]
    return (
        f"accuracy {accuracy['mean']:.4f} sd {accuracy['sd']:.4f}, less plain {100 * less['mean']:+.2f} "
        f"sd {100 * less['sd']:.2f}, {row['bytes_a_step']:>8,.0f} bytes a step, {row['bytes'] / 1e6:>6.2f} MB, "
        f"{row['ratio']:>6.1f}x, {row['ms_a_step']['median']:.2f} ms a step, equal on both in {row['equal']} of "
        f"{len(accuracy['runs'])}"
    )


def work(rank: int, folder: str, tasks: dict[str, Any]) -> None:
    """Be one of the workers; the first one saves what was found."""
    import torch
    import torch.distributed as dist

    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    rows: dict[str, list[dict[str, Any]]] = {}
    buckets: dict[str, list[Any]] = {}
    for name, (config, epochs, seeds) in tasks.items():
        rows[name] = []
        for seed in seeds:
            for arm in ARMS:
                run, samples = train(rank, config, epochs, seed, arm)
                rows[name].append(run)
                if name == "digits" and seed == seeds[0] and samples and arm != CONTROL:
                    buckets[arm] = samples
    if rank == 0:
        torch.save((rows, buckets), Path(folder) / "found.pt")
    dist.barrier()
    dist.destroy_process_group()


def train(rank: int, config: dict[str, Any], epochs: int, seed: int, arm: str) -> tuple[dict[str, Any], list[Any]]:
    """Train one network on both workers; return its figures, and some of the buckets that were coded."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from kirigami.models.communication import CompressedGradients, Layout, exchange
    from kirigami.models.optimizers import build_optimizer
    from kirigami.models.schedules import build_schedule

    samples: list[Any] = []

    class Watched(CompressedGradients):
        """Keep some of what is sent."""

        def encode(self, parameters: Any, gradient: Any) -> tuple[Layout, Any]:
            layout, data = super().encode(parameters, gradient)
            if arm == CONTROL:
                self._late.clear()
            if self.steps % SAMPLED == 1:
                samples.append((list(layout.sizes), layout.decode(data).sign().to(torch.int8)))
            return layout, data

    task = open_task(config, seed)
    module = build(NETWORK, task, seed).train()
    model = DistributedDataParallel(module.network)
    arguments = ARMS[arm]
    if arguments is not None:
        state = Watched(**arguments)
        model.register_comm_hook(state, exchange)
    batches = task.train_dataloader()
    optimizer = build_optimizer(module.network, {**SGD, "lr": 0.1})
    schedule = build_schedule(optimizer, {"name": "onecycle"}, epochs * len(batches), len(batches))
    began = time.perf_counter()
    for _ in range(epochs):
        for inputs, targets in batches:
            loss = module.loss(model(inputs[rank::WORKERS]), targets[rank::WORKERS])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    seconds, steps = time.perf_counter() - began, epochs * len(batches)
    size = 4 * sum(parameter.numel() for parameter in module.network.parameters())
    run = {
        "arm": arm,
        "accuracy": score(module, task, "test", "accuracy"),
        "bytes": size * steps if arguments is None else state.sent_bytes,
        "plain_bytes": size * steps,
        "ms_a_step": 1e3 * seconds / steps,
        "steps": steps,
        "equal": alike(module.network),
    }
    return run, samples


def alike(network: Any) -> bool:
    """Tell whether all workers have the same parameters to the bit."""
    import torch
    import torch.distributed as dist

    flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    all_ = [torch.empty_like(flat) for _ in range(WORKERS)]
    dist.all_gather(all_, flat)
    return all(torch.equal(flat, other) for other in all_)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of each arm, and its accuracy less that of plain under the same seed."""
    table = {}
    plain = [run["accuracy"] for run in runs if run["arm"] == "plain"]
    for arm in ARMS:
        of_arm = [run for run in runs if run["arm"] == arm]
        table[arm] = {
            "accuracy": spread([run["accuracy"] for run in of_arm]),
            "less": spread([run["accuracy"] - base for run, base in zip(of_arm, plain, strict=True)]),
            "bytes": mean(run["bytes"] for run in of_arm),
            "bytes_a_step": mean(run["bytes"] / run["steps"] for run in of_arm),
            "ratio": mean(run["plain_bytes"] / run["bytes"] for run in of_arm),
            "ms_a_step": spread([run["ms_a_step"] for run in of_arm]),
            "equal": sum(run["equal"] for run in of_arm),
        }
    return table


def coders(samples: list[Any], arm: str) -> dict[str, dict[str, float]]:
    """Return the bytes of signs (-1, 0, 1) under each coder, a bucket at a time, magnitudes left out, and its time."""
    import numpy
    import torch
    import zstandard

    from kirigami.models.communication.codes import Layout, pack
    from kirigami.models.compact import coder
    from kirigami.models.compact.streams import Writer
    from kirigami.models.compact.symbols import put_symbols, symbols_size

    def ours(sizes: list[int], signs: Any) -> int:
        layout = Layout(sizes, (ARMS[arm] or {})["density"], 1)
        return len(layout.encode(signs.float())) - layout.parts[0]

    def zstd(level: int) -> Any:
        compress = zstandard.ZstdCompressor(level=level, write_checksum=False).compress

        def packed(sizes: list[int], signs: Any) -> int:
            some = signs != 0
            whole = (signs + 1).numpy().tobytes()
            split = pack(some[:, None]).numpy().tobytes() + pack((signs[some] < 0)[:, None]).numpy().tobytes()
            return min(len(compress(whole)), len(compress(split)))

        return packed

    def ranged(sizes: list[int], signs: Any) -> int:
        writer = Writer()
        for number, part in enumerate(signs.split(sizes)):
            put_symbols((part.numpy().astype(numpy.int64) + 3) % 3, 2, number, writer)
        return len(coder.encode(writer.bits, writer.chances)) + len(writer.rest())

    def entropy(sizes: list[int], signs: Any) -> float:
        return sum(symbols_size(part.numpy().astype(numpy.int64) + 1) for part in signs.split(sizes)) / 8

    named = {"ours": ours, **{f"zstd {level}": zstd(level) for level in LEVELS}, "range": ranged, "entropy": entropy}
    table = {}
    torch.set_num_threads(1)
    for name, code in named.items():
        sizes, times = [], []
        for bucket in samples:
            began = time.perf_counter()
            sizes.append(code(*bucket))
            times.append(1e3 * (time.perf_counter() - began))
        table[name] = {"bytes": mean(sizes), "ms": median(times)}
    return table


def speed() -> dict[str, dict[str, float]]:
    """Return the milliseconds that a worker of two needs for a million entries, and the network it is worth it on."""
    import torch

    from kirigami.models.communication import CompressedGradients

    table = {}
    parameters = [torch.nn.Parameter(torch.zeros(1000, 1000))]
    gradient = torch.randn(ENTRIES, generator=torch.Generator().manual_seed(0))
    for arm, arguments in ARMS.items():
        if arguments is None or arm == CONTROL:
            continue
        state, times = CompressedGradients(**arguments), []
        for _ in range(7):
            began = time.perf_counter()
            layout, data = state.encode(parameters, gradient)
            state.decode(layout, torch.stack([data] * WORKERS))
            times.append(time.perf_counter() - began)
        saved = 4 * ENTRIES - layout.bytes
        table[arm] = {"ms": 1e3 * median(times), "mbit_s": 8e-6 * saved / median(times)}
    return table


def prose(results: dict[str, Any], race: dict[str, Any], work: dict[str, Any]) -> str:
    """Say what was saved, what it cost, and which aims were reached."""
    parts = []
    for name, arms in results.items():
        plain = arms["plain"]
        shown = "; ".join(f"{arm}: {_said(row, arm)}" for arm, row in arms.items() if arm != "plain")
        equal = sum(row["equal"] for row in arms.values())
        count = sum(len(row["accuracy"]["runs"]) for row in arms.values())
        parts.append(
            f"{name}, {len(plain['accuracy']['runs'])} seeds, plain {plain['accuracy']['mean']:.4f} with "
            f"{plain['bytes_a_step']:,.0f} bytes a step, {plain['bytes'] / 1e6:.1f} MB in all, in "
            f"{plain['ms_a_step']['median']:.1f} ms; {shown}. Both workers end equal to the bit in {equal} of {count}."
        )
    raced = "; ".join(
        f"{arm}: " + ", ".join(f"{name} {row['bytes']:,.0f} bytes in {row['ms']:.1f} ms" for name, row in rows.items())
        for arm, rows in race.items()
    )
    worth = ", ".join(f"{arm} {row['ms']:.0f} ms ({row['mbit_s']:,.0f} Mbit/s)" for arm, row in work.items())
    return (
        f"Two gloo workers on a loopback (aims: at least {AIM}x fewer bytes, at most {100 * MARGIN:.1f} points below "
        f"plain DDP): {' '.join(parts)} The same signs of a bucket without magnitudes, under {raced}. Work on a "
        f"million entries, and the network below whose speed it pays: {worth}."
    )


def _said(row: dict[str, Any], arm: str) -> str:
    reached = "reached" if row["ratio"] >= AIM and row["less"]["mean"] >= -MARGIN else "NOT reached"
    return (
        f"{row['ratio']:.0f}x fewer ({row['bytes_a_step']:,.0f} bytes a step, {row['bytes'] / 1e6:.2f} MB in all), "
        f"{100 * row['less']['mean']:+.2f} points (sd {100 * row['less']['sd']:.2f}), "
        f"{row['ms_a_step']['median']:.1f} ms a step ({'the control' if arm == CONTROL else reached})"
    )

"""Bytes of trained, hardened networks under our coder, zstd-19, brotli-11, Huffman, the order-0 entropy and NNCodec.

The networks are trained here, each with techniques of ours. Ours is the whole file: names, shapes, checks, seal and
all. The others code the numbers alone, in the form that suits them best of three: all tensors as float32; levels as a
byte each, zeros included, with their scales, map of bits and all else as float32; or masks of a bit a weight, and what
they keep. Floats go as they stand or by planes, whichever is smaller. Huffman has a table of 4 bits a symbol in use,
and a code for each tensor; the entropy has no tables, and counts of floats the first byte alone, the others as they
are. NNCodec's arithmetic coder gets the levels, coded without loss, and zstd the rest, or all where that is smaller.
brotli and nncodec are raced where they are installed.
"""

import heapq
import importlib.util
import math
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.rig.training import build, fit, open_task

CONVNET = {"name": "convnet", "width": 16, "depth": 3}
DIGITS = {"name": "digits"}
ALIKE = {"name": "resnet", "stages": 1, "blocks": 7, "width": 16, "preactivation": True}
REPEATS = 5
SEED = 0

Columns = tuple[list[bytes], list[bytes]]
Coder = Callable[[bytes], bytes]


def networks() -> dict[str, tuple[dict[str, Any], dict[str, Any], int, Callable[[], list[Any]]]]:
    """Return what is trained: the task, the network, the epochs, and what makes the techniques."""
    from kirigami.models.bits import SMOL, Uniform
    from kirigami.models.sparsity import ContinuousSparsification, MagnitudePruning, StructuredPruning

    paths = {"name": "paths", "size": 8, "rows": 2000, "validation": 500, "test": 500}
    resnet = {"name": "resnet", "stages": 1, "blocks": 3, "width": 16, "preactivation": True}
    by_name: dict[str, Any] = {
        "digits cs 10 %, 4 bits": (DIGITS, CONVNET, 40, lambda: [ContinuousSparsification(0.1), Uniform(4)]),
        "digits smol": (DIGITS, CONVNET, 40, lambda: [SMOL(1.15, seed=SEED)]),
        "digits magnitude 20 %, 2 bits": (DIGITS, CONVNET, 40, lambda: [MagnitudePruning(0.2), Uniform(2)]),
        "digits resnet folded, 3 bits": (DIGITS, ALIKE, 20, folding),
        "digits mlp structured, 8 bits": (
            DIGITS,
            {"name": "mlp", "width": 128, "depth": 2},
            40,
            lambda: [StructuredPruning(0.5), Uniform(8)],
        ),
        "breast cancer mlp 20 %": (
            {"name": "breast_cancer"},
            {"name": "mlp", "width": 64, "depth": 2},
            40,
            lambda: [MagnitudePruning(0.2)],
        ),
        "paths resnet, 3 bits": (paths, resnet, 12, lambda: [Uniform(3)]),
        "digits dense": (DIGITS, CONVNET, 40, list),
    }
    if os.environ.get("KIRIGAMI_DATA"):
        path = f"{os.environ['KIRIGAMI_DATA']}/fashion_mnist"
        fashion = {"name": "images", "path": path, "rows": 10000, "validation": 0.2, "size": 14}
        by_name["fashion 20 %, 4 bits"] = (fashion, CONVNET, 5, lambda: [MagnitudePruning(0.2), Uniform(4)])
    else:
        print("fashion is skipped: KIRIGAMI_DATA is not set")
    return by_name


def folding() -> list[Any]:
    """Return what makes layers alike; `train` folds them then."""
    from kirigami.models.sharing import SoftSharing

    return [SoftSharing(4, groups=["stages.0.[!0].conv*"], pressure=3.0, distinct=2, harden_at=1.0, seed=SEED)]


def train(
    task_config: dict[str, Any], config: dict[str, Any], epochs: int, make: Callable[[], list[Any]]
) -> tuple[Any, Any]:
    """Return a trained network in evaluation mode, whose links are hard, and its task."""
    from kirigami.models.bits import Uniform
    from kirigami.models.norms import reestimate
    from kirigami.models.sharing import fold
    from kirigami.models.sharing.bank import banks
    from kirigami.models.sharing.fold import similar

    task = open_task(task_config, SEED)
    module = build(config, task, SEED)
    fit(module, task, make(), epochs=epochs)
    if make is folding:
        layers = next(iter(banks(module.network).values()))
        fold(module.network, pattern=similar(layers, most=2))
        reestimate(module.network, task.train_dataloader())
        fit(module, task, [Uniform(3)], epochs=3, lr=0.02)
    return module.network.eval(), task


def measure() -> dict[str, Any]:
    """Train the networks, race the coders on them, and print the bytes."""
    rows = {}
    for name, setting in networks().items():
        began = time.perf_counter()
        network, _ = train(*setting)
        rows[name] = {"train_s": time.perf_counter() - began, **race(network)}
    coders = list(next(iter(rows.values()))["bytes"])
    print(f"{'':<30}{'numbers':>9}{''.join(f'{name:>10}' for name in coders)}   enc ms   dec ms exact")
    for name, row in rows.items():
        sizes = "".join(f"{size:>10,}" for size in row["bytes"].values())
        print(f"{name:<30}{row['numbers']:>9,}{sizes}{row['encode_ms']:>9.0f}{row['decode_ms']:>9.0f} {row['exact']}")
    totals = {name: sum(row["bytes"][name] for row in rows.values()) for name in coders}
    print(f"{'total':<39}{''.join(f'{size:>10,}' for size in totals.values())}")
    return {"networks": rows, "totals": totals, "prose": prose(rows, totals)}


def prose(rows: dict[str, Any], totals: dict[str, int]) -> str:
    """Say who won, where ours lost, and who was not there."""
    others = [name for name in totals if name != "ours"]
    beaten = {
        name: [network for network, row in rows.items() if row["bytes"][name] < row["bytes"]["ours"]] for name in others
    }
    lost = "; ".join(f"{name} is smaller on {', '.join(ones)}" for name, ones in beaten.items() if ones)
    exact = sum(row["exact"] for row in rows.values())
    ratios = ", ".join(
        f"{name} {totals[name]:,} ({median(row['bytes'][name] / row['bytes']['ours'] for row in rows.values()):.2f}x)"
        for name in others
    )
    outside = max(row["outside"] for row in rows.values())
    absent = [name for name in ("brotli", "nncodec") if name not in totals]
    return (
        f"{len(rows)} trained networks, bytes in total (median against ours): ours {totals['ours']:,}, with "
        f"all that a file has, {outside} bytes of header, check and seal among it; of the numbers alone {ratios}. "
        f"{lost or 'Ours is the smallest on every one'}. "
        f"{exact} of {len(rows)} decode to the bit."
        + (f" Not installed, so not raced: {', '.join(absent)}." if absent else "")
    )


def race(network: Any) -> dict[str, Any]:
    """Return the bytes of a network under each coder, and how long ours takes."""
    import torch
    import zstandard

    from kirigami.models import compact
    from kirigami.models.compact.container import unseal

    compact.encode(torch.nn.Linear(1, 1))  # what is done once a process
    encoding, decoding = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        data = compact.encode(network)
        encoded = time.perf_counter()
        file = compact.read(data)
        encoding.append(encoded - began)
        decoding.append(time.perf_counter() - encoded)
    state = {k: v for k, v in compact.plain(network).state_dict().items() if not k.endswith("num_batches_tracked")}
    decoded = compact.decode_state(data)
    tries = forms(file)
    zstd = zstandard.ZstdCompressor(level=19, write_checksum=False).compress
    sizes = {
        "ours": len(data),
        "zstd": min(packed(columns, zstd) for columns in tries),
        "huffman": min(sum(map(huffman, (*codes, *planes(floats)))) for codes, floats in tries),
        "entropy": min(entropies(columns) for columns in tries),
    }
    if importlib.util.find_spec("brotli"):
        import brotli

        sizes["brotli"] = min(packed(columns, brotli.compress) for columns in tries)
    if importlib.util.find_spec("nncodec"):
        sizes["nncodec"] = min(sizes["zstd"], nncodec(file, zstd))
    return {
        "numbers": sum(value.numel() for value in state.values()),
        "bytes": sizes,
        "outside": len(data) - len(unseal(data)[0]),
        "encode_ms": 1000 * median(encoding),
        "decode_ms": 1000 * median(decoding),
        "exact": state.keys() == decoded.keys()
        and all(value.dtype == decoded[k].dtype and torch.equal(value, decoded[k]) for k, value in state.items()),
    }


def forms(file: Any) -> list[Columns]:
    """Return the three forms of a file's numbers, each as tensors of bytes and tensors of float32.

    Levels are numbered 0 for none, and 1, -1, 2, -2, … for 1, -1, 3, -3, …; what a tensor repeats is left out.
    """
    import numpy

    columns: list[Columns] = [([], []), ([], []), ([], [])]
    arrays = file.arrays()
    for name, part in file.parts.items():
        if part.form == "same":
            continue
        floats = arrays[name].astype(numpy.float32, order="C")
        columns[0][1].append(floats.tobytes())
        nonzero = floats != 0
        if part.levels is None:
            columns[1][1].append(floats.tobytes())
            columns[2][1].append(floats[nonzero].tobytes())
        else:
            codes = small(part.levels).astype(numpy.int8)
            for (bytes_, others), some in zip(columns[1:], (codes, codes[part.levels != 0]), strict=True):
                bytes_.append(some.tobytes())
                others.append(part.scale.tobytes())
                if part.bits.size > 1:
                    is_sparse = others is columns[2][1] and part.bits.shape == nonzero.shape
                    bits = part.bits[nonzero] if is_sparse else part.bits
                    bytes_.append(bits.tobytes())
        if not nonzero.all():
            columns[2][0].append(numpy.packbits(nonzero).tobytes())
    return columns


def small(levels: Any) -> Any:
    """Return odd levels as the whole numbers beside 0: 1 for 1, 2 for 3, and so on with their signs."""
    import numpy

    return numpy.sign(levels) * ((abs(levels.astype(numpy.int32)) + 1) // 2)


def nncodec(file: Any, compress: Coder) -> int:
    """Return the bytes of the levels under NNCodec's coder, a stream a tensor in its better order, and the rest."""
    import numpy
    from nncodec.extensions import deepCABAC

    total = packed((forms(file)[1][0][:0], forms(file)[1][1]), compress)
    for part in file.parts.values():
        if part.levels is None or part.form == "same":
            continue
        codes = numpy.ascontiguousarray(small(part.levels).reshape(len(part.levels), -1), numpy.int32)
        tries = []
        for order, adaptive in ((0, 0), (0, 1), (1, 0), (1, 1)):
            encoder = deepCABAC.Encoder()
            encoder.initCtxModels(10, adaptive)
            none = numpy.zeros(len(codes), numpy.int32), deepCABAC.HdspMode.AlwaysOff, numpy.zeros(0, numpy.int8)
            encoder.encodeLayer(codes, 0, order, 0, 0, 0, *none, 0, 0)
            tries.append(encoder.finish().size)
        total += min(tries) + (len(compress(part.bits.tobytes())) if part.bits.size > 1 else 0)
    return total


def planes(floats: list[bytes]) -> list[bytes]:
    """Return all first bytes of float32 numbers, all second bytes, …"""
    joined = b"".join(floats)
    return [joined[place::4] for place in range(4)]


def packed(columns: Columns, compress: Coder) -> int:
    """Return the bytes of a form, compressed as one stream or as two, floats as they stand or by planes."""
    codes, floats = b"".join(columns[0]), columns[1]
    tries = (b"".join(floats), b"".join(planes(floats)))
    whole = min(len(compress(codes + attempt)) for attempt in tries)
    return min(whole, min(len(compress(attempt)) for attempt in tries) + (len(compress(codes)) if codes else 0))


def entropies(columns: Columns) -> int:
    """Return the order-0 entropy of a form in bytes, each tensor of codes with its own, of floats the first bytes."""
    codes, floats = columns
    return math.ceil(sum(map(entropy, (*codes, planes(floats)[3]))) + 3 * len(planes(floats)[3]))


def entropy(data: bytes) -> float:
    """Return the order-0 entropy of some bytes, in bytes."""
    counts = [data.count(symbol) for symbol in set(data)]
    return -sum(count * math.log2(count / len(data)) for count in counts) / 8


def huffman(data: bytes) -> int:
    """Return the bytes of a Huffman code, table included, or of the data where these are fewer."""
    heap = [data.count(symbol) for symbol in set(data)]
    if len(heap) < 2:
        return 1 + len(heap)
    heapq.heapify(heap)
    table, bits = 4 * len(heap), 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return min(len(data), math.ceil((bits + table) / 8))

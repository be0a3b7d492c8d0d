"""Bytes of hardened networks under our coder, zstd-19, brotli-11, Huffman, the order-0 entropy, and NNCodec.

The networks are those that the trials of studies kept: run some studies first, with techniques and without, and name
the folder that holds theirs in KIRIGAMI_STUDIES (default `studies`). Ours is the whole file, with names, shapes, seal
and all. The others code the tensors alone: codes as one byte each, zeros included, and other numbers as float32, by
planes where that is smaller. Huffman has a table of 4 bits a symbol in use; the entropy has none, and counts what
numbers have beside their first byte as it is. brotli and nncodec are raced where they are installed; NNCodec gets each
tensor of codes as integers, to be coded without loss, and the rest as zstd has it.
"""

import heapq
import importlib
import math
import os
import time
from pathlib import Path
from typing import Any

LEAST = 6


def measure() -> dict[str, Any]:
    """Race the coders on every kept network, and print the bytes."""
    import torch

    torch.set_num_threads(1)
    folder = Path(os.environ.get("KIRIGAMI_STUDIES", "studies"))
    paths = sorted(folder.glob("*/networks/*.safetensors"))
    if len(paths) < LEAST:
        raise SystemExit(f"{folder} holds {len(paths)} kept networks, and {LEAST} are needed. Run more studies first.")
    rows = {f"{path.parent.parent.name}/{path.stem}": race(path) for path in paths}
    coders = list(next(iter(rows.values()))["bytes"])
    print(f"{'':<28}{'numbers':>9}{''.join(f'{name:>10}' for name in coders)}   enc ms   dec ms exact")
    for name, row in rows.items():
        sizes = "".join(f"{size:>10,}" for size in row["bytes"].values())
        print(f"{name:<28}{row['numbers']:>9,}{sizes}{row['encode_ms']:>9.0f}{row['decode_ms']:>9.0f} {row['exact']}")
    totals = {name: sum(row["bytes"][name] for row in rows.values()) for name in coders}
    print(f"{'total':<37}{''.join(f'{size:>10,}' for size in totals.values())}")
    others = ", ".join(f"{name} {size:,}" for name, size in totals.items() if name != "ours")
    smallest = sum(min(row["bytes"], key=row["bytes"].__getitem__) == "ours" for row in rows.values())
    exact = sum(row["exact"] for row in rows.values())
    prose = (
        f"{len(rows)} networks kept by trials, bytes in total: ours {totals['ours']:,} with all that a file has, "
        f"and of the tensors alone {others}. Ours is the smallest on {smallest} of {len(rows)}; {exact} of {len(rows)} "
        f"decode to the bit."
    )
    return {"networks": rows, "totals": totals, "prose": prose}


def race(path: Path) -> dict[str, Any]:
    """Return the bytes of one network under each coder, and how long ours takes."""
    import torch
    import zstandard

    from models import compact
    from search import kept

    network, _ = kept.load(path)
    compact.encode(torch.nn.Linear(1, 1))  # what is done once a process
    began = time.perf_counter()
    data = compact.encode(network)
    encoded = time.perf_counter()
    file = compact.read(data)
    decoded = time.perf_counter()
    wanted = {k: v for k, v in compact.plain(network).state_dict().items() if not k.endswith("num_batches_tracked")}
    codes, floats = contents(file)
    sizes = {
        "ours": len(data),
        "zstd": sum(map(len, (best(part, zstandard.ZstdCompressor(level=19).compress) for part in (codes, floats)))),
        "huffman": sum(huffman(part) for part in (*codes, *planes(floats))),
        "entropy": math.ceil(
            sum(entropy(part) for part in (*codes, planes(floats)[-1])) + 3 / 4 * len(b"".join(floats))
        ),
    }
    if installed("brotli"):
        import brotli

        sizes["brotli"] = sum(len(best(part, brotli.compress)) for part in (codes, floats))
    return {
        "numbers": sum(value.numel() for value in wanted.values()),
        "bytes": sizes,
        "encode_ms": 1000 * (encoded - began),
        "decode_ms": 1000 * (decoded - encoded),
        "exact": wanted.keys() == file.state.keys() and all(map(torch.equal, wanted.values(), file.state.values())),
    }


def contents(file: Any) -> tuple[list[bytes], list[bytes]]:
    """Return the tensors of codes, a byte each, and all other numbers as float32."""
    import numpy

    codes, floats = [], []
    for name, part in file.parts.items():
        if part.levels is not None and part.form != "same":
            codes.append(numpy.clip(part.levels, -255, 255).astype(numpy.int16).astype(numpy.int8).tobytes())
            floats.append(part.scale.tobytes())
        elif part.form != "same":
            floats.append(file.state[name].float().contiguous().numpy().tobytes())
    return codes, floats


def planes(floats: list[bytes]) -> list[bytes]:
    """Return all first bytes of float32 numbers, all second bytes, …"""
    joined = b"".join(floats)
    return [joined[place::4] for place in range(4)]


def best(parts: list[bytes], compress: Any) -> bytes:
    """Return the smaller of the parts compressed as they stand, and by planes of four bytes."""
    tries = [compress(b"".join(parts)), compress(b"".join(planes(parts)))]
    return min(tries, key=len)


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


def installed(name: str) -> bool:
    """Tell whether a package is there."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True

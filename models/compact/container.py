"""A sealed safetensors file: named streams of bytes, and a version and a SHA-256 over every byte in its header."""

import hashlib
import json
import re
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

VERSION = 1
KEY = "kirigami-compact"  # one key: safetensors writes several in no fixed order, and equal networks have equal bytes
BLANK = "0" * 64


def seal(streams: Mapping[str, bytes]) -> bytes:
    """Return the file of some streams; an empty one is left out."""
    tensors = {
        name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in sorted(streams.items()) if data
    }
    blank = save(tensors, metadata={KEY: f"version={VERSION} sha256={BLANK}"})
    return _stamp(blank, hashlib.sha256(blank).hexdigest())


def unseal(data: bytes) -> dict[str, bytes]:
    """Return the streams of a file, after a check of every byte.

    Raises:
        ValueError: where the file is foreign, damaged, cut short or of a version this program does not read.
    """
    digest = _digest(_header(data))
    found = hashlib.sha256(_stamp(data, BLANK)).hexdigest()
    if found != digest:
        raise ValueError(f"the file is damaged: the SHA-256 of its bytes is {found}, but its header says {digest}.")
    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"the file is no sound safetensors file: {error}") from error
    wrong = [name for name, tensor in tensors.items() if tensor.dtype != torch.uint8 or tensor.dim() != 1]
    if wrong:
        raise ValueError(f"the stream {wrong[0]!r} must be a row of bytes.")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def _header(data: bytes) -> dict[str, object]:
    """Return the JSON header of a safetensors file, which begins with its length in 8 bytes."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= len(data) - 8:
        raise ValueError(f"the file is cut short or of another format: {len(data)} bytes do not hold their header.")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise ValueError("the file is damaged or of another format: its header is no JSON.") from error
    return header if isinstance(header, dict) else {}


def _digest(header: Mapping[str, object]) -> str:
    metadata = header.get("__metadata__")
    seal = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(seal, str):
        raise ValueError(f"the file is of another format: its header has no {KEY!r}.")
    match = re.fullmatch(r"version=(\d{1,9}) sha256=([0-9a-f]{64})", seal)
    if not match:
        raise ValueError(f"the file is damaged: its header's {KEY!r} cannot be read.")
    if int(match[1]) != VERSION:
        raise ValueError(f"the file has version {match[1]}, and this program reads {VERSION}. Update kirigami-search.")
    return match[2]


def _stamp(data: bytes, digest: str) -> bytes:
    """Return the file with another digest in its place in the header, which has but one."""
    start = data.find(b" sha256=", 8, 8 + int.from_bytes(data[:8], "little")) + len(b" sha256=")
    return data[:start] + digest.encode() + data[start + 64 :]

"""The outside of a file: one safetensors tensor of bytes, with a version, a quick check and a seal in front.

A file is sealed by SHA-256, cut to 16 bytes, over its bytes and the SHA-256 of every tensor decoded from them. The
CRC-32 before it refuses damage without decoding anything.
"""

import hashlib
import zlib
from collections.abc import Iterable

VERSION = 2
NAME = "kgm"
CHECK, SEAL = 4, 16  # bytes of the CRC-32 and of the seal


def seal(body: bytes, digests: Iterable[bytes]) -> bytes:
    """Return the file of a body whose decoded tensors have these SHA-256, in order."""
    sealed = _seal(body, digests) + body
    inside = bytes([VERSION]) + zlib.crc32(sealed).to_bytes(CHECK, "little") + sealed
    return _header(len(inside)) + inside


def unseal(data: bytes) -> tuple[bytes, bytes]:
    """Return the body of a file and its seal, which `check` compares once the tensors are decoded.

    Raises:
        ValueError: where the file is foreign, damaged, cut short or of a version this program does not read.
    """
    length = int.from_bytes(data[:8], "little")
    start = data[8:40].split(b":[")[0]
    if start != _header(0)[8:40].split(b":[")[0] or length > 99:
        raise ValueError(f"the file is of another format: its {len(data)} bytes do not begin as those of a .kgm file.")
    inside = data[8 + length :]
    if data[: 8 + length] != _header(len(inside)) or len(inside) < 1 + CHECK + SEAL:
        raise ValueError(f"the file is damaged or cut short: its header is not that of {len(data)} bytes.")
    if inside[0] != VERSION:
        raise ValueError(f"the file has version {inside[0]}, and this program reads {VERSION}. Update kirigami-search.")
    sealed = inside[1 + CHECK :]
    if zlib.crc32(sealed).to_bytes(CHECK, "little") != inside[1 : 1 + CHECK]:
        raise ValueError("the file is damaged: the CRC-32 of its bytes is not the one it has.")
    return sealed[SEAL:], sealed[:SEAL]


def check(body: bytes, digests: Iterable[bytes], sealed: bytes) -> None:
    """Compare the seal of a file with the decoded contents.

    Raises:
        ValueError: where they differ.
    """
    if _seal(body, digests) != sealed:
        raise ValueError("the file is damaged: the SHA-256 of its bytes and tensors is not the one it is sealed with.")


def _seal(body: bytes, digests: Iterable[bytes]) -> bytes:
    return hashlib.sha256(bytes([VERSION]) + body + b"".join(digests)).digest()[:SEAL]


def _header(size: int) -> bytes:
    """Return the header of a safetensors file with one tensor of so many bytes, and no others."""
    text = f'{{"{NAME}":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}'.encode()
    return len(text).to_bytes(8, "little") + text

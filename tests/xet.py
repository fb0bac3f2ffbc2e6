"""Read what is uploaded by Xet: https://huggingface.co/docs/xet, "Xorb Formation & Serialization Format" and "MDB Shard"."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping

import pyarrow

BOOKEND = b"\xff" * 32
VERIFIED, WITH_SHA256 = 1 << 31, 1 << 30


def named(hexadecimal: str) -> bytes:
    """A hash as shards have it: a URL writes each of its four words the other way round."""
    return b"".join(bytes.fromhex(hexadecimal[at : at + 16])[::-1] for at in range(0, 64, 16))


def chunks(xorb: bytes) -> list[bytes]:
    """Its chunks, unpacked: each has a version, its packed length, how it is packed (not, LZ4, LZ4 of every fourth byte), its
    length."""
    found, at = [], 0
    while at < len(xorb) and xorb[at : at + 7] != b"XETBLOB":
        version, low, packing, length = struct.unpack("<B3sB3s", xorb[at : at + 8])
        assert version == 0
        packed, size = int.from_bytes(low, "little"), int.from_bytes(length, "little")
        content = xorb[at + 8 : at + 8 + packed]
        if packing:
            content = pyarrow.decompress(content, size, codec="lz4", asbytes=True)
        if packing == 2:
            mixed, begin = bytearray(size), 0
            for group in range(4):
                part = len(range(group, size, 4))
                mixed[group::4] = content[begin : begin + part]
                begin += part
            content = bytes(mixed)
        found.append(content)
        at += 8 + packed
    return found


def files(shard: bytes, xorbs: Mapping[bytes, list[bytes]]) -> Iterator[tuple[str, bytes]]:
    """SHA-256 and content of every file that a shard describes by ranges of chunks."""
    at = 48
    while shard[at : at + 32] != BOOKEND:
        flags, entries = struct.unpack("<II", shard[at + 32 : at + 40])
        content = b""
        for entry in range(at + 48, at + 48 + 48 * entries, 48):
            first, last = struct.unpack("<II", shard[entry + 40 : entry + 48])
            content += b"".join(xorbs[shard[entry : entry + 32]][first:last])
        at += 48 + 48 * entries * (2 if flags & VERIFIED else 1)
        assert flags & WITH_SHA256
        name = hashlib.sha256(content).hexdigest()
        assert named(name) == shard[at : at + 32]
        yield name, content
        at += 48

#!/usr/bin/env python3
"""Makes the golden bundles that no merge of ours gives, out of ones that a merge gave; they hold the same weights.

    tests/golden/make_crafted.py       (needs xxhash and zstandard; once made, the files do not change)

unusual.emr, from grid_raw.emr: all that a reader of 1.0 must bear though libemr does not write it. A later minor
version; reserved bytes that are not 0; SUMMARY longer than 48 bytes; sections in another order, among them unknown
ones, one of them twice; unknown streams, also twice and empty; blocks in another order in the file; strings
that records share, and some that none refers to; frames with a content checksum; other block sizes.
"""
import pathlib
import struct
import sys

import xxhash
import zstandard

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reader"))
from edit_bundle import BASE, BLOCKS, METADATA, STREAMS, STRINGS, SUMMARY, TASKS, TENSORS, Parts  # noqa: E402
from emr_reader import Bundle  # noqa: E402

RAW, ZSTD, FILL, PLANES = range(4)


def encode(block):
    """A block's stored bytes, codec and parameter: the larger ones by planes."""
    compressor = zstandard.ZstdCompressor(level=9, write_checksum=True)
    if len(set(block)) == 1:
        return b"", FILL, block[0]
    if len(block) == 2048:
        return b"".join(compressor.compress(block[k::4]) for k in range(4)), PLANES, 4
    frame = compressor.compress(block)
    return (frame, ZSTD, 0) if len(frame) < len(block) else (block, RAW, 0)


def unusual(source):
    bundle, parts = Bundle(source), Parts(source)
    streams = [[kind, owner, bundle.read(kind, owner, 0, length), 512, 0xFFFFFFFF]
               for kind, owner, length, _, _ in bundle.all_streams]
    streams[0][3] = 2048
    streams.insert(1, [1000, 0, bytes(range(256)) * 5, 512, 0xFFFFFFFE])
    streams.insert(0, [1000, 0, b"another of that kind and owner", 1 << 24, 0])
    streams += [[0x80000000, BASE, b"", 512, 0], [0, BASE, bytes(5000), 4096, 0]]
    blocks = [stream[2][at:at + stream[3]] for stream in streams for at in range(0, len(stream[2]), stream[3])]
    first, records = 0, []
    for kind, owner, content, size, flags in streams:
        records.append([kind, owner, len(content), first, size, flags])
        first += -(-len(content) // size)
    parts.set_records(STREAMS, "<IIQQII", records)

    parts.data, places = bytearray(), [None] * len(blocks)
    for i, block in reversed(list(enumerate(blocks))):
        stored, codec, parameter = encode(block)
        offset = parts.place(stored, 64 if codec == RAW else 1)
        places[i] = [offset, xxhash.xxh3_64_intdigest(stored), len(stored), codec, parameter, 0xABCD]
    parts.set_records(BLOCKS, "<QQIBBH", places)

    text = len(parts[STRINGS])
    parts[STRINGS].extend("format\0\0nobody's\0\u00e9\0".encode())
    weight = parts.records(TENSORS, "<II56s")[0][0]
    for i in range(bundle.n_tasks):  # one key, and a tensor's name as the value
        parts[METADATA].extend(struct.pack("<III", i, text, weight))
    parts[METADATA].extend(struct.pack("<III", BASE, text + 7, text))
    parts.put(TASKS, 28, "<I", 77)
    parts.put(TENSORS, 56, "<Q", 1 << 63)

    parts[SUMMARY].extend(b"more, later")
    parts.put(SUMMARY, 7, "<B", 1)
    parts.put(SUMMARY, 20, "<I", 2)
    parts.sections = [[kind, flags ^ 0x10, content] for kind, flags, content in reversed(parts.sections)]
    parts.sections.insert(0, [1000, 0xFFFFFFFE, bytearray(b"unknown")])
    parts.sections[5:5] = [[0, 0, bytearray()], [1000, 0, bytearray(b"unknown, again")]]
    struct.pack_into("<H", parts.header, 10, 7)
    parts.header[24:56] = bytes(range(32))
    parts.trailer[32:48] = bytes(range(16))
    return parts.build()


if __name__ == "__main__":
    bundles = HERE / "bundles"
    (bundles / "unusual.emr").write_bytes(unusual((bundles / "grid_raw.emr").read_bytes()))

#!/usr/bin/env python3
"""Makes the golden bundles that no merge of ours gives, out of ones that a merge gave; they hold the same weights.

    tests/golden/make_crafted.py       (needs xxhash and zstandard; once made, the files do not change)

unusual.emr, from grid_raw.emr: all that a reader of 1.0 must bear though libemr does not write it. A later minor
version; reserved bytes that are not 0; SUMMARY longer than 48 bytes; sections in another order, among them unknown
ones, one of them twice; unknown streams, also twice and empty; blocks in another order in the file; strings
that records share, and some that none refers to; frames with a content checksum; other block sizes.

letters.emr, from extendable_policies_raw.emr: patterns of all four lists in GROWTH.

arranged.emr, from grid_raw.emr, and arranged_carried.emr, from carried_raw.emr: the base and the tasks have tensors under
other names, and two in one piece; own() says what the tasks have.
"""
import pathlib
import struct
import sys

import xxhash
import zstandard

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reader"))
from edit_bundle import ARRANGEMENT, BASE, BLOCKS, GROWTH, METADATA, MODULATORS, RESCALERS, SHAPES, STREAMS, STRINGS, SUMMARY, TASKS, TENSORS, Parts  # noqa: E402
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


def require(parts, feature):
    """Version 1.1, with a feature that readers must know."""
    struct.pack_into("<HIQ", parts.header, 10, 1, 64, struct.unpack_from("<Q", parts.header, 16)[0] | feature)


def add_string(parts, text):
    parts[STRINGS].extend(text.encode() + b"\0")
    return len(parts[STRINGS]) - len(text.encode()) - 1


def letters(source):
    parts = Parts(source)
    require(parts, 2)
    n_old = struct.unpack_from("<I", parts[GROWTH], 12)[0]
    numerators = parts[GROWTH][(16 + 4 * n_old + 7) // 8 * 8:]
    globs = [add_string(parts, text) for text in ("pbias", "mno.such", "ano.such.*", "b", "p")]
    parts[GROWTH][12:] = struct.pack(f"<I{len(globs)}I", len(globs), *globs)
    parts[GROWTH].extend(bytes(-len(parts[GROWTH]) % 8) + numerators)
    return parts.build()


# By owner: tensor of the bundle, own name, and the tensor behind it or None; for each bundle.
ARRANGED = {
    "arranged": {0: [("weight", "model.weight", None), ("bias", "joined", "long")], 2: [("long", "joined", "bias")],
                 3: [("weight", "conv", None), ("conv", "weight", None), ("scalar", "", None)],
                 BASE: [("weight", "base.weight", None), ("bias", "base.joined", "long")]},
    "arranged_carried": {0: [("packed", "other", None), ("own.f4", "own.f6", None), ("own.f6", "own.f4", None)],
                         1: [("packed", "packed2", None)], BASE: [("packed", "packed0", None), ("scales", "scales0", None)]},
}


def arranged(name, source):
    bundle, parts = Bundle(source), Parts(source)
    require(parts, 4)
    parts.sections.append([ARRANGEMENT, 0, bytearray()])
    for owner, records in ARRANGED[name].items():
        private = bundle.tasks[owner]["private"] if owner != BASE else []
        there = [t["name"] if owner == BASE or bundle.task_dtype(owner, i) else None for i, t in enumerate(bundle.tensors)]
        shapes = [t["shape"] for t in bundle.tensors] + [p[2] for p in private]
        number = (there + [p[0] for p in private]).index
        for tensor, own_name, rest in sorted(records, key=lambda r: number(r[0])):
            shape = shapes[number(tensor)]
            if rest is not None:
                shape = (shape[0] + shapes[number(rest)][0], *shape[1:])
            parts[ARRANGEMENT].extend(struct.pack("<IIIIII", owner, number(tensor), add_string(parts, own_name), len(parts[SHAPES]) // 8,
                                                  BASE if rest is None else number(rest), 0))
            parts[SHAPES].extend(struct.pack(f"<{len(shape)}Q", *shape))
    return parts.build()


MASK, TWO_SIDED, SIGN, THIN, LEVELS = range(1, 6)
SCALE = struct.Struct("<H")


def of_kinds(source, records, rng):
    """A bundle of masks with other modulators: kind, log2 of thinning or number of levels, dtype of differences, columns of each task. What a
    merge would compute is drawn instead, all that a reader must bear among it: columns' scales below 0 and NaN, differences that are not
    finite, codes of no level, steps where a scale is 0, bits in padding."""
    bundle, parts = Bundle(source), Parts(source)
    require(parts, 8)
    n_columns = n_differences = 0
    for i, t in enumerate(bundle.tensors[:bundle.n_merged]):
        width = t["count"] // t["rows"] if t["rows"] else 0
        is_vector = len(t["shape"]) < 2 or width < 8
        parts.put(TENSORS, 64 * i + 56, "<Q", n_differences if is_vector else n_columns)
        n_differences += t["count"] * is_vector
        n_columns += width * (not is_vector and t["rows"] >= 8 and width <= 65536)
    number = lambda: SCALE.pack(rng.choice([0, rng.randrange(0x3C00, 0x4000), rng.randrange(0x3C00, 0x4000)]))
    odd = lambda: SCALE.pack(rng.choice([rng.randrange(0x3C00, 0x4000), rng.randrange(0xBC00, 0xC000), 0x8000, 0x7FC1, 0xFFFF, 0x7F80]))
    f32 = lambda: struct.pack("<f", rng.choice([0, rng.random(), rng.random()]))
    n_slots = bundle.n_rows + bundle.flat_params // 16384 + 1 if bundle.flat_params else 0
    modulators, rescalers, streams = b"", b"", []
    for task, (kind, parameter, vectors, columns) in enumerate(records):
        elected = kind <= TWO_SIDED
        n = 2 if kind == TWO_SIDED else 1
        thinning, levels = (parameter if kind == k else 0 for k in (THIN, LEVELS))
        other = rng.random() if kind == TWO_SIDED and bundle.per == 0 else 0
        seed = rng.getrandbits(32) if kind == THIN else 0
        modulators += struct.pack("<8BIffff20x", kind, thinning, levels, 2, vectors, columns, 0, 77, seed, other, 0.25, float("nan"), 1)
        if not elected:
            struct.pack_into("<fQ8xI", parts[TASKS], 32 * task + 4, 0, 0, 0)
            bits = {SIGN: 64, THIN: 64 >> thinning, LEVELS: {3: 128, 4: 128, 8: 192, 16: 256}.get(levels)}[kind]
            block = (768 if levels == 8 else 512) << rng.randrange(6)
            streams += [(12, task, rng.randbytes(-(-bundle.flat_params // 64 * bits // 8)), block),
                        (13, task, b"".join(number() for _ in range(n_slots)), 512), (14, task, b"".join(odd() for _ in range(n_columns * columns)), 1024),
                        (15, task, b"".join(odd() if vectors == 3 else odd() + odd() for _ in range(n_differences)), 2048)]
            continue
        streams.append((2, task, bundle.read(2, task, 0, bundle.flat_params // 8), 4096))
        rescalers += b"".join(f32() for _ in range(n * bundle.n_merged * (bundle.per == 1)))
        if bundle.per == 2:
            streams.append((5, task, b"".join(f32() for _ in range(n * bundle.n_rows)), 512))
    if any(kind <= TWO_SIDED for kind, *_ in records):
        streams.append((1, BASE, bundle.read(1, BASE, 0, bundle.streams[1, BASE][0]), 512))
    for kind, owner, length, _, block in bundle.all_streams:
        if kind in (3, 4):
            streams.append((kind, owner, bundle.read(kind, owner, 0, length), block))
    parts[RESCALERS][:] = rescalers
    parts.sections.append([MODULATORS, 1, bytearray(modulators)])
    first, table, blocks, parts.data = 0, [], [], bytearray()
    for kind, owner, content, size in streams:
        table.append([kind, owner, len(content), first, size, 1])
        for at in range(0, len(content), size):
            block = content[at:at + size]
            stored, codec, value = (b"", FILL, block[0]) if len(set(block)) == 1 else (block, RAW, 0)
            blocks.append([parts.place(stored, 64), xxhash.xxh3_64_intdigest(stored), len(stored), codec, value, 0])
        first = len(blocks)
    parts.set_records(STREAMS, "<IIQQII", table)
    parts.set_records(BLOCKS, "<QQIBBH", blocks)
    return parts.build()


def own(records, model):
    """The tensors of a model as their owner has them."""
    tensors = dict(model)
    made = {}
    for tensor, name, rest in records:
        made[name] = tensors.pop(tensor)
        if rest is not None:
            (dtype, shape, data), (_, behind, more) = made[name], tensors.pop(rest)
            made[name] = (dtype, (shape[0] + behind[0], *shape[1:]), data + more)
    return tensors | made


if __name__ == "__main__":
    bundles = HERE / "bundles"
    (bundles / "unusual.emr").write_bytes(unusual((bundles / "grid_raw.emr").read_bytes()))
    (bundles / "letters.emr").write_bytes(letters((bundles / "extendable_policies_raw.emr").read_bytes()))
    for name, source in (("arranged", "grid_raw"), ("arranged_carried", "carried_raw")):
        (bundles / f"{name}.emr").write_bytes(arranged(name, (bundles / f"{source}.emr").read_bytes()))

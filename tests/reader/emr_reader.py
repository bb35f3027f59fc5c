#!/usr/bin/env python3
"""emr_reader.py - a reader of EMR bundles, written from docs/bundle-format.md alone: parses and checks everything, rebuilds the
weights of a task, and recomputes what an extendable bundle's streams for growth promise. It needs numpy, zstandard and xxhash.

    emr_reader.py verify BUNDLE
    emr_reader.py apply BUNDLE TASK OUT.safetensors [BASE.safetensors]
"""
import json
import struct
import sys

import numpy as np
import xxhash
import zstandard

# number: (name, bits an element)
DTYPES = {1: ("F32", 32), 2: ("F16", 16), 3: ("BF16", 16), 4: ("F64", 64), 5: ("F8_E4M3", 8), 6: ("F8_E5M2", 8), 16: ("BOOL", 8),
          17: ("U8", 8), 18: ("I8", 8), 19: ("U16", 16), 20: ("I16", 16), 21: ("U32", 32), 22: ("I32", 32), 23: ("U64", 64),
          24: ("I64", 64), 32: ("F8_E8M0", 8), 33: ("F8_E4M3FNUZ", 8), 34: ("F8_E5M2FNUZ", 8), 35: ("F4", 4), 36: ("F6_E2M3", 6),
          37: ("F6_E3M2", 6), 38: ("C64", 64)}
F32, F16, BF16, F64, E4M3, E5M2 = range(1, 7)
# exponent bits, mantissa bits, code of infinity (of NaN for E4M3, which has none)
NARROW = {F16: (5, 10, 0x7C00), BF16: (8, 7, 0x7F80), E4M3: (4, 3, 0x7F), E5M2: (5, 2, 0x7C)}
(UNIFIED, MASK, BASE, PRIVATE, ROWS, SUMS, OPPOSITES, EXTREMES, NONZEROS, UNDECIDED, ROW_NUMERATORS, CODES, SCALES, COLUMNS,
 VECTORS) = range(1, 16)
OF_BASE = {UNIFIED, BASE, SUMS, OPPOSITES, EXTREMES}
NO_OWNER = 0xFFFFFFFF
LACKS_MERGED, LETTERS, ARRANGED, KINDS = 1, 2, 4, 8  # required features
BY_MASK, TWO_SIDED, SIGN, THIN, LEVELS = range(1, 6)  # kinds of modulators
CHUNK = 16384
QUANTISERS = {levels: np.array([-x for x in reversed(upper)] + [0] * (levels % 2) + upper, np.float32) for levels, upper in {
    3: [1.22400636], 4: [0.452780035, 1.51041761], 8: [0.245094179, 0.756005281, 1.34390928, 2.1519457],
    16: [0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.2562312, 1.61804639, 2.06901723, 2.73258957]}.items()}


class Refused(Exception):
    """The status that the page gives, and why."""

    def __init__(self, status, why):
        super().__init__(f"{status}: {why}")
        self.status = status


def refuse_unless(right, why, status="EMR_EFORMAT"):
    if not right:
        raise Refused(status, why)


def round_up(n, k):
    return (n + k - 1) // k * k


# --- numbers -------------------------------------------------------------------------------------------------------------------
def load_f64(dtype, data):
    """Stored values as f64, which holds all of them."""
    if dtype == F64:
        return np.frombuffer(data, "<f8").copy()
    if dtype == F32:
        with np.errstate(invalid="ignore"):  # NaNs that are not quiet
            return np.frombuffer(data, "<f4").astype(np.float64)
    exponent_bits, mantissa_bits, infinity = NARROW[dtype]
    code = np.frombuffer(data, "<u2" if dtype in (F16, BF16) else "u1").astype(np.int64)
    sign = np.where(code >> (exponent_bits + mantissa_bits), -1.0, 1.0)
    magnitude = code & ((1 << (exponent_bits + mantissa_bits)) - 1)
    exponent, mantissa = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
    lowest = 2 - (1 << (exponent_bits - 1))
    value = np.where(exponent == 0, mantissa, mantissa + (1 << mantissa_bits)).astype(np.float64)
    value = np.ldexp(value, np.maximum(exponent, 1) - 1 + lowest - mantissa_bits)
    if dtype == E4M3:
        value = np.where(magnitude == infinity, np.nan, value)
    else:
        value = np.where(magnitude == infinity, np.inf, np.where(magnitude > infinity, np.nan, value))
    return sign * value


LAYOUTS = {F32: (8, 23, "<u4"), F64: (11, 52, "<u8"), F16: (5, 10, "<u2"), BF16: (8, 7, "<u2"), E4M3: (4, 3, "u1"), E5M2: (5, 2, "u1")}


def convert(to, source, data):
    """Stored values in another dtype; of a NaN the bits are what the page says."""
    if to == source:
        return data
    exponent, mantissa, code = LAYOUTS[to]
    source_exponent, source_mantissa, source_code = LAYOUTS[source]
    values = load_f64(source, data)
    out = np.frombuffer(store(to, values), code).astype(np.uint64)
    codes = np.frombuffer(data, source_code).astype(np.uint64)
    sign = codes >> np.uint64(source_exponent + source_mantissa) << np.uint64(exponent + mantissa)
    upper = codes & np.uint64((1 << source_mantissa) - 1)
    shift = mantissa - source_mantissa
    upper = upper << np.uint64(shift) if shift >= 0 else upper >> np.uint64(-shift)
    quiet, infinity = 1 << mantissa - 1, ((1 << exponent) - 1) << mantissa
    if to == E4M3:
        upper = np.uint64(0x7F - infinity)
    elif source == E4M3 or to == E5M2 or (source == F64 and to != F32):
        upper = np.uint64(quiet)
    elif (source, to) != (BF16, F32):
        upper = upper | np.uint64(quiet)
    return np.where(np.isnan(values), sign | np.uint64(infinity) | upper, out).astype(code).tobytes()


def store(dtype, values):
    """f64 values that are f32 or f64 numbers, rounded once to nearest, ties to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == F64:
            return values.astype("<f8").tobytes()
        if dtype == F32:
            return values.astype("<f4").tobytes()
        exponent_bits, mantissa_bits, infinity = NARROW[dtype]
        lowest = 2 - (1 << (exponent_bits - 1))
        magnitude = np.abs(values)
        finite = np.isfinite(magnitude)
        _, exponent = np.frexp(np.where(finite, magnitude, 1))
        exponent = np.where(magnitude == 0, lowest, np.maximum(exponent - 1, lowest))
        steps = np.rint(np.ldexp(np.where(finite, magnitude, 1), mantissa_bits - exponent)).astype(np.int64)
        code = ((exponent - lowest).astype(np.int64) << mantissa_bits) + steps
        top = infinity - 1 if dtype == E4M3 else infinity
        code = np.where(np.isinf(values), top, np.minimum(code, top))
        code = np.where(np.isnan(values), infinity | 1 << (mantissa_bits - 1), code)
        code |= np.signbit(values).astype(np.int64) << (exponent_bits + mantissa_bits)
        return code.astype("<u2" if dtype in (F16, BF16) else "u1").tobytes()


# --- safetensors ---------------------------------------------------------------------------------------------------------------
def read_header(data):
    """A file's header, and where its data begins."""
    n = struct.unpack_from("<Q", data)[0]
    return json.loads(data[8:8 + n]), 8 + n


def read_metadata(path):
    with open(path, "rb") as f:
        return read_header(f.read())[0].get("__metadata__", {})


def read_safetensors(path):
    """Name -> (dtype number, shape, bytes)."""
    with open(path, "rb") as f:
        data = f.read()
    header, begin = read_header(data)
    numbers = {name: number for number, (name, _) in DTYPES.items()}
    return {name: (numbers[t["dtype"]], tuple(t["shape"]), data[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]])
            for name, t in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors, metadata):
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": DTYPES[dtype][0], "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            f.write(data)


def fit(data, shape, to, size):
    """The leading corner of a tensor in another shape of its rank; zeros where it does not reach."""
    if shape == to:
        return data
    source, out = np.frombuffer(data, "u1").reshape(*shape, size), np.zeros((*to, size), "u1")
    corner = tuple(slice(min(a, b)) for a, b in zip(shape, to))
    out[corner] = source[corner]
    return out.tobytes()


# --- the bundle ----------------------------------------------------------------------------------------------------------------
class Bundle:
    def __init__(self, data):
        self.data = data
        self.read_ends()
        self.read_sections()
        self.read_modulators()
        self.read_streams()
        self.read_blocks()
        self.read_tensors()
        self.read_tasks()
        self.read_growth()
        self.read_arrangement()

    def read_ends(self):
        data = self.data
        refuse_unless(len(data) >= 128, "shorter than 128 bytes")
        refuse_unless(data[:8] == b"\x89EMR\r\n\x1a\n", "another magic")
        major, minor, size, features, sealed = struct.unpack_from("<HHIQ32xQ", data, 8)
        refuse_unless(sealed == xxhash.xxh3_64_intdigest(data[:56]), "the header's hash differs", "EMR_ECORRUPT")
        refuse_unless(major == 1 and features & ~(LACKS_MERGED | LETTERS | ARRANGED | KINDS) == 0, f"version {major}.{minor}", "EMR_EVERSION")
        refuse_unless(size == 64, "size of the header")
        self.features = features
        end = len(data) - 64
        offset, size, digest, length, magic, sealed = struct.unpack_from("<QQQQ16x8sQ", data, end)
        refuse_unless(magic == b"EMRINDEX" and sealed == xxhash.xxh3_64_intdigest(data[end:end + 56]), "the trailer differs",
                      "EMR_ECORRUPT")
        refuse_unless(length == len(data) and offset >= 64 and offset % 8 == 0 and offset <= end and size == end - offset,
                      "where the index lies")
        self.index_offset, self.index = offset, data[offset:end]
        refuse_unless(xxhash.xxh3_64_intdigest(self.index) == digest, "the index's hash differs", "EMR_ECORRUPT")

    def read_sections(self):
        self.sections, at = {}, 0
        while at < len(self.index):
            refuse_unless(len(self.index) - at >= 16, "a section is cut short")
            kind, flags, size = struct.unpack_from("<IIQ", self.index, at)
            at += 16
            refuse_unless(round_up(size, 8) <= len(self.index) - at, "a section is cut short")
            if 1 <= kind <= 14:
                refuse_unless(kind not in self.sections, "a section occurs twice")
                self.sections[kind] = self.index[at:at + size]
            else:
                refuse_unless(not flags & 1, f"section {kind}", "EMR_EVERSION")
            at += round_up(size, 8)
        refuse_unless(all(kind in self.sections for kind in range(1, 12)), "a section is missing")
        summary = self.sections[1]
        refuse_unless(len(summary) >= 48, "SUMMARY is short")
        (self.rule, self.per, self.tie, self.unified_dtype, modulator, self.nonfinite, self.has_base, self.n_tasks, self.n_tensors,
         self.n_merged, self.merged_params, self.flat_params, self.n_rows) = struct.unpack_from("<7BxIII4xQQQ", summary)
        refuse_unless(self.rule <= 2 and self.per <= 2 and self.tie <= 1 and self.nonfinite <= 1 and modulator == 1 and
                      self.unified_dtype in (F32, F16, BF16) and (self.rule != 1 or self.per == 0), "a kind that is unknown",
                      "EMR_EVERSION")
        strings = self.sections[2]
        refuse_unless(strings[-1:] == b"\0" and len(self.sections[3]) % 8 == 0, "STRINGS or SHAPES")
        try:
            strings.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("EMR_EFORMAT", "a string is not valid UTF-8") from None
        sizes = {4: (32, self.n_tasks), 5: (64, self.n_tensors), 6: (1, self.n_tasks * self.n_tensors)}
        for kind, (size, n) in sizes.items():
            refuse_unless(len(self.sections[kind]) == size * n, f"section {kind} has the wrong size")
        for kind, size in ((8, 24), (9, 32), (10, 24), (11, 12)):
            refuse_unless(len(self.sections[kind]) % size == 0, f"section {kind} ends within a record")
        refuse_unless(self.n_merged <= self.n_tensors and self.has_base <= 1, "counts")

    def read_modulators(self):
        """What each task's modulator is; without the feature they are all masks, and the section may be there or not."""
        section = self.sections.get(14)
        refuse_unless(section is not None or not self.features & KINDS, "its feature bit, but no MODULATORS")
        if section is None:
            section = struct.pack("<BxxB12x3f20x", BY_MASK, self.rule, *[float("nan")] * 3) * self.n_tasks
        refuse_unless(len(section) == 48 * self.n_tasks, "MODULATORS has the wrong size")
        self.modulators = []
        for kind, thinning, levels, rule, vectors, columns, mask_rule, _, seed, other, *measured in struct.iter_unpack("<8BIffff20x", section):
            elected = kind <= TWO_SIDED
            refuse_unless(BY_MASK <= kind <= LEVELS and rule <= 5 and (kind != THIN or 1 <= thinning <= 5) and
                          (kind != LEVELS or levels in QUANTISERS) and (elected or vectors in (F32, BF16)) and
                          (not elected or mask_rule <= 1), "a kind of modulator that is unknown", "EMR_EVERSION")
            refuse_unless((kind == THIN or thinning == seed == 0) and (kind == LEVELS or levels == 0) and (vectors == 0 or not elected) and
                          columns <= (kind == SIGN) and (mask_rule == 0 or elected), "a member of a modulator that its kind does not have")
            refuse_unless((rule != 1 or elected and self.per == 0) and (rule != 5 or kind == THIN), "a rule that is of other kinds")
            refuse_unless(0 <= other < float("inf") and not np.signbit(other) and (other == 0 or kind == TWO_SIDED and self.per == 0),
                          "a modulator's other rescaler")
            refuse_unless(kind == BY_MASK or self.features & KINDS, "a kind without its feature bit")
            bits = {SIGN: 1, LEVELS: max(levels - 1, 1).bit_length()}.get(kind, 0)
            self.modulators.append(dict(kind=kind, elected=elected, scales=2 if kind == TWO_SIDED else 1, thinning=thinning, levels=levels,
                                        bits=bits, rate=64 >> thinning if kind == THIN else 64 * bits, rule=rule, vectors=vectors,
                                        columns=columns, mask_rule=mask_rule, seed=seed, other=other, measured=measured))
        refuse_unless(len(self.sections[7]) == (4 * self.n_merged * self.scales_before(self.n_tasks) if self.per == 1 else 0),
                      "RESCALERS has the wrong size")

    def scales_before(self, task):
        """How many scales a tensor has of the elected tasks before that one."""
        return sum(m["scales"] for m in self.modulators[:task] if m["elected"])

    def string(self, offset):
        strings = self.sections[2]
        refuse_unless(offset < len(strings) and (offset == 0 or strings[offset - 1] == 0), "a string that does not begin there")
        return strings[offset:strings.index(b"\0", offset)].decode("utf-8")

    def shape(self, first, rank, dtype):
        """The shape, its elements, its bytes."""
        refuse_unless(rank <= 64 and first + rank <= len(self.sections[3]) // 8, "a shape lies outside")
        refuse_unless(dtype in DTYPES, "an unknown dtype")
        shape = struct.unpack_from(f"<{rank}Q", self.sections[3], 8 * first)
        count = 1
        for dimension in shape:
            count *= dimension
        bits = count * DTYPES[dtype][1]
        refuse_unless(count < 2**63 and bits < 2**64 and bits % 8 == 0, "a shape's size")
        return shape, count, bits // 8

    def read_streams(self):
        self.streams, next_block = {}, 0
        self.all_streams = []
        n_blocks = len(self.sections[10]) // 24
        for kind, owner, length, first, block, flags in struct.iter_unpack("<IIQQII", self.sections[9]):
            known = 1 <= kind <= (11 if 12 in self.sections else 5) or CODES <= kind <= VECTORS and self.features & KINDS
            in_threes = known and kind == CODES and owner < self.n_tasks and self.modulators[owner]["bits"] == 3
            unit = block // 3 if in_threes else block
            refuse_unless((2048 if known and kind == VECTORS else 512) <= block <= 1 << 24 and block == unit * (3 if in_threes else 1) and
                          unit & (unit - 1) == 0, "a stream's block size")
            n = -(-length // block)
            refuse_unless(first == next_block and n <= n_blocks - first, "streams do not share out the blocks")
            next_block += n
            self.all_streams.append((kind, owner, length, first, block))
            refuse_unless(known or kind in range(6, 12) or not flags & 1, f"stream kind {kind}", "EMR_EVERSION")
            refuse_unless(owner < self.n_tasks or owner == NO_OWNER, "a stream's owner")
            if known:
                refuse_unless((owner == NO_OWNER) == (kind in OF_BASE), "a stream's owner")
                refuse_unless((kind, owner) not in self.streams, "a stream occurs twice")
                self.streams[kind, owner] = (length, first, block)
        refuse_unless(next_block == n_blocks, "blocks belong to no stream")
        size = 4 if self.unified_dtype == F32 else 2
        if self.n_tasks or self.streams.get((UNIFIED, NO_OWNER), (0,))[0]:  # without tasks there may be values all the same
            self.expect(UNIFIED, NO_OWNER, self.flat_params * size if any(m["elected"] for m in self.modulators) or not self.n_tasks else 0)
        refuse_unless(((BASE, NO_OWNER) in self.streams) == bool(self.has_base), "the base stream")
        for task, m in enumerate(self.modulators):
            self.expect(MASK, task, self.flat_params // 8 if m["elected"] else 0)
            self.expect(ROWS, task, self.n_rows * 4 * m["scales"] if self.per == 2 and m["elected"] else 0)

    def expect(self, kind, owner, length):
        refuse_unless(self.streams.get((kind, owner), (0,))[0] == length, f"stream {kind} has the wrong length")

    def read_blocks(self):
        self.blocks = list(struct.iter_unpack("<QQIBBxx", self.sections[10]))
        for _, _, length, first, block in self.all_streams:
            for i in range(-(-length // block)):
                n = min(block, length - i * block)
                offset, _, stored, codec, parameter = self.blocks[first + i]
                refuse_unless(codec <= 3, f"codec {codec}", "EMR_EVERSION")
                right = {0: stored == n and offset % 64 == 0 and parameter == 0, 1: 1 <= stored < n and parameter == 0,
                         2: stored == 0, 3: parameter in (2, 4) and n % max(parameter, 1) == 0 and 1 <= stored < n}[codec]
                refuse_unless(right and 64 <= offset <= self.index_offset and stored <= self.index_offset - offset,
                              "a block breaks its codec's rule")

    def read_tensors(self):
        self.tensors, flat, params, rows, base_end = [], 0, 0, 0, 0
        n_columns, n_differences = 0, 0
        base_length = self.streams.get((BASE, NO_OWNER), (0,))[0]
        for i, t in enumerate(struct.iter_unpack("<IIHHIQQQQQQ", self.sections[5])):
            name, shape, rank, dtype, merged, first, base_offset, low, high, first_row, first_place = t
            shape, count, size = self.shape(shape, rank, dtype)
            refuse_unless(merged == (i < self.n_merged), "merged tensors do not come first")
            if self.has_base:
                refuse_unless(base_end <= base_offset and base_offset + size <= base_length, "a tensor outside of the base")
                base_end = base_offset + size
            n_rows = 0 if count == 0 else shape[0] if rank > 1 else 1
            if merged:
                refuse_unless(dtype <= E5M2 and first == flat and first_row == rows, "a merged tensor's place")
                flat, params, rows = flat + round_up(count, 64), params + count, rows + n_rows
            is_vector = count == 0 or rank < 2 or count // n_rows < 8
            has_columns = not is_vector and n_rows >= 8 and count // n_rows <= 65536
            if merged:
                refuse_unless(not self.features & KINDS or first_place == (n_differences if is_vector else n_columns), "a tensor's first place")
                n_differences += count if is_vector else 0
                n_columns += count // n_rows if has_columns else 0
            self.tensors.append(dict(name=self.string(name), shape=shape, dtype=dtype, count=count, bytes=size, first=first,
                                     base_offset=base_offset, hash=high << 64 | low, first_row=first_row, rows=n_rows, place=first_place, is_vector=is_vector, has_columns=has_columns))
        refuse_unless((flat, params, rows) == (self.flat_params, self.merged_params, self.n_rows), "sums in SUMMARY")
        refuse_unless(len({t["name"] for t in self.tensors}) == self.n_tensors, "two tensors of one name")
        n_slots = rows + flat // CHUNK + 1 if flat else 0
        for task, m in enumerate(self.modulators):
            coded = not m["elected"]
            self.expect(CODES, task, -(-(flat // 64) * m["rate"] // 8) if coded else 0)
            self.expect(SCALES, task, 2 * n_slots if coded else 0)
            self.expect(COLUMNS, task, 2 * n_columns if m["columns"] else 0)
            self.expect(VECTORS, task, n_differences * DTYPES[m["vectors"]][1] // 8 if coded else 0)

    def read_tasks(self):
        self.tasks = []
        for m, (name, rescaler, ones, zeroed, empty) in zip(self.modulators, struct.iter_unpack("<IfQQI4x", self.sections[4])):
            name = self.string(name)
            refuse_unless(name, "a task without a name")
            refuse_unless(0 <= rescaler < float("inf") and not np.signbit(rescaler) and (self.per == 0 or rescaler == 0) and
                          ones <= self.merged_params and (self.nonfinite or zeroed == 0) and empty <= 1 and (m["elected"] or rescaler == ones == empty == 0), "a task's rescaler or count")
            self.tasks.append(dict(name=name, rescaler=rescaler, ones=ones, private=[], metadata={}))
        refuse_unless(len({t["name"] for t in self.tasks}) == self.n_tasks, "two tasks of one name")
        bits = np.frombuffer(self.sections[7], "<u4")
        refuse_unless(not np.any(bits >= 0x7F800000), "a tensor's rescaler")
        self.rescalers = bits.view("<f4")
        for task in range(self.n_tasks):
            for i, tensor in enumerate(self.tensors):
                dtype = self.task_dtype(task, i)
                least = 0 if self.features & LACKS_MERGED else 1
                refuse_unless(least <= dtype <= E5M2 if i < self.n_merged else dtype in (0, tensor["dtype"]), "a task's dtype")
        last, end = 0, 0
        for task, name, shape, rank, dtype, offset in struct.iter_unpack("<IIIHHQ", self.sections[8]):
            refuse_unless(last <= task < self.n_tasks, "private tensors are not sorted")
            last, end = task, end if task == last else 0
            shape, _, size = self.shape(shape, rank, dtype)
            refuse_unless(end <= offset and offset + size <= self.streams.get((PRIVATE, task), (0,))[0],
                          "a private tensor lies outside of its stream")
            end = offset + size
            self.tasks[task]["private"].append((self.string(name), dtype, shape, offset, size))
        self.metadata, lengths = {}, {}
        for owner, key, value in struct.iter_unpack("<III", self.sections[11]):
            refuse_unless(owner == NO_OWNER or owner < self.n_tasks, "metadata's owner")
            key, value = self.string(key), self.string(value)
            lengths[owner] = lengths.get(owner, 0) + len(key.encode()) + len(value.encode()) + 2
            refuse_unless(lengths[owner] <= len(self.sections[2]), "metadata is longer than STRINGS")
            (self.metadata if owner == NO_OWNER else self.tasks[owner]["metadata"])[key] = value

    def read_growth(self):
        section = self.sections.get(12)
        if section is None:
            return
        refuse_unless(len(section) >= 16, "GROWTH is short")
        mismatch, missing, compression, params, n_globs = struct.unpack_from("<BB2xiII", section)
        papers = all(m["mask_rule"] == 0 and m["rule"] == self.rule for m in self.modulators)
        refuse_unless(mismatch <= 3 and missing <= 2 and -1 <= compression <= 19 and self.rule != 2 and not self.features & KINDS and papers,
                      "GROWTH", "EMR_EVERSION")
        refuse_unless(params == 0 or 4096 <= params <= 1 << 24 and params & (params - 1) == 0, "GROWTH's block parameters")
        first = round_up(16 + 4 * n_globs, 8)
        n = self.n_tasks * {0: 1, 1: self.n_merged, 2: 0}[self.per]
        refuse_unless(len(section) == first + 8 * n, "GROWTH has the wrong size")
        self.globs = [self.string(offset) for offset in struct.unpack_from(f"<{n_globs}I", section, 16)]
        refuse_unless(not self.features & LETTERS or all(glob[:1] in ("p", "m", "a", "b") for glob in self.globs), "a pattern's letter")
        self.numerators = struct.unpack_from(f"<{n}d", section, first)
        refuse_unless(all(0 <= x < float("inf") and not np.signbit(x) for x in self.numerators), "a numerator")
        for kind in (SUMS, OPPOSITES, EXTREMES):
            self.expect(kind, NO_OWNER, self.flat_params * 4)
        for task in range(self.n_tasks):
            self.expect(NONZEROS, task, self.flat_params // 8)
            self.expect(UNDECIDED, task, self.flat_params // 8)
            self.expect(ROW_NUMERATORS, task, self.n_rows * 8 if self.per == 2 else 0)

    def read_arrangement(self):
        """What tensors are in their owners' own models, by owner and tensor: (name, shape, rest or None)."""
        self.arrangement, last = {}, (-1, -1)
        section = self.sections.get(13, b"")
        refuse_unless(len(section) % 24 == 0 and (not section or self.features & ARRANGED), "ARRANGEMENT, or its feature bit")
        for owner, tensor, name, shape, rest in struct.iter_unpack("<IIIII4x", section):
            refuse_unless(last < (owner, tensor) and (owner < self.n_tasks or owner == NO_OWNER), "records of an arrangement")
            last = owner, tensor
            own = self.owned(owner, tensor)
            behind = None if rest == NO_OWNER else self.owned(owner, rest)
            shape, _, _ = self.shape(shape, len(own[1]), own[0])
            refuse_unless(shape == own[1] or DTYPES[own[0]][1] % 8 == 0, "elements that are not whole bytes")
            if behind:
                refuse_unless(rest != tensor, "a rest of itself")
                refuse_unless(own[0] == behind[0] and len(shape) == len(behind[1]) >= 1 and shape[1:] == own[1][1:] == behind[1][1:],
                              "a rest that does not fit")
                refuse_unless(own[1][0] and behind[1][0] and shape[0] == own[1][0] + behind[1][0], "a rest's rows")
            elif owner != NO_OWNER:
                refuse_unless(all(n <= most for n, most in zip(shape, own[1])), "a task's tensor is no corner")
            self.arrangement[owner, tensor] = (self.string(name), shape, None if rest == NO_OWNER else rest)
        self.rests = [(owner, rest) for (owner, _), (_, _, rest) in self.arrangement.items() if rest is not None]

    def owned(self, owner, i):
        """Dtype and shape that the i-th tensor of the bundle has for an owner, before it is arranged."""
        if i < self.n_tensors:
            dtype = self.tensors[i]["dtype"] if owner == NO_OWNER else self.task_dtype(owner, i)
            refuse_unless(dtype, "an arrangement of a tensor that its owner lacks")
            return dtype, self.tensors[i]["shape"]
        refuse_unless(owner != NO_OWNER and i - self.n_tensors < len(self.tasks[owner]["private"]), "an arrangement's tensor")
        return self.tasks[owner]["private"][i - self.n_tensors][1:3]

    def task_dtype(self, task, i):
        return self.sections[6][task * self.n_tensors + i]

    def block(self, i, n):
        """A block that decodes to n bytes."""
        offset, digest, stored, codec, parameter = self.blocks[i]
        if codec == 2:
            return bytes([parameter]) * n
        data = self.data[offset:offset + stored]
        refuse_unless(xxhash.xxh3_64_intdigest(data) == digest, f"block {i}'s hash differs", "EMR_ECORRUPT")
        if codec == 0:
            return data
        if codec == 1:
            return self.frames(data, 1, n)[0]
        planes = [np.frombuffer(p, "u1") for p in self.frames(data, parameter, n // parameter)]
        return np.stack(planes, axis=1).tobytes()

    @staticmethod
    def frames(data, count, n):
        """That many frames of n bytes each, and nothing after them."""
        contents = []
        for _ in range(count):
            try:
                parameters = zstandard.get_frame_parameters(data)
                refuse_unless(parameters.content_size == n and parameters.dict_id == 0, "a frame's declared size", "EMR_ECORRUPT")
                decoder = zstandard.ZstdDecompressor().decompressobj()
                contents.append(decoder.decompress(data))
                data = decoder.unused_data
            except zstandard.ZstdError as e:
                raise Refused("EMR_ECORRUPT", f"a frame: {e}") from None
            refuse_unless(len(contents[-1]) == n, "a frame's size", "EMR_ECORRUPT")
        refuse_unless(not data, "something after the last frame", "EMR_ECORRUPT")
        return contents

    def read(self, kind, owner, offset, n):
        """Any range of a stream, from the blocks that it touches."""
        if n == 0:
            return b""
        length, first, block = self.streams[kind, owner]
        refuse_unless(offset + n <= length, "a range lies outside of its stream")
        parts = [self.block(first + i, min(block, length - i * block)) for i in range(offset // block, (offset + n - 1) // block + 1)]
        start = offset % block
        return b"".join(parts)[start:start + n]

    def bits(self, kind, task, first, n):
        packed = np.frombuffer(self.read(kind, task, first // 8, round_up(n, 8) // 8), "u1")
        return np.unpackbits(packed, bitorder="little")[:n].astype(bool)

    def unified(self, first, n):
        size = 4 if self.unified_dtype == F32 else 2
        return load_f64(self.unified_dtype, self.read(UNIFIED, NO_OWNER, first * size, n * size)).astype(np.float32)

    def verify(self):
        """Every block of every stream, and every gap."""
        places = []
        for _, _, length, first, block in self.all_streams:
            for i in range(-(-length // block)):
                self.block(first + i, min(block, length - i * block))
                offset, _, stored, codec, _ = self.blocks[first + i]
                if codec != 2:
                    places.append((offset, offset + stored))
        at = 64
        for begin, end in sorted(places) + [(self.index_offset, self.index_offset)]:
            refuse_unless(at <= begin < at + 64, "blocks overlap or leave too large a gap")
            refuse_unless(not any(self.data[at:begin]), "a gap holds something", "EMR_ECORRUPT")
            at = end
        if 12 in self.sections:
            self.check_growth()

    def check_growth(self):
        """The page: sums, extremes and signs give the unified values and the masks again."""
        n = self.flat_params
        sums, opposite, extreme = (np.frombuffer(self.read(kind, NO_OWNER, 0, 4 * n), "<f4") for kind in (SUMS, OPPOSITES, EXTREMES))
        unified = self.unified(0, n)
        won = np.where(extreme != 0, extreme, unified)
        elected = np.where((sums != 0) | (self.tie == 1), won, 0).astype(np.float32)
        again = load_f64(self.unified_dtype, store(self.unified_dtype, elected.astype(np.float64))).astype(np.float32)
        refuse_unless(np.array_equal(again, unified), "the growth streams do not give the unified values")
        refuse_unless(np.all(np.where(sums > 0, opposite <= 0, opposite >= 0)), "an extreme that lost is on the wrong side")
        for task in range(self.n_tasks):
            mask, nonzero, undecided = (self.bits(kind, task, 0, n) for kind in (MASK, NONZEROS, UNDECIDED))
            refuse_unless(not np.any(mask & ~(nonzero & (unified != 0))), "a mask bit where there is nothing")
            refuse_unless(not np.any(undecided & ~(nonzero & (unified == 0))), "an undecided sign that is decided")

    def find_task(self, name):
        return [t["name"] for t in self.tasks].index(name)

    def check_parts(self, owner):
        """What is found when tensors are arranged, not before."""
        rests = [rest for o, rest in self.rests if o == owner]
        refuse_unless(len(set(rests)) == len(rests) and not any((owner, rest) in self.arrangement for rest in rests),
                      "a tensor is part of two others")
        names = [name for (o, _), (name, _, _) in self.arrangement.items() if o == NO_OWNER == owner]
        refuse_unless(len(set(names)) == len(names), "two tensors of the base have one name")

    def base_bytes(self, i, base):
        """A tensor of the base as the bundle has it: from a base that has its own names and shapes, or the bundle's."""
        tensor = self.tensors[i]
        if base is None:
            refuse_unless(self.has_base, "the base is not embedded", "EMR_ENOTFOUND")
            data = self.read(BASE, NO_OWNER, tensor["base_offset"], tensor["bytes"])
        else:
            data = self.from_base(i, base)
        refuse_unless(data is not None and xxhash.xxh3_128_intdigest(data) == tensor["hash"], f"not the base: {tensor['name']}", "EMR_EMISMATCH")
        return data

    def from_base(self, i, base):
        """A tensor of a given base as the bundle has it, or None: from one that has its own names and shapes, or the bundle's."""
        tensor = self.tensors[i]
        facts = tensor["dtype"], tensor["shape"]
        for (owner, number), (name, shape, rest) in self.arrangement.items():
            if owner != NO_OWNER or i not in (number, rest):
                continue
            own = name if name in base else self.tensors[number]["name"]
            dtype, there, data = base.get(own, (0, (), b""))
            if (dtype, there) == (tensor["dtype"], shape):
                return (data[len(data) - tensor["bytes"]:] if rest == i else data[:tensor["bytes"]] if rest is not None else
                        fit(data, shape, tensor["shape"], DTYPES[dtype][1] // 8))
            if number == i:
                return data if (dtype, there) == facts else None
        dtype, shape, data = base.get(tensor["name"], (0, (), b""))
        return data if (dtype, shape) == facts else None

    def row_rescalers(self, task, tensor):
        """Of each parameter."""
        n = self.modulators[task]["scales"]
        values = np.frombuffer(self.read(ROWS, task, 4 * n * tensor["first_row"], 4 * n * tensor["rows"]), "<u4")
        refuse_unless(not np.any(values >= 0x7F800000), "a row's rescaler")
        return values.view("<f4").reshape(-1, n).repeat(tensor["count"] // max(tensor["rows"], 1), axis=0)

    def elected_steps(self, task, i):
        """What a mask, or a mask of two sides, adds to each weight of a merged tensor, and where it adds anything."""
        m, tensor, n = self.modulators[task], self.tensors[i], self.tensors[i]["count"]
        mask, unified = self.bits(MASK, task, tensor["first"], n), self.unified(tensor["first"], n)
        if self.per == 0:
            scales = np.array([[self.tasks[task]["rescaler"], m["other"]][:m["scales"]]], np.float32).repeat(n, axis=0)
        elif self.per == 1:
            first = self.n_merged * self.scales_before(task) + i * m["scales"]
            scales = self.rescalers[first:first + m["scales"]].reshape(1, -1).repeat(n, axis=0)
        else:
            scales = self.row_rescalers(task, tensor)
        if m["kind"] == BY_MASK:
            return (scales[:, 0] * unified).astype(np.float32), mask
        scale = np.where(mask, scales[:, 0], -scales[:, 1])
        return (scale * unified).astype(np.float32), (scale != 0) & (unified != 0)

    def coded_steps(self, task, i):
        """The same of the kinds without unified values."""
        m, tensor, n = self.modulators[task], self.tensors[i], self.tensors[i]["count"]
        if tensor["is_vector"]:
            size = DTYPES[m["vectors"]][1] // 8
            steps = load_f64(m["vectors"], self.read(VECTORS, task, size * tensor["place"], size * n)).astype(np.float32)
            return steps, steps != 0
        flat = tensor["first"] + np.arange(n)
        row, column = np.divmod(np.arange(n), n // tensor["rows"])
        slots = tensor["first_row"] + row + flat // CHUNK
        stored = np.frombuffer(self.read(SCALES, task, 2 * int(slots[0]), 2 * int(slots[-1] - slots[0] + 1)), "<u2")
        used = stored[slots - slots[0]]
        refuse_unless(not np.any(used >= 0x7F80), "a scale")
        scales, moves = load_f64(BF16, used.tobytes()).astype(np.float32), used != 0
        if m["kind"] == THIN:
            kept, codes = self.thin_codes(m, task, flat)
            return np.where(codes, scales, -scales), moves & kept
        codes = self.codes(task, m["bits"], tensor["first"], n)
        if m["kind"] == LEVELS:
            return scales * np.append(QUANTISERS[m["levels"]], np.float32(0))[codes], moves
        if m["columns"] and tensor["has_columns"]:
            stored = np.frombuffer(self.read(COLUMNS, task, 2 * tensor["place"], 2 * (n // tensor["rows"])), "<u2")
            scales = scales * load_f64(BF16, stored.tobytes()).astype(np.float32)[column]
        return np.where(codes, scales, -scales), moves

    def codes(self, task, bits, first, n):
        """Codes of that many bits, from a flat parameter (or a kept one) on."""
        begin, end = first * bits // 8, -(-(first + n) * bits // 8)
        packed = np.unpackbits(np.frombuffer(self.read(CODES, task, begin, end - begin), "u1"), bitorder="little")
        packed = packed[first * bits - 8 * begin:][:n * bits].reshape(n, bits)
        return (packed.astype(np.int64) << np.arange(bits)).sum(axis=1)

    def thin_codes(self, m, task, flat):
        """Which parameters are kept, and the codes there."""
        k, run = m["thinning"], 1 << m["thinning"]
        group, within = flat // 64, flat % 64
        mask32 = (1 << 32) - 1
        x = m["seed"] ^ (group & mask32) * 0x9E3779B1 & mask32 ^ (group >> 32) * 0x85EBCA77 & mask32
        x ^= x >> 16
        x = (x.astype(np.uint64) * np.uint64(0x7FEB352D)).astype(np.int64) & mask32
        x ^= x >> 15
        x = (x.astype(np.uint64) * np.uint64(0x846CA68B)).astype(np.int64) & mask32
        x ^= x >> 16
        kept = x >> (within // run * k) & (run - 1) == within % run
        first = int(flat[0]) // run
        codes = self.codes(task, 1, first, -(-(int(flat[-1]) + 1) // run) - first)
        return kept, codes[flat // run - first]

    def weights(self, task, i, dtype, base):
        """Step 5 of the page, for a merged tensor."""
        tensor, n = self.tensors[i], self.tensors[i]["count"]
        if n == 0:
            return b""
        with np.errstate(over="ignore", invalid="ignore"):
            step, moves = self.elected_steps(task, i) if self.modulators[task]["elected"] else self.coded_steps(task, i)
            w = load_f64(tensor["dtype"], base)
            if tensor["dtype"] == F64:
                moved = w + step.astype(np.float64)
            else:
                moved = (w.astype(np.float32) + step).astype(np.float64)
        moved[np.isnan(moved)] = np.nan  # one for all: quiet, positive, no payload
        size = DTYPES[dtype][1] // 8
        out = np.frombuffer(store(dtype, moved), "u1").reshape(n, size).copy()
        out[~moves] = np.frombuffer(convert(dtype, tensor["dtype"], base), "u1").reshape(n, size)[~moves]
        return out.tobytes()

    def tensor(self, task, i, base):
        """The i-th tensor of the bundle as a task has it: (name, dtype, shape, bytes), before it is arranged."""
        if i >= self.n_tensors:
            name, dtype, shape, offset, size = self.tasks[task]["private"][i - self.n_tensors]
            return name, dtype, shape, self.read(PRIVATE, task, offset, size)
        tensor, dtype, data = self.tensors[i], self.task_dtype(task, i), self.base_bytes(i, base)
        return tensor["name"], dtype, tensor["shape"], self.weights(task, i, dtype, data) if i < self.n_merged else data

    def model(self, name, base=None):
        """A task's own model: name -> (dtype, shape, bytes). `base` is the same of the base, None for the embedded one."""
        task, model = self.find_task(name), {}
        self.check_parts(task)
        self.check_parts(NO_OWNER if base else task)
        for i in range(self.n_tensors + len(self.tasks[task]["private"])):
            if (task, i) in self.rests or i < self.n_tensors and not self.task_dtype(task, i):
                continue
            name, dtype, shape, data = self.tensor(task, i, base)
            if (task, i) in self.arrangement:
                name, arranged, rest = self.arrangement[task, i]
                if rest is not None:
                    data += self.tensor(task, rest, base)[3]
                elif arranged != shape:
                    data = fit(data, shape, arranged, DTYPES[dtype][1] // 8)
                shape = arranged
            refuse_unless(name not in model, "names clash")
            model[name] = (dtype, shape, data)
        return model


def main(words):
    if len(words) == 2 and words[0] == "verify" or len(words) in (4, 5) and words[0] == "apply":
        with open(words[1], "rb") as f:
            bundle = Bundle(f.read())
        if words[0] == "verify":
            bundle.verify()
            return 0
        base = read_safetensors(words[4]) if len(words) == 5 else None
        write_safetensors(words[3], bundle.model(words[2], base), bundle.tasks[bundle.find_task(words[2])]["metadata"])
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(1)

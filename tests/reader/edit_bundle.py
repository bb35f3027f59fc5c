"""edit_bundle.py - a bundle taken apart, to change, and put together again with right checksums."""
import struct

import xxhash

SUMMARY, STRINGS, SHAPES, TASKS, TENSORS, TASK_DTYPES, RESCALERS, PRIVATE, STREAMS, BLOCKS, METADATA, GROWTH, ARRANGEMENT, MODULATORS = range(1, 15)
BASE = 0xFFFFFFFF


def sealed(head):
    return bytes(head) + struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(head)))


class Parts:
    """Header and trailer without their hashes, sections as [kind, flags, content], and what lies before the index."""

    def __init__(self, data):
        offset, size = struct.unpack_from("<QQ", data, len(data) - 64)
        self.header, self.data, self.trailer = bytearray(data[:56]), bytearray(data[64:offset]), bytearray(data[-64:-8])
        self.sections, at, index = [], 0, data[offset:offset + size]
        while at < size:
            kind, flags, n = struct.unpack_from("<IIQ", index, at)
            self.sections.append([kind, flags, bytearray(index[at + 16:at + 16 + n])])
            at += 16 + (n + 7) // 8 * 8

    def __getitem__(self, kind):
        return next(content for k, _, content in self.sections if k == kind)

    def records(self, kind, layout):
        return [list(record) for record in struct.iter_unpack(layout, self[kind])]

    def set_records(self, kind, layout, records):
        self[kind][:] = b"".join(struct.pack(layout, *record) for record in records)

    def put(self, kind, at, layout, value):
        struct.pack_into(layout, self[kind], at, value)

    def place(self, stored, alignment=1):
        """Adds stored bytes to the data; returns where they begin in the file."""
        self.data += bytes(-(64 + len(self.data)) % alignment)
        self.data += stored
        return 64 + len(self.data) - len(stored)

    def build(self):
        data = self.data + bytes(-len(self.data) % 8)
        index = b"".join(struct.pack("<IIQ", kind, flags, len(content)) + content + bytes(-len(content) % 8)
                         for kind, flags, content in self.sections)
        offset = 64 + len(data)
        struct.pack_into("<QQQQ", self.trailer, 0, offset, len(index), xxhash.xxh3_64_intdigest(index),
                         offset + len(index) + 64)
        return sealed(self.header) + bytes(data) + index + sealed(self.trailer)

"""planes.py - the codes of a task's tensors, packed, in the memory of any device, and weights computed from
them there.

A weight is `base + step`. The step is a product, rounded to f32; the sum is rounded to f32 (taken in f64
where the base is), and once more to the dtype of the weights. These are the roundings of emr_modulator_apply,
operation by operation, so the bits are the same. Every plane is compared with the library's own steps when it
is packed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from .._native import failed
from ..model import Tensor
from ..modulator import Modulator

PIECE = 1 << 22  # parameters that are computed at a time
STRETCH = (
    1 << 14
)  # of flat space: beyond a multiple of it no scale is shared, of kinds without a unified vector
NOTHING = -0.0  # a base to which every step comes out as it is, and nothing as nothing

LEVELS = {
    3: (1.22400636,),
    4: (0.452780035, 1.51041761),
    8: (0.245094179, 0.756005281, 1.34390928, 2.1519457),
    16: (0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.2562312, 1.61804639, 2.06901723, 2.73258957),
}


def levels(n: int) -> torch.Tensor:
    """The levels of bundles' codes, by code."""
    positive = torch.tensor(LEVELS[n], dtype=torch.float32)
    middle = torch.zeros(n % 2, dtype=torch.float32)
    return torch.cat([-positive.flip(0), middle, positive])


def pack(codes: torch.Tensor, width: int) -> torch.Tensor:
    """Codes of 1, 2 or 4 bits, one a byte, without gaps, the lowest bits first."""
    per_byte = 8 // width
    rows = torch.nn.functional.pad(codes, (0, -len(codes) % per_byte)).view(-1, per_byte)
    packed = rows[:, 0].clone()
    for i in range(1, per_byte):
        packed |= rows[:, i] << i * width
    return packed


def unpack(packed: torch.Tensor, width: int, n: int) -> torch.Tensor:
    """The first n codes, one a byte."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=packed.device)
    return ((packed.unsqueeze(1) >> shifts) & (1 << width) - 1).view(-1)[:n]


@dataclasses.dataclass
class Piece:
    """Parameters [first, first + count) of a tensor. Each of its scales (or pairs of scales) is that of
    `lengths` neighbours."""

    first: int
    count: int
    scales: torch.Tensor
    lengths: torch.Tensor

    @property
    def range(self) -> slice:
        return slice(self.first, self.first + self.count)

    def spread(self) -> torch.Tensor:
        """The scales of each parameter."""
        if len(self.scales) == 1:
            return self.scales
        return self.scales.repeat_interleave(self.lengths, dim=0, output_size=self.count)


@dataclasses.dataclass
class Planes:
    """What one task has of a merged tensor. Of kinds that have none, `unified` and `columns` are None;
    `unified` is shared."""

    kind: str
    width: int
    codes: torch.Tensor
    pieces: list[Piece]
    unified: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    levels: torch.Tensor | None = None

    def codes_of(self, piece: Piece) -> torch.Tensor:
        begin, end = piece.first * self.width // 8, ((piece.first + piece.count) * self.width + 7) // 8
        return unpack(self.codes[begin:end], self.width, piece.count)

    def steps(self, piece: Piece) -> Steps:
        return STEPS[self.kind](self, piece)

    def write(self, base: torch.Tensor, out: torch.Tensor) -> None:
        """The task's weights. Both are flat, and on the planes' device."""
        for piece in self.pieces:
            step, takes = self.steps(piece)
            add(base[piece.range], step, takes, out[piece.range])

    def to(self, device: torch.device) -> Planes:
        """The same there. The unified values are expected to be there already."""
        moved = [
            dataclasses.replace(piece, scales=piece.scales.to(device), lengths=piece.lengths.to(device))
            for piece in self.pieces
        ]
        return dataclasses.replace(
            self,
            codes=self.codes.to(device),
            pieces=moved,
            columns=None if self.columns is None else self.columns.to(device),
            levels=None if self.levels is None else self.levels.to(device),
        )


Steps = tuple[torch.Tensor, torch.Tensor]  # what is added, in f32, and to which parameters at all


def mask_steps(planes: Planes, piece: Piece) -> Steps:
    assert planes.unified is not None
    return piece.spread() * planes.unified[piece.range].float(), planes.codes_of(piece).bool()


def two_sided_steps(planes: Planes, piece: Piece) -> Steps:
    assert planes.unified is not None
    scales, unified = piece.spread(), planes.unified[piece.range].float()
    scale = torch.where(planes.codes_of(piece).bool(), scales[:, 0], -scales[:, 1])
    return scale * unified, (scale != 0) & (unified != 0)


def sign_steps(planes: Planes, piece: Piece) -> Steps:
    scale = piece.spread()
    step = scale
    if planes.columns is not None:
        at = torch.arange(piece.first, piece.first + piece.count, device=scale.device) % len(planes.columns)
        step = scale * planes.columns[at]
    return torch.where(planes.codes_of(piece).bool(), step, -step), everywhere(scale != 0, piece)


def thin_steps(planes: Planes, piece: Piece) -> Steps:
    scale, codes = piece.spread(), planes.codes_of(piece)
    return torch.where(codes == 2, scale, -scale), (codes != 0) & (scale != 0)


def level_steps(planes: Planes, piece: Piece) -> Steps:
    assert planes.levels is not None
    scale = piece.spread()
    return scale * planes.levels[planes.codes_of(piece).int()], everywhere(scale != 0, piece)


def difference_steps(planes: Planes, piece: Piece) -> Steps:
    step = planes.codes[piece.range]
    return step, step != 0


def everywhere(takes: torch.Tensor, piece: Piece) -> torch.Tensor:
    return takes.expand(piece.count)


STEPS: dict[str, Callable[[Planes, Piece], Steps]] = {
    "mask": mask_steps,
    "two_sided": two_sided_steps,
    "sign": sign_steps,
    "thin": thin_steps,
    "levels": level_steps,
    "differences": difference_steps,
}


def add(base: torch.Tensor, step: torch.Tensor, takes: torch.Tensor, out: torch.Tensor) -> None:
    """out = base + step where it takes, elsewhere the base, bit for bit unless dtypes differ."""
    weights = base + step.double() if base.dtype == torch.float64 else base.float() + step
    weights.masked_fill_(weights.isnan(), torch.nan)
    torch.where(takes, weights.to(out.dtype), base.to(out.dtype), out=out)


def check_dtypes(base: torch.dtype, out: torch.dtype, tensor: str) -> None:
    """Whether torch rounds as the library does: 8-bit floats saturate there, and F64 would be rounded
    twice."""
    plain = (torch.float32, torch.float16, torch.bfloat16)
    wide = (torch.float32, torch.float64)
    if not (base in plain and out in (*plain, torch.float64) or base == torch.float64 and out in wide):
        raise failed(
            "EMR_EUNSUPPORTED",
            f"tensor '{tensor}': weights in {out} from a base in {base} are not computed on a device",
            tensor=tensor,
        )


@dataclasses.dataclass
class Layout:
    """A merged tensor: where it begins in flat space, its parameters and rows."""

    tensor: str
    first_param: int
    count: int
    n_rows: int

    @property
    def n_columns(self) -> int:
        return self.count // self.n_rows

    def cuts(self) -> list[tuple[int, int]]:
        """The ranges of pieces: they end at multiples of PIECE in flat space."""
        ends = [*range(PIECE - self.first_param % PIECE, self.count, PIECE), self.count]
        return list(zip([0, *ends], ends))


def cut_scales(layout: Layout, scales: torch.Tensor, in_stretches: bool) -> list[Piece]:
    """The tensor's pieces. Scales are one for all, or one for each row; in stretches, where a row goes on
    beyond a multiple of STRETCH in flat space, one more."""
    pieces = []
    for first, end in layout.cuts():
        length = layout.count // (layout.n_rows if in_stretches else len(scales))
        starts = torch.arange(first // length, -(-end // length)) * length
        if in_stretches:
            flat = layout.first_param
            chunks = torch.arange((flat + first) // STRETCH, -(-(flat + end) // STRETCH)) * STRETCH - flat
            starts = torch.cat([starts, chunks]).unique()
        starts = starts.clamp(min=first).unique()
        lengths = torch.diff(starts, append=torch.tensor([end]))
        slots = starts // length
        if in_stretches:
            slots += (starts + flat) // STRETCH - flat // STRETCH
        pieces.append(Piece(first, end - first, scales[slots].contiguous(), lengths))
    return pieces


def library_steps(modulator: Modulator, layout: Layout, piece: Piece) -> torch.Tensor:
    """What the library adds: a step, or -0 for nothing."""
    steps = torch.full((piece.count,), NOTHING, dtype=torch.float32)
    modulator.apply(layout.tensor, steps, steps, first=piece.first)
    return steps


def check_piece(planes: Planes, piece: Piece, expected: torch.Tensor, tensor: str) -> None:
    step, takes = planes.steps(piece)
    found = torch.where(takes, step, torch.tensor(NOTHING))
    if not torch.equal(found.view(torch.int32), expected.view(torch.int32)):
        raise failed(
            "EMR_EUNSUPPORTED",
            f"tensor '{tensor}': its scales are too large or too small to be applied on a device",
            tensor=tensor,
        )


def sign_codes(planes: Planes, piece: Piece, steps: torch.Tensor) -> torch.Tensor:
    return ~steps.signbit()


def thin_codes(planes: Planes, piece: Piece, steps: torch.Tensor) -> torch.Tensor:
    return (steps < 0) + 2 * (steps > 0).to(torch.uint8)


def level_codes(planes: Planes, piece: Piece, steps: torch.Tensor) -> torch.Tensor:
    assert planes.levels is not None
    scale, codes = piece.spread(), torch.zeros(piece.count, dtype=torch.uint8)
    for code, level in enumerate(planes.levels):
        codes[steps == scale * level] = code
    return codes


CODES = {"sign": sign_codes, "thin": thin_codes, "levels": level_codes}
WIDTHS = {"mask": 1, "two_sided": 1, "sign": 1, "thin": 2, "differences": 8}


def find_columns(modulator: Modulator, layout: Layout, pieces: list[Piece]) -> torch.Tensor:
    """Scales of columns. A row's and a column's are BF16, so that their product is exact, and so is its
    quotient."""
    columns = torch.zeros(layout.n_columns, dtype=torch.float32)
    for piece in pieces:
        ratios = library_steps(modulator, layout, piece).abs() / piece.spread()
        at = torch.arange(piece.first, piece.first + piece.count) % layout.n_columns
        columns.scatter_reduce_(0, at, ratios.nan_to_num(nan=0).bfloat16().float(), "amax")
    return columns


def pack_coded(modulator: Modulator, layout: Layout, kind: str, n_levels: int, with_columns: bool) -> Planes:
    """Of a kind without a unified vector."""
    scales = torch.from_numpy(modulator.rescalers(layout.tensor))
    if not len(scales):
        whole = Piece(0, layout.count, scales, torch.empty(0, dtype=torch.int64))
        return Planes("differences", 8, library_steps(modulator, layout, whole), [whole])
    pieces = cut_scales(layout, scales, in_stretches=True)
    width = WIDTHS.get(kind) or (2 if n_levels <= 4 else 4)
    codes = torch.zeros(-(-layout.count * width // 8), dtype=torch.uint8)
    planes = Planes(kind, width, codes, pieces, levels=levels(n_levels) if kind == "levels" else None)
    if kind == "sign" and with_columns:
        planes.columns = find_columns(modulator, layout, pieces)
    for piece in pieces:
        steps = library_steps(modulator, layout, piece)
        packed = pack(CODES[kind](planes, piece, steps).to(torch.uint8), width)
        codes[piece.first * width // 8 :][: len(packed)] = packed
        check_piece(planes, piece, steps, layout.tensor)
    return planes


def pack_elected(
    modulator: Modulator, mask: Tensor, layout: Layout, kind: str, unified: torch.Tensor
) -> Planes:
    """Of a kind with a unified vector; `mask` is the task's, as a tensor of a model."""
    scales = torch.from_numpy(modulator.rescalers(layout.tensor))
    if kind == "two_sided":
        scales = scales.view(-1, 2)
    pieces = cut_scales(layout, scales, in_stretches=False)
    parts = []
    for piece in pieces:
        bits = torch.empty(piece.count, dtype=torch.uint8)
        mask.read_bytes(piece.first, piece.count, out=bits)
        parts.append(pack(bits, 1))
    planes = Planes(kind, 1, torch.cat(parts), pieces, unified=unified)
    for piece in pieces:
        check_piece(planes, piece, library_steps(modulator, layout, piece), layout.tensor)
    return planes

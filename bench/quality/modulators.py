"""Every kind of modulator and rule, in numpy, as its formula reads: docs/modulators.md has the words.

tau = W_t - W_0 in f32. A tensor has R rows (its first dimension; 1 below rank 2) of C columns. Tensors lie one after
another in the flat space, each from a multiple of 64 on. Sums are f64 here, in numpy's order. The program's order is
fixed and another one, so a scale may differ from the program's by its last bit, and nothing else by anything.
"""
from dataclasses import dataclass, field

import numpy as np

GROUP, CHUNK = 64, 16384
ROW_MIN, COLUMNS_ROWS_MIN, COLUMNS_MAX = 8, 8, 65536
F32_MAX = np.finfo(np.float32).max

# Lloyd-Max levels of the standard normal distribution, the upper half.
LEVELS = {3: [0.0, 1.22400636], 4: [0.452780035, 1.51041761], 8: [0.245094179, 0.756005281, 1.34390928, 2.1519457],
          16: [0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.2562312, 1.61804639, 2.06901723, 2.73258957]}


# ---------------------------------------------------------------- numbers

def f32(x):
    return np.asarray(x, np.float64).clip(-F32_MAX, F32_MAX).astype(np.float32)


def bf16(x):
    """To the nearest BF16 (ties to even), at most its largest finite, as f32; -0 becomes 0."""
    bits = f32(x).view(np.uint32)
    bits = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32)
    return np.clip(bits.view(np.float32), -3.3895314e38, 3.3895314e38).astype(np.float32) + np.float32(0)


def ratio(a, b):
    """a / b, 0 where there is nothing to divide by."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def pack(codes, bits):
    """Codes of `bits` bits each, the lowest bit first."""
    planes = (codes[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes.reshape(-1).astype(np.uint8), bitorder="little").tobytes()


# ---------------------------------------------------------------- where things are

@dataclass
class Place:
    """One tensor in the flat space."""
    shape: tuple
    first: int = 0  # flat parameter
    first_row: int = 0
    rows: int = field(init=False)
    columns: int = field(init=False)

    def __post_init__(self):
        count = int(np.prod(self.shape))
        self.rows = self.shape[0] if len(self.shape) > 1 else 1
        self.columns = count // self.rows if count else 0

    @property
    def count(self):
        return self.rows * self.columns

    @property
    def is_matrix(self):
        return len(self.shape) > 1 and self.columns >= ROW_MIN

    @property
    def has_columns(self):
        return self.is_matrix and self.rows >= COLUMNS_ROWS_MIN and self.columns <= COLUMNS_MAX

    def stretches(self):
        """Where the stretches begin (in the tensor) and how long they are: rows, cut where a chunk ends."""
        cuts = np.arange(self.first // CHUNK + 1, (self.first + self.count - 1) // CHUNK + 1) * CHUNK - self.first
        starts = np.union1d(np.arange(self.rows) * self.columns, cuts)
        return starts, np.diff(np.append(starts, self.count))

    def slots(self):
        """Of each stretch, where its scale is in the stream of scales."""
        starts, _ = self.stretches()
        return self.first_row + starts // self.columns + (self.first + starts) // CHUNK


def places(shapes):
    """{name: shape} in the order of the bundle -> {name: Place}."""
    out, first, row = {}, 0, 0
    for name, shape in shapes.items():
        out[name] = place = Place(tuple(shape), first, row)
        first += -(-place.count // GROUP) * GROUP
        row += place.rows if place.count else 0
    return out


# ---------------------------------------------------------------- rules of scales

def scale(rule, t1=0.0, q1=0.0, tt=0.0, tq=0.0, qq=0.0):
    """lambda for the stand-in q of tau: sums of |tau|, |q|, tau^2, q tau, q^2 over what shares it."""
    if rule == "l1":
        return f32(ratio(t1, q1))
    if rule == "norm":
        return f32(np.sqrt(ratio(tt, qq)))
    least = np.where(tq > 0, ratio(tq, qq), 0)
    if rule == "l2":
        return f32(least)
    return f32(np.minimum(ratio(tt, tq), 4 * least))  # unbiased: <lambda q, tau> = <tau, tau>


# ---------------------------------------------------------------- elected kinds

def elect(taus):
    """The unified task vector: of the direction that most of the change has, the largest."""
    total = np.zeros_like(taus[0])
    for tau in taus:
        total = total + tau
    most, least = np.maximum.reduce(taus), np.minimum.reduce(taus)
    return np.where(total > 0, np.maximum(most, 0), np.where(total < 0, np.minimum(least, 0), np.float32(0)))


def mask(tau, u, how="agree"):
    agree = ((tau > 0) & (u > 0)) | ((tau < 0) & (u < 0))
    return agree if how == "agree" else agree & (np.abs(tau) > np.float32(0.5) * np.abs(u))


def side_sums(tau, u, side, rows, whole):
    """The five sums of one side (bool array), by row. One side: all of tau counts where `whole`."""
    t, v = tau.reshape(rows, -1), np.where(side, u, np.float32(0)).reshape(rows, -1)
    if not whole:
        t = np.where(side.reshape(rows, -1), t, np.float32(0))
    t, v = t.astype(np.float64), v.astype(np.float64)
    return dict(t1=np.abs(t).sum(1), q1=np.abs(v).sum(1), tt=(t * t).sum(1), tq=(t * v).sum(1), qq=(v * v).sum(1))


def unify(taus, unified=lambda u: u):
    """{name: tau} of each task -> {name: u}, as it is stored."""
    return {name: unified(elect([t[name] for t in taus])) for name in taus[0]}


def elected(tau, u, two_sided=False, how="agree", rule="l1", per="model"):
    """{name: tau} of one task -> {name: tau as rebuilt}, {name: mask}, {name: scales [sides, rows or 1]}."""
    masks = {name: mask(tau[name], u[name], how) for name in u}
    sums = {}
    for name, v in u.items():
        rows = v.shape[0] if v.ndim > 1 else 1
        sides = [(masks[name], 1), (~masks[name] & (v != 0), -1)] if two_sided else [(masks[name], 1)]
        sums[name] = [side_sums(tau[name], sign * v, side, rows, not two_sided) for side, sign in sides]
        if per != "row":
            sums[name] = [{k: x.sum(keepdims=True) for k, x in s.items()} for s in sums[name]]
    if per == "model":
        sides = range(2 if two_sided else 1)
        total = [{k: sum(s[i][k] for s in sums.values()) for k in ("t1", "q1", "tt", "tq", "qq")} for i in sides]
        sums = dict.fromkeys(u, total)
    scales = {name: np.stack([scale(rule, **s) for s in sums[name]]) for name in u}
    steps = {}
    for name, v in u.items():
        by_row = [x.reshape((-1,) + (1,) * (v.ndim - 1)) if v.ndim else x.reshape(()) for x in scales[name]]
        steps[name] = np.where(masks[name], by_row[0] * v, -by_row[1] * v if two_sided else np.float32(0))
    return steps, masks, scales


# ---------------------------------------------------------------- coded kinds: one tensor each

@dataclass
class Coded:
    codes: np.ndarray  # one a parameter (thin: one a kept parameter), u8
    bits: int  # of a code
    scales: np.ndarray  # one a stretch, BF16 values as f32
    columns: np.ndarray | None  # BF16 values as f32
    step: np.ndarray  # what is added to the base


def totals(x, starts):
    return np.add.reduceat(x, starts, dtype=np.float64)


def flat_parity(place):
    return ((place.first + np.arange(place.count)) & 1).astype(bool)


def sign(tau, place, rule="unbiased", columns=True):
    """+-r of the stretch, times c of the column."""
    t, (starts, n) = tau.reshape(-1), place.stretches()
    magnitude = np.abs(t)
    bit = (t > 0) | ((t == 0) & flat_parity(place))
    s1, s2 = totals(magnitude, starts), totals(t.astype(np.float64) ** 2, starts)
    r = bf16(scale(rule, t1=s1, q1=n, tt=s2, tq=s1, qq=n))
    by_element = np.repeat(r, n)
    c = None
    if columns and place.has_columns:
        c = column_scales(by_element * magnitude, r, n, s1.sum(), s2.sum(), place, rule)
        by_element = (by_element.reshape(place.rows, -1) * c).reshape(-1)
    return Coded(bit.astype(np.uint8), 1, r, c, np.where(bit, by_element, -by_element).reshape(tau.shape))


def column_scales(weighted, r, n, s1, s2, place, rule):
    """weighted: r |tau|. In each chunk f32, row after row; then f64, chunk after chunk."""
    p, at = np.zeros(place.columns), 0
    while at < place.count:
        end = min(((place.first + at) // CHUNK + 1) * CHUNK - place.first, place.count)
        first_row, last_row = at // place.columns, (end - 1) // place.columns
        part = np.zeros((last_row - first_row + 1, place.columns), np.float32)
        part.reshape(-1)[at - first_row * place.columns:end - first_row * place.columns] = weighted[at:end]
        p += np.add.reduce(part, axis=0, dtype=np.float32)
        at = end
    r = r.astype(np.float64)
    rr, r1 = (r * r * n).sum() / place.columns, (r * n).sum() / place.columns
    if rr == 0:
        return np.ones(place.columns, np.float32)
    c = p / rr
    cp, cc = (c * p).sum(), (c * c).sum()
    factor = {"l1": ratio(s1, r1 * c.sum()), "l2": ratio(cp, rr * cc), "norm": np.sqrt(ratio(s2, rr * cc)),
              "unbiased": ratio(s2, cp)}[rule]
    return bf16(c * factor)


def thin_hash(seed, group):
    group = np.asarray(group, np.uint64)
    low, high = (group & np.uint64(0xFFFFFFFF)).astype(np.uint32), (group >> np.uint64(32)).astype(np.uint32)
    x = np.uint32(seed) ^ low * np.uint32(0x9E3779B1) ^ high * np.uint32(0x85EBCA77)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    return x ^ x >> np.uint32(16)


def thin_positions(place, seed, k):
    """Of every run of q = 2^k flat parameters the one that is kept: where in the tensor, and the number of its run in
    its group. A run that the tensor's end cuts counts if its position lies inside."""
    groups = np.arange(place.first // GROUP, -(-(place.first + place.count) // GROUP))
    run = np.arange(GROUP >> k)
    offset = (thin_hash(seed, groups)[:, None] >> (run * k).astype(np.uint32)) & np.uint32((1 << k) - 1)
    at = (groups[:, None] * GROUP - place.first + (run << k) + offset).reshape(-1)
    run = np.broadcast_to(run, offset.shape).reshape(-1)
    return at, run, at < place.count


def thin_share(kept):
    """f: how far a thin scale goes from the mean magnitude (0) to the unbiased one (1), by entries kept in a stretch."""
    return np.clip((kept - 16) / 64, 0, 1)


def thin(tau, place, k, seed=0, rule="mixed", share=thin_share):
    """+-r of the stretch at the drawn positions alone."""
    t, (starts, n), q = tau.reshape(-1), place.stretches(), 1 << k
    at, run, inside = thin_positions(place, seed, k)
    s1, s2 = totals(np.abs(t), starts), totals(t.astype(np.float64) ** 2, starts)
    mean, unbiased = s1 / n, np.minimum(ratio(s2, s1), 4 * s1 / n)
    f = {"l1": 0, "unbiased": 1}.get(rule, share(n / q))
    r = bf16({"l2": mean, "norm": np.sqrt(s2 * q / n)}.get(rule, ((1 - f) * mean + f * unbiased) * q))
    kept = t[np.where(inside, at, 0)]
    bit = inside & ((kept > 0) | ((kept == 0) & (run & 1 == 1)))
    step = np.zeros_like(t)
    at, up = at[inside], bit[inside]
    scales = r[np.searchsorted(starts, at, side="right") - 1]
    step[at] = np.where(up, scales, -scales)
    return Coded(bit.astype(np.uint8), 1, r, None, step.reshape(tau.shape))


def level_values(n):
    upper = np.array(LEVELS[n], np.float32)
    return np.concatenate([-upper[::-1], upper[n % 2:]])


def levels(tau, place, n_levels, rule="unbiased"):
    """r of the stretch times the level of the code."""
    t, (starts, n) = tau.reshape(-1), place.stretches()
    level = level_values(n_levels)
    s1, s2 = totals(np.abs(t), starts), totals(t.astype(np.float64) ** 2, starts)
    rms = np.repeat(f32(np.sqrt(s2 / n)), n)
    code = np.zeros(t.size, np.uint8)
    for threshold in (level[1:] + level[:-1]) * np.float32(0.5):
        code += t > threshold * rms
    if n_levels % 2 == 0:
        code = np.where(t == 0, (n_levels // 2 - 1 + flat_parity(place)).astype(np.uint8), code)
    q = level[code]
    wide = q.astype(np.float64)
    r = bf16(scale(rule, t1=s1, q1=totals(np.abs(q), starts), tt=s2, tq=totals(wide * t, starts),
                   qq=totals(wide * wide, starts)))
    return Coded(code, {3: 2, 4: 2, 8: 3, 16: 4}[n_levels], r, None, (np.repeat(r, n) * q).reshape(tau.shape))


def coded(taus, where, encode, vectors=bf16):
    """{name: tau} of one task -> {name: tau as rebuilt}, {name: Coded} of matrices, {name: differences} of vectors."""
    made = {name: encode(tau, where[name]) for name, tau in taus.items() if where[name].is_matrix}
    kept = {name: vectors(tau).reshape(tau.shape) for name, tau in taus.items() if not where[name].is_matrix}
    return {name: made[name].step if name in made else kept[name] for name in taus}, made, kept


# ---------------------------------------------------------------- for comparison

def bitdelta(tau):
    """BitDelta without data: sign times the tensor's mean magnitude."""
    mean = f32(np.abs(tau).mean(dtype=np.float64))
    return np.where(tau > 0, mean, -mean)


def average(taus):
    return {name: f32(sum(t[name].astype(np.float64) for t in taus) / len(taus)) for name in taus[0]}


def arithmetic(taus, factor=0.3):
    return {name: f32(factor * sum(t[name].astype(np.float64) for t in taus)) for name in taus[0]}

"""modulator.py - one task's modulator: what turns the base's values into the task's, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import arrays
from ._native import Arena, Handle, call, choice, create, decode, encode, ffi, lib
from .dtypes import DType
from .infos import ModulatorStats, record

__all__ = ["Modulator", "multiply"]


class Modulator:
    """A task's modulator, out of a bundle (``task.modulator()``), or over the caller's memory
    (``Modulator()`` and `add`).

    It is used by one thread at a time.
    """

    def __init__(self) -> None:
        self._handle = _handle(create("emr_modulator", lib.emr_modulator_create, ffi.NULL))

    @classmethod
    def of_handle(cls, handle: Handle) -> Modulator:
        """For this package: of a handle of C's."""
        made = cls.__new__(cls)
        made._handle = handle
        return made

    def add(
        self,
        name: str,
        count: int,
        *,
        mask: Any,
        rescalers: Any,
        unified: Any = None,
        columns: Any = None,
        kind: str | None = None,
        thinning: int = 0,
        n_levels: int = 0,
        seed: int = 0,
    ) -> None:
        """One more tensor, of the caller's memory, which is kept and must not change: packed codes, scales in
        F32, and where the kind has them unified values (F32, F16 or BF16) and scales of columns (BF16)."""
        arena = Arena()
        codes = arena.keep(arrays.view(mask, what=f"the mask of {name!r}"))
        scales = arena.keep(arrays.view(rescalers, dtype=DType.F32, what=f"the rescalers of {name!r}"))
        values = (
            unified
            if unified is None
            else arena.keep(arrays.view(unified, what=f"the unified values of {name!r}"))
        )
        across = (
            columns if columns is None else arena.keep(arrays.view(columns, what=f"the columns of {name!r}"))
        )
        number = choice("EMR_MODULATOR_KIND_", kind, "kind")
        sides = 2 if number == lib.EMR_MODULATOR_KIND_TWO_SIDED else 1
        _expect(name, "a mask of {} bytes", codes.nbytes, _code_bytes(number, count, thinning, n_levels))
        if values:
            _expect(name, "{} unified values", values.count, count)
        if across:
            _expect(name, "{} scales of columns", across.count, count // max(scales.count, 1))
            if across.dtype != DType.BF16:
                raise TypeError(f"the columns of {name!r} are {across.dtype.name}, not BF16")
        made = arena.struct(
            "emr_modulation",
            name=arena.text(name),
            unified=values and values.pointer,
            mask=codes.pointer,
            rescalers=scales.pointer,
            columns=across and across.pointer,
            count=count,
            n_rescalers=scales.count // sides,
            unified_dtype=values and values.dtype,
            kind=number,
            thinning=thinning,
            n_levels=n_levels,
            seed=seed,
        )
        with self._handle.use(alone=True) as modulator:
            call(lib.emr_modulator_add, modulator, made)
        self._handle.keep(arena)

    @property
    def names(self) -> list[str]:
        """The tensors that it changes."""
        with self._handle.use(alone=True) as modulator:
            return [
                decode(lib.emr_modulator_tensor_name(modulator, i))
                for i in range(lib.emr_modulator_n_tensors(modulator))
            ]

    def _find(self, modulator: Any, name: str) -> int:
        place = ffi.new("uint32_t *")
        if lib.emr_modulator_find_tensor(modulator, encode(name), place):
            raise KeyError(name)
        return int(place[0])

    def count(self, name: str) -> int:
        """How many parameters a tensor has."""
        with self._handle.use(alone=True) as modulator:
            return int(lib.emr_modulator_tensor_count(modulator, self._find(modulator, name)))

    def rescalers(self, name: str, out: Any = None) -> Any:
        """A tensor's scales, in F32: into `out`, or a new numpy array, which it returns."""
        with self._handle.use(alone=True) as modulator:
            tensor = self._find(modulator, name)
            n = int(lib.emr_modulator_n_rescalers(modulator, tensor))
            out = arrays.empty(DType.F32, (n,)) if out is None else out
            target = arrays.view(out, writable=True, dtype=DType.F32, what="out")
            if target.count != n:
                raise ValueError(f"out has {target.count} elements, {name!r} has {n} rescalers")
            call(lib.emr_modulator_read_rescalers, modulator, tensor, 0, n, target.pointer)
        return out

    def stats(self, name: str) -> ModulatorStats:
        """Counts a tensor's mask bits."""
        with self._handle.use(alone=True) as modulator:
            made = ffi.new("emr_modulator_stats *")
            made.size = ffi.sizeof("emr_modulator_stats")
            call(lib.emr_modulator_get_stats, modulator, self._find(modulator, name), made)
            return record(ModulatorStats, made)

    def apply(self, name: str, base: Any, out: Any, *, first: int = 0) -> Any:
        """Computes the weights of parameters from number `first` on into `out`, and returns it. `base` has
        the base's values of the same parameters, and may be `out` itself; None: the change alone."""
        target = arrays.view(out, writable=True, what="out")
        source = None if base is None else arrays.view(base, what="base")
        if source and source.count != target.count:
            raise ValueError(f"base has {source.count} elements, out has {target.count}")
        arena = Arena()
        with self._handle.use(alone=True) as modulator:
            application = arena.struct(
                "emr_application",
                base=source and source.pointer,
                out=target.pointer,
                first=first,
                count=target.count,
                tensor=self._find(modulator, name),
                base_dtype=source and source.dtype,
                out_dtype=target.dtype,
                without_base=int(source is None),
            )
            call(lib.emr_modulator_apply, modulator, application)
        return out

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Modulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def multiply(
    modulators: Sequence[Modulator],
    name: str,
    base: Any,
    x: Any,
    out: Any,
    *,
    n_columns: int,
    first_row: int = 0,
    add: bool = False,
) -> Any:
    """Multiplies rows of a tensor by the vectors `x` [batch, columns], each by the weights of its own
    modulator, which are not materialised. `out` [batch, rows] gets the products, in F32. `base` has the
    base's values of these rows; None: the change alone."""
    vectors = arrays.view(x, dtype=DType.F32, what="x")
    target = arrays.view(out, writable=True, dtype=DType.F32, what="out")
    source = None if base is None else arrays.view(base, what="base")
    batch = len(modulators)
    if not batch or vectors.count != batch * n_columns or target.count % batch:
        raise ValueError(
            f"{batch} modulators do not fit x of shape {vectors.shape} and out of shape {target.shape}"
        )
    if target.overlaps(vectors):
        raise ValueError("out lies over x")
    rows = target.count // batch
    if source and source.count != rows * n_columns:
        raise ValueError(f"base has {source.count} elements, {rows} rows of {n_columns} are needed")
    arena = Arena()
    unique = list(dict.fromkeys(modulators))
    product = arena.struct(
        "emr_product",
        name=arena.text(name),
        x=vectors.pointer,
        y=target.pointer,
        batch=batch,
        first_row=first_row,
        n_rows=rows,
        n_columns=n_columns,
        without_base=int(source is None),
        add=int(add),
    )
    with _all_alone(unique) as pointers:
        places = dict(zip(unique, pointers))
        call(
            lib.emr_modulator_multiply,
            arena.array("emr_modulator *", [places[m] for m in modulators]),
            product,
            source.dtype if source else 0,
            source.pointer if source else ffi.NULL,
        )
    return out


class _all_alone:
    """Uses several modulators at once."""

    def __init__(self, modulators: Sequence[Modulator]) -> None:
        from contextlib import ExitStack

        self._stack, self._modulators = ExitStack(), modulators

    def __enter__(self) -> list[Any]:
        with self._stack:
            pointers = [self._stack.enter_context(m._handle.use(alone=True)) for m in self._modulators]
            self._stack = self._stack.pop_all()
        return pointers

    def __exit__(self, *what: Any) -> None:
        self._stack.close()


def _handle(pointer: Any, parents: Sequence[Handle] = ()) -> Handle:
    return Handle(pointer, lib.emr_modulator_destroy, "the modulator", parents)


def _code_bytes(kind: int, count: int, thinning: int, n_levels: int) -> int:
    """Bytes of packed codes; what is no thinning or number of levels C refuses."""
    if kind == lib.EMR_MODULATOR_KIND_THIN:
        return (-(-count // 64) * (64 // max(thinning or 4, 1)) + 7) // 8
    bits = 1
    if kind == lib.EMR_MODULATOR_KIND_LEVELS:
        bits = max((n_levels or 4) - 1, 1).bit_length()
    return (count * bits + 7) // 8


def _expect(name: str, what: str, given: int, needed: int) -> None:
    if given < needed:
        raise ValueError(f"{name!r} has {what.format(given)}, {needed} are needed")

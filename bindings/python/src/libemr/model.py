"""model.py - models: named tensors from files, from arrays, or computed as they are read; and where they
go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Union

from . import arrays, io
from ._native import (
    Arena,
    Handle,
    call,
    callback,
    check,
    choice,
    create,
    decode,
    encode,
    ffi,
    filled,
    lib,
    path_bytes,
)
from .dtypes import DType, DTypeLike
from .resources import Memory, Progress, Resources, Threads, memory_bytes

__all__ = ["Model", "ModelLike", "Pushed", "Role", "Tensor", "as_model"]

PIECE = 32 << 20  # bytes of a read that Ctrl-C waits for


@dataclass(frozen=True)
class Role:
    """What a tensor is to its model: "weight", or "code", "sidecar", "statistic", "constant", "magnitude"."""

    role: str
    family: str | None
    code: str | None
    can_dequantise: bool


@dataclass(frozen=True)
class Pushed:
    """Stands for an array in ``Model.of``: its bytes are pushed during a merge (``Merge.push``)."""

    dtype: DTypeLike
    shape: tuple[int, ...]


class Tensor:
    """A tensor of a model: its name, type and shape are known, its bytes are read when they are asked for."""

    def __init__(self, model: Handle, pointer: Any) -> None:
        self._model, self._pointer = model, pointer

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r} {self.dtype.name} {list(self.shape)}>"

    @property
    def name(self) -> str:
        with self._model.use():
            return decode(lib.emr_tensor_name(self._pointer))

    @property
    def dtype(self) -> DType:
        with self._model.use():
            return DType(lib.emr_tensor_dtype(self._pointer))

    @property
    def shape(self) -> tuple[int, ...]:
        with self._model.use():
            shape = lib.emr_tensor_shape(self._pointer)
            return tuple(shape[i] for i in range(lib.emr_tensor_rank(self._pointer)))

    @property
    def count(self) -> int:
        """How many elements it has."""
        with self._model.use():
            return int(lib.emr_tensor_count(self._pointer))

    @property
    def nbytes(self) -> int:
        with self._model.use():
            return int(lib.emr_tensor_bytes(self._pointer))

    @property
    def role(self) -> Role:
        """What it is to its model. A merge takes what is no weight as each task has it."""
        with self._model.use():
            found = filled(_role, "emr_tensor_role", self._pointer)
            code = decode(lib.emr_tensor_name(found.code)) if found.code else None
            family = decode(found.family) if found.family else None
            return Role(decode(lib.emr_role_name(found.role)), family, code, bool(found.can_dequantise))

    @property
    def gguf_blocks(self) -> tuple[str, int] | None:
        """Of a tensor of a GGUF file that is kept as blocks: their name ("Q4_K"), and how many elements they
        are."""
        with self._model.use():
            elements = ffi.new("uint64_t *")
            name = lib.emr_gguf_blocks(self._pointer, elements)
            return (decode(name), int(elements[0])) if name else None

    def in_use(self) -> Any:
        """For this package: C's tensor, for a call."""
        return _in_use(self)

    def same_shape(self, other: Tensor) -> bool:
        with self._model.use(), other._model.use():
            return bool(lib.emr_tensor_same_shape(self._pointer, other._pointer))

    def read(self, out: Any = None) -> Any:
        """Reads all of it into `out`, or a new numpy array, and returns that.

        `out` is any array of the tensor's shape and dtype, or of floats in F32, which is converted to.
        """
        if out is None:
            out = arrays.empty(self.dtype, self.shape)
        target = arrays.view(out, writable=True, what=f"out of {self.name!r}")
        if target.shape != self.shape:
            raise ValueError(
                f"out of {self.name!r} has the shape {list(target.shape)}, the tensor {list(self.shape)}"
            )
        if target.dtype == self.dtype:
            self._read_bytes(0, target.nbytes, target.pointer)
        elif target.dtype == DType.F32 and self.dtype.is_float:
            self._read_floats(0, target.count, target.pointer)
        else:
            raise TypeError(f"out of {self.name!r} is {target.dtype.name}, the tensor {self.dtype.name}")
        return out

    def read_floats(self, first: int = 0, count: int | None = None, out: Any = None) -> Any:
        """Reads elements [first, first + count) of a float tensor as F32: into `out`, or a new numpy array,
        which it returns."""
        count = self.count - first if count is None else count
        if out is None:
            out = arrays.empty(DType.F32, (max(count, 0),))
        target = arrays.view(out, writable=True, dtype=DType.F32, what=f"out of {self.name!r}")
        if target.count != count:
            raise ValueError(f"out of {self.name!r} has {target.count} elements, {count} are to be read")
        self._read_floats(first, count, target.pointer)
        return out

    def read_bytes(self, offset: int = 0, n: int | None = None, out: Any = None) -> Any:
        """Reads bytes [offset, offset + n), as they would lie in a file: into `out`, or a new bytearray,
        which it returns."""
        n = self.nbytes - offset if n is None else n
        if n < 0 or offset < 0:
            raise ValueError(f"bytes {offset} to {offset + n} are not in the tensor {self.name!r}")
        if out is None:
            out = bytearray(n)
        target = arrays.view(out, writable=True, what=f"out of {self.name!r}")
        if target.nbytes != n:
            raise ValueError(f"out of {self.name!r} has {target.nbytes} bytes, {n} are to be read")
        self._read_bytes(offset, n, target.pointer)
        return out

    def _read_bytes(self, offset: int, n: int, pointer: Any) -> None:
        with self._model.use():
            place = ffi.cast("char *", pointer)
            for done in range(0, n, PIECE):
                call(lib.emr_tensor_read, self._pointer, offset + done, place + done, min(PIECE, n - done))

    def _read_floats(self, first: int, n: int, pointer: Any) -> None:
        if first < 0:
            raise ValueError(f"the tensor {self.name!r} has no element {first}")
        with self._model.use():
            place, most = ffi.cast("float *", pointer), PIECE // 4
            for done in range(0, n, most):
                call(
                    lib.emr_tensor_read_floats, self._pointer, first + done, min(most, n - done), place + done
                )


@contextmanager
def _in_use(tensor: Tensor) -> Iterator[Any]:
    with tensor._model.use():
        yield tensor._pointer


def _role(tensor: Any, role: Any) -> int:
    return int(lib.emr_tensor_get_role(tensor, role))


class Metadata(MutableMapping[str, str]):
    """Texts by key: safetensors' ``__metadata__``."""

    def __init__(self, model: Handle) -> None:
        self._model = model

    def __getitem__(self, key: str) -> str:
        with self._model.use() as model:
            value = lib.emr_model_find_metadata(model, encode(key))
            if value == ffi.NULL:
                raise KeyError(key)
            return decode(value)

    def __setitem__(self, key: str, value: str) -> None:
        with self._model.use(alone=True) as model:
            call(lib.emr_model_set_metadata, model, encode(key), encode(value))

    def __delitem__(self, key: str) -> None:
        with self._model.use(alone=True) as model:
            if lib.emr_model_remove_metadata(model, encode(key)):
                raise KeyError(key)

    def __len__(self) -> int:
        with self._model.use() as model:
            return int(lib.emr_model_n_metadata(model))

    def __iter__(self) -> Iterator[str]:
        key, value = ffi.new("char **"), ffi.new("char **")
        keys = []
        with self._model.use() as model:
            for i in range(lib.emr_model_n_metadata(model)):
                check(lib.emr_model_get_metadata(model, i, key, value))
                keys.append(decode(key[0]))
        return iter(keys)

    def __repr__(self) -> str:
        return repr(dict(self))


class _Computed:
    """A computed tensor's function."""

    def __init__(self, name: str, dtype: DType, function: Callable[[int, int], Any]) -> None:
        self.name, self.dtype, self.function = name, dtype, function

    def compute(self, first: int, count: int, out: Any) -> None:
        what = f"what the function of {self.name!r} gives"
        values = arrays.view(self.function(first, count), dtype=self.dtype, what=what)
        if values.count != count:
            raise ValueError(f"{what} has {values.count} elements, not {count}")
        ffi.memmove(out, values.pointer, values.nbytes)


@callback("emr_compute_fn")
def _compute(computation: Any, error: Any) -> int:
    ffi.from_handle(computation.user).compute(computation.first, computation.count, computation.out)
    return 0


@callback("emr_checkpoint_write_options_written")
def _written(user: Any, path: Any) -> None:
    ffi.from_handle(user).append(decode(path))


class Model(Mapping[str, Tensor]):
    """A model: a mapping from names to tensors, whose bytes are read when they are asked for.

    ``Model("folder/")`` opens a checkpoint: a .safetensors or .gguf file, an index of shards, a folder. It
    may also be a file-like object, or bytes, that hold one safetensors or GGUF file. ``Model.of`` makes one
    of arrays.

    Args:
        source: a path, a file-like object that can seek, or bytes-like.
        name: what messages call it.
        dequantise: quantised tensors are read as floats, and can be merged.
        side_files: of a folder, configuration and tokenizer come along.
        map: files are mapped, not read; they must not shrink meanwhile.
    """

    def __init__(
        self,
        source: io.Source,
        *,
        name: str | None = None,
        dequantise: bool = False,
        side_files: bool = False,
        map: bool = False,
    ) -> None:
        arena = Arena()
        options = arena.struct(
            "emr_checkpoint_read_options",
            map=int(map),
            dequantise=int(dequantise),
            side_files=int(side_files),
        )
        parents: list[Handle] = []
        if io.is_path(source):
            pointer = create("emr_model", lib.emr_checkpoint_open, path_bytes(source), options)
        else:
            host, parents = io.opened(source, arena)
            function = lib.emr_gguf_open if _begins_with_gguf(host) else lib.emr_safetensors_open
            called = arena.text(name or io.name_of(source, "model"))
            pointer = create("emr_model", function, host, called, options)
        self._take(_handle(pointer, parents, arena))
        for parent in parents:
            parent.close()

    def _take(self, handle: Handle) -> None:
        self._handle = handle
        self._mutable = False
        self._memory: list[arrays.View] = []

    @classmethod
    def of_handle(cls, handle: Handle) -> Model:
        """For this package: of a handle of C's."""
        model = cls.__new__(cls)
        model._take(handle)
        return model

    @classmethod
    def of(
        cls, tensors: Mapping[str, Any] = {}, *, name: str = "model", metadata: Mapping[str, str] = {}
    ) -> Model:
        """Made of arrays by name: of numpy, PyTorch, DLPack, the buffer protocol, `Array`, tensors of other
        models, `Pushed`.

        Nothing is copied: the arrays are kept, and must not change while the model is used.
        """
        arena = Arena()
        options = arena.struct("emr_model_options", name=arena.text(name))
        model = cls.of_handle(_handle(create("emr_model", lib.emr_model_create, options), (), arena))
        model._mutable = True
        for key, value in tensors.items():
            model.add(key, value)
        model.metadata.update(metadata)
        return model

    @classmethod
    def zeros(cls, like: ModelLike) -> Model:
        """The float tensors of another model, all +0: the base of models that were not fine-tuned from one,
        such as adapters."""
        with as_model(like)._handle.use() as other:
            return cls.of_handle(_handle(create("emr_model", lib.emr_model_create_zeros, other, ffi.NULL)))

    def add(
        self, name: str, value: Any, *, blocks: str | None = None, shape: Sequence[int] | None = None
    ) -> None:
        """One more tensor: an array, a tensor of another model, or `Pushed`. Of a model that was made by
        ``Model.of``.

        With `blocks` ("Q8_0"), the array's bytes are blocks of that type, and `shape` is that of the floats
        they stand for.
        """
        if isinstance(value, Tensor):
            return self._add_tensor(name, value)
        arena = Arena()
        if isinstance(value, Pushed):
            return self._add(arena, name, DType.of(value.dtype), value.shape)
        memory = arrays.view(value, what=f"the array {name!r}")
        if blocks is None:
            self._add(arena, name, memory.dtype, memory.shape, data=memory.pointer)
        else:
            kind = choice("EMR_BLOCK_TYPE_", blocks, "blocks")
            expected = _block_bytes(kind, shape or (), blocks)
            if memory.nbytes != expected:
                raise ValueError(
                    f"the array {name!r} has {memory.nbytes} bytes; {blocks} of shape {shape} are {expected}"
                )
            self._add(arena, name, DType.F32, shape or (), data=memory.pointer, blocks=kind)
        self._memory.append(self._handle.keep(memory))

    def add_from(
        self,
        name: str,
        source: Any,
        dtype: DTypeLike,
        shape: Sequence[int],
        *,
        offset: int = 0,
        blocks: str | None = None,
    ) -> None:
        """One more tensor, which lies in a file-like object or bytes from byte `offset` on, and is read from
        there."""
        arena = Arena()
        host, parents = io.opened(source, arena)
        self._add(
            arena,
            name,
            DType.of(dtype),
            shape,
            io=host,
            offset=offset,
            blocks=choice("EMR_BLOCK_TYPE_", blocks, "blocks"),
        )
        self._handle.keep(arena)
        for parent in parents:
            self._handle.adopt(parent)
            parent.close()

    def add_computed(
        self,
        name: str,
        dtype: DTypeLike,
        shape: Sequence[int],
        function: Callable[[int, int], Any],
        *,
        granule: int = 0,
        max_count: int = 0,
    ) -> None:
        """One more tensor, computed as it is read.

        ``function(first, count)`` gives an array of elements [first, first + count), in `dtype`. It may be
        called from several threads at a time. `first` is a multiple of `granule`, and `count` is at most
        `max_count` (0: 8192).
        """
        kind = DType.of(dtype)
        arena = Arena()
        user = arena.user(_Computed(name, kind, function))
        self._add(arena, name, kind, shape, compute=_compute, user=user, granule=granule, max_count=max_count)
        self._handle.keep(arena)

    def _add(self, arena: Arena, name: str, dtype: DType, shape: Sequence[int], **source: Any) -> None:
        desc = arena.struct(
            "emr_tensor_desc",
            name=arena.text(name),
            dtype=dtype,
            rank=len(shape),
            shape=arena.array("uint64_t", shape),
            **source,
        )
        with self._to_change() as model:
            call(lib.emr_model_add, model, desc)

    def _add_tensor(self, name: str, tensor: Tensor) -> None:
        with tensor._model.use(), self._to_change() as model:
            if name == tensor.name:
                call(lib.emr_model_add_tensor, model, tensor._pointer)
            else:
                call(lib.emr_model_add_tensor_as, model, tensor._pointer, encode(name))
            self._handle.adopt(tensor._model)

    def _to_change(self) -> Any:
        if not self._mutable:
            raise TypeError("tensors can only be added to a model that was made by Model.of")
        return self._handle.use(alone=True)

    def renamed(self, rules: Mapping[str, str] | Iterable[tuple[str, str]]) -> Model:
        """The same tensors under other names: rules from a beginning to another ("transformer." to ""), or
        each with one "*"."""
        pairs = list(rules.items() if isinstance(rules, Mapping) else rules)
        arena = Arena()
        rows = arena.structs("emr_rename", [{"from": arena.text(a), "to": arena.text(b)} for a, b in pairs])
        with self._handle.use() as model:
            pointer = create("emr_model", lib.emr_model_create_renamed, model, rows, len(pairs), ffi.NULL)
            return self._like(Model.of_handle(_handle(pointer, [self._handle], arena)))

    def _like(self, model: Model) -> Model:
        model._memory = self._memory
        return model

    def prepare(self, *, threads: Threads = None, memory: Memory = None, progress: Progress = None) -> None:
        """Finds out, for every tensor, what computing it needs. Reading does it where this was not called, on
        one thread."""
        with Resources(threads, memory, progress) as resources, self._handle.use() as model:
            call(lib.emr_model_prepare, model, resources)

    def write(
        self,
        target: io.Target,
        *,
        format: str | None = None,
        replace: bool = False,
        shard_bytes: Memory = None,
        dtype: DTypeLike | None = None,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> list[str]:
        """Writes it: to a .safetensors or .gguf file, a folder, or a file-like object. Returns the paths that
        were written.

        Args:
            format: of a file-like object: "safetensors", or "gguf".
            replace: files that exist are replaced; FileExistsError otherwise.
            shard_bytes: no file is to be larger than this ("5GB").
            dtype: in a folder, what config.json is to call the weights' type.
        """
        arena = Arena()
        paths: list[str] = []
        with Resources(threads, memory, progress) as resources, self._handle.use() as model:
            options = arena.struct(
                "emr_checkpoint_write_options",
                resources=resources,
                shard_bytes=memory_bytes(shard_bytes),
                replace=int(replace),
                dtype=0 if dtype is None else DType.of(dtype),
                written=_written,
                user=arena.user(paths),
            )
            if io.is_path(target):
                if format is not None:
                    raise ValueError("the path's name says the format")
                call(lib.emr_checkpoint_write, model, path_bytes(target), options)
            else:
                functions = {"safetensors": lib.emr_safetensors_write, "gguf": lib.emr_gguf_write}
                function = functions.get(format or "safetensors")
                if function is None:
                    raise ValueError(f"format is {format!r}, which is none of {', '.join(functions)}")
                call(function, model, io.writing(arena, target), options)
        return paths

    # ---------------------------------------------------------------------------------------------- a mapping

    @property
    def name(self) -> str:
        """What messages call it."""
        with self._handle.use() as model:
            return decode(lib.emr_model_name(model))

    @property
    def metadata(self) -> Metadata:
        return Metadata(self._handle)

    def copy_metadata(self, other: Model) -> None:
        """Sets all entries of another model's metadata."""
        with other._handle.use() as source, self._handle.use(alone=True) as model:
            call(lib.emr_model_copy_metadata, model, source)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    @property
    def memory(self) -> Sequence[arrays.View]:
        """The arrays that it borrows."""
        return self._memory

    def __getitem__(self, name: str) -> Tensor:
        with self._handle.use() as model:
            pointer = lib.emr_model_find_tensor(model, encode(name))
            if pointer == ffi.NULL:
                raise KeyError(name)
            return Tensor(self._handle, pointer)

    def __len__(self) -> int:
        with self._handle.use() as model:
            return int(lib.emr_model_n_tensors(model))

    def __iter__(self) -> Iterator[str]:
        with self._handle.use() as model:
            names = [
                decode(lib.emr_tensor_name(lib.emr_model_tensor(model, i)))
                for i in range(lib.emr_model_n_tensors(model))
            ]
        return iter(names)

    def __repr__(self) -> str:
        return "<Model, closed>" if self._handle.closed else f"<Model {self.name!r}, {len(self)} tensors>"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def close(self) -> None:
        """Closes it. What was made of it stays usable, and keeps what it needs."""
        self._handle.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


ModelLike = Union[Model, io.Source, Mapping[str, Any]]


def as_model(value: ModelLike, name: str = "model", **options: Any) -> Model:
    """A model: itself, of arrays by name, or opened."""
    if isinstance(value, Model):
        return value
    if isinstance(value, Mapping):
        return Model.of(value, name=name)
    return (
        Model(value, **options)
        if io.is_path(value)
        else Model(value, name=io.name_of(value, name), **options)
    )


def _handle(pointer: Any, parents: Iterable[Handle] = (), keep: Any = None) -> Handle:
    with_name = f"the model '{decode(lib.emr_model_name(pointer))}'"
    return Handle(pointer, lib.emr_model_destroy, with_name, parents, keep)


def _begins_with_gguf(host: Any) -> bool:
    """Whether a host's bytes are a GGUF file; one that is too short for it is none."""
    length, begin = ffi.new("uint64_t *"), ffi.new("char[4]")
    call(host.length, host.user, length)
    if length[0] < 4:
        return False
    call(host.read, host.user, 0, begin, 4)
    return bytes(ffi.buffer(begin)) == b"GGUF"


def _block_bytes(kind: int, shape: Sequence[int], name: str) -> int:
    count = 1
    for n in shape:
        count *= n
    if not shape or shape[-1] % lib.EMR_BLOCK_VALUES:
        raise ValueError(
            f"the last dimension of {list(shape)} is no multiple of {lib.EMR_BLOCK_VALUES}, as {name} needs"
        )
    return count // int(lib.EMR_BLOCK_VALUES) * int(lib.emr_block_bytes(kind))

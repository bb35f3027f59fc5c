"""method.py - merging methods: the library's as data, and own ones, written in Python.

    class Mean(libemr.Method):
        name = "mean"
        parameters = [libemr.Parameter("scale", initial=1.0)]

        def combine(self, chunk):
            chunk.out[:] = sum(chunk.inputs) / len(chunk.inputs) * chunk.parameter(0, "scale")

    libemr.combine(Mean(), base, tasks, "mean/")

What it is given is C's memory, for as long as the call lasts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from ._native import Arena, callback, choice, decode, ffi, lib, word

__all__ = ["Chunk", "Cut", "Method", "MethodInfo", "Parameter", "Stage", "MethodTensor", "methods"]

MAX_STAGES: int = lib.EMR_METHOD_STAGES_MAX


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number that a method can be told. `initial` None: it must be told."""

    name: str
    initial: float | None = None
    least: float = -math.inf
    most: float = math.inf
    per_task: bool = True
    is_whole: bool = False


@dataclasses.dataclass(frozen=True)
class MethodInfo:
    """A method of the library's. `base` is "input", "required", "optional" or "beside", as in
    include/emr/method.h."""

    name: str
    base: str
    parameters: tuple[Parameter, ...]
    min_tasks: int
    max_tasks: int | None
    whole_model: bool


def methods() -> dict[str, MethodInfo]:
    """The library's methods, by name."""
    found: dict[str, MethodInfo] = {}
    while True:
        method = lib.emr_method_at(len(found))
        if method == ffi.NULL:
            return found
        name = decode(method.name)
        parameters = tuple(_parameter(method.parameters[i]) for i in range(method.n_parameters))
        found[name] = MethodInfo(
            name,
            word("EMR_METHOD_BASE_", method.base),
            parameters,
            method.min_tasks or 1,
            method.max_tasks or None,
            bool(method.whole_model),
        )


def _parameter(p: Any) -> Parameter:
    return Parameter(
        decode(p.name),
        None if math.isnan(p.initial) else p.initial,
        p.least,
        p.most,
        bool(p.per_task),
        bool(p.is_whole),
    )


class MethodTensor:
    """A tensor as a method sees it, during a call. `inputs` are the names of tasks; the base's, where it is
    one, is ""."""

    def __init__(self, tensor: Any, names: Sequence[str]) -> None:
        self._tensor, self._names = tensor, names

    @property
    def name(self) -> str:
        return decode(self._tensor.name)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._tensor.shape[i] for i in range(self._tensor.rank))

    @property
    def inputs(self) -> list[str]:
        return [decode(self._tensor.inputs[i]) for i in range(self._tensor.n_inputs)]

    @property
    def count(self) -> int:
        return int(self._tensor.count)

    @property
    def n_inputs(self) -> int:
        return int(self._tensor.n_inputs)

    @property
    def has_base(self) -> bool:
        return bool(self._tensor.has_base)

    @property
    def seed(self) -> int:
        return int(self._tensor.seed)

    @property
    def found(self) -> Any:
        """What the stages so far have found, one behind the other: pointer to doubles,
        ``tensor.found[0]``."""
        return self._tensor.found

    def parameter(self, input: int, name: str) -> float:
        """What an input was told."""
        self._expect_input(input)
        return float(self._tensor.parameters[input * self._tensor.n_parameters + self._names.index(name)])

    def draw(self, input: int, first: int, n: int) -> Any:
        """32 random bits for each of the elements [first, first + n): they depend on the seed and the names
        alone."""
        self._expect_input(input)
        words = ffi.new("uint32_t[]", n)
        lib.emr_method_draw(self._tensor, input, first, n, words)
        return _floats_or_words(words, n, "uint32", "I")

    def _expect_input(self, input: int) -> None:
        if not 0 <= input < self.n_inputs:
            raise IndexError(f"tensor '{self.name}' has {self.n_inputs} inputs, and none of number {input}")


class Chunk:
    """Elements [first, first + n) of a tensor, all inputs side by side, during a call. Arrays are numpy's,
    where that is installed, else memoryviews of floats; they are C's memory, and must not be kept."""

    def __init__(self, chunk: Any, names: Sequence[str]) -> None:
        self._chunk = chunk
        self.tensor = MethodTensor(chunk.tensor, names)
        self.n = int(chunk.n)
        self.first = int(chunk.first)
        self.position = int(chunk.position)

    @property
    def inputs(self) -> list[Any]:
        """n values of each."""
        return [_floats(self._chunk.inputs[i], self.n) for i in range(self.tensor.n_inputs)]

    @property
    def base(self) -> Any:
        """The base's weights, or None."""
        return None if self._chunk.base == ffi.NULL else _floats(self._chunk.base, self.n)

    @property
    def out(self) -> Any:
        """Where `Method.combine` writes n values."""
        return _floats(self._chunk.out, self.n)

    def parameter(self, input: int, name: str) -> float:
        return self.tensor.parameter(input, name)

    def is_above(self, cut: int, keys: Any) -> Any:
        """Which elements are among the largest that a cut keeps, of which `tensor.found` has the two numbers
        from number `cut` on; of numpy's keys."""
        import numpy

        value, position = self.tensor.found[cut], self.tensor.found[cut + 1]
        return (keys > value) | ((keys >= value) & (self.position + numpy.arange(self.n) < position))


def _floats(pointer: Any, n: int) -> Any:
    return _floats_or_words(pointer, n, "float32", "f")


def _floats_or_words(pointer: Any, n: int, name: str, letter: str) -> Any:
    buffer = ffi.buffer(pointer, n * 4)
    try:
        import numpy
    except ImportError:
        return memoryview(buffer).cast(letter)  # type: ignore[call-overload]
    return numpy.frombuffer(buffer, name)


class Stage:
    """Something that must be known of a whole tensor before it can be combined: a subclass adds up sums
    (`n_found` and `add_sums`), or cuts lists (`n_cuts`, `list_keys` and `place_cut`: see `Cut`)."""

    def n_found(self, tensor: MethodTensor) -> int:
        """How many numbers it finds."""
        raise NotImplementedError

    def add_sums(self, chunk: Chunk, sums: Any) -> None:
        """Adds to as many sums, doubles which are 0 at first."""
        raise NotImplementedError

    def settle(self, tensor: MethodTensor, found: Any) -> None:
        """Makes of the numbers what `combine` needs."""


class Cut(Stage):
    """Where the k largest of a list of keys end: two numbers, the key of the k-th and the position behind
    it."""

    def n_found(self, tensor: MethodTensor) -> int:
        return 2

    def list_keys(self, chunk: Chunk, list: int, keys: Any) -> None:
        """The keys of a chunk in list number `list`: at least 0 and finite."""
        raise NotImplementedError

    def place_cut(self, tensor: MethodTensor, cut: int) -> tuple[int, int]:
        """Of cut number `cut`: its list, and its k."""
        raise NotImplementedError


class Method:
    """An own method: a subclass sets its members and has `combine`. It is called by several threads at a
    time.

    Attributes:
        name: what messages call it.
        base: "input", "required", "optional" or "beside": what it does with a base, as in
            include/emr/method.h.
        stages: at most four, in this order.
        min_tasks, max_tasks: how many it takes; 0: no limit.
        whole_model: stages run over all tensors as if they were one.
    """

    name: str = ""
    base: str = "required"
    parameters: Sequence[Parameter] = ()
    stages: Sequence[Stage] = ()
    min_tasks: int = 0
    max_tasks: int = 0
    whole_model: bool = False

    def combine(self, chunk: Chunk) -> None:
        """Writes ``chunk.out``: of methods with a base, what is added to it."""
        raise NotImplementedError

    def check(self, tensor: MethodTensor) -> None:
        """Raises, where the parameters of a tensor do not go together."""

    def row_length(self, tensor: MethodTensor) -> int:
        """A length on a multiple of which each chunk begins and ends; 0: any."""
        return 0

    def needed_stages(self, tensor: MethodTensor) -> Sequence[bool] | None:
        """Which stages a tensor needs; None: all."""
        return None


class Own:
    """An own method as C's emr_method, and what its callbacks without an error have raised."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.raised: BaseException | None = None
        self.names = [parameter.name for parameter in method.parameters]
        if not method.name:
            raise ValueError("a method needs a name")
        if len(method.stages) > MAX_STAGES:
            raise ValueError(
                f"method '{method.name}' has {len(method.stages)} stages; there are {MAX_STAGES} at most"
            )
        self._arena = arena = Arena()
        parameters = [
            {
                "name": arena.text(p.name),
                "initial": math.nan if p.initial is None else p.initial,
                "least": p.least,
                "most": p.most,
                "per_task": int(p.per_task),
                "is_whole": int(p.is_whole),
            }
            for p in method.parameters
        ]
        self._handle = ffi.new_handle(self)
        self.pointer = arena.struct(
            "emr_method",
            name=arena.text(method.name),
            user=self._handle,
            parameters=arena.structs("emr_method_parameter", parameters),
            n_parameters=len(parameters),
            check=check_tensor,
            row_length=row_length,
            needed_stages=needed_stages,
            combine=combine_chunk,
            base=choice("EMR_METHOD_BASE_", method.base, "base"),
            min_tasks=method.min_tasks,
            max_tasks=method.max_tasks,
            whole_model=int(method.whole_model),
        )
        for i, stage in enumerate(method.stages):
            self.pointer.stages[i] = self._stage(i, stage)

    def _stage(self, i: int, stage: Stage) -> Any:
        members = {"n_found": N_FOUND[i], "settle": SETTLE[i]}
        if isinstance(stage, Cut):
            members.update(list_keys=LIST_KEYS[i], place_cut=PLACE_CUT[i])
        else:
            members.update(add_sums=ADD_SUMS[i])
        return self._arena.struct("emr_method_stage", **members)

    def keeping(self, function: Callable[[], Any], otherwise: Any) -> Any:
        """What a callback that cannot fail returns; what it raises, `combine` raises from then on: the
        library keeps what stages found."""
        try:
            return function()
        except BaseException as exception:
            self.raised = exception
            return otherwise


def owner(tensor: Any) -> Own:
    return ffi.from_handle(tensor.user)  # type: ignore[no-any-return]


@callback("emr_method_check")
def check_tensor(tensor: Any, error: Any) -> int:
    own = owner(tensor)
    own.method.check(MethodTensor(tensor, own.names))
    return 0


@callback("emr_method_row_length")
def row_length(tensor: Any) -> int:
    own = owner(tensor)
    return int(own.keeping(lambda: own.method.row_length(MethodTensor(tensor, own.names)), 0))


@callback("emr_method_needed_stages")
def needed_stages(tensor: Any) -> int:
    own = owner(tensor)
    needed = own.keeping(lambda: own.method.needed_stages(MethodTensor(tensor, own.names)), ())
    if needed is None:
        return (1 << len(own.method.stages)) - 1
    return sum(1 << i for i, yes in enumerate(needed) if yes)


@callback("emr_method_combine")
def combine_chunk(chunk: Any, error: Any) -> int:
    own = owner(chunk.tensor)
    if own.raised is not None:
        raise own.raised
    own.method.combine(Chunk(chunk, own.names))
    return 0


def numbered_stage(i: int) -> tuple[Any, ...]:
    """The callbacks of stage number i: C does not tell them which stage they are of."""

    @callback(f"emr_method_stage{i}_n_found")
    def n_found(tensor: Any) -> int:
        own = owner(tensor)
        return int(own.keeping(lambda: own.method.stages[i].n_found(MethodTensor(tensor, own.names)), 0))

    @callback(f"emr_method_stage{i}_add_sums")
    def add_sums(chunk: Any, sums: Any) -> None:
        own = owner(chunk.tensor)
        own.keeping(lambda: own.method.stages[i].add_sums(Chunk(chunk, own.names), sums), None)

    @callback(f"emr_method_stage{i}_list_keys")
    def list_keys(chunk: Any, list: int, keys: Any) -> None:
        own = owner(chunk.tensor)
        stage: Any = own.method.stages[i]
        ffi.buffer(keys, chunk.n * 4)[:] = bytes(chunk.n * 4)
        own.keeping(lambda: stage.list_keys(Chunk(chunk, own.names), list, _floats(keys, chunk.n)), None)

    @callback(f"emr_method_stage{i}_place_cut")
    def place_cut(tensor: Any, cut: int, list: Any) -> int:
        own = owner(tensor)
        stage: Any = own.method.stages[i]
        list[0], k = own.keeping(lambda: stage.place_cut(MethodTensor(tensor, own.names), cut), (0, 0))
        return int(k)

    @callback(f"emr_method_stage{i}_settle")
    def settle(tensor: Any, found: Any, error: Any) -> int:
        own = owner(tensor)
        own.method.stages[i].settle(MethodTensor(tensor, own.names), found)
        return 0

    return n_found, add_sums, list_keys, place_cut, settle


N_FOUND, ADD_SUMS, LIST_KEYS, PLACE_CUT, SETTLE = zip(*(numbered_stage(i) for i in range(MAX_STAGES)))

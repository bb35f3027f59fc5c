"""coefficients.py - AdaMerging: how much of each task vector goes into a merged model, learned from the
gradient of any loss."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from .. import arrays, io
from .._native import Arena, Handle, call, choice, create, decode, encode, failed, ffi, filled, lib
from ..bundle import Task
from ..infos import record
from ..model import Model, ModelLike, as_model
from ..resources import Memory, Progress, Resources, Threads
from ..session import Destination, Prepared
from .adam import Betas, adam_of
from .made import all_in_use, opened

__all__ = ["Coefficients", "CoefficientsReport"]

SCOPES = ("tensor", "layer", "model")
TaskLike = Union[ModelLike, Task]


@dataclass(frozen=True)
class CoefficientsReport:
    """What a step did.

    Attributes:
        n_steps: so far. largest_move: of a coefficient in this step.
        n_moved: coefficients that had a gradient.
        n_low, n_high: of all that are learned, those at 0 or below, and at 1 or above.
        n_stuck: with "clamp", those outside of [0, 1], where no gradient reaches them.
    """

    n_steps: int
    largest_move: float
    n_moved: int
    n_low: int
    n_high: int
    n_stuck: int


class Coefficients:
    """A merged model W₀ + Σ λ τ, with a coefficient λ for each task and each tensor, or group of tensors.

        merged = libemr.Coefficients("base/", {"french": "french/", "german": "german/"})
        for batches in rounds:
            merged.apply(model)                            # W into the module's own memory
            for name, batch in batches.items():
                libemr.fit.torch.entropy(heads[name](model(batch))).backward()
            merged.step(model)                             # dL/dλ from p.grad, and a step of Adam
            model.zero_grad()
        merged.write("merged/")

    Task vectors are read as they are needed, and never kept. Weights are made of the base each time, so
    nothing drifts; λ and Adam are F64. Used by one thread at a time.

    Args:
        base: a path, Model, mapping of arrays. tasks: likewise by name, or tasks of a bundle. Of arrays
            nothing is copied: they must not change, so they must not be what is written to.
        groups: None: each tensor has its own coefficients ("layer-wise" in the paper); "layer": those of one
            layer's number; "model": all ("task-wise"); or globs: tensors that match one of them, and none
            before it, share theirs.
        lr, betas, epsilon: of Adam.
        map: from what Adam moves to λ: "clamp" (to [0, 1], as the paper's program does it: what was carried
            out stays out, see `stuck`), "free", "project" (clipped after each step), "softmax" (over tasks).
        initial: where λ begins; None: 0.3. Of "softmax", what goes into it; None: 0.
        keep: AdaMerging++: the share of each task vector that is kept; 0.2 is the paper's. 0: all of it.
        fixed: globs of tensors that keep `initial`. exclude: of those that stay the base's: heads, say.
        vectors: the tasks' models hold task vectors, not weights.
        threads, memory: of all calls. progress: of what `keep` makes it read now.
    """

    def __init__(
        self,
        base: ModelLike,
        tasks: Mapping[str, TaskLike],
        groups: str | Sequence[str] | None = None,
        *,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        map: str = "clamp",
        initial: float | None = None,
        keep: float = 0.0,
        fixed: Sequence[str] = (),
        exclude: Sequence[str] = (),
        vectors: bool = False,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> None:
        arena, resources = Arena(), Resources(threads, memory, progress)
        root = as_model(base, "base", **({"side_files": True} if io.is_path(base) else {}))
        models = [_model_of(task, name, root) for name, task in tasks.items()]
        globs = () if groups is None or isinstance(groups, str) else groups
        scope = groups if isinstance(groups, str) else "tensor"
        if scope not in SCOPES:
            raise ValueError(f"groups is {scope!r}, which is none of {', '.join(SCOPES)}: globs are a list")
        handles = [model.handle for model in models]
        with root.handle.use() as pointer, all_in_use(arena, "emr_model", handles) as pointers:
            options = arena.struct(
                "emr_coefficients_options",
                resources=resources.pointer,
                base=pointer,
                tasks=pointers,
                names=arena.texts(tasks),
                n_tasks=len(models),
                adam=adam_of(arena, lr, betas, epsilon),
                groups=arena.texts(globs),
                n_groups=len(globs),
                fixed=arena.texts(fixed),
                n_fixed=len(fixed),
                exclude=arena.texts(exclude),
                n_exclude=len(exclude),
                initial=initial,
                use_initial=int(initial is not None),
                keep=keep,
                scope=choice("EMR_COEFFICIENT_SCOPE_", scope, "groups"),
                map=choice("EMR_COEFFICIENT_MAP_", map, "map"),
                are_vectors=int(vectors),
            )
            made = create("emr_coefficients", lib.emr_coefficients_create, options)
        parents = [root.handle, *handles, *resources.parents()]
        destroy = lib.emr_coefficients_destroy
        self._handle = Handle(made, destroy, "the coefficients", parents, (arena, resources))
        resources.close()
        self._about(root, list(tasks), map)
        self._memory = {view.address for model in (root, *models) for view in model.memory if view.nbytes}

    def _about(self, base: Model, tasks: list[str], map: str) -> None:
        """What calls look up."""
        self._base, self._tasks, self._map = base, tasks, map
        self._shapes = {name: tensor.shape for name, tensor in base.items()}
        with self._handle.use() as c:
            n = lib.emr_coefficients_n_groups(c)
            self._groups = [decode(lib.emr_coefficients_group(c, i)) for i in range(n)]
            place = ffi.new("uint32_t *")
            self._group_of = {
                name: int(place[0])
                for name in base
                if not lib.emr_coefficients_find_group(c, encode(name), place, ffi.NULL)
            }
        self._fixed = [bool(fixed) for fixed in self._each("is_fixed")[0]]

    # ---------------------------------------------------------------------------------------------- a round

    def apply(self, out: Any, *, names: Any = None, strict: bool = True) -> None:
        """Writes the merged weights into a torch module, or into arrays by name: a state dict, `Destination`
        where one is not an array.

        Weights are rounded once, to the type of each array. Memory of the CPU is written as it lies; other
        devices get them through a small buffer. What is tied is written once.

        Args:
            names: what the base calls the tensors of a module, as of `libemr.torch.Switcher`.
            strict: what the base lacks is an error, and of a module what the module lacks, too.
        """
        if _is_torch(out, "nn.Module"):
            from .torch.weights import targets_of

            given: dict[str, Any] = targets_of(out, self._base, names, strict)
        else:
            given = {name: array for name, array in out.items() if strict or name in self._shapes}
        given = _once(given)
        for name, array in given.items():
            self._expect_shape(name, array, "out")
            if _address(array) in self._memory:
                raise failed(
                    "EMR_EINVAL",
                    f"tensor '{name}': it would be written over what the base or a task is read from: "
                    "merge copies of it",
                    tensor=name,
                )
        tensors = {name: array for name, array in given.items() if _is_torch(array, "Tensor")}
        if tensors:
            from .torch.weights import destinations

            given.update(destinations(tensors))
        prepared = Prepared(given, lambda name: self._base[name].count if name in self._shapes else None)
        with self._handle.use(alone=True) as c:
            try:
                call(lib.emr_coefficients_apply, c, prepared.weights, prepared.count)
            finally:
                if tensors:
                    from ..torch.switcher import note_change

                    note_change(list(tensors.values()))

    def gradient(self, tensor: str, gradient: Any, *, first: int | None = None) -> None:
        """Hands in dL/dW of a tensor: an array of its shape, in F32, F16, BF16 or F64, on any device.
        Gradients add up until the step.

        With `first`, the elements from that number on, as a flat array: a tensor's come front to back, up to
        its last, before those of another one. `NonFinite`: the next step is refused; `clear` begins again.
        """
        self._expect_shape(tensor, gradient if first is None else None, "its gradient")
        pieces: Iterable[tuple[int, Any]] = [(0, gradient)]
        if _is_torch(gradient, "Tensor"):
            from .torch.weights import pieces_of

            pieces = pieces_of(gradient) if self._is_learned(tensor) else ()
        for at, piece in pieces:
            view = arrays.view(piece, what=f"the gradient of {tensor!r}")
            with self._handle.use(alone=True) as c:
                begin = (first or 0) + at
                function = lib.emr_coefficients_gradient
                call(function, c, encode(tensor), begin, view.count, view.dtype, view.pointer)

    def _is_learned(self, tensor: str) -> bool:
        group = self._group_of.get(tensor)
        return group is not None and not self._fixed[group]

    def add_gradients(self, gradients: Any, *, names: Any = None, strict: bool = True) -> None:
        """Hands in the gradients of a torch module (``grad`` of its parameters, tied ones once), or of a
        mapping from names (as ``named_parameters`` has them, each once). What is None is passed over. After a
        failure all gradients are forgotten.

        Args:
            names, strict: as of `apply`; not strict: gradients of what the base lacks are passed over.
        """
        pairs: Iterable[tuple[str, Any]]
        if _is_torch(gradients, "nn.Module"):
            from .torch.weights import gradients_of

            pairs = gradients_of(gradients, self._base, names)
        else:
            pairs = gradients.items()
        try:
            for name, array in pairs:
                if array is not None and (strict or name in self._shapes):
                    self.gradient(name, array)
        except BaseException:
            self.clear()
            raise

    def step(self, gradients: Any = None, *, names: Any = None, strict: bool = True) -> CoefficientsReport:
        """A step of Adam, with gradients that `add_gradients` is given here, and those that were handed in
        before. After a failure, such as `NonFinite`, coefficients and Adam are as before, and all gradients
        are forgotten."""
        if gradients is not None:
            self.add_gradients(gradients, names=names, strict=strict)
        report = Arena().struct("emr_coefficients_report")
        with self._handle.use(alone=True) as c:
            call(lib.emr_coefficients_step, c, report)
        return record(CoefficientsReport, report)

    def clear(self) -> None:
        """Forgets gradients."""
        with self._handle.use(alone=True) as c:
            lib.emr_coefficients_clear(c)

    def _expect_shape(self, name: str, array: Any, what: str) -> None:
        if name not in self._shapes:
            raise failed("EMR_ENOTFOUND", f"the base has no tensor '{name}'", tensor=name)
        shape = None if isinstance(array, Destination) else getattr(array, "shape", None)
        if shape is not None and tuple(shape) != self._shapes[name]:
            raise failed(
                "EMR_EMISMATCH",
                f"tensor '{name}': {what} has the shape {list(shape)}, the base {list(self._shapes[name])}",
                tensor=name,
            )

    # ---------------------------------------------------------------------------------------- coefficients

    @property
    def tasks(self) -> list[str]:
        """Their names: the rows of `values`."""
        return list(self._tasks)

    @property
    def groups(self) -> list[str]:
        """The columns of `values`: names of tensors, globs, "layer N" or "no layer", "*" for all."""
        return list(self._groups)

    def group_of(self, tensor: str) -> str | None:
        """The group of a tensor; None: it stays the base's."""
        if tensor not in self._shapes:
            raise failed("EMR_ENOTFOUND", f"the base has no tensor '{tensor}'", tensor=tensor)
        number = self._group_of.get(tensor)
        return None if number is None else self._groups[number]

    def _each(self, member: str) -> Any:
        import numpy

        with self._handle.use() as c:
            rows = [
                [
                    getattr(filled(lib.emr_coefficients_get, "emr_coefficient", c, task, group), member)
                    for group in range(len(self._groups))
                ]
                for task in range(len(self._tasks))
            ]
        return numpy.array(rows)

    @property
    def values(self) -> Any:
        """λ: a numpy array [tasks, groups] in F64."""
        return self._each("lambda")

    @property
    def raw(self) -> Any:
        """What Adam moves, and λ follows from, likewise."""
        return self._each("raw")

    @property
    def gradients(self) -> Any:
        """dL/dλ as it was handed in since the last step, likewise."""
        return self._each("gradient")

    @property
    def stuck(self) -> Any:
        """Which have left [0, 1] with "clamp", so that no gradient reaches them: booleans, likewise."""
        return self._each("is_stuck") != 0

    def set_values(self, values: Any, order: Sequence[str] | None = None) -> None:
        """Sets coefficients (of "softmax", what goes into it), and forgets what Adam knows of them.

        Published ones are of two forms: [tasks, tensors] (FusionBench's), or [tensors, 1 + tasks] with ones
        in front (the authors'). Load them as numbers first: nothing is unpickled here.

        Args:
            order: the names of the tensors, or groups; what stays the base's is passed over. None: `groups`.
        """
        import numpy

        given = numpy.asarray(values, numpy.float64)
        names = self._groups if order is None else list(order)
        n_tasks, n = len(self._tasks), len(names)
        if given.shape == (n, 1 + n_tasks) and (given[:, 0] == 1).all():
            given = given[:, 1:].T
        if given.shape != (n_tasks, n):
            raise failed(
                "EMR_EMISMATCH",
                f"coefficients have the shape {list(given.shape)}: [{n_tasks}, {n}], of tasks and tensors, "
                f"is needed, or [{n}, {1 + n_tasks}] with ones in front",
            )
        if not numpy.isfinite(given).all():
            raise failed("EMR_EINVAL", "a coefficient is not finite")
        if self._map == "project" and not ((given >= 0) & (given <= 1)).all():
            raise failed("EMR_EINVAL", "a coefficient is not in [0, 1], as 'project' has them")
        found = self._by_group(names, given)
        with self._handle.use(alone=True) as c:
            for group, column in found.items():
                for task, value in enumerate(column):
                    call(lib.emr_coefficients_set, c, task, group, float(value))

    def _by_group(self, names: Sequence[str], given: Any) -> dict[int, Any]:
        numbers = {name: number for number, name in enumerate(self._groups)}
        found: dict[int, Any] = {}
        for name, column in zip(names, given.T):
            number = self._group_of.get(name, numbers.get(name))
            if number is None and name not in self._shapes:
                raise failed("EMR_ENOTFOUND", f"neither base nor groups have '{name}'", tensor=name)
            if number is not None and (found.setdefault(number, column) != column).any():
                raise failed(
                    "EMR_EMISMATCH",
                    f"tensor '{name}' shares its coefficients with others of '{self._groups[number]}', "
                    "and has other ones here",
                    tensor=name,
                )
        return found

    # ------------------------------------------------------------------------------------------ what is made

    def model(self) -> Model:
        """The merged model with the coefficients of this moment, computed as it is read."""
        with self._handle.use(alone=True) as c:
            return opened(lib.emr_coefficients_open_model, c, parents=[self._handle])

    def write(self, target: io.Target, **options: Any) -> list[str]:
        """Writes the merged model, as `Model.write` does: a folder that loads, where the base is one."""
        with self.model() as model:
            return model.write(target, **options)

    def save(self, target: io.Target, *, replace: bool = False) -> None:
        """Writes coefficients and Adam's state as safetensors."""
        with self._handle.use(alone=True) as c, opened(lib.emr_coefficients_open_state, c) as state:
            state.write(target, replace=replace)

    def load(self, source: ModelLike) -> None:
        """Goes on from there, to the bit; of the same tasks, groups and map. Gradients are forgotten."""
        state = as_model(source, "coefficients")
        with self._handle.use(alone=True) as c, state.handle.use() as pointer:
            call(lib.emr_coefficients_set_state, c, pointer)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    def close(self) -> None:
        """Models that were made of it stay usable."""
        self._handle.close()

    def __enter__(self) -> Coefficients:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._handle.closed:
            return "<Coefficients, closed>"
        return f"<Coefficients of {len(self._tasks)} tasks, {len(self._groups)} groups>"


def _model_of(task: TaskLike, name: str, base: Model) -> Model:
    return task.open(base) if isinstance(task, Task) else as_model(task, name)


def _is_torch(value: Any, kind: str) -> bool:
    found: Any = sys.modules.get("torch")
    for part in kind.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(value, found)


def _address(array: Any) -> int | None:
    """Where an array lies; None: nowhere."""
    if isinstance(array, Destination):
        array = array.out
    if array is None:
        return None
    if _is_torch(array, "Tensor"):
        return (
            int(array.data_ptr()) if array.numel() and array.layout == sys.modules["torch"].strided else None
        )
    view = arrays.view(array)
    return view.address if view.nbytes else None


def _once(given: Mapping[str, Any]) -> dict[str, Any]:
    """Each memory once, under the first of its names."""
    found: dict[str, Any] = {}
    known: set[int] = set()
    for name, array in given.items():
        address = _address(array)
        if address is None or address not in known:
            found[name] = array
        if address is not None:
            known.add(address)
    return found

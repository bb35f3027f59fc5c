"""heads.py - tasks that have labels of their own in one model: the rows of their heads side by side, and a
softmax for each task's group of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._native import Arena, Handle, call, check, choice, create, decode, ffi, filled, lib, word
from .arrays import empty, view
from .dtypes import DType, DTypeLike
from .model import Model, ModelLike, as_model

__all__ = ["HEAD_GROUPS", "HeadGroup", "Heads", "group_softmax", "groups_of"]

HEAD_GROUPS: str = decode(lib.EMR_HEAD_GROUPS)


@dataclass(frozen=True)
class HeadGroup:
    """The rows of a task: `count` from `first` on. `kind` is "softmax", "sigmoid" or "identity"."""

    task: str
    first: int
    count: int
    kind: str = "softmax"


class Heads:
    """The heads of tasks, side by side.

        heads = libemr.Heads({"spam": "spam/", "tone": "tone/"}, ["classifier.*"])
        views = [heads.open_task(name) for name in heads.tasks]    # the same shapes in all: any merge takes
        them libemr.group_softmax(logits, heads.groups)

    Args:
        tasks: models by name.
        globs: heads match one of these whole.
        kinds: of tasks that are not "softmax".
    """

    def __init__(
        self, tasks: Mapping[str, ModelLike], globs: Sequence[str], *, kinds: Mapping[str, str] = {}
    ) -> None:
        unknown = set(kinds) - set(tasks)
        if unknown:
            raise ValueError(f"kinds are given of {', '.join(sorted(unknown))}, which are no tasks")
        self.tasks = list(tasks)
        arena, models = Arena(), [as_model(task, name) for name, task in tasks.items()]
        numbers = [
            choice("EMR_HEAD_KIND_", kinds.get(name, "softmax"), f"the kind of '{name}'") for name in tasks
        ]
        with contextlib.ExitStack() as stack:
            pointers = [stack.enter_context(model.handle.use()) for model in models]
            options = arena.struct(
                "emr_heads_options",
                globs=arena.texts(globs),
                n_globs=len(globs),
                names=arena.texts(tasks),
                n_tasks=len(models),
                tasks=arena.array("emr_model *", pointers),
                kinds=arena.array("emr_head_kind", numbers),
            )
            self._handle = Handle(
                create("emr_heads", lib.emr_heads_create, options),
                lib.emr_heads_destroy,
                "the heads",
                [model.handle for model in models],
                arena,
            )

    def close(self) -> None:
        """What was opened from it stays usable."""
        self._handle.close()

    def __enter__(self) -> Heads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def n_rows(self) -> int:
        """Of all tasks."""
        with self._handle.use() as heads:
            return int(lib.emr_heads_n_rows(heads))

    @property
    def groups(self) -> list[HeadGroup]:
        """The rows of each task."""
        with self._handle.use() as heads:
            found = [
                filled(lib.emr_heads_get_group, "emr_head_group", heads, i) for i in range(len(self.tasks))
            ]
            return [
                HeadGroup(decode(g.task), g.first, g.count, word("EMR_HEAD_KIND_", g.kind)) for g in found
            ]

    @property
    def tensors(self) -> list[str]:
        """The names of the heads."""
        names: list[str] = []
        with self._handle.use() as heads:
            while True:
                name = lib.emr_heads_tensor(heads, len(names))
                if name == ffi.NULL:
                    return names
                names.append(decode(name))

    def _open(self, function: Any, *arguments: Any, parents: Iterable[Handle] = ()) -> Model:
        with self._handle.use() as heads:
            place = ffi.new("emr_model **")
            call(function, heads, *arguments, place)
        what = f"the model '{decode(lib.emr_model_name(place[0]))}'"
        return Model.of_handle(Handle(place[0], lib.emr_model_destroy, what, [self._handle, *parents]))

    def open_task(self, task: str) -> Model:
        """A task's model with the rows of all tasks in its heads."""
        return self._open(lib.emr_heads_open_task, self.tasks.index(task))

    def open_base(self, base: ModelLike) -> Model:
        """The same of the tasks' base: its heads are zeros."""
        model = as_model(base, "base")
        with model.handle.use() as pointer:
            return self._open(lib.emr_heads_open_base, pointer, parents=[model.handle])

    def open_joined(self, dtype: DTypeLike | None = None) -> Model:
        """The heads alone, each row its own task's."""
        return self._open(lib.emr_heads_open_joined, 0 if dtype is None else DType.of(dtype))

    def set_metadata(self, model: Model) -> None:
        """Writes the groups into a model's metadata, where `groups_of` finds them."""
        with self._handle.use() as heads, model.handle.use(alone=True) as pointer:
            call(lib.emr_heads_set_metadata, heads, pointer)


def groups_of(model: Model) -> list[HeadGroup]:
    """The groups that a combined model's metadata tell; none where it has no joined heads."""
    text = model.metadata.get(HEAD_GROUPS)
    return [HeadGroup(g["task"], g["first"], g["count"], g["kind"]) for g in json.loads(text)] if text else []


def group_softmax(logits: Any, groups: Sequence[HeadGroup], out: Any = None) -> Any:
    """Turns each group's logits, F32 [samples, labels], into probabilities: into `out`, which may be
    `logits`; without it into a new numpy array. Columns of no group are left as they are in `out`."""
    source = view(logits, dtype=DType.F32, what="logits")
    if len(source.shape) != 2:
        raise ValueError(f"logits have the shape {list(source.shape)}, not [samples, labels]")
    if out is None:
        out = empty(DType.F32, source.shape)
        out[...] = 0
    target = view(out, writable=True, dtype=DType.F32, what="out")
    if target.shape != source.shape:
        raise ValueError(f"out has the shape {list(target.shape)}, logits {list(source.shape)}")
    for group in groups:
        if not 0 < group.count <= source.shape[1] - group.first:
            raise ValueError(
                f"task '{group.task}' has {group.count} logits from {group.first} on, of {source.shape[1]}"
            )
    arena = Arena()
    members = [
        {"first": g.first, "count": g.count, "kind": choice("EMR_HEAD_KIND_", g.kind, "kind")} for g in groups
    ]
    check(
        lib.emr_group_softmax(
            source.pointer,
            source.shape[0],
            source.shape[1],
            arena.structs("emr_head_group", members),
            len(members),
            target.pointer,
        )
    )
    return out

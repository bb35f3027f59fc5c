"""engines.py - what writes a task's weights into a module's tensors: a session, or torch, where they lie on a
device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from ..bundle import Bundle
from ..dtypes import DType, convert
from ..model import Model, Tensor
from ..resources import Memory, Threads
from ..session import Prepared, Session
from .planes import Layout, Planes, check_dtypes, pack_coded, pack_elected
from .targets import Target

__all__ = ["DeviceEngine", "Engine", "HostEngine", "TORCH"]

TORCH = {
    DType.of(dtype): dtype
    for dtype in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.complex64,
    )
}


class Tasks:
    """The tasks of a bundle, and its base (None), as models."""

    def __init__(self, bundle: Bundle, base: Model | None) -> None:
        self.bundle, self.base = bundle, base
        self._models: dict[str | None, Model] = {None: bundle.base() if base is None else base}
        self._shapes: dict[tuple[str | None, str], tuple[int, ...]] = {}
        self._private: dict[str | None, set[str]] = {None: set()}
        self.tensors = {tensor.name: tensor for tensor in bundle.tensors}

    def model(self, task: str | None) -> Model:
        """Of a base that was checked before."""
        if task not in self._models:
            assert task is not None
            self._models[task] = self.bundle[task].open(self.base, check="none", threads=1)
        return self._models[task]

    def shape(self, task: str | None, name: str) -> tuple[int, ...]:
        if (task, name) not in self._shapes:
            self._shapes[task, name] = self.model(task)[name].shape
        return self._shapes[task, name]

    def is_private(self, task: str | None, name: str) -> bool:
        """Whether the task keeps its own copy."""
        if task not in self._private:
            self._private[task] = {private.name for private in self.bundle[str(task)].private}
        return name in self._private[task]

    def is_shared(self, task: str | None, name: str) -> bool:
        """Whether it takes the tensor from the base, merged or kept, under the bundle's name and in its
        shape."""
        return (
            not self.is_private(task, name)
            and name in self.tensors
            and self.tensors[name].shape == self.shape(task, name)
        )

    def close(self) -> None:
        """What was opened here; the base is its owner's."""
        for task, model in self._models.items():
            if task is not None or self.base is None:
                model.close()


class Engine(Protocol):
    """Writes tasks' weights into targets, which have the shapes of tensors of these names."""

    def model(self, task: str | None) -> Model: ...

    def shape(self, task: str | None, name: str) -> tuple[int, ...]: ...

    def write(self, task: str | None, chosen: Mapping[str, Target]) -> None: ...

    def prepare(self, task: str | None, chosen: Mapping[str, Target]) -> None: ...

    def forget(self, task: str | None) -> None: ...

    def close(self) -> None: ...


class HostEngine(Tasks):
    """A session, into the CPU's memory."""

    def __init__(self, bundle: Bundle, base: Model | None, threads: Threads, memory: Memory) -> None:
        super().__init__(bundle, base)
        self._session = Session(bundle, base, check=base is None, threads=threads, memory=memory)
        self._prepared: dict[str | None, tuple[Any, Prepared, dict[str, torch.Tensor]]] = {}

    def write(self, task: str | None, chosen: Mapping[str, Target]) -> None:
        self.prepare(task, chosen)
        _, prepared, rest = self._prepared[task]
        self._session.apply(task, prepared)
        for name, tensor in rest.items():
            read_into(tensor, self.model(task)[name])

    def prepare(self, task: str | None, chosen: Mapping[str, Target]) -> None:
        """Looks at the targets' memory, once."""
        tensors = {name: target.tensor for name, target in chosen.items()}
        memory = [tensor.data_ptr() for tensor in tensors.values()]
        if task in self._prepared and self._prepared[task][0] == memory:
            return
        whole = {
            name: tensor
            for name, tensor in tensors.items()
            if self.is_private(task, name) or self.is_shared(task, name)
        }
        rest = {name: tensor for name, tensor in tensors.items() if name not in whole}
        self._prepared[task] = memory, self._session.prepare(whole, task=task), rest

    def forget(self, task: str | None) -> None:
        self._prepared.pop(task, None)

    def close(self) -> None:
        self._session.close()
        super().close()


class DeviceEngine(Tasks):
    """Packed codes on the targets' device, and torch's operations."""

    def __init__(self, bundle: Bundle, base: Model | None) -> None:
        super().__init__(bundle, base)
        if base is None:
            bundle.check_base(self.model(None))
        self._unified: dict[str, torch.Tensor] = {}
        self._planes: dict[str, dict[str, Planes]] = {}
        self._whole: dict[tuple[str | None, str, torch.dtype], torch.Tensor] = {}
        self._first_params = first_params(self)

    def write(self, task: str | None, chosen: Mapping[str, Target]) -> None:
        for name, target in chosen.items():
            out = target.tensor
            if not self._is_computed(task, name, out):
                out.copy_(self._read(task, name, out.dtype, out.device))
                continue
            stored = self.model(None)[name].dtype
            check_dtypes(TORCH[stored], out.dtype, name)
            base = self._read(None, name, TORCH[stored], out.device)
            self._packed(str(task), name, out.device).write(base.view(-1), out.view(-1))

    def prepare(self, task: str | None, chosen: Mapping[str, Target]) -> None:
        """Uploads what the task has, before it is needed."""
        for name, target in chosen.items():
            if self._is_computed(task, name, target.tensor):
                self._packed(str(task), name, target.tensor.device)
            else:
                self._read(task, name, target.tensor.dtype, target.tensor.device)

    def _is_computed(self, task: str | None, name: str, out: torch.Tensor) -> bool:
        """Whether there is something to be added to the base."""
        return (
            task is not None and self.is_shared(task, name) and self.tensors[name].merged and out.numel() > 0
        )

    def forget(self, task: str | None) -> None:
        if task is not None:
            self._planes.pop(task, None)
            self._whole = {key: tensor for key, tensor in self._whole.items() if key[0] != task}

    def _read(self, task: str | None, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A tensor as the task, or the base, has it. Whatever was read stays on the device."""
        if task is not None and self.is_shared(task, name):
            task = None  # kept from the base
        key = task, name, dtype
        if key not in self._whole:
            whole = torch.empty(self.shape(task, name), dtype=dtype)
            read_into(whole, self.model(task)[name])
            self._whole[key] = whole.to(device)
        return self._whole[key]

    def _packed(self, task: str, name: str, device: torch.device) -> Planes:
        planes = self._planes.setdefault(task, {})
        if name not in planes:
            planes[name] = self._pack(task, name, device)
        return planes[name]

    def _pack(self, task: str, name: str, device: torch.device) -> Planes:
        info, spec = self.tensors[name], self.bundle[task].modulation
        layout = Layout(
            name, self._first_params[name], info.count, info.shape[0] if len(info.shape) > 1 else 1
        )
        with self.bundle[task].modulator() as modulator:
            if spec.kind not in ("mask", "two_sided"):
                return pack_coded(
                    modulator, layout, str(spec.kind), spec.n_levels, not spec.without_columns
                ).to(device)
            with self.bundle.unified() as model, self.bundle[task].mask() as mask:
                unified = read(model[name]).view(-1)
                packed = pack_elected(modulator, mask[name], layout, str(spec.kind), unified)
            if name not in self._unified:
                stored = TORCH[self.bundle.info.unified_dtype or DType.F32]
                self._unified[name] = unified.to(stored).to(device)
            packed.unified = self._unified[name]
            return packed.to(device)


def first_params(tasks: Tasks) -> dict[str, int]:
    """Where merged tensors begin in flat space."""
    at, found = 0, {}
    for tensor in tasks.tensors.values():
        if tensor.merged:
            found[tensor.name] = at
            at += -(-tensor.count // 64) * 64
    return found


def read(tensor: Tensor) -> torch.Tensor:
    """A tensor of a model in the CPU's memory."""
    out = torch.empty(tensor.shape, dtype=TORCH[tensor.dtype])
    tensor.read(out)
    return out


def read_into(target: torch.Tensor, tensor: Tensor) -> None:
    """A tensor of a model, rounded as the library does it where types differ."""
    if TORCH[tensor.dtype] == target.dtype:
        tensor.read(target)
    else:
        convert(read(tensor), DType.of(target.dtype), target)

"""surgery.py - Representation Surgery: small adapters that bring a merged model's features to where a task's
own model has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import arrays, io
from .._native import Arena, Handle, call, choice, create, encode, ffi, lib
from ..infos import record
from ..model import Model, ModelLike, as_model
from ..resources import Following, Progress, Resources, Threads
from .adam import Betas, above_zero, adam_of
from .features import expect_shape, floats, like, pointer, without_gradient
from .made import all_in_use, opened

__all__ = ["Surgery", "SurgeryReport"]

DOWN, UP = ".down.weight", ".up.weight"


@dataclass(frozen=True)
class SurgeryReport:
    """What fitting did: the loss over all samples before and after, and steps of Adam."""

    loss_before: float
    loss_after: float
    n_steps: int


class Surgery:
    """An adapter y = x - U relu(D x), for the features of one task at one place.

        surgery = libemr.Surgery(width=512)
        surgery.fit(features_of_the_merged_model, features_of_the_task)    # of the same samples, unlabelled
        head(surgery(features))

    Features are arrays [..., width] of numpy or torch; fitting is F64, applying F32. U is 0 at first: the
    adapter changes nothing. `module` is the same for torch, with gradients.

    Args:
        rank: rows of D. loss: "l1": the mean of |y - z|, or "squared".
        lr, betas, epsilon: of Adam.
        seed: of D. threads: of fitting.
    """

    def __init__(
        self,
        width: int,
        rank: int = 16,
        *,
        loss: str = "l1",
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        seed: int = 0,
        threads: Threads = None,
    ) -> None:
        above_zero(width=width, rank=rank)
        self._create(lib.emr_surgery_create, (), width, rank, loss, lr, betas, epsilon, seed, threads)

    def _create(
        self,
        function: Any,
        arguments: tuple[Any, ...],
        width: int,
        rank: int,
        loss: str,
        lr: float,
        betas: Betas,
        epsilon: float,
        seed: int,
        threads: Threads,
    ) -> None:
        self._following = Following()
        arena, resources = Arena(), Resources(threads, progress=self._following)
        options = arena.struct(
            "emr_surgery_options",
            resources=resources.pointer,
            adam=adam_of(arena, lr, betas, epsilon),
            width=width,
            rank=rank,
            seed=seed,
            loss=choice("EMR_SURGERY_LOSS_", loss, "loss"),
        )
        made = create("emr_surgery", function, *arguments, options)
        destroy, parents = lib.emr_surgery_destroy, resources.parents()
        self._handle = Handle(made, destroy, "the adapter", parents, (arena, resources))
        resources.close()
        self._width, self._rank = int(lib.emr_surgery_width(made)), int(lib.emr_surgery_rank(made))

    @classmethod
    def open(
        cls,
        source: ModelLike,
        place: str = "final",
        *,
        loss: str = "l1",
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        threads: Threads = None,
    ) -> Surgery:
        """One that was saved: a path, a file-like object, bytes. Adam begins anew."""
        made, model = cls.__new__(cls), as_model(source, "adapters")
        with model.handle.use() as pointer:
            arguments = pointer, encode(place)
            made._create(lib.emr_surgery_open, arguments, 0, 0, loss, lr, betas, epsilon, 0, threads)
        return made

    @classmethod
    def of(cls, weights: Any, **options: Any) -> Surgery:
        """Of a torch module such as `module` gives, or its state dict: "down.weight" [rank, width] and
        "up.weight" [width, rank]. Options are those of `open`."""
        state = weights.state_dict() if hasattr(weights, "state_dict") else weights
        place = {f"place.{name}": floats(weight, name) for name, weight in state.items()}
        model = Model.of({name: arrays.Array(_bytes_of(v), v.dtype, v.shape) for name, v in place.items()})
        return cls.open(model, "place", **options)

    @staticmethod
    def places(source: ModelLike) -> list[str]:
        """The names of the adapters in a file."""
        return [name[: -len(DOWN)] for name in as_model(source, "adapters") if name.endswith(DOWN)]

    # ---------------------------------------------------------------------------------------------- fitting

    def fit(
        self,
        x: Any,
        z: Any,
        *,
        steps: int = 1000,
        batch: int = 16,
        seed: int = 0,
        progress: Progress = None,
    ) -> SurgeryReport:
        """Fits it to features of all samples: x of the merged model, z of the task's own.

        Args:
            steps: of Adam, one a batch. batch: samples in one; as many as there are, or more: all of them.
            seed: of the samples' order. progress: counts steps; what it raises ends the fit, and steps so far
                are kept.
        """
        above_zero(steps=steps, batch=batch)
        given, wanted, n = self._pair(x, z)
        arena = Arena()
        options = arena.struct("emr_surgery_fit_options", n_steps=steps, n_batch=batch, seed=seed)
        report = arena.struct("emr_surgery_report")
        with self._handle.use(alone=True) as s, self._following.by(progress):
            call(lib.emr_surgery_fit, s, pointer(given), pointer(wanted), n, options, report)
        return record(SurgeryReport, report)

    def train(self, x: Any, z: Any) -> float:
        """A step of Adam on one batch. Returns the loss before it."""
        given, wanted, n = self._pair(x, z)
        loss = ffi.new("double *")
        with self._handle.use(alone=True) as s:
            call(lib.emr_surgery_train, s, pointer(given), pointer(wanted), n, loss)
        return float(loss[0])

    def backward(self, x: Any, gradient: Any) -> Any:
        """From dL/dy, dL/dx; the adapter's own gradients add up until `step`. For hosts with a backward pass
        of their own."""
        given, outer, n = self._pair(x, gradient, "the gradient")
        inner = arrays.empty(given.dtype, given.shape)
        with self._handle.use(alone=True) as s:
            target = pointer(arrays.view(inner))
            call(lib.emr_surgery_backward, s, pointer(given), pointer(outer), n, target)
        return like(gradient, inner)

    def step(self) -> None:
        """A step of Adam with the gradients of `backward`."""
        with self._handle.use(alone=True) as s:
            call(lib.emr_surgery_step, s)

    def _rows(self, array: Any, what: str) -> arrays.View:
        view = floats(array, what)
        expect_shape(view, [None] * (max(len(view.shape), 1) - 1) + [self._width], what)
        return view

    def _pair(self, x: Any, z: Any, what: str = "z") -> tuple[arrays.View, arrays.View, int]:
        given, wanted = self._rows(x, "x"), self._rows(z, what)
        expect_shape(wanted, given.shape, what)
        return given, wanted, given.count // self._width

    # --------------------------------------------------------------------------------------------- applying

    def apply(self, x: Any) -> Any:
        """The adapted features: a new array of x's kind, type and device. Concurrent."""
        without_gradient(x, "x")
        given = self._rows(x, "x")
        out = arrays.empty(given.dtype, given.shape)
        with self._handle.use() as s:
            target = pointer(arrays.view(out))
            call(lib.emr_surgery_apply, s, pointer(given), target, given.count // self._width)
        return like(x, out, same_dtype=True)

    __call__ = apply

    def module(self) -> Any:
        """A `libemr.fit.torch.Adapter` with these weights: for autograd, and for devices. `of` makes an
        adapter of it again."""
        from .torch.adapters import Adapter

        return Adapter.of(self)

    @property
    def width(self) -> int:
        return self._width

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def down(self) -> Any:
        """D: a numpy array [rank, width] in F32."""
        return self._weight(DOWN)

    @property
    def up(self) -> Any:
        """U: a numpy array [width, rank] in F32."""
        return self._weight(UP)

    def _weight(self, name: str) -> Any:
        with _model_of({"place": self}) as model:
            return model["place" + name].read()

    def save(self, target: io.Target, place: str = "final", *, replace: bool = False) -> None:
        """Writes it as safetensors. A place is called "TASK.final" or "TASK.block.0" by custom."""
        self.save_all(target, {place: self}, replace=replace)

    @staticmethod
    def save_all(target: io.Target, places: Mapping[str, Surgery], *, replace: bool = False) -> None:
        """Writes several into one file, by the names of their places."""
        with _model_of(places) as model:
            model.write(target, replace=replace)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Surgery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<Surgery, closed>" if self._handle.closed else f"<Surgery {self._width}, rank {self._rank}>"


def _model_of(places: Mapping[str, Surgery]) -> Model:
    """With a copy of their weights."""
    arena = Arena()
    with all_in_use(arena, "emr_surgery", [surgery.handle for surgery in places.values()]) as pointers:
        return opened(lib.emr_surgery_open_model, pointers, arena.texts(places), len(places))


def _bytes_of(view: arrays.View) -> bytes:
    return bytes(ffi.buffer(ffi.cast("char *", view.pointer), view.nbytes))

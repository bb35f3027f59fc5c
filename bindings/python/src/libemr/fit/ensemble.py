"""ensemble.py - SESoM: source models answer together, and a small network tells for each sample how much each
counts. Fitted on a few labelled samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import arrays, io
from .._native import Arena, Handle, call, choice, create, ffi, lib
from ..dtypes import DType
from ..infos import record
from ..model import ModelLike, as_model
from ..resources import Following, Progress, Resources, Threads
from .adam import Betas, above_zero, adam_of
from .features import expect_shape, floats, kept, labels_of, like, pointer
from .made import opened

__all__ = ["Ensemble", "EnsembleReport"]


@dataclass(frozen=True)
class EnsembleReport:
    """What fitting did.

    Attributes:
        loss_before, loss_after: cross-entropy of the samples that were fitted.
        held_out_before, held_out_after: of those that were held out; NaN: none.
        n_steps: taken. n_best: of them, those that were kept. n_held_out: samples.
    """

    loss_before: float
    loss_after: float
    held_out_before: float
    held_out_after: float
    n_steps: int
    n_best: int
    n_held_out: int


class Ensemble:
    """Weights of source models, sample by sample.

        ensemble = libemr.Ensemble(x_width=64, key_width=10)
        ensemble.fit(x, logits, labels)             # [n, 64], [n, sources, 10], n
        probabilities = softmax(ensemble.combine(x_test, logits_test))

    x is what represents a sample (`pool`), logits are those of all sources, before softmax. A source is known
    by its logits alone: their order and number may change later. Where the labels are few, `keys` are better
    apart: logits over a whole vocabulary. Arrays are numpy's or torch's; all of it is F64 inside.

    Args:
        x_hidden, key_hidden, shared_width: of the network.
        norm: both sides are normalised. activation: "silu" or "relu".
        temperature: of the softmax over sources.
        mix: what is mixed, and comes out: "logits", or "probabilities", which no loud source outdoes.
        lr, betas, epsilon: of Adam. seed: of first weights. threads: of all calls.
    """

    def __init__(
        self,
        x_width: int,
        key_width: int,
        *,
        x_hidden: int = 32,
        key_hidden: int = 32,
        shared_width: int = 64,
        norm: bool = False,
        activation: str = "silu",
        temperature: float = 1.0,
        mix: str = "logits",
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        seed: int = 0,
        threads: Threads = None,
    ) -> None:
        above_zero(x_width=x_width, key_width=key_width, x_hidden=x_hidden, key_hidden=key_hidden)
        above_zero(shared_width=shared_width, temperature=temperature)
        network = {
            "x_width": x_width,
            "key_width": key_width,
            "x_hidden": x_hidden,
            "key_hidden": key_hidden,
            "shared_width": shared_width,
            "use_norm": int(norm),
            "activation": choice("EMR_ENSEMBLE_ACTIVATION_", activation, "activation"),
            "temperature": temperature,
            "mix": choice("EMR_ENSEMBLE_MIX_", mix, "mix"),
            "seed": seed,
        }
        self._create(lib.emr_ensemble_create, (), network, lr, betas, epsilon, threads)

    def _create(
        self,
        function: Any,
        arguments: tuple[Any, ...],
        network: dict[str, Any],
        lr: float,
        betas: Betas,
        epsilon: float,
        threads: Threads,
    ) -> None:
        self._following = Following()
        arena, resources = Arena(), Resources(threads, progress=self._following)
        adam = adam_of(arena, lr, betas, epsilon)
        options = arena.struct("emr_ensemble_options", resources=resources.pointer, adam=adam, **network)
        made = create("emr_ensemble", function, *arguments, options)
        destroy, parents = lib.emr_ensemble_destroy, resources.parents()
        self._handle = Handle(made, destroy, "the ensemble", parents, (arena, resources))
        resources.close()
        with opened(lib.emr_ensemble_open_model, made) as model:
            widths = model["x.down.weight"].shape[1], model["l.down.weight"].shape[1]
        self._x_width, self._key_width = widths

    @classmethod
    def open(
        cls,
        source: ModelLike,
        *,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        threads: Threads = None,
    ) -> Ensemble:
        """One that was saved: a path, a file-like object, bytes. Adam begins anew."""
        made, model = cls.__new__(cls), as_model(source, "ensemble")
        with model.handle.use() as pointer:
            made._create(lib.emr_ensemble_open, (pointer,), {}, lr, betas, epsilon, threads)
        return made

    # ---------------------------------------------------------------------------------------------- fitting

    def fit(
        self,
        x: Any,
        values: Any,
        labels: Any,
        *,
        keys: Any = None,
        steps: int = 500,
        batch: int = 0,
        held_out: float = 0.25,
        patience: int = 50,
        seed: int = 0,
        progress: Progress = None,
    ) -> EnsembleReport:
        """Fits it to labelled samples, until those that are held out get no better.

        Args:
            steps: of Adam, at most. batch: samples in one; 0: all.
            held_out: the share of samples on which it is decided when to stop; 0: all steps are taken.
            patience: stops after as many steps without a smaller loss there, and goes back to the best.
            seed: of which samples are held out, and of the others' order. progress: counts steps.
        """
        above_zero(steps=steps, patience=patience)
        arena = Arena()
        given = self._batch(arena, x, values, keys, labels)
        options = arena.struct(
            "emr_ensemble_fit_options",
            n_steps=steps,
            n_batch=batch,
            seed=seed,
            held_out=held_out,
            use_held_out=1,
            patience=patience,
        )
        report = arena.struct("emr_ensemble_report")
        with self._handle.use(alone=True) as e, self._following.by(progress):
            call(lib.emr_ensemble_fit, e, given, options, report)
        return record(EnsembleReport, report)

    def train(self, x: Any, values: Any, labels: Any, *, keys: Any = None) -> float:
        """A step of Adam on the cross-entropy of a batch. Returns the loss before it."""
        arena, loss = Arena(), ffi.new("double *")
        given = self._batch(arena, x, values, keys, labels)
        with self._handle.use(alone=True) as e:
            call(lib.emr_ensemble_train, e, given, loss)
        return float(loss[0])

    def _batch(self, arena: Arena, x: Any, values: Any, keys: Any, labels: Any = None) -> Any:
        given = _batch(arena, values, labels)
        given.x = _member(arena, x, "x", (given.n, self._x_width))
        if keys is not None:
            given.keys = _member(arena, keys, "keys", (given.n, given.n_sources, self._key_width))
        return given

    # ------------------------------------------------------------------------------------------------ using

    def combine(self, x: Any, values: Any, *, keys: Any = None) -> Any:
        """What the sources say together: [n, columns] in F32, of the kind of `values`. Concurrent."""
        return self._combined(x, values, keys)[1]

    def weights(self, x: Any, values: Any, *, keys: Any = None) -> Any:
        """How much each source counts: [n, sources] in F32, of the kind of `values`. Concurrent."""
        return self._combined(x, values, keys)[0]

    def _combined(self, x: Any, values: Any, keys: Any) -> tuple[Any, Any]:
        arena = Arena()
        given = self._batch(arena, x, values, keys)
        weights = arrays.empty(DType.F32, (given.n, given.n_sources))
        out = arrays.empty(DType.F32, (given.n, given.n_columns))
        places = [pointer(arrays.view(array)) for array in (weights, out)]
        with self._handle.use() as e:
            call(lib.emr_ensemble_combine, e, given, *places)
        return like(values, weights), like(values, out)

    @staticmethod
    def uniform(values: Any) -> Any:
        """What comes out where all sources count the same."""
        arena = Arena()
        given = _batch(arena, values)
        out = arrays.empty(DType.F32, (given.n, given.n_columns))
        call(lib.emr_ensemble_combine, ffi.NULL, given, ffi.NULL, pointer(arrays.view(out)))
        return like(values, out)

    @staticmethod
    def vote(values: Any) -> list[int]:
        """The column that most sources have as their largest, of each sample."""
        arena = Arena()
        given = _batch(arena, values)
        answers = ffi.new("uint32_t[]", max(given.n, 1))
        call(lib.emr_ensemble_vote, given, answers)
        return list(answers)[: given.n]

    @staticmethod
    def best_source(values: Any, labels: Any) -> tuple[int, int]:
        """The source that is right on most samples, and on how many."""
        arena, source, n_right = Arena(), ffi.new("size_t *"), ffi.new("size_t *")
        call(lib.emr_ensemble_best_source, _batch(arena, values, labels), source, n_right)
        return int(source[0]), int(n_right[0])

    @staticmethod
    def pool(embeddings: Any, keep: Any = None) -> Any:
        """What represents samples of many tokens: [n, width], the largest over tokens of each feature of
        `embeddings` [n, tokens, width]. `keep` [n, tokens] says which are no padding."""
        given = floats(embeddings, "embeddings")
        expect_shape(given, [None, None, None], "embeddings")
        n, n_tokens, width = given.shape
        which = kept(keep, n * n_tokens)
        out = arrays.empty(DType.F32, (n, width))
        target = pointer(arrays.view(out))
        flags = ffi.NULL if which is None else ffi.cast("uint8_t *", which.pointer)
        call(lib.emr_ensemble_pool, pointer(given), n, n_tokens, width, flags, target)
        return like(embeddings, out)

    def save(self, target: io.Target, *, replace: bool = False) -> None:
        """Writes the network as safetensors."""
        with self._handle.use(alone=True) as e, opened(lib.emr_ensemble_open_model, e) as model:
            model.write(target, replace=replace)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<Ensemble, closed>" if self._handle.closed else "<Ensemble>"


def _batch(arena: Arena, values: Any, labels: Any = None) -> Any:
    """An emr_ensemble_batch, as far as it needs no network."""
    view = arena.keep(floats(values, "values"))
    expect_shape(view, [None, None, None], "values")
    n, n_sources, n_columns = view.shape
    given = arena.struct(
        "emr_ensemble_batch", values=pointer(view), n=n, n_sources=n_sources, n_columns=n_columns
    )
    if labels is not None:
        given.labels = labels_of(arena, labels, n)
    return given


def _member(arena: Arena, array: Any, what: str, shape: Sequence[int | None]) -> Any:
    view = arena.keep(floats(array, what))
    expect_shape(view, shape, what)
    return pointer(view)

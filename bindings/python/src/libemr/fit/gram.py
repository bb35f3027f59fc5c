"""gram.py - second moments of activations: all that merging with samples needs to know of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from .. import arrays, io
from .._native import Arena, Handle, call, choice, create, decode, encode, failed, ffi, filled, lib
from ..dtypes import DType
from ..infos import record
from ..model import Model, ModelLike, as_model
from ..resources import Memory, Progress, Resources, Threads
from ..statistics import doubles
from .made import opened

if TYPE_CHECKING:
    from .torch.watching import Watching

__all__ = ["Gram", "GramSite"]

Widths = Union[int, Sequence[int]]
SUFFIX: str = decode(lib.EMR_GRAM_SUFFIX)


@dataclass(frozen=True)
class GramSite:
    """The input of one or more linear layers, of one or several models.

    Attributes:
        widths: of each model's inputs.
        n_rows: that were summed. n_dropped: left out with ``on_nonfinite="zero"``.
        bytes: of memory for its sums.
    """

    name: str
    widths: tuple[int, ...]
    n_rows: int
    n_dropped: int
    bytes: int


class Gram:
    """Sums of products of what linear layers read: S = sum of z zᵀ with z = [x₁; ...; x_M; 1], in F64.

        gram = libemr.Gram()
        for batch in batches:
            gram.feed("fc1", hidden)            # numpy or torch, [..., width]; F32, F16, BF16 or F64
        gram.save("samples.safetensors")

    Of M models that run on the same samples in the same order, a row is all that they read of it. Bits depend
    neither on how rows are cut into batches, nor on threads. `watch` feeds what torch modules read.

    Args:
        sites: widths by name, a number or one for each model. Rows of other sites are refused then; without,
            a site is added when its first rows come.
        n_models: whose rows belong together.
        on_nonfinite: "error": a batch with a NaN or an infinity is refused; "zero": such rows are left out,
            of all models, and counted.
        threads, memory: of adding up; `memory` caps the sums of all sites and the work on a batch.
    """

    def __init__(
        self,
        sites: Mapping[str, Widths] | None = None,
        *,
        n_models: int = 1,
        on_nonfinite: str = "error",
        threads: Threads = None,
        memory: Memory = None,
    ) -> None:
        self._create(lib.emr_gram_create, (), n_models, on_nonfinite, threads, memory)
        self._is_fixed = sites is not None
        for name, widths in (sites or {}).items():
            self.add_site(name, widths)

    def _create(
        self,
        function: Any,
        arguments: tuple[Any, ...],
        n_models: int,
        on_nonfinite: str,
        threads: Threads,
        memory: Memory,
    ) -> None:
        arena, resources = Arena(), Resources(threads, memory)
        options = arena.struct(
            "emr_gram_options",
            resources=resources.pointer,
            n_models=n_models,
            on_nonfinite=choice("EMR_ON_NONFINITE_", on_nonfinite, "on_nonfinite"),
        )
        pointer = create("emr_gram", function, *arguments, options)
        self._handle = Handle(
            pointer, lib.emr_gram_destroy, "the gram", resources.parents(), (arena, resources)
        )
        resources.close()
        self._n_models, self._is_lent = n_models, False

    @classmethod
    def open(
        cls,
        source: ModelLike,
        *,
        n_models: int = 0,
        on_nonfinite: str = "error",
        threads: Threads = None,
        memory: Memory = None,
    ) -> Gram:
        """A gram that was saved: a path, a file-like object, bytes. It takes more rows of its sites."""
        gram = cls.__new__(cls)
        model = as_model(source, "gram")
        with model.handle.use() as pointer:
            gram._create(lib.emr_gram_open, (pointer,), n_models, on_nonfinite, threads, memory)
        gram._is_fixed = True
        gram._n_models = next((len(site.widths) for site in gram.sites.values()), n_models or 1)
        return gram

    @staticmethod
    def bytes_of(widths: Widths) -> int:
        """Memory that the sums of a site of these widths take."""
        given = _widths(widths)
        return int(lib.emr_gram_bytes(Arena().array("uint64_t", given), len(given)))

    # ------------------------------------------------------------------------------------------------ feeding

    def add_site(self, name: str, widths: Widths) -> None:
        """One more site, whose sums begin at 0; before a merged model is made with the gram."""
        given, arena = _widths(widths), Arena()
        if self._is_lent:
            raise failed("EMR_ESTATE", f"site '{name}' comes too late: a model was made with this gram")
        if len(given) != self._n_models:
            raise failed(
                "EMR_EMISMATCH",
                f"site '{name}' has {len(given)} widths, and the gram is of {self._n_models} models",
            )
        with self._handle.use(alone=True) as gram:
            call(lib.emr_gram_add_site, gram, encode(name), arena.array("uint64_t", given), ffi.NULL)

    def feed(self, site: str, *inputs: Any, keep: Any = None) -> None:
        """Adds rows of a site: an array [..., width] of each model, in the models' order. After a failure the
        sums are as before.

        `keep`, booleans or bytes of the arrays' shape but the last dimension, says which rows count: leave
        padding out.
        """
        views = [arrays.view(array, what=f"the input of site {site!r}") for array in inputs]
        n_rows = _rows_of(site, views, self._n_models)
        number = self._number(site, [view.shape[-1] for view in views])
        arena = Arena()
        rows = arena.structs("emr_activations", [{"data": v.pointer, "dtype": v.dtype} for v in views])
        kept = _kept(site, keep, n_rows)
        with self._handle.use(alone=True) as gram:
            call(lib.emr_gram_feed, gram, number, rows, n_rows, kept.pointer if kept else ffi.NULL)

    def _number(self, name: str, widths: list[int]) -> int:
        """A site's number, of rows of these widths."""
        number = ffi.new("uint32_t *")
        with self._handle.use() as gram:
            is_known = lib.emr_gram_find_site(gram, encode(name), number, ffi.NULL) == 0
        if not is_known and self._is_fixed:
            raise failed("EMR_ENOTFOUND", f"the gram has no site '{name}'")
        if not is_known:
            self.add_site(name, widths)
            return len(self.sites) - 1
        expected = self._site(number[0]).widths
        if tuple(widths) != expected:
            raise failed(
                "EMR_EMISMATCH",
                f"site '{name}': rows of {_said(widths)} numbers were given, and it has {_said(expected)}",
            )
        return int(number[0])

    def watch(self, *modules: Any, **options: Any) -> Watching:
        """Feeds what the layers of torch modules read, while a `with` lasts: ``with gram.watch(model): ...``.
        `libemr.fit.torch.Watching` has the options."""
        from .torch.watching import Watching

        return Watching(self, *modules, **options)

    def add(self, other: Gram) -> None:
        """Adds all sums of another gram, of other samples. Sites that this one lacks are added, where rows
        could have done so."""
        if not self._is_fixed:
            known = self.sites
            for site in other.sites.values():
                if site.name not in known and len(site.widths) == self._n_models:
                    self.add_site(site.name, site.widths)
        with other._handle.use() as given, self._handle.use(alone=True) as gram:
            call(lib.emr_gram_add, gram, given)

    # ------------------------------------------------------------------------------------------ what is in it

    @property
    def n_models(self) -> int:
        """Whose rows belong together."""
        return self._n_models

    @property
    def is_fixed(self) -> bool:
        """Whether it refuses rows of sites that it does not have."""
        return self._is_fixed

    @property
    def sites(self) -> dict[str, GramSite]:
        """Its sites, by name, in the order in which they came."""
        with self._handle.use() as gram:
            n = lib.emr_gram_n_sites(gram)
        return {site.name: site for site in map(self._site, range(n))}

    def _site(self, number: int) -> GramSite:
        with self._handle.use() as gram:
            site = filled(lib.emr_gram_get_site, "emr_gram_site", gram, number)
            return record(GramSite, site, widths=tuple(site.widths[i] for i in range(site.n_models)))

    def matrix(self, site: str) -> Any:
        """S of a site, a numpy array [D, D] with D = sum of widths + 1."""
        import numpy

        with self._handle.use(alone=True) as gram, _model_of(gram) as model:
            if site + SUFFIX not in model:
                raise failed("EMR_ENOTFOUND", f"the gram has no site '{site}'")
            packed = model[site + SUFFIX].read()
        d = (math.isqrt(8 * len(packed) + 1) - 1) // 2
        found = numpy.zeros((d, d))
        found[numpy.triu_indices(d)] = packed
        return found + numpy.triu(found, 1).T

    def save(
        self,
        target: io.Target,
        *,
        replace: bool = False,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> None:
        """Writes it as safetensors: to a path or a file-like object."""
        with self._handle.use(alone=True) as gram, _model_of(gram) as model:
            model.write(target, replace=replace, threads=threads, memory=memory, progress=progress)

    def output_moments(self, site: str, weight: Any, bias: Any = None, *, model: int = 0) -> tuple[Any, Any]:
        """Mean and variance (biased) of each output of a linear layer behind the site: what a BatchNorm there
        would measure on the same rows. `weight` and `bias` are arrays, or tensors of models."""
        given = Model.of({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
        n, number = (*given["weight"].shape, 0)[0], ffi.new("uint32_t *")
        mean, variance = ffi.new("double[]", n), ffi.new("double[]", n)
        with self._handle.use() as gram, given["weight"].in_use() as w, ExitStack() as stack:
            b = stack.enter_context(given["bias"].in_use()) if bias is not None else ffi.NULL
            call(lib.emr_gram_find_site, gram, encode(site), number)
            call(lib.emr_gram_output_moments, gram, number[0], model, w, b, mean, variance)
        return doubles(mean, n), doubles(variance, n)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    def lend(self) -> Handle:
        """For this package: its handle, for a model that reads its sites where they lie."""
        self._is_lent = True
        return self._handle

    def close(self) -> None:
        """Models that were made with it stay usable."""
        self._handle.close()

    def __enter__(self) -> Gram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            "<Gram, closed>"
            if self._handle.closed
            else f"<Gram of {self._n_models}, {len(self.sites)} sites>"
        )


def _widths(widths: Widths) -> list[int]:
    return [widths] if isinstance(widths, int) else [int(width) for width in widths]


def _said(widths: Sequence[int]) -> str:
    return " and ".join(map(str, widths))


def _model_of(gram: Any) -> Model:
    """The sums as a model, for as long as the gram is held alone."""
    return opened(lib.emr_gram_open_model, gram)


def _rows_of(site: str, views: Sequence[arrays.View], n_models: int) -> int:
    """How many rows all models have."""
    if len(views) != n_models:
        raise failed(
            "EMR_EMISMATCH",
            f"site '{site}': rows of {len(views)} models were given, and the gram is of {n_models}",
        )
    if any(not view.shape for view in views):
        raise failed("EMR_EMISMATCH", f"site '{site}': a number is no row: arrays [..., width] are needed")
    counts = [math.prod(view.shape[:-1]) for view in views]
    if len(set(counts)) > 1:
        raise failed(
            "EMR_EMISMATCH",
            f"site '{site}': models have {_said(counts)} rows: "
            "they must be of the same samples, in the same order",
        )
    return counts[0]


def _kept(site: str, keep: Any, n_rows: int) -> arrays.View | None:
    if keep is None:
        return None
    view = arrays.view(keep, what=f"`keep` of site {site!r}")
    if view.dtype not in (DType.BOOL, DType.U8, DType.I8):
        raise TypeError(f"`keep` of site {site!r} is {view.dtype.name}: booleans or bytes are needed")
    if view.count != n_rows:
        raise failed(
            "EMR_EMISMATCH", f"site '{site}': `keep` is of {view.count} rows, and {n_rows} were given"
        )
    return view

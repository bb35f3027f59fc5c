"""adapters.py - adapters as the PEFT library saves them: whether they agree, and what a model becomes with
one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._native import Arena, Handle, call, create, decode, encode, ffi, lib
from .model import Model, ModelLike, as_model
from .resources import Progress, Resources

__all__ = ["agree", "apply", "ones", "rank_dimension"]


def agree(adapters: Mapping[str, ModelLike], *, differ: Sequence[str] = ()) -> None:
    """Raises `Mismatch` unless adapters can be merged: their configurations agree, but for the keys in
    `differ`."""
    from contextlib import ExitStack

    arena = Arena()
    options = arena.struct("emr_agree_options", differ=arena.texts(differ), n_differ=len(differ))
    with ExitStack() as stack:
        models = [as_model(model, name) for name, model in adapters.items()]
        pointers = [stack.enter_context(model.handle.use()) for model in models]
        call(
            lib.emr_adapters_agree,
            arena.array("emr_model *", pointers),
            arena.texts(adapters.keys()),
            len(pointers),
            options,
        )


def apply(base: ModelLike, adapter: ModelLike, *, progress: Progress = None) -> Model:
    """What a model becomes with an adapter: W + s B A and the like, computed as it is read."""
    model, other = as_model(base, "base"), as_model(adapter, "adapter")
    with Resources(1, None, progress) as resources, model.handle.use() as a, other.handle.use() as b:
        return _model(create("emr_model", lib.emr_adapter_apply, a, b, resources), model.handle, other.handle)


def ones(like: ModelLike) -> Model:
    """Zeros, and ones for the vectors that (IA)^3 multiplies by: the base of adapters that leave a model as
    it is."""
    with as_model(like, "like").handle.use() as other:
        return _model(create("emr_model", lib.emr_adapter_create_ones, other, ffi.NULL))


def rank_dimension(name: str) -> int | None:
    """The dimension of a LoRA tensor that is its rank, by the tensor's name."""
    found = int(lib.emr_adapter_rank_dimension(encode(name)))
    return None if found < 0 else found


def _model(pointer: object, *parents: Handle) -> Model:
    what = f"the model '{decode(lib.emr_model_name(pointer))}'"
    return Model.of_handle(Handle(pointer, lib.emr_model_destroy, what, parents))

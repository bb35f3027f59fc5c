"""transformers.py - tasks of Hugging Face's transformers: merged from folders or models, and loaded out of a
bundle with their configuration and tokenizer."""

from __future__ import annotations

import copy
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

import torch
import transformers

from . import io
from ._native import PathLike, decode, failed, lib
from .bundle import Bundle, Task
from .merge import MergeOptions, Report, merge
from .model import Model, ModelLike
from .torch.base import base_of, of_arrays
from .torch.engines import read

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["as_saved", "load_task", "load_tokenizer", "merge_pretrained", "model_of"]

FILE_PREFIX = decode(lib.EMR_FILE_PREFIX)
ADAPTER_CONFIG = decode(lib.EMR_ADAPTER_CONFIG)
Pretrained = Union[PathLike, Model, Any]


def as_saved(model: Any, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """A model's tensors under the names by which `save_pretrained` writes them."""
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5 these are the module's own names
        return tensors
    found: Mapping[str, torch.Tensor] = revert_weight_conversion(model, dict(tensors))
    return found


def model_of(pretrained: Any) -> Model:
    """A transformers model that is in memory, as `save_pretrained` would write it. Weights in the CPU's
    memory are not copied."""
    if not isinstance(pretrained, transformers.PreTrainedModel):
        raise TypeError(
            f"a {type(pretrained).__name__} is no transformers.PreTrainedModel: hand over the model in it"
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _untied(pretrained).items()}
    model = Model.of(as_saved(pretrained, tensors), name=type(pretrained).__name__, metadata={"format": "pt"})
    for name, text in _configuration(pretrained).items():
        model.add(FILE_PREFIX + name, text.encode())
    return model


def _untied(pretrained: Any) -> dict[str, torch.Tensor]:
    """Each memory once: under a name that is not tied to another one."""
    ignored = set(getattr(pretrained, "_keys_to_ignore_on_save", None) or ())
    tied = set(
        getattr(pretrained, "all_tied_weights_keys", None)
        or getattr(pretrained, "_tied_weights_keys", None)
        or ()
    )
    found: dict[Any, tuple[str, torch.Tensor]] = {}
    for name, tensor in pretrained.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.device) if tensor.numel() else name
        if name not in ignored and (place not in found or found[place][0] in tied):
            found[place] = name, tensor
    return dict(found.values())


def _configuration(pretrained: Any) -> dict[str, str]:
    config = copy.deepcopy(pretrained.config)
    config.architectures = [type(pretrained).__name__]
    files = {"config.json": config.to_json_string()}
    if pretrained.can_generate() and pretrained.generation_config is not None:
        files["generation_config.json"] = pretrained.generation_config.to_json_string()
    return files


def merge_pretrained(
    base: Pretrained,
    tasks: Mapping[str, Pretrained] | Sequence[Pretrained],
    out: io.Target | None = None,
    *,
    replace: bool = False,
    **options: Unpack[MergeOptions],
) -> Report:
    """Merges folders, or models in memory, into one bundle, with configurations and tokenizers.

        libemr.transformers.merge_pretrained("bert-base/", ["bert-spam/", "bert-tone/"], "all.emr")

    Args:
        base: what the tasks were fine-tuned from: a folder as `save_pretrained` writes it, or a model.
        tasks: likewise, by name, or in a list: their names are the last parts of their paths then.
        out, replace, options: as in `libemr.merge`.
    """
    named = tasks.items() if isinstance(tasks, Mapping) else [(_name_of(task), task) for task in tasks]
    models = [(name, _opened(task)) for name, task in named]
    return merge(_opened(base), models, out, replace=replace, **options)


def _opened(source: Pretrained) -> Model:
    if isinstance(source, Model):
        return source
    if isinstance(source, torch.nn.Module):
        return model_of(source)
    return Model(source, side_files=True)


def _name_of(task: Pretrained) -> str:
    path = os.fspath(task) if io.is_path(task) else getattr(task, "name_or_path", "")
    name = pathlib.PurePath(path).name
    if not name:
        raise ValueError(f"a {type(task).__name__} has no name: give tasks as a mapping from names")
    return name


def load_task(
    bundle: Bundle | PathLike,
    task: str,
    base: Pretrained | None = None,
    *,
    model_class: Any = None,
    **options: Any,
) -> Any:
    """A task of a bundle as a ready transformers model, in evaluation mode.

        model = libemr.transformers.load_task("all.emr", "spam", "bert-base/")

    Args:
        bundle: a bundle, its path, or a folder with one bundle in it.
        base: a folder or model; None: the embedded one.
        model_class: None: what the task's configuration says.
        options: for `from_pretrained`, such as `dtype` or `device_map`.
    """
    with _task_of(bundle, task) as of, _model_of(of, base) as model, _files_of(of, model) as folder:
        if ADAPTER_CONFIG in of.metadata:
            raise failed(
                "EMR_EUNSUPPORTED",
                f"task '{task}' is an adapter: write it to a folder, which PEFT loads",
                task=task,
            )
        config = _config_of(of, folder, base)
        state = {name: read(tensor) for name, tensor in model.items() if not name.startswith(FILE_PREFIX)}
        kind = model_class or _class_of(config)
        loaded = kind.from_pretrained(None, config=config, state_dict=state, **options)
        if (folder / "generation_config.json").exists():
            loaded.generation_config = transformers.GenerationConfig.from_pretrained(folder)
        return loaded.eval()


def load_tokenizer(
    bundle: Bundle | PathLike, task: str, base: Pretrained | None = None, **options: Any
) -> Any:
    """A task's tokenizer; parameters are those of `load_task`."""
    with _task_of(bundle, task) as of, _model_of(of, base) as model, _files_of(of, model) as folder:
        return transformers.AutoTokenizer.from_pretrained(folder, **options)


@contextmanager
def _task_of(bundle: Bundle | PathLike, task: str) -> Iterator[Task]:
    if isinstance(bundle, Bundle):
        yield bundle[task]
        return
    path = pathlib.Path(bundle)
    if path.is_dir():
        found = sorted(path.glob("*.emr"))
        if len(found) != 1:
            raise ValueError(f"{path} has {len(found) or 'no'} bundles (*.emr): name one")
        path = found[0]
    with Bundle(path) as opened:
        yield opened[task]


@contextmanager
def _model_of(task: Task, base: Pretrained | None) -> Iterator[Model]:
    """The task's model, over a base that is the bundle's. Files that a base in memory lacks are empty."""
    given: ModelLike | None = base
    if isinstance(base, transformers.PreTrainedModel):
        given = of_arrays(
            task.bundle, as_saved(base, {k: v.detach().cpu().contiguous() for k, v in _untied(base).items()})
        )
    else:
        given = base_of(task.bundle, base)
    with task.open(given, check="none") as model:
        yield model


@contextmanager
def _files_of(task: Task, model: Model) -> Iterator[pathlib.Path]:
    """A folder with the task's configuration and tokenizer, for as long as they are read."""
    with tempfile.TemporaryDirectory(prefix="libemr-") as made:
        folder = pathlib.Path(made)
        for name, tensor in model.items():
            data = tensor.read_bytes() if name.startswith(FILE_PREFIX) else b""
            if any(data):
                path = folder / name[len(FILE_PREFIX) :]
                if ".." in path.parts or not path.is_relative_to(folder):
                    raise failed(
                        "EMR_EFORMAT",
                        f"{model.name}: tensor '{name}': a file outside of the folder",
                        tensor=name,
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        yield folder


def _config_of(task: Task, folder: pathlib.Path, base: Pretrained | None) -> Any:
    if (folder / "config.json").exists():
        return transformers.AutoConfig.from_pretrained(folder)
    if isinstance(base, transformers.PreTrainedModel):
        config = copy.deepcopy(base.config)
        config.architectures = [type(base).__name__]
        return config
    if base is not None and io.is_path(base) and os.path.isdir(base):
        return transformers.AutoConfig.from_pretrained(base)
    raise failed(
        "EMR_ENOTFOUND",
        f"task '{task.name}' has no config.json: merge folders, or give a base that has one",
        task=task.name,
    )


def _class_of(config: Any) -> Any:
    names = getattr(config, "architectures", None) or []
    found = next((getattr(transformers, name) for name in names if hasattr(transformers, name)), None)
    if found is None:
        raise ValueError(
            f"the configuration names no class of transformers ({', '.join(names)}): give model_class"
        )
    return found

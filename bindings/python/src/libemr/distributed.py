"""distributed.py - a merge by the workers of a Dask cluster (https://distributed.dask.org): each makes parts of it,
and the client joins them into the bundle that one machine makes, to the last byte.

    from dask.distributed import Client
    import libemr.distributed

    with Client("tcp://scheduler:8786") as client:
        libemr.distributed.merge(client, "/data/base/", {"french": "/data/french/"}, "/data/all.emr")

It needs the package `distributed`, here and on the workers, and libemr in the same version there. All see the same
files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import Client, as_completed

from . import io
from ._native import PathLike, failed
from .errors import CorruptData, FormatError, Mismatch
from .join import join
from .merge import Merge, MergeOptions, set_models
from .policy import ModulationLike
from .resources import Progress, follower

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["merge"]

PARTS_A_THREAD = 4  # so that a slow worker gets fewer
PARTS_MOST = 65536


@dataclass(frozen=True)
class _Job:
    """A merge as it travels to the workers."""

    base: str
    tasks: dict[str, str]
    modulators: dict[str, ModulationLike]
    dequantise: bool
    side_files: bool | None
    options: dict[str, Any]
    folder: str
    n_parts: int
    replace: bool

    def path(self, part: int) -> str:
        return os.path.join(self.folder, f"{part + 1:05}-of-{self.n_parts:05}.part")

    def start(self) -> Merge:
        """Nothing is read yet."""
        merge = Merge(**self.options)
        try:
            set_models(merge, self.base, self.tasks, self.modulators, self.dequantise, self.side_files)
        except BaseException:
            merge.close()
            raise
        return merge

    def has(self, merge: Merge, part: int) -> bool:
        """Whether an earlier run has made the part, or a worker that did not live to say so."""
        try:
            merge.check_part(self.path(part))
        except FileNotFoundError:
            return False
        except (Mismatch, FormatError, CorruptData):
            if self.replace:
                return False
            raise
        return True


def _make_part(part: int, job: _Job) -> None:
    """What a worker does."""
    with job.start() as merge:
        merge.set_part(part, job.n_parts)
        if not job.has(merge, part):
            merge.set_output(job.path(part), replace=True)
            merge.run()


def _absolute(path: Any, what: str) -> str:
    if not io.is_path(path):
        raise TypeError(f"{what} is a {type(path).__name__}, not a path that the workers can open")
    text = os.fsdecode(path)
    return os.path.join(os.path.abspath(text), "") if text.endswith(os.sep) else os.path.abspath(text)


def _parts_of_before(folder: str) -> int:
    """How many parts an earlier run cut the merge into; 0: there was none."""
    for name in os.listdir(folder):
        found = re.fullmatch(r"\d{5}-of-(\d{5})\.part", name)
        if found:
            return int(found[1])
    return 0


def merge(
    client: Client,
    base: PathLike,
    tasks: Mapping[str, PathLike],
    out: PathLike,
    *,
    parts: int | None = None,
    folder: PathLike | None = None,
    modulators: Mapping[str, ModulationLike] = {},
    replace: bool = False,
    dequantise: bool = False,
    side_files: bool | None = None,
    **options: Unpack[MergeOptions],
) -> None:
    """Merges tasks into a bundle, by the workers of a Dask cluster: to the last byte what `libemr.merge` writes.

    What a worker that died was at is made again by another one. Where the call fails, the parts that are done
    stay, and the same call takes them up; a part of another merge, there, is refused by name. That checkpoints
    hold the same values as before is for the caller to know.

    Args:
        client: a `distributed.Client`, not an asynchronous one.
        base, tasks, out: paths, which the workers and this process see alike. The order of tasks is that of sums.
        parts: how many; None: as in an earlier run that failed, or 4 for each thread of the workers.
        folder: where parts lie until the bundle is whole, seen by all; None: `out`.parts.
        replace: a file that exists is replaced, and so are parts of other merges.
    Further options are those of `libemr.merge`; threads (1) and memory are of each part, of which a worker makes
    as many at a time as it has threads. progress is called here, as parts are done.
    """
    if client.asynchronous:
        raise TypeError("the client is asynchronous: run this in a thread, with a client of its own")
    target = _absolute(out, "out")
    if not replace and os.path.lexists(target):
        raise failed("EMR_EEXIST", f"{target}: already exists", file=target)
    place = f"{target}.parts" if folder is None else _absolute(folder, "folder")
    os.makedirs(place, exist_ok=True)
    progress = options.pop("progress", None)
    n_threads = sum(client.nthreads().values()) or 1
    job = _Job(
        _absolute(base, "base"),
        {name: _absolute(path, f"the task {name!r}") for name, path in tasks.items()},
        dict(modulators),
        dequantise,
        side_files,
        {"threads": 1, **options},
        place,
        parts or _parts_of_before(place) or min(PARTS_A_THREAD * n_threads, PARTS_MOST),
        replace,
    )
    with job.start() as checked:  # what is wrong with the call is said here
        checked.set_part(0, job.n_parts)
        checked.plan()
    _make_parts(client, job, progress)
    paths = [job.path(part) for part in range(job.n_parts)]
    join(paths, target, replace=replace, memory=options.get("memory"))
    for path in paths:
        os.remove(path)
    if not os.listdir(place):
        os.rmdir(place)


def _make_parts(client: Client, job: _Job, progress: Progress) -> None:
    with job.start() as whole:
        total = whole.plan().summary.bytes_in
    follow = follower(progress)
    futures = client.map(_make_part, range(job.n_parts), job=job, pure=False)
    try:
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            follow(total * done // job.n_parts, total)
    finally:
        client.cancel(futures)  # those that are not done, where one failed

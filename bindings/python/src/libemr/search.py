"""search.py - looking for the best merge: greedy merging guided by kinship, and trials with parameters drawn
at random. Both only decide what to try: Python functions merge, score and compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ._native import Arena, Handle, call, callback, choice, create, encode, ffi, filled, lib, word
from .infos import record

__all__ = ["Candidate", "Search", "SearchResult", "Trial", "trial_values", "trials"]


@dataclass(frozen=True)
class Candidate:
    """A model of the search. `first` and `second` are the numbers of what it is made of, or None; score and
    kinship are NaN where there is none. Number and generation count from 0: those that were there are of
    generation 0."""

    name: str
    score: float
    kinship: float
    number: int
    generation: int
    first: int | None
    second: int | None


@dataclass(frozen=True)
class SearchResult:
    """How a search ended, and why: "steady", "kinship" or "generations"."""

    best: Candidate
    score: float
    kinship: float
    n_models: int
    n_scored: int
    generation: int
    end: str


@dataclass(frozen=True)
class Trial:
    """One of the trials: values in (0, 1] for the caller's parameters, and the score."""

    number: int
    values: tuple[float, ...]
    score: float


class _Host:
    """The functions of a run."""

    def __init__(
        self,
        merge: Callable[[Candidate], Any],
        evaluate: Callable[[Candidate], float | None],
        similarity: Callable[[int, int], float | None] | None,
        release: Callable[[int], Any] | None,
    ) -> None:
        self.merge, self.evaluate, self.similarity, self.release = merge, evaluate, similarity, release


@callback("emr_search_host_merge")
def _merge(user: Any, candidate: Any, error: Any) -> int:
    ffi.from_handle(user).merge(_candidate(candidate))
    return 0


@callback("emr_search_host_evaluate")
def _evaluate(user: Any, candidate: Any, score: Any, error: Any) -> int:
    score[0] = _number(ffi.from_handle(user).evaluate(_candidate(candidate)))
    return 0


@callback("emr_search_host_similarity")
def _similarity(user: Any, a: int, b: int, similarity: Any, error: Any) -> int:
    similarity[0] = _number(ffi.from_handle(user).similarity(a, b))
    return 0


@callback("emr_search_host_release")
def _release(user: Any, number: int) -> None:
    ffi.from_handle(user).release(number)


@callback("emr_trials_options_evaluate")
def _evaluate_trial(user: Any, trial: Any, score: Any, error: Any) -> int:
    score[0] = _number(ffi.from_handle(user)(_trial(trial)))
    return 0


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _candidate(c: Any) -> Candidate:
    return record(Candidate, c, first=_model(c.first), second=_model(c.second))


def _model(number: int) -> int | None:
    return None if number == lib.EMR_SEARCH_NO_MODEL else number


def _trial(t: Any) -> Trial:
    values = tuple(t.values[i] for i in range(t.n_values)) if t.values else ()
    return Trial(t.number, values, t.score)


class Search:
    """Greedy merging: scores the models, merges pairs of the best, and goes on until there is a reason to
    end.

        search = libemr.Search(["math", "code", "chat"], partner="none")
        result = search.run(merge=merge_two, evaluate=score_one)
        print(result.best.name, result.score)

    Args:
        models: names of those that are there.
        k: how many of the best are merged with each other.
        partner: what the best is merged with beside: "lowest" or "highest" kinship, or "none".
        pool: where that one is taken from: "all", "top" or "last".
        stop_kinship: the search ends where the k best are more alike than this; None: never.
        minimise: the lowest score is the best.
    """

    def __init__(
        self,
        models: Iterable[str],
        *,
        k: int = 0,
        partner: str = "lowest",
        pool: str = "all",
        max_generations: int = 0,
        stop_kinship: float | None = None,
        minimise: bool = False,
    ) -> None:
        options = Arena().struct(
            "emr_search_options",
            k=k,
            partner=choice("EMR_SEARCH_PARTNER_", partner, "partner"),
            pool=choice("EMR_SEARCH_POOL_", pool, "pool"),
            max_generations=max_generations,
            minimise=int(minimise),
            stop_kinship=stop_kinship,
            use_stop_kinship=int(stop_kinship is not None),
        )
        self._handle = Handle(
            create("emr_search", lib.emr_search_create, options), lib.emr_search_destroy, "the search"
        )
        with self._handle.use(alone=True) as search:
            for name in models:
                call(lib.emr_search_add_model, search, encode(name))

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        *,
        merge: Callable[[Candidate], Any],
        evaluate: Callable[[Candidate], float | None],
        similarity: Callable[[int, int], float | None] | None = None,
        release: Callable[[int], Any] | None = None,
    ) -> SearchResult:
        """Searches, once.

        Args:
            merge: makes a model of ``candidate.first`` and ``candidate.second``.
            evaluate: its score; None or NaN: it has none, and is out.
            similarity: how alike two models are, by number: more is more; None: not known.
            release: is told the number of a merged model that is not asked about again.
        """
        arena, host = Arena(), _Host(merge, evaluate, similarity, release)
        functions = arena.struct(
            "emr_search_host",
            user=arena.user(host),
            merge=_merge,
            evaluate=_evaluate,
            similarity=_similarity if similarity else None,
            release=_release if release else None,
        )
        with self._handle.use() as search:
            call(lib.emr_search_run, search, functions)
            result = filled(lib.emr_search_get_result, "emr_search_result", search)
        return record(SearchResult, result, best=self[result.best], end=word("EMR_SEARCH_END_", result.end))

    def __getitem__(self, number: int) -> Candidate:
        """A model of the search by its number; also within callbacks."""
        if number < 0:
            raise IndexError(number)
        with self._handle.use() as search:
            return _candidate(filled(lib.emr_search_get_candidate, "emr_search_candidate", search, number))

    def __iter__(self) -> Iterator[Candidate]:
        from .errors import NotFound

        number = 0
        while True:
            try:
                candidate = self[number]
            except NotFound:
                return
            yield candidate
            number += 1


def trial_values(seed: int, number: int, n: int) -> tuple[float, ...]:
    """The first n values of a trial: uniform in (0, 1]; they depend on seed and number alone."""
    values = ffi.new("double[]", max(n, 1))
    lib.emr_trial_draw(seed, number, n, values)
    return tuple(values[i] for i in range(n))


def trials(
    evaluate: Callable[[Trial], float | None],
    n_values: int,
    *,
    n_trials: int = 0,
    seed: int = 0,
    minimise: bool = False,
) -> Trial:
    """Tries parameters drawn at random, n_values for each of the trials (0: 500), and returns the best one.
    `evaluate` scores a trial; None or NaN: it has no score."""
    arena, best = Arena(), Arena().struct("emr_trial")
    options = arena.struct(
        "emr_trials_options",
        user=arena.user(evaluate),
        evaluate=_evaluate_trial,
        seed=seed,
        n_trials=n_trials,
        n_values=n_values,
        minimise=int(minimise),
    )
    call(lib.emr_trials_run, options, best)
    return Trial(best.number, trial_values(seed, best.number, n_values), best.score)

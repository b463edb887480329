"""One cell of a comparison, and all of them: the same folds for every method, one record a fold."""

import logging
import platform
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import joblib
import numpy as np
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold, RepeatedMultilabelStratifiedKFold
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedKFold,
)

from benchmarks.datasets import Source, load
from benchmarks.tasks import TASKS

OFFICIAL = "official"

INNER_FOLDS = 3
"""Folds of the training part that hyper-parameters are chosen by."""

_PATIENCE = "10s"  # with a scheduler that does not answer

_REPEATED = {
    "multilabel": RepeatedMultilabelStratifiedKFold,
    "classification": RepeatedStratifiedKFold,
    "label distribution": RepeatedKFold,
}
_INNER = {"multilabel": MultilabelStratifiedKFold, "classification": StratifiedKFold, "label distribution": KFold}


class Settings(NamedTuple):
    """How methods are compared on a data set.

    Attributes
    ----------
    folds : int or "official"
        Number of folds, or the official split.
    repeats : int
        Repeats of the folds; of the official split, with other seeds of the methods.
    seed : int
        Seed of folds and methods.
    search : bool
        Whether hyper-parameters are chosen by cross-validation within each training part.
    timeout : float or None
        Seconds after which a fold of a method counts as failed.
    """

    folds: int | str = 3
    repeats: int = 2
    seed: int = 0
    search: bool = False
    timeout: float | None = None


class Cell(NamedTuple):
    """A method on a fold of a data set."""

    source: Source
    method: str
    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    settings: Settings

    @property
    def seed(self) -> int:
        """Seed of the method, another one in every repeat."""
        return self.settings.seed + self.repeat

    def model(self) -> BaseEstimator:
        """What is fitted to the training part: the method, or the search over its grid."""
        task = TASKS[self.source.task]
        method = task.methods[self.method]
        model = method.build(self.seed)
        if not (self.settings.search and method.grid):
            return model
        folds = _INNER[self.source.task](INNER_FOLDS, shuffle=True, random_state=self.seed)
        return GridSearchCV(model, method.grid, scoring=task.scorers[task.searched], cv=folds)

    def identity(self) -> dict[str, Any]:
        """All that the scores depend on, ready for JSON."""
        method = TASKS[self.source.task].methods[self.method]
        parameters = method.build(self.seed).get_params().items()
        return {
            "dataset": self.source.name,
            "task": self.source.task,
            "method": self.method,
            "folds": self.settings.folds,
            "repeat": self.repeat,
            "fold": self.fold,
            "seed": self.seed,
            "search": self.settings.search,
            "n_train": len(self.train),
            "n_test": len(self.test),
            "parameters": {name: _plain(value) for name, value in sorted(parameters)},
            "grid": {name: [_plain(value) for value in values] for name, values in method.grid.items()}
            if self.settings.search
            else {},
            "versions": versions(),
        }


def splits(source: Source, settings: Settings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices of every fold of every repeat, or of the official split in every repeat.

    Folds are stratified by class, and those of label sets by label (Sechidis et al., 2011). Folds for retrieval have
    whole classes, so that the classes of the test part were never seen.

    Raises
    ------
    ValueError
        If the data set has no official split.
    """
    X, Y, n_train = load(source)
    n_folds, n_repeats, seed = settings.folds, settings.repeats, settings.seed
    if isinstance(n_folds, str):
        if n_train is None:
            raise ValueError(f"{source.name} has no official split. Pass a number of folds.")
        return [(np.arange(n_train), np.arange(n_train, len(X)))] * n_repeats
    if source.task == "retrieval":
        folds = (GroupKFold(n_folds, shuffle=True, random_state=seed + repeat) for repeat in range(n_repeats))
        return [split for each in folds for split in each.split(X, groups=Y)]
    splitter = _REPEATED[source.task](n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
    return list(splitter.split(X, Y))


def cells(source: Source, methods: list[str], settings: Settings) -> list[Cell]:
    """Every cell of a comparison on a data set, of those methods that are for its task."""
    n_parts = 1 if isinstance(settings.folds, str) else settings.folds
    chosen = [name for name in TASKS[source.task].methods if name in methods]
    return [
        Cell(source, name, split // n_parts, split % n_parts, train, test, settings)
        for split, (train, test) in enumerate(splits(source, settings) if chosen else [])
        for name in chosen
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Fit a method on the training part and score it on the test part.

    Returns
    -------
    dict
        Record of the cell, ready for JSON. A failure is recorded under ``"error"`` and has no scores.
    """
    task = TASKS[cell.source.task]
    record = cell.identity()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with _time_limit(cell.settings.timeout):
                record |= _measured(cell, task)
        except _OutOfTime:
            record["error"] = f"stopped after {cell.settings.timeout:g} s"
        except Exception as error:  # a method that fails is a result, and the others go on
            record["error"] = f"{type(error).__name__}: {error}"
    return record | {"warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught})}


def _measured(cell: Cell, task: Any) -> dict[str, Any]:
    X, Y, _ = load(cell.source)
    model = cell.model()
    with TemporaryDirectory() as folder:
        if isinstance(model, GridSearchCV):  # a metric is fitted once for all numbers of neighbours
            model.estimator.set_params(memory=folder)
        start = perf_counter()
        model.fit(X[cell.train], Y[cell.train])
        fitted = perf_counter()
    scores = check_scoring(model, task.scorers)(model, X[cell.test], Y[cell.test])
    scored = perf_counter()
    values = {criterion.title: criterion.sign * float(scores[criterion.scorer]) for criterion in task.criteria}
    undefined = [title for title, value in values.items() if not np.isfinite(value)]
    if undefined:
        raise ValueError(f"{', '.join(undefined)} came out as no number.")
    times = {"fit_seconds": fitted - start, "score_seconds": scored - fitted, "scores": values}
    if not isinstance(model, GridSearchCV):
        return times
    chosen = {name: _plain(value) for name, value in model.best_params_.items()}
    return times | {"fit_seconds": model.refit_time_, "search_seconds": fitted - start, "chosen": chosen}


class _OutOfTime(BaseException):
    """No Exception, which a search would take for the failure of one setting and go on."""


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Stop what runs for too long, where the system and the thread can be told to."""
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise _OutOfTime

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def run(comparison: list[Cell], n_jobs: int, backend: str = "loky", scheduler: str | None = None) -> Iterator[dict]:
    """Records of all cells, as they are done.

    Parameters
    ----------
    comparison : list of Cell
        What to run.
    n_jobs : int
        Processes on this machine.
    backend : {"loky", "dask"}, default="loky"
        What starts them, by joblib.
    scheduler : str or None, default=None
        Address of a running Dask cluster, whose workers must have this package and find the same files; None starts
        `n_jobs` workers here.

    Raises
    ------
    ImportError
        If Dask is asked for and not installed.
    OSError
        If the scheduler cannot be reached.
    """

    def place_in_table(cell: Cell) -> int:
        return list(TASKS[cell.source.task].methods).index(cell.method)

    # Each table begins with the plain predictor, the cheapest: it goes last, and no worker ends on a long cell.
    plain_last = sorted(comparison, key=place_in_table, reverse=True)
    workers = _cluster(n_jobs, scheduler) if backend == "dask" else nullcontext(n_jobs)
    with workers as n_workers, joblib.parallel_config(backend, n_jobs=n_workers):
        yield from joblib.Parallel(return_as="generator_unordered", batch_size=1)(
            joblib.delayed(run_cell)(cell) for cell in plain_last
        )


@contextmanager
def _cluster(n_jobs: int, scheduler: str | None) -> Iterator[int]:
    """A Dask cluster, here or elsewhere, and how many of its threads there are to work."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError("--backend dask needs Dask: pip install 'skrelmetric[dask]'") from error
    if scheduler is not None:
        with Client(scheduler, timeout=_PATIENCE) as client:
            yield sum(client.nthreads().values())
    else:
        local = LocalCluster(n_workers=n_jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR)
        with local as cluster, Client(cluster):
            yield n_jobs


def versions() -> dict[str, str]:
    """Versions of all that the figures depend on."""
    packages = ("skrelmetric", "scikit-learn", "torch", "numpy", "scipy", "iterative-stratification")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _plain(value: Any) -> Any:
    """Value as JSON has it; an object by its representation, without where it happens to lie in memory."""
    if isinstance(value, bool | int | float | str | None):
        return value
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))

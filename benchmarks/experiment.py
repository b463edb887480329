"""One cell of a comparison, and all of them: the same folds for every method, one record a fold."""

import logging
import platform
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import joblib
import numpy as np
from iterstrat.ml_stratifiers import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    RepeatedMultilabelStratifiedKFold,
)
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

import benchmarks
import skrelmetric
from benchmarks.datasets import Source, digest, load
from benchmarks.memory import watched
from benchmarks.methods import Method, for_sparse
from benchmarks.tasks import TASKS

OFFICIAL = "official"
HELD_OUT = "held-out"

Record = dict[str, Any]
"""What a cell came to, ready for JSON."""

INNER_FOLDS = 3
"""Folds of the training part that hyper-parameters are chosen by."""

_TEST_SHARE = 1 / 3  # of what is held out once

_NO_FIGURES = ("report", "plotting")  # folders of source that no figure depends on

_PATIENCE = "10s"  # with a scheduler that does not answer

_REPEATED = {
    "multilabel": RepeatedMultilabelStratifiedKFold,
    "classification": RepeatedStratifiedKFold,
    "label distribution": RepeatedKFold,
}
_ONCE = {
    "multilabel": MultilabelStratifiedShuffleSplit,
    "classification": StratifiedShuffleSplit,
    "label distribution": ShuffleSplit,
    "retrieval": GroupShuffleSplit,
}
_INNER = {"multilabel": MultilabelStratifiedKFold, "classification": StratifiedKFold, "label distribution": KFold}


class Settings(NamedTuple):
    """How methods are compared on a data set.

    Attributes
    ----------
    folds : int, "official" or "held-out"
        Number of folds, the official split, or one third that is held out at random.
    repeats : int
        Repeats of the folds, or of what is held out; of the official split, with other seeds of the methods.
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
        task, method = TASKS[self.source.task], self._method()
        model = method.build(self.seed)
        if not (self.settings.search and method.grid):
            return model
        folds = _INNER[self.source.task](INNER_FOLDS, shuffle=True, random_state=self.seed)
        return GridSearchCV(model, method.grid, scoring=task.scorers[task.searched], cv=folds)

    def _method(self) -> Method:
        method = TASKS[self.source.task].methods[self.method]
        return for_sparse(method) if self.source.is_sparse else method

    def identity(self) -> Record:
        """All that the scores depend on, ready for JSON."""
        task, method = TASKS[self.source.task], self._method()
        parameters = method.build(self.seed).get_params().items()
        return {
            "dataset": self.source.name,
            "task": self.source.task,
            "method": self.method,
            "data": None if self.source.path is None else digest(self.source),
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
            "inner_folds": INNER_FOLDS if self.settings.search else None,
            "criteria": [criterion.title for criterion in task.criteria],
            "versions": versions(),
        }


def splits(source: Source, settings: Settings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices of every fold of every repeat, or of the one split in every repeat.

    Folds, and what is held out, are stratified by class, and those of label sets by label (Sechidis et al., 2011).
    Those for retrieval have whole classes, so that the classes of the test part were never seen.

    Raises
    ------
    ValueError
        If the data set has no official split, or too few samples, or too few of a class, for the folds.
    """
    X, Y, n_train = load(source)
    n_folds, n_repeats, seed = settings.folds, settings.repeats, settings.seed
    if n_folds == OFFICIAL:
        if n_train is None:
            raise ValueError(f"{source.name} has no official split. Pass a number of folds, or {HELD_OUT!r}.")
        return [(np.arange(n_train), np.arange(n_train, len(Y)))] * n_repeats
    if n_folds == HELD_OUT:
        splitters = [_ONCE[source.task](n_repeats, test_size=_TEST_SHARE, random_state=seed)]
    elif source.task == "retrieval":
        splitters = [GroupKFold(n_folds, shuffle=True, random_state=seed + repeat) for repeat in range(n_repeats)]
    else:
        splitters = [_REPEATED[source.task](n_splits=n_folds, n_repeats=n_repeats, random_state=seed)]
    groups = Y if source.task == "retrieval" else None
    try:
        return [split for splitter in splitters for split in splitter.split(X, Y, groups)]
    except ValueError as error:
        if n_folds == HELD_OUT:
            raise ValueError(f"No third of {source.name} can be held out: {error} Pass a number of --folds.") from error
        raise ValueError(f"{source.name} cannot be split into {n_folds} folds: {error} Pass fewer --folds.") from error


def cells(source: Source, methods: list[str], settings: Settings) -> list[Cell]:
    """Every cell of a comparison on a data set, of those methods that are for its task."""
    n_parts = 1 if isinstance(settings.folds, str) else settings.folds
    chosen = [name for name in TASKS[source.task].methods if name in methods]
    return [
        Cell(source, name, split // n_parts, split % n_parts, train, test, settings)
        for split, (train, test) in enumerate(splits(source, settings) if chosen else [])
        for name in chosen
    ]


def run_cell(cell: Cell, with_memory: bool = False) -> Record:
    """Fit a method on the training part and score it on the test part.

    Parameters
    ----------
    cell : Cell
        What to run.
    with_memory : bool, default=False
        Whether to record the memory of this process, which should then have run nothing else.

    Returns
    -------
    dict
        Record of the cell, ready for JSON. A failure is recorded under ``"error"`` and has no scores.
    """
    record = cell.identity()
    # A cell keeps to one worker: a cluster would otherwise hand its searches on, and no time could be compared.
    with joblib.parallel_config("sequential"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with _time_limit(cell.settings.timeout):
                record |= _measured(cell, with_memory)
        except _OutOfTime:
            record["error"] = f"stopped after {cell.settings.timeout:g} s"
        except Exception as error:  # a method that fails is a result, and the others go on
            record["error"] = f"{type(error).__name__}: {error}"
    return record | {"warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught})}


def _measured(cell: Cell, with_memory: bool) -> Record:
    X, Y, _ = load(cell.source)
    task, model = TASKS[cell.source.task], cell.model()
    with watched() as memory:
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
    measured: Record = {"fit_seconds": fitted - start, "score_seconds": scored - fitted, "scores": values}
    if with_memory and memory:
        measured["memory_mib"] = memory
    if not isinstance(model, GridSearchCV):
        return measured
    chosen = {name: _plain(value) for name, value in model.best_params_.items()}
    return measured | {"fit_seconds": model.refit_time_, "search_seconds": fitted - start, "chosen": chosen}


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


def run(
    comparison: list[Cell],
    n_jobs: int,
    backend: str = "loky",
    scheduler: str | None = None,
    alone: bool = False,
) -> Iterator[Record]:
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
    alone : bool, default=False
        Whether cells run one after another instead, each in a process of its own, whose memory is recorded.

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
    if alone:
        yield from (_alone(cell, with_memory=True) for cell in plain_last)
        return
    workers = _cluster(n_jobs, scheduler) if backend == "dask" else nullcontext(n_jobs)
    with workers as n_workers, joblib.parallel_config(backend, n_jobs=n_workers):
        left = dict(enumerate(plain_last))
        records = joblib.Parallel(return_as="generator_unordered", batch_size=1)(
            joblib.delayed(_placed)(place, cell) for place, cell in enumerate(plain_last)
        )
        try:
            for place, record in records:
                del left[place]
                yield record
        except BrokenExecutor:
            yield from map(_alone, left.values())


def _placed(place: int, cell: Cell) -> tuple[int, Record]:
    return place, run_cell(cell)


def _alone(cell: Cell, with_memory: bool = False) -> Record:
    """Record of a cell that is run in a process of its own, whose death is then a failure of this cell alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(run_cell, cell, with_memory).result()
        except BrokenExecutor:
            return cell.identity() | {"error": "its process was killed, perhaps for want of memory", "warnings": []}
        except KeyboardInterrupt:  # which that process need not have heard of
            for child in active_children():
                child.terminate()
            raise


@contextmanager
def _cluster(n_jobs: int, scheduler: str | None) -> Iterator[int]:
    """A Dask cluster, here or elsewhere, and how many of its threads there are to work."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError("--backend dask needs Dask: pip install 'skrelmetric[dask]'") from error
    if scheduler is not None:
        with Client(scheduler, timeout=_PATIENCE) as client:
            n_threads = sum(client.nthreads().values())
            if not n_threads:
                raise OSError(f"The cluster at {scheduler} has no workers. Start some: dask worker {scheduler}")
            yield n_threads
    else:
        local = LocalCluster(n_workers=n_jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR)
        with local as cluster, Client(cluster):
            yield n_jobs


@cache
def versions() -> dict[str, str]:
    """Versions of all that the figures depend on, and a digest of the source of this package and of the benchmarks."""
    packages = ("skrelmetric", "scikit-learn", "torch", "numpy", "scipy", "iterative-stratification")
    folders = [Path(module.__file__).parent for module in (skrelmetric, benchmarks) if module.__file__]
    files = sorted(file for folder in folders for file in folder.rglob("*.py") if file.parent.name not in _NO_FIGURES)
    source = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "source": source,
    }


def _plain(value: Any) -> Any:
    """Value as JSON has it; an object by its representation, without where it happens to lie in memory."""
    if isinstance(value, bool | int | float | str | None):
        return value
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))

"""Runs of cells: one after another, in processes beside each other, or on a Dask cluster."""

import logging
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from glob import escape, glob
from multiprocessing import Pipe, active_children, get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory, gettempdir
from time import perf_counter, time
from typing import cast

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV

from benchmarks.compare.cells import Cell, plain
from benchmarks.compare.memory import watched
from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import load

if sys.platform != "win32":
    import fcntl

_FOLDERS = "skrelmetric-search-"
"""Start of the names of temporary folders, where searches keep what they fit."""

_GRACE = 5.0  # seconds for a cell that is out of time to say so itself

_KILLED: Record = {"error": "its process was killed, perhaps for want of memory", "warnings": []}


def run_cell(cell: Cell, with_memory: bool = False) -> Record:
    """Record of a method that is fitted on the training samples and scored on the test samples.

    Parameters
    ----------
    cell : Cell
        Cell to run.
    with_memory : bool, default=False
        Whether to record the memory of this process, which should then have had no other task.

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
            record |= _too_slow(cell)
        except Exception as error:  # a failure is recorded, and the others go on
            record["error"] = f"{type(error).__name__}: {error}"
    return record | {"warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught})}


def _too_slow(cell: Cell, where: str = "") -> Record:
    return {
        "error": f"stopped after {cell.settings.timeout:g} s{where}",
        "too_slow": True,
        "timeout": cell.settings.timeout or 0.0,
    }


def _measured(cell: Cell, with_memory: bool) -> Record:
    X, Y, *_ = load(cell.source)
    model = cell.model()
    with watched() as memory, TemporaryDirectory(prefix=_FOLDERS) as folder, _held(folder):
        if isinstance(model, GridSearchCV):  # a metric is fitted once for all numbers of neighbours
            model.estimator.set_params(memory=folder)
        measured = scored(model, cell.source.task, X, Y, cell.train, cell.test)
    if with_memory and memory:
        measured["memory_mib"] = memory
    if not isinstance(model, GridSearchCV):
        return measured
    chosen = {name: plain(value) for name, value in model.best_params_.items()}
    return measured | {"fit_seconds": model.refit_time_, "search_seconds": measured["fit_seconds"], "chosen": chosen}


def scored(
    model: BaseEstimator, task: str, X: np.ndarray, Y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Record:
    """Criteria of a model that is fitted to the training samples, on the test samples, and the seconds of both.

    Raises
    ------
    ValueError
        If a criterion is no number; and whatever the model raises.
    """
    start = perf_counter()
    model.fit(X[train], Y[train])
    fitted = perf_counter()
    scores = check_scoring(model, TASKS[task].scorers(Y[train]))(model, X[test], Y[test])
    seconds = {"fit_seconds": fitted - start, "score_seconds": perf_counter() - fitted}
    values = {each.title: each.sign * float(scores[each.scorer]) for each in TASKS[task].defined(Y)}
    undefined = [title for title, value in values.items() if not np.isfinite(value)]
    if undefined:
        raise ValueError(f"{', '.join(undefined)} came out as no number.")
    return cast(Record, seconds | {"scores": values})


@contextmanager
def _held(folder: str) -> Iterator[None]:
    """Folder that is locked for as long as its process lives, where the system can do that."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _clear_folders() -> None:
    """Remove folders of processes that were killed, where the system can tell that nobody holds them."""
    if sys.platform == "win32":
        return
    for folder in glob(f"{escape(gettempdir())}/{_FOLDERS}*"):
        with suppress(OSError), _held(folder):
            if time() - os.stat(folder).st_mtime > 1:  # or else it may be about to be locked
                shutil.rmtree(folder)


class _OutOfTime(BaseException):
    """End of the time of a cell; no Exception, which a search would take for the failure of one setting."""


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Stop what runs for too long, where the system and the thread can be told to."""
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    is_over = False

    def stop(*_):
        nonlocal is_over
        is_over = True
        raise _OutOfTime

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except KeyboardInterrupt:  # which compiled code may make of it
        if is_over:
            raise _OutOfTime from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def run(
    comparison: list[Cell],
    n_jobs: int,
    backend: str = "loky",
    scheduler: str | None = None,
    alone: bool = False,
    patience: float = 10.0,
    slow: Iterable[Cell] = (),
) -> Iterator[Record]:
    """Records of all cells, as they are done.

    Parameters
    ----------
    comparison : list of Cell
        Cells to run.
    n_jobs : int
        Processes on this machine.
    backend : {"loky", "dask"}, default="loky"
        Backend of joblib that starts them.
    scheduler : str or None, default=None
        Address of a running Dask cluster, whose workers must have this package and find the same files; None starts
        `n_jobs` workers here.
    alone : bool, default=False
        Whether cells run one after another instead, each in a process of its own, whose memory is recorded.
    patience : float, default=10.0
        Seconds that a scheduler has to answer.
    slow : iterable of Cell, default=()
        Cells, among these, whose methods were too slow on other folds of their data sets before; they are not tried.

    Raises
    ------
    ImportError
        If Dask is asked for and not installed.
    OSError
        If the scheduler cannot be reached.
    """
    order = {source: place for place, source in enumerate(dict.fromkeys(cell.source for cell in comparison))}

    def turn(cell: Cell) -> tuple[int, int]:
        return order[cell.source], -list(TASKS[cell.source.task].methods).index(cell.method)

    _clear_folders()
    # Each table begins with the plain predictor, the cheapest: it goes last, and no worker ends on a long cell.
    left = dict(enumerate(sorted(comparison, key=turn)))
    is_slow = {(cell.source, cell.method) for cell in slow}  # what was too slow on one fold is not tried on the others

    def waiting() -> Iterator[tuple[int, Cell]]:
        yield from ((place, cell) for place, cell in list(left.items()) if (cell.source, cell.method) not in is_slow)

    def met(place: int, record: Record) -> Record:
        cell = left.pop(place)
        if record.get("too_slow"):
            is_slow.add((cell.source, cell.method))
        return record

    if alone:
        yield from (met(place, _alone(cell, with_memory=True)) for place, cell in waiting())
    else:
        workers = _cluster(n_jobs, scheduler, patience) if backend == "dask" else nullcontext(n_jobs)
        each = _forked if backend == "loky" and n_jobs > 1 and sys.platform == "linux" else run_cell
        with workers as n_workers, joblib.parallel_config(backend, n_jobs=n_workers):
            records = joblib.Parallel(return_as="generator_unordered", batch_size=1)(
                joblib.delayed(_placed)(place, cell, each) for place, cell in waiting()
            )
            try:
                yield from (met(place, record) for place, record in records)
            except BrokenExecutor:
                yield from (met(place, _alone(cell)) for place, cell in waiting())
    yield from (cell.identity() | _too_slow(cell, " on another fold") | {"warnings": []} for cell in left.values())


def _placed(place: int, cell: Cell, run_one: Callable[[Cell], Record]) -> tuple[int, Record]:
    return place, run_one(cell)


def _forked(cell: Cell) -> Record:
    """Record of a cell that is run in a child of this process, with its memory.

    The child finds the data read already, once for all cells of a data set, and nothing of the cells before. It is
    killed where it is still in compiled code some time after its limit.
    """
    identity = cell.identity()
    receiver, sender = Pipe(duplex=False)
    child = get_context("fork").Process(target=_send, args=(cell, sender))
    child.start()
    sender.close()
    limit = cell.settings.timeout
    try:
        if receiver.poll(None if limit is None else limit + _GRACE):
            return receiver.recv()
        return identity | _too_slow(cell) | {"warnings": []}
    except EOFError:
        return identity | _KILLED
    finally:
        child.kill()
        child.join()


def _send(cell: Cell, sender: Connection) -> None:
    sender.send(run_cell(cell, with_memory=True))


def _alone(cell: Cell, with_memory: bool = False) -> Record:
    """Record of a cell that is run in a process of its own, whose death is then a failure of this cell alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(run_cell, cell, with_memory).result()
        except BrokenExecutor:
            return cell.identity() | _KILLED
        except KeyboardInterrupt:  # which that process need not have heard of
            for child in active_children():
                child.terminate()
            raise


@contextmanager
def _cluster(n_jobs: int, scheduler: str | None, patience: float) -> Iterator[int]:
    """Dask cluster, here or elsewhere, and how many of its threads there are to work."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError("--backend dask needs Dask: pip install 'skrelmetric[dask]'") from error
    if scheduler is not None:
        with Client(scheduler, timeout=patience) as client:
            n_threads = sum(client.nthreads().values())
            if not n_threads:
                raise OSError(f"The cluster at {scheduler} has no workers. Start some: dask worker {scheduler}")
            yield n_threads
    else:
        local = LocalCluster(n_workers=n_jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR)
        with local as cluster, Client(cluster):
            yield n_jobs

"""Scale of fits beyond one process and beyond memory, beside the cost model of SCALE.md.

One process of one thread against two, samples in chunks against the same in memory, a pass over the samples and the
messages of a fit against what the model counts, and the peak memory of growing streams.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from statistics import median
from typing import NamedTuple, Self, TypedDict

import numpy as np
import torch
from torch import distributed

from benchmarks.compare.memory import mebibytes
from benchmarks.speed.timing import medians
from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import shards

Metric = RAMLLinear | HRAMLTransformer

_N_LABELS = 6
_LEAST_FEATURES = 4 * _N_LABELS  # labels take two features each, and some passes go over half of the features
_CHUNK = 10_000  # samples of a chunk of a stream


class Figure(TypedDict):
    """Figure beside what it is measured against, as a line of JSON; `unit` says what they and their ratio are."""

    path: str
    measured: float
    against: float
    ratio: float
    unit: str


def measure(n: int = 400_000, d: int = 72, repeats: int = 5) -> Iterator[Figure]:
    """Figures, as they are done.

    Parameters
    ----------
    n : int, default=400_000
        Number of samples.
    d : int, default=72
        Number of features.
    repeats : int, default=5
        Fits of which the median is taken.

    Raises
    ------
    ValueError
        If there are too few features.
    """
    if d < _LEAST_FEATURES:
        raise ValueError(f"{d} features are too few for what is measured: pass --n-features {_LEAST_FEATURES} or more.")
    yield from across_ranks(n, d, *(in_ranks(size, n, d, repeats) for size in (1, 2)))
    yield from against_memory(n, d, repeats)
    for width in (d // 2, d, 2 * d):
        yield a_pass(n * d // width, width, repeats)
    if sys.platform == "linux":
        yield from peaks(n // 4, d)


def metrics() -> dict[str, Metric]:
    """Metrics to fit, which take as many passes in every run."""
    trained = {"encoder": "mlp", "head": "linear", "early_stopping": False, "max_epochs": 3, "random_state": 0}
    return {"RAMLLinear": RAMLLinear(), "HRAML, 3 epochs": HRAMLTransformer(32, **trained, chunk_size=_CHUNK)}


# Samples


def samples(n: int, d: int, first: int = 0, chunk: int = _CHUNK) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a made-up data set and their label sets, the same wherever they are made."""
    blocks = []
    for block in range(first // chunk, -(-(first + n) // chunk)):
        X = np.random.default_rng(block).standard_normal((chunk, d))
        blocks.append(X[max(0, first - block * chunk) : first + n - block * chunk])
    X = np.concatenate(blocks)
    return X, (X[:, :_N_LABELS] + X[:, _N_LABELS : 2 * _N_LABELS] > 0).astype(np.int8)


def stream(n: int, d: int, chunk: int = _CHUNK) -> Chunks:
    """Rows of that data set in chunks, which are made when they are read."""
    return Chunks(lambda: (samples(chunk, d, first, chunk) for first in range(0, n, chunk)))


def stream_of_numbers(n: int, d: int, chunk: int = _CHUNK) -> Chunks:
    """Rows of that data set in chunks, with two real targets that never repeat."""
    return Chunks(lambda: ((X, X[:, :2]) for X, _ in stream(n, d, chunk)))


# Processes


class Fitted(NamedTuple):
    """Fit of a metric in one of several processes, with the sums over them and the numbers summed."""

    metric: str
    seconds: float
    n_iter: int
    n_sums: int
    n_numbers: int


def across_ranks(n: int, d: int, one: list[Fitted], two: list[Fitted]) -> Iterator[Figure]:
    """Fits in one process of one thread against those in two, and messages against those of the model."""
    for alone, shared in zip(one, two, strict=True):
        yield {
            "path": f"{alone.metric}, {n:,} x {d}, 2 ranks against 1",
            "measured": shared.seconds,
            "against": alone.seconds,
            "ratio": alone.seconds / shared.seconds,
            "unit": "seconds, and times as fast",
        }
        if alone.metric == "RAMLLinear":
            expected = messages(n, d, shared.n_iter)
            yield {
                "path": "messages of the same, measured and by the model",
                "measured": shared.n_numbers,
                "against": expected,
                "ratio": shared.n_numbers / expected,
                "unit": f"numbers in {shared.n_sums} sums",
            }


def messages(n: int, d: int, n_passes: int) -> int:
    """Numbers that a rank hands to all-reduce in a fit of RAMLLinear to label sets, by the cost model."""
    k = _N_LABELS + 2
    return k + (2 * d * d + 1) + k * d + n_passes * d * d


def in_ranks(size: int, n: int, d: int, repeats: int) -> list[Fitted]:
    """Fits of each metric in a group of processes of one thread, as the first of them saw them."""
    with closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with ProcessPoolExecutor(size, mp_context=get_context("spawn")) as processes:
        ranks = [processes.submit(_as_rank, rank, size, port, n, d, repeats) for rank in range(size)]
        first, *_ = [rank.result() for rank in ranks]
    return first


def _as_rank(rank: int, size: int, port: int, n: int, d: int, repeats: int) -> list[Fitted]:
    group = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    torch.set_num_threads(1)
    return fit_shard(n, d, repeats)


def fit_shard(n: int, d: int, repeats: int) -> list[Fitted]:
    """Fits of each metric to this process's rows."""
    with shards() as ranks:
        rows = ranks.rows(n)
        X, Y = samples(rows.stop - rows.start, d, rows.start)
        fits = []
        for name, metric in metrics().items():
            seconds = []
            for _ in range(repeats + 1):
                ranks.total([torch.zeros(1)])  # all begin together
                start = time.perf_counter()
                with _Counted() as counted:
                    metric.fit(X, Y)
                seconds.append(time.perf_counter() - start)
            fits.append(Fitted(name, median(seconds[1:]), metric.n_iter_, counted.n_sums, counted.n_numbers))
    return fits


class _Counted:
    """Count of what goes through all-reduce while it is entered."""

    def __enter__(self) -> Self:
        self.n_sums = self.n_numbers = 0
        self._all_reduce = distributed.all_reduce
        distributed.all_reduce = self._count
        return self

    def _count(self, tensor: torch.Tensor, *args, **kwargs):
        self.n_sums, self.n_numbers = self.n_sums + 1, self.n_numbers + tensor.numel()
        return self._all_reduce(tensor, *args, **kwargs)

    def __exit__(self, *error: object) -> None:
        distributed.all_reduce = self._all_reduce


# Chunks and passes


def against_memory(n: int, d: int, repeats: int) -> Iterator[Figure]:
    """Fits to samples in chunks against fits to the same in memory."""
    X, Y = samples(n, d)
    chunks = Chunks.of(X, Y, chunk_size=_CHUNK)
    for name, metric in metrics().items():
        in_chunks, in_memory = medians(
            lambda metric=metric: metric.fit(chunks), lambda metric=metric: metric.fit(X, Y), 1, rounds=repeats
        )
        yield {
            "path": f"{name}, {n:,} x {d}, chunks against memory",
            "measured": in_chunks,
            "against": in_memory,
            "ratio": in_chunks / in_memory,
            "unit": "seconds, and times as long",
        }


def a_pass(n: int, d: int, repeats: int) -> Figure:
    """Pass over the samples against a product of half as many operations, X' X."""
    X, Y = samples(n, d)
    rows = torch.from_numpy(X)
    n_passes = RAMLLinear().fit(X, Y).n_iter_ + 2
    fit, product = medians(lambda: RAMLLinear().fit(X, Y), lambda: rows.T @ rows, 1, rounds=repeats)
    return {
        "path": f"a pass of RAMLLinear, {n:,} x {d}, 4 n d^2",
        "measured": fit / n_passes,
        "against": product,
        "ratio": fit / n_passes / product,
        "unit": "seconds, and X' X of 2 n d^2",
    }


# Streams


def peaks(n: int, d: int, factors: tuple[int, ...] = (1, 3, 10)) -> Iterator[Figure]:
    """Peak memory of fits to growing streams, each in a process of its own."""
    for name in streams(n, d):
        first = None
        for factor in factors:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                peak = process.submit(peak_of_stream, factor * n, d, name).result()
            first = first or peak
            yield {
                "path": f"{name}, stream of {factor * n:,} x {d}: {8e-6 * factor * n * d:,.0f} MB",
                "measured": peak,
                "against": first,
                "ratio": peak / first,
                "unit": "peak MiB, and of the first",
            }


def streams(n: int, d: int) -> dict[str, tuple[Metric, Chunks]]:
    """Metrics to fit to streams, and the stream of each."""
    of_sets = {name: (metric, stream(n, d)) for name, metric in metrics().items()}
    return {**of_sets, "RAMLLinear, l1": (RAMLLinear(), stream_of_numbers(n, d))}


def peak_of_stream(n: int, d: int, name: str) -> float:
    """Memory in MiB that a fit to a stream takes at its peak beyond what the process had before, files left out."""
    (metric, chunks), before, peak, done = streams(n, d)[name], mebibytes("RssAnon"), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], mebibytes("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    metric.fit(chunks)
    done.set()
    thread.join()
    return peak[0] - before

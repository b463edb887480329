"""Fits beyond one process and beyond memory, measured beside the cost model of SCALE.md.

``python -m benchmarks.scale`` compares one process of one thread with two, samples in chunks with the same in memory,
the peak memory of growing streams, and a pass over the samples with the operations and messages that the model counts.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import distributed

from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import shards

_N_LABELS = 6
_CHUNK = 10_000  # samples of a chunk of a stream


def metrics() -> dict[str, Any]:
    """What is fitted: as many passes in every run."""
    trained = {"encoder": "mlp", "head": "linear", "early_stopping": False, "max_epochs": 3, "random_state": 0}
    return {"RAMLLinear": RAMLLinear(), "HRAML, 3 epochs": HRAMLTransformer(32, **trained, chunk_size=_CHUNK)}


def samples(n: int, d: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a made-up data set, the same wherever they are made."""
    blocks = []
    for block in range(first // _CHUNK, -(-(first + n) // _CHUNK)):
        X = np.random.default_rng(block).standard_normal((_CHUNK, d))
        blocks.append(X[max(0, first - block * _CHUNK) : first + n - block * _CHUNK])
    X = np.concatenate(blocks)
    return X, (X[:, :_N_LABELS] + X[:, _N_LABELS : 2 * _N_LABELS] > 0).astype(np.int8)


def stream(n: int, d: int) -> Chunks:
    """The same rows in chunks that are made when they are read."""
    return Chunks(lambda: (samples(_CHUNK, d, first) for first in range(0, n, _CHUNK)))


def stream_of_numbers(n: int, d: int) -> Chunks:
    """The same rows with two real targets, which never repeat."""
    return Chunks(lambda: ((X, X[:, :2]) for X, _ in stream(n, d)))


def messages(n: int, d: int, n_passes: int) -> int:
    """Numbers that a rank hands to all-reduce in a fit of RAMLLinear to label sets, by the cost model."""
    k = _N_LABELS + 2
    return k + (2 * d * d + 1) + k * d + n_passes * d * d


class _Counted:
    """Counts what goes through all-reduce while it is entered."""

    def __enter__(self) -> "_Counted":
        self.calls = self.numbers = 0
        self._all_reduce = distributed.all_reduce
        distributed.all_reduce = self._count
        return self

    def _count(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.calls, self.numbers = self.calls + 1, self.numbers + tensor.numel()
        return self._all_reduce(tensor, *args, **kwargs)

    def __exit__(self, *error: object) -> None:
        distributed.all_reduce = self._all_reduce


def fit_in_rank(n: int, d: int, repeats: int) -> None:
    """Fit to this rank's rows, and print what the first rank saw."""
    torch.set_num_threads(1)
    with shards() as ranks:
        rows = ranks.rows(n)
        X, Y = samples(rows.stop - rows.start, d, rows.start)
        for name, metric in metrics().items():
            seconds = []
            for _ in range(repeats + 1):
                ranks.total([torch.zeros(1)])  # all begin together
                start = time.perf_counter()
                with _Counted() as counted:
                    metric.fit(X, Y)
                seconds.append(time.perf_counter() - start)
            if ranks.rank == 0:
                found = {"metric": name, "seconds": median(seconds[1:]), "n_iter": metric.n_iter_}
                print(json.dumps({**found, "calls": counted.calls, "numbers": counted.numbers}), flush=True)


def in_ranks(size: int, *arguments: int) -> list[dict[str, Any]]:
    """What the first of some processes of one thread printed."""
    with closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.scale", "--rank", *map(str, arguments)]
    of_all = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(command, env={**os.environ, **of_all, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError("A process of the measurement failed; its error is above.")
    return [json.loads(line) for line in printed[0].splitlines()]


def across_ranks(n: int, d: int, repeats: int) -> Iterator[dict[str, Any]]:
    """One process of one thread against two, and messages against those of the model."""
    for one, two in zip(*(in_ranks(size, n, d, repeats) for size in (1, 2)), strict=True):
        row = {"what": f"{one['metric']}, {n:,} x {d}, 2 ranks against 1", "seconds": two["seconds"]}
        yield {**row, "against": one["seconds"], "ratio": one["seconds"] / two["seconds"], "unit": "times as fast"}
        if one["metric"] == "RAMLLinear":
            expected = messages(n, d, two["n_iter"])
            row = {"what": "numbers in messages, measured and by the model", "seconds": two["numbers"]}
            yield {**row, "against": expected, "ratio": two["numbers"] / expected, "unit": f"in {two['calls']} sums"}


def against_memory(n: int, d: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Samples in chunks against the same in memory, in one run."""
    X, Y = samples(n, d)
    chunks = Chunks.of(X, Y, chunk_size=_CHUNK)
    for name, metric in metrics().items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            for data, times in zip(((chunks,), (X, Y)), seconds, strict=True):
                start = time.perf_counter()
                metric.fit(*data)
                times.append(time.perf_counter() - start)
        in_chunks, in_memory = map(median, seconds)
        row = {"what": f"{name}, {n:,} x {d}, chunks against memory", "seconds": in_chunks, "against": in_memory}
        yield {**row, "ratio": in_chunks / in_memory, "unit": "times as long"}


def passes(sizes: tuple[tuple[int, int], ...], repeats: int) -> Iterator[dict[str, Any]]:
    """Time of a pass over the samples against that of as many operations in one product, X' X."""
    for n, d in sizes:
        X, Y = samples(n, d)
        rows = torch.from_numpy(X)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            start = time.perf_counter()
            metric = RAMLLinear().fit(X, Y)
            times[0].append((time.perf_counter() - start) / (metric.n_iter_ + 2))
            start = time.perf_counter()
            rows.T @ rows
            times[1].append(time.perf_counter() - start)
        a_pass, product = map(median, times)
        row = {"what": f"a pass of RAMLLinear, {n:,} x {d}, 4 n d^2", "seconds": a_pass, "against": product}
        yield {**row, "ratio": a_pass / product, "unit": "X' X of 2 n d^2"}


def held() -> float:
    """Memory of this process that is no file's, in MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def streams(n: int, d: int) -> dict[str, tuple[Any, Chunks]]:
    """What is fitted to streams, and to which."""
    of_sets = {name: (metric, stream(n, d)) for name, metric in metrics().items()}
    return {**of_sets, "RAMLLinear, l1": (RAMLLinear(), stream_of_numbers(n, d))}


def peak_of_stream(n: int, d: int, name: str) -> float:
    """How much more memory a fit to a stream takes at its peak than the process had before, in MiB."""
    (metric, chunks), before, peak, done = streams(n, d)[name], held(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], held())

    thread = threading.Thread(target=watch)
    thread.start()
    metric.fit(chunks)
    done.set()
    thread.join()
    return peak[0] - before


def memory(n: int, d: int, factors: tuple[int, ...] = (1, 3, 10)) -> Iterator[dict[str, Any]]:
    """Peak memory of growing streams, each in a process of its own."""
    for name in streams(n, d):
        first = None
        for factor in factors:
            command = [sys.executable, "-m", "benchmarks.scale", "--stream", str(factor * n), str(d), name]
            peak = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            first = first or peak
            row = {"what": f"{name}, stream of {factor * n:,} x {d}: {8e-6 * factor * n * d:,.0f} MB", "seconds": peak}
            yield {**row, "against": first, "ratio": peak / first, "unit": "peak MiB, and of the first"}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("-n", type=int, default=400_000, help="samples")
    parser.add_argument("-d", type=int, default=72, help="features")
    parser.add_argument("--repeats", type=int, default=5, help="fits of which the median is taken")
    parser.add_argument("--out", type=Path, help="file to append the rows to, as lines of JSON")
    parser.add_argument("--rank", nargs=3, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stream", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rank:
        fit_in_rank(*options.rank)
        return
    if options.stream:
        n, d, name = options.stream
        print(peak_of_stream(int(n), int(d), name))
        return
    n, d, repeats = options.n, options.d, options.repeats
    rows = [*across_ranks(n, d, repeats), *against_memory(n, d, repeats)]
    rows += passes(tuple((n * d // width, width) for width in (d // 2, d, 2 * d)), repeats)
    if sys.platform == "linux":
        rows += memory(n // 4, d)
    show(rows, options.out)


def show(rows: list[dict[str, Any]], out: Path | None) -> None:
    """Print the rows, and append them to a file if there is one."""
    table = Table("", "measured", "against", "ratio", "")
    for row in rows:
        table.add_row(row["what"], *(f"{row[name]:,.4g}" for name in ("seconds", "against", "ratio")), row["unit"])
    Console(width=140).print(table)
    if out:
        with out.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()

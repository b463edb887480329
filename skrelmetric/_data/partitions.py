"""Partitions of samples, wherever they are: in memory, in a stream, on Dask, in several processes."""

import io
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from skrelmetric.distributed import Ranks

__all__ = ["InMemory", "InShards", "OnDask", "Partitions", "Streamed"]


class Partitions(ABC):
    """Partitions of samples: a function goes to each, and what it makes of them is merged.

    Attributes
    ----------
    in_memory : bool
        Whether the partitions are kept in memory here.
    local : sequence
        Partitions that are kept in memory here; there are none of streams and on Dask.
    ranks : Ranks
        Processes that have the partitions.
    """

    in_memory = False
    local: Sequence[Any] = ()
    ranks = Ranks()

    @abstractmethod
    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        """Results of a function for each partition, merged from the first to the last."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any]) -> "Partitions":
        """Partitions that a function makes of these."""

    @abstractmethod
    def placed(self, count: Callable[[Any], int], function: Callable[[Any, int], Any], first: int = 0) -> "Partitions":
        """Partitions that a function makes of these and their places: the first, and the samples counted before."""

    @abstractmethod
    def persist(self) -> "Partitions":
        """Partitions that are made once and kept: in memory, in temporary files, or by Dask. They hold tensors."""

    def total(self, function: Callable[[Any], Sequence[Tensor]]) -> list[Tensor]:
        """Sums over partitions of the tensors that a function makes of each."""
        return self.fold(function, _added)

    @property
    def only(self) -> Any:
        """The partition that holds all samples, in memory; None where there are others."""
        return self.local[0] if len(self.local) == self.ranks.size == 1 else None


class InMemory(Partitions):
    """Partitions in memory."""

    in_memory = True

    def __init__(self, local: Sequence[Any]):
        self.local = local

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, map(function, self.local))

    def map(self, function: Callable[[Any], Any]) -> "InMemory":
        return InMemory([function(partition) for partition in self.local])

    def placed(self, count: Callable[[Any], int], function: Callable[[Any, int], Any], first: int = 0) -> "InMemory":
        places = accumulate(map(count, self.local[:-1]), initial=first)
        return InMemory(list(map(function, self.local, places)))

    def persist(self) -> "InMemory":
        return self


class Streamed(Partitions):
    """Partitions that are read anew each time that they are gone through, one at a time.

    Parameters
    ----------
    read : callable
        Returns an iterator over the partitions, the same each time.
    """

    def __init__(self, read: Callable[[], Iterable[Any]]):
        self.read = read

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, map(function, self.read()))

    def map(self, function: Callable[[Any], Any]) -> "Streamed":
        return Streamed(lambda: map(function, self.read()))

    def placed(self, count: Callable[[Any], int], function: Callable[[Any, int], Any], first: int = 0) -> "Streamed":
        def placed() -> Iterator[Any]:
            place = first
            for partition in self.read():
                yield function(partition, place)
                place += count(partition)

        return Streamed(placed)

    def persist(self) -> "Streamed":
        # A file without a name goes with its process, even with one that is killed.
        file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the partitions
        ends = [0]

        def read() -> Iterator[Any]:
            for start, end in pairwise(ends):
                file.seek(start)
                yield torch.load(io.BytesIO(file.read(end - start)), weights_only=False)

        kept = Streamed(read)
        weakref.finalize(kept, file.close)
        for partition in self.read():
            content = io.BytesIO()
            torch.save(partition, content)
            try:
                file.write(content.getbuffer())
                file.flush()
            except OSError as error:
                raise OSError(
                    f"Features of a stream cannot be kept in {tempfile.gettempdir()} ({error}). Make room there, or "
                    "name another folder with the environment variable TMPDIR."
                ) from error
            ends.append(file.tell())
        return kept


class OnDask(Partitions):
    """Partitions of Dask, made anew each time unless they are persisted; only what is merged comes here."""

    def __init__(self, delayed: Sequence[Any]):
        self.delayed = delayed

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        import dask

        merged = [dask.delayed(function, pure=False)(partition) for partition in self.delayed]
        merge = dask.delayed(merge, pure=True)
        while len(merged) > 1:  # a tree, of neighbours, so that the order is kept
            pairs = [merge(*merged[i : i + 2]) for i in range(0, len(merged) - 1, 2)]
            merged = pairs + merged[2 * len(pairs) :]
        return merged[0].compute()

    def map(self, function: Callable[[Any], Any]) -> "OnDask":
        import dask

        function = dask.delayed(function, pure=False)
        return OnDask([function(partition) for partition in self.delayed])

    def placed(self, count: Callable[[Any], int], function: Callable[[Any, int], Any], first: int = 0) -> "OnDask":
        import dask

        counts = self.fold(lambda partition: [count(partition)], list.__add__)
        function = dask.delayed(function, pure=False)
        return OnDask(list(map(function, self.delayed, accumulate(counts[:-1], initial=first))))

    def persist(self) -> "OnDask":
        import dask

        return OnDask(dask.persist(*self.delayed))


class InShards(Partitions):
    """Partitions of all processes, each of which has a shard."""

    def __init__(self, own: Partitions, ranks: Ranks):
        self.own, self.ranks, self.in_memory, self.local = own, ranks, own.in_memory, own.local

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, self.ranks.gathered(self.own.fold(function, merge)))

    def map(self, function: Callable[[Any], Any]) -> "InShards":
        return InShards(self.own.map(function), self.ranks)

    def placed(self, count: Callable[[Any], int], function: Callable[[Any, int], Any], first: int = 0) -> "InShards":
        before = self.ranks.gathered(self.own.fold(count, int.__add__))[: self.ranks.rank]
        return InShards(self.own.placed(count, function, first + sum(before)), self.ranks)

    def persist(self) -> "InShards":
        return InShards(self.own.persist(), self.ranks)

    def total(self, function: Callable[[Any], Sequence[Tensor]]) -> list[Tensor]:
        return self.ranks.total(self.own.total(function))


def _added(some: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(some, others, strict=True)]

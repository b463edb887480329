"""Parts of samples, wherever they are: in memory, in chunks, on Dask, in several processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skrelmetric.distributed import Ranks

__all__ = ["Collection", "InMemory", "Lazy", "OnDask", "Shared", "shared"]


class Collection(ABC):
    """Parts of samples, wherever they are: a function goes to them, and what it makes of them is merged."""

    in_memory = False
    """Whether the parts are kept in memory here."""

    @abstractmethod
    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        """What `function` makes of each part, merged from the first to the last."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any]) -> "Collection":
        """The parts that `function` makes of these."""

    @abstractmethod
    def placed(self, count: Callable[[Any], int], first: int = 0) -> "Collection":
        """Pairs of a place and a part: how many samples, from the first on, the parts before it have."""

    @abstractmethod
    def kept(self, folder: Path) -> "Collection":
        """The parts, made once and kept: in memory, in files of a folder, or by Dask. They are made of tensors."""

    def total(self, function: Callable[[Any], Sequence[Tensor]]) -> list[Tensor]:
        """Sums over parts of the tensors that `function` makes of each."""
        return self.fold(function, _added)

    def _places(self, count: Callable[[Any], int], first: int) -> list[int]:
        counts = self.fold(lambda part: [count(part)], list.__add__)
        return list(accumulate(counts[:-1], initial=first))


class InMemory(Collection):
    """Parts that are kept."""

    in_memory = True

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, map(function, self.parts))

    def map(self, function: Callable[[Any], Any]) -> "InMemory":
        return InMemory([function(part) for part in self.parts])

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "InMemory":
        return InMemory(list(zip(self._places(count, first), self.parts, strict=True)))

    def kept(self, folder: Path) -> "InMemory":
        return self


class Lazy(Collection):
    """Parts that are made anew each time that they are gone through, one at a time."""

    def __init__(self, parts: Iterable[Any], function: Callable[[Any], Any] = lambda part: part):
        self.parts, self.function = parts, function

    def __iter__(self) -> Iterator[Any]:
        return map(self.function, self.parts)

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, map(function, self))

    def map(self, function: Callable[[Any], Any]) -> "Lazy":
        return Lazy(self, function)

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "Lazy":
        return Lazy(_Zipped(self._places(count, first), self))

    def kept(self, folder: Path) -> "Lazy":
        paths = []
        for number, part in enumerate(self):
            paths.append(folder / f"{number}.pt")
            torch.save(part, paths[-1])
        return Lazy(paths, partial(torch.load, weights_only=False))


class _Zipped:
    """Pairs of the items of two iterables, which can be gone through again as they can."""

    def __init__(self, first: Iterable[Any], second: Iterable[Any]):
        self.first, self.second = first, second

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.first, self.second, strict=True)


class OnDask(Collection):
    """Parts that are Dask's, made anew each time unless they are persisted; only what is merged comes here."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        import dask

        merged = [dask.delayed(function, pure=False)(part) for part in self.parts]
        merge = dask.delayed(merge, pure=True)
        while len(merged) > 1:  # a tree, of neighbours, so that the order is kept
            pairs = [merge(*merged[i : i + 2]) for i in range(0, len(merged) - 1, 2)]
            merged = pairs + merged[2 * len(pairs) :]
        return merged[0].compute()

    def map(self, function: Callable[[Any], Any]) -> "OnDask":
        import dask

        function = dask.delayed(function, pure=False)
        return OnDask([function(part) for part in self.parts])

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "OnDask":
        import dask

        pair = dask.delayed(lambda place, part: (place, part), pure=False)
        return OnDask([pair(*each) for each in zip(self._places(count, first), self.parts, strict=True)])

    def kept(self, folder: Path) -> "OnDask":
        import dask

        return OnDask(dask.persist(*self.parts))


class Shared(Collection):
    """The parts of all processes."""

    def __init__(self, own: Collection, ranks: Ranks):
        self.own, self.ranks, self.in_memory = own, ranks, own.in_memory

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, self.ranks.gathered(self.own.fold(function, merge)))

    def map(self, function: Callable[[Any], Any]) -> "Shared":
        return Shared(self.own.map(function), self.ranks)

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "Shared":
        before = self.ranks.gathered(self.own.fold(count, int.__add__))[: self.ranks.rank]
        return Shared(self.own.placed(count, first + sum(before)), self.ranks)

    def kept(self, folder: Path) -> "Shared":
        return Shared(self.own.kept(folder), self.ranks)

    def total(self, function: Callable[[Any], Sequence[Tensor]]) -> list[Tensor]:
        return self.ranks.total(self.own.total(function))


def shared(own: Collection, ranks: Ranks) -> Collection:
    """The parts of all processes, of which this one has its own."""
    return Shared(own, ranks) if ranks.size > 1 else own


def _added(some: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(some, others, strict=True)]

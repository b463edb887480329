"""Samples of a data set, each loaded when it is needed, by worker processes if there are any."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Self, TypeAlias
from weakref import WeakSet

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from skrelmetric._data.items import ONE_SHAPE, SMALL, Collation, Items
from skrelmetric._data.samples import rows_at_once
from skrelmetric._interop.given import check_array, is_data_set
from skrelmetric._interop.randomness import seed_of
from skrelmetric._interop.torch import as_tensor

__all__ = ["Loaded", "Options", "loaded"]

Options: TypeAlias = Callable[[Any], dict[str, Any]]
"""Options of :func:`sklearn.utils.check_array` for samples of a kind: dtype, sparse formats, dimensions."""


@contextmanager
def loaded(X: Any, options: Options, name: str = "X") -> Iterator[Any]:
    """Context of samples: those of a data set or a loader as `Loaded`, whose workers end with it; others as they are.

    Parameters are those of `Loaded`.

    Raises
    ------
    ValueError
        If a data set has no places or no items, or its first item is no sample.
    """
    if not is_data_set(X):
        yield X
        return
    samples = Loaded(X, options, name)
    try:
        yield samples
    finally:
        samples.close()


class Loaded:
    """Samples of a data set by their places, and its targets; nothing is kept but what is being loaded.

    What an item draws of torch depends on its place and a seed alone, in whatever process it is loaded.

    Parameters
    ----------
    X : Dataset, DataLoader or indexable
        Data set of items ``(x, y)`` or ``x``, or a loader of one, whose workers and ``collate_fn`` are used.
    options : callable
        ``options(X)`` are the options of ``check_array`` for samples like X.
    name : str, default="X"
        What errors call it.

    Attributes
    ----------
    shape : tuple of int
        Number of samples, and the shape of a sample.
    dtype : torch.dtype
        Dtype that an array of these samples would be read in.
    identity : tuple
        What tells it from other data sets without loading any: class, shape and dtype.

    Raises
    ------
    ValueError
        If it has no places or no items, or its first item is no sample.
    """

    def __init__(self, X: Any, options: Options, name: str = "X"):
        loader = X if isinstance(X, DataLoader) else None
        dataset: Any = X if loader is None else loader.dataset
        _check_places(dataset, name)
        if loader is not None:
            _check_order(loader, name)
        own = None if loader is None or loader.collate_fn is default_collate else loader.collate_fn
        self._items, self._collation, self.name = Items(dataset, name), Collation(own, name), name
        self._lent = {} if loader is None else _lent(loader)
        self._start, self._idle = 0, list[DataLoader]()
        self._passes: WeakSet[Generator] = WeakSet()
        try:
            ((first, _),) = self._batches([[0]], 0)
            alike = _array_like(first, options, name)
        except BaseException:
            self.close()
            raise
        self.shape, self.dtype = (len(dataset), *alike.shape[1:]), alike.dtype
        self.identity = f"{type(dataset).__module__}.{type(dataset).__qualname__}", self.shape, str(self.dtype)

    def after(self, start: int) -> Self:
        """The same samples, with as many before them in other processes; so no two draw the same."""
        placed = copy(self)
        placed._start = start
        return placed

    def batches(self, places: Iterable[slice | Tensor], seed: int = 0) -> Iterator[Tensor]:
        """Samples at some places, and others, one batch after the other, on the host; workers load them ahead.

        They are floats of any precision where the samples are floats, and int64 where they are not.

        Raises
        ------
        ValueError
            If items are no samples of finite numbers that can be squared, or of different shapes or kinds.
        """
        for x, _ in self._batches(map(self._listed, places), seed):
            if not len(x):
                yield torch.empty((0, *self.shape[1:]), dtype=self.dtype)
                continue
            shape = tuple(x.shape[1:])
            if shape != self.shape[1:]:
                raise ValueError(
                    f"{self.name} has samples of shapes {self.shape[1:]} and {shape}. {ONE_SHAPE['samples']}"
                )
            if x.is_floating_point() and not self.dtype.is_floating_point:
                raise ValueError(
                    f"{self.name} has samples of whole numbers first and of {x.dtype} later. Return one kind."
                )
            if x.is_floating_point():
                yield x
            else:  # single precision holds bytes
                yield x.to(torch.float32 if x.dtype in SMALL and self.dtype.is_floating_point else self.dtype)

    def targets(self) -> np.ndarray:
        """Targets of all items, which are gone through once, and of which nothing else is kept.

        Raises
        ------
        ValueError
            If an item has none, or they are of different shapes; or as `batches` does.
        """
        parts = []
        everything = gen_batches(self.shape[0], rows_at_once(self.shape[1:], self.dtype))
        for _, y in self._batches(map(self._listed, everything), 0):
            if isinstance(y, ValueError):
                raise ValueError(str(y))
            parts.append(y)
        if len({part.shape[1:] for part in parts}) > 1:
            raise ValueError(f"{self.name} has targets of different shapes. {ONE_SHAPE['targets']}")
        return np.concatenate(parts)

    def close(self) -> None:
        """End the workers, those of passes that an error broke off as well."""
        for some in tuple(self._passes):
            some.close()
        self._idle.clear()

    def _listed(self, places: slice | Tensor) -> list[int]:
        return list(range(*places.indices(self.shape[0]))) if isinstance(places, slice) else places.tolist()

    def _batches(self, places: Iterable[list[int]], seed: int) -> Iterator[tuple[Tensor, Any]]:
        """Batches of samples and targets at some places."""
        batches = self._pass(places, seed)
        self._passes.add(batches)
        return batches

    def _pass(self, places: Iterable[list[int]], seed: int) -> Generator[tuple[Tensor, Any], None, None]:
        loader = self._idle.pop() if self._idle else self._new_loader()
        order: Any = loader.batch_sampler
        order.batches = ([(place, seed_of(seed, self._start + place)) for place in some] for some in places)
        try:
            for batch in loader:
                if isinstance(batch, ValueError):
                    raise ValueError(str(batch))
                yield batch
            self._idle.append(loader)  # whose workers wait for what is next
        except Exception as error:
            if not loader.num_workers:
                raise
            # The traceback would keep the workers; that of the item is in the message.
            raise error.with_traceback(None) from None
        finally:
            del loader

    def _new_loader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)  # which would otherwise be torch's own
        return DataLoader(
            self._items, batch_sampler=_Order(), collate_fn=self._collation, generator=generator, **self._lent
        )


class _Order:
    """Order in which a loader goes through places and seeds, another one each time."""

    batches: Iterable[list[tuple[int, int]]] = ()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)


def _array_like(first: Tensor, options: Options, name: str) -> Tensor:
    """No rows of what an array of samples like the first would be read as."""
    if first.ndim == 1:
        raise ValueError(
            f"Samples of {name} are single numbers. Return an array of features, or an image, with each item."
        )
    none = (first[:0].to(torch.float64) if first.dtype == torch.bfloat16 else first[:0]).cpu().numpy()
    return as_tensor(check_array(none, ensure_min_samples=0, input_name=name, **options(none)))


def _check_places(dataset: Any, name: str) -> None:
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__"):
        raise ValueError(
            f"Items of {name} ({kind}) have no places, but batches are drawn among all of them. Pass a map-style "
            "Dataset, with __len__ and __getitem__. RAMLLinear and HRAMLTransformer learn from batches that come one "
            "by one, too: fit(skrelmetric.chunks.Chunks(loader))."
        )
    try:
        n_samples = len(dataset)
    except (TypeError, NotImplementedError):
        raise ValueError(f"{name} ({kind}) has no length, but batches are drawn among all items. Add one.") from None
    if not n_samples:
        raise ValueError(f"{name} ({kind}) has 0 samples, but one at least is needed.")


def _check_order(loader: DataLoader, name: str) -> None:
    """Refuse loaders that would leave items out, or take some more often than others."""
    batches = loader.batch_sampler
    dataset: Any = loader.dataset
    sampler: Any = batches.sampler if type(batches) is BatchSampler else batches
    everything = type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement)
    if not everything or len(sampler) != len(dataset):
        order = "batch_size=None" if sampler is None else type(sampler).__name__
        raise ValueError(
            f"{name} is a DataLoader with an order of its own ({order}), but batches are drawn by the estimator, among "
            "all items. Pass one with a batch_size and without a sampler or batch_sampler; "
            "torch.utils.data.Subset(dataset, indices) says which items there are."
        )


def _lent(loader: DataLoader) -> dict[str, Any]:
    """Options of a user's loader that are ours, too."""
    options = {"num_workers": loader.num_workers, "pin_memory": loader.pin_memory and torch.cuda.is_available()}
    if not loader.num_workers:
        return options
    names = ("timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor")
    return {**options, "persistent_workers": True, **{name: getattr(loader, name) for name in names}}

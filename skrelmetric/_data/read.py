"""How samples come in parts: in chunks, memory maps, Dask arrays, or in the shards of several processes."""

from collections.abc import Callable, Iterable, Iterator
from numbers import Number
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import validate_data

from skrelmetric._data.checks import check_supervision, counting
from skrelmetric._data.partitions import Collection, InMemory, Lazy, OnDask, shared
from skrelmetric._data.samples import Rows
from skrelmetric._data.summary import Counted
from skrelmetric._data.targets import check_targets
from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.dask import is_dask
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import Ranks

__all__ = ["checked_part", "collected", "comes_in_parts"]


def comes_in_parts(X: Any, ranks: Ranks) -> bool:
    """Whether samples are to be read in parts; a memory map is if it is larger than a chunk."""
    return ranks.size > 1 or isinstance(X, Chunks) or is_dask(X) or _is_large_map(X)


def _is_large_map(X: Any) -> bool:
    return isinstance(X, np.memmap) and Chunks.many(X)


def collected(
    estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, ranks: Ranks, rows_of: Callable[[Any], Rows]
) -> Collection:
    """Parts of the samples that count, each checked when it is read.

    Parameters
    ----------
    estimator : estimator
        It gets the number and the names of the features.
    X : array-like, Chunks or dask.array.Array
        Samples of this process; of Chunks it has the targets and weights as well.
    y, sample_weight : array-like, dask.array.Array or None
        Their targets and weights.
    ranks : Ranks
        Processes that have more of them.
    rows_of : callable
        Checks the samples of a part, of which there may be none, and gives them as a tensor or csr_array.

    Returns
    -------
    Collection
        Of Counted parts.

    Raises
    ------
    ValueError
        If targets and samples do not belong together.
    """
    if isinstance(X, Chunks):
        if y is not None or sample_weight is not None:
            raise ValueError("Chunks hold the targets and weights of their samples. Pass nothing but the Chunks.")
        own = _read_chunks(estimator, X, rows_of)
    elif is_dask(X):
        check_supervision(estimator, np.empty((1, 1)), None if y is None else np.zeros(1))
        rows_of(np.empty((0, *X.shape[1:]), X.dtype))
        validate_data(estimator, X, skip_check_array=True)
        own = OnDask(_blocks(X, y, sample_weight)).map(lambda block: checked_part(rows_of, *block))
    elif _is_large_map(X) and y is not None:
        own = _read_chunks(estimator, Chunks.of(X, y, sample_weight), rows_of)
    else:
        if y is None:
            check_supervision(estimator, X, y)
        own = InMemory([checked_part(rows_of, X, y, sample_weight)])
        validate_data(estimator, X, skip_check_array=True)
    _check_alike(estimator, ranks)
    return shared(own, ranks)


def _read_chunks(estimator: BaseEstimator, chunks: Chunks, rows_of: Callable[[Any], Rows]) -> Collection:
    first = next(iter(chunks), None)
    if first is None:
        raise ValueError("The Chunks hold no chunk. Pass at least one, which may have no rows.")
    checked_part(rows_of, *_chunk(first))
    validate_data(estimator, first[0], skip_check_array=True)

    def read(chunk: Any) -> Counted:
        part = checked_part(rows_of, *_chunk(chunk))
        if part.X.shape[1:] == (estimator.n_features_in_,):  # any other number is told by the survey of all parts
            validate_data(estimator, chunk[0], reset=False, skip_check_array=True)
        return part

    return Lazy(Steady(Lazy(chunks, read)))


def _chunk(chunk: Any) -> tuple | list:
    if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
        raise ValueError(f"A chunk is a {type(chunk).__name__}, but (X, y) or (X, y, sample_weight) is needed.")
    return chunk


class Steady:
    """Parts that must be the same each time that they are gone through, as far as sizes and first samples tell."""

    def __init__(self, parts: Iterable[Counted]):
        self.parts = parts
        self._marks: list[tuple[int, float]] | None = None

    def __iter__(self) -> Iterator[Counted]:
        marks: list[tuple[int, float]] = []
        for part in self.parts:
            n = len(part.weights)
            marks.append((n, float(part.X[:1].sum()) if n else 0.0))
            self._compare(marks, len(marks))
            yield part
        self._compare(marks, None)
        self._marks = marks

    def _compare(self, marks: list[tuple[int, float]], n_seen: int | None) -> None:
        if self._marks is not None and self._marks[:n_seen] != marks:
            raise ValueError(
                "The chunks differ from those of the last time. They are gone through several times, and must be the "
                "same each time: no shuffling, and a new iterator from a function."
            )


def _check_alike(estimator: BaseEstimator, ranks: Ranks) -> None:
    """Make sure that all processes fit the same estimator to the same features."""
    views = ranks.gathered(
        {
            "estimator": type(estimator).__name__,
            "features": list(getattr(estimator, "feature_names_in_", [])),
            **{
                name: value
                for name, value in estimator.get_params(deep=False).items()
                if isinstance(value, Number | str | tuple | None) and name not in ("device", "random_state", "verbose")
            },
        }
    )
    for rank, view in enumerate(views):
        differing = [name for name in views[0] if view.get(name) != views[0][name]]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{name} is {views[0][name]!r} in rank 0 and {view.get(name)!r} in rank {rank}. Pass the same in all."
            )


def checked_part(rows_of: Callable[[Any], Rows], X: Any, y: Any, sample_weight: Any = None) -> Counted:
    """Samples of a part that count."""
    if y is None:
        raise ValueError("y is None in a part of the samples. Pass targets with each chunk, and in each process.")
    rows, y = rows_of(X), check_targets(y, ensure_min_samples=0)
    check_consistent_length(rows, y)
    if sample_weight is not None:
        check_consistent_length(rows, sample_weight)
        if not np.any(as_host(sample_weight)):  # none of these count; others may
            rows, y, sample_weight = rows[:0], y[:0], None
    return Counted(*counting(rows, y, sample_weight, rows, torch.device("cpu")))


def _blocks(X: Any, y: Any, sample_weight: Any) -> list[tuple]:
    """Blocks of rows of Dask arrays, with what belongs to them."""
    import dask.array as da

    X = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    blocks = [X.to_delayed().reshape(-1).tolist()]
    for name, array in (("y", y), ("sample_weight", sample_weight)):
        if array is None:
            continue
        known = not np.isnan(X.chunks[0]).any()
        if not is_dask(array):
            if not known:
                raise ValueError(f"{name} is no Dask array, but the chunks of X are of unknown sizes. Pass one.")
            array = da.from_array(array.toarray() if sparse.issparse(array) else np.asarray(array), chunks=-1)
        if known and np.isnan(array.shape[0]):
            raise ValueError(f"{name} has chunks of unknown sizes, but X has not. Call {name}.compute_chunk_sizes().")
        if known and array.shape[0] != X.shape[0]:
            raise ValueError(f"X has {X.shape[0]} samples, but {name} {array.shape[0]}.")
        array = array.rechunk(
            {0: X.chunks[0], **dict.fromkeys(range(1, array.ndim), -1)}
            if known
            else dict.fromkeys(range(1, array.ndim), -1)
        )
        if array.numblocks[0] != X.numblocks[0]:
            raise ValueError(f"X has {X.numblocks[0]} chunks, but {name} {array.numblocks[0]}. Align them.")
        blocks.append(array.to_delayed().reshape(-1).tolist())
    return list(zip(*blocks, strict=True))

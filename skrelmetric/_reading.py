"""How samples come in parts: in chunks, memory maps, Dask arrays, or in the shards of several processes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import validate_data

from skrelmetric._dask import is_dask
from skrelmetric._inputs import check_supervision, counting
from skrelmetric._samples import Rows
from skrelmetric._targets import check_targets
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import Ranks
from skrelmetric.parts import Collection, Counted, InMemory, Lazy, OnDask, shared

__all__ = ["checked_part", "collected", "comes_in_parts"]


def comes_in_parts(X: Any, ranks: Ranks) -> bool:
    """Whether samples are to be read in parts; a memory map is if it is larger than a chunk."""
    return ranks.size > 1 or isinstance(X, Chunks) or is_dask(X) or (isinstance(X, np.memmap) and Chunks.many(X))


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
        chunks: Any = X
    elif is_dask(X):
        check_supervision(estimator, np.empty((1, 1)), None if y is None else np.zeros(1))
        validate_data(estimator, X, skip_check_array=True)
        return shared(OnDask(_blocks(X, y, sample_weight)).map(lambda block: checked_part(rows_of, *block)), ranks)
    elif isinstance(X, np.memmap) and Chunks.many(X) and y is not None:
        chunks = Chunks.of(X, y, sample_weight)
    else:
        if y is None:
            check_supervision(estimator, X, y)
        validate_data(estimator, X, skip_check_array=True)
        return shared(InMemory([checked_part(rows_of, X, y, sample_weight)]), ranks)
    first = next(iter(chunks), None)
    if first is None:
        raise ValueError("The Chunks hold no chunk. Pass at least one, which may have no rows.")
    validate_data(estimator, first[0], skip_check_array=True)
    return shared(Lazy(chunks, lambda chunk: checked_part(rows_of, *chunk)), ranks)


def checked_part(rows_of: Callable[[Any], Rows], X: Any, y: Any, sample_weight: Any = None) -> Counted:
    """Samples of a part that count."""
    rows, y = rows_of(X), check_targets(y, ensure_min_samples=0)
    check_consistent_length(rows, y)
    if sample_weight is not None and not np.any(np.asarray(sample_weight)):  # none of these count; others may
        check_consistent_length(rows, sample_weight)
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
            array = da.from_array(np.asarray(array), chunks=-1)
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

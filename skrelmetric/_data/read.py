"""Door for samples, targets and weights: in memory, in chunks, memory maps, data sets, Dask arrays or shards."""

from collections.abc import Iterable, Iterator
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length

from skrelmetric._data.loaded import Loaded, Options
from skrelmetric._data.partitions import InMemory, InShards, OnDask, Partitions, Streamed
from skrelmetric._data.samples import stored
from skrelmetric._data.subset import Subset
from skrelmetric._data.summary import Summary, summarised
from skrelmetric._data.targets import Targets, read_targets
from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.dask import is_dask
from skrelmetric._interop.given import check_array, check_array_like, validate_data
from skrelmetric._interop.sklearn import check_sample_weight
from skrelmetric._interop.torch import as_tensor
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import Ranks

__all__ = ["Data", "described", "is_partitioned", "read", "weighted"]


class Data(NamedTuple):
    """Samples of a fit as they were read: checked once, described once.

    Attributes
    ----------
    partitions : Partitions
        Of Subset: samples of positive weight and known target. The weights of all sum to 1.
    summary : Summary
        Summary statistics of all of them.
    device : torch.device
        Where to compute.
    given : array-like, Chunks, Loaded or dask.array.Array
        Samples as they were validated, or came: learned arrays are of their kind.
    """

    partitions: Partitions
    summary: Summary
    device: torch.device
    given: Any

    @property
    def targets(self) -> Targets:
        """Targets of all samples."""
        return self.partitions.fold(lambda subset: subset.targets, Targets.stacked)

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the targets."""
        assert self.summary.targets is not None
        return self.summary.targets.n_outputs


def is_partitioned(X: Any, ranks: Ranks, *, streams: bool = True) -> bool:
    """Whether samples come in partitions; a memory map does if it is larger than a chunk and may be streamed."""
    if isinstance(X, np.ndarray):
        return ranks.size > 1 or (streams and _is_large_map(X))
    return ranks.size > 1 or isinstance(X, Chunks) or is_dask(X)


def _is_large_map(X: Any) -> bool:
    return isinstance(X, np.memmap) and Chunks.many(X)


def read(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    options: Options,
    device: torch.device,
    ranks: Ranks = Ranks(),  # noqa: B008  # immutable
    reset: bool = True,
    streams: bool = True,
    with_mean: bool = False,
) -> Data:
    """Samples, targets and weights of a fit, checked once and described once.

    Parameters
    ----------
    estimator : estimator
        Estimator in its fit, which gets the number and the names of the features.
    X, y, sample_weight : array-like, Chunks, Loaded, dask.array.Array or None
        Samples of this process, their targets and weights; Chunks hold all three, and a data set may hold targets.
    options : callable
        ``options(X)`` are the options of ``check_array`` for samples like X.
    device, ranks
        Where to compute, and the processes that have more samples.
    reset : bool, default=True
        Whether the features are those of a new fit, rather than to be those of the last one.
    streams : bool, default=True
        Whether large memory maps may be read chunk by chunk.
    with_mean : bool, default=False
        Whether the mean of the features is wanted, which takes a pass over the samples. Dense ones in memory then go
        to the device.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        If targets and samples do not belong together, or fewer than two samples have a weight and a known target.
    """
    own: Partitions
    if isinstance(X, Loaded):
        own = InMemory([_read_loaded(estimator, X, y, sample_weight, device, reset)])
    elif not is_partitioned(X, ranks, streams=streams):
        _check_no_pairs(X, options)
        X = validate_data(estimator, X, reset=reset, ensure_min_samples=2 if reset else 1, **options(X))
        _check_given(estimator, y)
        targets = read_targets(y, device)
        check_consistent_length(X, targets.y)
        rows = stored(X)
        if with_mean and isinstance(rows, torch.Tensor):  # sums go over all of them, and so do all that follow
            rows = rows.to(device)
        own = InMemory([weighted(rows, targets, sample_weight, X, device)])
    elif isinstance(X, Chunks):
        if y is not None or sample_weight is not None:
            raise ValueError("Chunks hold the targets and weights of their samples. Pass nothing but the Chunks.")
        own = _in_chunks(estimator, X, options)
    elif is_dask(X):
        _check_given(estimator, y)
        check_array(np.empty((0, *X.shape[1:]), X.dtype), ensure_min_samples=0, input_name="X", **options(X))
        validate_data(estimator, X, skip_check_array=True)
        own = OnDask(_blocks(X, y, sample_weight)).map(lambda block: _read_chunk(block, options))
    elif streams and _is_large_map(X) and y is not None:
        own = _in_chunks(estimator, Chunks.of(X, y, sample_weight), options)
    else:
        _check_given(estimator, y)
        own = InMemory([_read_chunk((X, y, sample_weight), options)])
        validate_data(estimator, X, skip_check_array=True)
    if ranks.size > 1:
        _check_alike(estimator, ranks)
        own = InShards(own, ranks)
    return described(own, device, X, with_mean)


def described(partitions: Partitions, device: torch.device, given: Any, with_mean: bool) -> Data:
    """Samples of partitions that were read, with the summary of all."""
    summary = summarised(partitions, with_mean=with_mean)

    def placed(subset: Subset, start: int) -> Subset:
        X, rows, weights, targets, _ = subset
        assert targets is not None
        targets = targets if targets.device == device else Targets(targets.y, device)
        rows = rows if rows is None else rows.to(device)
        X = X.after(start) if isinstance(X, Loaded) else X
        return Subset(X, rows, summary.normalised(weights).to(device), targets, start)

    return Data(partitions.placed(lambda subset: len(subset.weights), placed), summary, device, given)


def _read_loaded(
    estimator: BaseEstimator, X: Loaded, y: Any, sample_weight: Any, device: torch.device, reset: bool
) -> Subset:
    """Samples of a data set, which are loaded here only for the targets that they come with."""
    n_samples = X.shape[0]
    if reset and n_samples < 2:
        raise ValueError(f"{X.name} has {n_samples} sample, but 2 are needed to form a pair.")
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    targets = read_targets(X.targets() if y is None else y, device)
    check_consistent_length(X, targets.y)
    return weighted(X, targets, sample_weight, np.empty((n_samples, 0)), device)


def _in_chunks(estimator: BaseEstimator, chunks: Chunks, options: Options) -> Partitions:
    first = next(iter(chunks), None)
    if first is None:
        raise ValueError("The Chunks hold no chunk. Pass at least one, which may have no rows.")
    X = _parts_of(first)[0]
    check_array_like(X)
    check_array(X[:1] if hasattr(X, "shape") else X, ensure_min_samples=0, input_name="X", **options(X))
    validate_data(estimator, X, skip_check_array=True)
    return Streamed(_Unchanging(estimator, chunks, options))


class _Unchanging:
    """Chunks that must be the same each time that they are read, as far as sizes and first samples tell.

    Their values are checked the first time only.
    """

    def __init__(self, estimator: BaseEstimator, chunks: Iterable[Any], options: Options):
        self.estimator, self.chunks, self.options = estimator, chunks, options
        self._marks: list[tuple[int, float]] | None = None

    def __call__(self) -> Iterator[Subset]:
        marks: list[tuple[int, float]] = []
        for chunk in self.chunks:
            subset = _read_chunk(chunk, self.options, read_before=self._marks is not None)
            if subset.shape == (self.estimator.n_features_in_,):  # the summary of all refuses any other
                validate_data(self.estimator, chunk[0], reset=False, skip_check_array=True)
            n = subset.n_samples
            marks.append((n, float(subset.read(slice(0, 1), torch.float64).sum()) if n else 0.0))
            self._compare(marks, len(marks))
            yield subset
        self._compare(marks, None)
        self._marks = marks

    def _compare(self, marks: list[tuple[int, float]], n_read: int | None) -> None:
        if self._marks is not None and self._marks[:n_read] != marks:
            raise ValueError(
                "The chunks differ from those of the last time. They are gone through several times, and must be the "
                "same each time: no shuffling, and a new iterator from a function."
            )


def _parts_of(chunk: Any) -> tuple[Any, Any, Any]:
    if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
        raise ValueError(f"A chunk is a {type(chunk).__name__}, but (X, y) or (X, y, sample_weight) is needed.")
    X, y, *weights = chunk
    return X, y, weights[0] if weights else None


def _read_chunk(chunk: Any, options: Options, *, read_before: bool = False) -> Subset:
    """Samples of a chunk, of which there may be none."""
    X, y, sample_weight = _parts_of(chunk)
    if y is None:
        raise ValueError("y is None in a part of the samples. Pass targets with each chunk, and in each process.")
    given = check_array(X, ensure_min_samples=0, input_name="X", ensure_all_finite=not read_before, **options(X))
    rows, targets = stored(given), read_targets(y, "cpu", ensure_min_samples=0, read_before=read_before)
    check_consistent_length(rows, targets.y)
    if sample_weight is not None:
        check_consistent_length(rows, sample_weight)
        if not np.any(as_host(sample_weight)):  # none of these count; others may
            rows, targets, sample_weight = rows[:0], targets[:0], None
    return weighted(rows, targets, sample_weight, rows, torch.device("cpu"))


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


def _check_given(estimator: BaseEstimator, y: Any) -> None:
    """Refuse samples without targets."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. "
            "Pass what similar samples should have in common: label sets, distributions, numbers or classes."
        )


def _check_no_pairs(X: Any, options: Options) -> None:
    """Refuse pairs of samples, from which other libraries learn."""
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) == 3 and shape[1] == 2 and not options(X).get("allow_nd"):
        raise ValueError(
            f"X holds pairs of samples, shape {shape}, but metrics are learned here from samples and targets. "
            "Pass X of shape (n_samples, n_features) and y with what similar samples have in common; or, where nothing "
            "but pairs is known, relation=skrelmetric.relations.GivenPairs(similar, dissimilar, n_samples=...) with "
            "their places in X. `pair_distance` takes pairs, once it is learned."
        )
    if len(shape) == 3 and not options(X).get("allow_nd"):
        raise ValueError(
            f"X has shape {shape}, but (n_samples, n_features) is needed. Nothing is learned of triplets and "
            "quadruplets of samples: say which pairs are similar and dissimilar, by skrelmetric.relations.GivenPairs. "
            "Flatten samples that are no rows of features, X.reshape(len(X), -1), or pass them to DRMLTransformer or "
            "HRAMLTransformer with a torch module of your own."
        )


def weighted(X: Any, y: Targets, sample_weight: Any, given: Any, device: torch.device) -> Subset:
    """Samples of positive weight and known target, with weights as they came, 1 for None.

    `given` are the samples as they came, of the kind of array that the weights should be of.

    Raises
    ------
    ValueError
        If weights are not finite or negative.
    """
    weights = torch.ones(X.shape[0], dtype=torch.float64, device=device)
    if sample_weight is not None and len(weights):
        weights = as_tensor(check_sample_weight(sample_weight, given), device).to(torch.float64)
    labelled = y.labelled()
    if labelled is not None:
        weights = weights * labelled.to(device)
    kept = weights > 0
    if kept.all():
        return Subset(X, None, weights, y)
    (rows,) = torch.where(kept)
    return Subset(X, rows, weights[rows], y[rows])


def _check_alike(estimator: BaseEstimator, ranks: Ranks) -> None:
    """Refuse to go on where processes fit other estimators, or to other features.

    Raises
    ------
    ValueError
        If they do.
    """
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

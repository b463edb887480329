"""Chunks of samples that are larger than memory together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, Self

from sklearn.utils import check_scalar

__all__ = ["Chunks"]

_BYTES = 2**26  # of the samples of a chunk; larger ones are no faster


class Chunks:
    """Samples and targets in chunks, for the ``fit`` of metrics that only need sums over samples.

    Parameters
    ----------
    source : iterable or callable
        Chunks ``(X, y)`` or ``(X, y, sample_weight)``, of any sizes; or a function of no arguments that returns such an
        iterable, a generator for example. It is gone through several times, and must give the same each time;
        values are checked the first time.

    Raises
    ------
    ValueError
        If `source` can be gone through only once.

    Examples
    --------
    >>> from skrelmetric import RAMLLinear
    >>> from skrelmetric.chunks import Chunks
    >>> from skrelmetric.datasets import load_emotions
    >>> X, Y = load_emotions(return_X_y=True)
    >>> def read():
    ...     for start in range(0, len(X), 200):
    ...         yield X[start : start + 200], Y[start : start + 200]
    >>> RAMLLinear().fit(Chunks(read)).transform(X).shape[0]
    593
    """

    def __init__(self, source: Iterable[tuple] | Callable[[], Iterable[tuple]]):
        if not callable(source) and (not hasattr(source, "__iter__") or iter(source) is source):
            raise ValueError(
                f"source={source!r} can be gone through only once, or not at all. Pass a function that returns a new "
                "iterator each time, or an iterable such as a list or a DataLoader."
            )
        self.source = source

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Chunks are for `fit` of RAMLLinear and HRAMLTransformer. Go through them for all else: "
            "[metric.transform(X) for X, *_ in chunks], or partial_fit chunk by chunk."
        )

    def __iter__(self) -> Iterator[tuple]:
        return iter(self.source() if callable(self.source) else self.source)

    @classmethod
    def of(cls, X: Any, y: Any, sample_weight: Any = None, *, chunk_size: int | None = None) -> Self:
        """Chunks of arrays whose rows can be sliced, memory maps for example.

        Parameters
        ----------
        X : array of shape (n_samples, ...)
            Samples.
        y : array of shape (n_samples, ...)
            Targets.
        sample_weight : array of shape (n_samples,) or None, default=None
            Weights.
        chunk_size : int or None, default=None
            Samples of a chunk; None is what fits into 64 MiB.

        Returns
        -------
        Chunks

        Raises
        ------
        ValueError
            If there is no `y`, the arrays have different numbers of samples, or `chunk_size` is less than 1.
        """
        if y is None:
            raise ValueError("y is None, but metrics are learned from targets. Pass one target a sample.")
        if chunk_size is not None:
            check_scalar(chunk_size, "chunk_size", Integral, min_val=1)
        arrays = [array for array in (X, y, sample_weight) if array is not None]
        n_samples = X.shape[0]
        lengths = [array.shape[0] if hasattr(array, "shape") else len(array) for array in arrays]
        if set(lengths) != {n_samples}:
            raise ValueError(f"Arrays of {lengths} samples were passed. Pass one target, and one weight, a sample.")
        return cls(_Slices(arrays, chunk_size or _rows_of(X)))

    @staticmethod
    def many(X: Any) -> bool:
        """Whether an array makes more than one chunk.

        Parameters
        ----------
        X : array of shape (n_samples, ...)
            Samples.

        Returns
        -------
        bool
        """
        return X.shape[0] > _rows_of(X)

    def map(self, function: Callable[[Any], Any]) -> "Chunks":
        """Chunks with a function applied to their samples, ``scaler.transform`` for example.

        Parameters
        ----------
        function : callable
            ``function(X)`` gives as many samples.

        Returns
        -------
        Chunks
        """
        return Chunks(_Mapped(self, function))


class _Slices:
    """Chunks of arrays; a single one of no rows where these have none."""

    def __init__(self, arrays: Sequence[Any], size: int):
        self.arrays, self.size = arrays, size

    def __iter__(self) -> Iterator[tuple]:
        n_samples = self.arrays[0].shape[0]
        for start in range(0, max(1, n_samples), self.size):
            yield tuple(array[start : start + self.size] for array in self.arrays)


class _Mapped:
    """Chunks with a function applied to their samples."""

    def __init__(self, chunks: Iterable[tuple], function: Callable[[Any], Any]):
        self.chunks, self.function = chunks, function

    def __iter__(self) -> Iterator[tuple]:
        for X, *rest in self.chunks:
            yield self.function(X), *rest


def _rows_of(X: Any) -> int:
    """Rows of a chunk of an array."""
    row_bytes = X.nbytes // max(1, X.shape[0]) if hasattr(X, "nbytes") else 8 * X.shape[1]
    return max(1, _BYTES // max(1, row_bytes))

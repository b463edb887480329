"""Samples that come in chunks, larger than memory together."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from sklearn.utils import gen_batches

__all__ = ["Chunks"]

_BYTES = 2**26  # of the samples of a chunk; larger ones are no faster


class Chunks:
    """Samples and targets in chunks, for the ``fit`` of metrics that only need sums over samples.

    Parameters
    ----------
    source : iterable or callable
        Chunks ``(X, y)`` or ``(X, y, sample_weight)``, of any sizes; or a function of no arguments that returns such an
        iterable, a generator for example. It is gone through several times, and must give the same each time.

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
            If the arrays have different numbers of samples.
        """
        arrays = [array for array in (X, y, sample_weight) if array is not None]
        n_samples = X.shape[0]
        lengths = [array.shape[0] if hasattr(array, "shape") else len(array) for array in arrays]
        if set(lengths) != {n_samples}:
            raise ValueError(f"Arrays of {lengths} samples were passed. Pass one target, and one weight, a sample.")
        size = chunk_size or _rows_of(X)

        def read() -> Iterator[tuple]:
            for rows in gen_batches(n_samples, size):
                yield tuple(array[rows] for array in arrays)
            if not n_samples:
                yield tuple(arrays)

        return cls(read)

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
        """Chunks whose samples are what a function makes of them, ``scaler.transform`` for example.

        Parameters
        ----------
        function : callable
            ``function(X)`` gives as many samples.

        Returns
        -------
        Chunks
        """

        def read() -> Iterator[tuple]:
            for X, *rest in self:
                yield function(X), *rest

        return Chunks(read)


def _rows_of(X: Any) -> int:
    """Rows of a chunk of an array."""
    row_bytes = X.nbytes // max(1, X.shape[0]) if hasattr(X, "nbytes") else 8 * X.shape[1]
    return max(1, _BYTES // max(1, row_bytes))

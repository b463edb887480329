"""Magnitudes of numbers: those that can be squared and told apart, and norms and directions of any others."""

import math
from typing import Any

import numpy as np
from scipy import sparse

from skrelmetric._interop.arrays import module_of, without_zeros

__all__ = ["MOST", "check_range", "largest", "limit_of", "norms", "unit_rows"]

MOST = 2.0**1000
"""Largest modulus of numbers of which many may be added."""


def largest(array: Any) -> float:
    """Largest modulus of the numbers in an array, 0 where there are none."""
    values = array.data if sparse.issparse(array) else array.detach() if hasattr(array, "detach") else array
    if not math.prod(values.shape):
        return 0.0
    return max(float(values.max()), -float(values.min()), 0.0)


def limit_of(dtype: Any = np.float64) -> float:
    """Largest modulus of numbers whose squares, and sums of many, are in range; below its inverse they vanish."""
    return 2.0**60 if str(dtype).endswith("float32") else 2.0**500


def check_range(size: float, name: str, limit: float, *, least: bool = True) -> None:
    """Refuse numbers whose powers overflow, or all vanish.

    Parameters
    ----------
    size : float
        Largest modulus of the numbers.
    name : str
        What holds them.
    limit : float
        Largest modulus that is in range.
    least : bool, default=True
        Whether they are to be told apart, so that not all may be below the inverse of the limit, either.

    Raises
    ------
    ValueError
        If they are out of range.
    """
    what = "targets" if name == "y" else "features"
    if size > limit:
        raise ValueError(
            f"{name} holds {size:.1e}, too large: beyond {limit:.0e}, squares and sums overflow. Scale the "
            f"{what} first, for example by StandardScaler; a number that stands for a missing one is to be imputed."
        )
    if least and 0 < size < 1 / limit:
        raise ValueError(
            f"{name} spans {size:.1e} at most, too small: below {1 / limit:.0e}, squares underflow. "
            f"Scale the {what} first, for example by StandardScaler."
        )


def norms(rows: Any) -> Any:
    """Euclidean norm of each dense row, where squares of its entries over- or underflow as well."""
    scaled, sizes = _in_units(rows)
    return sizes[:, 0] * (scaled * scaled).sum(1) ** 0.5


def unit_rows(rows: Any) -> Any:
    """Rows divided by their norm, whatever the range of their entries; those of norm 0 stay."""
    scaled, _ = _in_units(rows)
    if sparse.issparse(scaled):
        scaled.data /= np.repeat(sparse.linalg.norm(scaled, axis=1), np.diff(scaled.indptr))
        return scaled
    lengths = (scaled * scaled).sum(1)[:, None] ** 0.5
    return scaled / module_of(rows).where(lengths > 0, lengths, 1.0)


def _in_units(rows: Any) -> tuple[Any, Any]:
    """Copy of the rows in units of their largest entries, and these, 0 for rows of zeros."""
    if sparse.issparse(rows):
        scaled, sizes = without_zeros(rows, rows.dtype), np.zeros((rows.shape[0], 1), dtype=rows.dtype)
        row = np.repeat(np.arange(len(sizes)), np.diff(scaled.indptr))
        np.maximum.at(sizes[:, 0], row, abs(scaled.data))
        scaled.data /= sizes[row, 0]
        return scaled, sizes
    xp = module_of(rows)
    sizes = xp.amax(xp.abs(rows), 1)[:, None] if rows.shape[1] else xp.zeros_like(rows.sum(1))[:, None]
    return rows / xp.where(sizes > 0, sizes, 1.0), sizes

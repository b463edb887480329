"""Losses of methods on a data set by the ranked criteria of its task, their ranks and their logarithms."""

import numpy as np
import pandas as pd

from benchmarks.compare.tasks import Criterion
from benchmarks.show.results import Result, Row

_ROUNDING = 1e-12


def losses(result: Result, rows: list[Row], criteria: tuple[Criterion, ...] | None = None) -> pd.DataFrame:
    """Losses of methods, by name, in a column for each ranked criterion, or those given; NaN for what is too slow.

    A criterion of which higher is better has 1 for its best, and its distance from there is the loss.
    """
    columns = {
        criterion.title: [
            float("nan") if row.too_slow else row.means[criterion.title] * -criterion.sign + (criterion.sign > 0)
            for row in rows
        ]
        for criterion in (result.criteria if criteria is None else criteria)
    }
    return pd.DataFrame(columns, [row.method for row in rows], dtype=float)


def mean_ranks(losses: pd.DataFrame) -> pd.Series:
    """Mean over the criteria of the rank of each method, 1 for the best; those that are too slow share the last."""
    return losses.rank(na_option="bottom").mean(axis=1)


def mean_logarithms(losses: pd.DataFrame, n_test: int) -> pd.Series:
    """Mean over the criteria of the logarithm of each method's loss.

    A loss of 0, but for rounding, counts as half of the least that can be told: of 1 / `n_test`, or of the least loss
    above 0 where that is less, so that it stays below. NaN where a loss has no logarithm: below 0, or 0 of test samples
    whose number, 0 here, no record says.
    """
    told = losses.where(losses >= _ROUNDING).min()
    half = told.fillna(np.inf).clip(upper=1 / n_test) / 2 if n_test else pd.Series(np.nan, losses.columns)
    losses = losses.mask(losses.abs() < _ROUNDING, half, axis="columns")
    return np.log(losses.where(losses > 0)).mean(axis=1, skipna=False)

"""Ranks of methods across data sets, and tests of whether they could be chance (Demšar, 2006)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy.stats import friedmanchisquare, wilcoxon
from statsmodels.stats.multitest import multipletests

from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS
from benchmarks.show.results import Result, results


class Ranking(NamedTuple):
    """Methods ranked on the same data sets.

    Attributes
    ----------
    task : str
        Kind of target; "all targets" for metrics behind whichever predictor a kind of target has.
    ranks : DataFrame of shape (n_datasets, n_methods)
        Rank of each method on each data set, 1 for the best, by its mean rank over the criteria of the task.
    left_out : tuple of str
        Methods that failed, or were not run, on a fold of one of the data sets.
    """

    task: str
    ranks: pd.DataFrame
    left_out: tuple[str, ...]

    @property
    def average(self) -> pd.Series:
        """Average rank of each method, best first."""
        return self.ranks.mean().sort_values(kind="stable")

    @property
    def friedman(self) -> float:
        """p-value of Friedman's test that all methods are alike; NaN for fewer than three, or two data sets."""
        n_datasets, n_methods = self.ranks.shape
        if n_methods < 3 or n_datasets < 2:
            return float("nan")
        if (self.ranks.nunique(axis=1) == 1).all():
            return 1.0
        return float(friedmanchisquare(*self.ranks.T.to_numpy()).pvalue)

    @property
    def nemenyi(self) -> pd.DataFrame:
        """p-values of Nemenyi's test of all pairs of methods."""
        return scikit_posthocs.posthoc_nemenyi_friedman(self.ranks)

    def against(self, method: str) -> pd.DataFrame:
        """p-values of Wilcoxon's signed-rank test, two-sided, of a method against each other.

        The test is on differences of ranks, which have one unit on all data sets and for all criteria; differences of 0
        are split evenly. Column "p" has each test by itself, column "holm" is corrected for as many tests as there are
        other methods. Where the method was chosen as the best of the same ranks, both are somewhat too small.
        """
        others = [other for other in self.ranks if other != method]
        raw = [_wilcoxon(self.ranks[method] - self.ranks[other]) for other in others]
        holm = multipletests(raw, method="holm")[1] if raw else []
        return pd.DataFrame({"p": raw, "holm": holm}, others, dtype=float)


def _wilcoxon(differences: pd.Series) -> float:
    return float(wilcoxon(differences, zero_method="zsplit").pvalue) if differences.any() else 1.0


def rankings(records: Iterable[Record]) -> list[Ranking]:
    """Ranking of the methods of each task that was run on two data sets or more, and of the metrics over all tasks."""
    by_task: dict[str, list[Result]] = {}
    for result in results(records):
        by_task.setdefault(result.task, []).append(result)
    tables = [_by_metric(result) for task, of_task in by_task.items() if task in _TABLES for result in of_task]
    if len({result.task for result in tables}) > 1:
        by_task["all targets"] = tables
    return [_ranking(task, of_task) for task, of_task in by_task.items() if len(of_task) > 1]


_TABLES = ("multilabel", "label distribution", "classification")


def _by_metric(result: Result) -> Result:
    """The table with its rows named by their metrics, which are the same for every kind of target."""
    task = TASKS[result.task]
    names = {row.method: "no metric" if row.method == task.predictor else task.short(row.method) for row in result.rows}
    return result._replace(rows=tuple(row._replace(method=names[row.method]) for row in result.rows))


def _ranking(task: str, of_task: list[Result]) -> Ranking:
    everyone = dict.fromkeys(row.method for result in of_task for row in result.rows)
    whole = [{row.method for row in result.rows if result.is_complete(row)} for result in of_task]
    everywhere = [method for method in everyone if all(method in of_result for of_result in whole)]
    ranks = pd.DataFrame({result.dataset: _ranks(result, everywhere) for result in of_task}, index=everywhere).T
    return Ranking(task, ranks, tuple(method for method in everyone if method not in everywhere))


def _ranks(result: Result, methods: list[str]) -> np.ndarray:
    means = {row.method: row.means for row in result.rows}
    columns = [
        pd.Series([-criterion.sign * means[method][criterion.title] for method in methods]).rank()
        for criterion in result.criteria
    ]
    return pd.Series(np.mean(columns, axis=0)).rank().to_numpy()

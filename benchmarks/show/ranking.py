"""Ranks and losses of methods across data sets, and how sure their differences are (Demšar, 2006)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy.stats import friedmanchisquare

from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import FAMILIES
from benchmarks.show.losses import losses, mean_logarithms, mean_ranks
from benchmarks.show.results import Result, Row, results_by_task
from benchmarks.show.significance import bayesian_signed_rank, holm, interval, signed_rank

REFERENCE = "Relational neighbours"
"""Method that others are compared with, where it is among them."""


class Ranking(NamedTuple):
    """Methods ranked on the same data sets; data sets of a family are one row.

    Attributes
    ----------
    task : str
        Kind of target; "all targets" for metrics behind whichever predictor a kind of target has.
    ranks : DataFrame of shape (n_rows, n_methods)
        Rank of each method in each row, 1 for the best, by its mean rank over the ranked criteria of the task. A method
        that was too slow is last. A family is ranked by the mean ranks over its data sets.
    by_criterion : DataFrame of shape (n_methods, n_criteria)
        Average rank of each method by each criterion by its title, also by those that are not ranked by, as far as all
        data sets have it.
    log_losses : DataFrame of shape (n_rows, n_methods) or None
        Mean over the ranked criteria, and the data sets of a family, of the logarithm of the loss: differences of two
        methods are log ratios of losses, which have one unit for all criteria. NaN where a method was too slow. None
        where a loss has no logarithm.
    families : dict of str to tuple of str
        Rows that stand for several data sets, and these.
    too_slow : dict of str to tuple of str
        Methods that were too slow, and the data sets on which they were.
    left_out : dict of str to str
        Methods that failed otherwise, or were not run, on a fold of one of the data sets, and where.
    """

    task: str
    ranks: pd.DataFrame
    by_criterion: pd.DataFrame
    log_losses: pd.DataFrame | None
    families: dict[str, tuple[str, ...]]
    too_slow: dict[str, tuple[str, ...]]
    left_out: dict[str, str]

    @property
    def n_datasets(self) -> int:
        """Number of data sets, each of a family counted."""
        return len(self.ranks) + sum(len(members) - 1 for members in self.families.values())

    @property
    def average(self) -> pd.Series:
        """Average rank of each method, best first."""
        return self.ranks.mean().sort_values(kind="stable")

    @property
    def intervals(self) -> pd.DataFrame:
        """95 percent intervals of the average ranks, columns "low" and "high"; NaN for fewer than five rows."""
        found = [interval(self.ranks[method].to_numpy()) for method in self.ranks]
        return pd.DataFrame(found, self.ranks.columns, ["low", "high"], dtype=float)

    @property
    def reference(self) -> str:
        """Method that others are compared with: relational neighbours, or else the best."""
        return REFERENCE if REFERENCE in self.ranks else str(self.average.index[0])

    @property
    def friedman(self) -> float:
        """p-value of Friedman's test that all methods are alike; NaN for two methods."""
        n_methods = self.ranks.shape[1]
        if n_methods < 3:
            return float("nan")
        if (self.ranks.nunique(axis=1) == 1).all():
            return 1.0
        return float(friedmanchisquare(*self.ranks.T.to_numpy()).pvalue)

    @property
    def nemenyi(self) -> pd.DataFrame:
        """p-values of Nemenyi's test of all pairs of methods, on ranks."""
        return scikit_posthocs.posthoc_nemenyi_friedman(self.ranks)

    def differences(self, method: str, reference: str) -> pd.Series:
        """Log ratio of the losses of a method and of another in each row, or of ranks where losses have no logarithm.

        Below 0 where the method is better. Where one of the two was too slow, the difference is the largest, in favour
        of the other; where both were, it is 0.
        """
        if self.log_losses is None:
            return self.ranks[method] - self.ranks[reference]
        ratios = self._log_ratios(method, reference)
        slow = self.log_losses[[method, reference]].isna()
        largest = ratios.abs().max() if ratios.notna().any() else 0.0
        return ratios.fillna((slow[method].astype(float) - slow[reference].astype(float)) * (largest + 1))

    def against(self, reference: str | None = None) -> pd.DataFrame:
        """Comparison of each method with one.

        Parameters
        ----------
        reference : str or None, default=None
            That one; None for the best by average rank. Where it was chosen as the best of the same data, p-values are
            somewhat too small.

        Returns
        -------
        DataFrame of shape (n_methods - 1, 11)
            Of each other method: "percent" by which its losses are above those of the reference, in the geometric mean
            over `n_ratios` rows, with its 95 percent interval from "low" to "high"; in how many rows it "won" and
            "lost"; "p" of Wilcoxon's signed-rank test on :meth:`differences`, by itself and with the correction of
            "holm" for all methods; and posterior probabilities that it is "better" by more than 1 percent of the loss,
            "equal", or "worse". What needs ratios of losses is NaN where there are none.
        """
        reference = str(self.average.index[0]) if reference is None else reference
        found = {other: self._comparison(other, reference) for other in self.ranks if other != reference}
        columns = ["percent", "low", "high", "n_ratios", "won", "lost", "better", "equal", "worse", "p"]
        table = pd.DataFrame.from_dict(found, orient="index", columns=columns, dtype=float)
        return table.assign(holm=holm(table["p"]))

    def _comparison(self, method: str, reference: str) -> tuple[float, ...]:
        differences = self.differences(method, reference)
        wins = int((differences < 0).sum()), int((differences > 0).sum())
        effect, probabilities = (float("nan"),) * 3 + (0,), (float("nan"),) * 3
        if self.log_losses is not None:
            ratios = self._log_ratios(method, reference).dropna().to_numpy()
            mean = ratios.mean() if len(ratios) else float("nan")
            effect = *(100 * np.expm1([mean, *interval(ratios)])), len(ratios)
            probabilities = bayesian_signed_rank(differences.to_numpy())
        return *effect, *wins, *probabilities, signed_rank(differences.to_numpy())

    def _log_ratios(self, method: str, reference: str) -> pd.Series:
        """Log ratios of losses; what differs by rounding alone is equal."""
        assert self.log_losses is not None
        return (self.log_losses[method] - self.log_losses[reference]).round(12)


def rankings(records: Iterable[Record]) -> list[Ranking]:
    """Ranking of the methods of each task, and of the metrics over all tasks, with two rows and two methods at least.

    Data sets of one family do not make two rows, and methods that are left out are none.
    """
    by_task = results_by_task(records)
    tables = [_by_metric(result) for task, of_task in by_task.items() if task in _TABLES for result in of_task]
    if len({result.task for result in tables}) > 1:
        by_task["all targets"] = tables
    found = [_ranking(task, of_task) for task, of_task in by_task.items()]
    return [ranking for ranking in found if min(ranking.ranks.shape) > 1]


_TABLES = ("multilabel", "label distribution", "classification", "regression")


def _by_metric(result: Result) -> Result:
    """The table with its rows named by their metrics, which are the same for every kind of target."""
    task = TASKS[result.task]
    names = {row.method: "no metric" if row.method == task.predictor else task.short(row.method) for row in result.rows}
    return result._replace(rows=tuple(row._replace(method=names[row.method]) for row in result.rows))


def _ranking(task: str, of_task: list[Result]) -> Ranking:
    everyone = dict.fromkeys(row.method for result in of_task for row in result.rows)
    rows = {result.dataset: {row.method: row for row in result.rows} for result in of_task}
    left_out = {method: where for method in everyone if (where := _trouble(method, of_task, rows))}
    methods = [method for method in everyone if method not in left_out]
    slow = {method: tuple(name for name, of_set in rows.items() if of_set[method].too_slow) for method in methods}
    tables = {
        result.dataset: losses(result, [rows[result.dataset][method] for method in methods]) for result in of_task
    }
    groups = _rows(tables)
    ranks = _averaged({name: mean_ranks(table).rank() for name, table in tables.items()}, groups, methods).rank(axis=1)
    n_test = {name: max(row.n_test for row in of_set.values()) for name, of_set in rows.items()}
    logarithms = {name: mean_logarithms(table, n_test[name]) for name, table in tables.items()}
    exist = all(logarithms[name].notna().equals(table.notna().all(axis=1)) for name, table in tables.items())
    return Ranking(
        task,
        ranks,
        _by_criterion(of_task, rows, methods, groups),
        _averaged(logarithms, groups, methods) if exist else None,
        {row: members for row, members in groups.items() if len(members) > 1},
        {method: where for method, where in slow.items() if where},
        left_out,
    )


def _by_criterion(
    of_task: list[Result], rows: dict[str, dict[str, Row]], methods: list[str], groups: dict[str, tuple[str, ...]]
) -> pd.DataFrame:
    criteria = [
        criterion
        for criterion in (*of_task[0].criteria, *of_task[0].others)
        if all(criterion in (*result.criteria, *result.others) for result in of_task)
    ]
    averages = {}
    for criterion in criteria:
        ranks = {
            result.dataset: losses(result, [rows[result.dataset][method] for method in methods], (criterion,))
            .iloc[:, 0]
            .rank(na_option="bottom")
            for result in of_task
        }
        averages[criterion.title] = _averaged(ranks, groups, methods).mean()
    return pd.DataFrame(averages, methods)


def _trouble(method: str, of_task: list[Result], rows: dict[str, dict[str, Row]]) -> str:
    """Where a method failed or was not run, in words; none for what can be ranked."""
    kinds: dict[str, list[str]] = {}
    for result in of_task:
        row = rows[result.dataset].get(method)
        if row is None:
            kinds.setdefault("not run on", []).append(result.dataset)
        elif not (row.too_slow or result.is_complete(row)):
            kinds.setdefault("failed on" if row.errors else "not run on all folds of", []).append(result.dataset)
    return ", ".join(f"{kind} {some(names)}" for kind, names in kinds.items())


def some(names: Iterable[str]) -> str:
    """Up to three names, and how many more there are."""
    first, rest = (every := list(names))[:3], every[3:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def _rows(datasets: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Data sets of each row: those of a family together, where there are several of it."""
    families: dict[str, list[str]] = {}
    for name in datasets:
        families.setdefault(FAMILIES.get(name, name), []).append(name)
    return {family if len(names) > 1 else names[0]: tuple(names) for family, names in families.items()}


def _averaged(columns: dict[str, pd.Series], groups: dict[str, tuple[str, ...]], methods: list[str]) -> pd.DataFrame:
    """Mean over the data sets of each row; NaN where one of them is."""
    means = {row: np.mean([columns[name] for name in members], axis=0) for row, members in groups.items()}
    return pd.DataFrame(means, methods, dtype=float).T

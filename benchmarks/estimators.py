"""Comparison of one's own estimators on one's own data, with the folds, criteria and tests of the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, clone

from benchmarks.compare.cells import Settings, parts
from benchmarks.compare.records import Record
from benchmarks.compare.runs import scored
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DataSet, task_of
from benchmarks.show.formats import Table, exported
from benchmarks.show.ranking import Ranking, rankings
from benchmarks.show.tables import comparison_tables, summary_tables


class Comparison(NamedTuple):
    """Estimators compared on data sets.

    Attributes
    ----------
    records : list of dict
        Record of each fold of each estimator, as lines of the command line's file have it.
    """

    records: list[Record]

    @property
    def frame(self) -> pd.DataFrame:
        """Scores in a row for each fold of each estimator."""
        return pd.DataFrame(
            [
                {name: record.get(name) for name in ("dataset", "method", "repeat", "fold", "fit_seconds", "error")}
                | record.get("scores", {})
                for record in self.records
            ]
        )

    @property
    def rankings(self) -> list[Ranking]:
        """Ranks, losses and tests, where there are several data sets for a task."""
        return rankings(self.records)

    def tables(self) -> list[Table]:
        """Table of each data set, and of ranks and costs over several."""
        return [*comparison_tables(self.records), *summary_tables(self.records)]

    def text(self, form: str = "markdown") -> str:
        """All tables as text.

        Parameters
        ----------
        form : {"markdown", "latex"}, default="markdown"
            Format.

        Raises
        ------
        ValueError
            If the format is not known.
        """
        return "\n\n".join(exported(table, form) for table in self.tables())

    def report(self, path: str | Path) -> None:
        """Write the page of tables and pictures.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from benchmarks.show.report.page import write_report  # which draws, and takes a while to load

        write_report(self.records, Path(path), "benchmarks.estimators.compare_estimators(...)")


def compare_estimators(
    estimators: Mapping[str, BaseEstimator],
    datasets: Mapping[str, tuple[ArrayLike, ...]],
    *,
    task: str | None = None,
    folds: int | str = 3,
    repeats: int = 1,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> Comparison:
    """Compare estimators on the same folds of data sets.

    Parameters
    ----------
    estimators : dict of str to estimator
        Estimators by name; each fold fits a clone. Scaling and searches belong within them.
    datasets : dict of str to tuple
        Samples and targets, (X, y), by name; or (X, y, groups), of which a group, such as the photographs of one
        person, is never parted. X may be an array, a data frame or a sparse matrix.
    task : {"multilabel", "label distribution", "regression", "classification"}, default=None
        Kind of the targets, which says what they are scored by; None tells it from each y.
    folds : int or "held-out", default=3
        Number of folds, stratified by labels or classes, or a third that is held out at random.
    repeats : int, default=1
        Repeats of the folds.
    random_state : int, default=0
        Seed of the folds.
    n_jobs : int or None, default=None
        Processes, as joblib has them.

    Returns
    -------
    Comparison
        A fold that fails is recorded with its error.

    Raises
    ------
    ValueError
        If a task is not known, or a data set cannot be split like that.

    Examples
    --------
    >>> from skrelmetric import MLkNN, SoftNeighborsClassifier
    >>> from skrelmetric.datasets import load_emotions
    >>> comparison = compare_estimators(
    ...     {"MLkNN": MLkNN(), "soft votes": SoftNeighborsClassifier()},
    ...     {"emotions": load_emotions(return_X_y=True)},
    ...     folds=2,
    ... )
    >>> comparison.frame.groupby("method")["Average precision ↑"].mean().round(2).to_dict()
    {'MLkNN': 0.68, 'soft votes': 0.7}
    """
    tables = [name for name in TASKS if name != "retrieval"]
    if task is not None and task not in tables:
        raise ValueError(f"task={task!r} is not known. Choose one of {tables}, or None to tell it from the targets.")
    settings = Settings(folds, repeats, random_state)
    jobs = []
    for name, given in datasets.items():
        data = _data_set(*given)
        kind = task or task_of(data.Y)
        for place, (train, test) in enumerate(parts(data, kind, settings, name)):
            fold: Record = {
                "dataset": name,
                "task": kind,
                "folds": folds,
                "repeat": place // settings.n_folds,
                "fold": place % settings.n_folds,
                "seed": random_state,
                "n_train": len(train),
                "n_test": len(test),
                "criteria": [criterion.title for criterion in TASKS[kind].defined(data.Y)],
            }
            jobs += [
                joblib.delayed(_record)(fold | {"method": method}, clone(estimator), data, train, test)
                for method, estimator in estimators.items()
            ]
    return Comparison(list(joblib.Parallel(n_jobs=n_jobs)(jobs)))


def _data_set(X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> DataSet:
    rows = X.tocsr() if sparse.issparse(X) else np.asarray(X)
    targets = np.unique(y, return_inverse=True)[1] if _is_classes(y) else np.asarray(y)
    return DataSet(rows, targets, groups=None if groups is None else np.asarray(groups))


def _is_classes(y: ArrayLike) -> bool:
    """Whether targets are of one column and no fractions: numbers or names of classes."""
    values = np.asarray(y)
    return values.ndim == 1 and not (np.issubdtype(values.dtype, np.floating) and (values % 1 != 0).any())


def _record(record: Record, model: BaseEstimator, data: DataSet, train: np.ndarray, test: np.ndarray) -> Record:
    try:
        return record | scored(model, record["task"], data.X, data.Y, train, test)
    except Exception as error:  # a failure is recorded, and the others go on
        return record | {"error": f"{type(error).__name__}: {error}", "warnings": []}

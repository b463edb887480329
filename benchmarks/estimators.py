"""Comparison of one's own estimators on one's own data, with the folds, criteria and tests of the command line."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, clone

from benchmarks.compare.cells import HELD_OUT, Settings, parts
from benchmarks.compare.records import Record
from benchmarks.compare.runs import scored
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import OF_UNSEEN_CLASSES, DataSet, is_distributions, task_of
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
        person, is never parted. X may be an array, a data frame, of which estimators see an array, or a sparse matrix.
    task : {"multilabel", "label distribution", "regression", "classification"}, default=None
        Kind of the targets, which says what they are scored by; None tells it from each y. One column of whole numbers,
        such as years, is of classes then: ``"regression"`` takes them for numbers.
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
        If an argument is none of these, targets have gaps or are not of the task, X, y and groups are of several
        lengths, or a data set cannot be split like that.

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
    tables = [name for name in TASKS if name not in OF_UNSEEN_CLASSES]
    if task is not None and task not in tables:
        raise ValueError(f"task={task!r} is not known. Choose one of {tables}, or None to tell it from the targets.")
    _check_named("estimators", estimators)
    _check_named("datasets", datasets)
    if folds != HELD_OUT:
        _check_whole("folds", folds, 2, f" or {HELD_OUT!r}")
    _check_whole("repeats", repeats, 1)
    _check_whole("random_state", random_state, 0)
    settings = Settings(folds, repeats, random_state)
    jobs = []
    for name, given in datasets.items():
        data, kind = _data_set(name, given, task)
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


def _check_named(what: str, named: Any) -> None:
    """Refuse all but dictionaries whose keys are words."""
    if not isinstance(named, Mapping):
        raise ValueError(f"{what} is of type {type(named).__name__}. Pass a dictionary with a name for each.")
    others = [name for name in named if not isinstance(name, str)]
    if others:
        raise ValueError(f"{what} has the name {others[0]!r}, of type {type(others[0]).__name__}. Pass names as str.")


def _check_whole(name: str, number: Any, least: int, others: str = "") -> None:
    if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
        raise ValueError(f"{name}={number!r} cannot be taken. Pass a whole number from {least} on{others}.")


def _data_set(name: str, given: Any, task: str | None) -> tuple[DataSet, str]:
    """Data of a name, and their task."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        found = f"{len(given)} entries" if isinstance(given, tuple | list) else type(given).__name__
        raise ValueError(f"{name!r} has {found} for its data. Pass (X, y) or (X, y, groups).")
    X, y, groups = (*given, None)[:3]
    rows = X.tocsr() if sparse.issparse(X) else np.asarray(X)
    targets = _targets(name, y)
    persons = None if groups is None else np.asarray(groups)
    shapes = {"X": rows.shape, "y": targets.shape} | ({} if persons is None else {"groups": persons.shape})
    if len({shape[:1] for shape in shapes.values()}) > 1 or rows.ndim == 0:
        told = ", ".join(f"{part} of shape {shape}" for part, shape in shapes.items())
        raise ValueError(f"{name!r} has {told}. Pass as many targets, and groups, as samples.")
    kind = task or ("classification" if _is_classes(targets) else task_of(targets))
    if not _SUITED[kind](targets):
        raise ValueError(
            f"The targets of {name!r}, of shape {targets.shape} and type {targets.dtype}, are not those of {kind}: "
            f"{_MEANT[kind]}."
        )
    if kind == "classification":
        targets = np.unique(targets, return_inverse=True)[1]
    return DataSet(rows, targets, groups=persons), kind


def _targets(name: str, y: Any) -> np.ndarray:
    """Targets as an array, one column in one dimension, without gaps."""
    values = y.toarray() if sparse.issparse(y) else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2):
        raise ValueError(f"The targets of {name!r} have the shape {values.shape}. Pass one column or several.")
    if pd.isna(values).any() or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        raise ValueError(f"The targets of {name!r} are missing or infinite for some samples. Leave these samples out.")
    if values.dtype == object and (values.ndim == 2 or not any(isinstance(value, str) for value in values)):
        with suppress(TypeError, ValueError):  # numbers in a data frame of several types
            values = values.astype(np.float64)
    if values.ndim == 2 and not _is_real(values):
        raise ValueError(f"The targets of {name!r} are {values.dtype} in several columns. Pass numbers, or one column.")
    return values.astype(str) if values.dtype == object else values


def _is_classes(targets: np.ndarray) -> bool:
    """Whether targets are of one column and no fractions: numbers or names of classes."""
    return targets.ndim == 1 and not (targets.dtype.kind == "f" and (targets % 1 != 0).any())


def _is_real(targets: np.ndarray) -> bool:
    return targets.dtype.kind in "buif"


_SUITED: dict[str, Callable[[np.ndarray], bool]] = {
    "multilabel": lambda Y: Y.ndim == 2 and task_of(Y) == "multilabel",
    "label distribution": lambda Y: Y.ndim == 2 and is_distributions(Y),
    "classification": lambda Y: Y.ndim == 1 and Y.dtype.kind != "c",
    "regression": _is_real,
}
_MEANT = {
    "multilabel": "several columns of 0 and 1",
    "label distribution": "several columns of numbers from 0 on, the sum of each row 1",
    "classification": "one column of numbers or names",
    "regression": "one column of numbers or several",
}


def _record(record: Record, model: BaseEstimator, data: DataSet, train: np.ndarray, test: np.ndarray) -> Record:
    try:
        return record | scored(model, record["task"], data.X, data.Y, train, test)
    except Exception as error:  # a failure is recorded, and the others go on
        return record | {"error": f"{type(error).__name__}: {error}", "warnings": []}

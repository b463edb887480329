"""One cell of a comparison, and all of them: the same folds for every method, one record a fold."""

import platform
from collections.abc import Iterator
from importlib.metadata import version
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from iterstrat.ml_stratifiers import RepeatedMultilabelStratifiedKFold
from joblib import Parallel, delayed
from sklearn.metrics import check_scoring
from sklearn.model_selection import GroupKFold, RepeatedKFold

from benchmarks.tasks import DATASETS, TASKS, load

OFFICIAL = "official"


class Cell(NamedTuple):
    """A method on a fold of a data set."""

    dataset: str
    method: str
    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    seed: int


def splits(name: str, n_folds: int | str, n_repeats: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices of every fold of every repeat, or of the official split in every repeat.

    Folds of label sets are stratified by label (Sechidis et al., 2011). Folds for retrieval have whole classes, so that
    the classes of the test part were never seen.

    Raises
    ------
    ValueError
        If the data set has no official split.
    """
    X, Y, n_train = load(name)
    if n_folds == OFFICIAL:
        if n_train is None:
            raise ValueError(f"{name} has no official split. Pass a number of folds.")
        return [(np.arange(n_train), np.arange(n_train, len(X)))] * n_repeats
    if DATASETS[name] == "retrieval":
        folds = (GroupKFold(n_folds, shuffle=True, random_state=seed + repeat) for repeat in range(n_repeats))
        return [split for each in folds for split in each.split(X, groups=Y)]
    splitter = RepeatedMultilabelStratifiedKFold if DATASETS[name] == "multilabel" else RepeatedKFold
    return list(splitter(n_splits=n_folds, n_repeats=n_repeats, random_state=seed).split(X, Y))


def cells(datasets: list[str], methods: list[str] | None, n_folds: int | str, n_repeats: int, seed: int) -> list[Cell]:
    """Every cell of a comparison; `methods` None takes all that the data sets' tasks have but those on request.

    The seed of the methods is another one in every repeat.
    """
    n_parts = 1 if isinstance(n_folds, str) else n_folds
    tasks = {name: TASKS[DATASETS[name]] for name in datasets}
    chosen = {
        name: [*task.methods] if methods is None else [m for m in task.all_methods if m in methods]
        for name, task in tasks.items()
    }
    return [
        Cell(name, method, split // n_parts, split % n_parts, train, test, seed + split // n_parts)
        for name in datasets
        if chosen[name]
        for split, (train, test) in enumerate(splits(name, n_folds, n_repeats, seed))
        for method in chosen[name]
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Fit a method on the training part and score it on the test part.

    Returns
    -------
    dict
        Record of the cell, ready for JSON. A failure is recorded under ``"error"`` and has no scores.
    """
    task = TASKS[DATASETS[cell.dataset]]
    model = task.all_methods[cell.method](cell.seed)
    record: dict[str, Any] = {
        "dataset": cell.dataset,
        "method": cell.method,
        "repeat": cell.repeat,
        "fold": cell.fold,
        "seed": cell.seed,
        "n_train": len(cell.train),
        "n_test": len(cell.test),
        "parameters": {name: _plain(value) for name, value in sorted(model.get_params().items())},
        "versions": versions(),
    }
    X, Y, _ = load(cell.dataset)
    try:
        start = perf_counter()
        model.fit(X[cell.train], Y[cell.train])
        fitted = perf_counter()
        scores = check_scoring(model, task.scorers)(model, X[cell.test], Y[cell.test])
        scored = perf_counter()
    except Exception as error:  # a method that fails is a result, and the others go on
        return {**record, "error": f"{type(error).__name__}: {error}"}
    return {
        **record,
        "fit_seconds": fitted - start,
        "score_seconds": scored - fitted,
        "scores": {criterion.title: criterion.sign * scores[criterion.scorer] for criterion in task.criteria},
    }


def run(comparison: list[Cell], n_jobs: int) -> Iterator[dict[str, Any]]:
    """Records of all cells, as they are done."""

    def place_in_table(cell: Cell) -> int:
        return list(TASKS[DATASETS[cell.dataset]].all_methods).index(cell.method)

    # Each table begins with the plain predictor, the cheapest: it goes last, and no worker ends on a long cell.
    plain_last = sorted(comparison, key=place_in_table, reverse=True)
    return Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(run_cell)(cell) for cell in plain_last)


def versions() -> dict[str, str]:
    """Versions of all that the figures depend on."""
    packages = ("skrelmetric", "scikit-learn", "torch", "numpy", "scipy", "iterative-stratification")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _plain(value: Any) -> Any:
    """Value as JSON has it; an object by its repr."""
    return value if isinstance(value, bool | int | float | str | None) else repr(value)

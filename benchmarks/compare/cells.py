"""Cells of a comparison: a method on a fold of a data set, the same folds for every method."""

import json
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from iterstrat.ml_stratifiers import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    RepeatedMultilabelStratifiedKFold,
)
from sklearn.base import BaseEstimator
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

import benchmarks
import skrelmetric
from benchmarks.compare.methods import Method, for_sparse
from benchmarks.compare.records import Plain, Record
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import Source, digest, load

OFFICIAL = "official"
HELD_OUT = "held-out"

INNER_FOLDS = 3
"""Folds of the training samples that hyper-parameters are chosen by."""

_TEST_SHARE = 1 / 3  # of what is held out once

_NO_FIGURES = {"show", "plotting"}  # folders of source that no figure depends on

_REPEATED = {
    "multilabel": RepeatedMultilabelStratifiedKFold,
    "classification": RepeatedStratifiedKFold,
    "label distribution": RepeatedKFold,
}
_ONCE = {
    "multilabel": MultilabelStratifiedShuffleSplit,
    "classification": StratifiedShuffleSplit,
    "label distribution": ShuffleSplit,
    "retrieval": GroupShuffleSplit,
}
_INNER = {"multilabel": MultilabelStratifiedKFold, "classification": StratifiedKFold, "label distribution": KFold}


class Settings(NamedTuple):
    """Settings of a comparison on a data set.

    Attributes
    ----------
    folds : int, "official" or "held-out"
        Number of folds, the official split, or one third that is held out at random.
    repeats : int
        Repeats of the folds, or of what is held out; of the official split, with other seeds of the methods.
    seed : int
        Seed of folds and methods.
    search : bool
        Whether hyper-parameters are chosen by cross-validation within the training samples of each fold.
    timeout : float or None
        Seconds after which a fold of a method counts as failed.
    """

    folds: int | str = 3
    repeats: int = 2
    seed: int = 0
    search: bool = False
    timeout: float | None = None


class Cell(NamedTuple):
    """Method on a fold of a data set."""

    source: Source
    method: str
    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    settings: Settings

    @property
    def seed(self) -> int:
        """Seed of the method, another one in every repeat."""
        return self.settings.seed + self.repeat

    def model(self) -> BaseEstimator:
        """Estimator for the training samples: the method, or the search over its grid."""
        task, method = TASKS[self.source.task], self._method()
        model = method.build(self.seed)
        if not (self.settings.search and method.grid):
            return model
        folds = _INNER[self.source.task](INNER_FOLDS, shuffle=True, random_state=self.seed)
        return GridSearchCV(model, method.grid, scoring=cast(Mapping, task.scorers)[task.searched], cv=folds)

    def _method(self) -> Method:
        method = TASKS[self.source.task].methods[self.method]
        return for_sparse(method) if self.source.is_sparse else method

    def identity(self) -> Record:
        """All that the scores depend on, ready for JSON."""
        task, method = TASKS[self.source.task], self._method()
        parameters = method.build(self.seed).get_params().items()
        return {
            "dataset": self.source.name,
            "task": self.source.task,
            "method": self.method,
            "data": None if self.source.path is None else digest(self.source),
            "folds": self.settings.folds,
            "repeat": self.repeat,
            "fold": self.fold,
            "seed": self.seed,
            "search": self.settings.search,
            "n_train": len(self.train),
            "n_test": len(self.test),
            "parameters": {name: plain(value) for name, value in sorted(parameters)},
            "grid": {name: [plain(value) for value in values] for name, values in method.grid.items()}
            if self.settings.search
            else {},
            "inner_folds": INNER_FOLDS if self.settings.search else None,
            "criteria": [criterion.title for criterion in task.criteria],
            "versions": versions(),
        }


def splits(source: Source, settings: Settings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices of every fold of every repeat, or of the one split in every repeat.

    Folds, and what is held out, are stratified by class, and those of label sets by label (Sechidis et al., 2011).
    Those for retrieval have whole classes, so that the classes of the test samples were never seen.

    Raises
    ------
    ValueError
        If the data set has no official split, or too few samples, or too few of a class, for the folds.
    """
    X, Y, n_train, *_ = load(source)
    n_folds, n_repeats, seed = settings.folds, settings.repeats, settings.seed
    if n_folds == OFFICIAL:
        if n_train is None:
            raise ValueError(f"{source.name} has no official split. Pass a number of folds, or {HELD_OUT!r}.")
        return [(np.arange(n_train), np.arange(n_train, len(Y)))] * n_repeats
    if n_folds == HELD_OUT:
        splitters = [_ONCE[source.task](n_repeats, test_size=_TEST_SHARE, random_state=seed)]
    elif source.task == "retrieval":
        splitters = [GroupKFold(n_folds, shuffle=True, random_state=seed + repeat) for repeat in range(n_repeats)]
    else:
        splitters = [_REPEATED[source.task](n_splits=n_folds, n_repeats=n_repeats, random_state=seed)]
    groups = Y if source.task == "retrieval" else None
    try:
        return [split for splitter in splitters for split in splitter.split(X, Y, groups)]
    except ValueError as error:
        if n_folds == HELD_OUT:
            raise ValueError(f"No third of {source.name} can be held out: {error} Pass a number of --folds.") from error
        raise ValueError(f"{source.name} cannot be split into {n_folds} folds: {error} Pass fewer --folds.") from error


def cells(source: Source, methods: list[str], settings: Settings) -> list[Cell]:
    """Every cell of a comparison on a data set, of those methods that are for its task."""
    n_folds = 1 if isinstance(settings.folds, str) else settings.folds
    chosen = [name for name in TASKS[source.task].methods if name in methods]
    return [
        Cell(source, name, split // n_folds, split % n_folds, train, test, settings)
        for split, (train, test) in enumerate(splits(source, settings) if chosen else [])
        for name in chosen
    ]


def done(cells: list[Cell], records: Iterable[Record]) -> tuple[list[Record], list[Cell]]:
    """Records that cells already have, the newest where there are several, and the cells that have none.

    A cell whose only records are failures has none: it is tried again.
    """
    found = _newest(cells, [record for record in records if "scores" in record])
    missing = [cell for cell, record in zip(cells, found, strict=True) if record is None]
    return [record for record in found if record is not None], missing


def shown(cells: list[Cell], records: list[Record]) -> list[Record]:
    """Newest record of each cell, or else its newest failure; records of other versions are as good."""
    failures_first = sorted(records, key=lambda record: "scores" in record)
    return [record for record in _newest(cells, failures_first, but="versions") if record is not None]


def _newest(cells: list[Cell], records: Iterable[Record], but: str | None = None) -> list[Record | None]:
    identities = [json.loads(json.dumps(cell.identity())) for cell in cells]  # as they come back from a file
    names = sorted({name for identity in identities for name in identity if name != but})
    by_key = {_key(record, names): record for record in records}
    return [by_key.get(_key(identity, names)) for identity in identities]


def _key(record: Mapping[str, object], names: list[str]) -> str:
    return json.dumps([record.get(name) for name in names], sort_keys=True)


@cache
def versions() -> dict[str, str]:
    """Versions of all that figures depend on, and a digest of the source of the package and of the benchmarks."""
    packages = ("skrelmetric", "scikit-learn", "torch", "numpy", "scipy", "iterative-stratification")
    folders = [Path(module.__file__).parent for module in (skrelmetric, benchmarks) if module.__file__]
    files = sorted(
        file
        for folder in folders
        for file in folder.rglob("*.py")
        if _NO_FIGURES.isdisjoint(file.relative_to(folder).parts)
    )
    source = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "source": source,
    }


def plain(value: object) -> Plain:
    """Value as JSON has it; an object by its representation, without where it happens to lie in memory."""
    if isinstance(value, bool | int | float | str | None):
        return value
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))

"""Cells of a comparison: a method on a fold of a data set, the same folds for every method."""

import json
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import product
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
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.data.sources import OF_UNSEEN_CLASSES, DataSet, Source, digest, load

OFFICIAL = "official"
HELD_OUT = "held-out"

INNER_FOLDS = 3
"""Folds of the training samples that hyper-parameters are chosen by."""

_TEST_SHARE = 1 / 3  # of what is held out once

_WATCHES = "callbacks"  # name of a parameter that no figure depends on

_NO_FIGURES = {"show", "speed", "plotting", "cli.py", "options.py", "profiles.py"}  # source that no figure depends on

_OF_RIVALS = ("catboost", "mlrl-boomer", "python-ldl")  # which need not be installed

_REPEATED = {
    "multilabel": RepeatedMultilabelStratifiedKFold,
    "classification": RepeatedStratifiedKFold,
    "label distribution": RepeatedKFold,
    "regression": RepeatedKFold,
}
_ONCE = {
    "multilabel": MultilabelStratifiedShuffleSplit,
    "classification": StratifiedShuffleSplit,
    "label distribution": ShuffleSplit,
    "regression": ShuffleSplit,
    **dict.fromkeys(OF_UNSEEN_CLASSES, GroupShuffleSplit),
}
_INNER = {
    "multilabel": MultilabelStratifiedKFold,
    "classification": StratifiedKFold,
    "label distribution": KFold,
    "regression": KFold,
}


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
        Seconds after which a fold of a method counts as too slow.
    most_samples : int or None
        Samples of a training part, and of a test part, of which no more are drawn; None for all.
    keep_groups : bool
        Whether folds keep samples together that a data set says belong together. Photographs of a person are near
        copies: where folds part them, methods are scored by how well they find the same person again.
    """

    folds: int | str = 3
    repeats: int = 2
    seed: int = 0
    search: bool = False
    timeout: float | None = None
    most_samples: int | None = None
    keep_groups: bool = True

    @property
    def n_folds(self) -> int:
        """Folds of a repeat."""
        return 1 if isinstance(self.folds, str) else self.folds


class Cell(NamedTuple):
    """Method on a fold of a data set."""

    source: Source
    method: str
    repeat: int
    fold: int
    settings: Settings

    @property
    def train(self) -> np.ndarray:
        """Indices of the training samples."""
        return self._split()[0]

    @property
    def test(self) -> np.ndarray:
        """Indices of the test samples."""
        return self._split()[1]

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        return _splits(self.source, self.settings)[self.repeat * self.settings.n_folds + self.fold]

    @property
    def criteria(self) -> list[Criterion]:
        """Criteria of the task that there are labels enough for."""
        return TASKS[self.source.task].defined(load(self.source).Y)

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
        scorers = cast(Mapping, task.scorers(load(self.source).Y[self.train]))
        return GridSearchCV(model, method.grid, scoring=scorers[task.searched], cv=folds)

    def _method(self) -> Method:
        method = TASKS[self.source.task].methods[self.method]
        return for_sparse(method) if self.source.is_sparse else method

    def identity(self) -> Record:
        """All that the scores depend on, ready for JSON."""
        return self.plan() | {
            "n_train": len(self.train),
            "n_test": len(self.test),
            "criteria": [criterion.title for criterion in self.criteria],
            "versions": versions(),
        }

    def plan(self) -> Record:
        """What can be said of the cell before its data are read, but for those of a file of one's own."""
        method = self._method()
        parameters = method.build(self.seed).get_params().items()
        return {
            "dataset": self.source.name,
            "task": self.source.task,
            "method": self.method,
            "data": None if self.source.path is None else digest(self.source),
            "folds": self.settings.folds,
            "most_samples": self.settings.most_samples,
            "groups": None if self.settings.keep_groups else "parted",
            "repeat": self.repeat,
            "fold": self.fold,
            "seed": self.seed,
            "search": self.settings.search,
            "parameters": {name: plain(value) for name, value in sorted(parameters) if not name.endswith(_WATCHES)},
            "grid": {name: [plain(value) for value in values] for name, values in method.grid.items()}
            if self.settings.search
            else {},
            "inner_folds": INNER_FOLDS if self.settings.search else None,
        }


def splits(source: Source, settings: Settings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices of every fold of every repeat, or of the one split in every repeat.

    Folds, and what is held out, are stratified by class, and those of label sets by label (Sechidis et al., 2011).
    Those for retrieval have whole classes, so that the classes of the test samples were never seen; and where a data
    set says which samples belong together, such as photographs of one person, they are kept together.

    Raises
    ------
    ValueError
        If the data set has no official split, or too few samples, or too few of a class, for the folds.
    """
    return parts(load(source), source.task, settings, source.name)


def parts(data: DataSet, task: str, settings: Settings, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices of data that are at hand; see :func:`splits`."""
    found = _whole_parts(data, task, settings, name)
    if settings.most_samples is None:
        return found
    generator = np.random.default_rng(settings.seed)
    return [(_some(train, settings, generator), _some(test, settings, generator)) for train, test in found]


def _some(rows: np.ndarray, settings: Settings, generator: np.random.Generator) -> np.ndarray:
    return np.sort(generator.permutation(rows)[: settings.most_samples])


def _whole_parts(data: DataSet, task: str, settings: Settings, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    X, Y, n_train, groups = data
    n_folds, n_repeats, seed = settings.folds, settings.repeats, settings.seed
    if n_folds == OFFICIAL:
        if n_train is None:
            raise ValueError(f"{name} has no official split. Pass a number of folds, or {HELD_OUT!r}.")
        return [(np.arange(n_train), np.arange(n_train, len(Y)))] * n_repeats
    groups = Y if task in OF_UNSEEN_CLASSES else groups if settings.keep_groups else None
    if n_folds == HELD_OUT:
        once = _ONCE[task] if groups is None else GroupShuffleSplit
        splitters = [once(n_repeats, test_size=_TEST_SHARE, random_state=seed)]
    elif groups is not None:
        splitters = [GroupKFold(n_folds, shuffle=True, random_state=seed + repeat) for repeat in range(n_repeats)]
    else:
        splitters = [_REPEATED[task](n_splits=n_folds, n_repeats=n_repeats, random_state=seed)]
    try:
        return [split for splitter in splitters for split in splitter.split(X, Y, groups)]
    except ValueError as error:
        if n_folds == HELD_OUT:
            raise ValueError(f"No third of {name} can be held out: {error} Pass a number of folds.") from error
        raise ValueError(f"{name} cannot be split into {n_folds} folds: {error} Pass fewer folds.") from error


_splits = cache(splits)


def cells(source: Source, methods: list[str], settings: Settings) -> list[Cell]:
    """Every cell of a comparison on a data set, of those methods that are for its task."""
    chosen = [name for name in TASKS[source.task].methods if name in methods]
    folds = product(range(settings.repeats), range(settings.n_folds))
    return [Cell(source, name, repeat, fold, settings) for repeat, fold in folds for name in chosen]


def done(cells: list[Cell], records: Iterable[Record], of_any_version: bool = False) -> tuple[list[Record], list[Cell]]:
    """Records that cells already have, the newest where there are several, and the cells that have none.

    A cell whose only records are failures has none: it is tried again, unless it was too slow for at least the time
    that it has now. Records of other versions count only `of_any_version`.
    """
    identities = [cell.identity() for cell in cells]
    found = _newest(identities, list(filter(_is_final, records)), "versions" if of_any_version else None)
    found = [
        record if record and ("scores" in record or record["timeout"] >= (cell.settings.timeout or np.inf)) else None
        for cell, record in zip(cells, found, strict=True)
    ]
    missing = [cell for cell, record in zip(cells, found, strict=True) if record is None]
    return [record for record in found if record is not None], missing


def _is_final(record: Record) -> bool:
    return "scores" in record or bool(record.get("too_slow") and "timeout" in record)


def shown(cells: list[Cell], records: list[Record]) -> list[Record]:
    """Newest record of each cell, or else its newest failure; records of other versions are as good."""
    failures_first = sorted(records, key=lambda record: "scores" in record)
    return [record for record in _newest([cell.plan() for cell in cells], failures_first) if record is not None]


def _newest(identities: list[Record], records: Iterable[Record], but: str | None = None) -> list[Record | None]:
    known = [json.loads(json.dumps(identity)) for identity in identities]  # as they come back from a file
    names = sorted({name for identity in known for name in identity if name != but})
    by_key = {_key(record, names): record for record in records}
    return [by_key.get(_key(identity, names)) for identity in known]


def _key(record: Mapping[str, object], names: list[str]) -> str:
    return json.dumps([record.get(name) for name in names], sort_keys=True)


@cache
def versions() -> dict[str, str]:
    """Versions of all that figures depend on, and a digest of the source of the package and of the benchmarks."""
    packages = ("skrelmetric", "scikit-learn", "torch", "numpy", "scipy", "iterative-stratification", *_OF_RIVALS)
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
        **{package: installed for package in packages if (installed := _version(package))},
        "source": source,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def plain(value: object) -> Plain:
    """Value as JSON has it; an object by its representation, without where it happens to lie in memory."""
    if isinstance(value, bool | int | str | None) or (isinstance(value, float) and np.isfinite(value)):
        return value
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))

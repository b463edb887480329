"""Results: means over folds, by data set and method."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from benchmarks.compare.cells import OFFICIAL
from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.data.sources import DATASETS


class Usage(NamedTuple):
    """Time and memory of a method that ran alone, in a process of its own.

    Attributes
    ----------
    score_seconds : float
        Median time of predictions and their criteria.
    before_mib, peak_mib : float
        Resident memory of the process with the data loaded, before the fit, and at most until the scores were there;
        of several folds the one with the highest peak.
    """

    score_seconds: float
    before_mib: float
    peak_mib: float

    def cells(self) -> list[str]:
        """Its numbers as words, one for each of the headings."""
        return [form.format(number) for form, number in zip(USAGE.values(), self, strict=True)]


USAGE = {"Score, s": "{:,.2f}", "Before, MiB": "{:,.0f}", "Peak, MiB": "{:,.0f}"}
"""Headings of time and memory of methods that ran alone, and forms of the numbers."""


class Row(NamedTuple):
    """Values of a method on the folds of a data set.

    Attributes
    ----------
    method : str
        Its name.
    values : dict of str to ndarray
        Values of each criterion by its title, one for each fold that it came through, in their order.
    seconds : float
        Median time of a fit, without the search.
    errors : tuple of str
        Errors of other folds.
    folds : frozenset of (int, int)
        Repeat and fold of all that it was tried on.
    usage : Usage or None
        Time and memory of its processes, where each ran alone and they were recorded.
    too_slow : bool
        Whether it was too slow on a fold, and failed on none otherwise.
    n_test : int
        Test samples of all folds that it came through, 0 where records do not say.
    score_seconds : float
        Median time of predictions and their criteria, NaN where records do not say.
    memory_mib : float
        Most memory that a fit and its predictions took beyond the data, NaN where records do not say.
    """

    method: str
    values: dict[str, np.ndarray]
    seconds: float
    errors: tuple[str, ...]
    folds: frozenset[tuple[int, int]] = frozenset()
    usage: Usage | None = None
    too_slow: bool = False
    n_test: int = 0
    score_seconds: float = float("nan")
    memory_mib: float = float("nan")

    @property
    def means(self) -> dict[str, float]:
        """Mean of each criterion; none where every fold failed."""
        return {title: float(values.mean()) for title, values in self.values.items() if len(values)}


class Result(NamedTuple):
    """Rows of the methods that were compared on a data set, in the order of the task; whether on its official split."""

    dataset: str
    task: str
    rows: tuple[Row, ...]
    is_official: bool = False

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Criteria that methods are ranked by."""
        return tuple(criterion for criterion in TASKS[self.task].criteria if criterion.ranked)

    @property
    def others(self) -> tuple[Criterion, ...]:
        """Further criteria, as far as all records have them."""
        known = [row.values.keys() for row in self.rows if row.means]
        others = (criterion for criterion in TASKS[self.task].criteria if not criterion.ranked)
        return tuple(each for each in others if known and all(each.title in titles for titles in known))

    @property
    def folds(self) -> frozenset[tuple[int, int]]:
        """Repeat and fold of all that any method was tried on."""
        return frozenset().union(*(row.folds for row in self.rows))

    @property
    def measured(self) -> str:
        """Meaning of a figure, in words."""
        n_folds, n_repeats = len(self.folds), len({repeat for repeat, _ in self.folds})
        if n_folds == 1:
            return "one test fold"
        if self.is_official:
            return f"mean ± sd over {n_repeats} seeds on one test part"
        return f"mean ± sd over {n_folds} test folds"

    @property
    def has_usage(self) -> bool:
        """Whether more than times of fits was recorded of any method."""
        return any(row.usage for row in self.rows)

    def is_complete(self, row: Row) -> bool:
        """Whether a method came through all folds that any was tried on."""
        return not row.errors and row.folds == self.folds

    def best(self, criterion: Criterion) -> float:
        """Best mean of a column, NaN where there is none; that of all folds where any method came through all."""
        scored = [row for row in self.rows if row.means]
        complete = [row for row in scored if self.is_complete(row)]
        means = [row.means[criterion.title] for row in complete or scored]
        return max(means, key=lambda mean: criterion.sign * mean, default=float("nan"))


def results(records: Iterable[Record]) -> list[Result]:
    """Result on each data set, those that have a name here first and in their order."""
    by_dataset: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_dataset[record["dataset"], record["task"]][record["method"]].append(record)
    order = {name: place for place, name in enumerate(DATASETS)}
    return [
        Result(
            name,
            task,
            tuple(_row(method, of_method[method], task) for method in _in_order(task, of_method)),
            any(map(_is_official, chain(*of_method.values()))),
        )
        for (name, task), of_method in sorted(by_dataset.items(), key=lambda item: order.get(item[0][0], len(order)))
    ]


def _is_official(record: Record) -> bool:
    """Whether a record is of a whole official split, of which no samples were drawn."""
    most = record.get("most_samples")
    return record.get("folds") == OFFICIAL and (
        most is None or most not in (record.get("n_train"), record.get("n_test"))
    )


def results_by_task(records: Iterable[Record]) -> dict[str, list[Result]]:
    """Results of the data sets of each task."""
    by_task: dict[str, list[Result]] = {}
    for result in results(records):
        by_task.setdefault(result.task, []).append(result)
    return by_task


def _in_order(task: str, methods: Iterable[str]) -> list[str]:
    """Methods in the order of the task; those of older records that it no longer has at the end."""
    known = list(TASKS[task].methods)
    return sorted(methods, key=lambda method: known.index(method) if method in known else len(known))


def _row(method: str, records: list[Record], task: str) -> Row:
    records = sorted(records, key=lambda record: (record.get("repeat", 0), record.get("fold", 0)))
    scored = [record for record in records if "scores" in record]
    values = {
        criterion.title: np.array([record["scores"][criterion.title] for record in scored])
        for criterion in TASKS[task].criteria
        if criterion.ranked or (scored and all(criterion.title in record["scores"] for record in scored))
    }
    seconds = float(np.median([record["fit_seconds"] for record in scored])) if scored else float("nan")
    score_seconds = [record["score_seconds"] for record in scored if "score_seconds" in record]
    grown = [memory["peak"] - memory["before"] for record in scored if (memory := _memory(record))]
    failed = [record for record in records if "scores" not in record]
    errors = tuple(record["error"] for record in failed)
    too_slow = bool(failed) and all(record.get("too_slow", False) for record in failed)
    n_test = sum(record.get("n_test", 0) for record in scored)
    folds = frozenset((record.get("repeat", 0), record.get("fold", 0)) for record in records)
    return Row(
        method,
        values,
        seconds,
        errors,
        folds,
        _usage(scored),
        too_slow,
        n_test,
        float(np.median(score_seconds)) if score_seconds else float("nan"),
        max(grown, default=float("nan")),
    )


def _memory(record: Record) -> dict[str, float]:
    """Memory that was recorded, or none."""
    memory = record.get("memory_mib", {})
    return memory if memory.keys() >= {"before", "peak"} else {}


def _usage(records: list[Record]) -> Usage | None:
    """Usage that was recorded, if any."""
    records = [
        record
        for record in records
        if record.get("alone")
        and "score_seconds" in record
        and record.get("memory_mib", {}).keys() >= {"before", "peak"}
    ]
    if not records:
        return None
    highest = max((record["memory_mib"] for record in records), key=lambda memory: memory["peak"])
    seconds = float(np.median([record["score_seconds"] for record in records]))
    return Usage(seconds, highest["before"], highest["peak"])

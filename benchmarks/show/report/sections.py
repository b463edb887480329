"""Sections of the report, one for each data set: tables and plots of dots, in numbers and words without markup."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmarks.compare.cells import HELD_OUT, OFFICIAL
from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.data.sources import DATASETS
from benchmarks.show import published
from benchmarks.show.results import Result, Usage

PAPER_FOLDS = {"multilabel": OFFICIAL, "label distribution": 10}
"""Folds of the HRAML paper for each kind of target."""


class Entry(NamedTuple):
    """Cell of a table: mean and standard deviation over folds, None of the latter where there is one fold."""

    mean: float
    sd: float | None
    best: bool
    paper: float | None


class Line(NamedTuple):
    """Row of a table; entries and seconds are None where every fold failed, usage where it was not recorded."""

    method: str
    entries: tuple[Entry | None, ...]
    seconds: float | None
    n_failed: int
    n_folds: int
    usage: Usage | None = None


class Dot(NamedTuple):
    """Method in a plot of dots: places in percent of the width, from low to high value."""

    method: str
    entry: Entry
    place: float
    low: float
    high: float
    paper: float | None


class Plot(NamedTuple):
    """Methods by one criterion, best first; `ticks` are pairs of a place in percent and a number."""

    criterion: Criterion
    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]
    reference: float | None


class Failure(NamedTuple):
    """Error of a method, and on how many folds it came up."""

    method: str
    error: str
    n_folds: int


class Section(NamedTuple):
    """Contents of a section but for its pictures."""

    name: str
    task: str
    protocol: str
    criteria: tuple[Criterion, ...]
    lines: tuple[Line, ...]
    paper_best: tuple[float | None, ...]
    paper_protocol: str
    baseline: str
    failures: tuple[Failure, ...]
    plots: tuple[Plot, ...]
    headline: int

    @property
    def n_folds(self) -> int:
        """Most fits of a method."""
        return max(line.n_folds for line in self.lines)

    @property
    def has_usage(self) -> bool:
        """Whether more than times of fits was recorded of any method."""
        return any(line.usage for line in self.lines)


def usable(records: Iterable[Record]) -> list[Record]:
    """Records that tables can be made of: those of an older format may lack the task, or criteria of today."""
    return [known for record in records if _is_usable(known := _with_task(record))]


def _with_task(record: Record) -> Record:
    if "task" in record or record.get("dataset") not in DATASETS:
        return record
    return record | {"task": DATASETS[record["dataset"]].task}


def _is_usable(record: Record) -> bool:
    if not record.keys() >= {"dataset", "method", "task"} or record["task"] not in TASKS:
        return False
    titles = {criterion.title for criterion in TASKS[record["task"]].criteria if criterion.ranked}
    return record["scores"].keys() >= titles and "fit_seconds" in record if "scores" in record else "error" in record


def headline(task: str) -> int:
    """Place among the criteria of the one that stands for all: what a search maximises, or else the first."""
    scorers = [criterion.scorer for criterion in TASKS[task].criteria]
    searched = TASKS[task].searched
    return scorers.index(searched) if searched in scorers else 0


def section(result: Result, records: Iterable[Record]) -> Section:
    """Tables and plots of a data set."""
    records = [r for r in records if (r["dataset"], r["task"]) == (result.dataset, result.task)]
    paper = published.PAPER.get(result.dataset, {})
    best = {criterion.title: result.best(criterion) for criterion in result.criteria}
    lines = tuple(
        Line(
            row.method,
            tuple(_entry(row.values[title], best[title], paper.get(row.method, {}).get(title)) for title in best),
            row.seconds if row.means else None,
            len(row.errors),
            len(row.errors) + len(next(iter(row.values.values()))),
            row.usage,
        )
        for row in result.rows
    )
    errors = Counter((row.method, error) for row in result.rows for error in row.errors)
    baseline = TASKS[result.task].predictor
    plots = (_plot(criterion, k, lines, baseline) for k, criterion in enumerate(result.criteria))
    return Section(
        result.dataset,
        result.task,
        _protocol(records),
        result.criteria,
        lines,
        tuple(published.best(result.dataset).get(title) for title in best),
        ("on the official split" if PAPER_FOLDS.get(result.task) == OFFICIAL else "over ten folds") if paper else "",
        baseline,
        tuple(Failure(method, error, n) for (method, error), n in errors.items()),
        tuple(plot for plot in plots if plot.dots),
        headline(result.task),
    )


def _entry(values: np.ndarray, best: float, paper: float | None) -> Entry | None:
    sd = float(values.std()) if len(values) > 1 else None
    return Entry(float(values.mean()), sd, values.mean() == best, paper) if len(values) else None


def _protocol(records: list[Record]) -> str:
    """Protocol by which the data set was split, in words, as far as records say."""
    folds, repeats = {record.get("folds") for record in records}, {record.get("repeat", 0) for record in records}
    words = []
    if folds == {OFFICIAL}:
        words.append("official split")
    elif folds == {HELD_OUT}:
        words.append("a third held out")
    elif len(folds) == 1 and None not in folds:
        words.append(f"{folds.pop()} folds")
    if len(repeats) > 1:
        words.append(f"{len(repeats)} repeats")
    sizes_of = {"training": [r.get("n_train") for r in records], "test": [r.get("n_test") for r in records]}
    for subset, of_records in sizes_of.items():
        if sizes := [size for size in of_records if size is not None]:
            number = f"{min(sizes):,} to {max(sizes):,}" if len(set(sizes)) > 1 else f"{sizes[0]:,}"
            words.append(f"{number} {subset} samples")
    return ", ".join(words)


def _plot(criterion: Criterion, column: int, lines: tuple[Line, ...], baseline: str) -> Plot:
    entries = {line.method: entry for line in lines if (entry := line.entries[column])}
    if not entries:
        return Plot(criterion, (), (), None)
    ends = [entry.mean + side * (entry.sd or 0.0) for entry in entries.values() for side in (-1, 1)]
    ends += [entry.paper for entry in entries.values() if entry.paper is not None]
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(min(ends), max(ends))
    low, high = float(ticks[0]), float(ticks[-1])

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    dots = [
        Dot(
            method,
            entry,
            place(entry.mean),
            place(entry.mean - (entry.sd or 0.0)),
            place(entry.mean + (entry.sd or 0.0)),
            None if entry.paper is None else place(entry.paper),
        )
        for method, entry in entries.items()
    ]
    dots.sort(key=lambda dot: -criterion.sign * dot.entry.mean)
    reference = place(entries[baseline].mean) if baseline in entries and len(entries) > 1 else None
    n_decimals = max(0, -int(np.floor(np.log10(ticks[1] - ticks[0]) + 1e-9)))
    return Plot(criterion, tuple(dots), tuple((place(tick), f"{tick:.{n_decimals}f}") for tick in ticks), reference)

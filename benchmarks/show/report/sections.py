"""Sections of the report, one for each data set: tables and plots of dots, in numbers and words without markup."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchmarks.compare.cells import HELD_OUT, OFFICIAL
from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.data.sources import DATASETS
from benchmarks.show import published
from benchmarks.show.report.dots import Measured, Plot, by_criterion
from benchmarks.show.results import Result, Row, Usage

PAPER_FOLDS = {"multilabel": OFFICIAL, "label distribution": 10}
"""Folds of the HRAML paper for each kind of target."""

_Paper = dict[str, dict[str, float]]


class Entry(NamedTuple):
    """Cell of a table: mean and standard deviation over folds, None of the latter where there is one fold."""

    mean: float
    sd: float | None
    best: bool
    paper: float | None


class Line(NamedTuple):
    """Row of a table: methods with the same scores on every fold.

    Attributes
    ----------
    methods : tuple of str
        Their names.
    entries, others : tuple of Entry or None
        Ranked and further criteria; None where no fold has scores.
    seconds : float or None
        Median time of a fit of the fastest of the methods, None where no fold has scores.
    n_scored : int
        Folds with scores.
    too_slow : bool
        Whether it was too slow on a fold, and failed on none otherwise.
    usage : Usage or None
        Time and memory, where they were recorded.
    """

    methods: tuple[str, ...]
    entries: tuple[Entry | None, ...]
    others: tuple[Entry | None, ...]
    seconds: float | None
    n_scored: int
    too_slow: bool
    usage: Usage | None = None

    @property
    def method(self) -> str:
        """Names of the methods in one."""
        return ", ".join(self.methods)


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
    others: tuple[Criterion, ...]
    lines: tuple[Line, ...]
    paper_best: tuple[float | None, ...]
    paper_protocol: str
    baseline: str
    failures: tuple[Failure, ...]
    slow: tuple[Failure, ...]
    plots: tuple[tuple[Criterion, Plot], ...]
    headline: int
    n_folds: int

    @property
    def has_times(self) -> bool:
        """Whether any fold has scores, and so the time of a fit."""
        return any(line.seconds is not None for line in self.lines)

    @property
    def has_usage(self) -> bool:
        """Whether more than times of fits was recorded of any method."""
        return any(line.usage for line in self.lines)

    @property
    def is_complete(self) -> bool:
        """Whether every method has scores on all folds."""
        return all(line.n_scored == self.n_folds for line in self.lines)

    @property
    def is_merged(self) -> bool:
        """Whether any row stands for several methods."""
        return any(len(line.methods) > 1 for line in self.lines)

    @property
    def gist(self) -> str:
        """Best method by the headline, in words; none where there are no scores."""
        if not self.plots:
            return ""
        criterion, plot = self.plots[self.headline]
        return f"{criterion.title.rpartition(' ')[0]} {plot.dots[0].words}: {plot.dots[0].method}"


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
    """Place among the ranked criteria of the one that stands for all: what a search maximises, or else the first."""
    scorers = [criterion.scorer for criterion in TASKS[task].criteria if criterion.ranked]
    searched = TASKS[task].searched
    return scorers.index(searched) if searched in scorers else 0


def section(result: Result, records: Iterable[Record]) -> Section:
    """Tables and plots of a data set."""
    records = [r for r in records if (r["dataset"], r["task"]) == (result.dataset, result.task)]
    paper = published.PAPER.get(result.dataset, {})
    criteria = [result.criteria, result.others]
    best = {criterion.title: result.best(criterion) for of_table in criteria for criterion in of_table}
    lines = tuple(_line(rows, criteria, best, paper) for rows in _alike(result.rows))
    errors = Counter((row.method, error, row.too_slow) for row in result.rows for error in row.errors)
    troubles = [(Failure(method, error, n), too_slow) for (method, error, too_slow), n in errors.items()]
    baseline = TASKS[result.task].predictor
    plots = ((criterion, _plot(criterion, k, lines, baseline)) for k, criterion in enumerate(result.criteria))
    return Section(
        result.dataset,
        result.task,
        _protocol(records),
        result.criteria,
        result.others,
        lines,
        tuple(published.best(result.dataset).get(criterion.title) for criterion in result.criteria),
        ("on the official split" if PAPER_FOLDS.get(result.task) == OFFICIAL else "over ten folds") if paper else "",
        baseline,
        tuple(failure for failure, too_slow in troubles if not too_slow),
        tuple(failure for failure, too_slow in troubles if too_slow),
        tuple((criterion, plot) for criterion, plot in plots if plot.dots),
        headline(result.task),
        len(result.folds),
    )


def _alike(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows in groups: together those whose scores are equal on every fold, in the order of the first of each group."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        scores = tuple((title, tuple(values)) for title, values in row.values.items())
        is_whole = bool(row.means) and not row.errors
        groups.setdefault((row.folds, scores) if is_whole else row.method, []).append(row)
    return list(groups.values())


def _line(rows: list[Row], criteria: list[tuple[Criterion, ...]], best: dict[str, float], paper: _Paper) -> Line:
    """Row of both tables, ranked and further criteria, of methods with the same scores."""
    fastest = min(rows, key=lambda row: row.seconds) if len(rows) > 1 else rows[0]
    of_paper = next((paper[row.method] for row in rows if row.method in paper), {})
    ranked, others = (
        tuple(_entry(fastest.values.get(title), best[title], of_paper.get(title)) for title, *_ in of_table)
        for of_table in criteria
    )
    return Line(
        tuple(row.method for row in rows),
        ranked,
        others,
        fastest.seconds if fastest.means else None,
        len(fastest.folds) - len(fastest.errors),
        fastest.too_slow,
        fastest.usage,
    )


def _entry(values: np.ndarray | None, best: float, paper: float | None) -> Entry | None:
    if values is None or not len(values):
        return None
    sd = float(values.std()) if len(values) > 1 else None
    return Entry(float(values.mean()), sd, bool(values.mean() == best), paper)


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
    entries = [(line, entry) for line in lines if (entry := line.entries[column])]
    measured = [Measured(line.method, entry.mean, *_whisker(entry), entry.paper, entry.best) for line, entry in entries]
    means = [entry.mean for line, entry in entries if baseline in line.methods]
    return by_criterion(measured, criterion.sign, means[0] if means and len(entries) > 1 else None)


def _whisker(entry: Entry) -> tuple[float | None, float | None]:
    return (None, None) if entry.sd is None else (entry.mean - entry.sd, entry.mean + entry.sd)

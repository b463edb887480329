"""Results in numbers: means by data set and method, and tables of them in the terminal."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.datasets import DATASETS
from benchmarks.experiment import OFFICIAL, Record
from benchmarks.published import PAPER
from benchmarks.tasks import TASKS, Criterion


class Usage(NamedTuple):
    """What methods took that ran alone, each in a process of its own.

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
"""Headings of what methods took that ran alone, and forms of the numbers."""


class Row(NamedTuple):
    """What a method did on the folds of a data set.

    Attributes
    ----------
    method : str
        Its name.
    values : dict of str to ndarray
        Values of each criterion by its title, one for each fold that it came through.
    seconds : float
        Median time of a fit, without the search.
    errors : tuple of str
        What went wrong in other folds.
    folds : frozenset of (int, int)
        Repeat and fold of all that it was tried on.
    usage : Usage or None
        What else it took, where that was recorded.
    """

    method: str
    values: dict[str, np.ndarray]
    seconds: float
    errors: tuple[str, ...]
    folds: frozenset[tuple[int, int]] = frozenset()
    usage: Usage | None = None

    @property
    def means(self) -> dict[str, float]:
        """Mean of each criterion; none where every fold failed."""
        return {title: float(values.mean()) for title, values in self.values.items() if len(values)}


class Result(NamedTuple):
    """A table: the rows of the methods that were compared on a data set, in the order of the task."""

    dataset: str
    task: str
    rows: tuple[Row, ...]
    is_official: bool = False

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Columns."""
        return TASKS[self.task].criteria

    @property
    def folds(self) -> frozenset[tuple[int, int]]:
        """Repeat and fold of all that any method was tried on."""
        return frozenset().union(*(row.folds for row in self.rows))

    @property
    def measured(self) -> str:
        """What a figure is, in words."""
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
        """Best mean of a column, NaN where there is none."""
        means = [row.means[criterion.title] for row in self.rows if row.means]
        return max(means, key=lambda mean: criterion.sign * mean, default=float("nan"))


def results(records: Iterable[Record]) -> list[Result]:
    """Table of each data set, those that have a name here first and in their order."""
    by_dataset: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_dataset[record["dataset"], record["task"]][record["method"]].append(record)
    order = {name: place for place, name in enumerate(DATASETS)}
    return [
        Result(
            name,
            task,
            tuple(_row(method, of_method[method], task) for method in _in_order(task, of_method)),
            any(record.get("folds") == OFFICIAL for records in of_method.values() for record in records),
        )
        for (name, task), of_method in sorted(by_dataset.items(), key=lambda item: order.get(item[0][0], len(order)))
    ]


def _in_order(task: str, methods: Iterable[str]) -> list[str]:
    """Methods in the order of the task; those of older results that it no longer has at the end."""
    known = list(TASKS[task].methods)
    return sorted(methods, key=lambda method: known.index(method) if method in known else len(known))


def _row(method: str, records: list[Record], task: str) -> Row:
    scored = [record for record in records if "scores" in record]
    values = {
        criterion.title: np.array([record["scores"][criterion.title] for record in scored])
        for criterion in TASKS[task].criteria
    }
    seconds = float(np.median([record["fit_seconds"] for record in scored])) if scored else float("nan")
    errors = tuple(record["error"] for record in records if "scores" not in record)
    folds = frozenset((record.get("repeat", 0), record.get("fold", 0)) for record in records)
    return Row(method, values, seconds, errors, folds, _usage([record for record in scored if "memory_mib" in record]))


def _usage(records: list[Record]) -> Usage | None:
    if not records:
        return None
    highest = max((record["memory_mib"] for record in records), key=lambda memory: memory["peak"])
    seconds = float(np.median([record["score_seconds"] for record in records]))
    return Usage(seconds, highest["before"], highest["peak"])


def comparison_tables(records: Iterable[Record], paper: bool = False) -> list[Table]:
    """Table of each data set: mean ± standard deviation over folds of each method, the best mean in bold.

    With `paper`, the figures of the HRAML paper stand under those of the same method here.
    """
    return [_table(result, PAPER.get(result.dataset, {}) if paper else {}) for result in results(records)]


def _table(result: Result, published: dict[str, dict[str, float]]) -> Table:
    table = Table(
        title=f"{result.dataset}: {result.task}, {result.measured}",
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("", min_width=12)  # so that a name breaks between words
    for *words, sign in (criterion.title.split() for criterion in result.criteria):
        table.add_column("\n".join([*words[:-1], f"{words[-1]} {sign}"]), justify="right")
    table.add_column("Fit, s", justify="right")
    incomplete = not all(result.is_complete(row) for row in result.rows)
    if incomplete:
        table.add_column("Folds", justify="right")
    best = {criterion.title: result.best(criterion) for criterion in result.criteria}
    for row in result.rows:
        cells = [_cell(row.values[title], best[title]) for title in best]
        seconds = f"{row.seconds:.2f}" if row.means else ""
        folds = f"{len(row.folds) - len(row.errors)} of {len(result.folds)}"
        table.add_row(row.method, *cells, seconds, *([folds] if incomplete else []))
        if row.method in published:
            figures = [published[row.method].get(title) for title in best]
            table.add_row(
                "  in the paper", *("" if figure is None else f"{figure:.4f}" for figure in figures), style="dim"
            )
    return table


def _cell(values: np.ndarray, best: float) -> Text:
    """Mean, in bold where it is the best of its column, and under it the standard deviation of several values."""
    if not len(values):
        return Text("failed")
    mean = Text(f"{values.mean():.4f}", style="bold" if values.mean() == best else "")
    return mean.append(f"\n±{values.std():.4f}", style="not bold") if len(values) > 1 else mean


def usage_tables(records: Iterable[Record]) -> list[Table]:
    """Table of each data set with methods that ran alone: their times, and the memory of their processes."""
    return [_usage_table(result) for result in results(records) if result.has_usage]


def _usage_table(result: Result) -> Table:
    table = Table("", title=f"{result.dataset}: each method alone", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("Fit, s", *USAGE):
        table.add_column(heading, justify="right")
    for row in result.rows:
        if row.usage:
            table.add_row(row.method, f"{row.seconds:,.2f}", *row.usage.cells())
    return table


def grid_table(tasks: Iterable[str]) -> Table:
    """Every method of some tasks, with the values that its hyper-parameters are chosen from."""
    table = Table(
        "Method", "Chosen from", "Profiles from", title="Methods and grids", title_justify="left", box=SIMPLE_HEAD
    )
    for task in tasks:
        table.add_section()
        table.add_row(Text(f"{task}, by {TASKS[task].searched}", style="bold"))
        for name, method in TASKS[task].methods.items():
            choices = "\n".join(f"{parameter}: {values}" for parameter, values in method.grid.items())
            table.add_row(Text(name), Text(choices or "-"), method.tier)
    return table


def speed_table(records: Iterable[Record], before: Mapping[str, Record]) -> Table:
    """Table of hot paths, with the ratio that each had in an earlier run, by its path, if it was measured then."""
    table = Table(title="Speed", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("Hot path", "Floor or peer"):
        table.add_column(heading)
    for heading in ("Median ms", "Ratio", "Before", "Peak memory / X"):
        table.add_column(heading, justify="right")
    for record in records:
        earlier = before.get(record["path"])
        peak = f"{record['peak_over_X']:.2f}" if "peak_over_X" in record else ""
        table.add_row(
            record["path"],
            record["floor"],
            f"{1000 * record['seconds']:.1f}",
            f"{record['ratio']:.2f}",
            f"{earlier['ratio']:.2f}" if earlier else "",
            peak,
        )
    commits = {record.get("commit") or "an unknown commit" for record in before.values()}
    if commits:
        table.caption = f"Before: at {', '.join(sorted(commits))}."
    return table

"""Records as the tables, plots of dots and sentences of the report: numbers and words, no markup."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmarks import published
from benchmarks.datasets import DATASETS
from benchmarks.experiment import HELD_OUT, OFFICIAL, Record
from benchmarks.ranking import Ranking
from benchmarks.table import Result, Usage
from benchmarks.tasks import TASKS, Criterion

_PAPER_FOLDS = {"multilabel": OFFICIAL, "label distribution": 10}


class Entry(NamedTuple):
    """A cell of a table: mean and standard deviation over folds, None of the latter where there is one fold."""

    mean: float
    sd: float | None
    best: bool
    paper: float | None


class Line(NamedTuple):
    """A row of a table; entries and seconds are None where every fold failed, usage where it was not recorded."""

    method: str
    entries: tuple[Entry | None, ...]
    seconds: float | None
    n_failed: int
    n_folds: int
    usage: Usage | None = None


class Dot(NamedTuple):
    """A method in a plot of dots: places in percent of the width, from low to high value."""

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
    """An error of a method, and on how many folds it came up."""

    method: str
    error: str
    n_folds: int


class Section(NamedTuple):
    """All of a data set but its pictures."""

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


class Search(NamedTuple):
    """What the search of a method chose from: of each parameter its values, each with how often it was chosen."""

    task: str
    method: str
    grid: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    n_fits: int
    seconds: float | None


def usable(records: Iterable[Record]) -> list[Record]:
    """Records that tables can be made of: those of an older format may lack the task, or criteria of today."""
    known = (
        {"task": DATASETS[record["dataset"]].task, **record} if record.get("dataset") in DATASETS else record
        for record in records
    )
    return [record for record in known if _is_usable(record)]


def _is_usable(record: Record) -> bool:
    if not record.keys() >= {"dataset", "method", "task"} or record["task"] not in TASKS:
        return False
    titles = {criterion.title for criterion in TASKS[record["task"]].criteria}
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
        ("on the official split" if _PAPER_FOLDS.get(result.task) == OFFICIAL else "over ten folds") if paper else "",
        baseline,
        tuple(Failure(method, error, n) for (method, error), n in errors.items()),
        tuple(plot for plot in plots if plot.dots),
        headline(result.task),
    )


def _entry(values: np.ndarray, best: float, paper: float | None) -> Entry | None:
    sd = float(values.std()) if len(values) > 1 else None
    return Entry(float(values.mean()), sd, values.mean() == best, paper) if len(values) else None


def _protocol(records: list[Record]) -> str:
    """How the data set was split, in words, as far as records say."""
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
    for key, what in (("n_train", "training"), ("n_test", "test")):
        sizes = [record[key] for record in records if key in record]
        if sizes:
            number = f"{min(sizes):,} to {max(sizes):,}" if len(set(sizes)) > 1 else f"{sizes[0]:,}"
            words.append(f"{number} {what} samples")
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


def findings(results: Iterable[Result], rankings: Iterable[Ranking], records: list[Record]) -> list[tuple[str, str]]:
    """What came out, as pairs of a subject and a sentence."""
    results = list(results)
    ranked = {ranking.task: ranking for ranking in rankings}
    found = [(task.capitalize(), _of_ranking(ranking)) for task, ranking in ranked.items() if task not in TASKS]
    for task in dict.fromkeys(result.task for result in results):
        if task in ranked:
            found.append((task.capitalize(), _of_ranking(ranked[task])))
            continue
        found += [(result.dataset, _of_result(result)) for result in results if result.task == task]
    return found + [
        (result.dataset, sentence) for result in results if (sentence := _against_paper(result, records)) is not None
    ]


def _of_ranking(ranking: Ranking) -> str:
    n_datasets, n_methods = ranking.ranks.shape
    average = ranking.average
    sentence = f"{average.index[0]} has the best average rank, {average.iloc[0]:.2f} among {n_methods} methods over "
    sentence += f"{n_datasets} data sets."
    if np.isfinite(ranking.friedman):
        chance = "is hardly chance" if ranking.friedman < 0.05 else "could be chance"
        sentence += f" That methods differ at all {chance} (Friedman p = {ranking.friedman:.2g})"
        n_beaten = int((ranking.nemenyi[average.index[0]] < 0.05).sum())
        sentence += f"; Nemenyi's test tells it from {n_beaten or 'none'} of the others at level 0.05."
    return sentence


def _of_result(result: Result) -> str:
    best = {criterion.title: result.best(criterion) for criterion in result.criteria}
    wins = Counter(
        {row.method: sum(row.means[title] == best[title] for title in best) for row in result.rows if row.means}
    )
    if not wins:
        return "every fold of every method failed."
    if len(wins) == 1:
        return f"only {next(iter(wins))} has scores, with nothing to compare them with."
    most = max(wins.values())
    winners = " and ".join(method for method, n in wins.items() if n == most)
    have = "is" if list(wins.values()).count(most) == 1 else "are each"
    return f"{winners} {have} best of {len(wins)} methods by {most} of {len(best)} criteria."


def _against_paper(result: Result, records: list[Record]) -> str | None:
    """Comparison with the paper's best figures, where the splits are the paper's."""
    figures = published.best(result.dataset)
    folds = {record.get("folds") for record in records if record["dataset"] == result.dataset}
    if not figures or folds != {_PAPER_FOLDS.get(result.task)} or not any(row.means for row in result.rows):
        return None
    gains = [c.sign * (result.best(c) - figures[c.title]) for c in result.criteria if c.title in figures]
    better = sum(gain > 0 for gain in gains)
    return f"the best here is better than the best of the HRAML paper by {better} of {len(gains)} criteria."


def searches(records: Iterable[Record]) -> list[Search]:
    """What was searched by each method of each task, and what was chosen how often."""
    by_method: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.get("grid"):
            by_method[record["task"], record["method"]].append(record)
    return [_search(task, method, of_method) for (task, method), of_method in sorted(by_method.items())]


def _search(task: str, method: str, records: list[Record]) -> Search:
    chosen = [record["chosen"] for record in records if record.get("chosen")]
    seconds = [record["search_seconds"] for record in records if "search_seconds" in record]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for name, values in record["grid"].items():
            counts[name].update(dict.fromkeys(map(str, values), 0))
    for setting in chosen:
        for name, value in setting.items():
            counts[name][str(value)] += 1
    grid = tuple((name, tuple(of_value.items())) for name, of_value in counts.items())
    return Search(task, method, grid, len(chosen), float(np.median(seconds)) if seconds else None)


def caught(records: Iterable[Record]) -> list[tuple[str, list[str], int]]:
    """Warnings, with the methods that gave them and the number of folds, the most frequent first."""
    of_warning: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for warning in record.get("warnings") or ():
            of_warning[str(warning)].append(f"{record['method']} on {record['dataset']}")
    rows = [(warning, sorted(set(where)), len(where)) for warning, where in of_warning.items()]
    return sorted(rows, key=lambda row: -row[2])


def versions(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Packages and their versions, several where records were made by several."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for record in records:
        for package, version in (record.get("versions") or {}).items():
            found[package][str(version)] = None
    return [(package, ", ".join(of_package)) for package, of_package in found.items()]

"""Tables in words: results by data set and method, ranks, and the methods with their grids."""

from collections.abc import Callable, Iterable

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.show.formats import Cell, Table
from benchmarks.show.notes import effect, notes, probabilities, span
from benchmarks.show.published import PAPER, PRECISION_AT_K
from benchmarks.show.ranking import Ranking, rankings
from benchmarks.show.results import USAGE, Result, Row, results, results_by_task


def comparison_tables(records: Iterable[Record], paper: bool = False) -> list[Table]:
    """Table of each data set: mean ± standard deviation over folds of each method, the best mean in bold.

    With `paper`, the figures of the HRAML paper stand under those of the same method here, or at the end.
    """
    tables = []
    for result in results(records):
        tables.append(_comparison_table(result, result.criteria, PAPER.get(result.dataset, {}) if paper else {}))
        if result.others:
            tables.append(_further_table(result))
    return tables


def _further_table(result: Result) -> Table:
    """Table of further criteria, with what others have published for the same split at its end."""
    table = _comparison_table(result, result.others, {}, further=True)
    published = PRECISION_AT_K.get(result.dataset, {}) if result.is_official else {}
    titles = [criterion.title for criterion in result.others]
    rows = [
        _published_row(f"{method}, published", figures, titles, len(table.columns))
        for method, figures in published.items()
    ]
    return table._replace(rows=table.rows + tuple(rows))


def _published_row(name: str, figures: dict[str, float], titles: list[str], n_columns: int) -> tuple[Cell, ...]:
    """Row of figures of others, as far as there are any."""
    words = [name, *(f"{figures[title]:.4f}" if title in figures else "" for title in titles)]
    words += [""] * (n_columns - len(words))
    return tuple(Cell(word, "dim") for word in words)


def _comparison_table(
    result: Result, criteria: tuple[Criterion, ...], published: dict[str, dict[str, float]], further: bool = False
) -> Table:
    titles = [criterion.title for criterion in criteria]
    incomplete = not all(result.is_complete(row) for row in result.rows)
    columns = ["", *map(_heading, titles), "Fit, s", *(["Folds"] if incomplete else [])]
    best = {criterion.title: result.best(criterion) for criterion in criteria}
    rows = []
    for row in result.rows:
        seconds = f"{row.seconds:.2f}" if row.means else ""
        folds = f"{len(row.folds) - len(row.errors)} of {len(result.folds)}"
        cells = [_cell(row, title, best[title], spread=not further) for title in titles]
        rows.append((Cell(row.method), *cells, Cell(seconds), *([Cell(folds)] if incomplete else [])))
        if row.method in published:
            rows.append(_published_row("  in the paper", published[row.method], titles, len(columns)))
    own = {row.method for row in result.rows}
    rows += [
        _published_row(f"{method}, in the paper", figures, titles, len(columns))
        for method, figures in published.items()
        if method not in own
    ]
    which = ", further criteria" if further else ""
    measured = result.measured.replace(" ± sd", "") if further else result.measured
    return Table(f"{result.dataset}: {result.task}{which}, {measured}", tuple(columns), tuple(rows))


def _heading(title: str) -> str:
    """Title of a criterion, each word in a line, but its arrow beside the last."""
    *words, sign = title.split()
    return "\n".join([*words[:-1], f"{words[-1]} {sign}"])


def _cell(row: Row, title: str, best: float, spread: bool) -> Cell:
    """Mean, in bold where it is the best of its column; with the spread of several values below it, if asked for."""
    values: np.ndarray = row.values.get(title, np.empty(0))
    if not len(values):
        return Cell("too slow" if row.too_slow else "failed")
    deviation = f"\n±{values.std():.4f}" if spread and len(values) > 1 else ""
    return Cell(f"{values.mean():.4f}{deviation}", "bold" if values.mean() == best else "")


def usage_tables(records: Iterable[Record]) -> list[Table]:
    """Table of each data set with methods that ran alone: their times, and the memory of their processes."""
    return [_usage_table(result) for result in results(records) if result.has_usage]


def _usage_table(result: Result) -> Table:
    rows = [
        tuple(map(Cell, (row.method, f"{row.seconds:,.2f}", *row.usage.cells()))) for row in result.rows if row.usage
    ]
    return Table(f"{result.dataset}: each method alone", ("", "Fit, s", *USAGE), tuple(rows))


def cost_tables(records: Iterable[Record]) -> list[Table]:
    """Table of each task that several data sets are for: what a fold of a method takes."""
    tables = [cost_table(task, of_task) for task, of_task in results_by_task(records).items() if len(of_task) > 1]
    return [table for table in tables if table.rows]


def cost_table(task: str, of_task: list[Result]) -> Table:
    """Time and memory of a fold of each method, over the data sets of a task; without columns that nothing is in."""
    by_method: dict[str, list[Row]] = {}
    for row in (row for result in of_task for row in result.rows if row.means):
        by_method.setdefault(row.method, []).append(row)
    rows = []
    for method, of_method in by_method.items():
        seconds, scoring, memory = (
            np.array([getattr(row, name) for row in of_method]) for name in ("seconds", "score_seconds", "memory_mib")
        )
        cells = [method, f"{np.median(seconds):,.2f}", f"{seconds.max():,.1f}"]
        cells += [_known(np.nanmedian, scoring, ",.2f"), _known(np.nanmax, memory, ",.0f"), str(len(of_method))]
        rows.append(tuple(map(Cell, cells)))
    columns = ("", "Fit, s\nmedian", "Fit, s\nlongest", "Score, s\nmedian", "Memory,\nMiB, most", "Data\nsets")
    filled = [place for place in range(len(columns)) if any(row[place].text for row in rows)]
    return Table(
        f"{task}: what a fold takes, over {len(of_task)} data sets",
        tuple(columns[place] for place in filled),
        tuple(tuple(row[place] for place in filled) for row in rows),
    )


def _known(statistic: Callable, values: np.ndarray, form: str) -> str:
    """Statistic of those values that are known."""
    return "" if np.isnan(values).all() else f"{statistic(values):{form}}"


def ranking_tables(given: Iterable[Ranking]) -> list[Table]:
    """Table of each ranking: average ranks and losses, and how sure a reference is of each other method."""
    return [_ranking_table(ranking) for ranking in given]


def _ranking_table(ranking: Ranking) -> Table:
    reference = ranking.reference
    n_rows, n_methods = ranking.ranks.shape
    title = f"{ranking.task}: {n_methods} methods over {ranking.n_datasets} data sets"
    if np.isfinite(ranking.friedman):
        title += f" (Friedman p = {ranking.friedman:.2g})"
    columns = (
        "",
        "Rank",
        "\n".join(["Loss, in %", "against", *reference.split()]),
        "Won/\nlost",
        "Wilcoxon\np, Holm",
        "Nemenyi\np",
        "Better/\nequal/\nworse, %",
    )
    intervals = ranking.intervals
    found = ranking.against(reference).assign(nemenyi=ranking.nemenyi[reference])
    rows = []
    for method, rank in ranking.average.items():
        cells = [str(method), f"{rank:.2f}{span(intervals.loc[method], '.2f')}"]
        if method == reference:
            cells += ["reference", *[""] * (len(columns) - 3)]
        else:
            of = found.loc[method]
            cells += [effect(of, n_rows), f"{of.won:g}/{of.lost:g}", f"{of.holm:.2g}", f"{of.nemenyi:.2g}"]
            cells.append(probabilities(of))
        rows.append(tuple(map(Cell, cells)))
    return Table(title, columns, tuple(rows), " ".join(notes(ranking)))


def headline_tables(given: Iterable[Ranking]) -> list[Table]:
    """Table of the methods that are ranked for every task, if there are several tasks, with ranks and losses."""
    ranked = {ranking.task: ranking for ranking in given}
    everywhere = set.intersection(*(set(each.ranks) for each in ranked.values())) if len(ranked) > 1 else set()
    if not everywhere:
        return []
    mean = {
        method: np.mean([each.average[method] for task, each in ranked.items() if task in TASKS])
        for method in everywhere
    }
    found = {task: each.against(each.reference) for task, each in ranked.items()}
    intervals = {task: each.intervals for task, each in ranked.items()}
    rows = []
    for method in sorted(everywhere, key=lambda method: (mean[method], method)):
        cells = [Cell(method)]
        for task, each in ranked.items():
            words = f"{each.average[method]:.1f}{span(intervals[task].loc[method], '.1f')}"
            if method != each.reference and (of := found[task].loc[method]).n_ratios:
                words += f", {of.percent:+.0f} %"
            cells.append(Cell(words, "bold" if method == each.average.index[0] else ""))
        rows.append(tuple(cells))
    columns = (
        "",
        *(f"{task}:\n{len(each.ranks)} data sets,\n{each.ranks.shape[1]} methods" for task, each in ranked.items()),
    )
    references = " or ".join(dict.fromkeys(each.reference for each in ranked.values()))
    caption = (
        "Average rank over the data sets, of which a family is one, with its 95 percent interval by the bootstrap over "
        f"five and more; and loss against {references}, where neither was too slow."
    )
    return [Table("Methods for every kind of target", columns, tuple(rows), caption)]


def criterion_tables(given: Iterable[Ranking]) -> list[Table]:
    """Table of the average ranks by each further criterion, for each task that has such."""
    ranked = [ranking for ranking in given if ranking.task in TASKS]
    return [_criterion_table(ranking, titles) for ranking in ranked if (titles := _further(ranking))]


def _further(ranking: Ranking) -> list[str]:
    criteria = [criterion.title for criterion in TASKS[ranking.task].criteria if not criterion.ranked]
    return [title for title in criteria if title in ranking.by_criterion]


def _criterion_table(ranking: Ranking, titles: list[str]) -> Table:
    best = ranking.by_criterion.min()
    rows = []
    for method in ranking.average.index:
        of = ranking.by_criterion.loc[method, titles]
        cells = [Cell(f"{rank:.1f}", "bold" if rank == best[title] else "") for title, rank in of.items()]
        rows.append((Cell(str(method)), *cells))
    return Table(f"{ranking.task}: average ranks by further criteria", ("", *map(_heading, titles)), tuple(rows))


def summary_tables(records: Iterable[Record]) -> list[Table]:
    """Tables of what holds over several data sets."""
    given = list(records)
    ranked = rankings(given)
    return [*headline_tables(ranked), *ranking_tables(ranked), *criterion_tables(ranked), *cost_tables(given)]


def grid_table(tasks: Iterable[str]) -> RichTable:
    """Every method of some tasks, with the values that its hyper-parameters are chosen from."""
    table = RichTable(
        "Method", "Chosen from", "Profiles from", title="Methods and grids", title_justify="left", box=SIMPLE_HEAD
    )
    for task in tasks:
        table.add_section()
        table.add_row(Text(f"{task}, by {TASKS[task].searched}", style="bold"))
        for name, method in TASKS[task].methods.items():
            choices = "\n".join(f"{parameter}: {values}" for parameter, values in method.grid.items())
            table.add_row(Text(name), Text(choices or "-"), method.tier)
    return table

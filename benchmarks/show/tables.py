"""Tables in the terminal: results by data set and method, ranks, and the methods with their grids."""

from collections.abc import Iterable

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS
from benchmarks.show.published import PAPER
from benchmarks.show.ranking import Ranking, rankings
from benchmarks.show.results import USAGE, Result, results


def comparison_tables(records: Iterable[Record], paper: bool = False) -> list[Table]:
    """Table of each data set: mean ± standard deviation over folds of each method, the best mean in bold.

    With `paper`, the figures of the HRAML paper stand under those of the same method here.
    """
    return [_comparison_table(result, PAPER.get(result.dataset, {}) if paper else {}) for result in results(records)]


def _comparison_table(result: Result, published: dict[str, dict[str, float]]) -> Table:
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


def ranking_tables(records: Iterable[Record]) -> list[Table]:
    """Table of each ranking: average ranks, and how sure the best is of each other."""
    return [_ranking_table(ranking) for ranking in rankings(records) if ranking.ranks.shape[1] > 1]


def _ranking_table(ranking: Ranking) -> Table:
    average = ranking.average
    best = average.index[0]
    n_datasets = len(ranking.ranks)
    title = f"{ranking.task}: ranks over {n_datasets} data sets, on each by the mean rank over its criteria"
    if np.isfinite(ranking.friedman):
        title += f" (Friedman p = {ranking.friedman:.2g})"
    caption = f"Left out, for a failure or a fold not run: {', '.join(ranking.left_out)}." * bool(ranking.left_out)
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in ("Rank", f"Against {best}:\nWilcoxon p", "after Holm", "Nemenyi p"):
        table.add_column(heading, justify="right")
    p_values = ranking.against(best).assign(nemenyi=ranking.nemenyi[best])
    for method, rank in average.items():
        row = [] if method == best else [f"{p:.3g}" for p in p_values.loc[method]]
        table.add_row(str(method), f"{rank:.2f}", *row)
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

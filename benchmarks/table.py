"""Tables of results in the terminal."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.tasks import DATASETS, TASKS, Criterion


def comparison_tables(records: Iterable[dict[str, Any]]) -> list[Table]:
    """Table of each data set: mean ± standard deviation over folds of each method, the best mean in bold."""
    by_dataset: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_dataset[record["dataset"]][record["method"]].append(record)
    return [_table(name, by_dataset[name]) for name in DATASETS if name in by_dataset]


def _table(name: str, by_method: dict[str, list]) -> Table:
    task = TASKS[DATASETS[name]]
    methods = {method: by_method[method] for method in task.all_methods if method in by_method}
    n_folds = max(len(records) for records in methods.values())
    measured = f"mean ± sd over {n_folds} test folds" if n_folds > 1 else "one test fold"
    done = {method: [record for record in records if "scores" in record] for method, records in methods.items()}
    means = {method: _means(task.criteria, records) for method, records in done.items() if records}
    table = Table(
        title=f"{name}: {DATASETS[name]}, {measured}",
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("", min_width=12)  # so that a name breaks between words
    for *words, sign in (criterion.title.split() for criterion in task.criteria):
        table.add_column("\n".join([*words[:-1], f"{words[-1]} {sign}"]), justify="right")
    table.add_column("Fit, s", justify="right")
    any_failed = any(len(done[method]) < len(methods[method]) for method in methods)
    if any_failed:
        table.add_column("Failed folds", justify="right")
    best = [
        max((criterion.sign * row[i] for row in means.values()), default=0.0)
        for i, criterion in enumerate(task.criteria)
    ]
    for method, records in done.items():
        failed = [str(len(methods[method]) - len(records))] if any_failed else []
        cells = [_cell(records, criterion, bar) for criterion, bar in zip(task.criteria, best, strict=True)]
        table.add_row(method, *cells, _median_seconds(records), *failed)
    return table


def _means(criteria: tuple[Criterion, ...], records: list) -> list[float]:
    return [np.mean([record["scores"][criterion.title] for record in records]) for criterion in criteria]


def _cell(records: list, criterion: Criterion, best: float) -> Text:
    """Mean, in bold where it is the best of its column, and under it the standard deviation of several values."""
    if not records:
        return Text("failed")
    values = [record["scores"][criterion.title] for record in records]
    mean = Text(f"{np.mean(values):.4f}", style="bold" if criterion.sign * np.mean(values) == best else "")
    return mean.append(f"\n±{np.std(values):.4f}", style="not bold") if len(values) > 1 else mean


def _median_seconds(records: list[dict[str, Any]]) -> str:
    return f"{np.median([record['fit_seconds'] for record in records]):.2f}" if records else ""

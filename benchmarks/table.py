"""Tables of results in the terminal."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from benchmarks.tasks import DATASETS, TASKS


def comparison_tables(records: Iterable[dict[str, Any]]) -> list[Table]:
    """Table of each data set: mean ± standard deviation over folds, the best mean of a row in bold."""
    by_dataset: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_dataset[record["dataset"]][record["method"]].append(record)
    return [_table(name, by_dataset[name]) for name in DATASETS if name in by_dataset]


def _table(name: str, by_method: dict[str, list]) -> Table:
    task = TASKS[DATASETS[name]]
    methods = {method: by_method[method] for method in task.methods if method in by_method}
    n_folds = max(len(records) for records in methods.values())
    measured = f"mean ± sd over {n_folds} test folds" if n_folds > 1 else "one test fold"
    table = Table(title=f"{name}: {DATASETS[name]}, {measured}", title_justify="left")
    table.add_column("", no_wrap=True)
    for method in methods:
        table.add_column(method, justify="right", no_wrap=True)

    done = {method: [record for record in records if "scores" in record] for method, records in methods.items()}
    for criterion in task.criteria:
        scores = {method: [record["scores"][criterion.title] for record in records] for method, records in done.items()}
        best = max((criterion.sign * np.mean(values) for values in scores.values() if values), default=None)
        table.add_row(criterion.title, *(_cell(values, criterion.sign, best) for values in scores.values()))
    table.add_section()
    table.add_row("Fit, median s", *(_median_seconds(records) for records in done.values()))
    if any(len(done[method]) < len(methods[method]) for method in methods):
        table.add_row("Failed folds", *(str(len(methods[method]) - len(done[method])) for method in methods))
    return table


def _cell(values: list[float], sign: int, best: float | None) -> Text:
    """Mean and, of several values, standard deviation; bold where the mean is the best of its row."""
    if not values:
        return Text("failed")
    mean = np.mean(values)
    spread = f" ± {np.std(values):.4f}" if len(values) > 1 else ""
    return Text(f"{mean:.4f}{spread}", style="bold" if sign * mean == best else "")


def _median_seconds(records: list[dict[str, Any]]) -> str:
    return f"{np.median([record['fit_seconds'] for record in records]):.2f}" if records else ""

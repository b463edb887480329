"""Command line of the benchmarks."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import joblib
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.experiment import OFFICIAL, Cell, cells, run, versions
from benchmarks.table import comparison_tables
from benchmarks.tasks import BUNDLED, DATASETS, TASKS

_METHODS = [method for task in TASKS.values() for method in task.all_methods]


PROFILES = {
    "default": tuple(BUNDLED),
    "full": ("emotions", "flags", "yeast", "scene", "enron", "medical", "Natural_Scene", "SBU_3DFE", "omniglot"),
}
"""Data sets that a profile compares methods on."""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns
    -------
    int
        Exit status: 0, 1 if a cell failed, 2 if nothing could be run, 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.open("a").close()
    except OSError as error:
        _complain(console, f"Cannot write results: {error}. Name another file with --out.")
        return 2
    return _speed(options, console) if options.speed else _compare(options, console)


def _compare(options: Namespace, console: Console) -> int:
    names = dict.fromkeys(options.datasets or PROFILES[options.profile])
    comparison: list[Cell] = []
    settings = {}
    for name in names:
        folds, repeats = _splitting(name, options)
        settings[name] = {"folds": folds, "repeats": repeats, "jobs": options.jobs}
        try:
            of_data_set = cells([name], options.methods, folds, repeats, options.seed)
        except (ImportError, OSError, ValueError) as error:
            _complain(console, str(error))
            if options.datasets:
                return 2
            continue
        if not of_data_set:
            _complain(console, f"{name} is left out: none of these methods is for {DATASETS[name]} targets.")
        comparison += of_data_set
    if not comparison:
        _complain(console, "None of these methods is for these data sets. See --help for what goes together.")
        return 2
    records = []
    interrupted = False
    try:
        with _progress(console) as progress:
            bar = progress.add_task("Folds x methods", total=len(comparison))
            done = ({**record, **settings[record["dataset"]]} for record in run(comparison, options.jobs))
            for record in _kept(done, options.out):
                records.append(record)
                progress.advance(bar)
    except KeyboardInterrupt:
        interrupted = True
    for table in comparison_tables(records):
        console.print(table)
    for error in {record["error"] for record in records if "error" in record}:
        _complain(console, f"Failed: {error}")
    if interrupted:
        console.print(f"Interrupted after {len(records)} of {len(comparison)} folds.")
    console.print(f"{len(records)} records appended to {options.out}")
    return 130 if interrupted else int(any("error" in record for record in records))


def _splitting(name: str, options: Namespace) -> tuple[int | str, int]:
    """Number of folds, or the official split, and of repeats: those asked for, or those that suit the task."""
    folds, repeats = (OFFICIAL, 5) if DATASETS[name] == "retrieval" else (3, 2)
    return options.folds or folds, options.repeats or repeats


def _speed(options: Namespace, console: Console) -> int:
    from benchmarks.speed import measure  # reads memory as only Linux tells it

    table = Table(
        "Hot path", "Median ms", "Floor or peer", "Ratio", "Peak memory / X", title="Speed", title_justify="left"
    )
    with console.status("Measuring"):
        for record in _kept(({**record, "versions": versions()} for record in measure()), options.out):
            peak = f"{record['peak_over_X']:.2f}" if "peak_over_X" in record else ""
            milliseconds, ratio = f"{1000 * record['seconds']:.1f}", f"{record['ratio']:.2f}"
            table.add_row(record["path"], milliseconds, record["floor"], ratio, peak)
    console.print(table)
    return 0


def _kept(records: Iterable[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    """Append each record to a file of JSON lines, at once, and pass it on."""
    with path.open("a", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            yield record


def _complain(console: Console, message: str) -> None:
    console.print(message, style="red", markup=False)


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal and not sys.stderr.isatty())


def _folds(text: str) -> int | str:
    if text == OFFICIAL:
        return text
    if not text.isdecimal() or int(text) < 2:
        raise ArgumentTypeError(f"{text!r} is neither a number of folds from 2 on nor {OFFICIAL!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _parser() -> ArgumentParser:
    methods = "\n".join(
        f"  {title}: {', '.join(task.methods)}; on request {', '.join(task.on_request)}"
        for title, task in TASKS.items()
    )
    parser = ArgumentParser(
        prog="python -m benchmarks",
        description="Compare metrics by the neighbours they give, on the same folds, scaled inside them.\n"
        "Methods that need classes get each label set, or each strongest label, as a class.",
        epilog=f"methods by task:\n{methods}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="default",
        help="; ".join(f"{profile}: {', '.join(names)}" for profile, names in PROFILES.items()),
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        choices=DATASETS,
        metavar="NAME",
        help=f"from {', '.join(DATASETS)} (default: those of the profile)",
    )
    parser.add_argument(
        "--methods", nargs="+", choices=_METHODS, metavar="METHOD", help="default: all but those on request"
    )
    parser.add_argument(
        "--folds",
        type=_folds,
        metavar="N",
        help=f"number of folds, or {OFFICIAL!r} for the official split (default: 3, or {OFFICIAL!r} for images)",
    )
    parser.add_argument(
        "--repeats", type=_positive, metavar="N", help="repeats of the folds (default: 2, or 5 for images)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of folds and methods (default: 0)")
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=joblib.cpu_count(),
        metavar="N",
        help="parallel processes (default: the number of cores)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results.jsonl"),
        metavar="FILE",
        help="file of JSON lines to append to (default: results.jsonl)",
    )
    parser.add_argument("--speed", action="store_true", help="measure the hot paths against floors and peers instead")
    return parser

"""Command line of the benchmarks."""

import shlex
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

import joblib
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import results
from benchmarks.datasets import DATASETS, Source, own_source
from benchmarks.experiment import HELD_OUT, OFFICIAL, Cell, Record, Settings, cells, run, versions
from benchmarks.profiles import PROFILES
from benchmarks.table import comparison_tables, grid_table, speed_table, usage_tables
from benchmarks.tasks import TASKS

_SPEED = "speed"
_METHODS = list(dict.fromkeys(method for task in TASKS.values() for method in task.methods))


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns
    -------
    int
        Exit status: 0, 1 if a cell failed, 2 if nothing could be run, 130 if interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.labels and not options.data:
        parser.error("--labels names columns of --data, which is missing")
    if options.scheduler and options.backend != "dask":
        parser.error("--scheduler needs --backend dask")
    if options.timeout and options.backend == "dask":
        parser.error("--timeout has no effect on Dask's workers: leave one of the two out")
    if options.alone is None:
        options.alone = options.profile != _SPEED and PROFILES[options.profile].alone
    if options.alone and (options.backend == "dask" or options.jobs not in (None, 1)):
        parser.error("with --alone nothing else runs: leave --jobs and --backend out, or pass --no-alone")
    options.jobs = 1 if options.alone else options.jobs or joblib.cpu_count()
    console = Console(markup=False)  # names of files and methods are words
    if options.grids:
        console.print(grid_table(TASKS))
        return 0
    try:
        for file in filter(None, (options.out, options.report)):
            file.parent.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=file.parent).close()
            if file.is_dir():
                raise IsADirectoryError(f"{file} is a folder")
    except OSError as error:
        _complain(console, f"Cannot write results: {error}. Name another file with --out or --report.")
        return 2
    try:
        if not options.no_run:
            results.mend(options.out)
        if options.profile == _SPEED:
            return _speed(options, console)
        return _compare(options, console)
    except (ImportError, OSError, ValueError) as error:
        _complain(console, str(error))
        return 2


def _compare(options: Namespace, console: Console) -> int:
    comparison = _planned(options, console)
    if not comparison:
        _complain(console, "Nothing can be compared: no data set could be read that one of these methods is for.")
        return 2
    held = [] if options.anew else results.read(options.out)
    if options.alone and not options.no_run:  # others have no memory, and times beside those of other processes
        held = [record for record in held if record.get("alone")]
    none: list[Cell] = []
    records, missing = (results.shown(comparison, held), none) if options.no_run else results.done(comparison, held)
    if records and missing:
        console.print(f"{len(records)} of {len(comparison)} records were in {options.out}; --anew makes them again.")
    n_found, interrupted = len(records), False
    try:
        with _progress(console) as progress:
            bar = progress.add_task("Folds x methods", total=len(comparison), completed=n_found)
            new = run(missing, options.jobs, options.backend, options.scheduler, options.alone)
            circumstances = {"jobs": options.jobs, "alone": options.alone}
            for record in results.keep((record | circumstances for record in new), options.out):
                records.append(record)
                progress.advance(bar)
    except KeyboardInterrupt:
        interrupted = True
    _show(records, options, console)
    if interrupted:
        console.print(f"Interrupted after {len(records)} of {len(comparison)} folds x methods.")
    console.print(f"{len(records) - n_found} records appended to {options.out}")
    return 130 if interrupted else int(any("error" in record for record in records))


def _planned(options: Namespace, console: Console) -> list[Cell]:
    """All cells that are asked for; data sets of a profile that cannot be had are left out, with a word."""
    comparison: list[Cell] = []
    for source in _sources(options):
        try:
            of_data_set = cells(source, _methods(source, options), _settings(source, options))
        except (ImportError, OSError, ValueError) as error:
            if source.path or options.datasets:
                raise
            _complain(console, str(error))
            continue
        if not of_data_set:
            _complain(console, f"{source.name} is left out: none of these methods is for {source.task} targets.")
        comparison += of_data_set
    return comparison


def _show(records: list[Record], options: Namespace, console: Console) -> None:
    """Tables, failures, and the report if it is asked for; what draws and tests takes a while to load."""
    from benchmarks.ranking import ranking_tables

    compared = comparison_tables(records, paper=options.profile == "paper")
    for table in [*compared, *usage_tables(records), *ranking_tables(records)]:
        console.print(table)
    for error in sorted({f"{record['method']}: {record['error']}" for record in records if "error" in record}):
        _complain(console, f"Failed: {error}")
    if options.report:
        from benchmarks.report import write_report

        write_report(records, options.report, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
        console.print(f"Report written to {options.report}")


def _sources(options: Namespace) -> list[Source]:
    """Named data sets, and files of one's own; those of the profile where neither is asked for."""
    own = [own_source(path, _labels(options.labels)) for path in options.data or []]
    named = options.datasets or ([] if own else PROFILES[options.profile].datasets)
    return [DATASETS[name] for name in dict.fromkeys(named)] + own


def _methods(source: Source, options: Namespace) -> list[str]:
    return options.methods or PROFILES[options.profile].methods(TASKS[source.task])


def _settings(source: Source, options: Namespace) -> Settings:
    """Settings of the profile, but for what the command line says."""
    said = {name: getattr(options, name) for name in Settings._fields}
    of_profile = PROFILES[options.profile].settings(source)
    return of_profile._replace(**{name: value for name, value in said.items() if value is not None})


def _speed(options: Namespace, console: Console) -> int:
    from benchmarks.speed import measure  # reads memory as only Linux tells it

    before = {record["path"]: record for record in results.read(options.out) if "path" in record}
    origin = {"commit": _commit(), "date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions()}
    with console.status("Measuring"):
        records = list(results.keep((record | origin for record in measure()), options.out))
    console.print(speed_table(records, before))
    return 0


def _commit() -> str | None:
    """Commit of the checkout that this is, with a sign if it has changes; None outside of one."""
    described = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _complain(console: Console, message: str) -> None:
    console.print(message, style="red")


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal and not sys.stderr.isatty())


def _folds(text: str) -> int | str:
    if text in (OFFICIAL, HELD_OUT):
        return text
    if not text.isdecimal() or int(text) < 2:
        raise ArgumentTypeError(f"{text!r} is neither a number of folds from 2 on nor {OFFICIAL!r} or {HELD_OUT!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _labels(words: list[str] | None) -> tuple[str, ...] | int | None:
    """Names of target columns, or their number."""
    if words is None:
        return None
    if len(words) == 1 and words[0].removeprefix("-").isdecimal():
        return int(words[0])
    return tuple(words)


def _parser() -> ArgumentParser:
    methods = "\n".join(f"  {title}: {', '.join(task.methods)}" for title, task in TASKS.items())
    parser = ArgumentParser(
        prog="python -m benchmarks",
        description="Compare metrics by the neighbours they give, on the same folds. Scaling, and the choice of\n"
        "hyper-parameters where there is a search, stay within each training part. Metrics that need classes get\n"
        "each label set, or each strongest label, as a class, and at most 4000 samples and 100 principal components.\n"
        "What --out already holds is not run again.",
        epilog=f"methods by task:\n{methods}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to compare")
    what.add_argument(
        "--profile",
        choices=[*PROFILES, _SPEED],
        default="default",
        help="; ".join(f"{name}: {', '.join(profile.datasets)}" for name, profile in PROFILES.items())
        + "; speed: hot paths against floors and peers (default: default)",
    )
    what.add_argument(
        "--datasets",
        nargs="+",
        choices=DATASETS,
        metavar="NAME",
        help=f"from {', '.join(DATASETS)} (default: those of the profile)",
    )
    what.add_argument(
        "--data", nargs="+", metavar="FILE", help="files of your own, .arff, .csv or .parquet, with the same --labels"
    )
    what.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="target columns of --data, which hold classes, 0 and 1, or distributions: their names, or one number, "
        "N for the last N and -N for the first N columns",
    )
    what.add_argument("--methods", nargs="+", choices=_METHODS, metavar="METHOD", help="default: those of the profile")
    what.add_argument("--grids", action="store_true", help="print all methods and what their search chooses from")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--folds",
        type=_folds,
        metavar="N",
        help=f"number of folds, {OFFICIAL!r} for the official split, or {HELD_OUT!r} for a third held out at random "
        "(default: as the profile has it)",
    )
    how.add_argument("--repeats", type=_positive, metavar="N", help="repeats of the folds, with other seeds")
    how.add_argument("--seed", type=_whole, help="seed of folds and methods (default: 0)")
    how.add_argument(
        "--search",
        action=BooleanOptionalAction,
        help="choose hyper-parameters by cross-validation within each training part (default: as the profile has it)",
    )
    how.add_argument(
        "--timeout",
        type=_positive,
        metavar="SECONDS",
        help="give up a fold of a method after this time, as soon as it leaves compiled code",
    )
    how.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="parallel processes (default: the number of cores)",
    )
    how.add_argument(
        "--alone",
        action=BooleanOptionalAction,
        help="run one fold of a method after another, each in a process of its own, and record its memory where the "
        "system tells it (default: as the profile has it)",
    )
    how.add_argument("--backend", choices=("loky", "dask"), default="loky", help="what runs them (default: loky)")
    how.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster (default: one on this machine)")
    where = parser.add_argument_group("results")
    where.add_argument(
        "--out",
        type=Path,
        default=Path("results.jsonl"),
        metavar="FILE",
        help="file of JSON lines to take up and append to (default: results.jsonl)",
    )
    where.add_argument("--anew", action="store_true", help="run again what the file holds")
    where.add_argument("--no-run", action="store_true", help="run nothing; show what the file holds")
    where.add_argument("--report", type=Path, metavar="FILE", help="write a page of HTML with tables and pictures")
    return parser

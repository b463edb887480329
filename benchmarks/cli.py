"""Command line of the benchmarks."""

import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.compare.cells import Cell, Settings, cells, done, shown, splits, versions
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.records import Record, is_failure, is_outcome, keep, mend, read
from benchmarks.compare.runs import run
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS, Source, own_source
from benchmarks.options import parsed

_Measured = TypeVar("_Measured", bound=Mapping[str, object])


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns
    -------
    int
        Exit status: 0, 1 if a cell failed or a device computes otherwise than the CPU, 2 if nothing could be run or
        shown, 130 if interrupted.
    """
    options = parsed(arguments)
    # Names of files and methods are words; tables of text are alone in what may be piped into a file.
    console = Console(markup=False, stderr=options.table is not None)
    if options.grids:
        from benchmarks.show.tables import grid_table

        console.print(grid_table(TASKS))
        return 0
    try:
        for file in filter(None, (None if options.no_run else options.out, options.report)):
            file.parent.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=file.parent).close()
            if file.exists() and not file.is_file():  # what a device holds may have no end
                raise OSError(f"{file} is {'a folder' if file.is_dir() else 'no plain file'}")
    except OSError as error:
        _complain(console, f"Cannot write records: {error}. Name another file with --out or --report.")
        return 2
    try:
        if not options.no_run:
            mend(options.out)
        return _MEASURES.get(options.profile, _compare)(options, console)
    except (ImportError, OSError, ValueError) as error:
        _complain(console, str(error))
        return 2


# Comparisons


def _compare(options: Namespace, console: Console) -> int:
    comparison = _planned(options, console)
    if not comparison:
        _complain(console, "Nothing can be compared: no data set could be read that one of these methods is for.")
        return 2
    held: list[Record] = [] if options.anew else list(filter(is_outcome, read(options.out)))
    if options.no_run:
        return _show_held(shown(comparison, held), comparison, options, console)
    if options.alone:  # others have no memory, and times beside those of other processes
        held = [record for record in held if record.get("alone")]
    records, missing = done(comparison, held, options.any_version)
    if records and missing:
        console.print(f"{len(records)} of {len(comparison)} records were in {options.out}; --anew makes them again.")
    were_slow = {(record["dataset"], record["method"]) for record in records if record.get("too_slow")}
    slow = [cell for cell in missing if (cell.source.name, cell.method) in were_slow]
    n_found, interrupted = len(records), False
    circumstances: Record = {"jobs": options.jobs, "alone": options.alone}
    try:
        with _progress(console) as progress:
            bar = progress.add_task("Folds x methods", total=len(comparison), completed=n_found)
            new = run(missing, options.jobs, options.backend, options.scheduler, options.alone, slow=slow)
            for record in keep((record | circumstances for record in new), options.out):
                records.append(record)
                progress.advance(bar)
    except KeyboardInterrupt:
        interrupted = True
    _show(records, options, console)
    if interrupted:
        console.print(f"Interrupted after {len(records)} of {len(comparison)} folds x methods.")
    console.print(f"{len(records) - n_found} records appended to {options.out}")
    return 130 if interrupted else int(any(map(is_failure, records)))


def _show_held(records: list[Record], comparison: list[Cell], options: Namespace, console: Console) -> int:
    """Show what a file holds of a comparison; the exit status."""
    if not records:
        held = "holds no records of these data sets, methods and settings" if options.out.exists() else "is not there"
        _complain(console, f"{options.out} {held}. Pass the options and --out of a run, or leave out --no-run.")
        return 2
    _show(records, options, console)
    console.print(f"{len(records)} of {len(comparison)} folds x methods are in {options.out}.")
    return int(any(map(is_failure, records)))


def _planned(options: Namespace, console: Console) -> list[Cell]:
    """All cells that are asked for; data sets of a profile that cannot be had are left out, with a word."""
    comparison: list[Cell] = []
    for source in _sources(options):
        if source.path:
            targets = ", ".join(source.targets[:8]) + ", ..." * (len(source.targets) > 8)
            columns = "1 target column" if len(source.targets) == 1 else f"{len(source.targets)} target columns"
            console.print(f"{source.name}: {source.task}, with {columns}: {targets}")
        try:
            settings = _settings(source, options)
            of_data_set = cells(source, _methods(source, options), settings)
            if of_data_set and not options.no_run:
                splits(source, settings)  # what cannot be split, or not be had, is known before anything is run
        except (ImportError, OSError, ValueError) as error:
            if source.path or options.datasets:
                raise
            _complain(console, str(error))
            continue
        if not of_data_set:
            _complain(console, f"{source.name} is left out: none of these methods is for {source.task} targets.")
        comparison += of_data_set
    return comparison


def _sources(options: Namespace) -> list[Source]:
    """Named data sets, and files of one's own; those of the profile where neither is asked for."""
    own = list(dict.fromkeys(own_source(path, _labels(options.labels)) for path in options.data or []))
    if len({source.name for source in own}) < len(own):
        paths = ", ".join(str(source.path) for source in own)
        raise ValueError(f"Files of one name could not be told apart: {paths}. Give each a name of its own.")
    named = options.datasets or ([] if own else PROFILES[options.profile].datasets)
    return [DATASETS[name] for name in dict.fromkeys(named)] + own


def _labels(words: list[str] | None) -> tuple[str, ...] | int | None:
    """Names of target columns, or their number."""
    if words is None:
        return None
    if len(words) == 1 and words[0].removeprefix("-").isdecimal():
        return int(words[0])
    return tuple(words)


def _methods(source: Source, options: Namespace) -> list[str]:
    return options.methods or PROFILES[options.profile].methods(TASKS[source.task])


def _settings(source: Source, options: Namespace) -> Settings:
    """Settings of the profile, but for what the command line says."""
    said = {name: getattr(options, name) for name in Settings._fields}
    of_profile = PROFILES[options.profile].settings(source)
    return of_profile._replace(**{name: value for name, value in said.items() if value is not None})


def _show(records: list[Record], options: Namespace, console: Console) -> None:
    """Tables, failures, and the report if it is asked for; what draws and tests takes a while to load."""
    from benchmarks.show.formats import exported, in_terminal
    from benchmarks.show.tables import comparison_tables, summary_tables, usage_tables

    tables = summary_tables(records)
    if options.summary and not tables:
        console.print("There is no summary: it takes two data sets of a task that methods came through.")
    if not options.summary:
        tables = [*comparison_tables(records, options.profile == "paper"), *usage_tables(records), *tables]
    for table in tables:
        if options.table:
            print(exported(table, options.table), end="\n\n")
        else:
            console.print(in_terminal(table, console.width), crop=False)
    for error in sorted({f"{record['method']}: {record['error']}" for record in filter(is_failure, records)}):
        _complain(console, f"Failed: {error}")
    slow = sorted({f"{record['method']} on {record['dataset']}" for record in records if record.get("too_slow")})
    if slow:
        console.print(f"Too slow, which counts as last: {', '.join(slow)}")
    if options.report:
        from benchmarks.show.report.page import write_report

        write_report(records, options.report, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
        console.print(f"Report written to {options.report}")


# Measurements


def _speed(options: Namespace, console: Console) -> int:
    from benchmarks.speed import hot_paths
    from benchmarks.speed.tables import speed_table
    from benchmarks.speed.timing import Measurement

    earlier = [each for each in read(options.out, Measurement) if each.keys() >= Measurement.__required_keys__]
    before = {each["path"]: each for each in earlier if each.get("profile", "speed") == "speed"}
    console.print(speed_table(_kept(hot_paths.measure(), options, console), before))
    return 0


def _scale(options: Namespace, console: Console) -> int:
    from benchmarks.speed import scale
    from benchmarks.speed.tables import scale_table

    sizes = _given(options, {"n_samples": "n", "n_features": "d", "repeats": "repeats"})
    console.print(scale_table(_kept(scale.measure(**sizes), options, console)))
    return 0


def _accelerator(options: Namespace, console: Console) -> int:
    from benchmarks.speed.accelerator import Problem, device_named, measure
    from benchmarks.speed.tables import precision_tables

    device = device_named(options.device)
    sizes = ("n_samples", "n_features", "n_labels", "width")
    problem = Problem.drawn(**_given(options, dict(zip(sizes, sizes, strict=True))))
    measured = _kept(measure(problem, device, **_given(options, {"repeats": "repeats"})), options, console)
    for table in precision_tables(measured):
        console.print(table)
    others = [f"{each['path']} in {each['arithmetic']}" for each in measured if not each["agrees"]]
    for other in others:
        _complain(console, f"Other values than in float64 on the CPU: {other}.")
    return int(bool(others))


_MEASURES = {"speed": _speed, "scale": _scale, "accelerator": _accelerator}


def _given(options: Namespace, names: Mapping[str, str]) -> dict[str, int]:
    """Options that are given, by the names of the parameters that take them."""
    return {names[name]: value for name in names if (value := getattr(options, name)) is not None}


def _kept(measured: Iterable[_Measured], options: Namespace, console: Console) -> list[_Measured]:
    """Measurements, each appended to the file of records as soon as it is there, with where and when it was made."""
    origin = {
        "profile": options.profile,
        "commit": commit(Path(__file__).parent),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    with console.status("Measuring"):
        return list(keep((cast(_Measured, {**each, **origin}) for each in measured), options.out))


def commit(folder: Path) -> str | None:
    """Commit of the checkout that a folder is in, with a sign if it has changes; None outside of one."""
    described = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _complain(console: Console, message: str) -> None:
    console.print(message, style="red")


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal and not sys.stderr.isatty())

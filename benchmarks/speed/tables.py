"""Tables of measurements in the terminal."""

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.speed.accelerator import Precision
from benchmarks.speed.scale import Figure
from benchmarks.speed.timing import Measurement


def speed_table(measured: Iterable[Measurement], before: Mapping[str, Measurement]) -> Table:
    """Table of hot paths, with the ratio that each had in an earlier run, by its path, if it was measured then."""
    table = Table(title="Speed", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("Hot path", "Floor or peer"):
        table.add_column(heading)
    for heading in ("Median ms", "Ratio", "Before", "Peak memory / X"):
        table.add_column(heading, justify="right")
    for each in measured:
        earlier = before.get(each["path"])
        table.add_row(
            each["path"],
            each["floor"],
            f"{1000 * each['seconds']:.1f}",
            f"{each['ratio']:.2f}",
            f"{earlier['ratio']:.2f}" if earlier else "",
            f"{each['peak_over_X']:.2f}" if "peak_over_X" in each else "",
        )
    commits = {each.get("commit") or "an unknown commit" for each in before.values()}
    if commits:
        table.caption = f"Before: at {', '.join(sorted(commits))}."
    return table


def precision_tables(measured: Iterable[Precision]) -> list[Table]:
    """Table of each path, a row for each arithmetic."""
    by_path: dict[str, list[Precision]] = {}
    for each in measured:
        by_path.setdefault(each["path"], []).append(each)
    return [_precision_table(path, of_path) for path, of_path in by_path.items()]


def _precision_table(path: str, of_path: list[Precision]) -> Table:
    first = of_path[0]
    n, width = first["shape"]
    table = Table(title=f"{path} ({n:,} x {width}, {first['device']})", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("Arithmetic", no_wrap=True)
    for heading in (*(f"Error of {name}" for name in first["errors"]), "ms", "/ X'X", "10⁶ rows/s", "GB/s"):
        table.add_column(heading, justify="right")
    for each in of_path:
        table.add_row(
            each["arithmetic"],
            *(f"{error:.1e}" for error in each["errors"].values()),
            f"{1000 * each['seconds']:.2f}",
            f"{each['ratio']:.1f}",
            f"{each['rows_per_second'] / 1e6:.1f}",
            f"{each['gigabytes_per_second']:.1f}",
        )
    return table


def scale_table(measured: Iterable[Figure]) -> Table:
    """Table of figures beside what they are measured against."""
    table = Table(title="Scale", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in ("Measured", "Against", "Ratio"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in measured:
        numbers = (f"{number:,.4g}" for number in (each["measured"], each["against"], each["ratio"]))
        table.add_row(each["path"], *numbers, each["unit"])
    return table

"""Kept records of the full profile, and what is written of them."""

from pathlib import Path

import pytest

import benchmarks
from benchmarks.compare.cells import cells, shown
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.records import is_outcome, read
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS
from benchmarks.show.formats import exported
from benchmarks.show.tables import headline_tables, summary_tables

HERE = Path(benchmarks.__file__).parent
RECORDS = HERE / "evidence/full.jsonl.xz"
README = HERE.parent / "README.md"
MARK = "<!-- tables -->\n\n"


@pytest.fixture(scope="module")
def records():
    """Records of the profile, as the command line shows them."""
    full = PROFILES["full"]
    planned = [
        cell
        for source in (DATASETS[name] for name in full.datasets)
        for cell in cells(source, full.methods(TASKS[source.task]), full.settings(source))
    ]
    return shown(planned, list(filter(is_outcome, read(RECORDS))))


def test_records_are_kept_small_and_of_every_data_set(records):
    assert RECORDS.stat().st_size < 3_000_000
    assert {record["dataset"] for record in records} == set(PROFILES["full"].datasets)


def test_results_are_those_of_the_records(records):
    tables = "\n\n".join(exported(table, "markdown") for table in summary_tables(records))
    assert (HERE / "RESULTS.md").read_text(encoding="utf-8").partition(MARK)[2] == tables + "\n"


def test_the_table_of_the_readme_is_that_of_the_records(records):
    (headline,) = headline_tables(records)
    table = exported(headline, "markdown").split("\n\n")[1]
    assert table in README.read_text(encoding="utf-8")

"""Memory of processes, and of methods that run alone."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cli import main
from benchmarks.compare import runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.compare.memory import watched
from benchmarks.show.formats import in_terminal
from benchmarks.show.report.page import render
from benchmarks.show.tables import usage_tables
from tests.benchmarks.comparison import EMOTIONS, records_of

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is told by Linux")


@needs_linux
def test_the_peak_is_that_of_its_block():
    with watched() as larger:
        fresh(128)
    with watched() as smaller:
        fresh(32)
    for memory, size in ((larger, 128), (smaller, 32)):
        assert size - 1 <= memory["peak"] - memory["before"] < size + 16
    with watched() as memory:
        held = fresh(64)
    with watched() as after:
        pass
    assert after["before"] == pytest.approx(memory["before"] + len(held) / 2**20, abs=16)


def fresh(mib):
    """Memory from the system, not what the allocator kept of earlier tests."""
    block = mmap.mmap(-1, mib * 2**20)
    np.frombuffer(block, np.uint8).fill(1)
    return block


def test_systems_that_tell_no_peak(monkeypatch):
    def denied(*args):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", denied)
    with watched() as memory:
        pass
    assert memory == {}
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    record = runs.run_cell(cell, with_memory=True)
    assert "memory_mib" not in record
    assert "scores" in record


@needs_linux
def test_the_large_profile_in_miniature(tmp_path, capsys):
    out = tmp_path / "results.jsonl"
    one = ["--datasets", "emotions", "--methods", "RAMLLinear + MLkNN", "--out", str(out)]
    large = ["--profile", "large", *one]
    assert main([*one, "--folds", "official", "--repeats", "1", "--jobs", "1"]) == 0
    beside = records_of(out)
    assert not any("memory_mib" in record or record["alone"] for record in beside)
    assert "each method alone" not in capsys.readouterr().out
    assert main(large) == 0
    printed = capsys.readouterr().out
    alone = records_of(out)[len(beside) :]
    assert len(alone) == len(beside) == 1, "measured again, alone"
    assert {record["method"]: record["scores"] for record in alone} == {
        record["method"]: pytest.approx(record["scores"]) for record in beside
    }
    for record in alone:
        assert (record["folds"], record["alone"], record["jobs"]) == ("official", True, 1)
        assert 50 < record["memory_mib"]["before"] <= record["memory_mib"]["peak"] < 5000
        assert f"{record['memory_mib']['peak']:,.0f}" in printed
    assert "each method alone" in printed
    assert main(large) == 0
    assert len(records_of(out)) == 2, "what ran alone is not run again"


def test_records_without_memory_have_tables_as_before():
    comparison = cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(OFFICIAL, 1))
    first, second = (runs.run_cell(cell) | {"dataset": "mine"} for cell in comparison)  # no pictures are drawn of it
    assert usage_tables([first, second]) == []
    assert "Peak, MiB" not in render([first, second], "-").replace("\xa0", " ")
    old = {key: first[key] for key in ("dataset", "task", "method", "scores", "fit_seconds")}
    second["alone"] = True
    new = second | {"score_seconds": 1234.5, "memory_mib": {"before": 400.4, "peak": 1800.6}}
    higher = second | {"score_seconds": 1234.5, "memory_mib": {"before": 300.0, "peak": 1900.0}, "repeat": 1}
    (table,) = usage_tables([old, new])
    columns = [list(map(str, column.cells)) for column in in_terminal(table).columns]
    assert columns[0] == ["PCA + MLkNN"]
    assert [column[0] for column in columns[2:]] == ["1,234.50", "400", "1,801"]
    assert [cell.text for cell in usage_tables([new, higher])[0].rows[0]][3:] == ["300", "1,900"]
    page = render([old, new], "-").replace("\xa0", " ")
    assert "Peak, MiB" in page
    assert '<td class="number" data-value="1800.6">1,801</td>' in page
    assert page.count('<td class="number" data-value=""></td>') == 3, "of the older record"

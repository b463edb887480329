"""Records: the file of them, and which of them belong to a cell."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cli import main
from benchmarks.compare import records, runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells, done, shown
from benchmarks.compare.methods import Method
from benchmarks.compare.tasks import TASKS
from tests.benchmarks.comparison import EMOTIONS, FAST, Broken, records_of

ROOT = Path(__file__).parents[2]


def test_killed_in_the_middle_of_a_line(tmp_path):
    out = tmp_path / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:2]) + lines[2][: len(lines[2]) // 2])
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    scores = [(r["method"], r["fold"], r["scores"]) for r in records_of(out)]
    assert sorted(map(str, scores)) == sorted(
        str((r["method"], r["fold"], r["scores"])) for r in map(json.loads, lines)
    )


def test_lines_that_are_no_records(tmp_path, capsys):
    out = tmp_path / "results.jsonl"
    out.write_text("no record\n")
    assert main([*FAST, "--out", str(out)]) == 2
    assert "Line 1 of" in capsys.readouterr().out
    assert out.read_text() == "no record\n"
    out.write_text("a letter to a friend")
    assert main([*FAST, "--out", str(out)]) == 2
    assert out.read_text() == "a letter to a friend", "what is no file of records stays as it is"


def test_other_settings_are_other_records(tmp_path):
    comparison = {
        settings: cells(EMOTIONS, ["MLkNN"], settings)
        for settings in (Settings(2, 1), Settings(2, 1, seed=1), Settings(2, 1, search=True), Settings(OFFICIAL, 1))
    }
    held = [runs.run_cell(cell) for cell in comparison[Settings(2, 1)]]
    for settings, of_settings in comparison.items():
        found, missing = done(of_settings, json.loads(json.dumps(held)))
        assert (len(found), len(missing)) == ((2, 0) if settings == Settings(2, 1) else (0, len(of_settings)))
    found, _ = done(cells(EMOTIONS, ["MLkNN"], Settings(2, 3, timeout=9)), held)
    assert len(found) == 2, "more repeats and another timeout leave what is done as it is"


def test_records_are_shown_without_running(tmp_path, capsys, monkeypatch):
    out = tmp_path / "results.jsonl"
    main([*FAST, "--jobs", "1", "--out", str(out)])
    monkeypatch.setattr(runs, "run_cell", None)
    capsys.readouterr()
    assert main([*FAST, "--jobs", "1", "--repeats", "5", "--no-run", "--out", str(out)]) == 0
    assert "RAMLLinear" in capsys.readouterr().out


def test_the_end_of_a_line_is_mended(tmp_path):
    out = tmp_path / "results.jsonl"
    for content, mended in [
        ('{"a": 1}\n{"b": 2}', '{"a": 1}\n{"b": 2}\n'),
        ('{"a": 1}\n{"b": ', '{"a": 1}\n'),
        ('{"b": ', ""),
        ("", ""),
        ('{"a": 1}\n', '{"a": 1}\n'),
    ]:
        out.write_text(content)
        records.mend(out)
        assert out.read_text() == mended


def test_two_runs_write_to_one_file(tmp_path):
    out = tmp_path / "results.jsonl"
    code = (
        "import sys; from pathlib import Path; from benchmarks.compare.records import keep, mend\n"
        "path = Path(sys.argv[1])\n"
        "for k in range(100): mend(path); list(keep([{'k': k, 'x': 'y' * 5000}], path))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=ROOT) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert sorted(record["k"] for record in records.read(out)) == sorted([*range(100)] * 2)


def test_disk_that_is_full(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"):
        list(records.keep([{"a": 1}], full))


def test_failures_are_shown_without_running(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Broken()))
    out = tmp_path / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 1
    before = out.read_bytes()
    capsys.readouterr()
    assert main([*FAST, "--jobs", "1", "--no-run", "--out", str(out)]) == 1
    assert "MLkNN: RuntimeError: it broke" in capsys.readouterr().out
    assert out.read_bytes() == before


def test_other_source_is_other_records(monkeypatch):
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    record = json.loads(json.dumps(runs.run_cell(cell)))
    assert done([cell], [record]) == ([record], [])
    record["versions"]["source"] = "another"
    assert done([cell], [record]) == ([], [cell])
    assert shown([cell], [record]) == [record]

"""Records: the file of them, and which of them belong to a cell."""

import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cli import main
from benchmarks.compare import records, runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells, done, plain, shown
from benchmarks.compare.methods import Method
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS
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


WRONG = [
    {"scores": [1, 2]},
    {"scores": {"Hamming loss ↓": "0.2"}},
    {"scores": {"Hamming loss ↓": None}},
    {"scores": 3},
    {"fit_seconds": "long"},
    {"fit_seconds": True},
    {"fit_seconds": 10**400},
    {"error": {"of": "another"}},
    {"dataset": ["emotions"]},
    {"dataset": {}},
    {"task": None},
    {"method": 7},
    {"fold": 0.5},
    {"folds": [3]},
    {"warnings": "one"},
    {"memory_mib": {"peak": []}},
    {"versions": {"python": 3}},
    {"grid": {"alpha": 1}},
    {"parameters": {"alpha": {}}},
    {"alone": "yes"},
]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Lines of a comparison of two folds of two methods."""
    out = tmp_path_factory.mktemp("records") / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    return out.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("arguments", [[], ["--no-run"]])
def test_fields_of_another_type_are_said(tmp_path, capsys, content, wrong, arguments):
    out = tmp_path / "results.jsonl"
    spoiled = "".join([*content[:2], json.dumps(json.loads(content[2]) | wrong) + "\n", content[3]])
    out.write_text(spoiled)
    assert main([*FAST, *arguments, "--jobs", "1", "--out", str(out)]) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "Line 3 of" in printed
    assert f"its {next(iter(wrong))!r} has a value of another type" in printed
    assert out.read_text() == spoiled


LINES = {
    "lists": "[" * 10**5,
    "objects": '{"a": ' * 10**5,
    "closed": '{"dataset": ' + "[" * 900 + "]" * 900 + "}",
    "pairs": '[["dataset", "emotions"]]',
    "number": "7",
    "NaN": '{"fit_seconds": NaN}',
    "Infinity": '{"scores": {"Hamming loss ↓": -Infinity}}',
    "digits": '{"fold": ' + "1" * 5000 + "}",
    "NUL": "\0",
}


@pytest.mark.parametrize("line", LINES)
def test_lines_of_another_form_are_said(tmp_path, capsys, line):
    out = tmp_path / "results.jsonl"
    out.write_bytes(b'{"dataset": "emotions"}\n' + LINES[line].encode() + b"\n")
    before = out.read_bytes()
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 2
    assert "Line 2 of" in " ".join(capsys.readouterr().out.split())
    assert out.read_bytes() == before


@pytest.mark.parametrize("lost", ["scores", "fit_seconds", "a score", "versions"])
def test_records_without_an_outcome_are_made_again(tmp_path, capsys, content, lost):
    out = tmp_path / "results.jsonl"
    record = json.loads(content[2])
    if lost == "a score":
        record["scores"].popitem()
    else:
        del record[lost]
    out.write_text("".join([*content[:2], json.dumps(record) + "\n", content[3]]))
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    assert "1 records appended" in capsys.readouterr().out
    assert records_of(out)[-1]["scores"] == json.loads(content[2])["scores"]


def test_older_records_may_lack_memory(tmp_path, capsys, content):
    out = tmp_path / "results.jsonl"
    lines = [json.loads(line) | {"memory_mib": {"peak": 5.0}} for line in content]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([*FAST, "--no-run", "--jobs", "1", "--out", str(out)]) == 0
    assert "RAMLLinear" in capsys.readouterr().out


def test_measurements_before_may_be_of_another_form(tmp_path, capsys, monkeypatch):
    measured = {"path": "a fit", "seconds": 1.0, "floor": "a product", "ratio": 2.0}
    monkeypatch.setattr("benchmarks.speed.hot_paths.measure", lambda: iter([measured]))
    out = tmp_path / "results.jsonl"
    out.write_text('{"path": "a fit"}\n{"path": "a fit", "profile": "scale", "seconds": 3}\n')
    assert main(["--profile", "speed", "--out", str(out)]) == 0
    out.write_text(json.dumps(measured | {"ratio": "2"}) + "\n")
    assert main(["--profile", "speed", "--out", str(out)]) == 2
    assert "Line 1 of" in capsys.readouterr().out


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
    assert done([cell], [record], of_any_version=True) == ([record], [])


def test_packed_records_are_shown_without_their_data(tmp_path, capsys, monkeypatch, content):
    packed = tmp_path / "results.jsonl.xz"
    packed.write_bytes(lzma.compress("".join(content).encode()))
    monkeypatch.setattr("benchmarks.compare.cells.load", None)
    before = packed.read_bytes()
    assert main([*FAST, "--no-run", "--out", str(packed)]) == 0
    assert "RAMLLinear" in capsys.readouterr().out
    assert packed.read_bytes() == before
    with pytest.raises(SystemExit):
        main([*FAST, "--out", str(packed)])
    assert "which is packed" in capsys.readouterr().err
    packed.write_bytes(before[:-30])
    assert main([*FAST, "--no-run", "--out", str(packed)]) == 2
    assert "cannot be unpacked" in capsys.readouterr().out


def test_parameters_that_are_no_numbers_of_json_are_words():
    for value, expected in ((float("nan"), "nan"), (-np.inf, "-inf"), (1.5, 1.5), (True, True), (None, None)):
        assert plain(value) == expected
    for source in DATASETS.values():
        for cell in cells(source, list(TASKS[source.task].methods), Settings(2, 1)):
            assert json.dumps(cell.plan(), allow_nan=False)

"""Runs of the benchmark: what is kept of them, and what ends them."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator

from benchmarks.cli import main
from benchmarks.compare import records, runs
from benchmarks.compare.cells import OFFICIAL, Cell, Settings, cells, done, shown
from benchmarks.compare.memory import watched
from benchmarks.compare.methods import Method
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import load
from benchmarks.show.report.page import render
from benchmarks.show.tables import usage_tables
from tests.benchmarks.comparison import EMOTIONS, FAST, Broken, records_of

ROOT = Path(__file__).parents[2]


def test_parallel_scores_are_the_same(tmp_path):
    scores = []
    for jobs in ("1", "2"):
        out = tmp_path / f"{jobs}.jsonl"
        assert main([*FAST, "--jobs", jobs, "--out", str(out)]) == 0
        scores.append({(r["method"], r["fold"]): r["scores"] for r in records_of(out)})
    assert scores[0].keys() == scores[1].keys()
    for cell, values in scores[0].items():
        assert values == pytest.approx(scores[1][cell])


def test_failures_are_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Broken()))
    out = tmp_path / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 1
    assert [r["error"] for r in records_of(out) if r["method"] == "MLkNN"] == ["RuntimeError: it broke"] * 2
    printed = capsys.readouterr().out
    assert "failed" in printed
    assert "MLkNN: RuntimeError: it broke" in printed
    monkeypatch.undo()
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0, "what failed is tried again"
    assert [r["method"] for r in records_of(out)[4:]] == ["MLkNN"] * 2


def test_interrupt_keeps_what_is_done(tmp_path):
    out = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks", "--datasets", "emotions", "--folds", "10", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--repeats", "3", "--jobs", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and not (out.exists() and out.read_text().count("\n") > 2):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted after" in printed
    assert "Traceback" not in errors
    assert len(records_of(out)) > 2


def test_a_timeout_is_a_failure(monkeypatch):
    class Sleepy(BaseEstimator):
        def fit(self, X, y):
            time.sleep(30)

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Sleepy(), {"x": [1]}))
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1, timeout=0.2))
    assert runs.run_cell(cell)["error"] == "stopped after 0.2 s"
    time.sleep(0.3)  # nothing is left that goes off later


def test_a_timeout_ends_a_search_as_well(monkeypatch):
    class Sleepy(BaseEstimator):
        def __init__(self, x=0):
            self.x = x

        def fit(self, X, y):
            time.sleep(30)

        def set_params(self, **parameters):
            return super().set_params(**{name: value for name, value in parameters.items() if name != "memory"})

        def predict(self, X):
            return X

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Sleepy(), {"x": [1, 2]}))
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1, search=True, timeout=0.2))
    assert runs.run_cell(cell)["error"] == "stopped after 0.2 s"


def test_scores_that_are_no_numbers_are_failures(monkeypatch):
    monkeypatch.setattr(
        runs,
        "check_scoring",
        lambda *args: (
            lambda *args: dict.fromkeys([criterion.scorer for criterion in TASKS["multilabel"].criteria], float("nan"))
        ),
    )
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    assert "came out as no number" in runs.run_cell(cell)["error"]


def test_warnings_are_recorded():
    (cell,) = cells(EMOTIONS, ["RBF-SVM"], Settings(OFFICIAL, 1))
    _, Y, n_train = load(EMOTIONS)
    Y[:n_train, 0], saved = 0, Y[:n_train, 0].copy()
    try:
        record = runs.run_cell(cell)
    finally:
        Y[:n_train, 0] = saved
    assert record["warnings"] == ["UserWarning: Label not 0 is present in all training examples."]


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


def test_resumes_after_a_kill(tmp_path):
    out = tmp_path / "results.jsonl"
    arguments = ["--datasets", "emotions", "--methods", "MLkNN", "HRAML + MLkNN", "--folds", "5", "--jobs", "1"]
    command = [sys.executable, "-m", "benchmarks", *arguments, "--out", str(out)]
    with subprocess.Popen([*command, "--repeats", "10"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (out.exists() and out.read_text().count("\n") > 2):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    before = out.read_text()
    n_before = before.count("\n")
    assert main([*arguments, "--repeats", "1", "--out", str(out)]) == 0
    records = records_of(out)
    assert out.read_text().startswith(before[: before.rfind("\n") + 1])
    first = [(r["method"], r["fold"]) for r in records if r["repeat"] == 0]
    assert len(first) == len(set(first)) == 10, "each fold once"
    assert n_before <= len(records) <= n_before + 10


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


def test_dask(tmp_path):
    pytest.importorskip("distributed")
    scores = []
    for jobs, backend in (("1", "loky"), ("2", "dask")):
        out = tmp_path / f"{backend}.jsonl"
        assert main([*FAST, "--jobs", jobs, "--backend", backend, "--out", str(out)]) == 0
        scores.append(sorted((r["method"], r["fold"], *r["scores"].values()) for r in records_of(out)))
    assert np.allclose([row[2:] for row in scores[0]], [row[2:] for row in scores[1]])
    assert [row[:2] for row in scores[0]] == [row[:2] for row in scores[1]]


def test_dask_elsewhere(tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "r.jsonl"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        arguments = ["--backend", "dask", "--scheduler", cluster.scheduler_address, "--out", str(out)]
        assert main([*FAST, *arguments]) == 0
    assert len(records_of(out)) == 4


def test_a_scheduler_that_is_not_there():
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match="tcp://127.0.0.1:9"):
        next(runs.run([], 1, "dask", "tcp://127.0.0.1:9", patience=0.2))


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
        "for k in range(300): mend(path); list(keep([{'k': k, 'x': 'y' * 5000}], path))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=ROOT) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert sorted(record["k"] for record in records.read(out)) == sorted([*range(300)] * 2)


def test_disk_that_is_full(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"):
        list(records.keep([{"a": 1}], full))


class Deadly(Cell):
    def __reduce__(self):
        return os._exit, (1,)  # the process that reads it ends, as one does that wants too much memory


def test_a_worker_that_is_killed_is_a_failure_of_its_cell():
    comparison = cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(2, 1))
    first, *others = comparison
    found = list(runs.run([Deadly(*first), *others], n_jobs=2))
    assert len(found) == len(comparison)
    (failed,) = (record for record in found if "error" in record)
    assert failed["error"] == "its process was killed, perhaps for want of memory"
    assert (failed["method"], failed["fold"]) == (first.method, first.fold)
    scored = {(record["method"], record["fold"]) for record in found if "scores" in record}
    assert scored == {(cell.method, cell.fold) for cell in others}


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


def test_a_cell_keeps_to_its_worker(monkeypatch):
    jobs = []

    class Counting(BaseEstimator):
        def fit(self, X, y):
            jobs.append(joblib.effective_n_jobs(-1))
            raise RuntimeError

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Counting()))
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    runs.run_cell(cell)
    assert jobs == [1]


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
    large = ["--profile", "large", "--datasets", "emotions", "--out", str(out)]
    assert main([*FAST, "--folds", "official", "--jobs", "1", "--out", str(out)]) == 0
    beside = records_of(out)
    assert not any("memory_mib" in record or record["alone"] for record in beside)
    assert "each method alone" not in capsys.readouterr().out
    assert main(large) == 0
    printed = capsys.readouterr().out
    alone = records_of(out)[len(beside) :]
    assert [record["method"] for record in alone] == ["RAMLLinear + MLkNN", "MLkNN"], "measured again, alone"
    assert {record["method"]: record["scores"] for record in alone} == {
        record["method"]: pytest.approx(record["scores"]) for record in beside
    }
    for record in alone:
        assert (record["folds"], record["alone"], record["jobs"]) == ("official", True, 1)
        assert 50 < record["memory_mib"]["before"] <= record["memory_mib"]["peak"] < 5000
        assert f"{record['memory_mib']['peak']:,.0f}" in printed
    assert "each method alone" in printed
    assert main(large) == 0
    assert len(records_of(out)) == len(beside) + 2, "what ran alone is not run again"


def test_records_without_memory_have_tables_as_before():
    comparison = cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(OFFICIAL, 1))
    first, second = (runs.run_cell(cell) | {"dataset": "mine"} for cell in comparison)  # no pictures are drawn of it
    assert usage_tables([first, second]) == []
    assert "Peak, MiB" not in render([first, second], "-").replace("\xa0", " ")
    old = {key: first[key] for key in ("dataset", "task", "method", "scores", "fit_seconds")}
    new = second | {"score_seconds": 1234.5, "memory_mib": {"before": 400.4, "peak": 1800.6}}
    higher = second | {"score_seconds": 1234.5, "memory_mib": {"before": 300.0, "peak": 1900.0}, "repeat": 1}
    (table,) = usage_tables([old, new])
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["PCA + MLkNN"]
    assert [column[0] for column in columns[2:]] == ["1,234.50", "400", "1,801"]
    assert [next(column.cells) for column in usage_tables([new, higher])[0].columns][3:] == ["300", "1,900"]
    page = render([old, new], "-").replace("\xa0", " ")
    assert "Peak, MiB" in page
    assert '<td class="number" data-value="1800.6">1,801</td>' in page
    assert page.count('<td class="number" data-value=""></td>') == 3, "of the older record"


def test_a_cell_that_is_killed_alone_leaves_the_others():
    first, second = cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(OFFICIAL, 1))
    records = list(runs.run([first, Deadly(*second)], n_jobs=1, alone=True))
    assert [record.get("error") for record in records] == ["its process was killed, perhaps for want of memory", None]


_SLOW = """
import sys
from benchmarks.compare import runs
from benchmarks.compare.cells import Cell, Settings, cells
from benchmarks.data.sources import DATASETS

class Slow(Cell):
    def __reduce__(self):
        return exec, (f"import pathlib, time; pathlib.Path({sys.argv[1]!r}).touch(); time.sleep(300)",)

(cell,) = cells(DATASETS["emotions"], ["MLkNN"], Settings("official", 1))
list(runs.run([Slow(*cell)], n_jobs=1, alone=True))
"""


def test_an_interrupt_ends_the_process_of_a_cell(tmp_path):
    begun = tmp_path / "begun"
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(begun)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not begun.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)  # not to the process of the cell
            assert process.communicate(timeout=60)[1].rstrip().endswith("KeyboardInterrupt")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

"""Runs of cells: failures, timeouts, processes, clusters and interrupts."""

import json
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
from benchmarks.compare import runs
from benchmarks.compare.cells import OFFICIAL, Cell, Settings, cells, done
from benchmarks.compare.methods import Method
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import load
from tests.benchmarks.comparison import EMOTIONS, FAST, Broken, records_of
from tests.ranks import CONTEXT

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loaded(monkeypatch):
    """Processes of cells have loaded the estimators when they start, which takes seconds."""
    monkeypatch.setattr(runs, "get_context", lambda method: CONTEXT)


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


def test_an_interrupt_keeps_what_is_done_for_the_next_run(tmp_path):
    out = tmp_path / "results.jsonl"
    arguments = ["--datasets", "emotions", "--methods", "MLkNN", "RAMLLinear + MLkNN", "--folds", "5", "--jobs", "1"]
    command = [sys.executable, "-m", "benchmarks", *arguments, "--repeats", "50", "--out", str(out)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and not (out.exists() and out.read_text().count("\n") > 2):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted after" in printed
    assert "Traceback" not in errors
    before = records_of(out)
    assert len(before) > 2
    assert main([*arguments, "--repeats", "1", "--out", str(out)]) == 0
    records = records_of(out)
    assert records[: len(before)] == before
    first = [(r["method"], r["fold"]) for r in records if r["repeat"] == 0]
    assert len(first) == len(set(first)) == 10, "each fold once"


def test_a_timeout_is_a_failure(monkeypatch):
    class Sleepy(BaseEstimator):
        def fit(self, X, y):
            time.sleep(30)

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Sleepy(), {"x": [1]}))
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1, timeout=0.2))
    assert runs.run_cell(cell)["error"] == "stopped after 0.2 s"
    time.sleep(0.3)  # nothing is left that goes off later


class Deaf(BaseEstimator):
    """Compiled code, which hears no alarm."""

    def fit(self, X, y):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(60)


def test_what_is_too_slow_is_killed_and_not_tried_on_other_folds(monkeypatch):
    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Deaf()))
    monkeypatch.setattr(runs, "_GRACE", 0.1)
    first, second = cells(EMOTIONS, ["MLkNN"], Settings(2, 1, timeout=0.2))
    start = time.monotonic()
    record = runs._forked(first)
    assert time.monotonic() - start < 10
    assert (record["error"], record["too_slow"], record["timeout"]) == ("stopped after 0.2 s", True, 0.2)
    assert record.items() >= first.identity().items()
    monkeypatch.setattr(runs, "run_cell", lambda cell: record | cell.identity())
    records = list(runs.run([first, second], n_jobs=1))
    assert [each["error"] for each in records] == ["stopped after 0.2 s", "stopped after 0.2 s on another fold"]
    assert [each["fold"] for each in records] == [0, 1]
    for limit, n_left in ((0.1, 0), (0.2, 0), (0.3, 2), (None, 2)):
        longer = [cell._replace(settings=cell.settings._replace(timeout=limit)) for cell in (first, second)]
        assert len(done(longer, records)[1]) == n_left, "more time is another chance"


def test_a_run_that_goes_on_knows_what_was_too_slow(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Broken()))
    out = tmp_path / "r.jsonl"
    first, _ = cells(EMOTIONS, ["MLkNN"], Settings(2, 1, timeout=2))
    out.write_text(json.dumps(first.identity() | runs._too_slow(first) | {"warnings": []}) + "\n")
    alone = [*FAST[:4], *FAST[5:], "--jobs", "1", "--timeout", "2", "--out", str(out)]
    assert main(alone) == 0
    assert [record["error"] for record in records_of(out)] == ["stopped after 2 s", "stopped after 2 s on another fold"]
    assert main([*alone, "--anew"]) == 1, "what is run anew is tried"


def test_a_forked_cell_is_as_one_here(monkeypatch):
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    here, there = runs.run_cell(cell), runs._forked(cell)
    assert there["scores"] == here["scores"]
    assert there["memory_mib"].keys() == {"before", "peak"}
    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Deathly()))
    assert runs._forked(cell)["error"] == "its process was killed, perhaps for want of memory"


def test_an_alarm_that_compiled_code_turns_into_an_interrupt_is_one(monkeypatch):
    class Turning(BaseEstimator):
        def fit(self, X, y):
            try:
                time.sleep(30)
            except BaseException as error:
                raise KeyboardInterrupt from error

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Turning()))
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1, timeout=0.2))
    assert runs.run_cell(cell)["too_slow"]


class Deathly(BaseEstimator):
    def fit(self, X, y):
        os._exit(1)


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
    _, Y, n_train, _ = load(EMOTIONS)
    Y[:n_train, 0], saved = 0, Y[:n_train, 0].copy()
    try:
        record = runs.run_cell(cell)
    finally:
        Y[:n_train, 0] = saved
    assert record["warnings"] == ["UserWarning: Label not 0 is present in all training examples."]


def test_dask(tmp_path):
    pytest.importorskip("distributed")
    scores = []
    for backend in ("loky", "dask"):
        out = tmp_path / f"{backend}.jsonl"
        assert main([*FAST, "--jobs", "1", "--backend", backend, "--out", str(out)]) == 0
        scores.append(sorted((r["method"], r["fold"], *r["scores"].values()) for r in records_of(out)))
    assert np.allclose([row[2:] for row in scores[0]], [row[2:] for row in scores[1]])
    assert [row[:2] for row in scores[0]] == [row[:2] for row in scores[1]]


def test_dask_elsewhere(tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "r.jsonl"
    threads = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with distributed.LocalCluster(**threads, protocol="tcp", dashboard_address=None) as cluster:
        arguments = ["--backend", "dask", "--scheduler", cluster.scheduler_address, "--out", str(out)]
        assert main([*FAST, *arguments]) == 0
    assert len(records_of(out)) == 4


def test_a_scheduler_that_is_not_there():
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match="tcp://127.0.0.1:9"):
        next(runs.run([], 1, "dask", "tcp://127.0.0.1:9", patience=0.2))


class Deadly(Cell):
    def __reduce__(self):
        return os._exit, (1,)  # the process that reads it ends, as one does that wants too much memory


@pytest.mark.usefixtures("loaded")
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


@pytest.mark.usefixtures("loaded")
def test_a_cell_that_is_killed_alone_leaves_the_others():
    first, second = cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(OFFICIAL, 1))
    records = list(runs.run([first, Deadly(*second)], n_jobs=1, alone=True))
    assert [record.get("error") for record in records] == ["its process was killed, perhaps for want of memory", None]


_KILLED = """
import os, signal
from benchmarks.compare import runs
from benchmarks.compare.cells import Cell, Settings, cells
from benchmarks.data.sources import DATASETS

class Killing:
    def fit(self, X, y):
        os.kill(os.getpid(), signal.SIGKILL)

Cell.model = lambda cell: Killing()
(cell,) = cells(DATASETS["emotions"], ["MLkNN"], Settings("official", 1))
runs.run_cell(cell)
"""


class Watching(BaseEstimator):
    """Estimator that sees its folder while those of killed processes are removed."""

    def fit(self, X, y):
        (folder,) = Path(runs.gettempdir()).glob("skrelmetric-search-*")
        os.utime(folder, (0, 0))
        runs._clear_folders()
        assert folder.exists()
        raise RuntimeError("seen")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL, and nothing is removed")
def test_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", _KILLED], cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    others = [tmp_path / "mine", tmp_path / "skrelmetric-search-new"]
    for other in others:
        other.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    list(runs.run([], n_jobs=1))
    assert sorted(tmp_path.iterdir()) == others
    others.pop().rmdir()
    monkeypatch.setattr(Cell, "model", lambda cell: Watching())
    (cell,) = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    assert runs.run_cell(cell)["error"] == "RuntimeError: seen"
    assert [*tmp_path.iterdir()] == others


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

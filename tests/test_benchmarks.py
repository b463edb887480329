import json
import mmap
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

from benchmarks import experiment, images, results, speed, speed_embeddings, speed_neighbors
from benchmarks.cli import main
from benchmarks.datasets import _CLASSES, DATASETS, load, own_source
from benchmarks.experiment import HELD_OUT, OFFICIAL, Settings
from benchmarks.memory import watched
from benchmarks.methods import METRICS, TIERS, Method, for_sparse
from benchmarks.profiles import PROFILES
from benchmarks.published import PAPER, best
from benchmarks.report import render
from benchmarks.table import comparison_tables, grid_table, usage_tables
from benchmarks.targets import MaximumEntropy, OnClasses, as_classes, positive_parts
from benchmarks.tasks import TASKS
from benchmarks.timing import growth, medians
from benchmarks.trunks import conv_trunk
from skrelmetric import MLkNN, RAMLLinear
from skrelmetric.datasets import load_emotions

ROOT = Path(__file__).parents[1]
EMOTIONS = DATASETS["emotions"]
FAST = ["--datasets", "emotions", "--methods", "MLkNN", "RAMLLinear + MLkNN", "--folds", "2", "--repeats", "1"]


class Broken(BaseEstimator):
    def fit(self, X, y):
        raise RuntimeError("it broke")


class Watching(RAMLLinear):
    sizes: ClassVar[list] = []

    def fit(self, X, y):
        self.sizes.append(len(X))
        return super().fit(X, y)


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_comparison_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "new" / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 0
    records = records_of(out)
    assert [(r["method"], r["repeat"], r["fold"]) for r in sorted(records, key=lambda r: (r["method"], r["fold"]))] == [
        ("MLkNN", 0, 0),
        ("MLkNN", 0, 1),
        ("RAMLLinear + MLkNN", 0, 0),
        ("RAMLLinear + MLkNN", 0, 1),
    ]
    for record in records:
        assert record["parameters"]["predictor__n_neighbors"] == 10
        assert record["grid"] == {}
        assert record["versions"].keys() >= {"python", "skrelmetric", "scikit-learn", "torch"}
        assert record["fit_seconds"] > 0
        assert record["seed"] == 0
        assert all(np.isfinite(list(record["scores"].values())))
        assert len(record["scores"]) == 5
    printed = capsys.readouterr().out
    for word in ("emotions", "RAMLLinear", "Hamming", "±"):
        assert word in printed
    main([*FAST, "--jobs", "1", "--out", str(out)])
    assert records_of(out) == records, "what is there is not run again"
    assert "0 records appended" in capsys.readouterr().out
    main([*FAST, "--jobs", "1", "--anew", "--out", str(out)])
    again = records_of(out)
    assert again[:4] == records, "results are appended, never overwritten"
    assert [r["scores"] for r in again[4:]] == [r["scores"] for r in records]


def test_parallel_results_are_the_same(tmp_path):
    scores = []
    for jobs in ("1", "2"):
        out = tmp_path / f"{jobs}.jsonl"
        assert main([*FAST, "--jobs", jobs, "--out", str(out)]) == 0
        scores.append({(r["method"], r["fold"]): r["scores"] for r in records_of(out)})
    assert scores[0].keys() == scores[1].keys()
    for cell, values in scores[0].items():
        assert values == pytest.approx(scores[1][cell])


def test_folds_are_shared_stratified_and_disjoint():
    methods = list(TASKS["multilabel"].methods)
    cells = experiment.cells(EMOTIONS, methods, Settings(5, 2))
    assert len(cells) == 5 * 2 * len(methods)
    _, Y, _ = load(EMOTIONS)
    for repeat in range(2):
        tests = {cell.fold: cell.test for cell in cells if cell.repeat == repeat}
        assert sorted(np.concatenate(list(tests.values()))) == list(range(len(Y)))
        for test in tests.values():
            np.testing.assert_allclose(Y[test].mean(0), Y.mean(0), atol=0.02)
    for cell in cells:
        assert not set(cell.train) & set(cell.test)
        assert np.array_equal(cell.test, next(c.test for c in cells if (c.repeat, c.fold) == (cell.repeat, cell.fold)))


def test_official_split():
    cells = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    assert [(len(cell.train), len(cell.test)) for cell in cells] == [(391, 202)]
    scores = experiment.run_cell(cells[0])["scores"]
    assert scores["Average precision ↑"] == pytest.approx(0.7839, abs=5e-5)


def test_label_distributions_have_their_own_criteria(data_home, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    source = DATASETS["Yeast_alpha"]
    cells = experiment.cells(source, ["AAKNN", "RAMLLinear + AAKNN"], Settings(2, 1))
    records = [experiment.run_cell(cell) for cell in cells]
    assert all(len(record["scores"]) == 6 for record in records)
    assert len(comparison_tables(records)) == 1
    with pytest.raises(ValueError, match="Yeast_alpha has no official split"):
        experiment.splits(source, Settings(OFFICIAL, 1))


def test_best_mean_is_bold():
    def record(method, fold, loss, precision):
        scores = dict.fromkeys([criterion.title for criterion in TASKS["multilabel"].criteria], loss)
        scores["Average precision ↑"] = precision
        identity = {"dataset": "emotions", "task": "multilabel", "method": method, "fold": fold}
        return {**identity, "scores": scores, "fit_seconds": 1.0}

    records = [record("MLkNN", 0, 0.1, 0.5), record("MLkNN", 1, 0.3, 0.7), record("NCA + MLkNN", 0, 0.25, 0.9)]
    (table,) = comparison_tables(records)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["MLkNN", "NCA + MLkNN"]
    assert [cell.plain for cell in columns[1]] == ["0.2000\n±0.1000", "0.2500"]
    for losses in columns[1:5]:
        assert [str(cell.style) for cell in losses] == ["bold", ""]
    assert [str(cell.style) for cell in columns[5]] == ["", "bold"]


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "iris"], "invalid choice: 'iris'"),
        (["--methods", "KNN"], "invalid choice: 'KNN'"),
        (["--folds", "1"], "neither a number of folds"),
        (["--repeats", "0"], "not a whole number from 1"),
        (["--labels", "3"], "--labels names columns of --data"),
        (["--scheduler", "tcp://localhost:1"], "--scheduler needs --backend dask"),
        (["--seed", "-1"], "not a whole number from 0"),
        (["--timeout", "5", "--backend", "dask"], "--timeout has no effect"),
        (["--folds", "held out"], "nor 'official' or 'held-out'"),
        (["--alone", "--jobs", "2"], "with --alone nothing else runs"),
        (["--profile", "large", "--backend", "dask"], "leave --jobs and --backend out, or pass --no-alone"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_methods_of_another_task(tmp_path, capsys):
    assert main(["--datasets", "emotions", "--methods", "AAKNN", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "Nothing can be compared" in capsys.readouterr().out


def test_data_sets_that_no_method_is_for_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "splits", lambda *args: [(np.arange(300), np.arange(300, 400))])
    arguments = ["--datasets", "emotions", "emotions", "Movie", "--methods", "MLkNN", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "Movie is left out" in capsys.readouterr().out
    assert len(records_of(tmp_path / "r.jsonl")) == 1


def test_unwritable_results_are_said_before_any_work(tmp_path, capsys):
    for out in (tmp_path, tmp_path / "file" / "r.jsonl"):
        (tmp_path / "file").touch()
        assert main([*FAST, "--out", str(out)]) == 2
        assert "Cannot write results" in capsys.readouterr().out


def test_missing_data_is_said(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("flags could not be downloaded")

    load.cache_clear()
    monkeypatch.setattr("benchmarks.datasets.fetch_mulan", missing)
    assert main(["--datasets", "flags", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "could not be downloaded" in capsys.readouterr().out


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


def test_speed_measures_ratios_and_peaks():
    record = speed._gaussian_fit(n_samples=2000)
    assert record["seconds"] > record["floor_seconds"] > 0
    assert record["ratio"] > 1
    assert record["peak_over_X"] >= 1
    assert all(-0.5 < record["ratio"] < 2 for record in speed._growth(sizes=(500, 1000, 2000)))
    assert speed._real_labels(n_samples=2000)["ratio"] > 0
    assert speed._constrained_fit()["ratio"] > 1
    calls = []
    work, floor = medians(lambda: calls.append(time.sleep(0.02)), lambda: time.sleep(0.005), repeats=2)
    assert len(calls) == 9
    assert work >= 0.02
    assert 0.005 <= floor < work


def test_the_plain_predictor_goes_last(monkeypatch):
    order = []
    monkeypatch.setattr(experiment, "run_cell", lambda cell: order.append(cell.method) or {})
    methods = list(TASKS["multilabel"].methods)
    list(experiment.run(experiment.cells(EMOTIONS, methods, Settings(2, 1)), n_jobs=1))
    assert order == [method for method in reversed(methods) for _ in range(2)]
    assert order[-1] == "MLkNN", "the cheapest of all stands first in the table"


def test_classes_of_targets():
    classes = as_classes(np.array([[0, 1], [1, 1], [0, 1], [0, 0]]))
    assert classes[0] == classes[2]
    assert len(set(classes)) == 3
    assert as_classes(np.array([[0.2, 0.8], [0.6, 0.4]])).tolist() == [1, 0]
    assert as_classes(np.array([3, 1])).tolist() == [3, 1]


def test_every_data_set_has_a_task():
    assert {source.task for source in DATASETS.values()} == set(TASKS)


def test_speed_of_the_deep_metric():
    assert speed._all_pairs_step(n_samples=1000, rounds=1)["floor_seconds"] > 0
    assert np.isfinite(speed._growth_of_epochs(sizes=(500, 1000, 2000))["ratio"])


def test_the_official_split_is_repeated_with_other_seeds():
    cells = experiment.cells(EMOTIONS, ["RAML-SVR + MLkNN"], Settings(OFFICIAL, 3, seed=5))
    assert [cell.seed for cell in cells] == [5, 6, 7]
    assert [cell.model().get_params()["metric__random_state"] for cell in cells] == [5, 6, 7]
    assert {(len(cell.train), len(cell.test)) for cell in cells} == {(391, 202)}


def test_tiers_add_methods():
    for task in TASKS.values():
        tiers = [set(task.up_to(tier)) for tier in TIERS]
        assert all(fewer <= more for fewer, more in pairwise(tiers))
        assert tiers[-1] == set(task.methods)
        assert task.predictor in tiers[0]
    assert "HRAML trained + MLkNN" not in TASKS["multilabel"].up_to("full")


@pytest.mark.parametrize("method", ["Nystroem + RAMLLinear + MLkNN", "Splines + RAMLLinear + MLkNN", "HRAML + MLkNN"])
def test_nonlinear_methods_beat_plain_neighbours_on_emotions(method):
    plain, nonlinear = (
        experiment.run_cell(experiment.cells(EMOTIONS, [name], Settings(OFFICIAL, 1))[0])["scores"]
        for name in ("MLkNN", method)
    )
    assert nonlinear["Average precision ↑"] > plain["Average precision ↑"] + 0.01
    assert nonlinear["Ranking loss ↓"] < plain["Ranking loss ↓"]


def test_trunk_comes_from_its_seed_alone():
    state = torch.get_rng_state()
    trunks = [conv_trunk(seed, widths=(4, 4, 4, 8)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert trunks[0](torch.zeros(3, 1, 28, 28)).shape == (3, 8)
    weights = [trunk[0].weight for trunk in trunks]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


IMAGE_METHODS = TASKS["retrieval"].methods


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_methods_of_images_train(name, rng):
    images_, y = rng.random((24, 1, 28, 28), dtype=np.float32), np.arange(24) % 6
    model = IMAGE_METHODS[name].build(0)
    if name != "Raw pixels":
        model.set_params(max_epochs=1)
    scores = images.scores(model.fit(images_, y), images_, y)
    assert scores.keys() == {criterion.scorer for criterion in TASKS["retrieval"].criteria}
    assert all(0 <= score <= 1 for score in scores.values())


@pytest.mark.parametrize("name", images.LOSSES)
def test_methods_of_images_start_alike(name, rng):
    images_, y = rng.random((12, 1, 28, 28), dtype=np.float32), np.arange(12) % 3
    starts = []
    for method in (name, f"DRML-{name}", f"DRML-{name}, paper"):
        model = IMAGE_METHODS[method].build(3).set_params(max_epochs=1, learning_rate=1e-30, loss_learning_rate=1e-30)
        encoder = model.set_params(weight_decay=0.0).fit(images_, y).encoder_
        starts.append([encoder.trunk[0].weight, encoder.head.nodes.weight])
    for other in starts[1:]:
        assert all(torch.equal(a, b) for a, b in zip(starts[0], other, strict=True))


def test_images_of_unseen_classes(data_home, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    source = DATASETS["omniglot"]
    (official,) = experiment.cells(source, ["Raw pixels"], Settings(OFFICIAL, 1))
    assert (len(official.train), len(official.test)) == (2200, 2640)
    scores = experiment.run_cell(official)["scores"]
    assert scores["R@1 ↑"] == pytest.approx(0.335, abs=0.001)
    assert scores["MAP@R ↑"] == pytest.approx(0.057, abs=0.001)
    _, y, _ = load(source)
    for cell in experiment.cells(source, ["Raw pixels"], Settings(3, 2)):
        assert not set(y[cell.train]) & set(y[cell.test])


def test_data_of_a_profile_that_is_missing_is_left_out(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("not here")

    load.cache_clear()
    for fetch in ("fetch_mulan", "fetch_ldl", "fetch_omniglot"):
        monkeypatch.setattr(f"benchmarks.datasets.{fetch}", missing)
    monkeypatch.setitem(_CLASSES, "usps", missing)
    arguments = [
        "--profile",
        "full",
        "--no-search",
        "--methods",
        "MLkNN",
        "--repeats",
        "1",
        "--folds",
        "2",
        "--jobs",
        "1",
    ]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "not here" in capsys.readouterr().out
    records = records_of(tmp_path / "r.jsonl")
    assert {record["dataset"] for record in records} == {"emotions", "yeast"}
    assert {(record["folds"], record["repeat"]) for record in records} == {(2, 0)}
    load.cache_clear()


def test_images_have_the_official_split_and_five_seeds_by_default(tmp_path, monkeypatch, data_home):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    arguments = ["--datasets", "omniglot", "--methods", "Raw pixels", "--jobs", "1"]
    monkeypatch.setattr(experiment, "run_cell", lambda cell: cell.identity() | {"error": "-"})
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 1
    records = records_of(tmp_path / "r.jsonl")
    assert [(record["folds"], record["repeat"]) for record in records] == [("official", n) for n in range(5)]


def test_speed_of_embeddings():
    trunk = torch.nn.Linear(4, 8)
    assert speed_embeddings.relational_step("triplet", 16, "trunk", trunk, (4,), n_batches=2)["path"].startswith("DRML")
    records = list(speed_embeddings.losses(16))
    assert len(records) == 4
    assert all(record["seconds"] > 0 for record in records)
    assert speed_embeddings.retrieval(5, n_samples=60, width=8)["ratio"] > 0


SEARCHED = [
    "--datasets",
    "emotions",
    "--methods",
    "RAMLLinear + MLkNN",
    "--folds",
    "official",
    "--repeats",
    "1",
    "--search",
]


def test_search_stays_in_the_training_part(tmp_path, monkeypatch):
    monkeypatch.setattr(Watching, "sizes", seen := [])
    grid = {"metric__alpha": [1.0, 1e6]}
    build = lambda seed: Pipeline([("metric", Watching()), ("predictor", MLkNN())])  # noqa: E731
    monkeypatch.setitem(TASKS["multilabel"].methods, "RAMLLinear + MLkNN", Method(build, grid))
    (cell,) = experiment.cells(EMOTIONS, ["RAMLLinear + MLkNN"], Settings(OFFICIAL, 1, search=True))
    record = experiment.run_cell(cell)
    assert record["chosen"] in ({"metric__alpha": 1.0}, {"metric__alpha": 1e6})
    assert record["grid"] == grid
    assert 0 < record["fit_seconds"] < record["search_seconds"]
    assert seen[-1] == 391
    assert len(seen) == 1 + len(grid["metric__alpha"]) * experiment.INNER_FOLDS
    assert all(len_inner < 391 for len_inner in seen[:-1])
    X, Y, n_train = load(EMOTIONS)
    expected = cell.model().fit(X[:n_train], Y[:n_train])
    assert expected.best_params_ == record["chosen"]


def test_search_fits_a_metric_once_for_all_numbers_of_neighbours(monkeypatch):
    monkeypatch.setattr(Watching, "sizes", fits := [])
    build = lambda seed: Pipeline([("metric", Watching()), ("predictor", MLkNN())])  # noqa: E731
    grid = {"predictor__n_neighbors": [1, 5, 10, 20]}
    monkeypatch.setitem(TASKS["multilabel"].methods, "RAMLLinear + MLkNN", Method(build, grid))
    (cell,) = experiment.cells(EMOTIONS, ["RAMLLinear + MLkNN"], Settings(OFFICIAL, 1, search=True))
    experiment.run_cell(cell)
    assert len(fits) == experiment.INNER_FOLDS + 1


def test_grids_are_of_parameters_that_there_are():
    for task in TASKS.values():
        for method in task.methods.values():
            assert method.tier in TIERS
            model = method.build(0)
            for parameter, values in method.grid.items():
                for value in values:
                    model.set_params(**{parameter: value})
    assert grid_table(TASKS).row_count == sum(1 + len(task.methods) for task in TASKS.values())


@pytest.mark.filterwarnings("ignore:n_components > n_samples")  # of Nystroem, on fewer samples than it has components
@pytest.mark.filterwarnings("ignore:Only one sample available")  # of LDA, in a class of one
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dataset", ["wine", "emotions"])
def test_every_metric_fits_every_kind_of_target(name, dataset):
    X, Y, _ = load(DATASETS[dataset])
    task = TASKS[DATASETS[dataset].task]
    method = task.methods[f"{name} + {task.predictor}" if name else task.predictor]
    model = method.build(0)
    if "metric__max_epochs" in model.get_params():
        model.set_params(metric__max_epochs=1)
    predicted = model.fit(X[::2], Y[::2]).predict(X[1::2])
    assert predicted.shape == Y[1::2].shape
    assert (predicted == Y[1::2]).mean() > 0.5


def test_a_timeout_is_a_failure(monkeypatch):
    class Sleepy(BaseEstimator):
        def fit(self, X, y):
            time.sleep(30)

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Sleepy(), {"x": [1]}))
    (cell,) = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1, timeout=0.2))
    assert experiment.run_cell(cell)["error"] == "stopped after 0.2 s"
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
    (cell,) = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1, search=True, timeout=0.2))
    assert experiment.run_cell(cell)["error"] == "stopped after 0.2 s"


def test_scores_that_are_no_numbers_are_failures(monkeypatch):
    monkeypatch.setattr(
        experiment,
        "check_scoring",
        lambda *args: (
            lambda *args: dict.fromkeys([criterion.scorer for criterion in TASKS["multilabel"].criteria], float("nan"))
        ),
    )
    (cell,) = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    assert "came out as no number" in experiment.run_cell(cell)["error"]


def test_warnings_are_recorded():
    (cell,) = experiment.cells(EMOTIONS, ["RBF-SVM"], Settings(OFFICIAL, 1))
    _, Y, n_train = load(EMOTIONS)
    Y[:n_train, 0], saved = 0, Y[:n_train, 0].copy()
    try:
        record = experiment.run_cell(cell)
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
    assert out.read_text() == "a letter to a friend", "what is no file of results stays as it is"


def test_other_settings_are_other_results(tmp_path):
    cells = {
        settings: experiment.cells(EMOTIONS, ["MLkNN"], settings)
        for settings in (Settings(2, 1), Settings(2, 1, seed=1), Settings(2, 1, search=True), Settings(OFFICIAL, 1))
    }
    done = [experiment.run_cell(cell) for cell in cells[Settings(2, 1)]]
    for settings, of_settings in cells.items():
        found, missing = results.done(of_settings, json.loads(json.dumps(done)))
        assert (len(found), len(missing)) == ((2, 0) if settings == Settings(2, 1) else (0, len(of_settings)))
    found, _ = results.done(experiment.cells(EMOTIONS, ["MLkNN"], Settings(2, 3, timeout=9)), done)
    assert len(found) == 2, "more repeats and another timeout leave what is done as it is"


def test_results_are_shown_without_running(tmp_path, capsys, monkeypatch):
    out = tmp_path / "results.jsonl"
    main([*FAST, "--jobs", "1", "--out", str(out)])
    monkeypatch.setattr(experiment, "run_cell", None)
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


def test_a_scheduler_that_is_not_there(tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(experiment, "_PATIENCE", "1s")
    arguments = ["--backend", "dask", "--scheduler", "tcp://127.0.0.1:9", "--out", str(tmp_path / "r.jsonl")]
    assert main([*FAST, *arguments]) == 2
    assert "tcp://127.0.0.1:9" in capsys.readouterr().out


def test_the_paper_stands_beside():
    cells = experiment.cells(EMOTIONS, ["MLkNN", "RAMLLinear + MLkNN"], Settings(OFFICIAL, 1))
    records = [experiment.run_cell(cell) for cell in cells]
    (table,) = comparison_tables(records, paper=True)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert columns[0] == ["MLkNN", "  in the paper", "RAMLLinear + MLkNN"]
    assert columns[5] == ["0.7839", "0.7808", "0.8221"]
    (table,) = comparison_tables(records)
    assert len(table.columns[0]._cells) == 2
    assert best("emotions") == dict(
        zip(PAPER["emotions"]["MLkNN"], (0.2046, 0.1382, 0.2376, 1.7327, 0.8225), strict=True)
    )
    assert best("flags") == dict(zip(PAPER["flags"]["MLkNN"], (0.2791, 0.2021, 0.2, 3.6769, 0.8244), strict=True))
    scene = (0.2907, 1.6865, 3.8419, 0.7321, 0.5929)
    assert best("Natural_Scene") == dict(zip(PAPER["Natural_Scene"]["AAKNN"], scene, strict=True))
    assert best("yeast") == {}


def test_metrics_on_classes_have_bounds(rng):
    X, Y = rng.normal(size=(60, 12)), (rng.random((60, 3)) < 0.5).astype(int)

    class Principal(PCA):
        def fit(self, X, y):
            self.shape_, self.classes_ = X.shape, y
            return super().fit(X)

    metric = OnClasses(Principal(), max_samples=20, max_features=5, random_state=0).fit(X, Y)
    assert metric.pipeline_["metric"].shape_ == (20, 5)
    assert metric.transform(X).shape == (60, 5)
    assert OnClasses(Principal()).fit(X, Y).pipeline_["metric"].shape_ == (60, 12)


def test_softmax_regression_has_the_least_divergence(rng):
    X = rng.normal(size=(80, 3))
    D = rng.dirichlet(np.ones(4), 80)
    model = MaximumEntropy(C=1e6).fit(X, D)
    W, b = model.model_.coef_, model.model_.intercept_

    def divergence(W, b):
        scores = X @ W.T + b
        return -(D * (scores - np.log(np.exp(scores).sum(1, keepdims=True)))).sum()

    least = divergence(W, b)
    for _ in range(20):
        assert divergence(W + 0.01 * rng.normal(size=W.shape), b + 0.01 * rng.normal(size=b.shape)) > least
    assert model.predict(X).sum(1) == pytest.approx(np.ones(80))
    assert positive_parts(np.array([[-1.0, 1.0, 3.0]])) == pytest.approx(np.array([[2.5e-7, 0.25, 0.75]]), abs=1e-6)


def test_speed_of_neighbours():
    assert [record["floor"] for record in speed_neighbors.against_search(300, 100)] == [
        "its bare neighbour searches",
        "its bare neighbour search",
    ]
    peers = {record["floor"]: record["ratio"] for record in speed_neighbors.against_peers(300, 100)}
    assert 0 < peers["scikit-multilearn-ng"] < 1
    assert -1 < speed_neighbors.growing((100, 200, 400))["ratio"] < 3
    assert speed_neighbors.among_many(300, 5, 20)["ratio"] > 0


def test_exponents():
    sizes = (100, 200, 400)
    assert growth("cubic", sizes, [n**3 for n in sizes])["ratio"] == pytest.approx(3)


def test_speed_of_two_commits(tmp_path, monkeypatch, capsys):
    out = tmp_path / "speed.jsonl"
    for ratio in (1.25, 2.5):
        measured = {"path": "fit", "seconds": 0.1, "floor": "X.T @ X", "floor_seconds": 0.1, "ratio": ratio}
        monkeypatch.setattr(speed, "measure", lambda measured=measured: iter([measured]))
        assert main(["--profile", "speed", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("1.25") == 2
    assert "Before: at" in printed
    first, second = records_of(out)
    assert (first["ratio"], second["ratio"]) == (1.25, 2.5)
    assert first["commit"] == second["commit"] != ""
    assert first["versions"]["skrelmetric"]


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_have_folds_for_every_data_set(profile, tmp_path):
    path = tmp_path / "mine.csv"
    load_emotions(as_frame=True).frame.to_csv(path, index=False)
    settings = PROFILES[profile].settings
    for source in (own_source(str(path), 6), EMOTIONS, DATASETS["wine"]):
        assert experiment.cells(source, TASKS[source.task].up_to("quick")[:1], settings(source))


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
        results.mend(out)
        assert out.read_text() == mended


def test_two_runs_write_to_one_file(tmp_path):
    out = tmp_path / "results.jsonl"
    code = (
        "import sys; from pathlib import Path; from benchmarks.results import keep, mend; path = Path(sys.argv[1])\n"
        "for k in range(300): mend(path); list(keep([{'k': k, 'x': 'y' * 5000}], path))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=ROOT) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert sorted(record["k"] for record in results.read(out)) == sorted([*range(300)] * 2)


def test_disk_that_is_full(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"):
        list(results.keep([{"a": 1}], full))


class Deadly(experiment.Cell):
    def __reduce__(self):
        return os._exit, (1,)  # the process that reads it ends, as one does that wants too much memory


def test_a_worker_that_is_killed_is_a_failure_of_its_cell():
    cells = experiment.cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(2, 1))
    first, *others = cells
    records = list(experiment.run([Deadly(*first), *others], n_jobs=2))
    assert len(records) == len(cells)
    (failed,) = (record for record in records if "error" in record)
    assert failed["error"] == "its process was killed, perhaps for want of memory"
    assert (failed["method"], failed["fold"]) == (first.method, first.fold)
    done = {(record["method"], record["fold"]) for record in records if "scores" in record}
    assert done == {(cell.method, cell.fold) for cell in others}


def test_failures_are_shown_without_running(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Broken()))
    out = tmp_path / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 1
    before = out.read_bytes()
    capsys.readouterr()
    assert main([*FAST, "--jobs", "1", "--no-run", "--out", str(out)]) == 1
    assert "MLkNN: RuntimeError: it broke" in capsys.readouterr().out
    assert out.read_bytes() == before


def test_other_source_is_other_results(monkeypatch):
    (cell,) = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    record = json.loads(json.dumps(experiment.run_cell(cell)))
    assert results.done([cell], [record]) == ([record], [])
    record["versions"]["source"] = "another"
    assert results.done([cell], [record]) == ([], [cell])
    assert results.shown([cell], [record]) == [record]


def test_a_cell_keeps_to_its_worker(monkeypatch):
    jobs = []

    class Counting(BaseEstimator):
        def fit(self, X, y):
            jobs.append(joblib.effective_n_jobs(-1))
            raise RuntimeError

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", Method(lambda seed: Counting()))
    (cell,) = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    experiment.run_cell(cell)
    assert jobs == [1]


def test_too_few_of_a_class_is_said_with_the_name(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,a\n2,a\n3,b\n4,b\n")
    assert main(["--data", str(path), "--labels", "y", "--folds", "4", "--out", str(tmp_path / "r.jsonl")]) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "few.csv cannot be split into 4 folds" in printed


def test_repeats_of_the_official_split_are_seeds():
    cells = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 2))
    (table,) = comparison_tables([experiment.run_cell(cell) for cell in cells])
    assert table.title == "emotions: multilabel, mean ± sd over 2 seeds on one test part"


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
    (cell,) = experiment.cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 1))
    record = experiment.run_cell(cell, with_memory=True)
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
    cells = experiment.cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(OFFICIAL, 1))
    first, second = (experiment.run_cell(cell) | {"dataset": "mine"} for cell in cells)  # no pictures are drawn of it
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
    first, second = experiment.cells(EMOTIONS, ["MLkNN", "PCA + MLkNN"], Settings(OFFICIAL, 1))
    records = list(experiment.run([first, Deadly(*second)], n_jobs=1, alone=True))
    assert [record.get("error") for record in records] == ["its process was killed, perhaps for want of memory", None]


_SLOW = """
import sys
from benchmarks import experiment
from benchmarks.datasets import DATASETS

class Slow(experiment.Cell):
    def __reduce__(self):
        return exec, (f"import pathlib, time; pathlib.Path({sys.argv[1]!r}).touch(); time.sleep(300)",)

(cell,) = experiment.cells(DATASETS["emotions"], ["MLkNN"], experiment.Settings("official", 1))
list(experiment.run([Slow(*cell)], n_jobs=1, alone=True))
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


@pytest.mark.parametrize("name", ["emotions", "wine"])
def test_a_third_is_held_out(name):
    source = DATASETS[name]
    _, Y, _ = load(source)
    splits = experiment.splits(source, Settings(HELD_OUT, 3, seed=4))
    for train, test in splits:
        assert sorted([*train, *test]) == list(range(len(Y)))
        assert len(test) == pytest.approx(len(Y) / 3, rel=0.05)
        targets = Y if Y.ndim > 1 else np.eye(Y.max() + 1)[Y]
        np.testing.assert_allclose(targets[test].mean(0), targets.mean(0), atol=0.02)
    tests = [test.tolist() for _, test in splits]
    assert tests[0] != tests[1] != tests[2]
    fewer, others = (experiment.splits(source, Settings(HELD_OUT, 1, seed=seed)) for seed in (4, 5))
    assert fewer[0][1].tolist() == tests[0], "more repeats leave the first as it was"
    assert others[0][1].tolist() != tests[0]
    cells = experiment.cells(source, [TASKS[source.task].predictor], Settings(HELD_OUT, 3))
    assert [(cell.repeat, cell.fold) for cell in cells] == [(0, 0), (1, 0), (2, 0)]


def test_other_targets_are_held_out_as_their_folds_are(monkeypatch):
    y = np.repeat(np.arange(9), 4)
    loaded = {"label distribution": np.full((30, 2), 0.5), "retrieval": y}
    for task, targets in loaded.items():
        monkeypatch.setattr(experiment, "load", lambda _, Y=targets: (np.zeros((len(Y), 2)), Y, None))
        source = next(source for source in DATASETS.values() if source.task == task)
        ((train, test),) = experiment.splits(source, Settings(HELD_OUT, 1))
        assert sorted([*train, *test]) == list(range(len(targets)))
        assert len(test) == len(targets) / 3
    assert not set(y[train]) & set(y[test]), "classes to retrieve were never seen"


def test_what_cannot_be_held_out_is_said(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,a\n2,a\n3,a\n4,b\n")
    arguments = ["--data", str(path), "--labels", "y", "--folds", "held-out", "--out", str(tmp_path / "r.jsonl")]
    assert main(arguments) == 2
    assert "No third of few.csv can be held out" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def sparse_emotions(monkeypatch):
    """The data set that is sparse, with those values of emotions that are high, and the same as a dense array."""
    X, Y = load_emotions(return_X_y=True)
    X = np.maximum(X - np.quantile(X, 0.7, axis=0), 0)
    load.cache_clear()
    monkeypatch.setattr("benchmarks.datasets.fetch_imdb", lambda **options: (sparse.csr_array(X), Y))
    yield DATASETS["imdb"], X, Y
    load.cache_clear()


def test_sparse_samples_stay_sparse(sparse_emotions, monkeypatch):
    source, X, Y = sparse_emotions
    methods = ["MLkNN", "RAMLLinear + MLkNN"]
    cells = experiment.cells(source, methods, PROFILES["large"].settings(source))
    assert [(cell.settings.folds, len(cell.test)) for cell in cells] == [("held-out", pytest.approx(198, abs=4))] * 2
    of_sparse = [experiment.run_cell(cell) for cell in cells]
    assert [record["parameters"]["scale"] for record in of_sparse] == ["StandardScaler(with_mean=False)"] * 2
    monkeypatch.setattr(experiment, "load", lambda _: (X, Y, None))
    of_dense = [experiment.run_cell(cell._replace(source=EMOTIONS)) for cell in cells]
    for one, other in zip(of_sparse, of_dense, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=0.01), "the mean changes no distance"
    seen = []

    class Looking(RAMLLinear):
        def fit(self, X, y):
            seen.append(sparse.issparse(X))
            return super().fit(X, y)

    method = TASKS["multilabel"].methods["RAMLLinear + MLkNN"]
    build = lambda seed: method.build(seed).set_params(metric=Looking())  # noqa: E731
    model = for_sparse(method._replace(build=build)).build(0)
    model.fit(load(source).X, Y)
    assert seen == [True]
    for searched in for_sparse(method).grid["scale"]:
        assert sparse.issparse(searched.fit_transform(load(source).X))
    assert for_sparse(Method(lambda seed: Broken(), {"x": [1]})).grid == {"x": [1]}


def test_only_the_large_profile_has_the_huge_data_set():
    assert [name for name, profile in PROFILES.items() if "imdb" in profile.datasets] == ["large"]
    assert set(PROFILES["full"].datasets) == set(DATASETS) - {"imdb"}
    for task in TASKS.values():
        assert PROFILES["large"].methods(task)[0] == task.predictor
    assert PROFILES["large"].methods(TASKS["multilabel"]) == ["MLkNN", "RAMLLinear + MLkNN"]

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import experiment, images, speed, speed_embeddings
from benchmarks.cli import main
from benchmarks.table import comparison_tables
from benchmarks.tasks import DATASETS, TASKS, label_powerset, load
from benchmarks.timing import medians
from benchmarks.trunks import conv_trunk

ROOT = Path(__file__).parents[1]
FAST = ["--datasets", "emotions", "--methods", "MLkNN", "RAMLLinear + MLkNN", "--folds", "2", "--repeats", "1"]


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
        assert record["parameters"]["mlknn__n_neighbors"] == 10
        assert record["versions"].keys() >= {"python", "skrelmetric", "scikit-learn", "torch"}
        assert record["fit_seconds"] > 0
        assert record["seed"] == 0
        assert all(np.isfinite(list(record["scores"].values())))
        assert len(record["scores"]) == 5
    printed = capsys.readouterr().out
    for word in ("emotions", "RAMLLinear", "Hamming", "±"):
        assert word in printed
    main([*FAST, "--jobs", "1", "--out", str(out)])
    again = records_of(out)
    assert len(again) == 8, "results are appended, never overwritten"
    assert [r["scores"] for r in again[4:]] == [r["scores"] for r in again[:4]]


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
    cells = experiment.cells(["emotions"], None, 5, 2, 0)
    assert len(cells) == 5 * 2 * len(TASKS["multilabel"].methods)
    _, Y, _ = load("emotions")
    for repeat in range(2):
        tests = {cell.fold: cell.test for cell in cells if cell.repeat == repeat}
        assert sorted(np.concatenate(list(tests.values()))) == list(range(len(Y)))
        for test in tests.values():
            np.testing.assert_allclose(Y[test].mean(0), Y.mean(0), atol=0.02)
    for cell in cells:
        assert not set(cell.train) & set(cell.test)
        assert np.array_equal(cell.test, next(c.test for c in cells if (c.repeat, c.fold) == (cell.repeat, cell.fold)))


def test_official_split():
    cells = experiment.cells(["emotions"], ["MLkNN"], experiment.OFFICIAL, 1, 0)
    assert [(len(cell.train), len(cell.test)) for cell in cells] == [(391, 202)]
    scores = experiment.run_cell(cells[0])["scores"]
    assert scores["Average precision ↑"] == pytest.approx(0.7839, abs=5e-5)


def test_label_distributions_have_their_own_criteria(data_home, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    cells = experiment.cells(["Yeast_alpha"], ["AAKNN", "RAMLLinear + AAKNN"], 2, 1, 0)
    records = [experiment.run_cell(cell) for cell in cells]
    assert all(len(record["scores"]) == 6 for record in records)
    assert len(comparison_tables(records)) == 1
    with pytest.raises(ValueError, match="Yeast_alpha has no official split"):
        experiment.splits("Yeast_alpha", experiment.OFFICIAL, 1, 0)


def test_best_mean_is_bold():
    def record(method, fold, loss, precision):
        scores = dict.fromkeys([criterion.title for criterion in TASKS["multilabel"].criteria], loss)
        scores["Average precision ↑"] = precision
        return {"dataset": "emotions", "method": method, "fold": fold, "scores": scores, "fit_seconds": 1.0}

    records = [record("MLkNN", 0, 0.1, 0.5), record("MLkNN", 1, 0.3, 0.7), record("NCA + MLkNN", 0, 0.25, 0.9)]
    (table,) = comparison_tables(records)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["MLkNN", "NCA + MLkNN"]
    assert [cell.plain for cell in columns[1]] == ["0.2000\n±0.1000", "0.2500"]
    for losses in columns[1:5]:
        assert [str(cell.style) for cell in losses] == ["bold", ""]
    assert [str(cell.style) for cell in columns[5]] == ["", "bold"]


def test_failures_are_recorded(tmp_path, monkeypatch, capsys):
    class Broken:
        def get_params(self):
            return {}

        def fit(self, X, y):
            raise RuntimeError("it broke")

    monkeypatch.setitem(TASKS["multilabel"].methods, "MLkNN", lambda seed: Broken())
    out = tmp_path / "results.jsonl"
    assert main([*FAST, "--jobs", "1", "--out", str(out)]) == 1
    assert [r["error"] for r in records_of(out) if r["method"] == "MLkNN"] == ["RuntimeError: it broke"] * 2
    printed = capsys.readouterr().out
    assert "failed" in printed
    assert "RuntimeError: it broke" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "iris"], "invalid choice: 'iris'"),
        (["--methods", "kNN"], "invalid choice: 'kNN'"),
        (["--folds", "1"], "neither a number of folds"),
        (["--repeats", "0"], "not a whole number from 1"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_methods_of_another_task(tmp_path, capsys):
    assert main(["--datasets", "emotions", "--methods", "AAKNN", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "None of these methods" in capsys.readouterr().out


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
    monkeypatch.setattr("benchmarks.tasks.fetch_mulan", missing)
    assert main(["--datasets", "flags", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "could not be downloaded" in capsys.readouterr().out


def test_interrupt_keeps_what_is_done(tmp_path):
    out = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks", "--datasets", "emotions", "--folds", "10", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--repeats", "20", "--jobs", "1"],
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
    list(experiment.run(experiment.cells(["emotions"], None, 2, 1, 0), n_jobs=1))
    assert order == [method for method in reversed(TASKS["multilabel"].methods) for _ in range(2)]
    assert order[-1] == "MLkNN"


def test_label_powerset():
    classes = label_powerset(np.array([[0, 1], [1, 1], [0, 1], [0, 0]]))
    assert classes[0] == classes[2]
    assert len(set(classes)) == 3


def test_every_data_set_has_a_task():
    assert set(DATASETS.values()) == set(TASKS)


def test_speed_of_the_deep_metric():
    assert speed._all_pairs_step(n_samples=1000, rounds=1)["floor_seconds"] > 0
    assert np.isfinite(speed._growth_of_epochs(sizes=(500, 1000, 2000))["ratio"])


def test_the_official_split_is_repeated_with_other_seeds():
    cells = experiment.cells(["emotions"], ["HRAML tuned + MLkNN"], experiment.OFFICIAL, 3, seed=5)
    assert [cell.seed for cell in cells] == [5, 6, 7]
    assert {(len(cell.train), len(cell.test)) for cell in cells} == {(391, 202)}


def test_methods_on_request_run_when_they_are_named():
    by_default = {cell.method for cell in experiment.cells(["emotions"], None, 2, 1, seed=0)}
    named = {cell.method for cell in experiment.cells(["emotions"], ["HRAML trained + MLkNN"], 2, 1, seed=0)}
    assert by_default == set(TASKS["multilabel"].methods)
    assert named == {"HRAML trained + MLkNN"}


@pytest.mark.parametrize("method", ["Nystroem + RAMLLinear + MLkNN", "Splines + RAMLLinear + MLkNN", "HRAML + MLkNN"])
def test_nonlinear_methods_beat_plain_neighbours_on_emotions(method):
    plain, nonlinear = (
        experiment.run_cell(experiment.cells(["emotions"], [name], experiment.OFFICIAL, 1, seed=0)[0])["scores"]
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


IMAGE_METHODS = TASKS["retrieval"].all_methods


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_methods_of_images_train(name, rng):
    images_, y = rng.random((24, 1, 28, 28), dtype=np.float32), np.arange(24) % 6
    model = IMAGE_METHODS[name](0)
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
        model = IMAGE_METHODS[method](3).set_params(max_epochs=1, learning_rate=1e-30, loss_learning_rate=1e-30)
        encoder = model.set_params(weight_decay=0.0).fit(images_, y).encoder_
        starts.append([encoder.trunk[0].weight, encoder.head.nodes.weight])
    for other in starts[1:]:
        assert all(torch.equal(a, b) for a, b in zip(starts[0], other, strict=True))


def test_images_of_unseen_classes(data_home, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    (official,) = experiment.cells(["omniglot"], ["Raw pixels"], experiment.OFFICIAL, 1, 0)
    assert (len(official.train), len(official.test)) == (2200, 2640)
    scores = experiment.run_cell(official)["scores"]
    assert scores["R@1 ↑"] == pytest.approx(0.335, abs=0.001)
    assert scores["MAP@R ↑"] == pytest.approx(0.057, abs=0.001)
    _, y, _ = load("omniglot")
    for cell in experiment.cells(["omniglot"], ["Raw pixels"], 3, 2, 0):
        assert not set(y[cell.train]) & set(y[cell.test])


def test_data_of_a_profile_that_is_missing_is_left_out(tmp_path, monkeypatch, capsys):
    def missing(*args, **kwargs):
        raise OSError("not here")

    load.cache_clear()
    for fetch in ("fetch_mulan", "fetch_ldl", "fetch_omniglot"):
        monkeypatch.setattr(f"benchmarks.tasks.{fetch}", missing)
    arguments = ["--profile", "full", "--methods", "MLkNN", "--repeats", "1", "--folds", "2", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    assert "not here" in capsys.readouterr().out
    records = records_of(tmp_path / "r.jsonl")
    assert {record["dataset"] for record in records} == {"emotions", "yeast"}
    assert {(record["folds"], record["repeats"]) for record in records} == {(2, 1)}
    load.cache_clear()


def test_images_have_the_official_split_and_five_seeds_by_default(tmp_path, monkeypatch, data_home):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    arguments = ["--datasets", "omniglot", "--methods", "Raw pixels", "--jobs", "1"]
    monkeypatch.setattr(
        experiment, "run_cell", lambda cell: {"dataset": cell.dataset, "method": cell.method, "error": "-"}
    )
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 1
    records = records_of(tmp_path / "r.jsonl")
    assert [(record["folds"], record["repeats"]) for record in records] == [("official", 5)] * 5


def test_speed_of_embeddings():
    trunk = torch.nn.Linear(4, 8)
    assert speed_embeddings.relational_step("triplet", 16, "trunk", trunk, (4,), n_batches=2)["path"].startswith("DRML")
    records = list(speed_embeddings.losses(16))
    assert len(records) == 4
    assert all(record["seconds"] > 0 for record in records)
    assert speed_embeddings.retrieval(5, n_samples=60, width=8)["ratio"] > 0

"""The measurements of speed, in miniature."""

import time

import numpy as np
import pytest
import torch

from benchmarks import speed, speed_embeddings, speed_neighbors
from benchmarks.cli import main
from benchmarks.timing import growth, medians
from tests.benchmarking import records_of


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


def test_speed_of_the_deep_metric():
    assert speed._all_pairs_step(n_samples=1000, rounds=1)["floor_seconds"] > 0
    assert np.isfinite(speed._growth_of_epochs(sizes=(500, 1000, 2000))["ratio"])


def test_speed_of_embeddings():
    trunk = torch.nn.Linear(4, 8)
    assert speed_embeddings.relational_step("triplet", 16, "trunk", trunk, (4,), n_batches=2)["path"].startswith("DRML")
    records = list(speed_embeddings.losses(16))
    assert len(records) == 4
    assert all(record["seconds"] > 0 for record in records)
    assert speed_embeddings.retrieval(5, n_samples=60, width=8)["ratio"] > 0


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

"""Measurements of hot paths: each runs what it names, and its figures follow from the times."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import cli
from benchmarks.speed import embeddings, hot_paths, labels, neighbors, start, timing, wide
from skrelmetric import RAMLLinear
from tests.benchmarks.comparison import records_of


def timed(monkeypatch, module, *times):
    """Let measurements of a module run their work and their floor once, and take these pairs of times in turn."""
    given = iter(times)

    def medians(work, floor, repeats, rounds=3):
        work()
        if floor:
            floor()
        return next(given)

    monkeypatch.setattr(module, "medians", medians)


def test_medians_leave_out_the_first_call_of_each_round(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])

    def of(name, *seconds):
        left = iter(seconds)

        def call():
            calls.append(name)
            now[0] += next(left)

        return call

    work, floor = of("w", 1.5, 0.25, 0.5, 1.5, 0.75, 1.75), of("f", 1, 0.25, 0.5, 1, 0.75, 1)
    assert timing.medians(work, floor, repeats=2, rounds=2) == (0.625, 0.625)
    assert "".join(calls) == "wwwfffwwwfff"
    assert timing.medians(of("w", 1.5, 0.25), None, repeats=1, rounds=1) == (0.25, 0)
    # Slow calls need no warming up, and a slow path no more rounds.
    calls.clear()
    assert timing.medians(of("w", 8, 6), of("f", 0.5, 0.25, 0.5, 0.75), repeats=1, rounds=3) == (7, 0.5)
    assert "".join(calls) == "wffwff"


def test_steps_take_what_more_of_them_add():
    assert timing.added(2.0, 7.0, 5) == 1
    assert 0 < timing.added(2.0, 1.0, 5) < 1e-3, "noise makes no step free"


def test_exponents():
    sizes = (100, 200, 400)
    assert timing.growth("cubic", sizes, [n**3 for n in sizes])["ratio"] == pytest.approx(3)


def test_fits_stand_beside_floors(monkeypatch):
    timed(monkeypatch, hot_paths, *[(2.0, 0.5)] * 5)
    found = [
        hot_paths.gaussian_fit(n_samples=50_000),
        hot_paths.real_labels(n_samples=500),
        hot_paths.constrained_fit(),
        hot_paths.resampled_fit(n_samples=500),
        hot_paths.kernel_fit(n_samples=500),
    ]
    assert {(each["seconds"], each["floor_seconds"], each["ratio"]) for each in found} == {(2.0, 0.5, 4.0)}
    assert [(each["path"], each["floor"]) for each in found] == [
        ("RAMLLinear fit, Gaussian (50,000 x 72, 6 labels)", "one X.T @ X"),
        ("RAMLLinear(relation='l1') fit, Gaussian (500 x 72, 9 real labels)", "relation='sqeuclidean', which factors"),
        ("RAMLLinear(psd='constrained') fit, emotions", "RAMLLinear()"),
        ("RAMLLinear fit, resampled emotions with noise (500 x 72, 6 labels)", "one X.T @ X"),
        (
            "HRAMLTransformer fit_transform, Gaussian (500 x 72, 6 labels)",
            "one product with 320 x 2,000 in float32",
        ),
    ]
    if sys.platform == "linux":
        assert 1 <= found[0]["peak_over_X"] < 3


def test_growth_of_fits_is_told_in_all_and_for_an_iteration(monkeypatch):
    sizes = (50, 400, 800)
    timed(monkeypatch, hot_paths, *[(float(n), 0.0) for n in sizes])
    fits, iterations = hot_paths.growing_fits(sizes)
    assert fits["ratio"] == pytest.approx(1)
    X, Y = hot_paths._gaussian(sizes[-1])
    seconds = [n / RAMLLinear().fit(X[:n], Y[:n]).n_iter_ for n in sizes]
    assert iterations["ratio"] == pytest.approx(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    assert iterations["path"] == "RAMLLinear fit, Gaussian, per iteration, 50 to 800 samples"


def test_epochs_are_what_five_more_of_them_add(monkeypatch):
    timed(monkeypatch, hot_paths, (1.0, 0.0), (6.0, 0.0), (0.25, 0.0))
    step = hot_paths.all_pairs_step(n_samples=300, rounds=1)
    assert (step["seconds"], step["floor_seconds"], step["ratio"]) == (1.0, 0.25, 4.0)
    sizes = (50, 100)
    timed(monkeypatch, hot_paths, *[(seconds, 0.0) for n in sizes for seconds in (1.0, 1.0 + 5 * n**2)])
    assert hot_paths.growing_epochs(sizes)["ratio"] == pytest.approx(2)


def test_steps_of_drml_stand_beside_plain_ones(monkeypatch):
    n_steps = 5 * 2  # of five more epochs of two batches
    timed(monkeypatch, embeddings, (1.0, 2.0), (1.0 + 3 * n_steps, 2.0 + 1.5 * n_steps))
    step = embeddings.relational_step("triplet", 16, "linear", torch.nn.Linear(4, 8), (4,), n_batches=2)
    assert (step["seconds"], step["ratio"]) == (3.0, 2.0)
    assert step["path"] == "DRML step, triplet, batch of 16, linear"


def test_embeddings_stand_beside_peers(monkeypatch):
    timed(monkeypatch, embeddings, *[(2.0, 0.5)] * 5)
    found = [*embeddings.losses(16), embeddings.retrieval(5, n_samples=60, width=8)]
    assert {each["ratio"] for each in found} == {4.0}
    names = ["triplet", "margin", "proxy_anchor", "cosface"]
    assert [each["path"] for each in found[:4]] == [f"{name} loss, batch of 16 x 128" for name in names]
    assert found[4]["path"] == "retrieval_report (60 x 8, 5 classes)"


def test_neighbours_stand_beside_their_search(monkeypatch):
    pytest.importorskip("faiss")
    timed(monkeypatch, neighbors, *[(2.0, 0.5)] * 4)
    found = [*neighbors.against_search(300, 100), neighbors.among_many(300, 5, 20)]
    assert {each["ratio"] for each in found} == {4.0}
    assert [each["floor"] for each in found] == [
        "scikit-learn's searches",
        "faiss's, in single precision",
        "scikit-learn's search",
        "scikit-learn's brute search",
    ]
    timed(monkeypatch, neighbors, (1.0, 0.0), (4.0, 0.0))
    assert neighbors.growing((100, 200))["ratio"] == pytest.approx(2)


def test_wide_fits_stand_beside_ridge_regression(monkeypatch):
    timed(monkeypatch, wide, *[(2.0, 0.5)] * 3)
    found = [wide.few_words(60, 30), *wide.many_words(400, 30)]
    assert [each["ratio"] for each in found] == [4.0] * 3
    assert {each["floor"] for each in found} == {"Ridge() of its labels"}


def test_starts_stand_beside_scikit_learns(monkeypatch):
    timed(monkeypatch, start, *[(2.0, 0.5)] * 2)
    assert [each["ratio"] for each in start.measure()] == [4.0] * 2


def test_many_labels_stand_beside_the_searches_for_them():
    X, Y = labels.with_labels(2000, 4, 300)
    assert (X.shape, Y.shape) == ((2000, 4), (2000, 300))
    assert (np.diff(Y.indptr) >= 1).all()
    frequent, rare = Y[:, :10].sum(), Y[:, 100:110].sum()
    assert frequent > 5 * rare
    found = labels.end_to_end(1500, 16, 300, 100)
    assert found["seconds"] > 0
    assert found["ratio"] == found["seconds"] / found["floor_seconds"]
    assert found["path"].endswith("(1,500 x 16, 300 labels, 100 queries)")
    assert 0 < found["precision_at_5"] < 1
    if sys.platform == "linux":
        assert found["peak_over_X"] >= 1


def test_neighbours_are_faster_than_those_of_scikit_multilearn():
    pytest.importorskip("skmultilearn.adapt")
    peers = {each["floor"]: each["ratio"] for each in neighbors.against_peers(300, 100)}
    assert 0 < peers["scikit-multilearn-ng"] < 1


def test_speed_of_two_commits(tmp_path, monkeypatch, capsys):
    out = tmp_path / "speed.jsonl"
    for ratio, commit in ((1.25, "aaa"), (2.5, "bbb")):
        measured = {"path": "fit", "seconds": 0.1, "floor": "X.T @ X", "floor_seconds": 0.1, "ratio": ratio}
        monkeypatch.setattr(hot_paths, "measure", lambda measured=measured: iter([measured]))
        monkeypatch.setattr(cli, "commit", lambda folder, commit=commit: commit)
        assert cli.main(["--profile", "speed", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("1.25") == 2
    assert "Before: at aaa." in printed
    assert [(each["ratio"], each["commit"], each["profile"]) for each in records_of(out)] == [
        (1.25, "aaa", "speed"),
        (2.5, "bbb", "speed"),
    ]
    assert all(each["versions"]["skrelmetric"] for each in records_of(out))


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_commits_say_whether_they_have_changes(tmp_path):
    assert cli.commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for words in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert cli.commit(tmp_path) == head[:12]
    (tmp_path / "a").write_text("2")
    assert cli.commit(tmp_path) == f"{head[:12]}-dirty"

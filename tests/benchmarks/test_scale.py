"""Measurements of scale, in miniature."""

import numpy as np
import pytest

from benchmarks.cli import main
from benchmarks.speed import scale
from tests.benchmarks.comparison import records_of
from tests.ranks import CONTEXT


def test_rows_are_the_same_wherever_they_are_made():
    X, Y = scale.samples(40, 12, chunk=10)
    np.testing.assert_array_equal(scale.samples(17, 12, 8, chunk=10)[0], X[8:25])
    chunks = list(scale.stream(40, 12, chunk=10))
    assert len(chunks) == 4
    np.testing.assert_array_equal(np.concatenate([x for x, _ in chunks]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in chunks]), Y)
    numbers = list(scale.stream_of_numbers(40, 12, chunk=10))
    np.testing.assert_array_equal(np.concatenate([y for _, y in numbers]), X[:, :2])


def test_messages_are_those_of_the_model(monkeypatch):
    monkeypatch.setattr(scale, "get_context", lambda method: CONTEXT)  # where torch is loaded already
    n, d = 600, 14
    one, two = scale.fit_shard(n, d, 1), scale.in_ranks(2, n, d, 1)
    assert [fit.metric for fit in one] == [fit.metric for fit in two] == ["RAMLLinear", "HRAML, 3 epochs"]
    assert [fit.n_numbers for fit in one] == [0, 0], "nobody to talk to"
    assert two[0].n_iter == one[0].n_iter
    linear, numbers, trained = scale.across_ranks(n, d, one, two)
    assert numbers["measured"] == numbers["against"] == scale.messages(n, d, two[0].n_iter)
    assert numbers["ratio"] == 1
    assert numbers["unit"] == f"numbers in {two[0].n_sums} sums"
    for figure, alone, shared in ((linear, one[0], two[0]), (trained, one[1], two[1])):
        assert (figure["measured"], figure["against"]) == (shared.seconds, alone.seconds)
        assert figure["ratio"] == alone.seconds / shared.seconds


def test_chunks_and_passes_are_timed(monkeypatch):
    def medians(work, floor, repeats, rounds):
        work()
        floor()
        return 6.0, 2.0

    monkeypatch.setattr(scale, "medians", medians)
    assert [figure["ratio"] for figure in scale.against_memory(300, 14, 1)] == [3.0, 3.0]
    n_passes = scale.RAMLLinear().fit(*scale.samples(300, 14)).n_iter_ + 2
    assert scale.a_pass(300, 14, 1)["ratio"] == pytest.approx(3.0 / n_passes)


def test_too_few_features_are_refused(tmp_path, capsys):
    assert main(["--profile", "scale", "--n-features", "23", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "pass --n-features 24 or more" in capsys.readouterr().out


def test_sizes_go_from_the_command_line_to_the_measurement(tmp_path, monkeypatch, capsys):
    seen = []

    def measure(**sizes):
        seen.append(sizes)
        yield {"path": "a fit", "measured": 1.5, "against": 3.0, "ratio": 2.0, "unit": "times as fast"}

    monkeypatch.setattr(scale, "measure", measure)
    out = tmp_path / "r.jsonl"
    sizes = ["--n-samples", "1000", "--n-features", "30", "--repeats", "2"]
    assert main(["--profile", "scale", *sizes, "--out", str(out)]) == 0
    assert seen == [{"n": 1000, "d": 30, "repeats": 2}]
    assert "times as fast" in capsys.readouterr().out
    (record,) = records_of(out)
    assert (record["profile"], record["ratio"]) == ("scale", 2.0)

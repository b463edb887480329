"""The measurement of scale, in miniature."""

import json

import numpy as np

from benchmarks import scale


def test_rows_are_the_same_wherever_they_are_made(monkeypatch):
    monkeypatch.setattr(scale, "_CHUNK", 10)
    X, Y = scale.samples(40, 12)
    np.testing.assert_array_equal(scale.samples(17, 12, 8)[0], X[8:25])
    chunks = list(scale.stream(40, 12))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in chunks]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in chunks]), Y)
    numbers = list(scale.stream_of_numbers(40, 12))
    np.testing.assert_array_equal(np.concatenate([y for _, y in numbers]), X[:, :2])


def test_messages_are_those_of_the_model(tmp_path, capsys):
    rows = [*scale.across_ranks(3000, 14, 1), *scale.against_memory(3000, 14, 1), *scale.passes(((3000, 14),), 1)]
    out = tmp_path / "scale.jsonl"
    scale.show(rows, out)
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    (numbers,) = (row for row in rows if row["what"].startswith("numbers in messages"))
    assert numbers["ratio"] == 1
    printed = capsys.readouterr().out
    assert all(row["unit"] in printed for row in rows)

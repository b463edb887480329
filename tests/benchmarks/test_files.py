import bz2
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.cli import main
from benchmarks.data.files import read_file
from benchmarks.data.sources import _own, digest, load, own_source, task_of
from skrelmetric.datasets import load_emotions

DENSE = """@relation '{relation}'
@attribute height numeric
@attribute colour {{red, green, blue}}
@attribute big {{no, yes}}
@attribute happy {{0, 1}}
@attribute sad {{0, 1}}
@data
1.5, red, no, 0, 1
2.5, blue, yes, 1, 1
3.5, green, yes, 1, 0
"""
FEATURES = {"height": [1.5, 2.5, 3.5], "red": [1, 0, 0], "green": [0, 0, 1], "blue": [0, 1, 0], "yes": [0, 1, 1]}
SPARSE = """@RELATION 'words: -C 2'
@ATTRIBUTE a {0,1}
@ATTRIBUTE b {0,1}
@ATTRIBUTE w1 numeric
@ATTRIBUTE w2 numeric
@ATTRIBUTE kind {x,y}

@DATA
{0 1, 2 3.5}
{1 1, 3 2, 4 y}
{}
"""


def columns(X):
    return sorted(map(tuple, X.T))


def test_arff(tmp_path):
    path = tmp_path / "a.arff"
    path.write_text(DENSE.format(relation="toy"))
    X, Y, names = read_file(str(path), 2)
    assert columns(X) == sorted(map(tuple, FEATURES.values()))
    assert names == ["happy", "sad"]
    np.testing.assert_array_equal(Y, [[0, 1], [1, 1], [1, 0]])
    assert Y.dtype == np.int64
    np.testing.assert_array_equal(read_file(str(path), ("sad", "happy"))[1], Y[:, ::-1])
    with pytest.raises(ValueError, match="does not say which columns are targets"):
        read_file(str(path))
    path.write_text(DENSE.format(relation="toy: -C -2"))
    np.testing.assert_array_equal(read_file(str(path))[1], Y)


@pytest.mark.parametrize(("suffix", "opened"), [("", open), (".gz", gzip.open), (".bz2", bz2.open)])
def test_sparse_arff_of_meka(tmp_path, suffix, opened):
    path = tmp_path / f"words.arff{suffix}"
    with opened(path, "wt") as file:
        file.write(SPARSE)
    X, Y, names = read_file(str(path))
    assert names == ["a", "b"]
    np.testing.assert_array_equal(Y, [[1, 0], [0, 1], [0, 0]])
    assert columns(X) == [(0, 1, 0), (0, 2, 0), (3.5, 0, 0)]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_tables(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "c": ["u", "v", "u"], "happy": [1, 0, 1], "sad": [True, False, True]})
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    X, Y, _ = read_file(str(path), 2)
    assert columns(X) == [(0, 1, 0), (1, 2, 3)]
    np.testing.assert_array_equal(Y, [[1, 1], [0, 0], [1, 1]])
    X, classes, _ = read_file(str(path), ("c",))
    assert classes.tolist() == [0, 1, 0]
    assert X.shape == (3, 3)


@pytest.mark.parametrize(
    ("content", "name", "labels", "message"),
    [
        ("x,y\n1,0\n", "a.xls", 1, "no known kind"),
        ("x,y\n1,0\n", "a.csv", ("z",), "no columns"),
        ("x,y\n1,0\n", "a.csv", 2, "2 target columns were asked for, but"),
        ("x,y\n1,0\n", "a.csv", 0, "0 target columns were asked for"),
        ("x,y\n1,0\n,1\n", "a.csv", 1, "misses values in 1 columns: \\['x'\\]"),
        ("x,y,z\n1,a,b\n", "a.csv", 2, "not numbers"),
        ("x,y\n1,0.5\n2,0.7\n", "a.csv", 1, "holds fractions"),
        ("", "a.csv", 1, "cannot be read as csv"),
        ("x,y\n", "a.csv", 1, "has no samples"),
        ("@relation a\n@attribute x numeric\n@data\nhello\n", "a.arff", 1, "cannot be read as arff"),
        ("x,y,z\n1,0,1\n", "a.csv", ("y", "y"), "given twice"),
        (",x,y\n0,1,0\n1,2,1\n", "a.csv", 1, "index=False"),
        ("x,when,y\n1,2026-01-01,0\n", "a.parquet", 1, "cannot be read as parquet"),
        ("no parquet", "a.parquet", 1, "cannot be read as parquet"),
    ],
)
def test_bad_files(tmp_path, content, name, labels, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_file(str(path), labels)


def test_kinds_of_targets():
    assert task_of(np.array([1, 2, 2])) == "classification"
    assert task_of(np.array([[1, 0], [0, 0]])) == "multilabel"
    assert task_of(np.array([[0.25, 0.75], [0.5, 0.5]])) == "label distribution"
    with pytest.raises(ValueError, match="neither label sets"):
        task_of(np.array([[0.25, 0.9], [0.5, 0.5]]))


def test_own_file_gives_what_the_data_set_gives(tmp_path):
    path, out = tmp_path / "mine.csv", tmp_path / "r.jsonl"
    load_emotions(as_frame=True).frame.to_csv(path, index=False)
    common = ["--methods", "MLkNN", "RAMLLinear + MLkNN", "--folds", "2", "--repeats", "1", "--out", str(out)]
    assert main(["--data", str(path), "--labels", "6", *common, "--jobs", "1"]) == 0
    assert main(["--datasets", "emotions", *common, "--jobs", "1"]) == 0
    scores = {}
    for record in map(json.loads, out.read_text().splitlines()):
        scores.setdefault(record["dataset"], {})[record["method"], record["fold"]] = list(record["scores"].values())
    assert scores["mine.csv"].keys() == scores["emotions"].keys()
    for cell, values in scores["mine.csv"].items():
        assert values == pytest.approx(scores["emotions"][cell])


def test_own_file_that_is_not_there(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "a.csv"), "--labels", "1", "--out", str(tmp_path / "r.jsonl")]) == 2
    assert "a.csv" in capsys.readouterr().out


def test_own_source_is_read_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,0\n2,1\n")
    source = own_source(str(path), 1)
    path.unlink()
    assert source.task == "classification"
    assert load(source._replace(task="own")).Y.tolist() == [0, 1]
    assert load(source).Y.tolist() == [0, 1]


def test_columns_that_are_neither_numbers_nor_names(tmp_path):
    n = 60
    columns = {
        "ids": [f"p{k}" for k in range(n)],
        "when": pd.date_range("2026-01-01", periods=n),
        "how long": pd.to_timedelta(range(n), unit="s"),
        "lists": [[k] for k in range(n)],
    }
    for name, values in columns.items():
        path = tmp_path / "t.parquet"
        pd.DataFrame({"x": range(n), name: values, "y": np.arange(n) % 2}).to_parquet(path)
        with pytest.raises(ValueError, match=f"'{name}' of .* holds dates, identifiers"):
            read_file(str(path), 1)


def test_a_column_whose_name_is_a_number(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,2,3\n0.5,1,0\n0.25,2,1\n")
    assert read_file(str(path), 2)[2] == ["2"]
    assert read_file(str(path), -2)[2] == ["1", "2"]


def test_other_data_of_the_same_name_is_other_records(tmp_path, capsys):
    path, out = tmp_path / "a.csv", tmp_path / "r.jsonl"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc"))
    frame["y1"], frame["y2"] = (frame["a"] > 0).astype(int), rng.integers(0, 2, 40)
    frame.to_csv(path, index=False)
    common = ["--methods", "kNN", "--folds", "2", "--repeats", "1", "--jobs", "1", "--out", str(out)]
    for n_records, label in enumerate(["y1", "y2", "y1"]):
        assert main(["--data", str(path), "--labels", label, *common]) == 0
        assert len(out.read_text().splitlines()) == [2, 4, 4][n_records]
    frame.assign(a=0.0).to_csv(path, index=False)
    _own.cache_clear()
    load.cache_clear()
    digest.cache_clear()
    assert main(["--data", str(path), "--labels", "y1", *common]) == 0
    assert len(out.read_text().splitlines()) == 6


def test_own_files_are_ranked_with_named_data_sets(tmp_path, capsys):
    path = tmp_path / "my[bold]file.csv"
    load_emotions(as_frame=True).frame.to_csv(path, index=False)
    arguments = ["--data", str(path), "--labels", "6", "--datasets", "emotions", "--methods", "MLkNN", "PCA + MLkNN"]
    assert main([*arguments, "--folds", "2", "--repeats", "1", "--jobs", "1", "--out", str(tmp_path / "r.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert "my[bold]file.csv: multilabel" in printed
    assert "ranks over 2 data sets" in " ".join(printed.split())

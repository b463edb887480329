import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
import scipy
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils.fixes import parse_version

from benchmarks.cli import main
from benchmarks.data import files, matlab
from benchmarks.data.files import read_file
from benchmarks.data.sources import DATASETS, FAMILIES, OF_UNSEEN_CLASSES, _own, digest, load, own_source, task_of
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


# Packed and damaged files


def zipped(content):
    return packed({"words.arff": content})


def packed(entries):
    with zipfile.ZipFile(archive := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return archive.getvalue()


PACKINGS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": zipped}
FRAME = pd.DataFrame({"x": [1.5, 2.5, 3.5] * 9, "c": ["u", "v", "u"] * 9, "y": [0, 1, 1] * 9})
RAW = {
    "a.csv": FRAME.to_csv(index=False).encode(),
    "a.arff": DENSE.format(relation="a").encode(),
    "sparse.arff": SPARSE.encode(),
    "a.parquet": FRAME.to_parquet(),
}


def read_or_said(path, labels=None):
    """What a file holds and the error that it gives, of which one is None."""
    try:
        return read_file(str(path), labels), None
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("suffix", PACKINGS)
def test_packed_files_are_read_or_said(tmp_path, suffix):
    path = tmp_path / f"words.arff{suffix}"
    content = PACKINGS[suffix](SPARSE.encode())
    path.write_bytes(content)
    X, Y, _ = read_file(str(path))
    assert columns(X) == [(0, 1, 0), (0, 2, 0), (3.5, 0, 0)]
    for end in range(1, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"words\.arff.* cannot be unpacked .* get it again"):
            read_file(str(path))

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(place=st.integers(0, len(content) - 1), change=st.integers(1, 255))
    def same_or_said(place, change):
        path.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
        read, error = read_or_said(path)
        if read is None:
            assert f"{path} cannot be unpacked" in error
        else:  # a byte of the time or the name that the packing has
            np.testing.assert_array_equal(read[0], X)
            np.testing.assert_array_equal(read[1], Y)

    same_or_said()


@pytest.mark.parametrize("name", RAW)
def test_damaged_files_are_read_or_said(tmp_path, name):
    path, content = tmp_path / name, RAW[name]
    path.write_bytes(content)
    read_file(str(path), 1)

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(place=st.integers(0, len(content) - 1), new=st.binary(max_size=4), n_lost=st.integers(0, 4))
    def finite_or_said(place, new, n_lost):
        path.write_bytes(content[:place] + new + content[place + n_lost :])
        read, error = read_or_said(path, 1)
        if read is None:
            assert str(path) in error
        else:
            assert np.isfinite(read[0]).all()
            assert np.isfinite(read[1]).all()

    finite_or_said()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.zip", packed({"a.csv": "x,y\n1,0\n", "b.csv": "x,y\n1,0\n"}), "it holds 2 files"),
        ("a.csv.tar", b"x,y\n1,0\n", "of no known kind"),
        ("a.csv", RAW["a.parquet"], "it is no text in UTF-8"),
        ("a.csv.gz", RAW["a.csv"], "cannot be unpacked"),
        (
            "a.arff",
            RAW["a.arff"].replace(b"yes, 1", b"ye%, 1"),
            "value ye% not found in .* at line 9",
        ),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_file(str(tmp_path / name), 1)


@pytest.mark.parametrize("suffix", PACKINGS)
def test_files_that_unpack_without_end_are_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(files, "_most", lambda content: 1000)
    path = tmp_path / f"words.arff{suffix}"
    path.write_bytes(PACKINGS[suffix](bytes(100_000)))
    with pytest.raises(ValueError, match="holds more than 1,000 bytes. If it should, unpack it"):
        read_file(str(path))


def test_tables_that_claim_to_be_far_larger_than_their_file_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"x": np.zeros(10**6, dtype=bool), "y": False}).to_parquet(path)
    assert len(read_file(str(path), 1)[0]) == 10**6
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(files, "_most", lambda content: 100 * len(content))
        with pytest.raises(ValueError, match="claims to hold 1,000,000 x 2 values"):
            read_file(str(path), 1)


@pytest.mark.parametrize("name", ["a.csv", "a.arff", "sparse.arff"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_the_text(tmp_path, name, encoding):
    for file, content in ((name, RAW[name]), (f"marked-{name}", RAW[name].decode().encode(encoding))):
        (tmp_path / file).write_bytes(content)
    read, marked = (read_file(str(tmp_path / file), 1) for file in (name, f"marked-{name}"))
    np.testing.assert_array_equal(marked[0], read[0])
    np.testing.assert_array_equal(marked[1], read[1])
    assert marked[2] == read[2]


# What the values mean


@pytest.mark.parametrize("words", [("FALSE", "TRUE"), ("false", "true"), ("no", "yes"), ("No", "YES"), ("0", "1")])
@pytest.mark.parametrize("kind", ["csv", "dense", "sparse", "parquet"])
def test_labels_in_words(tmp_path, words, kind):
    absent, present = words
    path = tmp_path / {"csv": "a.csv", "parquet": "a.parquet"}.get(kind, "a.arff")
    head = (
        f"@relation a\n@attribute x numeric\n@attribute a {{{absent},{present}}}\n@attribute b {{{absent},{present}}}"
    )
    if kind == "csv":
        path.write_text(f"x,a,b\n1,{absent},{present}\n2,{present},{present}\n")
    elif kind == "dense":
        path.write_text(f"{head}\n@data\n1,{absent},{present}\n2,{present},{present}\n")
    elif kind == "sparse":
        path.write_text(f"{head}\n@data\n{{0 1, 2 {present}}}\n{{0 2, 1 {present}, 2 {present}}}\n")
    else:
        pd.DataFrame({"x": [1, 2], "a": [absent, present], "b": [present, present]}).to_parquet(path)
    X, Y, _ = read_file(str(path), 2)
    np.testing.assert_array_equal(X, [[1], [2]])
    np.testing.assert_array_equal(Y, [[0, 1], [1, 1]])
    assert Y.dtype == np.int64
    np.testing.assert_array_equal(read_file(str(path), ("a",))[1], [0, 1])


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e400"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", ["csv", "arff"])
def test_infinite_values_are_refused_wherever_they_are(tmp_path, kind, place, value):
    path = tmp_path / f"a.{kind}"
    row = ["2", "0", "1"]
    row[place] = value
    head = {"csv": "x,a,b", "arff": "@relation r\n" + "\n".join(f"@attribute {c} numeric" for c in "xab") + "\n@data"}
    path.write_text(f"{head[kind]}\n1,1,0\n{','.join(row)}\n")
    with pytest.raises(ValueError, match=rf"a\.{kind} has infinite values in 1 columns: \['{'xab'[place]}'\]"):
        read_file(str(path), 2)


def test_infinite_labels_of_a_nominal_column_are_refused(tmp_path):
    path = tmp_path / "a.arff"
    path.write_text(SPARSE.replace("b {0,1}", "b {0,inf}").replace("{1 1,", "{1 inf,"))
    with pytest.raises(ValueError, match="'b' of .*a.arff has infinite values"):
        read_file(str(path), -2)


@pytest.mark.parametrize("place", [0, 4, 20])
@pytest.mark.parametrize("column", [0, 1])
def test_a_letter_among_numbers_is_refused(tmp_path, place, column):
    rows = [[str(k / 4), str(k % 2), "name"] for k in range(21)]
    rows[place][column] = "x"
    path = tmp_path / "a.csv"
    path.write_text("\n\nx,y,z\n  \n" + '"0",1,"two\nlines"\n' + "\n\n".join(map(",".join, rows)) + "\n")
    with pytest.raises(ValueError, match=f"column '{'xy'[column]}' has numbers, but 'x' in line {7 + 2 * place}"):
        read_file(str(path), ("y",))
    table = pd.DataFrame(rows, columns=list("xyz"))
    table.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=f"'x' in row {1 + place}"):
        read_file(str(tmp_path / "a.parquet"), ("y",))


def test_names_and_numbers_are_read_as_they_were(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,c,y\n1,?,0\n2,u1,1\n3,2u,1\n")
    assert read_file(str(path), 1)[0].shape == (3, 4)
    path.write_text("x,c,y\n1,NA,0\n2,u,1\n")
    with pytest.raises(ValueError, match=r"misses values in 1 columns: \['c'\]"):
        read_file(str(path), 1)
    path.write_text(f"x,c,y\n1,{10**30},0\n2,5,1\n")
    with pytest.raises(ValueError, match="'c' of .* neither numbers nor"):
        read_file(str(path), 1)


def test_any_name_of_a_column_is_taken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x\0,c\0,%d,y\n1,u,2,0\n2,v,3,1\n")
    assert columns(read_file(str(path), 1)[0]) == [(0, 1), (1, 2), (2, 3)]


# Which columns are targets


@pytest.mark.parametrize("labels", [("y",), 1, ("x",)])
@pytest.mark.parametrize("header", ["x,y,y", "y,x,y", "x, y,y"])
def test_names_of_two_columns_are_refused(tmp_path, header, labels):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1,0,1\n2,1,0\n")
    with pytest.raises(ValueError, match=r"a\.csv has several columns of the names \['y'\]"):
        read_file(str(path), labels)


@pytest.mark.parametrize("relation", ["words: -C 2", "a b:-C 2 ", "w: -split-number 5 -C 2 -x", "w: -C -2"])
def test_relations_of_meka(tmp_path, relation):
    path = tmp_path / "a.arff"
    path.write_text(
        SPARSE.replace("words: -C 2", relation).replace("kind {x,y}", "kind {yes,no}").replace("4 y", "4 no")
    )
    if "-C -2" in relation:
        with pytest.raises(ValueError, match=r"says that its targets are \['w2', 'kind'\], but 'w2', such as 0\.0"):
            read_file(str(path))
    else:
        assert read_file(str(path))[2] == ["a", "b"]


@pytest.mark.parametrize(
    "relation",
    [
        "words-C 2",
        "words -C 2",
        "weka.filters.Remove-R1-C 2",
        "w: -C 2-weka.filters.Remove-R1-2_w: -C 2",
        "w: -c 2",
        "-C 2",
    ],
)
def test_relations_of_others(tmp_path, relation):
    path = tmp_path / "a.arff"
    path.write_text(SPARSE.replace("words: -C 2", relation))
    with pytest.raises(ValueError, match="does not say which columns are targets"):
        read_file(str(path))


def test_an_opening_brace_is_sought_where_the_data_are(tmp_path):
    path = tmp_path / "a.arff"
    path.write_text(SPARSE.replace("@DATA\n", "% not @data {\n@DATA  \n% a word\n\n  % another {\n"))
    assert read_file(str(path))[0].shape == (3, 3)
    path.write_text("% @data\n% {\n" + DENSE.format(relation="dense"))
    assert read_file(str(path), 2)[0].shape == (3, 5)


def test_targets_are_told(tmp_path, capsys):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x,y\n" + "1,a\n2,b\n" * 9)
    arguments = ["--labels", "1", "--methods", "kNN", "--folds", "2", "--repeats", "1", "--jobs", "1"]
    paths = [str(tmp_path / name) for name in ("a.csv", "b.csv", "a.csv")]
    assert main(["--data", *paths, *arguments, "--out", str(tmp_path / "r.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("a.csv: classification, with 1 target column: y") == 1
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.csv", None, "b.csv cannot be opened (No such file or directory). Pass the path"),
        ("folder/a.csv", b"x,y\n" + b"1,a\n2,b\n" * 9, "Files of one name could not be told apart"),
        ("b.csv", b"x;y\n" + b"1;a\n2;b\n" * 9, "b.csv cannot be read as csv: its first line, 'x;y', does not"),
        ("b.csv", b"x;y\n" + b"1,5;a\n2,5;b\n" * 9, "b.csv cannot be read as csv: its first line, 'x;y', does not"),
        ("b.csv", b"x\ty\n1\ta\n", "with commas between"),
        ("b.csv", b"y\n1\n2\n", "with commas between"),
        ("b.csv", b"x,y\n" + b"0,1,a\n0,2,b\n" * 9, "'x,y', does not name all columns"),
        ("b.csv", b"x,z\n1,a\n2,b\n", "b.csv has no columns ['y']. Its columns are ['x', 'z']: name some"),
        ("b.csv", b"x,y\n1,a\n2,b\n", "0 target columns were asked for, but"),
        ("b.csv", b"x,y\n1,a,b,c\n2,b\n", "b.csv cannot be read as csv"),
    ],
)
def test_the_one_file_that_is_wrong_is_said(tmp_path, capsys, name, content, message):
    labels = ["0"] if message.startswith("0 ") else ["y"]
    good, wrong = tmp_path / "a.csv", tmp_path / name
    good.write_text("x,y,z\n" + "1,1,0\n2,0,1\n" * 9)
    if content is not None:
        wrong.parent.mkdir(exist_ok=True)
        wrong.write_bytes(content)
    order = [wrong, good] if labels == ["0"] else [good, wrong]
    assert main(["--data", *map(str, order), "--labels", *labels, "--out", str(tmp_path / "r.jsonl")]) == 2
    printed = capsys.readouterr().out.replace("\n", "")
    assert message.replace(" ", "") in printed.replace(" ", "")
    assert name.removeprefix("folder/") in printed


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
    assert task_of(np.array([1.0, 2.5])) == "regression"
    for numbers in ([[0.25, 0.9], [0.5, 0.5]], [[-0.5, 1.5], [0, 1]], [[3, 1], [2, 2]]):
        assert task_of(np.array(numbers)) == "regression"


def test_numbers_of_one_column_and_of_several(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,c,y,z\n1,4,0.5,-1\n2,9,0.7,2\n3,4,3,30\n")
    for labels, expected, task in (
        (("y",), [0.5, 0.7, 3], "regression"),
        (("c",), [0, 1, 0], "classification"),
        (("y", "z"), [[0.5, -1], [0.7, 2], [3, 30]], "regression"),
    ):
        source = own_source(str(path), labels)
        assert source.task == task
        assert load(source).Y.tolist() == expected
    assert load(own_source(str(path), ("y",))).Y.dtype == np.float64


# Data sets by name


@pytest.mark.parametrize("name", DATASETS)
def test_targets_are_for_the_task_of_their_data_set(name, request):
    source = DATASETS[name]
    if name not in ("iris", "wine", "digits", "breast_cancer"):
        request.getfixturevalue("data_home")
    if source.is_sparse or source.task == "fine-tuning":
        pytest.skip("takes long to read; tested elsewhere")
    data = load.__wrapped__(source)  # which keeps nothing
    assert len(data.X) == len(data.Y)
    assert task_of(data.Y) == ("classification" if source.task in OF_UNSEEN_CLASSES else source.task)
    assert (data.groups is not None) == (name in ("SBU_3DFE", "FG-Net"))
    if data.groups is not None:
        assert data.groups.shape == (len(data.X),)


def test_families_are_of_data_sets_that_resemble_each_other(data_home):
    assert FAMILIES.keys() <= DATASETS.keys()
    families = {}
    for name, family in FAMILIES.items():
        families.setdefault(family, []).append(name)
    assert all(len(members) > 1 for members in families.values())
    assert not families.keys() & (DATASETS.keys() - FAMILIES.keys()), "a family has no data set's name"
    first, second = (load(DATASETS[name]).X for name in families["Yeast"])
    np.testing.assert_array_equal(first, second)


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
    assert "multilabel: 2 methods over 2 data sets" in " ".join(printed.split())


def test_a_named_index_is_no_column(tmp_path):
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "y": [0, 1]}).set_index("a").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"its index, 'a', is no column: write frame.reset_index\(\)"):
        read_file(str(tmp_path / "a.parquet"), 1)


def test_numbers_that_cannot_be_squared_are_refused_by_their_column(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,y\n1.0,2.0,0\n-1e300,3.0,1\n")
    with pytest.raises(ValueError, match=r"infinite values in 1 columns: \['a'\]. .* at most 1e\+150"):
        read_file(str(tmp_path / "a.csv"), 1)


# Matrices of MATLAB


def mat(**matrices):
    packed = matrices.pop("packed", False)
    scipy.io.savemat(file := io.BytesIO(), matrices, do_compression=packed)
    return file.getvalue()


@pytest.fixture(scope="module")
def one_child():
    """Reading in one process for all files, which takes no time to start, until a file ends it."""
    children = [ProcessPoolExecutor(1, mp_context=get_context("spawn"))]

    def read_matrices(*arguments):
        try:
            return children[-1].submit(matlab.scipy_matrices, *arguments).result()
        except BrokenExecutor as error:
            children[-1].shutdown()
            children.append(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            raise ValueError("it is damaged") from error

    yield read_matrices
    children[-1].shutdown()


@pytest.fixture
def read_quickly(monkeypatch, one_child):
    monkeypatch.setattr(files, "read_matrices", one_child)


GRID = np.arange(12.0).reshape(4, 3) / 7
SHARES = [[0.2, 0.8]] * 4
SETS = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])


@pytest.mark.usefixtures("read_quickly")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("features", "targets", "values", "expected", "task"),
    [
        ("features", "labels", SETS / 1.0, SETS, "multilabel"),
        ("X", "Y", sparse.csc_array(SETS), SETS, "multilabel"),
        ("data", "target", SETS.astype(bool), SETS, "multilabel"),
        (
            "features",
            "label_distribution",
            np.float32([[0.2, 0.8]] * 4),
            np.float32([[0.2, 0.8]] * 4),
            "label distribution",
        ),
        ("fea", "gnd", [[3], [1], [3], [2]], [2, 0, 2, 1], "classification"),
        ("fea", "gnd", [[3, 1, 3, 2]], [2, 0, 2, 1], "classification"),
        ("X", "Y", [[0.5], [1], [2], [3]], [0.5, 1, 2, 3], "regression"),
        ("X", "Y", GRID, GRID, "regression"),
    ],
)
def test_matrices_of_matlab(tmp_path, features, targets, values, expected, task, suffix, packed):
    path = tmp_path / f"a.mat{suffix}"
    content = mat(packed=packed, **{features: GRID, targets: values, "age": [1, 2], "name": "text"})
    path.write_bytes(gzip.compress(content) if suffix else content)
    X, Y, names = read_file(str(path))
    np.testing.assert_array_equal(X, GRID)
    np.testing.assert_array_equal(Y, expected)
    assert (X.dtype, Y.ndim) == (np.float64, np.ndim(expected))
    assert names == [f"{targets}_{column}" for column in range(np.size(Y) // 4)]
    assert own_source(str(path), None).task == task
    assert read_file(str(path), (f"{features}_1",))[2] == [f"{features}_1"]


def test_sparse_features_of_matlab_are_read(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(mat(X=sparse.csc_array(SETS * 2.5), Y=SETS))
    np.testing.assert_array_equal(read_file(str(path))[0], SETS * 2.5)


@pytest.mark.skipif(parse_version(scipy.__version__) < parse_version("1.17"), reason="scipy reads no such sparse ones")
def test_matrices_of_machines_with_the_other_order_of_bytes_are_read(tmp_path):
    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(name, cls, shape, *parts):
        header = element(6, struct.pack(">II", cls, 0)) + element(5, struct.pack(">2i", *shape)) + element(1, name)
        return element(14, header + b"".join(parts))

    numbers = element(3, struct.pack(">6h", 1, -2, 300, 4, 5, 6))  # doubles that need no more bytes, column by column
    rows, starts = element(5, struct.pack(">2i", 2, 0)), element(5, struct.pack(">3i", 0, 1, 2))
    entries = element(9, struct.pack(">2d", 0.5, 7))
    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    content += matrix(b"X", 6, (3, 2), numbers) + matrix(b"Y", 5, (3, 2), rows, starts, entries)
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    X, Y, _ = read_file(str(path))
    np.testing.assert_array_equal(X, [[1, 4], [-2, 5], [300, 6]])
    np.testing.assert_array_equal(Y, [[0, 7], [0, 0], [0.5, 0]])


def test_matrices_of_the_data_sets_are_read(data_home):
    for name in ("Painting", "SBU_3DFE", "Natural_Scene"):
        X, Y, _ = read_file(str(data_home / f"ldl/{name}.mat"))
        data = load(DATASETS[name])
        np.testing.assert_array_equal(X, data.X)
        np.testing.assert_array_equal(Y, data.Y)
    with pytest.raises(ValueError, match=r"one matrix of targets .* 0 are found among .*raw_data \(1054 x 14 double\)"):
        read_file(str(data_home / "ldl/wq.mat"))


HDF = b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n"
RECORDS = np.array([(1.0, 2)], dtype=[("a", float), ("b", int)])


@pytest.mark.usefixtures("read_quickly")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            mat(A=GRID, Y=SETS),
            r"one matrix of features is sought, with a name of features, X, data, fea, and 0 are found",
        ),
        (mat(A=GRID, Y=SETS), r"among A \(4 x 3 double\), Y \(4 x 2 int64\)"),
        (mat(X=GRID, z=SETS), "one matrix of targets is sought"),
        (mat(x=1)[:128], "among no matrices"),
        (mat(X=GRID, features=GRID, Y=SETS), "and 2 are found"),
        (mat(X=GRID, Y=SETS) + mat(X=SETS)[128:], "and 2 are found"),
        (mat(X=GRID, Y=SETS) + mat(X=RECORDS)[128:], "and 2 are found"),
        (mat(X=GRID[:3], Y=SETS), "3 rows of features .* and 4 of targets"),
        (mat(X=np.zeros((4, 3, 2)), Y=SETS), "X \\(4 x 3 x 2 double\\) is no matrix of real numbers"),
        (mat(X=np.zeros((0, 3)), Y=np.zeros((0, 1))), r"X \(0 x 3 double\) is no matrix"),
        (mat(X=GRID, Y=RECORDS), r"Y \(1 x 1 struct\) is no matrix"),
        (mat(X=GRID, Y=np.array([["a"], [1]], dtype=object)), r"Y \(2 x 1 cell\) is no matrix"),
        (mat(X=GRID, Y=["a", "b", "c", "d"]), r"Y \(4 x 1 char\) is no matrix"),
        (mat(X=GRID * 1j, Y=SETS), r"X \(4 x 3 complex double\) is no matrix of real numbers"),
        (mat(X=sparse.csc_array(GRID * 1j), Y=SETS), r"X \(4 x 3 complex sparse\) is no matrix"),
        (mat(X=np.where(GRID > 1, np.nan, GRID), Y=SETS), r"misses values in 3 columns: \['X_0', 'X_1', 'X_2'\]"),
        (mat(X=GRID, Y=[[1], [2], [np.inf], [0]]), r"infinite values in 1 columns: \['Y_0'\]"),
        (HDF, r"version 7\.3, which is HDF5: in MATLAB save it with save\(file, \.\.\., '-v7'\)"),
        (HDF[512:], "version 7\\.3"),
        (b"no matrices", "cannot be read as mat"),
        (b"", "cannot be read as mat"),
    ],
)
def test_matrices_that_are_no_data_set_are_said(tmp_path, content, message):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_file(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_matrices_that_claim_to_be_far_larger_than_their_file_are_refused(tmp_path, monkeypatch, packed):
    path = tmp_path / "a.mat"
    path.write_bytes(mat(packed=packed, X=sparse.csc_array((10**6, 10**6)), Y=np.zeros((10**6, 1), dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"X \(1000000 x 1000000 sparse\) claims to hold more than"):
        read_file(str(path))
    path.write_bytes(mat(packed=True, X=np.zeros((10**5, 2)), Y=np.zeros((10**5, 1))))
    assert len(read_file(str(path))[0]) == 10**5
    monkeypatch.setattr(files, "_most", lambda content: 100 * len(content))
    with pytest.raises(ValueError, match=r"X \(100000 x 2 double\) claims to hold more than|it holds more than"):
        read_file(str(path))


@pytest.mark.usefixtures("read_quickly")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "values", [GRID, sparse.csc_array(GRID), GRID.astype(np.float32)], ids=["dense", "sparse", "single"]
)
def test_damaged_matrices_are_read_or_said(tmp_path, values, packed):
    path = tmp_path / "a.mat"
    content = mat(packed=packed, X=values, labels=SETS)

    def finite_or_said(content):
        path.write_bytes(content)
        read, error = read_or_said(path)
        if read is None:
            assert str(path) in error
        else:
            assert np.isfinite(read[0]).all()
            assert np.isfinite(read[1]).all()

    for end in range(0, len(content), 3):
        finite_or_said(content[:end])

    @settings(max_examples=120, derandomize=True, deadline=None)
    @given(place=st.integers(0, len(content) - 1), new=st.binary(max_size=4), n_lost=st.integers(0, 4))
    def changed(place, new, n_lost):
        finite_or_said(content[:place] + new + content[place + n_lost :])

    changed()


def test_entries_of_damaged_sparse_matrices_stay_in_their_matrix(tmp_path):
    path = tmp_path / "a.mat"
    content = mat(X=sparse.csc_array(GRID), labels=SETS)
    rows = np.array([1, 2, 3], dtype=np.int32).tobytes()  # of the first column, whose first entry is 0
    assert content.count(rows) > 0
    path.write_bytes(content.replace(rows, np.array([1, 2, 10**6], dtype=np.int32).tobytes(), 1))
    with pytest.raises(ValueError, match="cannot be read as mat"):
        read_file(str(path))


def test_files_that_end_their_process_are_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    content = mat(X=GRID.astype(np.float32), labels=SETS)
    path.write_bytes(content[:175] + b"|\xb4" + content[177:])  # at which scipy 1.17 reads what is not its own
    with pytest.raises(ValueError, match=r"a\.mat cannot be read as mat: it is damaged\. Mend it"):
        read_file(str(path))
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match="cannot be read as mat: [^:]*[. ]Mend it"):  # without the name of the error
        read_file(str(path))
    path.write_bytes(content)
    assert read_file(str(path))[0].shape == (4, 3)
    (tmp_path / "ends.py").write_text("import os\nos.abort()\n")
    monkeypatch.setattr(matlab, "__file__", str(tmp_path / "ends.py"))
    with pytest.raises(ValueError, match="it is damaged"):
        read_file(str(path))


def test_matrices_of_version_4_are_read(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"X": sparse.csc_array(GRID), "Y": SETS / 1.0}, format="4")
    X, Y, _ = read_file(str(path))
    np.testing.assert_array_equal(X, GRID)
    np.testing.assert_array_equal(Y, SETS)

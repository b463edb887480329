import bz2
import errno
import gzip
import io
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import zipfile
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pandas as pd
import pooch
import pytest
from scipy import sparse
from scipy.io import loadmat
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from skrelmetric.datasets import (
    DCSN_NAMES,
    EML_NAMES,
    LDL_NAMES,
    MULAN_NAMES,
    MULTI_TARGET_NAMES,
    _cache,
    fetch_dcsn,
    fetch_eml,
    fetch_flowers102,
    fetch_imdb,
    fetch_ldl,
    fetch_mulan,
    fetch_multi_target,
    fetch_omniglot,
    fetch_usps,
    load_emotions,
    load_yeast,
    make_label_distributions,
)
from tests.ranks import started


@pytest.mark.parametrize(
    ("load", "sizes", "n_features", "n_labels", "cardinality"),
    [(load_yeast, (1500, 917), 103, 14, 4.237), (load_emotions, (391, 202), 72, 6, 1.868)],
)
def test_bundled_data(load, sizes, n_features, n_labels, cardinality):
    data = load()
    assert data.data.shape == (sum(sizes), n_features)
    assert data.target.shape == (sum(sizes), n_labels)
    assert len(data.feature_names) == n_features
    assert len(data.target_names) == n_labels
    assert set(np.unique(data.target)) == {0, 1}
    assert data.target.sum(1).mean() == pytest.approx(cardinality, abs=1e-3)
    assert data.DESCR.strip()
    parts = [load(subset=subset, return_X_y=True) for subset in ("train", "test")]
    assert [len(X) for X, _ in parts] == list(sizes)
    np.testing.assert_array_equal(np.vstack([X for X, _ in parts]), data.data)
    np.testing.assert_array_equal(np.vstack([Y for _, Y in parts]), data.target)
    with pytest.raises(ValueError, match="subset='valid' is not known"):
        load(subset="valid")


def test_data_frames():
    data = load_emotions(as_frame=True)
    assert isinstance(data.data, pd.DataFrame)
    assert list(data.target.columns) == data.target_names
    assert list(data.frame.columns) == data.feature_names + data.target_names
    X, Y = load_emotions(as_frame=True, return_X_y=True)
    pd.testing.assert_frame_equal(X, data.data)
    pd.testing.assert_frame_equal(Y, data.target)


def test_data_frames_need_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="as_frame=True needs pandas: pip install pandas"):
        load_emotions(as_frame=True)
    assert load_emotions(return_X_y=True)[0].shape == (593, 72)


@pytest.mark.parametrize("load", [load_yeast, load_emotions])
def test_bundled_data_is_the_fetched(load, data_home):
    for subset in ("train", "test", "all"):
        bundled = load(subset=subset)
        fetched = fetch_mulan(load.__name__.removeprefix("load_"), subset, data_home=data_home)
        np.testing.assert_array_equal(bundled.data, fetched.data)
        np.testing.assert_array_equal(bundled.target, fetched.target)
        assert bundled.target_names == fetched.target_names


# Train, test, features, labels: from the descriptions.
SHAPES = {
    "emotions": (391, 202, 72, 6),
    "flags": (129, 65, 19, 7),
    "yeast": (1500, 917, 103, 14),
    "scene": (1211, 1196, 294, 6),
    "enron": (1123, 579, 1001, 53),
    "medical": (333, 645, 1449, 45),
    "Corel5k": (4500, 500, 499, 374),
    "bibtex": (4880, 2515, 1836, 159),
    "tmc2007-500": (21519, 7077, 500, 22),
}


@pytest.mark.parametrize("name", MULAN_NAMES)
def test_fetch_mulan(name, data_home):
    n_train, n_test, n_features, n_labels = SHAPES[name]
    data = fetch_mulan(name, "test", data_home=data_home, download_if_missing=False)
    assert data.data.shape == (n_test, n_features)
    assert data.target.shape == (n_test, n_labels)
    assert set(np.unique(data.target)) <= {0, 1}
    assert np.isfinite(data.data).all()
    assert len(data.feature_names) == n_features
    assert len(data.target_names) == n_labels
    if n_train < 5000:
        X, Y = fetch_mulan(name, "train", data_home=data_home, return_X_y=True)
        assert (len(X), len(Y)) == (n_train, n_train)


def test_nominal_features_are_their_codes(data_home):
    flags = fetch_mulan("flags", data_home=data_home)
    landmass = flags.data[:, flags.feature_names.index("landmass")]
    assert set(np.unique(landmass)) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("name", LDL_NAMES)
def test_fetch_ldl(name, data_home):
    data = fetch_ldl(name, data_home=data_home, download_if_missing=False)
    assert data.data.dtype == data.target.dtype == np.float64
    np.testing.assert_allclose(data.target.sum(1), 1, atol=1e-6)
    assert data.target.min() >= 0
    assert len(data.data) == len(data.target)


def test_persons_on_photographs(data_home):
    faces = fetch_ldl("SBU_3DFE", data_home=data_home)
    np.testing.assert_array_equal(faces.groups, np.repeat(np.arange(100), 25))
    aged = fetch_ldl("FG-Net", data_home=data_home)
    content = loadmat(data_home / "ldl/FG-Net.mat")
    ages = content["age"].ravel().astype(int)
    assert aged.groups.shape == (1002,)
    assert len(np.unique(aged.groups)) == 82, "as many as its authors count"
    for person in range(82):
        ascending = ages[aged.groups == person]
        assert 6 <= len(ascending) <= 18
        assert (np.diff(ascending) >= 0).all()
    assert (np.diff(ages)[np.diff(aged.groups) == 1] < 0).all()
    for data in (faces, aged):
        features = StandardScaler().fit_transform(data.data)
        nearest = NearestNeighbors(n_neighbors=1).fit(features).kneighbors(return_distance=False).ravel()
        shares = [
            (np.roll(data.groups, shift)[nearest] == np.roll(data.groups, shift)).mean() for shift in (-5, -2, 0, 2, 5)
        ]
        assert np.argmax(shares) == 2, "groups in any other place hold fewer of the neighbours"
        assert shares[2] > 0.39
    assert "groups" not in fetch_ldl("Painting", data_home=data_home)
    assert len(fetch_ldl("FG-Net", data_home=data_home, return_X_y=True)) == 2


def test_cut_distributions_are_divided_by_their_sums(data_home):
    raw = loadmat(data_home / "ldl/FG-Net.mat")["labels"]
    assert raw.sum(1).min() < 0.57
    D = fetch_ldl("FG-Net", data_home=data_home).target
    np.testing.assert_allclose(D, raw / raw.sum(1)[:, None], rtol=1e-15)
    np.testing.assert_array_equal(
        fetch_ldl("Painting", data_home=data_home).target, loadmat(data_home / "ldl/Painting.mat")["labels"]
    )


# Samples, features, labels, labels a sample: from the descriptions.
WITHOUT_SPLIT = {
    (fetch_eml, "CHD_49"): (555, 49, 6, 2.58),
    (fetch_eml, "Water_quality"): (1060, 16, 14, 5.073),
    (fetch_eml, "Langlog"): (1460, 1004, 75, 1.18),
    (fetch_dcsn, "plant978"): (978, 440, 12, 1.079),
    (fetch_dcsn, "Arts1500"): (7484, 500, 26, 1.654),
    (fetch_dcsn, "Business1500"): (11214, 500, 30, 1.599),
}


@pytest.mark.parametrize(("fetch", "name"), WITHOUT_SPLIT)
def test_label_sets_without_a_split(fetch, name, data_home):
    n_samples, n_features, n_labels, cardinality = WITHOUT_SPLIT[fetch, name]
    data = fetch(name, data_home=data_home, download_if_missing=False)
    assert (data.data.shape, data.data.dtype) == ((n_samples, n_features), np.float64)
    assert (data.target.shape, data.target.dtype) == ((n_samples, n_labels), np.int64)
    assert set(np.unique(data.target)) == {0, 1}
    assert np.isfinite(data.data).all()
    assert data.target.sum(1).mean() == pytest.approx(cardinality, abs=1e-3)
    assert len(set(data.feature_names)) == n_features
    assert len(set(data.target_names)) == n_labels
    assert f"{n_samples}" in data.DESCR
    frames = fetch(name, data_home=data_home, as_frame=True, return_X_y=True)
    for frame, values in zip(frames, (data.data, data.target), strict=True):
        np.testing.assert_array_equal(frame.to_numpy(), values)


def test_every_name_is_tested():
    assert {name for _, name in WITHOUT_SPLIT} == {*EML_NAMES, *DCSN_NAMES}
    assert tuple(MULTI_TARGETS) == MULTI_TARGET_NAMES


def test_values_of_label_sets_are_those_of_the_files(data_home):
    dense = fetch_eml("Water_quality", data_home=data_home)
    row = (data_home / "eml/Water_quality.arff").read_text().splitlines()[34 + 2].split(",")
    np.testing.assert_array_equal(dense.data[2], np.array(row[:16], dtype=float))
    np.testing.assert_array_equal(dense.target[2], np.array(row[16:], dtype=int))
    assert dense.target_names[:2] == ["25400", "29600"]
    for data, text, n_columns in (
        (fetch_eml("Langlog", data_home=data_home), (data_home / "eml/Langlog.arff").read_text(), 1079),
        (
            fetch_dcsn("Arts1500", data_home=data_home),
            gzip.decompress((data_home / "dcsn/Arts1500.orig.arff.gz").read_bytes()).decode(),
            526,
        ),
    ):
        names = re.findall(r"(?im)^@attribute (\S+)", text)
        assert len(names) == n_columns
        rows = text.split("@data")[1].strip().splitlines()
        for place in (0, 7, len(rows) - 1):
            expected = dict.fromkeys(names, 0.0)
            for entry in rows[place].strip("{} ").split(","):
                column, value = entry.split()
                expected[names[int(column)]] = float(value)
            found = dict(zip(data.feature_names, data.data[place], strict=True))
            assert found | dict(zip(data.target_names, data.target[place], strict=True)) == expected
    assert fetch_eml("Langlog", data_home=data_home).target_names[0] == "Errors", "labels lead in the file"


MULTI_TARGETS = {
    "andro": (49, 30, 6),
    "atp1d": (337, 411, 6),
    "enb": (768, 8, 2),
    "jura": (359, 15, 3),
    "oes97": (334, 263, 16),
    "sf2": (1066, 33, 3),
}


@pytest.mark.parametrize("name", MULTI_TARGETS)
def test_fetch_multi_target(name, data_home):
    n_samples, n_features, n_targets = MULTI_TARGETS[name]
    data = fetch_multi_target(name, data_home=data_home, download_if_missing=False)
    assert data.data.shape == (n_samples, n_features)
    assert data.target.shape == (n_samples, n_targets)
    assert data.data.dtype == data.target.dtype == np.float64
    assert np.isfinite(data.data).all()
    assert np.isfinite(data.target).all()
    assert len(set(data.feature_names + data.target_names)) == n_features + n_targets
    assert not re.search(r"[\s'\"]", "".join(data.feature_names))
    if name != "sf2":
        lines = re.split("(?i)@data", (data_home / f"multi-target/{name}.arff").read_text())[1].strip().splitlines()
        raw = np.loadtxt(lines, delimiter=",")
        np.testing.assert_array_equal(np.hstack([data.data, data.target]), raw)


def test_nominal_features_are_a_column_for_each_value(data_home):
    flares = fetch_multi_target("sf2", data_home=data_home)
    assert flares.feature_names[:8] == [*(f"mod_zurich_class={c}" for c in "ABCDEFH"), "largest_spot_size=X"]
    assert flares.target_names == ["c-class", "m-class", "x-class"]
    assert set(np.unique(flares.data)) == {0, 1}
    np.testing.assert_array_equal(flares.data.sum(1), 10)
    region = dict(zip(flares.feature_names, flares.data[23], strict=True))
    assert (data_home / "multi-target/sf2.arff").read_text().splitlines()[17 + 23] == (
        "C, R, O, 1, 3, 1, 1, 2, 1, 1, 5, 0, 0"
    )
    assert [name for name, value in region.items() if value][:4] == [
        "mod_zurich_class=C",
        "largest_spot_size=R",
        "spot_distribution=O",
        "activity=1",
    ]
    assert flares.target[23].tolist() == [5, 0, 0]


def test_unknown_names():
    for fetch in (fetch_eml, fetch_dcsn, fetch_multi_target):
        with pytest.raises(ValueError, match=r"name='flags' is not known. Choose one of \['"):
            fetch("flags")
    with pytest.raises(ValueError, match="name='iris' is not known"):
        fetch_mulan("iris")
    with pytest.raises(ValueError, match="name='wq' is not known"):
        fetch_ldl("wq")
    with pytest.raises(ValueError, match="subset='valid' is not known"):
        fetch_mulan("flags", "valid")


@pytest.fixture
def server(tmp_path):
    """Files at a local address that stands for the public one."""
    folder = tmp_path / "public"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *args: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def registered(server, tmp_path, monkeypatch):
    """A registry of one file, the file, and an empty cache."""
    folder, address = server
    file = folder / "a.txt"
    file.write_text("content")
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    (package / "data/registry.txt").write_text(f"some/a.txt {pooch.file_hash(str(file))} {address}/a.txt\n")
    monkeypatch.setattr(_cache, "PACKAGED", package)
    pooch.get_logger().setLevel("ERROR")
    return file, tmp_path / "cache"


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_download_verify_and_reuse(registered):
    file, cache = registered
    path = _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    assert path == cache / "some/a.txt"
    assert path.read_text() == "content"
    file.unlink()  # the second time nothing is asked of the server
    assert _cache.fetch_file("some/a.txt", cache, download_if_missing=True) == path
    assert _cache.fetch_file("some/a.txt", str(cache), download_if_missing=False) == path


def test_wrong_digest_is_refused_and_leaves_nothing(registered):
    file, cache = registered
    file.write_text("tampered")
    with pytest.raises(ValueError, match="a.txt has the SHA-256 digest .* save the registered file as"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    assert files_in(cache) == []


def test_damaged_file_is_said_or_replaced(registered):
    _, cache = registered
    path = _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    path.write_text("damaged")
    with pytest.raises(OSError, match="is damaged and download_if_missing=False"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=False)
    assert _cache.fetch_file("some/a.txt", cache, download_if_missing=True).read_text() == "content"


def test_missing_file_and_missing_network_are_said(registered):
    file, cache = registered
    with pytest.raises(OSError, match="is not in the cache and download_if_missing=False"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=False)
    file.unlink()
    with pytest.raises(OSError, match=r"could not be downloaded .* save the file as .* or point data_home or SKREL"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    assert files_in(cache) == []


def test_no_network_is_one_error(registered):
    file, cache = registered
    package = _cache.PACKAGED / "data/registry.txt"
    package.write_text(f"some/a.txt {pooch.file_hash(str(file))} http://127.0.0.1:9/a.txt\n")
    with pytest.raises(OSError, match=r"9/a\.txt could not be downloaded \(.*refused.* Check the connection") as caught:
        _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    assert "Max retries" not in str(caught.value)
    assert files_in(cache) == []


def test_downloads_are_bounded(registered, monkeypatch):
    file, cache = registered
    monkeypatch.setattr(_cache, "_MOST_BYTES", 1000)
    file.write_bytes(bytes(10**6))
    with pytest.raises(ValueError, match=r"a\.txt is larger than 1,000 bytes"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    file.write_text("content")
    monkeypatch.setattr(_cache, "_MOST_SECONDS", 0)
    with pytest.raises(OSError, match=r"could not be downloaded \(7 bytes in 0 seconds\)\. Check the connection"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    assert files_in(cache) == []


def test_a_server_that_drips_is_left(tmp_path, monkeypatch):
    class Dripping(SimpleHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b"x")
                    sleep(0.005)

        def log_message(self, *args):
            pass

    monkeypatch.setattr(_cache, "_MOST_SECONDS", 0.1)
    (tmp_path / "data").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        (tmp_path / "data/registry.txt").write_text(f"a.txt {'0' * 64} http://127.0.0.1:{http.server_port}/a.txt\n")
        monkeypatch.setattr(_cache, "PACKAGED", tmp_path)
        start = monotonic()
        with pytest.raises(OSError, match=r"bytes in 0\.1 seconds"):
            _cache.fetch_file("a.txt", tmp_path / "cache", download_if_missing=True)
        assert monotonic() - start < 3
        http.shutdown()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("stage", ["mkstemp", "fsync"])
def test_a_cache_that_cannot_be_written_is_said(registered, monkeypatch, stage, code):
    _, cache = registered

    def fail(*args):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as full:
        full.setattr(tempfile if stage == "mkstemp" else os, stage, fail)
        with pytest.raises(OSError, match="some cannot be written to: .* Make room and make it writable") as caught:
            _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
        assert "connection" not in str(caught.value)
        assert files_in(cache) == []
    path = _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    with monkeypatch.context() as full:
        full.setattr(tempfile if stage == "mkstemp" else os, stage, fail)
        assert _cache.fetch_file("some/a.txt", cache, download_if_missing=True) == path, "what is there can be read"


def test_files_and_folders_in_the_way_are_said(registered, tmp_path):
    _, cache = registered
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/some cannot be written to"):
        _cache.fetch_file("some/a.txt", tmp_path / "file", download_if_missing=True)
    (cache / "some/a.txt").mkdir(parents=True)
    with pytest.raises(OSError, match=r"a\.txt cannot be read .*Make it readable, or point data_home"):
        _cache.fetch_file("some/a.txt", cache, download_if_missing=True)


@pytest.mark.parametrize("data_home", [3, True, b"folder", ["folder"], "", 0.5])
def test_what_is_no_path_is_refused(data_home):
    with pytest.raises(TypeError, match=f"data_home={re.escape(repr(data_home))} is no path. Pass a str"):
        fetch_mulan("flags", data_home=data_home, download_if_missing=False)


def test_a_tilde_is_the_home(registered, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert _cache.fetch_file("some/a.txt", "~/mine", download_if_missing=True) == tmp_path / "mine/some/a.txt"
    assert _cache.fetch_file("some/a.txt", Path("~/mine"), download_if_missing=False) == tmp_path / "mine/some/a.txt"


def killed_in_a_download(package, cache):
    _cache.PACKAGED = package
    os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    _cache.fetch_file("some/a.txt", cache, download_if_missing=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_a_killed_download_left_is_removed(registered):
    _, cache = registered
    process = started(killed_in_a_download, _cache.PACKAGED, cache)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(files_in(cache)) == 1
    path = _cache.fetch_file("some/a.txt", cache, download_if_missing=True)
    assert files_in(cache) == [path]


def test_environment_names_the_cache(registered, tmp_path, monkeypatch):
    _, cache = registered
    monkeypatch.setenv("SKRELMETRIC_DATA", str(tmp_path / "elsewhere"))
    assert _cache.fetch_file("some/a.txt", None, download_if_missing=True) == tmp_path / "elsewhere/some/a.txt"
    assert _cache.fetch_file("some/a.txt", cache, download_if_missing=True) == cache / "some/a.txt"


@pytest.mark.parametrize(("subset", "n_samples"), [("train", 2200), ("test", 2640)])
def test_fetch_omniglot(subset, n_samples, data_home):
    data = fetch_omniglot(subset=subset, data_home=data_home, download_if_missing=False)
    assert data.data.shape == (n_samples, 1, 28, 28)
    assert data.data.dtype == np.float32
    assert data.target.dtype == np.int64
    assert 0 <= data.data.min() < data.data.max() <= 1
    assert 0 < data.data.mean() < 0.2, "more paper than ink"
    np.testing.assert_array_equal(data.target, np.repeat(np.arange(n_samples // 20), 20))
    assert len(set(data.target_names)) == len(data.target_names) == n_samples // 20
    assert [data.target_names[code].split("/")[0] for code in data.target] == data.alphabet.tolist()


def test_omniglot_parts_are_disjoint_and_together_all(data_home):
    train, test, both = (fetch_omniglot(subset=s, size=5, data_home=data_home) for s in ("train", "test", "all"))
    assert not set(train.alphabet) & set(test.alphabet)
    assert both.target_names == train.target_names + test.target_names
    np.testing.assert_array_equal(both.data, np.concatenate([train.data, test.data]))
    np.testing.assert_array_equal(both.target, np.concatenate([train.target, test.target + 110]))


@pytest.mark.parametrize(("subset", "first", "n_classes"), [("train", 0, 51), ("test", 51, 51), ("all", 0, 102)])
def test_fetch_flowers102(subset, first, n_classes, data_home):
    data = fetch_flowers102(subset=subset, size=8, data_home=data_home, download_if_missing=False)
    assert data.data.shape == (20 * n_classes, 3, 8, 8)
    assert data.data.dtype == np.uint8
    assert data.target.dtype == np.int64
    np.testing.assert_array_equal(data.target, first + np.repeat(np.arange(n_classes), 20))
    assert data.part.tolist() == n_classes * (["train"] * 10 + ["validation"] * 10)
    assert len(np.unique(data.data.reshape(len(data.data), -1), axis=0)) == len(data.data)
    assert "102 kinds" in data.DESCR


def _length_delimited(number, content):
    """Field of a message of protocol buffers, of at most 127 bytes or, above, with two bytes of length."""
    n = len(content)
    return bytes([number << 3 | 2]) + (bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7])) + content


def _record(label, name, image):
    """TFRecord of an example as TensorFlow writes it, its checksums left out."""
    features = b""
    for key, kind, value in (
        (b"image/class/label", 3, bytes([label])),
        (b"image/encoded", 1, image),
        (b"image/filename", 1, name),
    ):
        feature = _length_delimited(kind, _length_delimited(1, value))
        features += _length_delimited(1, _length_delimited(1, key) + _length_delimited(2, feature))
    example = _length_delimited(1, features)
    return len(example).to_bytes(8, "little") + bytes(4) + example + bytes(4)


def test_flowers_are_in_order_of_class_part_and_name_and_in_colours(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")

    def photograph(colour):
        image.new("RGB", (4, 4), colour).save(encoded := io.BytesIO(), "png")
        return encoded.getvalue()

    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    files = dict.fromkeys(("train", "validation"), empty)
    for part, records in {
        "train": [(50, b"b.jpg", (255, 0, 0)), (50, b"a.jpg", (0, 255, 0)), (51, b"c.jpg", (9, 9, 9))],
        "validation": [(0, b"d.jpg", (0, 0, 255))],
    }.items():
        files[part] = tmp_path / part
        files[part].write_bytes(b"".join(_record(code, name, photograph(colour)) for code, name, colour in records))
    monkeypatch.setattr(
        "skrelmetric.datasets._flowers102.fetch_file",
        lambda name, *rest: files[name.split("_")[1]] if "00000-of" in name else empty,
    )
    data = fetch_flowers102(size=2)
    assert data.target.tolist() == [0, 50, 50]
    assert data.part.tolist() == ["validation", "train", "train"]
    assert data.data[:, :, 0, 0].tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 0]]
    X, y = fetch_flowers102(subset="test", size=1, return_X_y=True)
    assert X.tolist() == [[[[9]], [[9]], [[9]]]]
    assert y.tolist() == [51]


@pytest.fixture
def drawings(tmp_path, monkeypatch):
    """A cache with an archive of three drawings, in no order, and one of an alphabet that is not of the part."""
    image = pytest.importorskip("PIL.Image")
    archive = tmp_path / "small1.zip"
    with zipfile.ZipFile(archive, "w") as entries:
        for path, left in (
            ("Latin/character01/0001_01", 0),
            ("Greek/character02/0003_01", 84),
            ("Greek/character01/0002_02", 63),
            ("Balinese/character01/0009_01", 21),
        ):
            paper = image.new("1", (105, 105), 1)
            paper.paste(0, (left, 0, left + 21, 105))
            paper.save(encoded := io.BytesIO(), "png")
            entries.writestr(f"folder/{path}.png", encoded.getvalue())
    monkeypatch.setattr("skrelmetric.datasets._omniglot.fetch_file", lambda *args: archive)


@pytest.mark.usefixtures("drawings")
def test_omniglot_order_ink_and_areas():
    data = fetch_omniglot(size=5)
    assert data.target_names == ["Balinese/character01", "Greek/character01", "Greek/character02"]
    assert data.alphabet.tolist() == ["Balinese", "Greek", "Greek"]
    expected = np.zeros((3, 1, 5, 5))
    for i, column in enumerate((1, 3, 4)):
        expected[i, 0, :, column] = 1
    np.testing.assert_array_equal(data.data, expected)
    X, y = fetch_omniglot(size=1, return_X_y=True)
    np.testing.assert_allclose(X, np.full((3, 1, 1, 1), 0.2), atol=1 / 255)
    assert y.tolist() == [0, 1, 2]
    assert fetch_omniglot(size=105).data.sum() == 3 * 21 * 105


@pytest.mark.usefixtures("drawings")
def test_missing_pillow_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[images\]'"):
        fetch_omniglot()


def test_missing_pillow_is_said_of_flowers(monkeypatch, data_home):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[images\]'"):
        fetch_flowers102(data_home=data_home, download_if_missing=False)


@pytest.mark.parametrize("fetch", [fetch_omniglot, fetch_flowers102])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": "valid"}, "subset='valid' is not known"),
        *(({"size": size}, "must be a whole number from 1 to") for size in (0, 300, 2.5, True, "28")),
    ],
)
def test_wrong_options_of_images(fetch, options, message):
    with pytest.raises(ValueError, match=message):
        fetch(**options)


def test_sparse_and_dense_arff_are_read_alike(data_home, tmp_path):
    shutil.copytree(data_home / "mulan/medical", tmp_path / "mulan/medical")
    sparse_text = (tmp_path / "mulan/medical/medical-train.arff").read_text()
    rows = [line for line in sparse_text.split("@data")[1].strip().splitlines() if line.strip()]
    X, Y = fetch_mulan("medical", "train", data_home=tmp_path, return_X_y=True, download_if_missing=False)
    assert len(X) == len(rows)
    first = dict(entry.split() for entry in rows[0].strip("{} ").split(","))
    values = np.hstack([X[0], Y[0]])
    np.testing.assert_array_equal(np.flatnonzero(values), sorted(int(column) for column in first))


def test_generated_distributions_have_the_known_metric():
    X, D, M = make_label_distributions(
        50, n_features=6, n_labels=4, n_informative=3, return_metric=True, random_state=3
    )
    assert X.shape == (50, 6)
    assert D.shape == (50, 4)
    assert np.linalg.matrix_rank(M) == 3
    np.testing.assert_allclose(D.sum(1), 1)
    assert D.min() >= 0
    assert D.min() < 1e-12
    i, j = np.triu_indices(50, 1)
    difference = X[i] - X[j]
    expected = np.einsum("ij,jk,ik->i", difference, M, difference)
    np.testing.assert_allclose(np.square(D[i] - D[j]).sum(1), expected, atol=1e-12)


def test_generator_options():
    _, D = make_label_distributions(noise=0.5, random_state=0)
    np.testing.assert_allclose(D.sum(1), 1)
    np.testing.assert_array_equal(make_label_distributions(noise=0.5, random_state=0)[1], D)
    assert not np.array_equal(make_label_distributions(noise=0.5, random_state=1)[1], D)
    for options, message in (
        ({"n_samples": 0}, "must be at least 1, 1 and 2"),
        ({"n_labels": 1}, "must be at least 1, 1 and 2"),
        ({"n_informative": 5}, "n_informative=5 must be between 1 and"),
        ({"noise": 1.5}, "noise=1.5 must be a share"),
    ):
        with pytest.raises(ValueError, match=message):
            make_label_distributions(**options)


def test_usps(data_home, tmp_path):
    digits = fetch_usps(data_home=data_home)
    assert digits.data.shape == (2007, 256)
    assert digits.data.min() == -1
    assert digits.data.max() == 1
    assert np.bincount(digits.target).tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    one = digits.data[digits.target == 1].mean(0).reshape(16, 16)
    assert (one > 0).any(1).sum() > 2 * (one > 0).any(0).sum(), "a one is taller than wide"
    X, y = fetch_usps(data_home=data_home, return_X_y=True)
    np.testing.assert_array_equal(X, digits.data)
    np.testing.assert_array_equal(y, digits.target)
    with pytest.raises(OSError, match=r"usps\.mat is not in the cache"):
        fetch_usps(data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize(
    ("fetch", "name", "file"),
    [
        (fetch_eml, "CHD_49", "eml/CHD_49.arff"),
        (fetch_dcsn, "plant978", r"dcsn/plant978\.orig\.arff\.gz"),
        (fetch_multi_target, "enb", r"multi-target/enb\.arff"),
        (fetch_ldl, "FG-Net", r"ldl/FG-Net\.mat"),
    ],
)
def test_files_that_are_not_there_are_said(fetch, name, file, tmp_path):
    with pytest.raises(OSError, match=rf"{file} is not in the cache and .* https://raw\.githubusercontent\.com/"):
        fetch(name, data_home=tmp_path, download_if_missing=False)


def test_fetch_imdb(data_home, tmp_path):
    films = fetch_imdb(data_home=data_home, download_if_missing=False)
    assert sparse.issparse(films.data)
    assert (films.data.shape, films.data.nnz, films.data.dtype) == ((120919, 1001), 2343710, np.float64)
    assert films.data.sum() == films.data.nnz, "a word is there or not"
    assert (np.diff(films.data.indptr) == 0).sum() == 24
    assert films.target.shape == (120919, 28)
    assert set(np.unique(films.target)) == {0, 1}
    assert films.target.sum(1).min() == 1
    assert films.target.sum(1).mean() == pytest.approx(2.00, abs=5e-3)
    count = dict(zip(films.target_names, films.target.sum(0), strict=True))
    assert (count["Drama"], count["Talk-Show"]) == (43779, 290)
    assert len(set(films.feature_names)) == 1001
    sheriff = films.data[:, [films.feature_names.index("sheriff")]].toarray().ravel() == 1
    western = films.target[:, films.target_names.index("Western")]
    assert western[sheriff].mean() > 4 * western.mean(), "words and genres are of the same films"
    with pytest.raises(OSError, match=r"Imdb\.arff\.bz2 is not in the cache"):
        fetch_imdb(data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize("rows", [["{1 1,2 2.5}", "{0 1, 4 -3}", "{}", "{0 1,1 1,3 1e-3}"], ["{3 7}"], []])
def test_sparse_rows_behind_labels(rows, tmp_path, monkeypatch):
    path = tmp_path / "tiny.arff.bz2"
    names = ["Film-Noir", "War", "war", "1984", "-"]
    kinds = ["{0,1}", "{0,1}", "numeric", "numeric", "numeric"]
    attributes = [f"@attribute {name} {kind}" for name, kind in zip(names, kinds, strict=True)]
    content = "\n".join(["@relation 'tiny: -C 2'", "", *attributes, "", "@data", "", *rows, ""])
    path.write_bytes(bz2.compress(content.encode()))
    monkeypatch.setattr("skrelmetric.datasets._imdb.fetch_file", lambda *args: path)
    expected = np.zeros((len(rows), 5))
    for row, entries in zip(expected, rows, strict=True):
        for column, value in (entry.split() for entry in entries.strip("{}").split(",") if entry):
            row[int(column)] = float(value)
    data = fetch_imdb()
    np.testing.assert_array_equal(data.data.toarray(), expected[:, 2:])
    np.testing.assert_array_equal(data.target, expected[:, :2])
    assert (data.data.dtype, data.target.dtype) == (np.float64, np.int64)
    assert (data.target_names, data.feature_names) == (names[:2], names[2:])
    X, Y = fetch_imdb(return_X_y=True)
    np.testing.assert_array_equal(X.toarray(), data.data.toarray())
    np.testing.assert_array_equal(Y, data.target)

"""Kinds of samples and targets that every estimator takes alike, or refuses alike."""

import datetime
import re
from collections import deque
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from skrelmetric import (
    AAKNN,
    DRMLTransformer,
    HRAMLTransformer,
    MLkNN,
    MultilabelThresholdClassifier,
    MultilabelVotingClassifier,
    MultioutputVotingRegressor,
    RAMLLinear,
    RelationalNeighborsClassifier,
    RelationalNeighborsRegressor,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
)
from skrelmetric._interop.given import is_data_set
from skrelmetric.chunks import Chunks

METRICS = {
    "RAML": RAMLLinear(),
    "HRAML": HRAMLTransformer(),
    "DRML": DRMLTransformer(16, max_epochs=1, early_stopping=False, random_state=0),
}
CLASSIFIERS = {
    "MLkNN": MLkNN(3),
    "soft": SoftNeighborsClassifier(),
    "relational": RelationalNeighborsClassifier(cv=None),
    "vote": MultilabelVotingClassifier([("a", MLkNN(3)), ("b", SoftNeighborsClassifier())]),
    "thresholds": MultilabelThresholdClassifier(MLkNN(3), cv=2),
}
REGRESSORS = {
    "AAKNN": AAKNN(3),
    "soft numbers": SoftNeighborsRegressor(),
    "relational numbers": RelationalNeighborsRegressor(cv=None),
    "vote on numbers": MultioutputVotingRegressor([("a", AAKNN(3))]),
}
ALL = {**METRICS, **CLASSIFIERS, **REGRESSORS}

rng = np.random.default_rng(0)
X = rng.standard_normal((30, 4))
SETS = (X[:, :3] > 0).astype(int)
SETS[SETS.sum(1) == 0, 0] = 1
GAPS = np.eye(30, 3, dtype=bool)
NAMES = np.where(SETS[:, 0] == 1, "a", "b")
DAYS = np.datetime64("2020-01-01") + np.arange(30)


def refuses(estimators, X, y, message, error=ValueError):
    for name, estimator in estimators.items():
        with pytest.raises(error, match=message):
            print(name, clone(estimator).fit(X, y))


def answers(estimator, X, y):
    fitted = clone(estimator).fit(X, y)
    return fitted.transform(X) if hasattr(fitted, "transform") else fitted.predict(X)


def with_gap(y, gap):
    y = np.array(y, dtype=object)
    y[(0,) * y.ndim] = gap
    return y


MISSING = {  # label sets of which the same are missing
    "NaN": np.where(GAPS, np.nan, SETS),
    "None": np.where(GAPS, None, SETS),
    "lists": np.where(GAPS, None, SETS).tolist(),
    "NA": np.where(GAPS, pd.NA, SETS),
    "Int64": pd.DataFrame(SETS).astype("Int64").mask(pd.DataFrame(GAPS)),
    "boolean": pd.DataFrame(SETS > 0).astype("boolean").mask(pd.DataFrame(GAPS)),
    "Float64": pd.DataFrame(SETS).astype("Float64").mask(pd.DataFrame(GAPS)),
    "polars": pl.DataFrame(np.where(GAPS, None, SETS > 0).tolist(), schema=list("abc"), orient="row"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_labels_are_nan_whatever_they_are_called(kind):
    for estimator in METRICS.values():
        np.testing.assert_array_equal(answers(estimator, X, MISSING[kind]), answers(estimator, X, MISSING["NaN"]))
    refuses(CLASSIFIERS | REGRESSORS, X, MISSING[kind], "Input y contains NaN")


@pytest.mark.parametrize(
    "y",
    [
        with_gap(NAMES, None),
        with_gap(NAMES, pd.NA),
        with_gap(NAMES, np.nan),
        [None, *NAMES[1:].tolist()],
        pd.Series(with_gap(NAMES, None)).astype("string"),
        pd.Series(with_gap(NAMES, None), dtype="category"),
        pl.Series([None, *NAMES[1:].tolist()]),
    ],
    ids=["None", "NA", "NaN", "list", "string", "category", "polars"],
)
def test_missing_names_are_refused(y):
    refuses(CLASSIFIERS | REGRESSORS, X, y, "names of classes, but also missing ones.*Leave samples without a name out")
    refuses(METRICS, X, y, "neither numbers nor classes.*Pass classes as strings, without samples of unknown class")


NAMED = {
    "list": NAMES.tolist(),
    "objects": NAMES.astype(object),
    "string": pd.Series(NAMES).astype("string"),
    "category": pd.Series(NAMES, dtype="category"),
    "polars": pl.Series(NAMES.tolist(), dtype=pl.Categorical),
}


@pytest.mark.parametrize("kind", NAMED)
def test_names_of_classes_are_the_same_in_any_column(kind):
    for estimator in (METRICS | CLASSIFIERS).values():
        np.testing.assert_array_equal(answers(estimator, X, NAMED[kind]), answers(estimator, X, NAMES))
    refuses(REGRESSORS, X, NAMED[kind], "y holds '[ab]', but numbers are needed")


INDICATORS = {
    "boolean": pd.DataFrame(SETS > 0).astype("boolean"),
    "mixed": pd.DataFrame({"a": SETS[:, 0] > 0, "b": SETS[:, 1].astype(float), "c": SETS[:, 2]}),
    "category": pd.DataFrame(SETS).astype("category"),
    "polars": pl.DataFrame(SETS, schema=list("abc")),
    "arrow": pl.DataFrame(SETS, schema=list("abc")).to_arrow(),
    "float16": SETS.astype(np.float16),
    "unmasked": np.ma.array(SETS),
    **{kind: getattr(sparse, f"{kind}_array")(SETS) for kind in ("coo", "csc", "dia", "dok", "lil")},
    "bsr": sparse.bsr_matrix(SETS.astype(bool)),
}


@pytest.mark.filterwarnings("ignore:y holds label sets, 0 and 1 in rows that do not sum to 1:UserWarning")
@pytest.mark.parametrize("kind", INDICATORS)
def test_label_sets_are_the_same_in_any_format(kind):
    for estimator in ALL.values():
        some, expected = (answers(estimator, X, y) for y in (INDICATORS[kind], SETS))
        some = some.toarray() if sparse.issparse(some) else some
        np.testing.assert_allclose(some, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", ["TRUE", "1", -1])
def test_label_sets_of_other_values_than_0_and_1_are_refused(value):
    y = np.where(SETS == 1, value, {"TRUE": "FALSE", "1": "0", -1: 1}[value])
    refuses(
        CLASSIFIERS, X, y, f"0 and 1, but it holds {value!r}. Write 1 for a label .*, 0 for .*, and NaN for an unkn"
    )
    if isinstance(value, str):
        refuses(REGRESSORS, X, y, r"y holds '.*', but numbers are needed. Pass y.astype\(float\)")


@pytest.mark.parametrize("kind", ["some unknown", "negative"])
def test_metrics_warn_of_signs_in_place_of_labels(kind):
    y = np.where(GAPS, -1, SETS) if kind == "some unknown" else 2 * SETS - 1
    with pytest.warns(UserWarning, match="from -1 to 1 in several columns.*Write 0 for a label .* NaN for an unkn"):
        RAMLLinear().fit(X, y)
    RAMLLinear(relation="discrete").fit(X, y)
    RAMLLinear().fit(X, y[:, 0])  # one column may well hold three classes
    SoftNeighborsRegressor().fit(X, y)  # and several numbers


def test_a_single_column_of_signs_holds_classes():
    for estimator in CLASSIFIERS.values():
        assert np.asarray(clone(estimator).fit(X, 2 * SETS[:, 0] - 1).classes_).tolist() == [-1, 1]


RECORDS = np.array([tuple(row) for row in X], dtype=[(name, float) for name in "abcd"])
MASKED = np.ma.array(X, mask=X > 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (DAYS, r"datetime64\[D\], but numbers are needed. Say which"),
        (DAYS - DAYS[0], r"timedelta64\[D\], but numbers"),
        (pd.DataFrame({"a": X[:, 0], "day": pd.to_datetime(DAYS)}), r"datetime64.*in column 'day'.*\['day'\] - start"),
        (pl.DataFrame({"a": X[:, 0], "day": DAYS}), "Date in column 'day', but numbers"),
        (RECORDS, "records of the fields .'a', 'b', 'c', 'd'.*structured_to_unstructured"),
        (MASKED, r"masked entries.*filled\(numpy.nan\)"),
        (X + 1j, "Complex data not supported|it holds .*j"),
    ],
    ids=["days", "spans", "frame", "polars", "records", "mask", "complex"],
)
def test_what_is_no_number_is_refused(array, message):
    refuses(ALL, array if len(array.shape) == 2 else array[:, None], SETS, message)
    refuses(ALL, X, array, message)
    for estimator in (METRICS | CLASSIFIERS).values():
        method = "transform" if hasattr(estimator, "transform") else "predict"
        with pytest.raises(ValueError, match=message):
            getattr(clone(estimator).fit(X, SETS), method)(array)


def test_names_beside_fractions_are_refused():
    y = pd.DataFrame({"class": NAMES, "size": X[:, 0]})
    refuses(ALL, X, y, "names of classes, but also numbers such as")


def test_samples_with_gaps_are_refused():
    for gap in (None, pd.NA, np.nan):
        refuses(ALL, with_gap(X, gap), SETS, "X contains NaN|X holds pandas.NA")
    refuses(ALL, pd.DataFrame(X).astype("Float64").mask(pd.DataFrame(X > 2)), SETS, "X contains NaN")
    refuses(ALL, pl.DataFrame({"a": [None, *X[1:, 0]]}), SETS, "X contains NaN")


def test_strings_of_numbers_are_numbers():
    for estimator in (METRICS | CLASSIFIERS).values():
        np.testing.assert_array_equal(answers(estimator, X.astype(str), SETS), answers(estimator, X, SETS))
    refuses(ALL, np.full((30, 2), "a"), SETS, "could not convert string to float")


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"size": X[:, 0].astype(str), "genre": NAMES, "mood": NAMES}),
        pd.DataFrame({"size": X[:, 0], "genre": pd.Categorical(NAMES), "mood": NAMES}),
        pl.DataFrame({"size": X[:, 0], "genre": NAMES.tolist(), "mood": NAMES.tolist()}),
    ],
    ids=["strings", "category", "polars"],
)
def test_columns_of_names_are_told(frame):
    refuses(ALL, frame, SETS, "X holds strings in columns 'genre', 'mood', but numbers are needed.*OneHotEncoder")
    refuses(ALL, frame[["genre"]].to_numpy(), SETS, "X holds strings in column 0, but")


@pytest.mark.parametrize("kind", [pd.Series, pl.Series, lambda lists: pd.DataFrame({"y": lists})])
def test_columns_of_lists_are_shown_the_way_to_an_indicator(kind):
    for lists in ([["rock", "calm"]] * 30, [["rock"], ["calm", "rock"]] * 15):
        refuses(ALL, X, kind(lists), "list or a set of labels for each sample.*MultiLabelBinarizer")
    refuses(ALL, X, [{"rock"}, {"calm"}] * 15, "list or a set of labels for each sample.*MultiLabelBinarizer")


@pytest.mark.parametrize("separator", [";", ", ", "|"])
@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pd.Categorical])
def test_label_sets_in_strings_are_told(kind, separator):
    sets = [("rock",), ("calm",), ("rock", "calm"), ("rock", "loud"), ("calm", "loud")] * 6
    y = kind([separator.join(names) for names in sets])
    for name in ("RAML", "HRAML", "soft", "relational"):
        with pytest.warns(UserWarning, match=f"5 classes.*get_dummies.'{re.escape(separator)}'.") as caught:
            clone(ALL[name]).fit(X, y)
        assert caught[0].filename == __file__


def test_names_of_classes_with_a_separator_are_classes():
    people = ["Smith, Anna", "Smith, Bert", "Jones, Carl"] * 10
    pairs = [f"{color}, {size}" for color in ("red", "green", "blue") for size in ("large", "small")] * 5
    for y in (people, pairs):
        for name in ("RAML", "soft", "relational"):
            clone(ALL[name]).fit(X, np.array(y))  # warnings are errors


def batches():
    yield X, SETS


SET = TensorDataset(torch.from_numpy(X), torch.from_numpy(SETS))
STREAMS = {
    "loader": DataLoader(SET, batch_size=10),
    "data set": SET,
    "generator": batches(),
    "zip": zip(X, SETS, strict=True),
    "dict": {"X": X},
    "lazy": pl.DataFrame(X).lazy(),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_are_shown_the_way_to_chunks(kind):
    message = rf"X is a {type(STREAMS[kind]).__name__}, but an array.*DRML.*fit\(skrelmetric.chunks.Chunks\(source\)\)"
    takers = {"HRAML", "DRML"} if kind in ("loader", "data set") else set()
    for estimators, y in ((ALL, SETS), (METRICS, None)):
        refuses({name: estimators[name] for name in estimators.keys() - takers}, STREAMS[kind], y, message, TypeError)


@pytest.mark.parametrize("items", [[*zip(X, range(len(X)), strict=True)], ((torch.ones(2), torch.tensor(0)),)])
def test_lists_of_samples_with_their_targets_are_told_from_samples(items):
    refuses(METRICS, items, None, rf"X is a {type(items).__name__} of items \(x, y\)", ValueError)


class Stream(IterableDataset):
    __iter__ = None


class Indexed:
    def __len__(self):
        return 3

    def __getitem__(self, place):
        return X[place]


@pytest.mark.parametrize("samples", [SET, STREAMS["loader"], Indexed(), Subset(SET, [1]), Stream()])
def test_data_sets_are_told_from_arrays(samples):
    assert is_data_set(samples)


ARRAYS = [X, X.tolist(), tuple(X), deque(X), range(3), "ab", b"ab", {0: X}, torch.from_numpy(X), sparse.csr_array(X)]


@pytest.mark.parametrize("samples", [*ARRAYS, pl.DataFrame(X), None, 1, iter(X), Chunks([(X, SETS)]), list])
def test_arrays_and_all_else_are_no_data_sets(samples):
    assert not is_data_set(samples)


@pytest.mark.parametrize("path", ["samples.npy", Path("samples.npy")])
def test_files_are_to_be_loaded(path):
    refuses(ALL, path, SETS, "X is 'samples.npy', but what it holds is needed. Load it", TypeError)
    refuses(ALL, X, path, "y is 'samples.npy', but what it holds is needed", TypeError)


def test_pairs_are_told_from_samples():
    pairs, similar = np.stack([X, X[::-1]], 1), 2 * SETS[:, 0] - 1
    refuses(
        METRICS,
        pairs,
        similar,
        r"pairs of samples, shape \(30, 2, 4\).*relation=skrelmetric.relations.GivenPairs.*`pair_distance` takes pairs",
    )
    refuses(CLASSIFIERS | REGRESSORS, pairs, similar, "dim 3")
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
    HRAMLTransformer(encoder=module, max_epochs=1, random_state=0).fit(pairs, similar)  # whose samples these may be


def test_sparse_targets_of_one_dimension():
    refuses(ALL, X, sparse.coo_array(SETS[:, 0]), r"sparse of shape \(30,\).*Pass y.toarray\(\)")


def test_sequences_are_arrays():
    for y in (deque(SETS[:, 0].tolist()), range(30), [datetime.date(2020, 1, 1).toordinal() + i for i in range(30)]):
        RAMLLinear().fit(deque(X.tolist()), y)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
@pytest.mark.parametrize("estimator", [RAMLLinear(), MLkNN(2), HRAMLTransformer(), SoftNeighborsClassifier()])
def test_tensors_that_are_no_dense_numbers_are_refused(estimator):
    X, y = torch.rand(9, 3, dtype=torch.float64), torch.arange(9)[:, None] % torch.tensor([2, 3]) % 2
    with config_context(array_api_dispatch=True):
        for unfit in (X.to_sparse(), X.to_sparse_csr()):
            with pytest.raises(ValueError, match=r"X is a tensor of layout .*to_dense"):
                estimator.fit(unfit, y)
        with pytest.raises(ValueError, match="Complex data not supported"):
            estimator.fit(torch.complex(X, X), y)
        with pytest.raises(ValueError, match=r"y is a tensor of layout .*to_dense"):
            estimator.fit(X, y.to_sparse())


def test_weights_are_looked_at_as_samples_are():
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6) % 2
    for weights, message in [
        (np.ma.masked_array(np.ones(6), mask=np.arange(6) < 2), "sample_weight has masked entries"),
        (np.ones(6).astype("datetime64[s]"), "sample_weight holds datetime64"),
        (torch.ones(6).to_sparse(), "sample_weight is a tensor of layout"),
    ]:
        with pytest.raises(ValueError, match=message):
            RAMLLinear().fit(X, y, weights)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_files_and_pictures_are_refused(name, kind):
    Image = pytest.importorskip("PIL.Image")
    for entry in (Path("a.png"), Image.new("RGB", (4, 4))):
        with pytest.raises(TypeError, match=rf"X is a {kind.__name__} of {type(entry).__name__}, but numbers"):
            clone(METRICS[name]).fit(kind([entry, entry]), [0, 1])


def test_advice_on_pictures_is_code(tmp_path):
    numpy, PIL = np, pytest.importorskip("PIL")
    Image = pytest.importorskip("PIL.Image")
    grey = Image.new("L", (4, 3), 7)
    grey.save(tmp_path / "a.png")
    for X in ([grey, grey], [tmp_path / "a.png"]):
        with pytest.raises(TypeError) as error:
            RAMLLinear().fit(X, [0, 1])
        (code,) = re.findall(r"an array: (.*), where all have one size", str(error.value))
        images = eval(code, {"numpy": numpy, "PIL": PIL, "X": X})
        assert images.shape == (len(X), 3, 3, 4)
        assert (images == 7).all()


def test_pairs_and_more_of_samples_are_refused(rng):
    with pytest.raises(ValueError, match=r"X holds pairs of samples, shape \(9, 2, 4\)"):
        RAMLLinear().fit(rng.random((9, 2, 4)), np.arange(9) % 2)
    for n in (3, 4):
        with pytest.raises(ValueError, match=rf"X has shape \(9, {n}, 4\), but .* triplets and quadruplets"):
            RAMLLinear().fit(rng.random((9, n, 4)), np.arange(9) % 2)

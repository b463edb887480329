"""Samples that are loaded when they are needed give what the same samples in memory give."""

import multiprocessing
import os
import weakref

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from skrelmetric import DRMLTransformer, HRAMLTransformer
from skrelmetric._data.loaded import Loaded, loaded
from skrelmetric._drml.training import Training, Validation

N, SIDE = 40, 6
X = np.random.default_rng(0).standard_normal((N, 2, SIDE, SIDE)).astype(np.float32)
Y = np.arange(N) % 4
X[:, 0] += Y[:, None, None]
SETS = (X[:, 1, 0, :3] > 0).astype(int)


def trunk():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))


RELATIONAL = DRMLTransformer(4, trunk=trunk(), max_epochs=2, batch_size=12, random_state=0)
ALIGNED = HRAMLTransformer(encoder=trunk(), max_epochs=2, random_state=0)
OPTIONS = {
    "relational": RELATIONAL,
    "per class": clone(RELATIONAL).set_params(samples_per_class=3),
    "classes held out": clone(RELATIONAL).set_params(hold_out="classes", validation_fraction=0.5),
    "aligned": ALIGNED,
    "chunks": clone(ALIGNED).set_params(chunk_size=7, early_stopping=False),
    "batches": clone(ALIGNED).set_params(batch_size=10, criterion="loss"),
    "pairs": clone(ALIGNED).set_params(pairs=60, batch_size=25),
    "linear": clone(ALIGNED).set_params(head="linear", optimizer="lbfgs", max_epochs=1),
    "votes": clone(ALIGNED).set_params(loss="neighbors", batch_size=15),
    "all vote": clone(ALIGNED).set_params(loss="neighbors", criterion="loss"),
}


class Images(Dataset):
    """Samples with their targets, moved at random by a distance at most."""

    def __init__(self, X=X, y=Y, moved=0.0):
        self.X, self.y, self.moved = X, y, moved

    def __len__(self):
        return len(self.X)

    def __getitem__(self, place):
        x = torch.from_numpy(self.X[place])
        return x + self.moved * torch.randn(()) if self.moved else x, self.y[place]


class Items:
    """Items that a function makes of their places."""

    def __init__(self, item, n=N):
        self.item, self.n = item, n

    def __len__(self):
        return self.n

    def __getitem__(self, place):
        return self.item(place)


def assert_same(model, expected, samples=X):
    np.testing.assert_allclose(model.transform(samples), expected.transform(X), rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(model.validation_curve_, expected.validation_curve_, rtol=1e-6)


# As in memory


@pytest.mark.parametrize("name", OPTIONS)
def test_a_data_set_gives_what_its_array_gives(name):
    expected, model = clone(OPTIONS[name]).fit(X, Y), clone(OPTIONS[name])
    assert_same(model.fit(Images()), expected, Images())


@pytest.mark.parametrize("name", ["per class", "chunks", "batches"])
def test_workers_change_nothing(name):
    loader = DataLoader(Images(moved=0.5), num_workers=2, shuffle=True)
    expected, state = clone(OPTIONS[name]).fit(loader.dataset), torch.random.get_rng_state()
    model = clone(OPTIONS[name]).fit(loader)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(model.transform(loader), expected.transform(loader.dataset))
    assert not multiprocessing.active_children()


def collated(items):
    return torch.stack([torch.from_numpy(item["image"]) for item in items]), [item["class"] for item in items]


KINDS = {
    "loader": (DataLoader(Images(), batch_size=3), None),
    "tensors": (TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), None),
    "part of another": (Subset(Images(np.tile(X, (2, 1, 1, 1)), np.tile(Y, 2)), range(N, 2 * N)), None),
    "samples alone": (Items(lambda i: X[i]), Y),
    "passed targets count": (Images(y=Y[::-1]), Y),
    "lists": (Items(lambda i: [X[i], int(Y[i]), "more"]), None),
    "names": (Items(lambda i: (X[i], "abcd"[Y[i]])), None),
    "collated": (DataLoader(Items(lambda i: {"image": X[i], "class": Y[i]}), collate_fn=collated), None),
    "foreign byte order": (Items(lambda i: (X[i].astype(">f4"), Y[i])), None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_any_kind(kind):
    samples, y = KINDS[kind]
    assert_same(clone(RELATIONAL).fit(samples, y), clone(RELATIONAL).fit(X, Y), samples)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "float64", "int16", "uint16"])
def test_numbers_of_any_kind_are_read_as_in_an_array(dtype):
    numbers = (abs(X) * 10).astype(dtype)
    whole = dtype.endswith("int16")
    module = nn.Sequential(nn.Flatten(), nn.Embedding(99, 3), nn.Flatten()) if whole else trunk()
    expected = clone(RELATIONAL).set_params(trunk=module).fit(numbers, Y)
    model = clone(RELATIONAL).set_params(trunk=module).fit(Items(lambda i: (numbers[i], Y[i])))
    Z = model.transform(Items(lambda i: numbers[i]))
    np.testing.assert_allclose(Z, expected.transform(numbers), rtol=0, atol=1e-6)
    assert Z.dtype == expected.transform(numbers).dtype


@pytest.mark.parametrize("encoder", ["laplacian", "mlp"])
def test_rows_of_features(encoder):
    rows, model = X.reshape(N, -1), HRAMLTransformer(encoder=encoder, max_epochs=1, random_state=0)
    y, weights = np.where(np.eye(N, 3), np.nan, SETS), np.arange(N) % 3
    expected = clone(model).fit(rows, y, weights)
    model.fit(Items(lambda i: (rows[i], y[i])), sample_weight=weights)
    np.testing.assert_array_equal(model.transform(Items(lambda i: rows[i])), expected.transform(rows))
    assert model.n_features_in_ == rows.shape[1]
    with pytest.raises(ValueError, match="has 3 features, but HRAMLTransformer is expecting 72"):
        model.transform(Items(lambda i: rows[i, :3]))


@pytest.mark.parametrize("model", [RELATIONAL, ALIGNED])
def test_validation_samples_may_be_loaded(model):
    expected = clone(model).fit(X[:30], Y[:30], X_val=X[30:], y_val=Y[30:])
    some, others = Images(X[:30], Y[:30]), DataLoader(Images(X[30:], Y[30:]))
    for samples, y, given in [
        (some, None, {"X_val": others}),
        (some, None, {"X_val": X[30:], "y_val": Y[30:]}),
        (X[:30], Y[:30], {"X_val": others, "y_val": Y[30:]}),
    ]:
        assert_same(clone(model).fit(samples, y, **given), expected)
    with pytest.raises(ValueError, match="both X_val and y_val"):
        clone(model).fit(some, y_val=Y[30:])


def test_fit_transform_and_a_warm_start():
    model = clone(ALIGNED).set_params(warm_start=True)
    np.testing.assert_allclose(model.fit_transform(Images()), model.transform(Images()), atol=1e-6)
    assert_same(model.fit(Images()), clone(model).fit(X, Y).fit(X, Y))


# What items draw


class Recorded(Images):
    """Samples moved at random, which are noted."""

    def __getitem__(self, place):
        x, y = super().__getitem__(place)
        self.seen.append((place, float(x[0, 0, 0])))
        return x, y


@pytest.mark.parametrize("model", [RELATIONAL, OPTIONS["batches"]])
def test_each_sample_is_drawn_anew_in_each_epoch(model):
    n_draws = 4  # of three epochs, and of the start or an exact head
    samples = Recorded(moved=0.5)
    samples.seen = []
    model = clone(model).set_params(early_stopping=False, max_epochs=3).fit(samples, Y)
    moves = [(place, round(value - float(X[place, 0, 0, 0]), 4)) for place, value in samples.seen]
    assert len({move for place, move in moves if place == 5}) == n_draws
    assert len({move for _, move in moves}) > 0.95 * n_draws * N
    other = clone(model).set_params(random_state=1).fit(samples, Y)
    assert model.loss_curve_ != other.loss_curve_


def test_an_interrupted_fit_resumes_to_the_same_end(tmp_path, monkeypatch):
    model = clone(RELATIONAL).set_params(max_epochs=4)
    expected, run_epoch = clone(model).fit(Images(moved=0.5)), Training.run_epoch

    def interrupted(self, epoch, optimizer):
        if epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(self, epoch, optimizer)

    model.set_params(checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(Images(moved=0.5))
    assert_same(model.fit(Images(moved=0.5)), expected)
    assert len(list(tmp_path.iterdir())) == 1
    arrays = TensorDataset(*map(torch.from_numpy, (X, Y)))
    for others in (Images(), Images(y=Y[::-1].copy()), Images(X[:-1], Y[:-1]), arrays):
        model.set_params(max_epochs=1).fit(others)
    assert len(list(tmp_path.iterdir())) == 5


# Memory and processes


class Counted(Images):
    """Samples that count how many of them there are at once."""

    alive = most = 0

    def __getitem__(self, place):
        x, y = torch.from_numpy(self.X[place].copy()), self.y[place]
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(x, self.leave)
        return x, y

    def leave(self):
        self.alive -= 1


LARGEST = {"relational": 12, "per class": 12, "aligned": 5, "batches": 9, "votes": 9}


@pytest.mark.parametrize("name", LARGEST)
def test_no_more_than_a_batch_is_in_memory(name, monkeypatch):
    monkeypatch.setattr("skrelmetric._data.samples._BYTES_AT_ONCE", 5 * X[0].nbytes)
    samples = Counted()
    model = clone(OPTIONS[name]).fit(samples)
    assert samples.most == LARGEST[name]
    samples.most = 0
    model.transform(samples)
    assert (samples.most, samples.alive) == (5, 0)


@pytest.mark.parametrize("where", [(Training, "_step"), (Validation, "error")])
def test_workers_end_with_an_error_too(where, monkeypatch):
    def failing(*args):
        raise FloatingPointError("it diverged")

    monkeypatch.setattr(*where, failing)
    with pytest.raises(FloatingPointError) as held:
        clone(RELATIONAL).fit(DataLoader(Images(), num_workers=1))
    assert held.tb
    assert not multiprocessing.active_children()


def any_options(X):
    return {"dtype": [np.float64, np.float32], "allow_nd": True}


def test_passes_at_the_same_time_do_not_mix():
    with loaded(DataLoader(Images(), num_workers=1), any_options) as samples:
        places = [torch.tensor([i, i + 1]) for i in range(0, N, 2)]
        forwards, backwards = samples.batches(places), samples.batches(places[::-1])
        for place in places:
            np.testing.assert_array_equal(next(forwards), X[place])
            np.testing.assert_array_equal(next(backwards), X[places[-1 - int(place[0]) // 2]])


def test_batches_may_be_empty():
    with loaded(Images(), any_options) as samples:
        places = [torch.tensor([3, 3]), torch.tensor([], dtype=torch.int64), slice(39, 99)]
        batches = list(samples.batches(places))
    for batch, expected in zip(batches, (X[[3, 3]], X[:0], X[39:]), strict=True):
        np.testing.assert_array_equal(batch, expected)
        assert batch.dtype == torch.float32


def test_an_initializer_finds_the_data_set():
    def begin(worker):
        torch.utils.data.get_worker_info().dataset.dataset.y = 10 + Y

    loader = DataLoader(Images(), num_workers=1, worker_init_fn=begin)
    np.testing.assert_array_equal(Loaded(loader, any_options).targets(), 10 + Y)


# What is refused


def at_seven(bad):
    return Items(lambda i: bad(i) if i == 7 else (X[i], Y[i]))


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0], Y[0]


class Endless(Dataset):
    def __getitem__(self, place):
        return X[0], Y[0]


def broken(place):
    raise OSError("no such image")


class Picture:
    pass


class Counts(nn.Module):
    """Features of whole numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(72, 2)

    def forward(self, x):
        return self.layer(x.flatten(1).float())


def stacked(items):
    return torch.stack([x for x, _ in items])


BAD = {
    "dict": (Items(lambda i: {"x": X[i], "y": 0}), "Item 0 of X is a dict of .'x', 'y'.*collate_fn"),
    "picture": (Items(lambda i: (Picture(), 0)), "sample of item 0 of X is a .*Picture, but a tensor.*ToTensor"),
    "names": (Items(lambda i: (np.array(["a"]), 0)), "is an array of <U1, but a tensor or an array of numbers"),
    "complex": (Items(lambda i: (X[i] + 0j, 0)), "is an array of complex64, but"),
    "sparse": (Items(lambda i: (torch.from_numpy(X[i]).to_sparse(), 0)), "sparse_coo, but a tensor or an array"),
    "nothing": (Items(lambda i: None), "is a NoneType, but"),
    "empty item": (Items(lambda i: ()), "Item 0 of X is an empty tuple"),
    "numbers": (Items(lambda i: (0.5, 0)), "single numbers. Return an array"),
    "no target": (Items(lambda i: X[i]), "Item 0 of X is a ndarray without a target. Return"),
    "some no target": (at_seven(lambda i: (X[i],)), "Item 7 of X is a tuple without a target"),
    "label lists": (Items(lambda i: (X[i], [1] * (1 + i % 2))), "targets of different shapes. One shape"),
    "later targets": (Items(lambda i: (X[i], [1] * (1 + (i > 29)))), "targets of different shapes. One shape"),
    "NaN": (at_seven(lambda i: (X[i] * np.nan, 0)), "X contains NaN or infinity in item 7"),
    "infinity": (at_seven(lambda i: (np.full(X[i].shape, np.inf), 0)), "X contains NaN or infinity in item 7"),
    "huge": (at_seven(lambda i: (np.full(X[i].shape, 1e300), 0)), r"X holds 1.0e\+300, too large"),
    "shape": (at_seven(lambda i: (X[i][:1], 0)), r"Items 0 and 7 .*\(2, 6, 6\) and \(1, 6, 6\). One shape"),
    "later shape": (Items(lambda i: (X[i][: 1 + (i < 30)], 0)), r"shapes \(2, 6, 6\) and \(1, 6, 6\). One shape"),
    "kinds": (Items(lambda i: (X[i] if i > 29 else np.ones_like(X[i], int), 0)), "whole numbers first and of torch.f"),
    "one sample": (Images(X[:1]), "X has 1 sample, but 2 are needed"),
    "no sample": (Images(X[:0]), r"X \(Images\) has 0 samples"),
    "stream": (Stream(), r"Items of X \(Stream\) have no places.*map-style Dataset.*Chunks\(loader\)"),
    "loader of a stream": (DataLoader(Stream()), r"Items of X \(Stream\) have no places"),
    "no length": (Endless(), r"X \(Endless\) has no length"),
    "sampler": (DataLoader(Images(), sampler=SubsetRandomSampler([1, 2])), "order of its own .SubsetRandom.*Subset"),
    "weights": (DataLoader(Images(), sampler=WeightedRandomSampler([1.0] * N, N)), "order of its own .Weighted"),
    "again": (DataLoader(Images(), sampler=RandomSampler(Images(), replacement=True)), "order of its own"),
    "fewer": (DataLoader(Images(), sampler=RandomSampler(Images(), num_samples=9)), "order of its own"),
    "batch sampler": (
        DataLoader(Images(), batch_sampler=BatchSampler(SubsetRandomSampler([1, 2]), 2, False)),
        "order of its own .SubsetRandom",
    ),
    "no batches": (DataLoader(Images(), batch_size=None), "order of its own .batch_size=None"),
    "collated rows": (DataLoader(Images(), collate_fn=lambda items: torch.zeros(99, 2)), r"shape \(99, 2\) of 1 items"),
    "collated names": (
        DataLoader(Images(), collate_fn=lambda items: "ab"),
        "collate_fn of X makes .* are a str",
    ),
    "collated alone": (DataLoader(Images(), collate_fn=lambda items: stacked(items)), "makes a Tensor without targets"),
    "collated targets": (
        DataLoader(Images(), collate_fn=lambda items: (stacked(items), [])),
        r"targets of shape \(0,",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_data_set_of_samples_is_refused(kind, monkeypatch):
    monkeypatch.setattr("skrelmetric._data.samples._BYTES_AT_ONCE", 30 * X[0].nbytes)
    samples, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        HRAMLTransformer(encoder=Counts(), max_epochs=1).fit(samples)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_errors_of_the_data_set_keep_their_message_and_name_the_item(n_workers):
    with pytest.raises(OSError, match="no such image") as caught:
        clone(RELATIONAL).fit(DataLoader(at_seven(broken), num_workers=n_workers))
    assert "This is item 7 of X." in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert caught.type is OSError


def test_wrong_samples_are_told_alike_by_workers():
    bad, message = BAD["NaN"]
    with pytest.raises(ValueError, match=f"^{message}"):
        clone(RELATIONAL).fit(DataLoader(bad, num_workers=1), X_val=Images())
    with pytest.raises(ValueError, match="^X_val contains NaN or infinity in item 7"):
        clone(RELATIONAL).fit(Images(), X_val=bad)


def test_a_worker_that_dies_is_an_error():
    samples = DataLoader(at_seven(lambda i: os._exit(1)), num_workers=1)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        clone(RELATIONAL).fit(samples)


def test_more_that_is_refused():
    with pytest.raises(ValueError, match="partial_fit learns from one chunk in memory, but X is a Images"):
        clone(ALIGNED).partial_fit(Images(), Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clone(RELATIONAL).fit(Images(), Y[1:])
    for model, module in ((DRMLTransformer(4), "trunk"), (HRAMLTransformer(), "encoder")):
        for some in (Images(), X):
            with pytest.raises(ValueError, match=rf"rows of features are needed. Pass a torch module.*{module}="):
                model.fit(some, Y)
    fitted = clone(RELATIONAL).fit(Images())
    assert fitted.transform(Images(X[:1])).shape == (1, 4)
    with pytest.raises(ValueError, match="has 0 samples"):
        fitted.transform(Images(X[:0]))

"""Training by the leave-one-out likelihood of soft votes, loss="neighbors"."""

import dask.array as da
import numpy as np
import pytest
import torch
from sklearn.base import clone

from skrelmetric import HRAMLTransformer
from skrelmetric._data.targets import read_targets
from skrelmetric._hraml.neighbours import Ballots, Vote, leave_one_out, squares, vote_loss
from skrelmetric._hraml.objective import Objective
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import shards
from skrelmetric.relations import GivenPairs
from tests.deep.problems import LINEAR, SHORT, WHOLE, assert_same_distances, disc, gain
from tests.ranks import in_ranks

VOTES = {**LINEAR, "loss": "neighbors"}
LEARNED = {
    "unit norm": {"head": "linear"},
    "free norm": {"head": "linear", "normalize": False},
    "batches": {"head": "linear", "batch_size": 50},
    "lbfgs": {"head": "linear", "optimizer": "lbfgs", "learning_rate": None, "max_epochs": 3},
    "ridge": {"head": "ridge"},
}


def ballots_of(y):
    targets = read_targets(y)
    return Ballots.of(targets, torch.full((len(targets),), 1 / len(targets), dtype=torch.float64))


def least_loss(Z, ballots):
    """Least leave-one-out loss at any of the temperatures, and that temperature."""
    Z = torch.from_numpy(Z).to(torch.float64)
    unit = float(squares(Z, Z).mean())
    return min((float(leave_one_out(Z / (unit * 2.0**-k) ** 0.5, ballots)), unit * 2.0**-k) for k in range(-2, 13))


@pytest.mark.parametrize("way", LEARNED)
def test_neighbours_are_learned(way, rng):
    X, y = disc(rng)
    parameters = {"encoder": "mlp", "hidden_layer_sizes": (32,), "n_components": 8, "learning_rate": 0.03}
    parameters |= {"max_epochs": 20, **LEARNED[way], **WHOLE, "random_state": 0}
    metric = HRAMLTransformer(loss="neighbors", **parameters).fit(X, y)
    untrained = clone(metric).set_params(max_epochs=0).fit(X, y)
    ballots = ballots_of(y)
    trained_loss, untrained_loss = (least_loss(m.transform(X), ballots)[0] for m in (metric, untrained))
    assert trained_loss < 0.7 * untrained_loss
    assert metric.loss_curve_[-1] < 0.7 * metric.loss_curve_[0]
    fresh = disc(rng, 500)
    assert gain(metric, X, y, *fresh) > gain(untrained, X, y, *fresh) + 0.02
    assert gain(metric, X, y, *fresh) > 0.04


def test_the_first_loss_is_the_least_of_untrained_samples(samples):
    X, Y = samples
    metric = HRAMLTransformer(**VOTES, **WHOLE, max_epochs=1).fit(X, Y)
    untrained = clone(metric).set_params(max_epochs=0).fit(X, Y)
    assert metric.loss_curve_[0] == pytest.approx(least_loss(untrained.transform(X), ballots_of(Y))[0])


@pytest.mark.parametrize("n", [3, 4, 60])
def test_an_exact_head_is_solved_for_others_than_those_that_vote(samples, n, monkeypatch):
    X, Y = (some[:n] for some in samples)
    drawn = []
    open_vote = Objective._open_vote

    def seen(self, rng):
        vote = open_vote(self, rng)
        others = np.setdiff1d(np.arange(n), vote.places) if n > 3 else np.arange(n)
        drawn.append((self.head.M.clone(), others))
        return vote

    monkeypatch.setattr(Objective, "_open_vote", seen)
    encoder = torch.nn.Linear(4, 3).double()
    parameters = {"encoder": encoder, "learning_rate": 1e-12, **WHOLE}  # so that features stay as they are
    HRAMLTransformer(loss="neighbors", max_epochs=2, **parameters).fit(X, Y)
    if n == 60:
        assert drawn[0][1].tolist() != drawn[1][1].tolist()
    for M, others in drawn:
        assert len(others) == (3 if n == 3 else n // 2)
        alone = HRAMLTransformer(max_epochs=0, **parameters).fit(X[others], Y[others])
        torch.testing.assert_close(M, alone._state.head.M, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("head", [{"head": "ridge", "n_components": None}, {}])
def test_an_epoch_judges_each_voter_once(samples, head, batch_size, monkeypatch):
    judged = []
    loss = Vote.loss

    def seen(self, features, places):
        judged.append((self.places, places))
        return loss(self, features, places)

    monkeypatch.setattr(Vote, "loss", seen)
    metric = HRAMLTransformer(**{**VOTES, **head}, **WHOLE, max_epochs=1, batch_size=batch_size).fit(*samples)
    voters = judged[0][0]
    assert len(voters) == (30 if head else 60)
    assert torch.equal(torch.cat([places for _, places in judged]).sort().values, voters)
    assert len(judged) == (len(voters) // 10 if batch_size else 1)
    assert metric.n_iter_ == 1


@pytest.mark.parametrize("names", [False, True])
def test_loss_as_criterion_is_that_of_votes_on_validation_samples(samples, names):
    X, y = samples[0], samples[1]
    if names:  # not all of which are in both parts
        y = np.array(["ant", "bee", "cat", "dog"])[np.minimum(y.sum(1), 2) + (np.arange(60) == 50)]
    metric = HRAMLTransformer(**VOTES, criterion="loss", max_epochs=3, learning_rate=0.01)
    metric.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    Z, ballots = metric.transform(X), ballots_of(y)
    voters, judged = ballots.at(slice(40)), ballots.at(slice(40, None))
    _, temperature = least_loss(Z[:40], voters)
    D = squares(torch.from_numpy(Z[40:]), torch.from_numpy(Z[:40])) / temperature
    assert min(metric.validation_curve_) == pytest.approx(float(vote_loss(D, judged, voters)))


@pytest.mark.parametrize("parameters", [{}, {"batch_size": 2}, {"optimizer": "lbfgs"}, {"optimizer": "sgd"}])
@pytest.mark.parametrize("head", [{"head": "ridge", "n_components": None}, {}])
def test_every_kind_of_target_and_step(samples, head, parameters):
    X, Y = samples
    D = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    missing = Y.astype(float)
    missing[:30, 0] = np.nan
    for y in (Y, missing, Y.sum(1), D, X[:, 0], X[:, :2]):
        metric = HRAMLTransformer(**{**VOTES, **head}, **SHORT, **parameters).fit(X, y)
        assert metric.n_iter_ == 3
        assert np.isfinite([*metric.loss_curve_, *metric.validation_curve_]).all()
        assert np.isfinite(metric.transform(X)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixed_precision_agrees_roughly(samples, dtype):
    X, Y = samples[0].astype(dtype), samples[1]
    exact, mixed = (HRAMLTransformer(**VOTES, **WHOLE, **SHORT, mixed_precision=m).fit(X, Y) for m in (False, True))
    assert mixed.transform(X).dtype == dtype
    assert_same_distances(mixed.transform(X), exact.transform(X), rtol=0.05)


def test_weights_of_0_are_removal_and_others_count(samples):
    X, Y = samples
    some = np.arange(60) % 3 > 0
    removed = HRAMLTransformer(**VOTES, **SHORT).fit(X, Y, some)
    kept = HRAMLTransformer(**VOTES, **SHORT).fit(X[some], Y[some])
    np.testing.assert_allclose(removed.transform(X), kept.transform(X), atol=1e-9)
    weighted = HRAMLTransformer(**VOTES, **SHORT).fit(X, Y, 1 + some)
    assert weighted.loss_curve_[0] != pytest.approx(HRAMLTransformer(**VOTES, **SHORT).fit(X, Y).loss_curve_[0])


def test_encoders_that_are_chosen_are_trained(samples):
    metric = HRAMLTransformer(loss="neighbors", n_iter_no_change=2).fit(*samples)
    assert metric.n_iter_ >= 2


def test_the_next_fit_and_partial_fit_go_on(samples):
    X, Y = samples
    metric = HRAMLTransformer(**VOTES, **WHOLE, warm_start=True, max_epochs=10, learning_rate=0.01).fit(X, Y)
    first = metric.loss_curve_
    assert metric.fit(X, Y).loss_curve_[0] < first[0]
    stream = HRAMLTransformer(**VOTES, learning_rate=0.01)
    for _ in range(10):
        stream.partial_fit(X, Y)
    assert stream.loss_curve_[-1] < stream.loss_curve_[0]
    np.testing.assert_allclose(stream.loss_curve_, first)  # epochs over all samples, as those of fit


def test_memory_maps_are_taken_at_once(samples, tmp_path, monkeypatch):
    X, Y = samples
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr(Chunks, "many", lambda X: True)
    metric = HRAMLTransformer(**VOTES, **SHORT).fit(np.load(tmp_path / "X.npy", mmap_mode="r"), Y)
    np.testing.assert_array_equal(metric.transform(X), clone(metric).fit(X, Y).transform(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "nca"}, "'loss' parameter of HRAMLTransformer must be"),
        ({"pairs": 100}, "pairs=100, hard_fraction=1.0 and chunk_size=None. Pass 'all', 1.0 and None"),
        ({"hard_fraction": 0.5}, "pairs='all', hard_fraction=0.5 and chunk_size=None"),
        ({"chunk_size": 10}, "pairs='all', hard_fraction=1.0 and chunk_size=10"),
        ({"batch_size": 1}, "needs two"),
        ({"learn_scale": True}, "learn_scale=True is for loss='relation'"),
    ],
)
def test_bad_parameters(samples, parameters, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(HRAMLTransformer(**{**VOTES, **parameters}), method)(*samples)


def test_samples_in_partitions_are_refused(samples):
    X, Y = samples
    metric = HRAMLTransformer(**VOTES)
    for data in ((Chunks.of(X, Y), None), (da.from_array(X, chunks=(20, 4)), Y)):
        with pytest.raises(ValueError, match="in memory, or loss='relation'"):
            metric.fit(*data)


def refused_within_shards(rank, X, Y):
    with shards():
        try:
            HRAMLTransformer(**VOTES).fit(X, Y)
        except ValueError as error:
            return str(error)


def test_shards_are_refused(samples):
    for message in in_ranks(2, refused_within_shards, *samples):
        assert "shards do not hold together. Pass samples of one process in memory" in message


def test_divergence_is_an_error(samples):
    X, Y = samples
    metric = HRAMLTransformer(**{**VOTES, "normalize": False}, activation="identity", optimizer="sgd")
    with pytest.raises(FloatingPointError, match="ower learning_rate"):
        metric.set_params(learning_rate=1e200).fit(X, Y)


def test_relation_is_the_loss_by_default(samples, monkeypatch):
    X, Y = samples
    expected = HRAMLTransformer(**LINEAR, **SHORT).fit(X, Y)
    monkeypatch.setattr(Objective, "_tuned_vote", None)
    np.testing.assert_array_equal(
        HRAMLTransformer(**LINEAR, **SHORT, loss="relation").fit(X, Y).transform(X), expected.transform(X)
    )


def test_given_pairs_without_targets_are_refused(rng):
    relation = GivenPairs([[0, 1], [2, 3]], [[0, 2]], n_samples=40)
    with pytest.raises(ValueError, match=r"predicts targets, but y is None\. Pass y, or loss='relation'"):
        HRAMLTransformer(relation=relation, loss="neighbors").fit(rng.standard_normal((40, 4)))

"""Leave-one-out likelihood of soft votes, against loops over samples, and votes as they are trained by."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import NeighborhoodComponentsAnalysis

from skrelmetric._data.targets import read_targets
from skrelmetric._hraml.neighbours import Ballots, Vote, leave_one_out, predicted, squares, vote_loss
from tests._training.encoders import uniform

FLOOR = 1e-6
N = 12

TARGETS = {
    "labels": lambda rng, n: (rng.random((n, 3)) < 0.5).astype(float),
    "classes": lambda rng, n: rng.integers(0, 3, n),
    "several classes": lambda rng, n: rng.integers(0, 3, (n, 2)).astype(float),
    "names": lambda rng, n: np.array(["ant", "bee", "cat"])[rng.integers(0, 3, n)],
    "distributions": lambda rng, n: rng.dirichlet(np.ones(4), n),
    "numbers": lambda rng, n: rng.standard_normal((n, 2)) * [1, 100] + [0, 1e6],
    "number": lambda rng, n: rng.standard_normal(n),
}


def ballots_of(y, p=None):
    targets = read_targets(y)
    return Ballots.of(targets, uniform(len(targets)) if p is None else torch.as_tensor(p))


def embeddings(rng, n=N, scale=1.0):
    return torch.from_numpy(scale * rng.standard_normal((n, 2))).requires_grad_()


def loss_of_entry(kind, target, vote):
    """Loss of a predicted label, class probability or standardised number, from its definition."""
    floored = FLOOR + (1 - 2 * FLOOR) * vote
    if kind == "labels":
        return -math.log(floored if target == 1 else 1 - floored)
    return -math.log(floored) if "class" in kind or kind == "names" else (target - vote) ** 2


def reference(Z, y, p, kind):
    """Mean over known outputs of all samples, each predicted by the others, sample by sample and output by output."""
    Z, Y = np.asarray(Z), np.asarray(y).reshape(len(y), -1)
    missing = np.array([[value != value for value in row] for row in Y])
    if kind in ("numbers", "number"):
        for column, unknown in zip(Y.T, missing.T, strict=True):
            mean = np.average(column[~unknown], weights=p[~unknown])
            column[:] = (column - mean) / np.average((column[~unknown] - mean) ** 2, weights=p[~unknown]) ** 0.5
    total = counted = 0.0
    for i in range(len(Z)):
        entropy = 0.0
        for k in range(Y.shape[1]):
            if missing[i, k]:
                continue
            voters = [j for j in range(len(Z)) if j != i and not missing[j, k]]
            if not voters:
                continue
            masses = [p[j] * math.exp(-((Z[i] - Z[j]) ** 2).sum()) for j in voters]
            by_class = "class" in kind or kind == "names"
            cast = [float(Y[j, k] == Y[i, k]) if by_class else Y[j, k] for j in voters]
            vote = sum(m * c for m, c in zip(masses, cast, strict=True)) / sum(masses)
            if kind == "distributions":
                entropy -= Y[i, k] * math.log(FLOOR + (1 - 2 * FLOOR) * vote)
                continue
            total, counted = total + p[i] * loss_of_entry(kind, Y[i, k], vote), counted + p[i]
        if kind == "distributions":
            total, counted = total + p[i] * entropy, counted + p[i]
    return total / counted


class TestLoss:
    @pytest.mark.parametrize("kind", TARGETS)
    def test_is_that_of_explicit_loops(self, kind, rng):
        y, p, Z = TARGETS[kind](rng, N), rng.dirichlet(np.full(N, 2.0)), embeddings(rng)
        ballots = ballots_of(y, p)
        assert ballots.kind.startswith(kind[:6]) or kind in ("several classes", "names")
        value = leave_one_out(Z, ballots)
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(reference(Z.detach(), y, p, kind), rel=1e-9)

    @pytest.mark.parametrize("kind", ["labels", "several classes", "numbers"])
    def test_what_is_missing_neither_votes_nor_counts(self, kind, rng):
        y, p, Z = TARGETS[kind](rng, N), rng.dirichlet(np.full(N, 2.0)), embeddings(rng)
        y[:5, 0] = np.nan
        y[4:7, 1] = np.nan
        value = leave_one_out(Z, ballots_of(y, p))
        assert value.item() == pytest.approx(reference(Z.detach(), y, p, kind), rel=1e-9)
        y[1:, 0] = np.nan  # one knows it, and no other
        y[0, 0] = 1.0
        value = leave_one_out(Z, ballots_of(y, p))
        assert value.item() == pytest.approx(reference(Z.detach(), y[:, 1:], p, kind), rel=1e-9)

    def test_distributions_of_which_a_part_is_missing_are_numbers(self, rng):
        y, Z = TARGETS["distributions"](rng, N), embeddings(rng)
        y[0] = [0.25, 0.75, 0.0, np.nan]  # what is known sums to 1
        ballots, p = ballots_of(y), np.full(N, 1 / N)
        assert ballots.kind == "numbers"
        assert leave_one_out(Z, ballots).item() == pytest.approx(reference(Z.detach(), y, p, "numbers"), rel=1e-9)

    @pytest.mark.parametrize("missing", [False, True])
    @pytest.mark.parametrize("kind", TARGETS)
    def test_gradient(self, kind, missing, rng):
        y = TARGETS[kind](rng, 6)
        if missing and y.ndim == 2 and kind != "distributions":
            y[:3, 0] = np.nan
        ballots = ballots_of(y, rng.dirichlet(np.full(6, 2.0)))
        assert torch.autograd.gradcheck(lambda Z: leave_one_out(Z, ballots), embeddings(rng, 6))

    @pytest.mark.parametrize("n", [2, 3])
    @pytest.mark.parametrize("kind", TARGETS)
    def test_gradient_of_the_smallest_batches_and_of_duplicates(self, kind, n, rng):
        ballots = ballots_of(TARGETS[kind](rng, N)).at(torch.arange(n))
        Z = embeddings(rng, n).detach().clone()
        Z[1] = Z[0]
        assert torch.autograd.gradcheck(lambda Z: leave_one_out(Z, ballots), Z.requires_grad_())

    @pytest.mark.parametrize("y", [np.ones(6), np.tile([0, 1, 1], (6, 1)), np.full((6, 2), 0.3), np.full((6, 2), 0.5)])
    def test_of_constant_targets_is_none(self, y, rng):
        Z = embeddings(rng, 6)
        value = leave_one_out(Z, ballots_of(y))
        value.backward()
        entropy = math.log(2) if (y == 0.5).all() else 0.0
        assert value.item() == pytest.approx(entropy, abs=1e-5)
        torch.testing.assert_close(Z.grad, torch.zeros_like(Z), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("scale", [0.0, 1e-200, 1e4, 1e100])
    @pytest.mark.parametrize("kind", TARGETS)
    def test_is_finite_at_any_scale(self, kind, scale, rng):
        y, Z = TARGETS[kind](rng, N), embeddings(rng, scale=scale)
        if kind in ("labels", "numbers"):
            y[2:, 0] = np.nan
        value = leave_one_out(Z, ballots_of(y))
        value.backward()
        assert value.isfinite()
        assert Z.grad.isfinite().all()

    def test_far_from_the_origin_is_as_near_it(self, rng):
        ballots, Z = ballots_of(TARGETS["labels"](rng, N)), embeddings(rng)
        torch.testing.assert_close(leave_one_out(Z + 1e6, ballots), leave_one_out(Z, ballots), rtol=1e-6, atol=0)

    def test_of_sparse_labels_is_that_of_dense_ones(self, rng):
        Y, Z = TARGETS["labels"](rng, N), embeddings(rng)
        assert torch.equal(leave_one_out(Z, ballots_of(sparse.csr_array(Y))), leave_one_out(Z, ballots_of(Y)))

    def test_nothing_to_count_is_nothing(self):
        Z = torch.zeros((2, 1), dtype=torch.float64, requires_grad=True)
        value = leave_one_out(Z, ballots_of(np.array([[0.0, np.nan], [np.nan, 1.0]])))
        value.backward()
        assert value.item() == 0


def test_class_probabilities_sum_to_the_objective_of_nca(rng):
    X, y = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    A = rng.standard_normal((2, 4))
    ballots, Z = ballots_of(y), torch.from_numpy(X @ A.T)
    D = squares(Z, Z).fill_diagonal_(torch.inf)
    votes, heard = predicted(D, ballots, ballots)
    nca = NeighborhoodComponentsAnalysis()
    nca.n_iter_ = 0
    loss, _ = nca._loss_grad_lbfgs(A.ravel(), X, y[:, None] == y, -1.0)
    assert heard is None
    assert votes.sum().item() == pytest.approx(-loss if loss < 0 else loss, rel=1e-9)


def test_strangers_are_predicted_by_all(rng):
    y, Z = TARGETS["names"](rng, N), embeddings(rng).detach()
    ballots = ballots_of(y)
    loss = vote_loss(squares(Z[:4], Z[4:]), ballots.at(slice(4)), ballots.at(slice(4, None)))
    expected = 0.0
    for i in range(4):
        masses = [math.exp(-float((Z[i] - Z[j]).square().sum())) for j in range(4, N)]
        own = sum(m for m, j in zip(masses, range(4, N), strict=True) if y[i] == y[j]) / sum(masses)
        expected += loss_of_entry("names", None, own) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-9)


class TestTunedVote:
    @pytest.mark.parametrize("n_voters", [2, 10, 60])
    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
    def test_predicts_best_of_all_temperatures(self, n_voters, scale, rng):
        Z, y = embeddings(rng, 60, scale).detach(), rng.integers(0, 2, 60)
        Z[:, 0] += 3 * scale * torch.from_numpy(y)
        factor = torch.eye(2, dtype=torch.float64)
        vote = Vote.tuned(Z, factor, ballots_of(y), torch.arange(60), n_voters)
        some = torch.arange(n_voters) * 60 // n_voters
        unit = squares(Z[some], Z[some]).mean()
        losses = {
            2.0**-k: leave_one_out(Z[some] / (2.0**-k * unit) ** 0.5, ballots_of(y).at(some)) for k in range(-2, 13)
        }
        best = min(losses, key=losses.get)
        torch.testing.assert_close(vote.factor, factor / (best * unit) ** 0.5)
        torch.testing.assert_close(vote.loss(Z[some], some), losses[best])

    def test_is_of_those_at_its_places(self, rng):
        Z, y, odd = embeddings(rng, 60).detach(), rng.integers(0, 2, 60), torch.arange(1, 60, 2)
        vote = Vote.tuned(Z, torch.eye(2).double(), ballots_of(y), odd, 30)
        expected = Vote.tuned(Z[odd], torch.eye(2).double(), ballots_of(y).at(odd), torch.arange(30), 30)
        torch.testing.assert_close(vote.factor, expected.factor)
        torch.testing.assert_close(vote.loss(Z[odd], odd), expected.loss(Z[odd], torch.arange(30)))

    def test_of_a_metric_of_0(self, rng):
        ballots, places = ballots_of(np.arange(N) % 2), torch.arange(N)
        vote = Vote.tuned(embeddings(rng).detach(), torch.zeros((1, 2)).double(), ballots, places, N)
        assert not vote.factor.any()

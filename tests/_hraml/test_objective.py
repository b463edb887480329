from collections import Counter
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from skrelmetric._alignment.loss import sampled_pairs
from skrelmetric._alignment.problem import Related
from skrelmetric._data.partitions import InMemory
from skrelmetric._hraml.heads import LinearHead, RidgeHead
from skrelmetric._hraml.objective import Objective, Schedule
from skrelmetric._training.subsets import Subsets
from skrelmetric.relations import make_relation
from tests._training.encoders import WIDTH, WRONG, Encoder, Returning, subset_of, wrong

EVERYTHING = slice(None)
IDENTITY = torch.eye(WIDTH, dtype=torch.float64)

TARGETS = {
    "hamming": lambda rng, n: (rng.random((n, 3)) < 0.5).astype(int),
    "discrete": lambda rng, n: rng.integers(0, 3, n),
    "l1": lambda rng, n: rng.dirichlet(np.ones(4), n),
    "jaccard": lambda rng, n: (rng.random((n, 3)) < 0.5).astype(int),
}


class Recorder(torch.optim.Optimizer):
    """An optimiser that keeps the gradients of every step, and moves nothing."""

    def __init__(self, alignment):
        self.parameters = [parameter for parameter in alignment.parameters() if parameter.requires_grad]
        super().__init__(self.parameters, {})
        self.steps = []

    def step(self, closure):
        value = closure()
        self.steps.append([parameter.grad.clone() for parameter in self.parameters])
        return value


def schedule(**options):
    defaults = {
        "n_pairs": None,
        "batch_size": None,
        "chunk_size": None,
        "hard_fraction": 1.0,
        "weight_decay": 0.0,
        "mixed_precision": False,
        "seed": 5,
    }
    return Schedule(**{**defaults, **options})


def objective_of(encoder, head, samples, G, n_components=WIDTH, **options):
    subsets = Subsets(InMemory([Related(samples, lambda: G)]), samples.n_samples, G)
    return Objective(encoder, head, subsets, WIDTH, n_components, schedule(**options))


def all_of(alignment):
    """Samples of an objective, and the matrix of their relation."""
    only = alignment.samples.partitions.only
    return only.samples, only.G.block(EVERYTHING, EVERYTHING)


def linear_head(*, learn_scale=False, log_scale=0.0, shift=0.0):
    head = LinearHead(WIDTH, learn_scale, torch.device("cpu"))
    nn.init.constant_(head.log_scale, log_scale)
    nn.init.constant_(head.shift, shift)
    return head


def scaled_head():
    return linear_head(learn_scale=True, log_scale=0.3, shift=-0.2)


def alignment_of(rng, n=21, *, encoder=None, head=None, relation="hamming", **options):
    X, y = rng.standard_normal((n, 4)), TARGETS[relation](rng, n)
    samples = subset_of(X, rng.dirichlet(np.full(n, 5.0)))
    return objective_of(encoder or Encoder(), head or linear_head(), samples, make_relation(y, relation), **options)


def epoch_of(alignment, epoch=0):
    """Loss of an epoch and the gradients of its steps."""
    optimizer = Recorder(alignment)
    return alignment.run_epoch(epoch, optimizer), optimizer.steps


def all_pairs(z, G, p, M, b):
    """1/2 sum_ij p_i p_j ((z_i - z_j)' M (z_i - z_j) + b - G_ij)^2 over explicit pairs, for autograd."""
    differences = z[:, None] - z[None]
    D = torch.einsum("ijk,kl,ijl->ij", differences, M, differences)
    return 0.5 * (torch.outer(p, p) * (D + b - G).square()).sum()


def least_over_metrics(z, G, p, alpha):
    """The least of the loss over all pairs and alpha/2 |M|^2, in units of the features' variance, by least squares."""
    n, d = z.shape
    pairs = (z[:, None] - z[None]).reshape(n * n, d)
    design = torch.cat([torch.einsum("ij,ik->ijk", pairs, pairs).reshape(n * n, d * d), torch.ones(n * n, 1)], 1)
    unit = (p @ (z - p @ z).square()).mean()
    pp = torch.outer(p, p).reshape(-1, 1)
    penalty = alpha * unit**2 * torch.diag(torch.tensor([1.0] * d * d + [0.0], dtype=z.dtype))
    solution = torch.linalg.solve(design.T @ (pp * design) + penalty, design.T @ (pp * G.reshape(-1, 1)))
    residual = design @ solution - G.reshape(-1, 1)
    return (pp * residual.square()).sum() / 2 + (solution.T @ penalty @ solution).sum() / 2


def loss_of_step(alignment, x, mask):
    """Loss over all pairs of the samples of a step, which are found among all; its constant is that of all samples."""
    samples, everything = all_of(alignment)
    where = (x[:, None] == samples.X).all(-1).nonzero()[:, 1]
    assert len(where) == len(x)
    p, G, weights = samples.weights[where], everything[where][:, where], samples.weights
    p = p / p.sum()
    constant = weights @ everything.square() @ weights - p @ G.square() @ p
    return all_pairs(alignment.encoder.features(x, mask), G, p, IDENTITY, 0.0) + constant / 2


def assert_close(actual, expected, tolerance=1e-10):
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(1.0, float(other.abs().max())))


class TestAllPairs:
    @pytest.mark.parametrize("weight_decay", [0.0, 0.1])
    @pytest.mark.parametrize("head", [linear_head, scaled_head])
    @pytest.mark.parametrize("relation", TARGETS)
    def test_gradient_is_that_of_the_explicit_loss(self, relation, head, weight_decay, rng):
        alignment = alignment_of(rng, head=head(), relation=relation, weight_decay=weight_decay)
        value, (gradients,) = epoch_of(alignment)
        encoder, head, (part, G) = alignment.encoder, alignment.head, all_of(alignment)
        loss = all_pairs(encoder(part.X), G, part.weights, head.log_scale.exp() * IDENTITY, head.shift)
        loss = loss + weight_decay * sum(theta.square().sum() for theta in encoder.parameters())
        trained = [theta for theta in alignment.parameters() if theta.requires_grad]
        assert len(trained) == (6 if head.learn_scale else 4)
        assert_close(gradients, torch.autograd.grad(loss, trained), 1e-12)
        assert value == pytest.approx(float(loss.detach()), rel=1e-12)

    @pytest.mark.parametrize("alpha", [0.1, 3.0])
    @pytest.mark.parametrize("relation", TARGETS)
    def test_gradient_under_the_exact_head_is_that_of_the_least_loss(self, relation, alpha, rng, monkeypatch):
        monkeypatch.setattr("skrelmetric._hraml.heads._TOL", 1e-6)
        alignment = alignment_of(rng, n=14, head=RidgeHead(alpha), relation=relation)
        value, (gradients,) = epoch_of(alignment)
        encoder, (part, G) = alignment.encoder, all_of(alignment)
        loss = least_over_metrics(encoder(part.X), G, part.weights, alpha)
        assert value == pytest.approx(float(loss.detach()), rel=1e-8)
        expected = torch.autograd.grad(loss, [*encoder.parameters()])
        # The solver stops at a relative residual of 1e-6.
        largest = max(float(gradient.abs().max()) for gradient in expected)
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * largest)

    @pytest.mark.parametrize("chunk_size", [1, 2, 7, 20, 21, 50])
    @pytest.mark.parametrize("head", [scaled_head, lambda: RidgeHead(0.5)], ids=["linear", "ridge"])
    @pytest.mark.parametrize("batch_size", [None, 8])
    def test_chunks_change_nothing(self, batch_size, head, chunk_size, rng):
        options = {"batch_size": batch_size, "weight_decay": 0.01, "relation": "l1"}
        states = [np.random.default_rng(1) for _ in "ab"]
        whole = alignment_of(states[0], head=head(), **options)
        chunked = alignment_of(states[1], head=head(), chunk_size=chunk_size, **options)
        (value, steps), (chunked_value, chunked_steps) = epoch_of(whole), epoch_of(chunked)
        assert max(len(x) for x, _ in chunked.encoder.seen) <= chunk_size
        assert chunked_value == pytest.approx(value, rel=1e-12)
        for expected, actual in zip(steps, chunked_steps, strict=True):
            assert_close(actual, expected)

    @pytest.mark.parametrize("chunk_size", [1, 4, 20, 21])
    @pytest.mark.parametrize("batch_size", [None, 7])
    def test_both_passes_of_the_chunks_drop_the_same(self, batch_size, chunk_size, rng):
        alignment = alignment_of(rng, encoder=Encoder(dropout=0.5), chunk_size=chunk_size, batch_size=batch_size)
        value, steps = epoch_of(alignment)
        n, n_chunks = batch_size or 21, -(-(batch_size or 21) // chunk_size)
        seen, losses = iter(alignment.encoder.seen), []
        for gradients in steps:
            first = [*islice(seen, n_chunks)]
            second = [*islice(seen, n_chunks)] if n_chunks > 1 else first
            x, mask = (torch.cat(parts) for parts in zip(*second, strict=True))
            assert torch.equal(torch.cat([drawn for _, drawn in first]), mask)
            assert mask.shape == (n, 6)
            assert set(mask.unique().tolist()) == {0.0, 2.0}
            loss = loss_of_step(alignment, x, mask)
            assert_close(gradients, torch.autograd.grad(loss, [*alignment.encoder.parameters()]))
            losses.append(float(loss.detach()))
        assert next(seen, None) is None
        assert len(losses) == 21 // n
        assert value == pytest.approx(np.mean(losses), rel=1e-12)

    def test_dropout_is_drawn_anew_for_each_chunk_and_each_epoch(self, rng):
        alignment = alignment_of(rng, encoder=Encoder(dropout=0.5), chunk_size=3)
        masks = []
        for epoch in (0, 1, 0):
            alignment.encoder.seen.clear()
            epoch_of(alignment, epoch)
            masks.append([mask for _, mask in alignment.encoder.seen])
        first, other, again = masks
        assert all(torch.equal(one, same) for one, same in zip(first, again, strict=True))
        assert len({tuple(mask.ravel().tolist()) for mask in first + other}) == 7 + 7

    @pytest.mark.parametrize("batch_size", [2, 3, 5, 8])
    @pytest.mark.parametrize("n", [2, 3, 5, 8, 9, 11, 16, 23])
    def test_batches_partition_the_samples(self, n, batch_size, rng):
        encoder = Encoder()
        part = subset_of(np.arange(4.0 * n).reshape(n, 4))
        G = make_relation(rng.integers(0, 2, n))
        alignment = objective_of(encoder, linear_head(), part, G, batch_size=batch_size)
        orders = []
        for epoch in range(3):
            encoder.seen.clear()
            epoch_of(alignment, epoch)
            batches = [(x[:, 0] / 4).long() for x, _ in encoder.seen]
            sizes = [len(batch) for batch in batches]
            assert torch.equal(torch.cat(batches).sort().values, torch.arange(n))
            assert min(sizes) >= 2
            assert max(sizes) - min(sizes) <= 1
            orders.append(batches)
        if 8 < n > batch_size:  # other samples in each batch
            orders = [{tuple(batch.tolist()) for batch in batches} for batches in orders]
            assert orders[0] != orders[1] != orders[2]

    def test_the_loss_of_an_epoch_is_the_mean_by_samples(self, rng):
        alignment = alignment_of(rng, n=23, batch_size=3)
        value, _ = epoch_of(alignment)
        seen = alignment.encoder.seen
        sizes = [len(x) for x, _ in seen]
        assert len(set(sizes)) == 2
        losses = [float(loss_of_step(alignment, x, mask).detach()) for x, mask in seen]
        assert value == pytest.approx(np.average(losses, weights=sizes), rel=1e-12)


class TestDrawnPairs:
    @pytest.fixture
    def drawn(self, monkeypatch):
        """Places of the drawn pairs of each step, which their embeddings tell."""
        steps = []

        def spy(first, second, relations, *args, **kwargs):
            steps.append((first[:, 0].round().long().tolist(), second[:, 0].round().long().tolist(), relations))
            return sampled_pairs(first, second, relations, *args, **kwargs)

        monkeypatch.setattr("skrelmetric._hraml.objective.sampled_pairs", spy)
        return steps

    @pytest.fixture
    def telling(self, rng):
        """An alignment whose features are the samples, which are their own places."""
        encoder = nn.Linear(WIDTH, WIDTH, bias=False).double()
        nn.init.eye_(encoder.weight)
        part = subset_of(np.repeat(np.arange(5.0)[:, None], WIDTH, axis=1), np.array([0.1, 0.4, 0.2, 0.25, 0.05]))
        G = make_relation(rng.dirichlet(np.ones(4), 5))

        def alignment(**options):
            return objective_of(encoder, linear_head(), part, G, **options)

        return alignment

    def test_pairs_follow_the_weights(self, telling, drawn):
        n_pairs = 20_000
        alignment = telling(n_pairs=n_pairs)
        epoch_of(alignment)
        ((first, second, relations),) = drawn
        samples, G = all_of(alignment)
        p, G = samples.weights.numpy(), G.numpy()
        counts = Counter(zip(first, second, strict=True))
        for i in range(5):
            for j in range(5):
                q = p[i] * p[j]
                assert abs(counts[i, j] - n_pairs * q) < 5 * np.sqrt(n_pairs * q * (1 - q))
        np.testing.assert_allclose(relations, G[first, second], atol=1e-12)

    @pytest.mark.parametrize(
        ("batch_size", "sizes"),
        [(None, [50]), (20, [20, 20, 10]), (1, [1] * 50), (50, [50]), (99, [50]), (49, [49, 1])],
    )
    def test_batches_of_pairs(self, batch_size, sizes, telling, drawn):
        value, steps = epoch_of(telling(n_pairs=50, batch_size=batch_size))
        assert [len(first) for first, _, _ in drawn] == sizes
        assert len(steps) == len(sizes)
        assert np.isfinite(value)

    def test_an_epoch_draws_the_same_pairs_again_and_others_than_the_next(self, telling, drawn):
        for epoch, seed in ((0, 5), (0, 5), (1, 5), (0, 6)):
            epoch_of(telling(n_pairs=50, seed=seed), epoch)
        first, again, later, elsewhere = ([ends[0], ends[1]] for ends in drawn)
        assert first == again
        assert first != later
        assert first != elsewhere
        assert later != elsewhere

    @pytest.mark.parametrize("weight_decay", [0.0, 0.1])
    @pytest.mark.parametrize("hard_fraction", [1.0, 0.3])
    def test_gradient_is_that_of_the_explicit_loss(self, hard_fraction, weight_decay, rng):
        head = scaled_head()
        alignment = alignment_of(
            rng, n=9, head=head, n_pairs=40, hard_fraction=hard_fraction, weight_decay=weight_decay, relation="l1"
        )
        value, (gradients,) = epoch_of(alignment)
        samples, G = all_of(alignment)
        i, j = np.random.default_rng([5, 0]).choice(9, size=(2, 40), p=samples.weights.numpy())
        z = alignment.encoder(samples.X)
        D = head.log_scale.exp() * (z[i] - z[j]).square().sum(1)
        errors = (D + head.shift - G[i, j]).square()
        hardest = errors.argsort(descending=True)[: round(40 * hard_fraction)]
        loss = errors[hardest].mean() / 2
        loss = loss + weight_decay * sum(theta.square().sum() for theta in alignment.encoder.parameters())
        assert_close(gradients, torch.autograd.grad(loss, [*alignment.parameters()]))
        assert value == pytest.approx(float(loss.detach()), rel=1e-12)

    def test_each_sample_is_encoded_once_a_step(self, rng):
        alignment = alignment_of(rng, n=9, n_pairs=300, batch_size=100)
        epoch_of(alignment)
        assert [len(x) for x, _ in alignment.encoder.seen] == [9, 9, 9]

    def test_the_mean_loss_is_that_of_all_pairs(self, rng):
        alignment = alignment_of(rng, n_pairs=200_000)
        part, G = all_of(alignment)
        expected = all_pairs(alignment.encoder(part.X).detach(), G, part.weights, IDENTITY, 0.0)
        assert epoch_of(alignment)[0] == pytest.approx(float(expected), rel=0.03)


SCHEDULES = {
    "all": {},
    "chunks": {"chunk_size": 5},
    "batches": {"batch_size": 6},
    "drawn": {"n_pairs": 30, "batch_size": 9},
}


@pytest.mark.parametrize("options", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("head", [linear_head, lambda: RidgeHead(1.0)], ids=["linear", "ridge"])
class TestEpoch:
    def test_global_random_states_are_left_alone(self, head, options, rng):
        alignment = alignment_of(rng, encoder=Encoder(dropout=0.3), head=head(), **options)
        before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
        epoch_of(alignment)
        after = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
        assert torch.equal(before[0], after[0])
        np.testing.assert_equal(before[1], after[1])

    def test_it_depends_on_its_number_alone(self, head, options, rng):
        alignment = alignment_of(rng, encoder=Encoder(dropout=0.3), head=head(), **options)
        (value, steps), _, (again, steps_again) = (epoch_of(alignment, epoch) for epoch in (3, 4, 3))
        assert value == again
        for one, other in zip(steps, steps_again, strict=True):
            assert_close(one, other, 0.0)

    def test_the_encoder_is_in_training_within_and_in_evaluation_after(self, head, options, rng):
        alignment = alignment_of(rng, head=head(), **options)
        epoch_of(alignment)
        assert alignment.encoder.seen
        assert not alignment.encoder.training

    def test_training_lowers_the_loss(self, head, options, rng):
        alignment = alignment_of(rng, head=head(), **options)
        optimizer = torch.optim.Adam(alignment.parameters(), lr=0.03)
        before = alignment.alignment_error(alignment.samples)
        for epoch in range(20):
            alignment.run_epoch(epoch, optimizer)
        assert alignment.alignment_error(alignment.samples) < 0.9 * before


def test_lbfgs_trains_to_a_stationary_point(rng):
    alignment = alignment_of(rng, weight_decay=0.01)
    optimizer = torch.optim.LBFGS(alignment.encoder.parameters(), line_search_fn="strong_wolfe")
    start = epoch_of(alignment)
    for epoch in range(15):
        alignment.run_epoch(epoch, optimizer)
    end = epoch_of(alignment)
    assert end[0] < 0.5 * start[0]
    assert max(gradient.abs().max() for gradient in end[1][0]) < 1e-4


def test_features_are_found_again_after_an_epoch_and_for_other_samples(rng):
    alignment = alignment_of(rng, head=RidgeHead(1.0))
    features = alignment.features()
    assert alignment.features() is features
    alignment.run_epoch(0, torch.optim.SGD(alignment.parameters(), lr=0.1))
    assert not torch.equal(alignment.features().only.Z, features.only.Z)
    places = torch.tensor([2, 3, 8, 20])
    X = alignment.samples.partitions.only.samples.X
    alignment = alignment.over(alignment.samples.among(places))
    torch.testing.assert_close(alignment.features().only.Z, alignment.encoder(X[places]).detach())


@pytest.mark.parametrize("options", [{}, {"chunk_size": 2}, {"batch_size": 4}])
def test_other_samples_are_trained_as_if_there_were_no_others(options, rng):
    alignment = alignment_of(rng, relation="l1", **options)
    epoch_of(alignment)
    (samples, G), places = all_of(alignment), torch.tensor([2, 3, 8, 20])
    X, G = samples.X, G[places][:, places]
    alignment = alignment.over(alignment.samples.among(places))
    value, _ = epoch_of(alignment)
    p = alignment.samples.partitions.only.samples.weights
    assert float(p.sum()) == pytest.approx(1)
    expected = all_pairs(alignment.encoder(X[places]).detach(), G, p, IDENTITY, 0.0)
    assert value == pytest.approx(float(expected), rel=1e-12)


def strongest_factor(M, n_components):
    values, vectors = np.linalg.eigh(M)
    order = np.argsort(-values)[:n_components]
    return np.sqrt(np.maximum(values[order], 0))[:, None] * vectors[:, order].T


class TestCriteria:
    @pytest.fixture
    def split(self, rng):
        """Samples and targets, of which 30 or 6 are for training and the others for validation."""

        def alignment(head, n_train, n_components=WIDTH):
            n = n_train + 12
            samples = subset_of(rng.standard_normal((n, 4)), rng.dirichlet(np.full(n, 5.0)))
            G = make_relation(TARGETS["l1"](rng, n), "l1")
            alignment = objective_of(Encoder(), head, samples, G, n_components)
            whole, order = alignment.samples, torch.from_numpy(rng.permutation(n))
            alignment = alignment.over(whole.among(order[:n_train].sort().values))
            return alignment, whole.among(order[n_train:].sort().values), (samples, G)

        return alignment

    @pytest.mark.parametrize("n_judged", [2000, 5])
    @pytest.mark.parametrize("n_train", [30, 6])
    @pytest.mark.parametrize("n_components", [1, WIDTH])
    @pytest.mark.parametrize("exact", [False, True])
    def test_neighbour_error_is_that_of_brute_force(self, exact, n_components, n_train, n_judged, split, monkeypatch):
        monkeypatch.setattr("skrelmetric._training.validation.N_JUDGED", n_judged)
        head = RidgeHead(0.1) if exact else linear_head(learn_scale=True, log_scale=0.5)
        alignment, validation, (samples, G) = split(head, n_train, n_components)
        actual = alignment.neighbour_error(validation)
        with torch.no_grad():
            z = alignment.encoder(samples.X).numpy()
        # The features of a linear head are the embedding, of any dimension.
        L = strongest_factor(head.M.detach().numpy(), n_components if exact else WIDTH)
        G = G.block(EVERYTHING, EVERYTHING).numpy()
        training, judged = (subsets.partitions.only.samples for subsets in (alignment.samples, validation))
        training = training.rows.tolist()
        total = weight = 0.0
        every = -(-12 // n_judged)  # third of the twelve, or all
        for i, w in list(zip(judged.rows.tolist(), judged.weights.tolist(), strict=True))[::every]:
            nearest = sorted(training, key=lambda j: float(np.sum((L @ (z[i] - z[j])) ** 2)))[:10]
            total += w * np.mean([G[i, j] for j in nearest])
            weight += w
        assert actual == pytest.approx(total / weight, rel=1e-10)

    @pytest.mark.parametrize("head", [scaled_head, lambda: RidgeHead(0.1)], ids=["linear", "ridge"])
    def test_alignment_error_is_that_of_explicit_pairs(self, head, split):
        alignment, validation, (samples, G) = split(head(), 30)
        actual = alignment.alignment_error(validation)
        judged = validation.partitions.only.samples
        z, where = alignment.encoder(samples.X).detach()[judged.rows], judged.rows
        G = G.block(EVERYTHING, EVERYTHING)[where][:, where]
        M, b = alignment.head.M.detach(), float(alignment.head.offset.detach())
        assert actual == pytest.approx(float(all_pairs(z, G, judged.weights, M, b)), rel=1e-10)

    @pytest.mark.parametrize("criterion", ["neighbour_error", "alignment_error"])
    def test_judging_changes_nothing(self, criterion, split):
        alignment, validation, _ = split(linear_head(), 30)
        value, steps = epoch_of(alignment)
        first, second = (getattr(alignment, criterion)(validation) for _ in "ab")
        again, steps_again = epoch_of(alignment)
        assert first == second
        assert value == again
        assert_close(steps_again[0], steps[0], 0.0)


def test_whole_numbers_reach_an_embedding(rng):
    part = subset_of(rng.integers(0, 7, (9, 3)))
    encoder = nn.Sequential(nn.Embedding(7, 1), nn.Flatten())
    alignment = objective_of(encoder, linear_head(), part, make_relation(rng.integers(0, 2, 9)))
    value, (gradients,) = epoch_of(alignment)
    assert np.isfinite(value)
    assert gradients[0].any()


@pytest.mark.parametrize("options", SCHEDULES.values(), ids=SCHEDULES)
def test_sparse_samples_train_as_dense_ones(options, rng):
    X, G = rng.standard_normal((13, 4)) * (rng.random((13, 4)) < 0.4), make_relation(rng.integers(0, 3, 13))
    parts = subset_of(X), subset_of(sparse.csr_array(X))
    alignments = [objective_of(Encoder(), RidgeHead(1.0), part, G, **options) for part in parts]
    (value, steps), (sparse_value, sparse_steps) = map(epoch_of, alignments)
    assert sparse_value == pytest.approx(value, rel=1e-12)
    for expected, actual in zip(steps, sparse_steps, strict=True):
        assert_close(actual, expected)


class Watched(torch.Tensor):
    """Samples that note the length of whatever is made of them."""

    sizes: ClassVar[list[int]] = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            cls.sizes.append(len(result))
        return result


class TestMemoryMap:
    @pytest.fixture
    def alignment(self, tmp_path, rng):
        path = tmp_path / "samples.dat"
        rng.standard_normal((500, 4)).astype("f4").tofile(path)  # in another dtype than the encoder's
        X = np.memmap(path, "f4", "r", shape=(500, 4))
        G = make_relation(rng.integers(0, 3, 500))

        def alignment(head=None, **options):
            part = subset_of(X)
            assert part.X.data_ptr() == X.ctypes.data
            part = part._replace(X=part.X.as_subclass(Watched))
            return objective_of(Encoder(), head or linear_head(), part, G, **options)

        return alignment

    @pytest.fixture
    def sizes(self):
        Watched.sizes.clear()
        return Watched.sizes

    @pytest.mark.parametrize("exact", [False, True])
    def test_training_reads_chunks(self, exact, alignment, sizes, monkeypatch):
        monkeypatch.setattr("skrelmetric._training.encode._CHUNK_OF_INFERENCE", 100)
        alignment = alignment(RidgeHead(1.0) if exact else None, chunk_size=64)
        alignment.run_epoch(0, torch.optim.SGD(alignment.parameters(), lr=0.1))
        assert sizes == ([64] * 7 + [52]) * exact + [64, 64, 64, 64, 64, 64, 64, 52] * 2

    @pytest.mark.parametrize("options", [{"batch_size": 50}, {"n_pairs": 100, "batch_size": 25}])
    def test_training_reads_batches(self, options, alignment, sizes):
        alignment = alignment(**options)
        alignment.run_epoch(0, torch.optim.SGD(alignment.parameters(), lr=0.1))
        assert max(sizes) <= 50
        assert len(sizes) == (10 if "n_pairs" not in options else 4)

    def test_judging_reads_chunks(self, alignment, sizes, monkeypatch):
        monkeypatch.setattr("skrelmetric._training.encode._CHUNK_OF_INFERENCE", 100)
        alignment = alignment()
        alignment.neighbour_error(alignment.samples)
        alignment.alignment_error(alignment.samples)
        assert max(sizes) == 100


WRONG_IN_TRAINING = {
    **WRONG,
    "shape () and torch.float64": lambda z: z.sum(),
    "tuple": lambda z: (z, z),
    "NoneType": lambda z: None,
}


@pytest.mark.parametrize("what", WRONG_IN_TRAINING)
@pytest.mark.parametrize("options", [{}, {"n_pairs": 200}])
def test_training_an_encoder_that_returns_no_features_is_an_error(options, what, rng):
    alignment = alignment_of(rng, n=9, encoder=Returning(WRONG_IN_TRAINING[what]), **options)
    with wrong(what):
        epoch_of(alignment)


@pytest.mark.parametrize("options", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("head", [linear_head, lambda: RidgeHead(1.0)], ids=["linear", "ridge"])
def test_mixed_precision_is_near_and_keeps_weights(head, options, rng):
    results = []
    for mixed in (False, True):
        state, features = np.random.default_rng(0), []
        encoder = Encoder().float()
        alignment = alignment_of(state, encoder=encoder, head=head(), mixed_precision=mixed, **options)
        encoder.second.register_forward_hook(lambda module, x, z, kept=features: kept.append(z))
        value, steps = epoch_of(alignment)
        training = [z for z in features if z.requires_grad]
        assert {z.dtype for z in training} == {torch.bfloat16 if mixed else torch.float32}
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        results.append((value, torch.cat(training).detach().float(), torch.cat([g.ravel() for g in steps[0]])))
    (value, features, gradient), (mixed_value, mixed_features, mixed_gradient) = results
    assert mixed_value == pytest.approx(value, rel=0.02)
    assert 0 < (mixed_features - features).abs().max() < 0.02 * features.abs().max()
    assert torch.cosine_similarity(mixed_gradient, gradient, dim=0) > 0.999

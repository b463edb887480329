import math

import pytest
import torch

from skrelmetric.losses import (
    LOSSES,
    ArcFace,
    Batch,
    CosFace,
    Margin,
    NormalizedSoftmax,
    ProxyAnchor,
    ProxyNCA,
    RankedList,
    SmoothAP,
    SoftTriple,
    SupervisedContrastive,
    Triplet,
    _pairs,
    _ranking,
    _triplets,
)

pml = pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import distances, losses, miners  # noqa: E402

C, D = 5, 6
BOTH = pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(n, dtype=torch.float64, seed=0, width=D):
    return torch.randn(n, width, generator=generator(seed), dtype=torch.float64).to(dtype).requires_grad_()


def classes(n, seed=1):
    return torch.randint(0, C, (n,), generator=generator(seed))


def build(spec, dtype=torch.float64, n_groups=1, width=D):
    return spec.build(C, width, n_groups, generator(2), dtype)


def with_proxies(oracle, name, proxies):
    """Loss of pytorch-metric-learning with these proxies, as (n_proxies, width) or transposed."""
    parameter = getattr(oracle, name)
    transposed = name != "proxies"
    parameter.data = (proxies.T if transposed else proxies).detach().clone()
    return oracle, (lambda gradient: gradient.T) if transposed else (lambda gradient: gradient), parameter


# Name of the loss: how to build the oracle and the name of its proxies.
PROXIES = {
    "proxy_anchor": (lambda: losses.ProxyAnchorLoss(C, D, 0.1, 32), "proxies"),
    "cosface": (lambda: losses.CosFaceLoss(C, D, margin=0.35, scale=64), "W"),
    "normalized_softmax": (lambda: losses.NormalizedSoftmaxLoss(C, D, 0.05), "W"),
    "arcface": (lambda: losses.ArcFaceLoss(C, D, 28.6, 64), "W"),
    "proxy_nca": (lambda: losses.ProxyNCALoss(C, D, softmax_scale=1), "proxies"),
    "proxy_nca_pp": (lambda: losses.ProxyNCALoss(C, D, softmax_scale=9), "proxies"),
    "soft_triple": (lambda: losses.SoftTripleLoss(C, D, 10, 20, 0.1, 0.01), "fc"),
}


def close(actual, expected, rtol):
    scale = float(expected.detach().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * max(scale, 1e-3))


@pytest.mark.parametrize("n_groups", [1, 3])
@pytest.mark.parametrize("name", PROXIES)
@BOTH
def test_proxy_loss_is_that_of_pytorch_metric_learning_summed_over_groups(name, n_groups, dtype, rtol):
    Z, codes = samples(40, dtype), classes(40)
    groups = torch.randint(0, n_groups, (40,), generator=generator(3))
    loss = build(LOSSES[name], dtype, n_groups)
    value = loss(Z, Batch.of_classes(codes, C, groups, n_groups), generator())
    value.backward()
    make, parameter_name = PROXIES[name]
    reference, expected, gradients = Z.detach().clone().requires_grad_(), 0, []
    parts = []
    for k in range(n_groups):
        oracle, turn, parameter = with_proxies(make(), parameter_name, loss.proxies[k])
        expected = expected + oracle(reference[groups == k], codes[groups == k])
        parts.append((turn, parameter))
    expected.backward()
    gradients = torch.stack([turn(parameter.grad) for turn, parameter in parts])
    close(value, expected, rtol)
    close(Z.grad, reference.grad, rtol * 10)
    close(loss.proxies.grad, gradients, rtol * 10)


def degrees(n, seed=4):
    """Labels in degrees, some unknown."""
    p = torch.rand(n, C, generator=generator(seed), dtype=torch.float64)
    p = torch.where(p < 0.4, 0.0, p)
    p[:, 0] = 0  # a label that no sample has
    known = torch.rand(n, C, generator=generator(seed + 1), dtype=torch.float64) > 0.3
    return torch.where(known, p, 0.0), torch.where(known, 1 - p, 0.0)


def soft_batch(n, n_groups=1, seed=4):
    """Batch of several labels for each sample, in degrees."""
    positive, negative = degrees(n, seed)
    groups = torch.randint(0, n_groups, (n,), generator=generator(seed + 2))
    return Batch(None, None, positive, negative, groups, n_groups)


class TestProxyAnchor:
    @pytest.mark.parametrize("n_groups", [1, 2])
    def test_labels_in_degrees(self, n_groups):
        Z, batch, loss = samples(12), soft_batch(12, n_groups), build(ProxyAnchor(0.2, 5.0), n_groups=n_groups)
        proxies = loss.proxies.detach()
        s = torch.nn.functional.normalize(Z.detach(), dim=1) @ torch.nn.functional.normalize(proxies, dim=2).mT
        total = 0.0
        for k in range(n_groups):
            members, pull, push, present = [i for i in range(12) if batch.groups[i] == k], 0.0, 0.0, 0
            for c in range(C):
                pull += math.log(1 + sum(batch.positive[i, c] * math.exp(-5 * (s[k, i, c] - 0.2)) for i in members))
                push += math.log(1 + sum(batch.negative[i, c] * math.exp(5 * (s[k, i, c] + 0.2)) for i in members))
                present += any(batch.positive[i, c] > 0 for i in members)
            total += pull / present + push / C
        assert loss(Z, batch, generator()).item() == pytest.approx(total, rel=1e-12)

    def test_large_alpha_stays_finite_in_single_precision(self):
        Z, loss = samples(30, torch.float32), build(ProxyAnchor(alpha=500.0), torch.float32)
        value = loss(Z, Batch.of_classes(classes(30), C), generator())
        value.backward()
        assert value.isfinite()
        assert Z.grad.isfinite().all()
        assert loss.proxies.grad.isfinite().all()

    def test_proxies_have_the_variance_of_kaiming_fan_out(self):
        proxies = ProxyAnchor().build(50, 200, 2, generator(), torch.float64).proxies
        assert proxies.std().item() == pytest.approx(math.sqrt(2 / 50), rel=0.02)


SOFTMAX = {
    CosFace(0.2, 5.0): lambda s, has: 5 * (s - 0.2 * has.double()),
    ArcFace(20.0, 5.0): lambda s, has: 5 * torch.where(has, (s.acos() + math.pi / 9).cos(), s),
    NormalizedSoftmax(0.3): lambda s, has: s / 0.3,
    ProxyNCA(3.0): lambda s, has: -3 * (2 - 2 * s),  # squared distances of unit vectors
    SoftTriple(2, 5.0, 0.2, 0.1): lambda s, has: 5 * (chosen(s.reshape(C, 2), 0.2) - 0.1 * has.double()),
}


def test_proxy_nca_pp_is_the_probability_of_a_proxy_at_a_low_temperature():
    Z, codes, loss = samples(10), classes(10), build(LOSSES["proxy_nca_pp"])
    U, P = (torch.nn.functional.normalize(x.detach(), dim=1) for x in (Z, loss.proxies[0]))
    expected = 0.0
    for u, c in zip(U, codes, strict=True):
        likelihoods = [math.exp(-float((u - p) @ (u - p)) * 9) for p in P]
        expected -= math.log(likelihoods[c] / sum(likelihoods)) / 10
    assert loss(Z, Batch.of_classes(codes, C), generator()).item() == pytest.approx(expected, rel=1e-12)
    same = build(NormalizedSoftmax(1 / 18))
    same.load_state_dict(loss.state_dict())
    close(*(each(Z, Batch.of_classes(codes, C), generator()) for each in (loss, same)), 1e-12)


def chosen(s, temperature):
    weights = (s / temperature).exp()
    return (weights * s).sum(1) / weights.sum(1)


@pytest.mark.parametrize("spec", SOFTMAX)
def test_softmax_of_labels_in_degrees(spec):
    Z, batch, loss = samples(14), soft_batch(14, 2), build(spec, n_groups=2)
    batch.positive[0], batch.negative[0] = 0, 0  # nothing is known of it
    batch.positive[1], batch.negative[1] = 0, 1
    expected = [[], []]
    for i in range(14):
        p, k = batch.positive[i], int(batch.groups[i])
        cosines = torch.nn.functional.cosine_similarity(Z[i], loss.proxies[k], dim=1)
        logits = SOFTMAX[spec](cosines, p > 0)
        known = (p > 0) | (batch.negative[i] > 0)
        if p.sum() > 0:
            expected[k].append(-(p / p.sum() * (logits - logits[known].exp().sum().log())).sum())
    value, expected = loss(Z, batch, generator()), sum(sum(part) / len(part) for part in expected)
    close(value, expected, 1e-12)
    close(*(torch.autograd.grad(v, Z)[0] for v in (value, expected)), 1e-10)


EUCLIDEAN = distances.LpDistance(normalize_embeddings=True, p=2)


def semi_hard(Z, codes):
    mined = miners.TripletMarginMiner(0.2, "semihard", distance=EUCLIDEAN)(Z, codes)
    return losses.TripletMarginLoss(0.2, distance=EUCLIDEAN)(Z, codes, mined)


PAIRS = {
    "triplet": semi_hard,
    "triplet_all": losses.TripletMarginLoss(0.2, distance=EUCLIDEAN),
    "contrastive": losses.ContrastiveLoss(0, 1, distance=EUCLIDEAN),
    "multi_similarity": losses.MultiSimilarityLoss(2, 50, 0.5),
    "circle": losses.CircleLoss(0.4, 80),
    "supcon": losses.SupConLoss(0.1),
}


@pytest.mark.parametrize("n_groups", [1, 3])
@pytest.mark.parametrize("n", [9, 40])
@pytest.mark.parametrize("name", PAIRS)
@BOTH
def test_pair_loss_is_that_of_pytorch_metric_learning_summed_over_groups(name, n, n_groups, dtype, rtol):
    Z, codes = samples(n, dtype), classes(n)
    groups = torch.randint(0, n_groups, (n,), generator=generator(3))
    value = build(LOSSES[name], dtype, n_groups)(Z, Batch.of_classes(codes, C, groups, n_groups), generator())
    value.backward()
    reference = Z.detach().clone().requires_grad_()
    expected = sum(PAIRS[name](reference[groups == k], codes[groups == k]) for k in range(n_groups))
    expected.backward()
    close(value, expected, rtol)
    close(Z.grad, reference.grad, rtol * 10)


def some_pairs(n, n_groups=2, seed=7):
    """Masks that no classes have: similarity is not transitive, and some pairs are neither."""
    groups = torch.randint(0, n_groups, (n,), generator=generator(seed))
    u = torch.rand(n, n, generator=generator(seed + 1)).triu(1)
    u, together = u + u.T, groups[:, None] == groups
    similar = ((u > 0.6) & together).fill_diagonal_(False)
    return Batch(similar, ((u < 0.4) & together).fill_diagonal_(False), None, None, groups, n_groups)


def summed_means(terms, batch):
    """Sum over groups of the mean of terms {sample: term}."""
    of_groups = [[term for i, term in terms.items() if batch.groups[i] == k] for k in range(batch.n_groups)]
    return sum(sum(part) / len(part) for part in of_groups if part)


def same_value_and_gradient(spec, Z, batch, expected):
    value = build(spec, n_groups=batch.n_groups)(Z, batch, generator())
    close(value, expected, 1e-12)
    close(*(torch.autograd.grad(v, Z)[0] for v in (value, expected)), 1e-10)


class TestSupervisedContrastive:
    @pytest.mark.parametrize("of_sets", [True, False])
    def test_positives_count_by_the_overlap_of_known_labels(self, of_sets):
        Z, batch = samples(14), soft_batch(14, 2)
        p, q = batch.positive, batch.negative
        if of_sets:
            q[:] = (q > 0) & (p == 0)
            p[:] = p > 0
        p[:3], q[:3] = 0, torch.tensor([[0.0], [1.0], [1.0]])  # nothing is known of one, two are known to have none
        batch = batch._replace(groups=batch.groups.index_fill(0, torch.tensor([1, 2]), 0))
        known = p + q > 0
        s, terms = torch.nn.functional.normalize(Z, dim=1), {}
        s = s @ s.T / 0.2
        for i in range(14):
            others = [j for j in range(14) if j != i and batch.groups[i] == batch.groups[j]]
            others = [j for j in others if (known[i] & known[j]).any()]
            weights = {}
            for j in others:
                both = known[i] & known[j]
                most = torch.maximum(p[i], p[j])[both].sum()
                weights[j] = torch.minimum(p[i], p[j])[both].sum() / most if most else torch.tensor(1.0)
            if any(w > 0 for w in weights.values()):
                rest = torch.stack([s[i, j] for j in others]).logsumexp(0)
                terms[i] = sum(w * (rest - s[i, j]) for j, w in weights.items()) / sum(weights.values())
        assert 0 not in terms
        assert {1, 2} <= terms.keys()
        same_value_and_gradient(SupervisedContrastive(0.2), Z, batch, summed_means(terms, batch))

    def test_samples_that_share_nothing_are_no_positives_in_single_precision(self):
        p = torch.rand(2, 40, generator=generator()) * torch.tensor([[1.0], [0.0]]).expand(2, 40)
        p[1] = p[0].flip(0)
        p[0, :20] = p[1, 20:] = 0
        batch = Batch(None, None, p, 1 - p, torch.zeros(2, dtype=torch.int64), 1)
        assert build(LOSSES["supcon"], torch.float32)(samples(2, torch.float32), batch, generator()) == 0


class TestSmoothAP:
    @pytest.mark.parametrize("n_groups", [1, 2])
    def test_value_and_gradient_are_those_of_pytorch_metric_learning(self, n_groups):
        # The oracle takes as many classes as each has samples, in order, and sums in single precision.
        Z, codes = samples(9 * n_groups), torch.arange(3).repeat_interleave(3).repeat(n_groups)
        groups, oracle = torch.arange(n_groups).repeat_interleave(9), losses.SmoothAPLoss(0.1)
        value = build(SmoothAP(0.1), n_groups=n_groups)(Z, Batch.of_classes(codes, C, groups, n_groups), generator())
        expected = sum(oracle(Z[groups == k], codes[groups == k]) for k in range(n_groups))
        close(value, expected.double(), 1e-6)
        close(*(torch.autograd.grad(v, Z)[0] for v in (value, expected)), 1e-5)

    @pytest.mark.parametrize("cells", [2**20, 40])
    def test_any_pairs_in_any_number_of_chunks(self, cells, monkeypatch):
        monkeypatch.setattr(_ranking, "_CELLS", cells)
        Z, batch = samples(14), some_pairs(14)
        batch.similar[0] = batch.similar[:, 0] = False  # it ranks the others for nobody, and does not count
        s, terms = torch.nn.functional.normalize(Z, dim=1), {}
        s = s @ s.T
        for q in range(14):
            similar = [i for i in range(14) if batch.similar[q, i]]
            ranked = [*similar, q, *(i for i in range(14) if batch.dissimilar[q, i])]
            ap = 0.0
            for i in [*similar, q]:
                above = {j: 1 / (1 + torch.exp(-(s[q, j] - s[q, i]) / 0.1)) for j in ranked if j != i}
                ap = ap + (1 + sum(above[j] for j in [*similar, q] if j != i)) / (1 + sum(above.values()))
            if similar:
                terms[q] = 1 - ap / (len(similar) + 1)
        same_value_and_gradient(SmoothAP(0.1), Z, batch, summed_means(terms, batch))

    def test_low_temperatures_give_average_precision(self):
        batch, Z = some_pairs(14), samples(14)
        s = torch.nn.functional.normalize(Z.detach(), dim=1)
        s, terms = s @ s.T, {}
        for q in range(14):
            ranked = sorted((i for i in range(14) if (batch.similar | batch.dissimilar)[q, i]), key=lambda i: -s[q, i])
            hits = [1, *(int(batch.similar[q, i]) for i in ranked)]  # it finds itself first
            precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits)) if hits[k]]
            if sum(hits) > 1:
                terms[q] = 1 - sum(precisions) / len(precisions)
        value = build(SmoothAP(1e-6), n_groups=2)(Z, batch, generator())
        assert value.item() == pytest.approx(summed_means(terms, batch), rel=1e-9)


class TestRankedList:
    def test_any_pairs(self):
        Z, batch, spec = samples(14), some_pairs(14), RankedList(1.3, 0.3, 5.0, 0.7)
        U, terms = torch.nn.functional.normalize(Z, dim=1), {}
        for i in range(14):
            far = [torch.dist(U[i], U[j]) - 1.0 for j in range(14) if batch.similar[i, j]]
            far, near = [v for v in far if v > 0], [1.3 - torch.dist(U[i], U[j]) for j in range(14)]
            near = [v for j, v in enumerate(near) if batch.dissimilar[i, j] and v > 0]
            weights = [math.exp(5 * v.item()) for v in near]
            push = sum(w * v for w, v in zip(weights, near, strict=True)) / max(sum(weights), 1)
            terms[i] = 0.3 * sum(far) / max(len(far), 1) + 0.7 * push
        same_value_and_gradient(spec, Z, batch, summed_means(terms, batch))

    def test_value_is_that_of_pytorch_metric_learning(self):
        Z, codes = samples(40), classes(40)
        oracle = losses.RankedListLoss(margin=0.4, Tn=5, imbalance=0.3, alpha=1.2)
        value = build(RankedList(temperature=5.0, balance=0.3))(Z, Batch.of_classes(codes, C), generator())
        assert value.item() == pytest.approx(oracle(Z, codes).item(), rel=1e-3)  # it adds 1e-5 to each weight


def mean_of_active(Z, batch, triplets, margin):
    """Sum over groups of the mean positive violation, triplet by triplet."""
    U, total = torch.nn.functional.normalize(Z, dim=1), 0.0
    for k in range(batch.n_groups):
        d = [torch.dist(U[a], U[p]) - torch.dist(U[a], U[n]) for a, p, n in triplets if batch.groups[a] == k]
        active = [v + margin for v in d if v + margin > 0]
        total += sum(active) / max(len(active), 1)
    return total


class TestTriplet:
    @pytest.mark.parametrize("mining", ["semi-hard", "all"])
    def test_every_triplet_of_any_pairs(self, mining):
        Z, batch = samples(12), some_pairs(12)
        value = build(Triplet(0.3, mining))(Z, batch, generator())
        U = torch.nn.functional.normalize(Z.detach(), dim=1)
        triplets = [
            (a, p, n)
            for a in range(12)
            for p in range(12)
            for n in range(12)
            if batch.similar[a, p]
            and batch.dissimilar[a, n]
            and (mining == "all" or torch.dist(U[a], U[n]) > torch.dist(U[a], U[p]))
        ]
        expected = mean_of_active(Z, batch, triplets, 0.3)
        close(value, expected, 1e-12)
        close(*(torch.autograd.grad(v, Z)[0] for v in (value, expected)), 1e-10)

    def test_random_draws_one_dissimilar_sample_for_each_similar_pair(self, monkeypatch):
        drawn = []
        draw = _triplets.drawn
        monkeypatch.setattr(_triplets, "drawn", lambda *args: drawn.append(draw(*args)) or drawn[-1])
        Z, batch = samples(12), some_pairs(12)
        value = build(Triplet(0.3, "random"))(Z, batch, generator())
        index, present = _pairs.similar_of_each(batch.similar)
        assert present.sum() == batch.similar.sum()
        triplets = [
            (a, int(index[a, i]), int(drawn[0][a, i]))
            for a, i in present.nonzero().tolist()
            if batch.dissimilar[a].any()
        ]
        assert all(batch.similar[a, p] and batch.dissimilar[a, n] for a, p, n in triplets)
        expected = mean_of_active(Z, batch, triplets, 0.3)
        close(value, expected, 1e-12)
        close(*(torch.autograd.grad(v, Z)[0] for v in (value, expected)), 1e-10)

    def test_draws_follow_the_weights(self):
        weights = torch.tensor([[0.0, 1.0, 3.0, 0.0], [2.0, 0.0, 0.0, 2.0]])
        drawn = _pairs.drawn(weights, 20_000, generator())
        shares = torch.stack([(drawn == j).double().mean(1) for j in range(4)], 1)
        torch.testing.assert_close(shares, (weights / 4).double(), rtol=0, atol=0.015)
        assert (shares[weights == 0] == 0).all()


@BOTH
def test_n_pair_with_two_samples_of_each_class_is_that_of_pytorch_metric_learning(dtype, rtol):
    codes = torch.randperm(10, generator=generator(3)) % C
    groups = codes % 2
    Z = samples(10, dtype)
    value = build(LOSSES["n_pair"], dtype, 2)(Z, Batch.of_classes(codes, C, groups, 2), generator())
    value.backward()
    reference = Z.detach().clone().requires_grad_()
    expected = sum(losses.NPairsLoss()(reference[groups == k], codes[groups == k]) for k in range(2))
    expected.backward()
    close(value, expected, rtol)
    close(Z.grad, reference.grad, rtol * 10)


def test_n_pair_of_masks_that_no_classes_have(monkeypatch):
    Z, batch = samples(14), some_pairs(14)
    drawn = []
    draw = _pairs.drawn
    monkeypatch.setattr(_pairs, "drawn", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    value = build(LOSSES["n_pair"], n_groups=2)(Z, batch, generator())
    partners = drawn[0][:, 0].tolist()
    anchors = [a for a in range(14) if any(batch.similar[a, b] for b in range(a + 1, 14))]
    assert all(batch.similar[a, partners[a]] and partners[a] > a for a in anchors)
    U, terms = torch.nn.functional.normalize(Z, dim=1), [[], []]
    for a in anchors:
        others = [partners[b] for b in anchors if batch.dissimilar[a, partners[b]]]
        terms[batch.groups[a]].append(
            -torch.log_softmax(torch.stack([U[a] @ U[partners[a]], *(U[a] @ U[b] for b in others)]), 0)[0]
        )
    expected = sum(sum(part) / len(part) for part in terms)
    close(value, expected, 1e-12)
    close(*(torch.autograd.grad(v, Z)[0] for v in (value, expected)), 1e-10)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arcface_has_finite_gradients_at_its_proxies(dtype, sign):
    loss = build(LOSSES["arcface"], dtype)
    Z = (sign * loss.proxies[0]).detach().clone().requires_grad_()
    loss(Z, Batch.of_classes(torch.arange(C), C), generator()).backward()
    assert Z.grad.isfinite().all()
    assert loss.proxies.grad.isfinite().all()


class TestMargin:
    @pytest.mark.parametrize("n_groups", [1, 3])
    @BOTH
    def test_given_triplets_the_loss_is_that_of_pytorch_metric_learning(self, n_groups, dtype, rtol, monkeypatch):
        Z, codes = samples(40, dtype), classes(40)
        groups = torch.randint(0, n_groups, (40,), generator=generator(3))
        drawn = []
        draw = _triplets.drawn
        monkeypatch.setattr(_triplets, "drawn", lambda *args: drawn.append(draw(*args)) or drawn[-1])
        loss, batch = build(Margin(), dtype, n_groups), Batch.of_classes(codes, C, groups, n_groups)
        with torch.no_grad():
            loss.beta.add_(torch.rand(n_groups, C, generator=generator(5)))
        value = loss(Z, batch, generator())
        value.backward()
        p, present = _pairs.similar_of_each(batch.similar)
        d = _pairs.distances(torch.nn.functional.normalize(Z.detach(), dim=1))
        weights = _triplets._distance_weights(d, batch.dissimilar, D, 0.5, 1.4)
        present &= (weights > 0).any(1)[:, None]
        reference, expected, oracles = Z.detach().clone().requires_grad_(), 0.0, []
        for k in range(n_groups):
            oracle = losses.MarginLoss(0.2, 0, 1.2, learn_beta=True, num_classes=C, distance=EUCLIDEAN)
            oracle.beta.data = loss.beta[k].detach().clone()
            oracles.append(oracle)
            a, i = (present & (groups == k)[:, None]).nonzero(as_tuple=True)
            expected = expected + oracle(reference, codes, (a, p[a, i], drawn[0][a, i]))
        expected.backward()
        close(value, expected, rtol)
        close(Z.grad, reference.grad, rtol * 10)
        close(loss.beta.grad, torch.stack([oracle.beta.grad for oracle in oracles]), rtol * 10)

    @pytest.mark.parametrize("width", [2, 3, 8, 64])
    def test_weights_are_those_of_pytorch_metric_learning(self, width, monkeypatch):
        Z, codes = samples(30, width=width).detach(), classes(30)
        captured = []
        name = "get_random_triplet_indices"
        empty = (torch.zeros(0, dtype=torch.int64),) * 3
        monkeypatch.setattr(
            miners.distance_weighted_miner.lmu, name, lambda *a, weights, **k: captured.append(weights) or empty
        )
        miners.DistanceWeightedMiner(0.5, 1.4)(Z, codes)
        d = _pairs.distances(torch.nn.functional.normalize(Z, dim=1))
        weights = _triplets._distance_weights(d, Batch.of_classes(codes, C).dissimilar, width, 0.5, 1.4)
        torch.testing.assert_close(weights, captured[0].nan_to_num(0), rtol=1e-9, atol=1e-12)

    def test_boundary_of_a_sample_is_the_mean_of_its_labels(self):
        batch, loss = soft_batch(9, 2), build(Margin(), n_groups=2)
        batch.positive[0] = 0
        with torch.no_grad():
            loss.beta.copy_(torch.rand(2, C, generator=generator(5)))
        for i, boundary in enumerate(loss._boundaries(batch, torch.float64).tolist()):
            p, b = batch.positive[i], loss.beta[batch.groups[i]].detach()
            assert boundary == pytest.approx(float(p @ b / p.sum()) if p.sum() else 1.2)


BATCHES = {
    "empty": (0, []),
    "one sample": (1, [2]),
    "one class": (4, [1, 1, 1, 1]),
    "no similar pairs": (4, [0, 1, 2, 3]),
    "duplicates": (6, [0, 0, 1, 1, 0, 1]),
}


@pytest.mark.parametrize("which", BATCHES)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_batches_and_empty_groups_are_finite(name, which, dtype):
    n, codes = BATCHES[which]
    Z = samples(n, dtype).detach()
    Z = (torch.ones_like(Z) if which == "duplicates" else Z).requires_grad_()
    loss = build(LOSSES[name], dtype, n_groups=3)
    groups = torch.full((n,), 1)
    value = loss(Z, Batch.of_classes(torch.tensor(codes, dtype=torch.int64), C, groups, 3), generator())
    value.backward()
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.isfinite()
    assert Z.grad.isfinite().all()
    for parameter in loss.parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad[[0, 2]] == 0).all()
    if which == "empty" or (which == "one sample" and "pairs" in LOSSES[name].uses):
        assert value == 0
        assert (Z.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    loss = build(LOSSES[name], n_groups=2)
    codes, groups = classes(10), torch.arange(10) % 2
    batch = Batch.of_classes(codes, C, groups, 2)
    if name in ("circle", "ranked_list"):
        pytest.skip("weights of pairs are constants of the gradient")
    torch.autograd.gradcheck(lambda Z: loss(Z, batch, generator()), samples(10), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_random_numbers_come_from_the_generator(name):
    state = torch.random.get_rng_state()
    first, second = build(LOSSES[name]), build(LOSSES[name])
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    Z, batch = samples(30), Batch.of_classes(classes(30), C)
    torch.testing.assert_close(first(Z, batch, generator(9)), second(Z, batch, generator(9)), rtol=0, atol=0)
    assert (torch.random.get_rng_state() == state).all()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ProxyAnchor(alpha=0), "alpha=0 of ProxyAnchor must be a finite number above 0"),
        (ArcFace(margin=181), "margin=181 of ArcFace is in degrees and must not exceed 180"),
        (SoftTriple(centers=1.5), "centers=1.5 of SoftTriple must be a whole number above 0"),
        (CosFace(scale=True), "scale=True of CosFace must be a finite number above 0"),
        (CosFace(margin=-0.1), "margin=-0.1 of CosFace must be a finite number of at least 0"),
        (Margin(cutoff=0), "cutoff=0 of Margin must be a finite number above 0"),
        (Triplet(margin=-1), "margin=-1 of Triplet must be a finite number above 0"),
        (Triplet(mining="hard"), "mining='hard' of Triplet is not known"),
        (SupervisedContrastive(0), "temperature=0 of SupervisedContrastive must be a finite number above 0"),
        (SmoothAP(float("inf")), "temperature=inf of SmoothAP must be a finite number above 0"),
        (RankedList(margin=1.3), "margin=1.3 of RankedList must not exceed 1.2"),
        (RankedList(balance=1.1), "balance=1.1 of RankedList must not exceed 1"),
        (RankedList(temperature=-1), "temperature=-1 of RankedList must be a finite number of at least 0"),
        (ProxyAnchor(margin=float("nan")), "margin=nan of ProxyAnchor must be a finite number"),
    ],
)
def test_invalid_hyperparameters_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        build(spec)


@pytest.mark.parametrize("name", LOSSES)
def test_samples_of_no_direction_pass_no_gradient_on(name):
    Z = samples(12).detach()
    Z[:2] = 0
    Z.requires_grad_()
    loss = build(LOSSES[name])
    loss(Z, Batch.of_classes(torch.arange(12) % 4, C), generator()).backward()
    assert (Z.grad[:2] == 0).all()
    assert Z.grad.abs().max() < 1e3


@pytest.mark.parametrize("name", LOSSES)
def test_embeddings_that_are_no_numbers_are_no_loss_of_zero(name):
    Z = torch.full((12, D), float("nan"), dtype=torch.float64)
    assert build(LOSSES[name])(Z, Batch.of_classes(torch.arange(12) % 4, C), generator()).isnan()

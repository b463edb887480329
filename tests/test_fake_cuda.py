"""Every numerical function on "cuda", by torch's rules and with true values, on a machine without a GPU.

`CASES` is the table of functions; a function of the torch modules that no case enters fails the last test by name.
"""

import dis
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from inspect import CO_OPTIMIZED
from itertools import product
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import skrelmetric
from skrelmetric import mahalanobis
from skrelmetric._alignment.coordinates import principal_coordinates
from skrelmetric._alignment.loss import (
    AllPairs,
    Distance,
    PairLoss,
    PairSums,
    RelationMoments,
    pair_loss,
    sampled_pairs,
)
from skrelmetric._alignment.problem import Problem, problem
from skrelmetric._alignment.ridge import constrained_ridge, predictions_alone, ridge
from skrelmetric._alignment.sampled_pairs import PairSample, kernel_ridge, support_vectors
from skrelmetric._data.partitions import InMemory
from skrelmetric._data.read import described, weighted
from skrelmetric._data.samples import Samples
from skrelmetric._data.subset import Subset
from skrelmetric._data.targets import read_targets
from skrelmetric._drml.ensemble import PlainHead, RelationalEnsemble
from skrelmetric._drml.objective import Discrimination, OwnLoss, PlainDiscrimination, Weights
from skrelmetric._drml.supervision import Supervision, pair_relation
from skrelmetric._hraml.heads import LinearHead, RidgeHead
from skrelmetric._hraml.neighbours import Ballots, Vote
from skrelmetric._interop.arrays import float_dtypes, holds_integers, integer_dtype, of_dtype
from skrelmetric._interop.randomness import drawing
from skrelmetric._interop.torch import like, resolve_device
from skrelmetric._search.device import TensorSearch
from skrelmetric._search.retrieval import retrieve
from skrelmetric.encoders import MLP, Laplacian, Tanh
from skrelmetric.losses import LOSSES, Batch, NPair, ProxyAnchor, Triplet
from skrelmetric.mahalanobis import psd_factor, with_positive_sign
from skrelmetric.relations import GivenPairs, Jeffreys, _operators, _reals, make_relation
from skrelmetric.trunks import efficientnet_lite0, freeze_batch_norm
from tests.fake_cuda import CUDA, fake_cuda

PACKAGE = Path(skrelmetric.__file__).parent
FLOATS = [torch.float64, torch.float32]


class Case(NamedTuple):
    """An entry of the table.

    Attributes
    ----------
    run : callable
        Returns tensors; takes what moves tensors and modules to a device.
    floats : set of torch.dtype
        Floating dtypes of the results, both where some of them are the rows of float32 samples.
    on_host : str
        Why it copies tensors from the GPU; empty for one that does not.
    """

    run: Callable
    floats: set
    on_host: str


CASES: dict[str, Case] = {}
BOTH = {torch.float32, torch.float64}


def case(name: str, floats=None, on_host: str = "", **options):
    """Enter a function in the table, several times with other options; floats are float64, or of the option `dtype`."""

    def enter(run):
        dtypes = {options.get("dtype", torch.float64)} if floats is None else floats
        CASES[name] = Case(partial(run, **options), dtypes, on_host)
        return run

    return enter


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def draw(*shape, high, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, high, shape))


def shares(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1]))


def device_of(place):
    return place(torch.zeros(())).device


def generator():
    return torch.Generator().manual_seed(0)


# --- losses, relational, discrimination, supervision

N, N_LABELS, WIDTH, N_GROUPS = 14, 4, 3, 2


def of_classes(place):
    codes, groups = place(torch.arange(N) % N_LABELS), place(torch.arange(N) // 7)
    return Batch.of_classes(codes, N_LABELS, groups, N_GROUPS).of(place(torch.arange(N).flip(0)))


def in_degrees(place):
    degrees, known = place(shares(N, N_LABELS)), place(draw(N, N_LABELS, high=4) > 0)
    near = place(normal(N, N) + normal(N, N).T)
    similar, dissimilar = (near > 0.5).fill_diagonal_(False), near < -0.5
    batch = Batch(similar, dissimilar, degrees * known, (1 - degrees) * known, place(draw(N, high=1)), 1)
    return batch.divided(place(draw(N, high=N_GROUPS)), N_GROUPS)


for _name, _targets in product(LOSSES, (of_classes, in_degrees)):

    @case(f"losses.{_name}, {_targets.__name__}", spec=LOSSES[_name], targets=_targets)
    def loss_of_groups(place, spec, targets):
        draws = generator()
        loss = place(spec.build(N_LABELS, WIDTH, N_GROUPS, draws, torch.float64))
        return loss(place(normal(N, WIDTH)), targets(place), draws)


@case("losses.ProxyAnchor, sharp", {torch.float32}, spec=ProxyAnchor(alpha=400.0))
@case("losses.NPair, one group", {torch.float32}, spec=NPair())
def loss_of_one_group(place, spec):
    draws = generator()
    loss = place(spec.build(N_LABELS, WIDTH, 1, draws))
    batch = Batch.of_classes(place(torch.arange(N) % N_LABELS), N_LABELS)
    return loss(place(normal(N, WIDTH).float()), batch, draws)


def ensemble_of(place, **options):
    return place(RelationalEnsemble(8, 6, 3, generator(), **options))


for _options in (
    {},
    {"split_features": True, "n_inputs": 9},
    {"score": "softmax", "reconstruction": "mse", "stop_gradient": False, "normalize_nodes": False},
):

    @case(f"relational.RelationalEnsemble{tuple(_options.values())}", {torch.float32}, options=_options)
    def relational_ensemble(place, options):
        n_inputs = options.get("n_inputs", 8)
        options = {name: value for name, value in options.items() if name != "n_inputs"}
        ensemble = place(RelationalEnsemble(n_inputs, 6, 3, generator(), **options))
        y = place(normal(N, n_inputs).float())
        made = ensemble(y)
        return *made, ensemble.errors(y, made.nodes)


@case("discrimination, argmin", {torch.float32}, assignment="argmin")
@case("discrimination, all", {torch.float32}, assignment="all")
@case(
    "discrimination, balanced", {torch.float32}, on_host="prices of branches are sought by numpy", assignment="balanced"
)
def discrimination(place, assignment):
    draws, y = generator(), np.arange(40) % N_LABELS
    ensemble = place(RelationalEnsemble(8, 6, 3, draws))
    of_branches, of_embedding = (place(ProxyAnchor().build(N_LABELS, 6 // k, k, draws)) for k in (3, 1))
    supervision = Supervision(y, device=device_of(place))
    rows = place(draw(N, high=40))
    objective = Discrimination(ensemble, of_branches, of_embedding, supervision, Weights(), assignment)
    return objective(place(normal(N, 8).float()), rows, draws)


@case("discrimination.PlainDiscrimination", {torch.float32})
def plain_discrimination(place):
    draws, y = generator(), np.arange(40) % N_LABELS
    supervision = Supervision(y, device=device_of(place))
    head = place(PlainHead(8, 6, 3, draws, torch.float32))
    objective = PlainDiscrimination(head, Triplet().build(N_LABELS, 6, 1, draws), supervision)
    return objective.total(place(normal(N, 8).float()), place(draw(N, high=40)), draws)


@case("discrimination.OwnLoss")
def own_loss(place):
    loss = OwnLoss([lambda Z, y: (Z * y[:, None]).square().sum(), nn.MarginRankingLoss()][:1] * 2)
    batch = of_classes(place)._replace(targets=place(torch.arange(N)))
    return loss(place(normal(N, WIDTH)), batch, generator())


TARGETS = {
    "classes": lambda: np.arange(40) % N_LABELS,
    "names": lambda: np.array(list("abcd") * 10),
    "label sets": lambda: draw(40, 3, high=2).numpy(),
    "missing": lambda: np.where(normal(40, 3) < 1, draw(40, 3, high=2), np.nan),
    "distributions": lambda: shares(40, 3).numpy(),
    "sparse": lambda: sparse.csr_array(draw(40, 3, high=2).numpy()),
}

for _name in TARGETS:

    @case(f"supervision.Supervision, {_name}", {torch.float32}, y=TARGETS[_name])
    def supervision(place, y):
        device = device_of(place)
        batch = Supervision(y(), device=device).batch(place(draw(N, high=40)), uses=("pairs", "labels", "targets"))
        return batch[:5] + batch[6:]


@case("supervision, numbers", BOTH, y=lambda: normal(40, 1).numpy())
@case("supervision, a tensor", BOTH, y=lambda: normal(40, 2))
def pairs_of_numbers(place, y):
    y, device = y(), device_of(place)
    with config_context(array_api_dispatch=True):
        supervision = Supervision(place(y) if isinstance(y, Tensor) else y, "l1", device=device)
        relation = pair_relation(y, "l1", device)
    batch = supervision.batch(place(draw(N, high=40)), place(draw(N, high=2)), 2, uses=("pairs", "targets"))
    return batch.similar, batch.dissimilar, batch.targets, relation.row_means()


# --- encoders

for _spec, _dtype in product(
    (Laplacian(5), Tanh(5), Tanh(2), MLP((6, 4)), MLP((4,), "relu", normalize=False, dropout=0.2), MLP((4,), "gelu")),
    FLOATS,
):

    @case(f"encoders.{_spec}, {_dtype}", spec=_spec, dtype=_dtype)
    def encoder(place, spec, dtype):
        X, weights = place(normal(N, 4).to(dtype)), place(shares(N))
        built = place(spec.build(X, weights, generator())).eval()
        with torch.no_grad():
            return built(X), built(X[:1])


@case("trunks.efficientnet_lite0", {torch.float32})
def trunk(place):
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        network = freeze_batch_norm(efficientnet_lite0(pretrained=False)).to(device_of(place))
    with torch.no_grad():
        return network(place(draw(2, 3, 17, 24, high=256)))


@case("encoders.MLP that drops units")
def dropout(place):
    X, weights = place(normal(N, 4)), place(shares(N))
    built = place(MLP((6, 4), dropout=0.5).build(X, weights, generator())).train()
    with torch.no_grad(), drawing(built, 3, X.device):
        return built(X), built(X)


@case("encoders.Laplacian of many landmarks", {torch.float32})
def encoder_of_many(place):
    X = place(normal(2000, 4))
    built = place(Laplacian(5).build(X, place(torch.full((2000,), 1 / 2000, dtype=torch.float64)), generator())).eval()
    with torch.no_grad():
        return built(X), built(X[:1])


# --- mahalanobis, neighbours, retrieval

for _name, _dtype in product(("psd_factor", "with_positive_sign"), FLOATS):

    @case(f"mahalanobis.{_name}, {_dtype}", function=getattr(mahalanobis, _name), dtype=_dtype)
    def factor(place, function, dtype):
        A = normal(5, 5).to(dtype)
        return [function(place(M)) for M in (A + A.T, -A @ A.T, A[:0, :0])]


METRICS = [(name, None) for name in ("euclidean", "cosine", "manhattan", "chebyshev", "precomputed")]

for (_metric, _params), _dtype in product([*METRICS, ("minkowski", {"p": 3}), ("minkowski", {"p": 2})], FLOATS):

    @case(f"TensorSearch, {_metric}, {_params}, {_dtype}", metric=_metric, params=_params, dtype=_dtype)
    def tensor_search(place, metric, params, dtype):
        n_features = 30 if metric == "precomputed" else 3
        X, queries = (place((draw(n, n_features, high=4, seed=n) + 1).to(dtype)) for n in (30, 9))
        search = TensorSearch(X, metric=metric, metric_params=params)
        found = [search.nearest(q, k).indices for q, k in ((queries, 4), (None, 4), (queries, 30), (queries[:0], 2))]
        ranked = [search.nearest(q, 5, ranked=True) for q in (queries, None)]
        asked = ((queries, None), (None, None), (None, place(torch.tensor([7, 2]))))
        blocks = [D for q, some in asked for _, D in search.blocks(q, some=some)]
        return *(indices.sort().values for indices in found), *ranked[0], *ranked[1], *blocks


@case("retrieve, ties", embeddings=lambda n: draw(n, 2, high=3).double())
@case("retrieve, float32", {torch.float32}, embeddings=lambda n: normal(n, 5).float())
def retrieval(place, embeddings):
    X, y = place(embeddings(40)), place(draw(40, high=4))
    return *retrieve(X, y), *retrieve(X[:30], y[:30], (X[30:], y[30:]))


# --- targets, samples, relations

M = 40  # samples
RELATIONS = {
    "hamming": "label sets",
    "sqeuclidean": "distributions",
    "hellinger": "distributions",
    "cosine": "distributions",
    "jeffreys": "distributions",
    "jaccard": "label sets",
    "l1": "distributions",
    "discrete": "classes",
    "auto": "label sets",
    "callable": "distributions",
}


def distance_of_sums(A, B):
    return (A.sum(1)[:, None] - B.sum(1)).__abs__()


def relation_of(place, relation, missing=False):
    y = TARGETS[RELATIONS[relation]]()
    if missing:
        y = np.where(draw(*y.shape, high=5).numpy() == 0, np.nan, y)
    return make_relation(y, distance_of_sums if relation == "callable" else relation, device=device_of(place))


def products_with(place, G):
    """What alignment asks of a relation over M samples."""
    Z, weights, some = place(normal(M, 3)), place(shares(M)), place(draw(9, high=M))
    collected = G.collect(Z[:7], slice(0, 7))
    collected = G.collect(Z[7:].float(), slice(7, M), collected)
    return (
        *(G @ Z, G[some] @ Z[:9].float(), G[3:9] @ Z[3:9], G.over(G.rows) @ Z),
        *(G.row_means(), G.row_means(weights), G.mean_square(weights)),
        *(G.block(slice(2, 5), some), G.block(some, slice(None)), G.pairs(some, some.flip(0))),
        *(G.quadratic(Z), G.quadratic(Z, weights), G.quadratic(Samples(Z.float(), weights), weights)),
        *(G.sums(Z, weights), G.spread(G.core(collected).float(), slice(1, 4))),
    )


for _relation, _missing in product(RELATIONS, (False, True)):
    if _relation != "auto" and not (_missing and _relation == "callable"):

        @case(
            f"relations, {_relation}{', missing' * _missing}",
            BOTH,
            on_host="the user's function takes numpy" if _relation == "callable" else "",
            relation=_relation,
            missing=_missing,
        )
        def relation_by_name(place, relation, missing):
            return products_with(place, relation_of(place, relation, missing))


@case("relations, drawn mean squares")
def mean_square_of_drawn_pairs(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_operators, "_FEW_PAIRS", 0)
        patch.setattr(_operators, "_DRAWN_PAIRS", 2**12)
        relations = [relation_of(place, name) for name in ("l1", "jaccard")]
        return [G.mean_square(place(shares(M))) for G in relations]


@case("relations, columns of one output", BOTH)
def relations_of_one_output(place):
    y = normal(M).numpy()
    relations = [make_relation(y, name, device=device_of(place)) for name in ("l1", "sqeuclidean", "auto")]
    relations.append(Jeffreys(1e-3).bind(np.abs(y), device_of(place)))
    return [products_with(place, G.bind(y, G.device)) for G in relations]


@case("relations of given pairs", BOTH)
def relation_of_given_pairs(place):
    device, pairs = device_of(place), np.stack([np.arange(M - 1), np.arange(1, M)], 1)
    G = GivenPairs(pairs[::2], pairs[1::2], n_samples=M).bind(np.zeros(M), device)
    supervision = Supervision(np.zeros(M), G, device=device, pairs_alone=True)
    supervision.check({"pairs"})
    batch = supervision.batch(place(draw(9, high=M)), uses={"pairs"})
    return *products_with(place, G), batch.similar, batch.dissimilar


@case("relations of tensors", BOTH)
def relations_of_tensors(place):
    with config_context(array_api_dispatch=True):
        label_sets, missing = (place(torch.from_numpy(TARGETS[name]())) for name in ("label sets", "missing"))
        relations = [make_relation(label_sets), make_relation(missing), make_relation(missing[:, 0])]
        relations.append(make_relation(label_sets, lambda A, B: (A[:, None] != B).double().sum(2)))
        return [products_with(place, G) for G in relations]


for _dtype, _shape in product(FLOATS, ((M, 4), (6, 9))):

    @case(f"Samples, {_shape}, {_dtype}", {_dtype, torch.float64}, shape=_shape, dtype=_dtype)
    def samples(place, shape, dtype):
        some = Samples(place(normal(*shape).to(dtype) + 3), place(shares(shape[0])))
        return known_of(place, some)


@case("Samples, sparse", on_host="scipy multiplies sparse rows")
def sparse_samples(place):
    X = (normal(M, 8) * (draw(M, 8, high=3) == 0)).numpy()
    some = Samples(sparse.csr_array(X), place(shares(M)))
    return known_of(place, some), some.gram()


def known_of(place, some):
    n, d = some.shape
    A = place(normal(d, d))
    factors = place(normal(n, 3)), place(normal(n, 3).float())
    return (
        *(some.mean, some.varying(), some[:], some[place(draw(5, high=n))], *map(some.cross, factors)),
        *some.scatter(some.weights, place(normal(n))),
        *(some.scatter_of_forms(A + A.T), some.turned(A[:, :2])[:], some.turned(A[:, :0])[:]),
    )


# --- alignment


def solution(problem, solve):
    aligned = solve(problem, 0.1, max_iter=4, tol=1e-3)
    coordinates = aligned.coordinates
    axes = with_positive_sign(coordinates.in_features(psd_factor(aligned.M)))
    return aligned.offset, axes.T @ axes, axes.square().sum(1), coordinates.variances


for _solve, _dtype, _shape in product((ridge, constrained_ridge), FLOATS, ((M, 2), (6, 9))):

    @case(f"alignment.{_solve.__name__}, {_shape}, {_dtype}", {torch.float64}, solve=_solve, shape=_shape, dtype=_dtype)
    def alignment(place, solve, shape, dtype):
        some = Samples(place(normal(*shape).to(dtype)), place(shares(shape[0])))
        G = relation_of(place, "hamming")[: shape[0]]
        return solution(Problem.of(some, G), solve)


@case("alignment.predictions_alone")
def alignment_of_predictions(place):
    some = Samples(place(normal(M, 2)), place(shares(M)))
    aligned = predictions_alone(Problem.of(some, relation_of(place, "hamming")[:M]), 0.1, 1.0)
    return aligned.M, aligned.offset, aligned.with_predictions(1.0, 1.0)


@case("alignment of sparse samples", on_host="scipy multiplies sparse rows")
def alignment_of_sparse_samples(place):
    found = []
    for n, d in ((M, 8), (8, 12)):
        X = (normal(n, d) * (draw(n, d, high=2) == 0)).numpy()
        some = Samples(sparse.csr_array(X), place(shares(n)))
        found.append(solution(Problem.of(some, relation_of(place, "hamming")[:n]), ridge))
    return found


def problem_of(place, X, y, relation, *partitions):
    """Problem of samples in several partitions, read on the host."""
    weights, host = shares(X.shape[0]), torch.device("cpu")
    subsets = [
        Subset(X[some], None, weights[some], read_targets(y[some], host, ensure_min_samples=0)) for some in partitions
    ]
    return problem(described(InMemory(subsets), device_of(place), X, with_mean=True), relation)


for _relation in ("auto", "l1", "discrete", "jaccard", "callable"):

    @case(
        f"alignment in parts, {_relation}",
        on_host="the user's function takes numpy" if _relation == "callable" else "",
        relation=_relation,
    )
    def alignment_in_parts(place, relation):
        y = TARGETS[RELATIONS[relation]]()
        g = distance_of_sums if relation == "callable" else relation
        parts = problem_of(place, normal(M, 5), y, g, slice(0, 15), slice(15, M))
        # Sums of few rows of relations, which know the targets of all.
        relations = [part.G.mean_square(part.samples.weights) for part in parts.partitions.local]
        blocks = [
            (part.G.block(slice(0, 3), slice(None)), part.G.pairs(*place(draw(2, 5, high=9))))
            for part in parts.partitions.local
        ]
        return solution(parts, ridge), parts.varying(), relations, blocks


@case("alignment in parts, l1 of more values than levels")
def alignment_between_levels(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reals, "_MOST_CELLS", 8)
        parts = problem_of(place, normal(M, 5), normal(M, 2), "l1", slice(0, 15), slice(15, M))
        return solution(parts, ridge)


@case("pairs", on_host="scikit-learn regresses on the pairs")
def sampled_alignment(place):
    some = Samples(place(normal(M, 4)), place(shares(M)))
    G = relation_of(place, "hamming")
    pairs = PairSample.draw(principal_coordinates(Problem.of(some)), G, 60, np.random.RandomState(0))
    return kernel_ridge(pairs, 0.1)[:2], support_vectors(pairs, 0.1, 0.1)[:2], kernel_ridge(constant(place, G), 0.1)[:2]


def constant(place, G):
    """Pairs of samples that do not vary."""
    coordinates = principal_coordinates(Problem.of(Samples(place(torch.ones(M, 2)), place(shares(M)))))
    return PairSample(coordinates, G, np.arange(5), np.arange(5, 10))


@case("alignment in parts of sparse samples", on_host="scipy multiplies sparse rows")
def alignment_in_sparse_parts(place):
    found = []
    for n, d in ((M, 8), (8, 12)):
        X, y = (
            sparse.csr_array((normal(n, d) * (draw(n, d, high=2) == 0)).numpy() + np.eye(n, d)[:, :1]),
            draw(n, 3, high=2),
        )
        y[:, 2] = 1
        parts = problem_of(place, X, y.numpy(), "hamming", slice(0, 4), slice(4, n))
        found.append(solution(parts, ridge))
    return found


# --- losses over pairs, heads


@case("alignment in parts, one of them empty", set())
def varying_with_an_empty_part(place):
    X, y = normal(M, 3), TARGETS["label sets"]()
    return problem_of(place, X, y, "hamming", slice(0, 9), slice(9, 9), slice(9, M)).varying()


@case("relation_loss, float64", dtype=torch.float64)
@case("relation_loss, float32", BOTH, dtype=torch.float32)
def loss_over_all_pairs(place, dtype):
    A, Z, weights = normal(3, 3), place(normal(M, 3).to(dtype)), place(shares(M))
    G = relation_of(place, "l1")
    moments, distance = RelationMoments.of(G, weights), Distance(place(A + A.T), 0.5, Z[0].to(torch.float64))
    pairs, chunks = AllPairs(G, weights, moments), (slice(0, 25), slice(25, M))
    loss = pair_loss(pairs.sums(((chunk, Z[chunk]) for chunk in chunks), distance), distance, G, moments)
    gradients = [pairs.gradient(chunk, Z[chunk], distance, loss, pull) for chunk in chunks for pull in (0.0, 0.1)]
    return gradients, loss.mean, place(torch.tensor([*loss[:3], loss.variance], dtype=torch.float64))


@case("relation_loss, in parts")
def loss_over_pairs_in_parts(place):
    Z, weights, identity = place(normal(M, 3)), place(shares(M)), place(torch.eye(3, dtype=torch.float64))
    G = relation_of(place, "hamming")
    moments, distance = RelationMoments.of(G, weights), Distance(identity, 0.1, Z.mean(0))
    parts = [(Z[some], AllPairs(G[some], weights[some], moments)) for some in (slice(0, 15), slice(15, M))]
    totals = [pairs.sums([(slice(0, len(z)), z)], distance) for z, pairs in parts]
    empty = AllPairs(G[:0], weights[:0], moments).sums([], distance)
    loss = pair_loss(PairSums(*map(sum, zip(*totals, empty, strict=True))), distance, G, moments)
    return [pairs.gradient(slice(0, len(z)), z, distance, loss) for z, pairs in parts], loss.sums, loss.mean


@case("relation_loss.sampled_pairs")
def loss_over_sampled_pairs(place):
    first, second, relations = place(normal(9, 3)), place(normal(9, 3, seed=1)), place(normal(9))
    M = place(torch.eye(3, dtype=torch.float64))
    return [sampled_pairs(first, second, relations, M, 0.1, hard_fraction=share) for share in (0.3, 1.0)]


@case("heads.RidgeHead, float64", dtype=torch.float64)
@case("heads.RidgeHead, float32", {torch.float64}, dtype=torch.float32)
def ridge_head(place, dtype):
    found = []
    for features in (normal(M, 4), torch.zeros(M, 4)):
        head, other = RidgeHead(0.5), RidgeHead(0.1)
        for each in (head, other):
            some = Samples(place(features.to(dtype)), place(shares(M)))
            each.solve(Problem.of(some, relation_of(place, "hamming")))
        head.average(other, 0.3)
        assert head.converged
        squares = head.factor(3).T @ head.factor(3)  # which has no signs
        found.append((head.M, head.offset, squares, head.layer(6, dtype).weight.shape, head.penalty(2.0)))
    return found


@case("heads.LinearHead", BOTH)
def linear_head(place):
    head = LinearHead(3, learn_scale=True, device=device_of(place))
    zeros = place(torch.zeros(3, dtype=torch.float64))
    head.backward(PairLoss(1.0, 0.5, 0.25, zeros, 1.0, zeros, PairSums(*[zeros] * 5)))
    head.solve(Problem.of(Samples(place(normal(M, 3)), place(shares(M))), relation_of(place, "hamming")))
    gradients = head.log_scale.grad, head.shift.grad
    layer = head.layer(3, torch.float32)
    return head.M, head.offset, head.factor(3), gradients, layer(place(normal(4, 3).float())), head.penalty(1.0)


@case("neighbours.Vote")
def soft_vote(place):
    found, places = [], place(torch.arange(M))
    for y in (draw(M, 3, high=2), draw(M, high=3), shares(M, 3), normal(M, 2), torch.from_numpy(TARGETS["missing"]())):
        ballots = Ballots.of(read_targets(y.numpy(), device_of(place)), place(shares(M)))
        Z = place(normal(M, 3))
        vote = Vote.tuned(Z, place(normal(2, 3)), ballots, places, 9)
        found.append((vote.factor, vote.loss(Z[:9], places[:9])))
    return found


# --- how arrays come in


@case("inputs", BOTH, on_host="targets of numpy are chosen by a mask of tensors")
def inputs(place):
    device, X, y = device_of(place), normal(M, 3), TARGETS["missing"]()
    weights = draw(M, high=3).numpy()
    with config_context(array_api_dispatch=True):
        targets = read_targets(place(torch.from_numpy(y)))
        tensors = weighted(place(X), targets, place(torch.from_numpy(weights)), place(X), device)[:3]
        kept = [
            like(place(X), place(X)),
            of_dtype(place(X), float_dtypes(place(X))[1]),
            targets.stacked(read_targets(torch.from_numpy(y))).values,
            targets.labelled(),
        ]
        assert resolve_device("auto", place(X)) == resolve_device(device) == device
        assert not holds_integers(place(X))
        assert integer_dtype(place(X)) == torch.int64
    return tensors, kept, weighted(place(X), read_targets(y, device), weights, X.numpy(), device).weights


# --- the table

ELSEWHERE = {"_data", "_training", "_hraml", "_drml", "_alignment.linear", "deep", "drml", "distributed"}
"""Rooms and files whose functions need no case: test_devices fits whole estimators on a stand-in, test_gpu on a GPU."""

EXCUSED = {
    "_smallest.<locals>.<lambda>": "numpy is for the CPU alone",
    "_load": "published weights are read where a trunk is built, on the CPU",
    **dict.fromkeys(["precompute", "_options", "_batches", "_output"], "arrays of numpy"),
    "Mahalanobis": "a function of numpy arrays",
    "TensorSearch.__getstate__": "no tensor is made or moved for a pickle",
    "_Writable": "an array of numpy",
    "seed_of": "a number",
    **dict.fromkeys(["_first_sentence", "GivenPairs.__repr__"], "words"),
    "targets_of_fit": "zeros of numpy, at which nobody looks",
    "_seeded": "torch's own generators on a GPU are not there",
}
"""Functions, or classes with all of theirs, that need not be in the table, and why not."""


def on_device(device):
    """What moves arrays, tensors and modules to a device."""
    return lambda what: (torch.as_tensor(what) if isinstance(what, np.ndarray) else what).to(device)


class Outcome(NamedTuple):
    """What a case returned, on "cuda" and on the CPU, and which functions it entered."""

    there: list[Tensor]
    here: list[Tensor]
    to_host: set
    entered: set


@cache
def outcome(name: str) -> Outcome:
    """Run a case once, for all tests that ask."""
    with fake_cuda() as values:
        sys.setprofile(values.note)
        try:
            there = CASES[name].run(on_device(CUDA))
        finally:
            sys.setprofile(None)
    return Outcome(tensors_of(there), tensors_of(CASES[name].run(on_device("cpu"))), values.to_host, values.entered)


def tensors_of(result):
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


REFUSED = {
    "mixed": (lambda a, b: a @ b, "same device"),
    "mixed where the shape depends on values": (lambda a, b: torch.masked_select(a, b > 0), "same device"),
    "mixed in a comparison": (torch.equal, "same device"),
    "an index that is elsewhere": (lambda a, b: b[a[0].long()], "same device"),
    "a mask that is elsewhere": (lambda a, b: b[a > 0], "same device"),
    "a place that is elsewhere": (lambda a, b: b.index_put((a[0].long(),), b[0]), "same device"),
    "made on the CPU": (lambda a, b: a + torch.ones(3), "same device"),
    "read from numpy": (lambda a, b: a + torch.from_numpy(np.ones(3)), "same device"),
    "a buffer of numpy": (lambda a, b: a.numpy(), "can't convert cuda:0"),
    "an array of numpy": (lambda a, b: np.asarray(a), "can't convert cuda:0"),
    "products of integers": (lambda a, b: a.long() @ a.long(), "not implemented for torch.int64"),
    "a generator that is elsewhere": (lambda a, b: torch.rand(3, generator=generator(), device=CUDA), "generator"),
    "into what is elsewhere": (lambda a, b: torch.sub(a, a, out=b), "same device"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_gpu_refuses_is_refused(what):
    refused, words = REFUSED[what]
    with fake_cuda():
        a = torch.ones(3, 3).to(CUDA)
        with pytest.raises((RuntimeError, TypeError), match=words):
            refused(a, torch.ones(3, 3))


def test_values_decide():
    with fake_cuda() as values:
        a = torch.arange(6.0).to(CUDA)
        assert (a > 3).sum().item() == 2
        assert a[a > 3].tolist() == a.nonzero()[3:, 0].tolist() == [4, 5]
        assert bool((a.unique() == a).all())
        assert not values.to_host
        a[2:] = -1.0
        module = nn.Linear(6, 2, bias=False, dtype=a.dtype).to(CUDA)
        nn.init.ones_(module.weight)
        assert module(a).tolist() == [-3, -3]
        assert a[torch.tensor([0, 5])].cpu().numpy().tolist() == [0, -1]
        assert values.to_host == {(2,)}


@pytest.mark.parametrize("name", CASES)
def test_results_are_on_the_gpu_and_those_of_the_cpu(name):
    entry, (there, here, to_host, _) = CASES[name], outcome(name)
    assert len(there) == len(here) > 0
    assert bool(to_host) == bool(entry.on_host), f"tensors of shapes {to_host} were copied from the GPU"
    assert {fake.dtype for fake in there if fake.is_floating_point()} == entry.floats
    for fake, true in zip(there, here, strict=True):
        assert fake.device == CUDA
        assert (fake.shape, fake.dtype) == (true.shape, true.dtype)
        tolerance = 1e-10 if true.dtype == torch.float64 else 1e-5
        torch.testing.assert_close(fake.truth, true, rtol=tolerance, atol=tolerance, equal_nan=True)


def _functions(code: CodeType) -> Iterator[CodeType]:
    """All functions of compiled source, those of a class and lambdas among them, but for what is only declared."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            is_function = inner.co_flags & CO_OPTIMIZED and inner.co_name not in (
                "<genexpr>",
                "<listcomp>",
                "<dictcomp>",
            )
            if is_function and len(list(dis.get_instructions(inner))) > 3:
                yield inner
            yield from _functions(inner)


def _is_excused(name: str) -> bool:
    return name in EXCUSED or name.split(".")[0] in EXCUSED


def test_every_function_of_torch_modules_is_in_the_table():
    entered = set().union(*(outcome(name).entered for name in CASES))
    missing = []
    for path in PACKAGE.rglob("*.py"):
        room, *within = path.relative_to(PACKAGE).with_suffix("").parts
        module, source = ".".join([room, *within]), path.read_text()
        if re.search(r"^(import|from) torch\b", source, re.MULTILINE) and ELSEWHERE.isdisjoint({room, module}):
            missing += [
                f"{module}: {function.co_qualname}"
                for function in _functions(compile(source, path, "exec"))
                if (str(path), function.co_qualname, function.co_firstlineno) not in entered
                and not _is_excused(function.co_qualname)
            ]
    assert not missing

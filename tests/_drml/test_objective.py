"""The objective of DRML: totals and gradients of the authors' module and of the paper, and what a batch may lack."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skrelmetric._drml.ensemble import ASSIGNMENTS, RelationalEnsemble
from skrelmetric._drml.objective import Discrimination, Weights
from skrelmetric._drml.supervision import Supervision
from skrelmetric.losses import LOSSES, ProxyAnchor, Triplet
from tests._drml.published import LAYERS, OFFICIAL, PAPER, check_gradients, load, tolerance


def with_proxies(loss, n_labels, proxies, dtype):
    """Loss of one group for each of the proxies, which are set."""
    module = loss.build(n_labels, proxies.shape[-1], len(proxies), torch.Generator(), dtype)
    with torch.no_grad():
        module.proxies.copy_(torch.from_numpy(proxies).reshape(module.proxies.shape))
    return module


def published(name, weights):
    arrays, ensemble, X = load(name)
    margin, alpha = arrays["pa_margin_alpha"]
    loss = ProxyAnchor(margin=float(margin), alpha=float(alpha))
    n_labels = arrays["pa_proxies_emb"].shape[0]
    objective = Discrimination(
        ensemble,
        with_proxies(loss, n_labels, arrays["pa_proxies_branch"], X.dtype),
        with_proxies(loss, n_labels, arrays["pa_proxies_emb"][None], X.dtype),
        Supervision(arrays["y"]),
        weights,
    )
    return arrays, ensemble, X, objective(X, torch.arange(len(X)), torch.Generator())


@pytest.mark.parametrize("name", OFFICIAL + PAPER)
def test_losses_of_the_published_method(name):
    arrays, _, X, losses = published(name, Weights())
    tight = {"rtol": 1e-10 if X.dtype == torch.float64 else 1e-5}
    assert_allclose(losses.ensemble.item(), arrays["pa_loss_branch"].sum(), **tight)
    assert_allclose(losses.embedding.item(), arrays["pa_loss_emb"], **tight)
    total = arrays["pa_total"] if "pa_total" in arrays else arrays["pa_total_paper_l1_0.1_l2_10"]
    assert_allclose(losses.total.item(), total, **tight)
    np.testing.assert_array_equal(losses.assigned.int().argmax(1), arrays["assign"])


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize(
    ("weights", "prefix"),
    [
        (Weights(1, 0, 0), "grad_ensem"),
        (Weights(0, 0, 1), "grad_emb"),
        (Weights(0, 1, 0), "grad_recon"),
        (Weights(1, 1, 10), "grad_total_w10_1"),
    ],
)
def test_gradients_of_the_authors_module(name, weights, prefix):
    arrays, ensemble, X, losses = published(name, weights)
    losses.total.backward()
    check_gradients(arrays, prefix, ensemble, X)


@pytest.mark.parametrize("name", PAPER)
def test_gradients_of_the_paper(name):
    arrays, ensemble, X, losses = published(name, Weights())
    losses.total.backward()
    assert_allclose(X.grad, arrays["grad_total/X"], **tolerance(X))
    for ours, theirs in LAYERS.items():
        assert_allclose(getattr(ensemble, ours).weight.grad, arrays[f"grad_total/{theirs}"], **tolerance(X))


@pytest.mark.parametrize("name", OFFICIAL + PAPER)
def test_losses_of_all_semi_hard_triplets(name):
    arrays, ensemble, X = load(name)
    prefix = "tsh_all_pml_loss" if name in OFFICIAL else "tsh_all_loss"
    tight = {"rtol": 1e-10 if X.dtype == torch.float64 else 1e-5}
    triplet = Triplet(margin=0.2, mining="semi-hard")
    width, n_branches = ensemble.width, ensemble.n_branches
    objective = Discrimination(
        ensemble,
        triplet.build(1, width, n_branches, torch.Generator(), X.dtype),
        triplet.build(1, width * n_branches, 1, torch.Generator(), X.dtype),
        Supervision(arrays["y"]),
    )
    losses = objective(X, torch.arange(len(X)), torch.Generator())
    of_branches = [arrays[f"{prefix}_branch{k}"] for k in range(n_branches)]
    assert_allclose(losses.ensemble.item(), sum(of_branches), **tight)
    assert_allclose(losses.embedding.item(), arrays[f"{prefix}_emb"], **tight)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_samples", [0, 1, 2, 5])
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_batches_that_lack_something(name, n_samples, assignment, rng):
    """Empty branches, no pair, no triplet: the losses are finite and so are their gradients."""
    ensemble = RelationalEnsemble(6, 8, 4, torch.Generator().manual_seed(0), torch.float64)
    loss, generator = LOSSES[name], torch.Generator().manual_seed(1)
    objective = Discrimination(
        ensemble,
        loss.build(3, 2, 4, generator, torch.float64),
        loss.build(3, 8, 1, generator, torch.float64),
        Supervision([0, 1, 2, 0, 1]),
        assignment=assignment,
        uses=loss.uses,
    )
    y = torch.from_numpy(rng.standard_normal((n_samples, 6))).requires_grad_()
    losses = objective(y, torch.arange(n_samples), generator)
    assert losses.total.isfinite()
    losses.total.backward()
    assert y.grad is None or y.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_all_samples_in_every_branch_are_a_loss_each(name, rng):
    if name in {"triplet_random", "margin", "n_pair"}:
        pytest.skip("draws, and would draw other triplets for each branch alone")
    codes = np.arange(12) % 3
    ensemble = RelationalEnsemble(6, 8, 4, torch.Generator().manual_seed(0), torch.float64)
    loss = LOSSES[name]
    together = loss.build(3, 2, 4, torch.Generator().manual_seed(1), torch.float64)
    alone = loss.build(3, 2, 1, torch.Generator().manual_seed(1), torch.float64)
    embedding_loss = loss.build(3, 8, 1, torch.Generator(), torch.float64)
    objective = Discrimination(ensemble, together, embedding_loss, Supervision(codes), assignment="all", uses=loss.uses)
    y = torch.from_numpy(rng.standard_normal((12, 6)))
    losses = objective(y, torch.arange(12), torch.Generator())
    assert losses.assigned.all()
    expected = 0.0
    batch = Supervision(codes).batch(torch.arange(12))
    for k in range(4):
        for own, shared in zip(alone.parameters(), together.parameters(), strict=True):
            with torch.no_grad():
                own.copy_(shared[k : k + 1] if shared.ndim else shared)
        expected += alone(ensemble(y).nodes[:, k], batch, torch.Generator()).item()
    assert_allclose(losses.ensemble.item(), expected, rtol=1e-10)

"""Modules draw from a seed alone, in any thread, and torch's own generators stay as they are."""

import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from threading import Barrier

import pytest
import torch
from torch import nn

from skrelmetric._drml.objective import OwnLoss
from skrelmetric._interop.randomness import Dropout, drawing, seed_of
from skrelmetric._training.encode import copied_module
from skrelmetric.encoders import MLP, Laplacian

CPU = torch.device("cpu")
N_THREADS = 4


def perceptron(dropout):
    weights = torch.nn.init.normal_(torch.empty(8, 6), generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), dropout)
    return module.requires_grad_(False).apply(
        lambda part: part.weight.copy_(weights) if isinstance(part, nn.Linear) else None
    )


class Noisy(nn.Module):
    """A module of a user's, which draws from torch's own generator."""

    def forward(self, x):
        return x + torch.randn_like(x) + torch.rand(())


MODULES = {
    "ours": perceptron(Dropout(0.5)),
    "torch's": perceptron(nn.Dropout(0.5)),
    "a user's": perceptron(Noisy()),
    "both": nn.Sequential(perceptron(Dropout(0.5)), nn.Dropout(0.5)),
}


@pytest.fixture(autouse=True)
def untouched():
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def drawn(module, seed, x):
    with drawing(module.train(), seed, CPU):
        return torch.stack([module(x) for _ in range(5)])


@pytest.mark.parametrize("name", MODULES)
def test_each_thread_draws_from_its_seed(name):
    module, x = MODULES[name], torch.ones(50, 6)
    expected = [drawn(module, seed, x) for seed in range(N_THREADS)]
    assert not torch.equal(expected[0], expected[1])
    assert not torch.equal(*expected[0][:2])
    start = Barrier(N_THREADS)

    def in_thread(seed):
        start.wait()
        return [drawn(module, seed, x) for _ in range(20)]

    with ThreadPoolExecutor(N_THREADS) as threads:
        for seed, found in enumerate(threads.map(in_thread, range(N_THREADS))):
            assert all(torch.equal(each, expected[seed]) for each in found)


def test_our_dropout_is_that_of_torch(rng):
    x = torch.from_numpy(rng.standard_normal((40, 6))).requires_grad_()
    ours, torchs = Dropout(0.3), nn.Dropout(0.3)
    with drawing(ours, 1, CPU):
        z = ours(x)
    with drawing(torchs, 1, CPU):
        torch.testing.assert_close(torchs(x), z)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0], (z != 0).double() / 0.7)
    assert torch.equal(ours.eval()(x), x)
    for copy in (deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        with drawing(copy.train(), 1, CPU):
            assert torch.equal(copy(x), z)
    with torch.random.fork_rng([]):  # where nobody says what to draw from
        assert not torch.equal(ours.train()(x), ours(x))


def test_an_error_ends_the_drawing():
    ours, x = Dropout(0.5), torch.ones(100)
    with pytest.raises(ZeroDivisionError), drawing(ours, 0, CPU):
        raise ZeroDivisionError
    with drawing(ours, 0, CPU):
        first = ours(x)
        with drawing(ours, 1, CPU):
            ours(x)
        second = ours(x)
    assert torch.equal(drawn(ours, 0, x)[:2], torch.stack([first, second]))


def hooked(module):
    module.register_forward_hook(lambda module, inputs, output: output + torch.rand(()))
    return module


@pytest.mark.parametrize(
    ("drawer", "waits"),
    [
        (MLP((3, 2), dropout=0.5).build(torch.zeros(2, 3), torch.ones(2) / 2, torch.Generator()), False),
        (Laplacian().build(torch.eye(3), torch.ones(3).double() / 3, torch.Generator()), False),
        (Laplacian(), False),
        (perceptron(nn.Dropout(0.5)), True),
        (copied_module(nn.Sequential(nn.Linear(2, 2)), "encoder"), True),
        (hooked(nn.Linear(2, 2)), True),
        (OwnLoss([lambda Z, y: Z.sum()]), True),
        (Noisy(), True),
        (object(), True),
    ],
)
def test_only_what_others_wrote_waits_for_torchs_generator(drawer, waits):
    before = torch.get_rng_state()
    with drawing(drawer, 7, CPU):
        assert torch.equal(torch.get_rng_state(), before) != waits


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_has_the_generator_as_it_was_and_can_draw():
    """It would otherwise have the lock of a thread that it does not have, and wait for ever."""
    inside, module = Barrier(2), Noisy()
    before = torch.get_rng_state()

    def draw():
        with drawing(module, 0, CPU):
            inside.wait()
            torch.ones(200, 200) @ torch.ones(200, 200)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(draw)
        inside.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with ThreadPoolExecutor(1) as another:  # the lock is not this thread's either
                drew = another.submit(drawn, module, 0, torch.ones(3)).exception() is None
            os._exit(0 if drew and torch.equal(torch.get_rng_state(), before) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        done.result()


def test_every_pair_of_numbers_has_a_seed_of_its_own():
    seeds = {seed_of(a, b) for a in (*range(50), 2**63) for b in range(50)}
    assert len(seeds) == 51 * 50
    assert seed_of(3, 4) == seed_of(3, 4) != seed_of(4, 3)
    assert torch.Generator().manual_seed(max(seeds)).initial_seed() == max(seeds)

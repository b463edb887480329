"""Problems and solutions that tests of the alignment share."""

import torch
from scipy import sparse

from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import ridge
from skrelmetric._data.samples import Samples


def uniform(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def samples_of(X, p=None):
    rows = sparse.csr_array(X) if sparse.issparse(X) else torch.from_numpy(X)
    return Samples(rows, uniform(X.shape[0]) if p is None else p)


def solve(X, relation, alpha, p=None, solver=ridge, **options):
    problem = Problem.of(samples_of(X, p), relation)
    solution = solver(problem, alpha, **{"max_iter": 1000, "tol": 1e-12, **options})
    return solution.coordinates, solution


def in_features(coordinates, solution):
    rotation = coordinates.in_features(torch.eye(len(solution.M), dtype=torch.float64)).T
    return rotation @ solution.M @ rotation.T

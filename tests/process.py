"""State of the process, which belongs to whoever calls: nothing may leave it changed."""

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn import get_config
from threadpoolctl import threadpool_info

LOADED = {pool["filepath"] for pool in threadpool_info()}


def state_of_the_process() -> dict[str, Any]:
    """What belongs to the whole process."""
    name, keys, *place = np.random.get_state()  # noqa: NPY002
    threads = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    return {
        "numpy's generator": (name, keys.tobytes(), place),
        "Python's generator": random.getstate(),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "threads of BLAS and OpenMP": {path: n for path, n in threads.items() if path in LOADED},
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "determinism": (torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        "filters of warnings": list(warnings.filters),
        "errors of numpy": np.geterr(),
        "environment": dict(os.environ),
        "options of scikit-learn": get_config(),
    }


@contextmanager
def untouched() -> Iterator[None]:
    """Hold that the process is left as it was found."""
    before = state_of_the_process()
    yield
    after = state_of_the_process()
    assert [what for what in before if before[what] != after[what]] == []

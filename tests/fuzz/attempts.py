"""Calls that may refuse what they are given, in words of their own, or return what is finite; and nothing else."""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, UndefinedMetricWarning

WARNED = (ConvergenceWarning, DataConversionWarning, UndefinedMetricWarning)

# Words of errors from within numpy, scipy and torch.
FROM_INSIDE = [
    "reshape", "broadcast", "zero-size", "out of bounds", "linalg", "singular", "mat1", "size of tensor", "asarray()",
    "buffer dtype", "index pointer", "cannot be cast", "not supported between", "unsupported operand", "converge",
]  # fmt: skip


class RefusedError(Exception):
    """A call was refused in words of its own."""


def attempt(function: Callable, *args: Any, **options: Any) -> Any:
    """Result of a call.

    Raises
    ------
    RefusedError
        If it is refused.
    AssertionError
        If an error comes from inside, or a warning is not one for users.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*args, **options)
        except (ValueError, TypeError, FloatingPointError) as error:
            refused = error
        else:
            refused = None
    for warning in caught:
        assert warning.category is UserWarning or issubclass(warning.category, WARNED), warning
    if refused is None:
        return result
    message = str(refused)
    assert type(refused) in (ValueError, TypeError, FloatingPointError), f"{type(refused).__name__}: {message}"
    assert not any(word in message.lower() for word in FROM_INSIDE), message
    assert len(message.split()) > 5, message
    raise RefusedError(message) from refused


def dispatched(container: str) -> AbstractContextManager:
    """Configuration under which samples in a container are taken."""
    return config_context(array_api_dispatch=True) if container == "tensor" else nullcontext()


def digest(*inputs: Any) -> str:
    """Digest of inputs, which tells whether they were written to."""
    return hashlib.sha256(pickle.dumps(inputs)).hexdigest()

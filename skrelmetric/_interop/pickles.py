"""Pickles of estimators, which say who wrote them, so that no other version takes them for something else."""

from importlib.metadata import version
from typing import Any

from sklearn.base import BaseEstimator

__all__ = ["FORMAT", "VersionedEstimator"]

FORMAT = 1
"""Number of the format: raised where what an estimator keeps changes, so that earlier versions refuse it.

A version that still reads earlier formats brings their states up to date in ``__setstate__``."""

_WRITER = "_skrelmetric"
_VERSION = version("skrelmetric")


class VersionedEstimator(BaseEstimator):
    """Estimator whose state, in pickles and copies, has the format and the version that wrote it."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), _WRITER: {"format": FORMAT, "version": _VERSION}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        writer = state.pop(_WRITER, {"format": 0, "version": "before 0.13"})
        if writer["format"] != FORMAT:
            raise ValueError(
                f"This {type(self).__name__} was pickled by skrelmetric {writer['version']}, in a format that version "
                f"{_VERSION} does not read. Load it by the version that wrote it, or fit it again."
            )
        super().__setstate__(state)

"""What several tests of the benchmarks use."""

import json

from sklearn.base import BaseEstimator

from benchmarks.data.sources import DATASETS

EMOTIONS = DATASETS["emotions"]
FAST = ["--datasets", "emotions", "--methods", "MLkNN", "RAMLLinear + MLkNN", "--folds", "2", "--repeats", "1"]


class Broken(BaseEstimator):
    def fit(self, X, y):
        raise RuntimeError("it broke")


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]

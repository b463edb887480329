import numpy as np

from skrelmetric._training.batches import per_class, shuffled


def test_batches_of_some_classes():
    codes = np.repeat([0, 1, 2, 3], [10, 10, 10, 1])
    batches = list(per_class(codes, 8, 4, np.random.default_rng(0)))
    assert len(batches) == 4
    assert len(list(per_class(codes, 80, 4, np.random.default_rng(0)))) == 2  # four classes are all that there are
    for rows in batches:
        assert len(set(rows)) == len(rows)
        classes, counts = np.unique(codes[rows], return_counts=True)
        assert len(classes) == 2
        assert all(count == min(4, (codes == c).sum()) for c, count in zip(classes, counts, strict=True))
    whole = list(shuffled(31, 8, np.random.default_rng(0)))
    assert sorted(np.concatenate(whole)) == list(range(31))
    assert {len(rows) for rows in whole} == {7, 8}

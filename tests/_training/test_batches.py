import numpy as np

from skrelmetric._training.batches import of_pairs, per_class, shuffled


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


def test_batches_of_pairs():
    rng = np.random.default_rng(0)
    pairs = np.unique(np.sort(rng.permutation(60).reshape(-1, 2)[:25]), axis=0)
    star = np.stack([np.zeros(8, dtype=int) + 60, np.arange(8) + 61], 1)  # pairs of one sample, first or last
    for given in (np.concatenate([pairs, star]), np.concatenate([star[:, ::-1], pairs])):
        batches = list(of_pairs(given, 20, rng))
        assert len(batches) == 4
        assert all(2 <= len(set(rows)) == len(rows) <= 20 for rows in batches)
        held = [[set(pair) <= set(rows) for rows in batches] for pair in given.tolist()]
        assert (np.sum(held, axis=1) == 1).all()
        assert len({tuple(rows) for rows in of_pairs(given, 20, rng)} & {tuple(rows) for rows in batches}) < 4
    many = np.stack([np.zeros(200, dtype=int), np.arange(200) + 1], 1)
    of_one_sample = list(of_pairs(many[rng.permutation(200)], 11, rng))
    assert {len(rows) for rows in of_one_sample} == {6}
    assert [len(rows) for rows in of_pairs(pairs[:1], 2, rng)] == [2]

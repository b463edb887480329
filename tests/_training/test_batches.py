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
    pairs = rng.permutation(90).reshape(-1, 2)[:33]
    batches = list(of_pairs(pairs, 20, rng))
    assert len(batches) == 4
    assert all(16 <= len(set(rows)) == len(rows) <= 20 for rows in batches)
    held = [[set(pair) <= set(rows) for rows in batches] for pair in pairs.tolist()]
    assert (np.sum(held, axis=1) == 1).all()
    assert not {tuple(rows) for rows in of_pairs(pairs, 20, rng)} & {tuple(rows) for rows in batches}
    assert [len(rows) for rows in of_pairs(pairs[:1], 2, rng)] == [2]


def test_pairs_of_one_sample_are_together():
    rng = np.random.default_rng(0)
    of_ten = rng.permutation(50).reshape(10, 5)  # the first of each five is in four pairs
    pairs = np.stack([of_ten[:, :1].repeat(4, axis=1), of_ten[:, 1:]], 2).reshape(-1, 2)
    pairs[::3] = pairs[::3, ::-1]
    batches = list(of_pairs(rng.permutation(pairs), 16, rng))
    assert [len(rows) for rows in batches] == [10] * 5
    assert all(len({*rows} & {*of_ten[:, 0]}) == 2 for rows in batches)
    of_one = np.stack([np.zeros(200, dtype=int), np.arange(200) + 1], 1)
    assert {len(rows) for rows in of_pairs(rng.permutation(of_one), 11, rng)} == {6}

import pytest
import torch
from torch import nn

from skrelmetric._training.encode import dtype_of, embed
from tests._training.encoders import WRONG, Encoder, Returning, subset_of, wrong


@pytest.mark.parametrize("what", WRONG)
def test_embedding_by_an_encoder_that_returns_no_features_is_an_error(what, rng):
    with wrong(what):
        embed(Returning(WRONG[what]), subset_of(rng.standard_normal((9, 4))), torch.float64)


def test_embed_goes_by_chunks_in_evaluation(rng, monkeypatch):
    X = rng.standard_normal((10, 4))
    encoder = Encoder(dropout=0.5)
    expected = encoder.features(torch.from_numpy(X), 1.0).detach()
    for chunk in (1, 3, 10, 99):
        monkeypatch.setattr("skrelmetric._training.encode._CHUNK_OF_INFERENCE", chunk)
        z = embed(encoder.train(), subset_of(X), torch.float64)
        torch.testing.assert_close(z, expected)
        assert not z.requires_grad
    assert not encoder.training
    assert not encoder.seen


@pytest.mark.parametrize(
    ("encoder", "dtype"),
    [
        (nn.Linear(2, 2), torch.float32),
        (nn.Linear(2, 2).double(), torch.float64),
        (nn.Identity(), torch.float32),
        (nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)).double(), torch.float64),
    ],
)
def test_dtype_of_an_encoder(encoder, dtype):
    assert dtype_of(encoder) == dtype


class Counting(nn.Module):
    """Features of images, which count how many there are at once."""

    def __init__(self):
        super().__init__()
        self.layer, self.sizes = nn.Linear(12, 2), []

    def forward(self, x):
        self.sizes.append(len(x))
        return self.layer(x.flatten(1))


@pytest.mark.parametrize(("room", "sizes"), [(1, [1] * 5), (100, [2, 2, 1]), (2**24, [5])])
def test_large_samples_are_embedded_few_at_once(room, sizes, rng, monkeypatch):
    monkeypatch.setattr("skrelmetric._data.samples._BYTES_AT_ONCE", room)
    X, encoder = rng.standard_normal((5, 3, 2, 2)).astype("f4"), Counting()
    z = embed(encoder, subset_of(X), torch.float32)
    assert encoder.sizes == sizes
    torch.testing.assert_close(z, encoder.layer(torch.from_numpy(X).flatten(1)).detach())

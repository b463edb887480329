"""
More samples than memory
========================

A metric over all pairs of samples needs sums over samples only, and sums can be taken file by file.
:class:`~skrelmetric.chunks.Chunks` hands the samples to ``fit`` in pieces; the metric is the same, and memory is that
of a piece.
"""

# %%
# 32 files of 5,000 samples each, in a temporary folder. Three numbers depend on three directions of 50 features, and
# half of their variance is noise.

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

from skrelmetric import RAMLLinear
from skrelmetric.chunks import Chunks

folder = TemporaryDirectory()
generator = np.random.default_rng(0)
directions = np.linalg.qr(generator.standard_normal((50, 3)))[0]
files = [Path(folder.name, f"{number:02}.npz") for number in range(32)]
for file in files:
    X = generator.standard_normal((5000, 50))
    np.savez(file, X=X, Y=X @ directions + generator.standard_normal((5000, 3)))

# %%
# ``Chunks`` takes a function that goes through the files anew each time, since ``fit`` needs several passes. To
# compare, the same samples are put together in memory. tracemalloc counts the arrays that are alive.


def read(some_files):
    for file in some_files:
        with np.load(file) as arrays:
            yield arrays["X"], arrays["Y"]


def fit_to_chunks(some_files):
    return RAMLLinear(relation="sqeuclidean").fit(Chunks(lambda: read(some_files)))


def fit_in_memory(some_files):
    X, Y = (np.concatenate(arrays) for arrays in zip(*read(some_files), strict=True))
    return RAMLLinear(relation="sqeuclidean").fit(X, Y)


def megabytes_and_matrix(fit, some_files):
    tracemalloc.start()
    M = fit(some_files).get_mahalanobis_matrix()
    megabytes = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return megabytes, M


fit_to_chunks(files[:1])  # what is imported and cached at the first fit is not counted

numbers = [2, 4, 8, 16, 32]
memory = {"in chunks": [], "in memory": []}
errors = []
for number in numbers:
    in_chunks, M = megabytes_and_matrix(fit_to_chunks, files[:number])
    in_memory, M_in_memory = megabytes_and_matrix(fit_in_memory, files[:number])
    memory["in chunks"].append(in_chunks)
    memory["in memory"].append(in_memory)
    true = directions @ directions.T
    errors.append(np.linalg.norm(M / np.linalg.norm(M) - true / np.linalg.norm(true)))
    difference = np.abs(M - M_in_memory).max() / np.abs(M).max()
    sizes = f"{in_chunks:.0f} and {in_memory:.0f} MB"
    print(f"{5000 * number:7,} samples: {sizes}, metrics differ by {difference:.0e}")
folder.cleanup()

# %%
# What each way holds in memory, and what the samples are good for: the distance of the learned matrix, with norm 1, to
# the true one.

n_samples = 5000 * np.array(numbers)
fig, (above, below) = plt.subplots(2, 1, figsize=(6.4, 7), layout="constrained", sharex=True)
for (name, megabytes), style in zip(memory.items(), ["o-", "s--"], strict=True):
    above.plot(n_samples, megabytes, style, label=name)
above.set(title="Memory of a fit", ylabel="memory of arrays (MB)", ylim=(0, None))
above.legend()
below.plot(n_samples, errors, "o-")
below.set(title="Error of the metric", xlabel="samples", ylabel="distance to the true metric", ylim=(0, None))
below.xaxis.set_major_formatter("{x:,.0f}")
plt.show()

# %%
# Sixteen times the samples take no more memory in chunks, 5 MB, and 129 MB at once; the metrics are equal but for
# rounding. The last file is worth reading: the metric comes nearer to the true one with each.

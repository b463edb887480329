"""
A relation of your own
======================

Not all mistakes weigh the same: a song that is sad and not quiet is a near miss, a song that is sad and not angry is
another matter. A function ``g(Y_a, Y_b)`` says how far apart two label sets are, and the metric is aligned with it.
"""

# %%
# Russell's circumplex puts moods on a circle, from unpleasant at the left to pleasant at the right, and from calm at
# the bottom to aroused at the top. The angles, in degrees, are ours.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skrelmetric import RAMLLinear
from skrelmetric.datasets import load_emotions

X, Y = load_emotions(subset="train", return_X_y=True)
X_test, Y_test = load_emotions(subset="test", return_X_y=True)
scaler = StandardScaler().fit(X)
X, X_test = scaler.transform(X), scaler.transform(X_test)

angles = {"amazed": 70, "happy": 20, "relaxing": -45, "quiet": -90, "sad": -150, "angry": 125}
circle = np.exp(1j * np.radians(list(angles.values())))
between_moods = np.abs(circle[:, None] - circle)

fig, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.7"))
ax.plot(circle.real, circle.imag, "o")
for mood, place in zip(angles, circle, strict=True):
    ax.text(1.12 * place.real, 1.12 * place.imag, mood, ha="right" if place.real < 0 else "left", va="center")
ax.set(title="Six moods on a circle", xlabel="unpleasant to pleasant", ylabel="calm to aroused")
ax.set(xlim=(-1.7, 1.7), ylim=(-1.3, 1.3), xticks=[], yticks=[], aspect="equal")
plt.show()

# %%
# Two label sets are as far apart as a mood of one of them is from the nearest mood of the other, on average. The
# function takes rows of ``Y``, returns all pairs, and is called with distinct label sets only. No piece is without a
# mood.


def on_the_circle(Y_a, Y_b):
    forth = Y_a @ to_nearest_mood(Y_b).T / Y_a.sum(axis=1, keepdims=True)
    back = Y_b @ to_nearest_mood(Y_a).T / Y_b.sum(axis=1, keepdims=True)
    return (forth + back.T) / 2


def to_nearest_mood(Y):
    """Way from each of the six moods to the nearest one of a label set, of shape (n_samples, 6)."""
    return np.where(Y[:, None, :] > 0, between_moods, np.inf).min(axis=2)


# %%
# Ten nearest training pieces of each held-out piece, without a metric, with one that counts labels, and with one for
# this relation.

metrics = {
    "no metric": FunctionTransformer(),
    "metric for 'hamming'": RAMLLinear(),
    "metric for the circle": RAMLLinear(relation=on_the_circle),
}
relations = on_the_circle(Y_test, Y)

fig, ax = plt.subplots(layout="constrained")
for (name, metric), style in zip(metrics.items(), [":", "--", "-"], strict=True):
    Z = metric.fit(X, Y).transform(X)
    search = NearestNeighbors(n_neighbors=10).fit(Z)
    neighbours = search.kneighbors(metric.transform(X_test), return_distance=False)
    of_neighbours = np.take_along_axis(relations, neighbours, axis=1)
    n_differ = (Y[neighbours] != Y_test[:, None]).sum(axis=2)
    ax.ecdf(of_neighbours.ravel(), linestyle=style, label=name)
    print(f"{name}: {(of_neighbours > 1).mean():.0%} beyond 1, {n_differ.mean():.2f} labels differ")
ax.set(title="Ten neighbours of held-out pieces")
ax.set(xlabel="relation of a held-out piece and its neighbour", ylabel="share of neighbours at most so far")
ax.legend(loc="lower right")
plt.show()

# %%
# With the relation of the circle 17 % of the neighbours are more than 1 away, the chord of 60 degrees; with "hamming"
# they are 22 %, without a metric 25 %. No more labels differ for it (1.50, 1.52 and 1.69).

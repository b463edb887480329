"""
Nearest neighbours, and why
===========================

A prediction by neighbours can be looked into: who voted, with what weight, and which features made them near or far.
"""

# %%
# All training pieces of music vote on the moods of a held-out one. ``kneighbors_graph(mode="weight")`` holds the share
# of each in the vote; the shares of all are 1 in sum.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import RAMLLinear, SoftNeighborsClassifier
from skrelmetric.datasets import load_emotions

X, Y = load_emotions(subset="train", return_X_y=True, as_frame=True)
X_test, Y_test = load_emotions(subset="test", return_X_y=True, as_frame=True)
moods = [name.partition("-")[0] for name in Y]

model = make_pipeline(StandardScaler(), RAMLLinear(), SoftNeighborsClassifier()).fit(X, Y)
asked = X_test.iloc[[36]]
probabilities = model.predict_proba(asked)
graph = model[-1].kneighbors_graph(model[:-1].transform(asked), 8, mode="weight")
voters, weights = graph.indices, graph.data
print(f"8 of {len(X)} pieces have {weights.sum():.0%} of the vote.")

# %%
# The moods of the piece, of its eight nearest neighbours, and the probabilities that the vote of all comes to.

rows = np.vstack([Y_test.iloc[36], Y.iloc[voters], probabilities])
names = ["held-out piece", *(f"training piece {voter}" for voter in voters), "probability"]

fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 4.4), width_ratios=[2, 1], layout="constrained", sharey=True)
left.imshow(rows, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
for mood, probability in enumerate(probabilities[0]):
    left.text(mood, len(rows) - 1, f"{probability:.2f}", ha="center", va="center")
left.set_xticks(range(len(moods)), moods, rotation=45)
left.set_yticks(range(len(rows)), names)
left.hlines([0.5, len(rows) - 1.5], -0.5, len(moods) - 0.5, color="black")
right.barh(range(1, len(rows) - 1), weights)
right.set(xlabel="share of the vote")
right.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Without the metric another piece would be the nearest. The squared distance is a sum over features, with the metric
# and without, so that each has its share in keeping the two apart.

scaled, scaled_asked = model[0].transform(X), model[0].transform(asked)
differences = scaled_asked - scaled
M = model["ramllinear"].get_mahalanobis_matrix()
plain, learned = differences**2, (differences @ M) * differences  # (n_samples, n_features), sums are squared distances
other = plain.sum(axis=1).argmin()
place = (learned.sum(axis=1) < learned[other].sum()).sum() + 1
moods_of_other = ", ".join(np.array(moods)[Y.iloc[other] == 1])
print(f"Piece {other} ({moods_of_other}) is the nearest without the metric, and number {place} with it.")

most = np.argsort(learned[other])[-8:]
shares = [terms[other, most] / terms[other].sum() for terms in (plain, learned)]
fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
ax.barh(np.arange(8) + 0.2, shares[1], 0.4, label="with the metric")
ax.barh(np.arange(8) - 0.2, shares[0], 0.4, label="without", color="0.75")
ax.set_yticks(range(8), [X.columns[k].replace("_Acc1298", "").replace("_Mem40", "") for k in most])
ax.set(xlabel=f"share in the squared distance to piece {other}")
ax.xaxis.set_major_formatter("{x:.0%}")
ax.legend(loc="lower right")
plt.show()

# %%
# The piece is relaxing and quiet, and so says the vote, with .86 and .78. Without the metric an amazed and happy piece
# would be the nearest. The metric puts it tenth, above all by the mean of the zeroth cepstral coefficient, which goes
# with loudness: 28 % of the squared distance, where it was 5 %.

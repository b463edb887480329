"""
Nearest neighbours, and why
===========================

A prediction by neighbours can be looked into: who voted, with what weight, and which features made them near or far.
"""

# %%
# All training pieces of music vote on the moods of a held-out one, the nearer the more.
# :func:`~skrelmetric.plotting.plot_neighbors` shows the nearest of them with their distances, their shares in the vote
# (``kneighbors_graph(mode="weight")`` has those of all) and their moods, below what is predicted and what is true.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import RAMLLinear, SoftNeighborsClassifier
from skrelmetric.datasets import load_emotions
from skrelmetric.plotting import plot_neighbors

X, Y = load_emotions(subset="train", return_X_y=True, as_frame=True)
X_test, Y_test = load_emotions(subset="test", return_X_y=True, as_frame=True)
moods = [name.partition("-")[0] for name in Y]

model = make_pipeline(StandardScaler(), RAMLLinear(), SoftNeighborsClassifier()).fit(X, Y)
asked = X_test.iloc[[36]]
ax = plot_neighbors(model, asked, Y, y_true=Y_test.iloc[36], n_neighbors=8, label_names=moods)
ax.get_figure().suptitle("Eight nearest pieces, their votes and moods")
plt.show()

# %%
# Without the metric another piece would be the nearest. The squared distance is a sum over features, with the metric
# and without, so that each has its share in keeping the two apart.

scaled, scaled_asked = model[0].transform(X), model[0].transform(asked)
differences = scaled_asked - scaled
M = model["ramllinear"].get_mahalanobis_matrix()
# Shape (n_samples, n_features); the sum over features is the squared distance.
plain, learned = differences**2, (differences @ M) * differences
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
ax.set(title="What keeps two pieces apart", xlabel=f"share in the squared distance to piece {other}")
ax.xaxis.set_major_formatter("{x:.0%}")
ax.legend(loc="lower right")
plt.show()

# %%
# The piece is relaxing and quiet, and so says the vote, with .86 and .78. Without the metric an amazed and happy piece
# would be the nearest. The metric puts it tenth, above all by the mean of the zeroth cepstral coefficient, which goes
# with loudness: 28 % of the squared distance, where it was 5 %.

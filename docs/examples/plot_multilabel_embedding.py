"""
Label sets in two dimensions
============================
"""

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import RAMLLinear
from skrelmetric.datasets import load_emotions
from skrelmetric.plotting import plot_embedding

X, Y = load_emotions(return_X_y=True)
Z = make_pipeline(StandardScaler(), RAMLLinear(2)).fit_transform(X, Y)
plot_embedding(Z, Y)
plt.show()

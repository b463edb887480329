"""
Features that a metric uses
===========================

A linear metric is a matrix, and its diagonal says what each feature counts for. Shuffled copies of all features, which
can tell nothing, show from where on a weight means something.
"""

# %%
# The target is the progression of diabetes after a year, the features are ten measurements of a patient and a shuffled
# copy of each. The metric is aligned with differences of the target.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import RAMLLinear, SoftNeighborsRegressor
from skrelmetric.plotting import plot_metric

measured, y = load_diabetes(return_X_y=True, as_frame=True)
generator = np.random.default_rng(0)
shuffled = measured.apply(generator.permutation).add_suffix(" (shuffled)")
X = pd.concat([measured, shuffled], axis=1)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0)

model = make_pipeline(StandardScaler(), RAMLLinear(relation="l1"), SoftNeighborsRegressor()).fit(X, y)
plain = make_pipeline(StandardScaler(), SoftNeighborsRegressor()).fit(X, y)
print(f"R² {model.score(X_test, y_test):.2f}, without a metric {plain.score(X_test, y_test):.2f}")

# %%
# The matrix, heaviest features first. Off the diagonal are pairs of features whose differences count together.

fig, ax = plt.subplots(figsize=(6.4, 6), layout="constrained")
plot_metric(model["ramllinear"], feature_names=X.columns, ax=ax)
ax.set_title("The learned matrix")
plt.show()

# %%
# Permutation importance is what the predictions lose where a feature of the held-out patients is shuffled. It looks at
# predictions, not at the metric, and costs ten predictions a feature; the diagonal is free.

weights = pd.Series(model["ramllinear"].get_mahalanobis_matrix().diagonal(), index=X.columns)
importances = pd.Series(
    permutation_importance(model, X_test, y_test, n_repeats=10, random_state=0).importances_mean,
    index=X.columns,
)

fig, ax = plt.subplots(layout="constrained")
ax.plot(weights[measured.columns], importances[measured.columns], "o", label="measured")
ax.plot(weights[shuffled.columns], importances[shuffled.columns], "kx", label="shuffled")
ax.axvline(weights[shuffled.columns].max(), color="black", linestyle=":", label="heaviest shuffled")
for name in weights[measured.columns].nlargest(4).index:
    ax.annotate(name, (weights[name], importances[name]), (7, 0), textcoords="offset points", va="center")
ax.set(title="Weight and importance of each feature")
ax.set(xlabel="weight in the metric, $M_{kk}$", ylabel="permutation importance (loss of R²)")
ax.legend(loc="lower right")
print(weights.nlargest(6).round(2).to_string())
print(f"rank correlation of both: {spearmanr(weights, importances).statistic:.2f}")
plt.show()

# %%
# Body mass index, s5 (probably the log of triglycerides) and blood pressure weigh more than three times what the
# heaviest shuffled feature does, and importance names the same three. Of the others only s4 stands out, and age and s2
# weigh less than some shuffled features. The metric was worth .10 of R² (.40 and .30).

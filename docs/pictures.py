"""Picture of README and of the first page: `python docs/pictures.py` draws it anew, in light and dark."""

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import HRAMLTransformer, MLkNN
from skrelmetric.datasets import load_emotions
from skrelmetric.metrics import average_precision

SHOWN = ("angry-aggresive", "quiet-still", "happy-pleased", "relaxing-calm")
INK = {"light": ("#1f2328", "#c9ced6", "#0a6bb8"), "dark": ("#e6e9ee", "#454c56", "#6cb6ff")}

train, test = load_emotions(subset="train"), load_emotions(subset="test")
titles = [name.split("-")[0] for name in SHOWN]
columns = [list(test.target_names).index(name) for name in SHOWN]

rows = {}
for title, embedding in (("Two principal components", PCA(2)), ("HRAMLTransformer(2)", HRAMLTransformer(2))):
    model = make_pipeline(StandardScaler(), embedding, MLkNN(range(1, 31))).fit(train.data, train.target)
    precision = average_precision(test.target, model.predict_proba(test.data))
    rows[f"{title}\naverage precision .{1000 * precision:.0f}"] = model[:-1].transform(test.data)

for scheme, (text, absent, present) in INK.items():
    with plt.rc_context({"text.color": text, "axes.labelcolor": text, "font.size": 9, "svg.hashsalt": "skrelmetric"}):
        figure, grid = plt.subplots(2, len(SHOWN), figsize=(8.4, 4.4), layout="constrained")
        for (title, Z), panels in zip(rows.items(), grid, strict=True):
            panels[0].set_ylabel(title)
            for axes, column in zip(panels, columns, strict=True):
                has = test.target[:, column] == 1
                axes.scatter(*Z[~has].T, s=7, color=absent, linewidths=0)
                axes.scatter(*Z[has].T, s=9, color=present, linewidths=0)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                axes.set_facecolor("none")
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title)
        path = Path(__file__).parent / f"_static/emotions-{scheme}.svg"
        figure.savefig(path, transparent=True, metadata={"Date": None})

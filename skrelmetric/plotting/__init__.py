"""Pictures of learned distances, of trainings and of comparisons, for matplotlib.

Every function draws into the axes that it is given, or into those of a new figure, and returns them. None shows a
figure or changes a setting; text and lines take the colours of the style that is in force, light or dark.
"""

from skrelmetric.plotting._comparison import plot_critical_difference, plot_quality_against_time
from skrelmetric.plotting._embedding import plot_embedding
from skrelmetric.plotting._metric import plot_metric, plot_relation
from skrelmetric.plotting._neighbors import plot_neighbors
from skrelmetric.plotting._reliability import plot_reliability
from skrelmetric.plotting._training import plot_training

__all__ = [
    "plot_critical_difference",
    "plot_embedding",
    "plot_metric",
    "plot_neighbors",
    "plot_quality_against_time",
    "plot_relation",
    "plot_reliability",
    "plot_training",
]

"""
An encoder of your own, in a pipeline
=====================================

Texts become numbers by an encoder: anything with scikit-learn's ``fit`` and ``transform`` over a list of (prompt,
answer). A few lines that count what you believe users care about are one, and so is a pipeline. Which is best, new
users say.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from skmrm import MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences
from skmrm.metrics import bootstrap_interval
from skmrm.model_selection import adaptation_curve


# %%
# Three encoders
# --------------
# Columns of your own, TF-IDF reduced to 40 dimensions, and both side by side.
class Layout(TransformerMixin, BaseEstimator):
    """Length, bullet points, headings and questions of an answer."""

    def fit(self, items, y=None):
        return self

    def transform(self, items):
        texts = [answer for _, answer in items]
        marks = [[text.count(mark) for mark in ("\n- ", "#", "?")] for text in texts]
        return np.column_stack([[np.log1p(len(text)) for text in texts], marks])


def answers_of(items):
    return [answer for _, answer in items]


words = make_pipeline(
    FunctionTransformer(answers_of), TfidfVectorizer(sublinear_tf=True), TruncatedSVD(40, random_state=0)
)
encoders = {
    "four columns of my own": Layout(),
    "words (TF-IDF, reduced)": words,
    "both side by side": make_union(Layout(), words),
}

# %%
# Ask new users
# -------------
# The last one is the default, hashed n-grams with statistics of style. The encoder learns from texts of training users
# alone, and goes wherever the model goes.
train, test = split_users(load_style_preferences(n_users=200, n_pairs=30, random_state=0).episodes, random_state=0)
models = {
    name: MetaRewardModel(encoder=encoder, text_statistics=False, random_state=0) for name, encoder in encoders.items()
}
models["the default"] = MetaRewardModel(random_state=0)
found = {}
for name, model in models.items():
    curve = adaptation_curve(model.fit(train), test, support_sizes=(0, None))
    found[name] = [bootstrap_interval(100 * accuracy) for accuracy in curve.accuracy]
    print(f"{name:>24}: {found[name][0].estimate:.1f} % before, {found[name][1].estimate:.1f} % after adapting")

# %%
# Do not read order into intervals that overlap; :func:`skmrm.model_selection.compare` takes two models user by user.
figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for row, (label, color) in enumerate((("before any choice", "0.6"), ("adapted on 15 choices", "C0"))):
    parts = [intervals[row] for intervals in found.values()]
    middle = np.array([part.estimate for part in parts])
    ends = [middle - [part.low for part in parts], [part.high for part in parts] - middle]
    ax.errorbar(middle, np.arange(len(parts)) - 0.1 + 0.2 * row, xerr=ends, fmt="o", color=color, label=label)
ax.set_yticks(range(len(found)), found)
ax.invert_yaxis()
ax.set_xlabel("unseen choices predicted (%), mean and 95 % interval over users")
ax.set_title(f"{test.n_users} new users", loc="left")
ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

"""
Model selection by what new users will see
==========================================

scikit-learn's tools take a set of users as they take an array: their folds are folds of users, and a scorer adapts each
user who was left out on some prompts and judges on others. So parameters are chosen by what counts in use: here, new
users who make five choices.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

from skmrm import MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences
from skmrm.encoders import TextEncoder
from skmrm.model_selection import adaptation_curve, adaptation_scorer, compare

# %%
# Encode once
# -----------
# Texts do not change between fits. Test users stay out of everything that is chosen.
train, test = split_users(load_style_preferences(n_users=220, n_pairs=20, random_state=0).episodes, 0.4, random_state=0)
encoder = TextEncoder().fit(train.compact().items)
train, test = (part.with_features(encoder.transform(part.items)) for part in (train, test))

# %%
# How many base reward functions?
# -------------------------------
# One is one reward for all. Two scorers at once: all users, and the tenth who are predicted worst.
scoring = {
    "all users": adaptation_scorer(n_support=5),
    "the worst tenth": adaptation_scorer("worst_decile", n_support=5),
}
search = GridSearchCV(MetaRewardModel(random_state=0), {"n_bases": [1, 3, 8]}, scoring=scoring, refit="all users", cv=3)
search.fit(train)
print("chosen:", search.best_params_)

# %%
# Folds are small, and differ more from each other than candidates do. The same folds judge all candidates, so that
# lines of one fold may be compared.
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, name in zip(axes, scoring, strict=True):
    folds = np.array([search.cv_results_[f"split{fold}_test_{name}"] for fold in range(3)])
    ax.plot(100 * folds.T, color="0.75", label=["one fold", None, None])
    ax.plot(100 * folds.mean(0), "o-", color="k", label="mean of three folds")
    ax.set_xticks(range(3), search.cv_results_["param_n_bases"])
    ax.set_xlabel("base reward functions")
    ax.set_ylabel("unseen choices predicted (%)")
    ax.set_title(f"{name} of {train.n_users}, after 5 choices", loc="left")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)
plt.show()

# %%
# Was it a good choice?
# ---------------------
# Test users, who took no part in it, compare what was chosen with one reward for all.
chosen = search.best_estimator_
curves = [adaptation_curve(model, test, support_sizes=[5]) for model in (chosen, chosen.pooled_model_)]
(row,) = compare(*curves)
print(f"gain on {row.n_users} test users: {row.gain}")

"""
Users who are hard to predict
=============================

A mean over users hides those who differ from the crowd. Here one user in five wants the opposite of what most want.
What serves them: the Robust Personalization Objective (RPO), by which users with a high loss count more in training, or
another way of adapting?
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.metrics import bootstrap_interval, worst_decile
from skmrm.model_selection import adaptation_curve

# %%
# Three models
# ------------
# Two take one gradient step for a user, as in the paper: one is trained on the plain mean over users, one on the half
# of the users whose loss is highest. The third is the default, which finds the most likely weights given the choices.
N_KNOWN, N_NEW = 300, 600
data = make_user_preferences(
    N_KNOWN + N_NEW, 16, hard_fraction=0.2, shared_strength=2.5, personal_strength=1.0, random_state=0
)
known, new = data.episodes[:N_KNOWN], data.episodes[N_KNOWN:]
one_step = {
    "n_bases": 8,
    "adaptation": "gradient",
    "spectral_init": False,
    "max_epochs": 100,
    "learning_rate": 0.03,
    "patience": 100,
}
models = {
    "one gradient step": MetaRewardModel(**one_step, robust_temperature=None, random_state=0),
    "one gradient step, RPO": MetaRewardModel(**one_step, robust_ratio=0.5, robust_temperature=0, random_state=0),
    "the default": MetaRewardModel(random_state=0),
}
accuracy = {
    name: 100 * adaptation_curve(model.fit(known), new, support_sizes=[3]).accuracy[0] for name, model in models.items()
}

# %%
# After three choices
# -------------------
# RPO makes up for part of what one gradient step cannot do, and the default serves those who differ better still. Who
# is hard is known, as the users are simulated; the worst tenth are those who are predicted worst, whoever they are.
hard = data.weights[N_KNOWN:].mean(1) < 0
groups = {
    "all users": (slice(None), np.mean),
    f"{hard.sum()} who want the opposite": (hard, np.mean),
    "the worst tenth": (slice(None), worst_decile),
}
figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for row, (name, found) in enumerate(accuracy.items()):
    parts = [bootstrap_interval(found[who], statistic=statistic) for who, statistic in groups.values()]
    middle = np.array([part.estimate for part in parts])
    ends = [middle - [part.low for part in parts], [part.high for part in parts] - middle]
    ax.errorbar(middle, np.arange(3) + 0.15 * (row - 1), xerr=ends, fmt="o", color=f"C{row}", label=name)
ax.set_yticks(range(3), groups)
ax.invert_yaxis()
ax.axvline(50, color="0.6", linewidth=0.8, linestyle=":")
ax.set_xlabel("unseen choices predicted (%), 95 % interval over users; 50 is guessing")
ax.set_title(f"{N_NEW} new users, three choices each", loc="left")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# User by user
# ------------
# This is one draw of users, and settings that suit RPO. Over twenty draws it raised the worst tenth by 2.9 points here;
# with the paper's ratio and temperature that did not repeat, and beside the default's way of adapting it does harm. All
# of this is on the page about :doc:`accuracy </accuracy>`.
for name in ("one gradient step, RPO", "the default"):
    for group, (who, statistic) in groups.items():
        gain = bootstrap_interval(accuracy[name][who], accuracy["one gradient step"][who], statistic=statistic)
        print(f"{name} against one gradient step, {group}: {gain} points")

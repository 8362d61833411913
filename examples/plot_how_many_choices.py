"""
How many choices are enough?
============================

A new user is asked to choose a few times. How soon does that pay, and when do further choices bring little? The same
new users are predicted three ways: by one reward for all, by a model fitted to each user alone, and by a model that
starts from what other users have in common.
"""

import matplotlib.pyplot as plt

from skmrm import MetaRewardModel, split_users
from skmrm.baselines import PerUserBradleyTerry
from skmrm.datasets import load_style_preferences, oracle_accuracy
from skmrm.model_selection import adaptation_curve, compare
from skmrm.plotting import AdaptationCurveDisplay

# %%
# Adapt on more and more choices
# ------------------------------
# Supports are nested, and what users are judged on stays the same, so that a curve compares like with like.
data = load_style_preferences(n_users=220, n_pairs=50, random_state=0)
train, test = split_users(data.episodes, test_size=0.35, random_state=0)
model = MetaRewardModel(random_state=0).fit(train)
models = {
    "adapted": model,
    "each user alone": PerUserBradleyTerry(random_state=0).fit(train),
    "one reward for all": model.pooled_model_,
}
sizes = (0, 1, 2, 3, 5, 8, 12, 18, 25)
curves = {name: adaptation_curve(found, test, support_sizes=sizes) for name, found in models.items()}

# %%
# The three curves
# ----------------
# Users choose with some noise, so that even their true tastes do not predict every choice: that is the dotted line.
figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
AdaptationCurveDisplay.from_curves(curves, ax=ax)
ax.axhline(oracle_accuracy(data, test), color="0.3", linestyle=":", label="their true tastes")
ax.legend(
    title="mean over users, 95 % interval", alignment="left", frameon=False, loc="upper left", bbox_to_anchor=(0, 0.93)
)
plt.show()

# %%
# What the next choices bring
# ---------------------------
# Differences are taken user by user, with intervals that hold for all of them at once.
for n, row in zip(sizes, compare(curves["adapted"], curves["one reward for all"], simultaneous=True), strict=True):
    gain, low, high = (100 * value for value in (row.gain.estimate, row.gain.low, row.gain.high))
    print(f"{n:>2} choices: {gain:+5.1f} points [{low:.1f}, {high:.1f}]")

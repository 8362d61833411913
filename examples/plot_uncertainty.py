"""
How sure is the model of a user?
================================

A few choices leave much open. Adapting gives more than a best guess: it gives what is still not known of a user's
rewards, as an interval for each. Are these intervals right? Users are simulated, so that their true rewards can be
looked up.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.model_selection import adaptation_curve
from skmrm.plotting import ReliabilityDisplay

# %%
# A model, and users whom it has not met
# --------------------------------------
data = make_user_preferences(280, 40, n_features=12, n_bases=3, random_state=0)
model = MetaRewardModel(random_state=0).fit(data.episodes[:180])
new = data.episodes[180:]
items = data.episodes.features[:60:6]  # ten, to different prompts
truth = data.coef[180:] @ items.T
truth -= truth.mean(1, keepdims=True)  # rewards have no natural zero

# %%
# How often is the truth inside?
# ------------------------------
# Intervals of 90 %, for each item and user, after more and more choices.
sizes = (1, 3, 10, 40)
shown = {}
choice = np.arange(new.n_pairs) - new.offsets[new.user]
for n in sizes:
    users = list(model.adapt_many(new.take_pairs(choice < n)).values())
    rewards = np.array([user.predict(items) for user in users])
    rewards -= rewards.mean(1, keepdims=True)
    margin = 1.645 * np.array([user.predict_std(items) for user in users])
    shown[n] = rewards[0], margin[0]
    inside = np.abs(rewards - truth) <= margin
    print(f"{n:>2} choices: {inside.mean():.0%} inside, {2 * margin.mean():.1f} logits wide on average")

# %%
# One user's rewards
# ------------------
# Ten answers: intervals shrink around the truth.
figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
order = np.argsort(truth[0])
for shift, (n, color) in zip((-0.15, 0.15), ((3, "C1"), (40, "C0")), strict=True):
    middle, margin = (values[order] for values in shown[n])
    ax.errorbar(np.arange(10) + shift, middle, margin, fmt="o", markersize=4, color=color, label=f"after {n} choices")
ax.plot(truth[0][order], "k_", markersize=14, label="truth")
ax.set_xticks(range(10), range(1, 11))
ax.set_xlabel("ten answers")
ax.set_ylabel("reward, less the mean of the ten (logits)")
ax.set_title("One new user, intervals of 90 %", loc="left")
ax.set_ylim(-5, 7)
ax.legend(frameon=False, loc="upper left", ncols=3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# All users' probabilities
# ------------------------
# Is a choice that is said to be 80 % likely made in 80 % of the cases? After three choices probabilities are somewhat
# too sure, since they take the best guess of the user's rewards for the truth; after all choices of half of a user's
# prompts, twenty, they are right.
curve = adaptation_curve(model, new, support_sizes=(3, None))
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ReliabilityDisplay.from_curve(curve, 3, ax=ax)
ReliabilityDisplay.from_curve(curve, ax=ax, ref_line=False)
ax.set_title(f"{len(new.users)} new users", loc="left")
plt.show()

"""
What do users differ in?
========================

A user's reward is a weighted sum of a few base reward functions that all users share. What each of them rewards can be
read off: which statistics of style it goes with, and which answers it likes most and least.
"""

import matplotlib.pyplot as plt

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.plotting import BaseRewardDisplay

# %%
# The base reward functions that matter
# -------------------------------------
# A column is one of them, a row a statistic that can be read of an answer. Colours are correlations among the answers
# to one prompt; under each name is how much it moves rewards among users. Number 0 is what all users share, the others
# are axes along which they differ: some users are at one end, some at the other. Shown are those that move rewards
# most. Two fits may find the same tastes along other axes, so read the picture as a whole.
data = load_style_preferences(n_users=160, n_pairs=40, random_state=0)
model = MetaRewardModel(random_state=0).fit(data.episodes)
figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
display = BaseRewardDisplay.from_estimator(model, data.episodes, n_bases=5, n_statistics=8, n_examples=1, ax=ax)
ax.set_title(f"Learnt from {data.episodes.n_users} users", loc="left")
plt.show()

# %%
# The answer at either end
# ------------------------
for example in display.examples:
    print(f"{example.base_reward} {example.side:>7} {example.score:+.2f}  {example.response[:70]!r}")

# %%
# Is that what users truly differ in?
# -----------------------------------
# Simulated users' tastes are known: six traits, each of which was given to every text by hand. How well the base reward
# functions together explain each trait, among the answers to one prompt:
import numpy as np

prompts = np.unique([prompt for prompt, _ in data.episodes.items], return_inverse=True)[1]
shown = [np.asarray(model.transform(data.episodes.items), float), np.asarray(data.traits, float)]
rewards, traits = (
    values - np.array([values[prompts == place].mean(0) for place in range(prompts.max() + 1)])[prompts]
    for values in shown
)
left = traits - rewards @ np.linalg.lstsq(rewards, traits, rcond=None)[0]
for name, share in zip(data.taste_names, 1 - (left**2).sum(0) / (traits**2).sum(0), strict=True):
    print(f"{name:>10}: {share:.0%} of its variance")

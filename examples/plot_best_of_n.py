"""
Best of n, for whom?
====================

Draw several answers, keep the one that the reward model likes best: with one reward for everybody, all users get the
same answer. Here two users of the bundled corpus, whom fit never saw, are shown the same candidates, and their own
rewards choose. The best and the worst candidate of each user and prompt then make a preference set for DPO.
"""

from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences
from skmrm.integrations.trl import best_of_n

# %%
# Two new users
# -------------
# Each is known by thirty choices. Of all new users, the two whose tastes differ most.
data = load_style_preferences(n_users=200, n_pairs=30, random_state=0)
train, new = split_users(data.episodes, test_size=0.1, random_state=0)
model = MetaRewardModel(random_state=0).fit(train)
users = model.adapt_many(new)
rewards = users.weights_ @ model.transform(data.episodes.items).T
pair = np.unravel_index(np.corrcoef(rewards).argmin(), (len(users), len(users)))
two = [new.users[place] for place in pair]

# %%
# The same candidates for both
# ----------------------------
# Six answers to each of sixty prompts.
candidates: dict[str, list[str]] = {}
for prompt, answer in data.episodes.items:
    candidates.setdefault(prompt, []).append(answer)
rows = [{"user_id": user, "prompt": p, "completion": answers} for p, answers in candidates.items() for user in two]
pairs = best_of_n(rows, users)
winner = {(pair["user_id"], pair["prompt"]): pair["chosen"] for pair in pairs}
differ = [prompt for prompt in candidates if winner[two[0], prompt] != winner[two[1], prompt]]
print(f"{len(pairs)} pairs for DPO, with columns {', '.join(pairs[0])}")
print(f"the winners differ on {len(differ)} of {len(candidates)} prompts; for example")
shown = differ[0]
print(f"\n{shown}")
for user in two:
    print(f"  {user}: {winner[user, shown][:100]!r}")

# %%
# The reward that is the same for all
# -----------------------------------
# How often would its winner have been the user's own?
shared = {row["prompt"]: row["chosen"] for row in best_of_n(rows, model)}
print()
for user in two:
    own = np.mean([winner[user, prompt] == shared[prompt] for prompt in candidates])
    print(f"one reward for everybody gives {user} the answer of their own reward on {own:.0%} of the prompts")

# %%
# One prompt in a picture
# -----------------------
# Rewards have no natural zero: each user's are shown as differences from their mean over the candidates.
answers = candidates[shown]
heights = np.array([users[user].score(shown, answers) for user in two])
heights -= heights.mean(1, keepdims=True)
order = np.argsort(heights[0] - heights[1])
place = np.arange(len(answers))
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.hlines(place, *np.sort(heights[:, order], axis=0), color="0.85", zorder=0)
for user, values, color in zip(two, heights[:, order], ("tab:blue", "tab:orange"), strict=True):
    axes.scatter(values, place, color=color, label=f"user {user}")
    best = values.argmax()
    axes.scatter(values[best], best, s=220, facecolors="none", edgecolors=color, linewidths=2)
    axes.annotate("best", (values[best], best), (0, 13), textcoords="offset points", ha="center", color=color)
axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
plain = str.maketrans("", "", "*#")  # without marks of headings and the like
axes.set_yticks(place, [shorten(answers[i].translate(plain), 36, placeholder=" …") for i in order])
axes.set_ylim(-0.6, len(answers) - 0.3)
axes.set_xlabel("reward less the user's mean over the candidates (logits)")
figure.suptitle(shown, fontweight="bold")
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
axes.spines[["top", "right", "left"]].set_visible(False)
axes.tick_params(axis="y", length=0)
plt.show()

"""
Which language model for whom?
==============================

Several language models could answer, each in its own manner, and asking all of them costs as much as all of them. A
user's reward model says which of them usually writes what this user likes, so that only that one has to be asked.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.metrics import bootstrap_interval

# %%
# Four language models
# --------------------
# Of the answers to each prompt, "brief" writes the shortest, "warm" the warmest, "structured" the one with most lists
# and headings, "formal" the most formal.
data = load_style_preferences(n_users=240, n_pairs=40, random_state=0)
items, traits = data.episodes.items, data.traits
prompts = list(dict.fromkeys(prompt for prompt, _ in items))
rows = {prompt: [row for row, (asked, _) in enumerate(items) if asked == prompt] for prompt in prompts}
trait = {name: column for column, name in enumerate(data.taste_names)}
manners = {"brief": ("length", -1), "warm": ("warmth", 1), "structured": ("structure", 1), "formal": ("formality", 1)}
answers = np.array(
    [[max(rows[p], key=lambda r: sign * traits[r, trait[name]]) for p in prompts] for name, sign in manners.values()]
)  # rows of items, (language models, prompts)

# %%
# What users have said so far
# ---------------------------
# Rewards are learnt from choices over the first 40 prompts. How much a user likes a language model is the mean reward
# of its answers there. The other 20 prompts are asked later, and nobody has seen an answer to them.
past = data.episodes.take_pairs(np.isin([items[row][0] for row in data.episodes.chosen], prompts[:40]))
known, new = past[:160], past[160:]
model = MetaRewardModel(random_state=0).fit(known)
truth = data.rewards[160:][:, answers[:, 40:]].mean(2)  # of the later answers, (users, language models)


def routed(weights):
    """The language model for each user, by the user's mean reward of the answers so far."""
    rewards = weights @ model.transform(items).T
    return rewards[:, answers[:, :40]].mean(2).argmax(1)


# %%
# Route by few choices, and by more
# ---------------------------------
# Gains are in true reward over the language model that is best for all on average.
everybody = routed(model.start_weights_[None])[0]
place = np.arange(len(truth))
within = np.arange(new.n_pairs) - new.offsets[new.user]
gains, counts = [], {}
for n in (0, 3, 5, 10, 20):
    users = model.adapt_many(new.take_pairs(within < n)) if n else None
    best = np.full(len(truth), everybody) if users is None else routed(users.weights_)
    gains.append(bootstrap_interval(truth[place, best] - truth[:, everybody]))
    counts[n] = np.bincount(best, minlength=4)
    print(f"{n:>2} choices: gain {gains[-1]}, users of {', '.join(manners)}: {counts[n]}")
most = (truth.max(1) - truth[:, everybody]).mean()
print(f"the most that could be gained, were tastes known: {most:.2f}")

# %%
figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
n_choices = list(counts)
ax.fill_between(n_choices, [g.low for g in gains], [g.high for g in gains], alpha=0.2, linewidth=0)
ax.plot(n_choices, [g.estimate for g in gains], "o-", label="routed by the user's reward model")
ax.axhline(most, color="0.3", linestyle=":", label="routed by true taste")
ax.axhline(0, color="0.6", linestyle="--", label=f"“{list(manners)[everybody]}” for everybody")
ax.set_xticks(n_choices)
ax.set_ylim(-0.1, 1.6)
ax.set_xlabel("choices of a new user")
ax.set_ylabel("gain in true reward (logits)")
ax.set_title(f"{len(truth)} new users, 95 % interval of the mean", loc="left")
ax.legend(frameon=False, loc="upper left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Where users are sent
# --------------------
figure, ax = plt.subplots(figsize=(7.5, 2.6), layout="constrained")
left = np.zeros(2)
best = [counts[20], np.bincount(truth.argmax(1), minlength=4)]
for column, name in enumerate(manners):
    share = np.array([100 * part[column] / part.sum() for part in best])
    bars = ax.barh(["after 20 choices", "by true taste"], share, left=left, label=name)
    ax.bar_label(bars, [f"{value:.0f}" for value in share], label_type="center", color="w")
    left += share
ax.set_xlabel(f"of {len(truth)} new users, sent to each language model (%)")
ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

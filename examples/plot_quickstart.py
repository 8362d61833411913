"""
From many users' choices to a new user's reward model
=====================================================

The whole journey on the bundled corpus: simulated users with known tastes choose between answers that differ in
length, warmth, structure, formality, examples and hedging. Fit on some users, meet new ones, and see what a few choices
of theirs are worth.

Run it with ``python examples/plot_quickstart.py``. It writes ``quickstart_learning_curve.png`` here.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from skmrm import MetaRewardModel, UserRewardModel, split_users, support_query_split
from skmrm.datasets import load_style_preferences
from skmrm.metrics import bootstrap_interval, user_accuracies

SUPPORT_SIZES = (0, 1, 3, 5, 10, None)  # None: all choices that a user has to learn from

# %%
# Many users' choices, and new users
# ----------------------------------
# Users are split first: whoever is judged below was never in fit.
data = load_style_preferences(n_users=400, n_pairs=30, random_state=0)
train, test = split_users(data.episodes, test_size=0.3, random_state=0)
print(f"Learning from {train.n_pairs:,} choices of {train.n_users} users, to judge on {test.n_users} others ...")

# %%
# Fit
# ---
# The encoder is the default one: it needs no download. One reward for everybody is a part of it, and what adapting to
# each user has to beat.
began = time.perf_counter()
model = MetaRewardModel(random_state=0).fit(train)
everybody = model.pooled_model_
print(f"fitted in {time.perf_counter() - began:.0f} s")


# %%
# What adapting gains, over all new users
# ---------------------------------------
# Each new user's prompts are divided: choices on some of them to adapt on, those on the others to judge by. Accuracy is
# the share of these that is predicted right, a mean over users; intervals are by bootstrap over users, paired with the
# one reward for everybody.
split = support_query_split(test, random_state=0)
query = test.take_pairs(split.query)


def accuracy(adapted):
    return user_accuracies(adapted.decision_function(query), query.user, query.n_users)


shared_accuracy = accuracy(everybody)
curve, gains = [], []
for n in SUPPORT_SIZES:
    users = model.adapt_many(test.take_pairs(split.support(n)))
    adapted_accuracy = accuracy(users)
    curve.append(bootstrap_interval(adapted_accuracy))
    gains.append(bootstrap_interval(adapted_accuracy, shared_accuracy))
n_all = int(np.median(split.n_support))  # of most users

last = gains[-1]
print(
    f"\nAdapted on {n_all} of their choices, {test.n_users} new users are predicted right {curve[-1].estimate:.1%} "
    f"of the time on prompts that\nthey had not seen; by one reward for everybody, {np.mean(shared_accuracy):.1%}: "
    f"{100 * last.estimate:+.1f} points (95 % interval {100 * last.low:+.1f} to {100 * last.high:+.1f})."
)
print("\nchoices   predicted right   gain over one reward for everybody, in points")
for n, reached, gain in zip(SUPPORT_SIZES, curve, gains, strict=True):
    name = f"all ({n_all})" if n is None else str(n)
    points = f"{100 * gain.estimate:+5.1f}  [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    print(f"{name:>8}   {reached.estimate:14.1%}    {points}")

# %%
# Two users who disagree
# ----------------------
# Of all pairs of new users, the two whose rewards agree least; the same answers, ranked for each.
rewards = users.weights_ @ model.transform(data.episodes.items).T
one, other = np.unravel_index(np.corrcoef(rewards).argmin(), (len(users), len(users)))
prompt = data.episodes.items[0][0]
answers = [response for asked, response in data.episodes.items if asked == prompt]
print(f"\nTwo of them disagree most. Asked {prompt!r},")
for user in test.users[[one, other]]:
    order = users[user].rank(prompt, answers)
    print(f"  of {len(answers)} answers {user} likes")
    for place, answer in (("best", answers[order[0]]), ("least", answers[order[-1]])):
        start = " ".join(answer.split())[:70]
        print(f"    {place:>5}: {start!r} ... ({len(answer.split())} words)")

# %%
# One user's model: score, rank, save and load
# --------------------------------------------
# A user's model is a few numbers on top of what all share; it is saved as such, in a folder of numbers (safetensors)
# and JSON, without pickle.
newcomer = test[[int(one)]]
five = newcomer.take_pairs(split.support(5)[test.user == one])
user_model = model.adapt(five)
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model")
    user_model.save(Path(folder) / "user")
    loaded = MetaRewardModel.load(Path(folder) / "model").adapt(five)
    user_loaded = UserRewardModel.load(Path(folder) / "user")
    same = np.array_equal(loaded.decision_function(newcomer), user_model.decision_function(newcomer))
    same &= user_loaded.score(prompt, answers[0]) == user_model.score(prompt, answers[0])
print(f"\nsaved and loaded: same rewards to the bit: {same}")

# %%
# The learning curve
# ------------------
# "All" is no further number on the axis but whatever each user has, so that it stands apart.
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

names = [str(n) for n in SUPPORT_SIZES[:-1]]
place = np.append(np.arange(len(names)), len(names) + 0.4)
estimate, low, high = (100 * np.array([getattr(one, end) for one in curve]) for end in ("estimate", "low", "high"))
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
axes.axhline(100 * np.mean(shared_accuracy), color="0.4", linestyle="--", label="one reward for everybody")
axes.fill_between(place[:-1], low[:-1], high[:-1], alpha=0.2, color="C0")
axes.plot(place[:-1], estimate[:-1], color="C0", marker="o", label="adapted to each user")
axes.errorbar(place[-1], estimate[-1], [[estimate[-1] - low[-1]], [high[-1] - estimate[-1]]], color="C0", marker="s")
axes.axvline(place[-1] - 0.7, color="0.85", linewidth=1)
axes.set_xticks(place, [*names, f"all ({n_all})"])
axes.set_xlabel("choices of a new user that the model has seen")
axes.set_ylabel("choices predicted right, %")
axes.set_title(f"{test.n_users} new users, on prompts they had not seen (band and bar: 95 % interval)", fontsize=10)
axes.legend(loc="upper left", frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("quickstart_learning_curve.png", dpi=150)
print("wrote quickstart_learning_curve.png")

"""
From many users' choices to a new user's reward model
=====================================================

The whole journey on the bundled corpus: simulated users with known tastes choose between answers that differ in
length, warmth, structure, formality, examples and hedging. Fit on some users, meet new ones, and see what five choices
are worth.

Run it with ``python examples/plot_quickstart.py``. It writes ``quickstart_learning_curve.png`` here.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from skmrm import MetaRewardModel, UserRewardModel, split_users, support_query_split
from skmrm.datasets import load_style_preferences
from skmrm.metrics import bootstrap_interval, user_accuracies

SUPPORT_SIZES = (0, 1, 3, 5, 10, None)  # None: all pairs of the support side

# %%
# Many users' choices, and new users
# ----------------------------------
# Users are split first: whoever is judged below was never in fit.
data = load_style_preferences(n_users=400, n_pairs=30, random_state=0)
train, test = split_users(data.episodes, test_size=0.3, random_state=0)
print(f"learn from {train.n_users} users with {train.n_pairs} choices; judge on {test.n_users} new users")

# %%
# Fit
# ---
# The encoder is the default one: it needs no download.
began = time.perf_counter()
model = MetaRewardModel(random_state=0).fit(train)
pooled = MetaRewardModel(n_bases=1, max_epochs=0, random_state=0).fit(train)  # one reward for everybody
print(f"fitted in {time.perf_counter() - began:.1f} s")
beliefs = ", ".join(f"{prior['setting']} {prior['weight']:.0%}" for prior in model.selection_ if prior["weight"])
print(f"how users differ, as validation users show it (priors and their weights): {beliefs}")

# %%
# Meet a new user
# ---------------
# The user's prompts are divided: some for adapting (support), the others for judging (query).
split = support_query_split(test, random_state=0)
query = test.take_pairs(split.query)
newcomer = test[[0]]
five = newcomer.take_pairs(split.support(5)[: newcomer.n_pairs])
rest = newcomer.take_pairs(split.query[: newcomer.n_pairs])
user_model = model.adapt(five)
before, after = ((m.decision_function(rest) > 0).mean() for m in (model, user_model))
print(f"\nnew user {newcomer.users[0]!r}, {rest.n_pairs} unseen choices:")
print(
    f"  {before:.0%} predicted before, {after:.0%} after adapting on 5 choices (an anecdote: the evidence is the table)"
)


# %%
# Every new user, and how many choices it takes
# ---------------------------------------------
# Accuracy is the mean over users; intervals are by bootstrap over users, and paired with the pooled model.
def accuracy(adapted):
    return user_accuracies(adapted.decision_function(query), query.user, query.n_users)


pooled_accuracy = accuracy(pooled)
print("\nchoices   accuracy of new users      gain over the pooled model [95 % interval]")
curve, gains = [], []
for n in SUPPORT_SIZES:
    users = model.adapt_many(test.take_pairs(split.support(n)))
    adapted_accuracy = accuracy(users)
    curve.append(bootstrap_interval(adapted_accuracy))
    gains.append(bootstrap_interval(adapted_accuracy, pooled_accuracy))
    name = "all" if n is None else str(n)
    print(f"{name:>7}   {curve[-1].estimate:.3f}                      {gains[-1]}")
print(f" pooled   {np.mean(pooled_accuracy):.3f}")

# %%
# Two users who disagree
# ----------------------
# Of all pairs of new users, the two whose rewards agree least; the same answers, ranked for each.
rewards = users.weights_ @ model.transform(data.episodes.items).T
one, other = np.unravel_index(np.corrcoef(rewards).argmin(), (len(users), len(users)))
prompt = data.episodes.items[0][0]
answers = [response for asked, response in data.episodes.items if asked == prompt]
print(f"\n{prompt!r}: best and last answer")
for user in test.users[[one, other]]:
    order = users[user].rank(prompt, answers)
    for place, answer in (("best", answers[order[0]]), ("last", answers[order[-1]])):
        print(f"  for {user}, {place}: {answer[:80]!r} ... ({len(answer.split())} words)")

# %%
# Save and load
# -------------
# A folder of numbers (safetensors) and JSON, without pickle.
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model")
    user_model.save(Path(folder) / "user")
    loaded = MetaRewardModel.load(Path(folder) / "model").adapt(five)
    user_loaded = UserRewardModel.load(Path(folder) / "user")
    same = np.array_equal(loaded.decision_function(rest), user_model.decision_function(rest))
    same &= user_loaded.score(prompt, answers[0]) == user_model.score(prompt, answers[0])
print(f"\nsaved and loaded: same rewards to the bit: {same}")

# %%
# The learning curve
# ------------------
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

names = ["all" if n is None else str(n) for n in SUPPORT_SIZES]
place = np.arange(len(names))
figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
axes.fill_between(place, [c.low for c in curve], [c.high for c in curve], alpha=0.2, label="95 % interval over users")
axes.plot(place, [c.estimate for c in curve], marker="o", label="adapted")
axes.axhline(np.mean(pooled_accuracy), color="0.4", linestyle="--", label="pooled Bradley-Terry")
axes.set_xticks(place, names)
axes.set_xlabel("choices of a new user (support pairs)")
axes.set_ylabel("accuracy on unseen choices, mean over users")
axes.legend(loc="lower right", frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("quickstart_learning_curve.png", dpi=150)
print("wrote quickstart_learning_curve.png")

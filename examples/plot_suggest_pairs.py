"""
Which question to ask next?
===========================

A new user will answer ten questions, no more. Which? Here the same forty new users are asked ten random comparisons,
and ten that ``suggest_pairs`` picks one after the other, each after what the last answer told. Users and answers are
simulated, so that it is known what they truly prefer.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences

N_QUESTIONS, N_NEW = 10, 40

# %%
# A model of other people
# -----------------------
data = make_user_preferences(n_users=150 + N_NEW, n_pairs=20, n_features=20, random_state=0)
model = MetaRewardModel(random_state=0).fit(data.episodes[:150])
candidates = data.episodes.features[:90]
true_rewards = data.coef[150:] @ candidates.T

# %%
# Ask, learn, ask again
# ---------------------
# Each answer is a choice with logistic noise, as people's choices are in the model.
rng = np.random.default_rng(0)
quiz = rng.integers(0, len(candidates), (300, 2))  # on which users are judged
accuracy = {"random questions": np.zeros((N_QUESTIONS + 1, N_NEW)), "suggest_pairs": np.zeros((N_QUESTIONS + 1, N_NEW))}
for way, right in accuracy.items():
    for place, truth in enumerate(true_rewards):
        user = model.adapt([])
        for asked in range(N_QUESTIONS + 1):
            gaps = np.subtract(*user.predict(candidates)[quiz.T])
            right[asked, place] = np.mean((gaps > 0) == (np.subtract(*truth[quiz.T]) > 0))
            a, b = rng.choice(len(candidates), 2, replace=False)
            if way == "suggest_pairs":
                question = user.suggest_pairs(candidates)[0]
                a, b = question.first, question.second
            if rng.logistic() > truth[a] - truth[b]:
                a, b = b, a
            user = user.update([(candidates[a], candidates[b])])
for way, right in accuracy.items():
    print(f"{way}: {right[0].mean():.1%} before the first answer, {right[-1].mean():.1%} after {N_QUESTIONS}")

# %%
# How much sooner?
# ----------------
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for way, right in accuracy.items():
    mean, error = 100 * right.mean(1), 196 * right.std(1) / N_NEW**0.5
    (line,) = ax.plot(mean, label=way)
    ax.fill_between(range(N_QUESTIONS + 1), mean - error, mean + error, color=line.get_color(), alpha=0.2, lw=0)
    ax.annotate(
        way, (N_QUESTIONS, mean[-1]), xytext=(4, 0), textcoords="offset points", color=line.get_color(), va="center"
    )
ax.set_xlabel("questions answered")
ax.set_ylabel("true preferences predicted, %")
ax.set_title(f"{N_NEW} new users, 95 % intervals", loc="left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

"""
Ties and stars, as they are
===========================

People say "no difference", or give stars instead of choosing. The usual way out is to drop ties and to make pairs of
stars. Both can be learnt from as they are. What is that worth? The same simulated users answer in each form, and new
users show which model knows best what they truly prefer.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel, episodes_from_arrays
from skmrm.datasets import make_user_preferences
from skmrm.metrics import bootstrap_interval

# %%
# What users would say
# --------------------
# Each sees twelve pairs of items, which stand for two answers to one prompt. A choice that is close is a tie. Asked for
# stars, users rate both items of the pair, each by a bar of their own: some give five stars to almost everything.
N_KNOWN, N_NEW, N_PAIRS = 140, 100, 12
rng = np.random.default_rng(0)
data = make_user_preferences(N_KNOWN + N_NEW, N_PAIRS, n_features=10, n_bases=3, random_state=0)
features, pairs = data.episodes.features, data.episodes
users, ends = pairs.user, np.stack([pairs.chosen, pairs.rejected])
truth = data.coef @ features.T
heard = np.diff(truth[users, ends][::-1], axis=0)[0] + rng.logistic(size=len(users))
first, second = np.where(heard > 0, ends, ends[::-1])
outcome = (np.abs(heard) > 1).astype(int)  # 0: a tie
bar = rng.normal(scale=2, size=len(truth))
noisy = truth[users, ends] - bar[users] + rng.logistic(size=ends.shape)
stars = 1 + np.digitize(noisy, [-4, -1.5, 1, 3.5])
print(f"{(outcome == 0).mean():.0%} of the answers are ties")
print("stars given, one to five:", np.bincount(stars.ravel(), minlength=6)[1:])

# %%
# Four ways to read it
# --------------------
# Rated items are read one by one: an item stands on both sides of its "pair", with its rating.
told, groups = outcome > 0, pairs.group
unequal = stars[0] != stars[1]
better, worse = np.where(stars[0] > stars[1], ends, ends[::-1])
both = {"users": np.tile(users, 2), "groups": np.tile(groups, 2)}
readings = {
    "choices, ties dropped": episodes_from_arrays(
        features, first[told], second[told], users=users[told], groups=groups[told]
    ),
    "choices and ties": episodes_from_arrays(features, first, second, users=users, groups=groups, outcome=outcome),
    "stars, made into pairs": episodes_from_arrays(
        features, better[unequal], worse[unequal], users=users[unequal], groups=groups[unequal]
    ),
    "stars, as they are": episodes_from_arrays(features, ends.ravel(), ends.ravel(), rating=stars.ravel(), **both),
}

# %%
# How well are new users known?
# -----------------------------
# Each new user is adapted on everything they said, and judged by which of two items of a group they truly prefer.
firsts = rng.integers(0, len(features), 3000)
quiz = np.stack([firsts, firsts // 6 * 6 + (firsts % 6 + rng.integers(1, 6, 3000)) % 6])
right, models = {}, {}
for name, episodes in readings.items():
    is_known = episodes.users < N_KNOWN
    model = models[name] = MetaRewardModel(random_state=0).fit(episodes[is_known])
    new = model.adapt_many(episodes[~is_known])
    rewards = new.weights_ @ model.transform(features).T
    right[name] = np.array(
        [
            100 * np.mean((np.diff(mine[quiz], axis=0) > 0) == (np.diff(truth[user][quiz], axis=0) > 0))
            for user, mine in zip(new.users_, rewards, strict=True)
        ]
    )
names = list(right)
for worse_way, way in (names[:2], names[2:]):
    print(f"{way}, against {worse_way}: {bootstrap_interval(right[way], right[worse_way])} points")

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for place, name in enumerate(names):
    found = bootstrap_interval(right[name])
    ax.hlines(place, found.low, found.high, color=f"C{place // 2}", linewidth=2)
    ax.plot(found.estimate, place, "o", color=f"C{place // 2}")
    ax.annotate(f"{found.estimate:.1f}", (found.estimate, place), (0, 7), textcoords="offset points", ha="center")
ax.set_yticks(range(4), names)
ax.set_ylim(3.5, -0.7)
ax.set_xlabel("true preferences predicted (%), mean and 95 % interval over users")
ax.set_title(f"{N_NEW} new users with {N_PAIRS} pairs each", loc="left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# And it predicts what it learnt from
# -----------------------------------
# How likely is a tie, and how many stars would an item get?
someone = models["choices and ties"].adapt([(features[0], features[1])])
print("wins, ties, loses:", someone.predict_outcomes([(features[2], features[3])]).round(2))
rater = models["stars, as they are"].adapt([(features[0], 5), (features[1], 2)])
print("one to five stars:", rater.predict_ratings(features[:1]).round(2))

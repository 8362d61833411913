"""
Before the first choice: what a profile tells
=============================================

A new user who has not chosen yet gets the reward of the crowd. If something is known of users, such as a role, the
model can start from what people like them prefer; choices then take over.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.model_selection import adaptation_curve, compare
from skmrm.plotting import AdaptationCurveDisplay

# %%
# Users with profiles
# -------------------
# Here the role goes with a wish for short answers and the team with nothing, as a profile holds useful and useless
# things. The model is not told which is which.
data = load_style_preferences(n_users=240, n_pairs=24, taste_strength=1.5, random_state=0)
rng = np.random.default_rng(0)
length = data.tastes[:, list(data.taste_names).index("length")]
role = np.where(length + rng.normal(size=240) < np.median(length), "manager", "researcher")
team = rng.choice(["north", "south", "west"], 240)
profiles = {
    user: {"role": str(role[row]), "team": str(team[row])} for row, user in enumerate(data.episodes.users.tolist())
}

# %%
# Fit with profiles, and without
# ------------------------------
# ``fit`` uses profiles as far as they help users left out; "not at all" is among the choices.
known, new = data.episodes[:160], data.episodes[160:]
plain = MetaRewardModel(random_state=0).fit(known)
informed = MetaRewardModel(random_state=0).fit(known, user_features={user: profiles[user] for user in known.users})
for setting in informed.user_selection_:
    print(f"{'*' if setting['chosen'] else ' '} {setting['setting']}")

# %%
# What the profile is worth
# -------------------------
# Most before the first choice, less with each.
sizes = (0, 1, 3, 5, 10)
curves = {
    "with a profile": adaptation_curve(informed, new, support_sizes=sizes, user_features=profiles),
    "without": adaptation_curve(plain, new, support_sizes=sizes),
}
AdaptationCurveDisplay.from_curves(curves)
plt.show()

# %%
# The difference, user by user
# ----------------------------
# Bands of two models that overlap say little about their difference, as both are judged on the same users.
display = AdaptationCurveDisplay.from_curves(curves, relative_to="without", simultaneous=True)
display.ax_.set_ylabel("gain by the profile (points)")
plt.show()

# %%
for n, row in zip(sizes, compare(curves["with a profile"], curves["without"], simultaneous=True), strict=True):
    gain, low, high = (100 * value for value in (row.gain.estimate, row.gain.low, row.gain.high))
    print(f"{n:>2} choices: {gain:+.1f} points [{low:.1f}, {high:.1f}]")

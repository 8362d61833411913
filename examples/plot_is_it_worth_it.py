"""
Is it worth it, and for whom?
=============================

One question, asked before anything is built: does adapting to each user beat one reward model for all? And if it does
on average, who is helped, and who is hurt? Users whom the model has never seen answer it, in words, in a table and in a
picture.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel, personalization_report, split_users
from skmrm.datasets import load_style_preferences, true_gaps
from skmrm.metrics import bootstrap_interval
from skmrm.plotting import UserGainDisplay

# %%
# The answer in words and numbers
# -------------------------------
# Nothing is fitted for the report. Users are adapted on some of their prompts and judged on others, against the model
# of the crowd that the fit started from. Intervals are over users and hold for all rows at once.
data = load_style_preferences(n_users=240, n_pairs=40, random_state=0)
train, test = split_users(data.episodes, test_size=0.4, random_state=0)
model = MetaRewardModel(random_state=0).fit(train)
report = personalization_report(model, test)
print(report)

# %%
# Each user's gain
# ----------------
# From ten choices, the largest gain first. A user is judged on 20 choices, so that some look hurt by chance alone: with
# two models that are equally good, half of those who change would be on either side. The mean says whether there is
# more.
curves = (report.curve, report.baseline_curve)
UserGainDisplay.from_curves(*curves, n_support=10, baseline_name="one reward for all")
plt.show()

# %%
# Who is helped
# -------------
# The same gains against how often a user truly prefers otherwise than the average user does, which is known of
# simulated users. Those who disagree with the crowd gain most. Who agrees with it anyway has little to gain, and may
# lose a little.
differs = (true_gaps(data, test) > 0) != (true_gaps(data, test, personal=False) > 0)
apart = 100 * np.bincount(test.user, differs) / test.pairs_per_user
row = report.curve.support_sizes.index(10)
gain = 100 * (report.curve.accuracy[row] - report.baseline_curve.accuracy[row])
thirds = np.array_split(np.argsort(apart), 3)
for name, third in zip(("most agreeing", "middle", "least agreeing"), thirds, strict=True):
    print(f"the {name} third: {bootstrap_interval(gain[third])} points, {(gain[third] < 0).mean():.0%} hurt")

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.scatter(apart, gain, s=18, alpha=0.6)
ax.axhline(0, color="0.6", linewidth=0.8)
for third in thirds:
    mean = gain[third].mean()
    ax.hlines(mean, apart[third[0]], apart[third[-1]], color="k", linestyle="--")
    place = (apart[third[0]] + apart[third[-1]]) / 2, mean
    ax.annotate(f"mean {mean:+.0f}", place, (0, 4), textcoords="offset points", ha="center")
ax.set_xlabel("choices on which true and average taste differ (%)")
ax.set_ylabel("gain over one reward for all (points)")
ax.set_title(f"{len(gain)} new users after ten choices, by thirds", loc="left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

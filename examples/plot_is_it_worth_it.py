"""
Is it worth personalising?
==========================

One question, asked before anything is built: do these users differ enough, and do their choices say so, that adapting
to each beats one reward model for all? Fit on some users of the bundled corpus, and let others, whom the model has
never seen, answer it: in words, in a table, and in four pictures.

Run it with ``python examples/plot_is_it_worth_it.py``. It writes ``is_it_worth_it.png`` to the working directory.
"""

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from skmrm import MetaRewardModel, personalization_report, split_users
from skmrm.datasets import load_style_preferences
from skmrm.plotting import AdaptationCurveDisplay, BaseRewardDisplay, ReliabilityDisplay, UserGainDisplay

# %%
# Fit on some users, ask the others
# ---------------------------------
# The default model keeps, at no cost, the pooled Bradley-Terry model that it started from: what adapting has to beat.
data = load_style_preferences(n_users=400, n_pairs=40, random_state=0)
train, test = split_users(data.episodes, test_size=0.3, random_state=0)
model = MetaRewardModel(random_state=0).fit(train)

# %%
# The answer in words and numbers
# -------------------------------
# Nothing is fitted here. Users are adapted on some of their prompts and judged on others.
report = personalization_report(model, test)
print(report)

# %%
# The answer in pictures
# ----------------------
# Curves were computed for the report: displays draw them without judging anybody again.
figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
curves = {"adapted": report.curve, "pooled": report.baseline_curve}
AdaptationCurveDisplay.from_curves(curves, relative_to="pooled", simultaneous=True, ax=axes[0, 0])
UserGainDisplay.from_curves(*curves.values(), n_support=10, baseline_name="pooled", ax=axes[0, 1])
before = ReliabilityDisplay.from_curve(report.curve, 0, ax=axes[1, 0])
ReliabilityDisplay.from_curve(report.curve, ax=before.ax_, ref_line=False)
bases = BaseRewardDisplay.from_estimator(model, train, n_bases=5, n_statistics=7, n_examples=1, ax=axes[1, 1])
titles = ("How many choices does it take?", "Whom does it help?", "Are probabilities right?", "How do tastes differ?")
for ax, title in zip(axes.flat, titles, strict=True):
    ax.set_title(title, loc="left", fontweight="bold")
figure.savefig("is_it_worth_it.png", dpi=120)
print("\nwrote is_it_worth_it.png")

# %%
# What users differ in
# --------------------
# Of each base reward function, the response that it scores highest and the one that it scores lowest.
for example in bases.examples:
    print(f"{example.base_reward} {example.side:>7} {example.score:+.2f}  {example.response[:70]!r}")

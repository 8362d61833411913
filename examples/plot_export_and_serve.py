"""
Export, and serve without torch
===============================

A fitted model leaves as a folder with an ONNX graph. Where it is served, on a CPU, it needs neither torch nor
scikit-learn: it scores, ranks, and adapts new users with numpy. Are the rewards the same, and what has to be kept?

Needs ``pip install 'skmrm[onnx]'``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.serving import OnnxScorer

# %%
# Fit and export
# --------------
data = load_style_preferences(n_users=160, n_pairs=30, random_state=0)
known, new = data.episodes[:140], data.episodes[140:]
model = MetaRewardModel(random_state=0).fit(known)
folder = tempfile.TemporaryDirectory()
report = model.export_onnx(folder.name)
print(report.parity)

# %%
# In the service
# --------------
# The folder knows no user. Somebody's choices become a few numbers, the user's weights, which are all that a service
# has to keep to score for them.
scorer = OnnxScorer(folder.name)
someone = new[0]
choices = list(zip(someone.prompts, someone.chosen, someone.rejected, strict=True))
weights = scorer.adapt(choices)
print("weights of one user:", weights.shape, weights.dtype)
print(scorer.rank("Tea?", ["Yes.", "It would be a pleasure, thank you so much."], weights=weights))

# %%
# The same rewards?
# -----------------
# Of all 360 answers, for 20 new users: adapted and scored here, and adapted and scored in the service.
items = data.episodes.items
live, served = [], []
for user in new:
    choices = list(zip(user.prompts, user.chosen, user.rejected, strict=True))
    live.append(model.adapt(choices).predict(items))
    served.append(scorer.predict(items, weights=scorer.adapt(choices)))
live, served = np.array(live), np.array(served)
print(f"largest difference: {np.abs(live - served).max():.1e} logits, where rewards spread by {live.std():.1f}")

figure, ax = plt.subplots(figsize=(5, 4.2), layout="constrained")
ax.plot(live.ravel()[::7], served.ravel()[::7], ".", markersize=3, alpha=0.5)
ax.axline((0, 0), slope=1, color="0.6", linewidth=0.8, zorder=0)
ax.set_xlabel("reward in Python (logits)")
ax.set_ylabel("reward as served (logits)")
ax.set_title(f"{len(live)} new users, {len(items)} answers", loc="left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What a service has to keep
# --------------------------
# The graph, the encoder and the weights are for everybody. What grows with users is a few hundred bytes of weights
# each, and a few kilobytes, without any text, for those who are to go on learning. How long calls take is on the page
# about :doc:`serving </serving>`.
kept = {path.name: path.stat().st_size for path in sorted(Path(folder.name).iterdir())}
shared = len(kept)
kept["a user's weights"] = weights.nbytes
kept["what a user said in 30 choices"] = len(scorer.history(choices).to_bytes())
folder.cleanup()

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
colors = ["C0"] * shared + ["C1"] * 2
bars = ax.barh(list(kept), [size / 1000 for size in kept.values()], color=colors)
ax.bar_label(bars, [f"{size / 1000:,.1f} kB" for size in kept.values()], padding=3)
ax.set_xscale("log")
ax.set_xlim(0.05, 1e5)
ax.invert_yaxis()
ax.set_xlabel("size (kB)")
ax.set_title("For everybody (blue), and for each user (orange)", loc="left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

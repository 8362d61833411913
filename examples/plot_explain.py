"""
What does this user like?
=========================

A reward model of one user can say what it has learnt: what the user likes more or less than the crowd, in statistics of
style with intervals, and how sure that is. The users of the bundled corpus are simulated, so that it is known what is
true.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences

# %%
# Many users to learn from, and one whose taste is strong
# -------------------------------------------------------
data = load_style_preferences(n_users=160, n_pairs=60, random_state=0)
model = MetaRewardModel(random_state=0).fit(data.episodes[:120])
apart = data.tastes - data.mean_taste
row = 120 + int(np.abs(apart[120:]).max(1).argmax())
print("what is true of this user, in logits a unit of each trait more than the crowd:")
print(", ".join(f"{name} {taste:+.1f}" for name, taste in zip(data.taste_names, apart[row], strict=True)))

# %%
# What ten choices tell, and what all of them tell
# ------------------------------------------------
own = data.episodes[row]
choices = list(zip(own.prompts, own.chosen, own.rejected, strict=True))
user = model.adapt(choices[:10])
print()
print(user.explain())
user = user.update(choices[10:])
explanation = user.explain()
print()
print(explanation)

# %%
# Single answers
# --------------
# Of single answers less is sure. With intervals of 80 % in place of 95 %, more is stated, and more of it will be wrong.
print()
print(user.explain(data.episodes.items[:60], n=2, level=0.8))

# %%
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
explanation.plot(ax=ax)
ax.set_title(f"One user after {len(choices)} choices, 95 % intervals", loc="left")
plt.show()

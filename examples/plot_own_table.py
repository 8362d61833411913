"""
Your own table of choices
=========================

A row for each choice is enough: who chose, the prompt, the answer that was chosen and the one that was not. Read it,
fit on some people, and let the others say from how many choices on a model of their own predicts them better.

The table here is made up for the example, as a file with columns of its own names.
"""

import tempfile
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd

from skmrm import MetaRewardModel, episodes_from_frame, personalization_report, split_users
from skmrm.datasets import load_style_preferences

# %%
# A file as you may have it
# -------------------------
# Three thousand choices of 150 people.
choices = load_style_preferences(n_users=150, n_pairs=20, random_state=0).episodes
rows = [
    {"rater": f"{number:03d}", "question": question, "better": better, "worse": worse}
    for number, person in enumerate(choices)
    for question, better, worse in zip(person.prompts, person.chosen, person.rejected, strict=True)
]
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "choices.csv"
pd.DataFrame(rows).to_csv(path, index=False)

# %%
# Read it
# -------
# As texts, with nothing guessed: people "001" and "1" stay two, and the answer "NA" stays an answer. Mistakes in a
# table are told all at once, with their rows.
table = pd.read_csv(path, dtype=str, keep_default_na=False)
episodes = episodes_from_frame(table, user="rater", prompt="question", chosen="better", rejected="worse")
folder.cleanup()
print(table.iloc[0].str.slice(0, 60).to_string())
print(episodes)

# %%
# Fit on some people, ask the others
# ----------------------------------
# Each person in ``new`` is adapted on some of their questions and judged on the others.
known, new = split_users(episodes, test_size=0.4, random_state=0)
model = MetaRewardModel(random_state=0).fit(known)
report = personalization_report(model, new)
print(fill(report.verdict, 100))

# %%
# From how many choices on?
# -------------------------
# Zero is one reward for everybody. Where the band is above it, adapting helps.
display = report.plot(gain=True)
display.ax_.set_title("What a model of one's own gains", loc="left")
plt.show()

# %%
# A person's own reward model
# ---------------------------
# The model knows nobody by name: people are adapted on whatever they chose, here all of it.
person = model.adapt(new[0])
question = "How do I boil an egg?"
print(person.score(question, ["Ten minutes.", "It depends! Maybe try seven, and see how you like it?"]).round(2))

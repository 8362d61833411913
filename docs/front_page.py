"""Draw the front page's figures: `python docs/front_page.py`, half a minute; it writes `docs/_static/*.svg`.

The drawings stand in the page itself and take its colours, light or dark, and its font.
"""

import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from skmrm import MetaRewardModel, split_users
from skmrm.baselines import PooledBradleyTerry
from skmrm.datasets import load_style_preferences
from skmrm.model_selection import adaptation_curve

STATIC = Path(__file__).resolve().parent / "_static"
SIZES = (0, 1, 2, 3, 5, 8, 12, 16)
# Drawn in the first colour, shown in the second, which follows the page.
COLOURS = {
    "#123450": "var(--pst-color-text-base)",
    "#123451": "var(--pst-color-primary)",
    "#123452": "var(--pst-color-accent)",
    "#123453": "var(--pst-color-text-muted)",
}
INK, ADAPTED, OTHER, MUTED = COLOURS


def data_and_model():
    """300 simulated users whom the model learns from, 300 others whom it meets, on the bundled texts."""
    data = load_style_preferences(n_users=600, n_pairs=40, random_state=0)
    known, new = split_users(data.episodes, test_size=0.5, random_state=0)
    return data, known, new, MetaRewardModel(random_state=0).fit(known)


def draw_accuracy(known, new, model):
    """Accuracy on new users against the number of their choices, adapted and pooled, with 95 % bands over users."""
    figure, axes = plt.subplots(figsize=(4.6, 3.3))
    for name, fitted, colour in (
        ("adapted to each user", model, ADAPTED),
        ("one reward for all", PooledBradleyTerry(random_state=0).fit(known), OTHER),
    ):
        accuracy = 100 * adaptation_curve(fitted, new, support_sizes=SIZES, random_state=0).accuracy
        mean = np.nanmean(accuracy, axis=1)
        error = 1.96 * np.nanstd(accuracy, axis=1) / np.sqrt(accuracy.shape[1])
        axes.plot(SIZES, mean, color=colour, marker="o", markersize=4)
        axes.fill_between(SIZES, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
        axes.annotate(name, (SIZES[-1], mean[-1] + 1.6), color=colour, ha="right")
        print(name, dict(zip(SIZES, mean.round(1).tolist(), strict=True)))
    axes.set(xlabel="choices of a new user", ylabel="choices predicted right, %", ylim=(54, 80))
    save(figure, axes, "front_accuracy", "Accuracy on 300 new users against the number of their choices.")


def draw_two_users(data, new, model):
    """What two new users who disagree are believed to prefer, of two answers to a prompt that neither has seen."""
    prompt = data.episodes.items[3][0]
    answers = [data.episodes.items[3][1], data.episodes.items[5][1]]  # in lists under headings; short and breezy
    figure, axes = plt.subplots(figsize=(4.6, 3.3))
    for user, name, colour in zip(extremes(data, new), ("user A", "user B"), (ADAPTED, OTHER), strict=True):
        episode = new[user]
        others = [index for index, (asked, _) in enumerate(pairs_of(new, user)) if asked != prompt]
        chances = [
            100 * model.adapt(new[[user]].take_pairs(others[:size])[0]).predict_proba([(prompt, *answers)])[0]
            for size in SIZES
        ]
        axes.plot(SIZES, chances, color=colour, marker="o", markersize=4)
        axes.annotate(name, (SIZES[-1], chances[-1] - 14 * np.sign(chances[-1] - 50)), color=colour, ha="right")
        print(name, episode.user, dict(zip(SIZES, np.round(chances, 1).tolist(), strict=True)))
    axes.axhline(50, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set(xlabel="choices of that user", ylabel="chance of preferring the\nanswer in lists, %", ylim=(0, 100))
    save(figure, axes, "front_two_users", "What two users are believed to prefer, against the number of their choices.")


def pairs_of(new, user):
    """The (prompt, response) chosen in each pair of a user."""
    return [new.items[item] for item in new[[user]].chosen]


def extremes(data, new):
    """Positions among new users of the two who truly like the answer in lists most and least."""
    positions = {user: number for number, user in enumerate(data.episodes.users)}
    gaps = [data.rewards[positions[user], 3] - data.rewards[positions[user], 5] for user in new.users]
    return int(np.argmax(gaps)), int(np.argmin(gaps))


def save(figure, axes, name, title):
    """Write an SVG without a prologue, in the page's colours, its text as text."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(range(0, SIZES[-1] + 1, 4))
    figure.tight_layout()
    path = STATIC / f"{name}.svg"
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = path.read_text(encoding="utf-8")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL)
    drawing = re.sub(r'(<svg [^>]*?)width="\S+" height="\S+"', rf'\1role="img" aria-label="{title}"', drawing)
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)  # which would hold for the whole page
    drawing = re.sub(r"font-family: [^;]*;", "", drawing)
    drawing = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}_", drawing)  # two drawings in a page, and its headings
    for drawn, shown in COLOURS.items():
        drawing = drawing.replace(drawn, shown)
    path.write_text(drawing, encoding="utf-8")


def main():
    mpl.use("svg")
    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "skmrm", "font.size": 11, **dict.fromkeys(ink, INK)})
    data, known, new, model = data_and_model()
    draw_accuracy(known, new, model)
    draw_two_users(data, new, model)


if __name__ == "__main__":
    main()

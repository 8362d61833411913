"""
Your own preference file
========================

Is it worth personalising on these data? Fit on some users of a preference file (parquet, csv or jsonl) and judge on the
others, against one pooled Bradley-Terry model, at several numbers of choices.

Run it with ``python examples/plot_own_data.py --data FILE``; see ``--help`` for column names. It writes
``own_data_learning_curve.png`` to the working directory.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from skmrm import MetaRewardModel, episodes_from_frame, split_users, support_query_split
from skmrm.encoders import TextEncoder
from skmrm.metrics import bootstrap_interval, user_accuracies, worst_decile


def read_file(file: Path, user: str):
    """Read a table by its suffix; nothing is guessed of what a cell says, so that users "001" and "1" are two."""
    import pandas as pd

    readers = {
        ".parquet": pd.read_parquet,
        ".csv": lambda name: pd.read_csv(name, dtype=str, keep_default_na=False, na_values={user: [""]}),
        ".jsonl": lambda name: [json.loads(line) for line in name.read_text("utf-8").split("\n") if line.strip()],
    }
    if file.suffix not in readers:
        sys.exit(f"cannot read {file.name}: the suffix must be one of {', '.join(readers)}")
    return readers[file.suffix](file)


class SentenceEncoder(TransformerMixin, BaseEstimator):
    """Mean-pooled, normalised last hidden states of a local transformers model, as a scikit-learn transformer."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def fit(self, items, y=None) -> "SentenceEncoder":
        return self

    def transform(self, items) -> np.ndarray:
        import torch
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        network = AutoModel.from_pretrained(self.folder).eval()
        texts = [response for _, response in items]
        by_length = np.argsort([len(text) for text in texts], kind="stable")
        vectors = np.empty((len(texts), network.config.hidden_size), np.float32)
        with torch.inference_mode():
            for rows in np.array_split(by_length, max(1, len(texts) // 32)):
                batch = tokenizer(
                    [texts[row] for row in rows], padding=True, truncation=True, max_length=256, return_tensors="pt"
                )
                hidden, mask = network(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
                mean = (hidden * mask).sum(1) / mask.sum(1)
                vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors


parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
parser.add_argument("--data", type=Path, required=True, help="preference file: .parquet, .csv or .jsonl")
for column in ("user", "prompt", "chosen", "rejected"):
    parser.add_argument(f"--{column}", default="user_id" if column == "user" else column, help="column name")
parser.add_argument(
    "--group", help="column whose values keep pairs on one side of support and query (default: the prompt)"
)
parser.add_argument(
    "--shared-groups", action="store_true", help="a group is one and the same for all users, as a topic is"
)
parser.add_argument("--sentence-encoder", metavar="FOLDER", help="a local transformers model instead of hashed n-grams")
parser.add_argument("--test-size", type=float, default=0.5, help="share of users to judge on (default: %(default)s)")
parser.add_argument("--splits", type=int, default=3, help="support/query splits to average over (default: %(default)s)")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

# %%
# Read, and split users
# ---------------------
episodes = episodes_from_frame(
    read_file(options.data, options.user),
    user=options.user,
    prompt=options.prompt,
    chosen=options.chosen,
    rejected=options.rejected,
    group=options.group,
    shared_groups=options.shared_groups or "auto",
)
train, test = split_users(episodes, options.test_size, random_state=options.seed)
print(f"{episodes}\nlearn from {train.n_users} users with {train.n_pairs} choices; judge on {test.n_users} others")

# %%
# Fit: personalised, and pooled
# -----------------------------
# Texts are encoded once, up front; from then on all is numbers. The encoder learns from texts of training users only.
began = time.perf_counter()
encoder = TextEncoder(SentenceEncoder(options.sentence_encoder) if options.sentence_encoder else None, verbose=True)
encoder.fit(train.compact().items)
features = encoder.transform(episodes.items)
train, test = train.with_features(features), test.with_features(features)
encoded = time.perf_counter()
model = MetaRewardModel(random_state=options.seed).fit(train)
fitted = time.perf_counter()
pooled = MetaRewardModel(n_bases=1, max_epochs=0, random_state=options.seed).fit(train)
print(
    f"encoded {len(features)} texts in {encoded - began:.1f} s, fitted in {fitted - encoded:.1f} s "
    f"(pooled alone {time.perf_counter() - fitted:.1f} s); "
    f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
)
for setting in model.selection_:
    mark = f"<- weight {setting['weight']:.0%}" if setting["weight"] else ""
    print(
        f"  {setting['setting']:<34} validation loss {setting['validation_loss']:.4f} "
        f"(change {setting['change']:+.4f}, standard error {setting['standard_error']:.4f}) {mark}"
    )

# %%
# Judge on users that fit never saw
# ---------------------------------
# Support and query of a user share no group. Users with a single group cannot be split and are left out.
sizes = (0, 3, 10, None)
scores: dict[object, list[np.ndarray]] = {"pooled": []} | {n: [] for n in sizes}
for seed in range(options.splits):
    split = support_query_split(test, random_state=seed)
    query = test.take_pairs(split.query)
    judged = split.n_support > 0

    def accuracy(adapted, query=query, judged=judged):
        found = user_accuracies(adapted.decision_function(query), query.user, query.n_users)
        return np.where(judged, found, np.nan)

    scores["pooled"].append(accuracy(pooled))
    for n in sizes:
        scores[n].append(accuracy(model.adapt_many(test.take_pairs(split.support(n)))))

mean = {name: np.mean(found, axis=0) for name, found in scores.items()}

n_judged = np.sum(~np.isnan(mean["pooled"]))
print(f"\n{n_judged} users judged, mean over {options.splits} splits; intervals by bootstrap over users")
print("choices   accuracy   worst tenth   gain over pooled, points [95 % interval]")
print(f" pooled   {np.nanmean(mean['pooled']):.4f}     {worst_decile(mean['pooled']):.4f}")
for n in sizes:
    gain = bootstrap_interval(100 * mean[n], 100 * mean["pooled"])
    print(
        f"{'all' if n is None else n:>7}   {np.nanmean(mean[n]):.4f}     {worst_decile(mean[n]):.4f}        "
        f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
    )

# %%
# The learning curve
# ------------------
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

curve = [bootstrap_interval(mean[n]) for n in sizes]
names = ["all" if n is None else str(n) for n in sizes]
place = np.arange(len(sizes))
figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
axes.fill_between(place, [c.low for c in curve], [c.high for c in curve], alpha=0.2, label="95 % interval over users")
axes.plot(place, [c.estimate for c in curve], marker="o", label="adapted")
axes.axhline(np.nanmean(mean["pooled"]), color="0.4", linestyle="--", label="pooled Bradley-Terry")
axes.set_xticks(place, names)
axes.set_xlabel("choices of a new user (support pairs)")
axes.set_ylabel("accuracy on unseen choices, mean over users")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("own_data_learning_curve.png", dpi=150)
print("wrote own_data_learning_curve.png")

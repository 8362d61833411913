"""
Personal rewards from a reward model's hidden states
====================================================

A reward model of transformers knows what people like on average. Its hidden states know more: here they become the
features from which the rewards of single users are learnt. Each response goes through the network once, into a store on
disk; fits, new users and later runs read it.

Run it with ``python examples/encode_reward_model.py Skywork/Skywork-Reward-V2-Qwen3-0.6B``, or with the folder or hub
id of another reward model or causal language model. Without one it makes a tiny reward model that was never trained:
nothing is downloaded, and the features mean nothing much. Needs ``pip install 'skmrm[text]'``.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForSequenceClassification

from skmrm import MetaRewardModel, split_users, support_query_split
from skmrm.baselines import PooledBradleyTerry
from skmrm.datasets import load_style_preferences
from skmrm.embeddings import EmbeddingStore, encode_dataset
from skmrm.encoders import HFEncoder
from skmrm.metrics import bootstrap_interval, user_accuracies

began = time.perf_counter()
workplace = tempfile.TemporaryDirectory()  # of a store in a folder of your own, the next run encodes nothing
data = load_style_preferences(n_users=400, n_pairs=30, random_state=0)


# %%
# The reward model
# ----------------
# Yours, or a tiny one with a vocabulary of the texts at hand and random weights.
def tiny_reward_model(folder):
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    spelling = Tokenizer(models.BPE())
    spelling.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = (text for item in data.episodes.items for text in item)
    spelling.train_from_iterator(words, trainers.BpeTrainer(vocab_size=2000, special_tokens=marks, show_progress=False))
    turn = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    template = "{% for message in messages %}" + turn + "{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, pad_token=marks[0], chat_template=template)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16, "vocab_size": 2000}
    torch.manual_seed(0)
    config = Qwen3Config(**sizes, num_attention_heads=4, num_key_value_heads=2, num_labels=1, pad_token_id=0)
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    print("a tiny model with random weights: this shows how it goes, not how good it gets")
    return folder


name = sys.argv[1] if len(sys.argv) > 1 else tiny_reward_model(Path(workplace.name) / "model")

# %%
# Encode once
# -----------
# Prompt and response in the model's chat template, the state of the last token. A call that is ended goes on next time.
store = EmbeddingStore(Path(workplace.name) / "store", HFEncoder(name))
print(encode_dataset(data.episodes, store))
print(f"a second time: {encode_dataset(data.episodes, store, verbose=False).n_new} new\n")

# %%
# Fit on what is there
# --------------------
# Features come from the store; what comes later is encoded, and kept. Statistics of style are appended, as always: with
# a network that was never trained they do much of the work.
train, new = split_users(data.episodes, test_size=0.3, random_state=0)
model = MetaRewardModel(memory=store, random_state=0).fit(train)
pooled = PooledBradleyTerry(memory=store).fit(train)

# %%
# New users
# ---------
# Half of each new user's prompts to adapt on, the others to judge.
split = support_query_split(new, random_state=0)
query = new.take_pairs(split.query)
users = model.adapt_many(new.take_pairs(split.support()))
shared, own = (user_accuracies(m.decision_function(query), query.user, new.n_users) for m in (pooled, users))
print(f"of {query.n_pairs} unseen choices of {new.n_users} new users, one reward for all predicts {shared.mean():.1%},")
print(f"their own {own.mean():.1%}; difference {bootstrap_interval(own, shared)} [95 % interval over users]\n")
user = new.users[0]
answers = ["Ten minutes.", "It depends! Maybe try seven, and see how you like it?"]
best = answers[users[user].rank("How do I boil an egg?", answers)[0]]
print(f"user {user!r} would rather read: {best}\n{time.perf_counter() - began:.0f} s in all")
workplace.cleanup()

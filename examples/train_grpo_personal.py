"""
Training a policy for one user with TRL
=======================================

A language model learns to answer as one user likes it: TRL's ``GRPOTrainer`` with that user's reward. Everything is
tiny, so that it takes seconds on a CPU and no download: the policy has some ten thousand weights, knows a hundred
words and starts at random. It learns which words please, and how many of them; it will never make sense. A real policy
takes its place by its name, and nothing else changes.

Run it with ``python examples/train_grpo_personal.py``. Needs ``pip install 'skmrm[trl]'``.
"""

import tempfile
import warnings
from collections import Counter

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from skmrm import MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences
from skmrm.integrations.trl import UserReward

# transformers 5.24 about what TRL 1.16 calls
warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)

# %%
# Users' rewards
# --------------
# Learnt from many users' choices, and adapted to new users. One of these is to be pleased.
data = load_style_preferences(n_users=300, n_pairs=30, random_state=0)
train, new = split_users(data.episodes, test_size=0.1, random_state=0)
model = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(train)
users = model.adapt_many(new)
user = new.users[0]

# %%
# A tiny policy
# -------------
# It knows the words of some prompts, and the most frequent words of all answers.
prompts = list(dict.fromkeys(prompt for prompt, _ in data.episodes.items))[:8]
counts = Counter(word for _, response in data.episodes.items for word in response.split())
words = dict.fromkeys(["<pad>", "<eos>", "<unk>", *(word for word, _ in counts.most_common(60))])
words |= dict.fromkeys(word for prompt in prompts for word in prompt.split())
spelling = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
spelling.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=spelling, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
)
torch.manual_seed(0)
policy = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
)


def answer(n_each=16):
    """Draw answers to each prompt: lists of (prompt, answer)."""
    asked = [prompt for prompt in prompts for _ in range(n_each)]
    batch = tokenizer(asked, padding=True, return_tensors="pt", return_token_type_ids=False)
    drawn = policy.eval().generate(**batch, do_sample=True, max_new_tokens=24)[:, batch["input_ids"].shape[1] :]
    return list(zip(asked, tokenizer.batch_decode(drawn, skip_special_tokens=True), strict=True))


before = answer()

# %%
# Training
# --------
# A column says whom each prompt is answered for. Here it is always the same user; rows of many users go together, too.
dataset = Dataset.from_dict({"prompt": prompts, "user_id": [user] * len(prompts)})
with tempfile.TemporaryDirectory() as folder:
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=[UserReward(users, name="taste")],
        args=GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=64,
            num_generations=16,
            max_completion_length=24,
            learning_rate=1e-2,
            max_steps=40,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
logs = [entry for entry in trainer.state.log_history if "reward" in entry]
rewards = [entry["rewards/taste/mean"] for entry in logs]
print(f"mean reward of 64 answers, in logits, under the reward of user {user!r}")
for start in range(0, len(rewards), 8):
    print(f"  steps {start + 1:>2} to {start + 8:>2}:  " + " ".join(f"{r:+.2f}" for r in rewards[start : start + 8]))

# %%
# Whom the policy pleases now
# ---------------------------
# Rewards of different users have no common scale: gains are given in standard deviations of each user's rewards of the
# answers before.
after = answer()
gains = {}
for name in users:
    old, now = users[name].predict(before), users[name].predict(after)
    gains[name] = float((now.mean() - old.mean()) / old.std())
others = np.array([gain for name, gain in gains.items() if name != user])
print(f"\ngain of user {user!r}: {gains[user]:+.1f} standard deviations")
print(f"gains of {len(others)} others: {others.min():+.1f} to {others.max():+.1f}, mean {others.mean():+.1f}")
print("\nfavourite words before and after:")
for drawn in (before, after):
    favourites = Counter(word for _, text in drawn for word in text.split()).most_common(8)
    print("  " + " ".join(word for word, _ in favourites))

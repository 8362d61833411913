"""
Pairs for DPO, for one user
===========================

To train a policy for one user by direct preference optimisation (DPO), let the user's reward model choose among several
answers to each prompt: the best one and the worst one are a pair. TRL's trainer takes them as they are.

The policy here is tiny and starts at random, so that it trains in seconds and will never make sense; a real one takes
its place by its name. Needs ``pip install 'skmrm[trl]'``.
"""

import tempfile
import warnings
from collections import Counter

import matplotlib.pyplot as plt
import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.integrations.trl import best_of_n

# transformers 5.24 about what TRL 1.16 calls
warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)
disable_progress_bars()
logging.disable_progress_bar()

# %%
# One user's pairs
# ----------------
# A new user, known by thirty choices. Pairs of the last twelve prompts are kept from training.
data = load_style_preferences(n_users=140, n_pairs=30, random_state=0)
known, new = data.episodes[:120], data.episodes[120:]
users = MetaRewardModel(random_state=0).fit(known).adapt_many(new)
user = new.users[0]
answers: dict[str, list[str]] = {}
for prompt, answer in data.episodes.items:
    answers.setdefault(prompt, []).append(answer)
rows = [{"user_id": user, "prompt": prompt, "completion": some} for prompt, some in answers.items()]
pairs = best_of_n(rows, users)
train, held_out = Dataset.from_list(pairs[:-12]), Dataset.from_list(pairs[-12:])
for name, value in pairs[0].items():
    print(f"{name}: {value if isinstance(value, float) else value[:70]!r}")

# %%
# A tiny policy
# -------------
counts = Counter(word for _, text in data.episodes.items for word in text.split())
words = ["<pad>", "<eos>", "<unk>", *(word for word, _ in counts.most_common(300))]
spelling = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
spelling.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
torch.manual_seed(0)
policy = tempfile.TemporaryDirectory()
tokenizer.save_pretrained(policy.name)
LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
).save_pretrained(policy.name)

# %%
# Training
# --------
with tempfile.TemporaryDirectory() as folder:
    trainer = DPOTrainer(
        model=policy.name,
        args=DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=12,
            max_length=160,
            learning_rate=3e-3,
            max_steps=40,
            logging_steps=2,
            eval_strategy="steps",
            eval_steps=4,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=train.select_columns(["prompt", "chosen", "rejected"]),
        eval_dataset=held_out.select_columns(["prompt", "chosen", "rejected"]),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
policy.cleanup()
logs = trainer.state.log_history

# %%
# Does it prefer what the user prefers?
# -------------------------------------
# DPO's own measure: by how much more the policy has come to favour the chosen answer than the rejected one, on pairs
# that it trains on and on pairs that it has not seen. Below zero it would favour the wrong one.
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for key, name in (("rewards/margins", "pairs of training"), ("eval_rewards/margins", "12 pairs held out")):
    steps = [entry["step"] for entry in logs if key in entry]
    ax.plot(steps, [entry[key] for entry in logs if key in entry], "o-", markersize=4, label=name)
ax.axhline(0, color="0.6", linewidth=0.8)
ax.set_xlabel("training step")
ax.set_ylabel("margin of the chosen answer (DPO's, logits)")
ax.set_title(f"One user, {len(train)} pairs to train on", loc="left")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
last = [entry for entry in logs if "eval_rewards/accuracies" in entry][-1]
print(f"of the held-out pairs, {last['eval_rewards/accuracies']:.0%} are in the user's order")

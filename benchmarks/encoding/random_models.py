"""Causal language models with random weights, texts of random words, and the loops that people write to encode them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["QWEN3_06B", "SMALL", "Items", "PlainLoop", "conversations", "save_random_model"]

Items = Sequence[tuple[str, str]]
Bounds = tuple[int, int]

_N_WORDS = 1000
_SPECIAL = ("<unk>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>")
_TEMPLATE = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|> {% endfor %}"

QWEN3_06B: dict[str, int] = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
SMALL: dict[str, int] = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
}


def save_random_model(folder: Path, sizes: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Save a model of Qwen3's kind without a head, and a tokenizer with a chat template to which words are tokens.

    Parameters
    ----------
    folder : Path
        Gets the files.
    sizes : mapping
        Of ``transformers.Qwen3Config``.
    dtype : torch.dtype
        Of the weights.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    vocabulary = {word: place for place, word in enumerate([*_SPECIAL, *map(_word, range(_N_WORDS))])}
    words = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>")
    tokenizer.chat_template = _TEMPLATE
    config = Qwen3Config(**sizes, pad_token_id=vocabulary["<pad>"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = Qwen3Model(config)
    network.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def conversations(n_prompts: int, n_responses: int, prompt: Bounds, response: Bounds, seed: int = 0) -> Items:
    """Prompts of random words with some responses each, in random order.

    Parameters
    ----------
    n_prompts, n_responses : int
        Prompts, and responses to each.
    prompt, response : (int, int)
        Fewest and most words, which are tokens.
    seed : int
    """
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(n_prompts):
        text = _words(rng, prompt)
        items += [(text, _words(rng, response)) for _ in range(n_responses)]
    return [items[place] for place in rng.permutation(len(items))]


class PlainLoop:
    """The last state of the last token, in batches as the texts come: what a few lines of transformers do.

    Parameters
    ----------
    folder : Path
        A model and its tokenizer.
    device : str
    dtype : torch.dtype
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.network: Any = AutoModel.from_pretrained(folder, dtype=dtype).to(device).eval()

    def ids(self, items: Items) -> list[list[int]]:
        """Token ids of each item."""
        return self.tokenizer(self._texts(items), add_special_tokens=False)["input_ids"]

    @torch.inference_mode()
    def __call__(self, items: Items, batch_size: int) -> NDArray[np.float32]:
        """Encode so many texts at a time, filled up to the longest of them."""
        found = []
        for start in range(0, len(items), batch_size):
            batch = self.tokenizer(
                self._texts(items[start : start + batch_size]),
                add_special_tokens=False,
                padding=True,
                padding_side="right",
                return_tensors="pt",
            ).to(self.network.device)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            hidden = self.network(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
            found.append(last.float().cpu().numpy())
        return np.concatenate(found)

    def _texts(self, items: Items) -> list[str]:
        roles = ("user", "assistant")
        chats = [[{"role": role, "content": text} for role, text in zip(roles, item, strict=True)] for item in items]
        return self.tokenizer.apply_chat_template(chats, tokenize=False)


def _word(place: int) -> str:
    return f"w{place}"


def _words(rng: np.random.Generator, bounds: Bounds) -> str:
    length = rng.integers(bounds[0], bounds[1], endpoint=True)
    return " ".join(map(_word, rng.integers(0, _N_WORDS, length)))

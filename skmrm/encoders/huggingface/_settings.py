"""How a model is to be used: what the user asks for, else what its files say, refused where it would go wrong."""

from __future__ import annotations

from typing import Any, Literal, cast

from skmrm.encoders.huggingface._hidden_states import hidden_states, most_positions
from skmrm.encoders.huggingface._sentence_folder import SentenceFacts
from skmrm.encoders.huggingface._tokens import Reader

__all__ = [
    "Pooling",
    "check_first_token",
    "check_options",
    "output_width",
    "resolve_dtype",
    "resolve_max_length",
    "resolve_pooling",
]

Pooling = Literal["mean", "cls", "last"]

_NO_LIMIT = 10**6  # tokenizers that know no limit say 10**30
_HALVES = ("bfloat16", "float16")


def resolve_pooling(
    asked: Literal["auto", "mean", "cls", "last"], model: str, config: Any, facts: SentenceFacts | None
) -> Pooling:
    """How tokens become one vector.

    Parameters
    ----------
    asked : {"auto", "mean", "cls", "last"}
        By the user.
    model : str
        Its name, for messages.
    config
        Its configuration.
    facts : SentenceFacts or None
        What sentence-transformers wrote beside it.

    Returns
    -------
    "mean", "cls" or "last"

    Raises
    ------
    ValueError
        If the vectors would not be what the model was trained to give.
    """
    name = _architecture(config)
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"HFEncoder takes encoders, {model!r} is an encoder-decoder model ({name}): use another model, or wrap its "
            "encoder in a transformer of your own"
        )
    if asked == "cls" and _is_causal(config):
        raise ValueError(
            "pooling 'cls' needs a first token that sees all others, which it does not in the causal language model "
            f"{model!r} ({name}): use pooling='mean', or another model"
        )
    if asked == "last" and facts is None and _sees_both_ways(config):
        raise ValueError(
            "pooling 'last' needs a last token that has gathered all others, as in causal language models; "
            f"{model!r} ({name}) is an encoder: use pooling='mean' or 'cls', or another model"
        )
    if asked != "auto":
        return asked
    if facts is None and _is_causal(config):
        return "last"
    problems = _no_encoder(config) if facts is None else facts.problems
    if problems:
        last = ", or for its last one with pooling='last' if you know it to be causal" if facts is None else ""
        raise ValueError(
            "pooling='auto' takes reward models and causal language models, and sentence encoders whose vectors are "
            f"means, first or last tokens; {model!r} {', and '.join(problems)}: use another model, or ask for the "
            f"plain mean of its last hidden states with pooling='mean'{last}"
        )
    return "mean" if facts is None else cast(Pooling, facts.pooling)


def resolve_dtype(asked: str, config: Any, device: str) -> str:
    """Precision of weights and arithmetic.

    Parameters
    ----------
    asked : {"auto", "float32", "bfloat16", "float16"}
        By the user.
    config
        Of the model.
    device : str
        A torch device, or "auto".

    Returns
    -------
    str
        For "auto" single precision on a CPU, which is slow with halves, and what the weights were saved in elsewhere.
    """
    if asked != "auto":
        return asked
    from skmrm._support.device import resolve_device

    saved = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return saved if saved in _HALVES and resolve_device(device).type != "cpu" else "float32"


def resolve_max_length(asked: int | None, model: str, facts: SentenceFacts | None, tokenizer: Any, network: Any) -> int:
    """Most tokens of a text.

    Parameters
    ----------
    asked : int or None
        By the user.
    model : str
        Its name, for messages.
    facts : SentenceFacts or None
        What sentence-transformers wrote beside it.
    tokenizer, network
        The model.

    Returns
    -------
    int
        Special tokens included.

    Raises
    ------
    ValueError
        If no text of that length can be encoded, or nothing says how long texts may be.
    """
    most = most_positions(network)
    said = facts.max_length if facts and facts.max_length else tokenizer.model_max_length
    length = asked or min(said, most or said)
    if length >= _NO_LIMIT:
        raise ValueError(
            f"neither the tokenizer nor the network of {model!r} limits the length of texts: give max_length, in tokens"
        )
    special = tokenizer.num_special_tokens_to_add()
    if length <= special or (most is not None and length > most):
        upper = "" if most is None else f", and at most its {most} positions"
        raise ValueError(
            f"max_length must be over the {special} special tokens of {model!r}{upper}; got {length}: give a number "
            "within, or None"
        )
    return int(length)


def check_options(model: str, reads: str, *, reward_head: bool, chat_template: str | None) -> None:
    """Raise a ValueError if options that only conversations have are given for a model that reads responses alone."""
    given = ["reward_head=True"] * reward_head + ["a chat_template"] * (chat_template is not None)
    if given and reads == "response":
        raise ValueError(
            f"{' and '.join(given)} need a model that reads prompt and response, which is a reward model or causal "
            f"language model with pooling 'last'; {model!r} reads the response alone as asked for: leave "
            f"{'them' if len(given) > 1 else 'it'} out, or use another model or pooling"
        )


def check_first_token(tokenizer: Any) -> None:
    """Raise a ValueError if no token stands before each text, whose state could be that of the whole."""
    first = tokenizer("a")["input_ids"][:1]
    if first != tokenizer("")["input_ids"][:1]:
        raise ValueError(
            "pooling 'cls' needs a tokenizer that puts a token of its own before each text, "
            f"{type(tokenizer).__name__} begins with {tokenizer.convert_ids_to_tokens(first)}: use pooling='mean'"
        )


def output_width(reader: Reader, network: Any) -> int:
    """Width of hidden states, found by encoding a text; a ValueError if the network cannot."""
    tokens = reader([("a", "a")])
    try:
        _, hidden, _ = next(hidden_states(reader.tokenizer, network, tokens, 1))
        return int(hidden.shape[2])
    except (AttributeError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise ValueError(
            f"HFEncoder takes networks from token ids to hidden states, {type(network).__name__} is none "
            f"({type(error).__name__}: {error}): use an encoder of texts"
        ) from error


def _no_encoder(config: Any) -> list[str]:
    name = _architecture(config)
    if name.endswith("ForSequenceClassification") or "Reward" in name:
        return [f"is a classifier or reward model ({name}) of no known causal kind, whose head would be left out"]
    return []


def _sees_both_ways(config: Any) -> bool:
    """Whether tokens are known to see those behind them, by a model's configuration."""
    from transformers.models.auto import modeling_auto as families

    return config.model_type in families.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not _is_causal(config)


def _is_causal(config: Any) -> bool:
    """Whether tokens do not see those behind them, by a model's configuration."""
    from transformers.models.auto import modeling_auto as families

    only_causal = set(families.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(families.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    # Families such as BERT can be both: then the configuration says what this one is.
    return (
        config.model_type in only_causal
        or bool(getattr(config, "is_decoder", False))
        or _architecture(config).endswith("ForCausalLM")
    )


def _architecture(config: Any) -> str:
    """Name of the class that a model was saved as."""
    return str((config.architectures or [type(config).__name__])[0])

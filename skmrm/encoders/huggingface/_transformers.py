"""Models of transformers as encoders: a network's last hidden states, pooled to one vector a text."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skmrm._support.progress import Watch, unless_few
from skmrm.encoders._encoded import Encoded
from skmrm.encoders.huggingface._hidden_states import States, hidden_states
from skmrm.encoders.huggingface._prefixes import find_shared, prefixes_are_exact, states_after_prefixes
from skmrm.encoders.huggingface._pretrained import (
    NetworkOptions,
    commit_of,
    find_pretrained,
    folder_fingerprint,
    weights_digest,
)
from skmrm.encoders.huggingface._sentence_folder import read_sentence_facts
from skmrm.encoders.huggingface._settings import (
    Pooling,
    check_first_token,
    check_options,
    output_width,
    resolve_dtype,
    resolve_max_length,
    resolve_pooling,
)
from skmrm.encoders.huggingface._tokens import Reader, Tokens
from skmrm.episodes.items import Item, check_items
from skmrm.exceptions import ModelFileError

if TYPE_CHECKING:
    import torch

__all__ = ["HFEncoder"]

_STAGE = "encoding"

_UNFITTED_FILES = "_files"
_WINDOW = 4096  # texts that are sorted by length together
_CPU_TOKENS, _GPU_TOKENS = 1024, 16_384  # at a time


class HFEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Vectors of any text model of transformers: reward models, causal language models, sentence encoders.

    Reward models and causal language models read prompt and response in their chat template, and give the last hidden
    state of the last token: the paper's features. A plain prompt is what the user says and a plain response what the
    assistant answers; lists of chat messages keep their turns. Sentence encoders (BERT and its like, and whatever
    sentence-transformers wrote) read the response alone, since the prompt that both responses of a pair share would
    cancel in their difference, and give the mean over all tokens, the first or the last one.

    Nothing is learnt from texts; `fit` loads the model. It is needed again where the fitted encoder is used: pickles
    and saved models hold where it is and what tells it from others, not its weights.

    Parameters
    ----------
    model : str or path
        A folder that transformers or sentence-transformers wrote, or the id of such a model on the Hugging Face Hub.
    pooling : {"auto", "mean", "cls", "last"}, default="auto"
        Mean of the last hidden states over all tokens, special ones included; the state of the first token; or that of
        the last one that is not the model's padding token, which is where transformers reads out rewards. "auto" does
        what sentence-transformers wrote beside the model; without such files it takes the last token of causal models,
        reward models included, and the mean of others. It refuses what it would get wrong: other modules of
        sentence-transformers, and classifiers that are not causal.
    normalize : bool or "auto", default="auto"
        Scale vectors to unit length. "auto" does where sentence-transformers would.
    reward_head : bool, default=False
        Append the model's own reward of prompt and response, in logits, as last column. For reward models with one
        output.
    chat_template : str, optional
        Jinja template in place of the tokenizer's own. Where there is neither, the response stands right behind the
        prompt. A template that names today's date is given 26 July 2024, so that vectors do not change overnight.
    max_length : int, optional
        Most tokens of a text, special ones included. Of a longer conversation the end is kept, where the response is,
        behind the token that begins each text; a longer response that is read alone is cut by the tokenizer, on its own
        side. None is what sentence-transformers wrote, else the tokenizer's, and never more than the model has
        positions for.
    batch_tokens : int, optional
        Tokens at a time, padding included, of texts of like length; a longer text is on its own. It changes no number
        beyond rounding. None is 1,024 on a CPU, whose caches hold little more, and 16,384 elsewhere: the more the
        faster, until memory is full.
    prefix_caching : bool, default=True
        Compute what responses to one prompt share at the start once, and go on from the network's key-value cache. Done
        only where that is exact: `fit` tries it.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of weights and arithmetic; vectors are float32 in any case. "auto" is float32 on a CPU, and on a GPU
        what the weights were saved in.
    device : str, default="auto"
        "auto" (the GPU where there is one), "cpu", "cuda", "cuda:1" ...
    device_map : str or dict, optional
        Of transformers, in place of `device`: spreads a model over several devices (needs accelerate).
    attn_implementation : str, optional
        Of transformers: "sdpa", "eager", "flash_attention_2" ... None lets transformers choose.
    revision : str, optional
        Branch, tag or commit of a model on the Hub. A fitted encoder keeps to the commit of its fit.
    trust_remote_code : bool, default=False
        Run Python files that come with the model, with all that you may do on this machine. Read them before, and name
        the commit that you read as `revision`.

    Attributes
    ----------
    pooling_ : {"mean", "cls", "last"}
        How tokens become one vector.
    reads_ : {"conversation", "response"}
        What is encoded: prompt and response, or the response alone.
    normalize_ : bool
        Whether vectors have unit length.
    max_length_ : int
        Most tokens of a text.
    dtype_ : {"float32", "bfloat16", "float16"}
        Precision of weights and arithmetic.
    prefix_caching_ : bool
        Whether shared starts are computed once.
    n_features_out_ : int
        Number of columns.

    Examples
    --------
    >>> encoder = HFEncoder("sentence-transformers/all-MiniLM-L6-v2")
    >>> vectors = encoder.fit_transform([("Tea?", "Yes, please."), ("Tea?", "No.")])  # doctest: +SKIP
    >>> vectors.shape, vectors.dtype  # doctest: +SKIP
    ((2, 384), dtype('float32'))
    >>> encoder = HFEncoder("Skywork/Skywork-Reward-V2-Qwen3-0.6B", reward_head=True, max_length=4096)
    >>> encoder.fit_transform([("Tea?", "Yes, please."), ("Tea?", "No.")]).shape  # doctest: +SKIP
    (2, 1025)
    """

    pooling_: Pooling
    reads_: Literal["conversation", "response"]
    normalize_: bool
    max_length_: int
    dtype_: str
    prefix_caching_: bool
    n_features_out_: int

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        "model": [str, os.PathLike],
        "pooling": [StrOptions({"auto", "mean", "cls", "last"})],
        "normalize": ["boolean", StrOptions({"auto"})],
        "reward_head": ["boolean"],
        "chat_template": [None, str],
        "max_length": [None, Interval(Integral, 1, None, closed="left")],
        "batch_tokens": [None, Interval(Integral, 1, None, closed="left")],
        "prefix_caching": ["boolean"],
        "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "device": [str],
        "device_map": [None, str, dict],
        "attn_implementation": [None, str],
        "revision": [None, str],
        "trust_remote_code": ["boolean"],
    }

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        pooling: Literal["auto", "mean", "cls", "last"] = "auto",
        normalize: bool | Literal["auto"] = "auto",
        reward_head: bool = False,
        chat_template: str | None = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        prefix_caching: bool = True,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        device: str = "auto",
        device_map: str | dict[str, Any] | None = None,
        attn_implementation: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.normalize = normalize
        self.reward_head = reward_head
        self.chat_template = chat_template
        self.max_length = max_length
        self.batch_tokens = batch_tokens
        self.prefix_caching = prefix_caching
        self.dtype = dtype
        self.device = device
        self.device_map = device_map
        self.attn_implementation = attn_implementation
        self.revision = revision
        self.trust_remote_code = trust_remote_code

    def fit(self, X: Any, y: Any = None) -> HFEncoder:
        """Load the model, and settle how it encodes.

        Parameters
        ----------
        X : list of (prompt, response)
            At least one. Only looked at to see that they are texts.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If transformers is not installed (``pip install 'skmrm[text]'``).
        OSError
            If there is no such model, or it cannot be reached.
        ValueError
            If an item is not a pair of str, there is none, a parameter is out of its bounds, or the model is nothing
            that can be encoded with as asked for.
        """
        self._validate_params()
        check_items(X, minimum=1)
        source = find_pretrained(self.model, self.revision, self.trust_remote_code)
        facts = read_sentence_facts(source.read_json)
        config = source.load_config()
        pooling = resolve_pooling(self.pooling, source.model, config, facts)
        reads: Literal["conversation", "response"] = (
            "conversation" if pooling == "last" and facts is None else "response"
        )
        check_options(source.model, reads, reward_head=self.reward_head, chat_template=self.chat_template)
        lower_case = facts is not None and facts.lower_case
        dtype = resolve_dtype(self.dtype, config, self.device)
        tokenizer = source.load_tokenizer(lower_case)
        network, head = source.load_network(self._network_options(dtype))
        if pooling == "cls":
            check_first_token(tokenizer)
        max_length = resolve_max_length(self.max_length, source.model, facts, tokenizer, network)
        width = output_width(self._reader(tokenizer, network, reads, max_length), network)
        self.prefix_caching_ = (
            self.prefix_caching and reads == "conversation" and prefixes_are_exact(tokenizer, network, max_length)
        )
        self.n_features_out_ = width + bool(self.reward_head)
        self.pooling_, self.reads_, self.max_length_, self.dtype_ = pooling, reads, max_length, dtype
        self.normalize_ = bool(facts and facts.normalize) if self.normalize == "auto" else bool(self.normalize)
        self._lower_case = lower_case
        self._fingerprint = source.fingerprint()
        self._keep(tokenizer, network, head)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.

        Returns
        -------
        (n_items, n_features_out) float32 array
            One row an item; a row depends on the others by the rounding of `dtype_` at most. A text without a token
            (of a tokenizer without special ones) gives zeros.

        Raises
        ------
        ValueError
            If an item is not a pair of str, or the chat template refuses one.
        ModelFileError
            If the model had to be loaded again, and is another one now.
        """
        return self.encode(X).features

    def encode(self, X: Any) -> Encoded:
        """Encode texts, and count tokens and cut texts.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.

        Returns
        -------
        Encoded
            ``features``, what `transform` returns; ``n_tokens`` and ``n_cut``.

        Raises
        ------
        ValueError, ModelFileError
            As in `transform`.
        """
        check_is_fitted(self, "n_features_out_")
        items = check_items(X)
        features = np.zeros((len(items), self.n_features_out_), np.float32)
        n_tokens = n_cut = 0
        with Watch("encode", [_STAGE], unless_few("auto", len(items)), unit=" texts") as tell:
            tell(_STAGE, 0, len(items))
            for rows, vectors, tokens in self._encoded_windows(items) if items else ():
                features[rows] = vectors.cpu().numpy()
                n_tokens += sum(map(len, tokens.ids))
                n_cut += tokens.n_cut
                tell(_STAGE, rows.stop, len(items))
        return Encoded(features, n_tokens, n_cut)

    def pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """One vector of the hidden states of each text: the last step of `transform`, for those who export it.

        Parameters
        ----------
        hidden : (n, tokens, width) tensor
            Last hidden states of `network_`, of texts padded on the right.
        attention_mask : (n, tokens) tensor
            1 for tokens, 0 for padding.

        Returns
        -------
        (n, width) tensor
            Pooled by `pooling_`, of unit length if `normalize_`.
        """
        check_is_fitted(self, "n_features_out_")
        if self.pooling_ == "cls":
            vectors = hidden[:, 0]
        elif self.pooling_ == "last":
            vectors = _last(hidden, attention_mask)
        else:
            mask = attention_mask.unsqueeze(-1)
            vectors = (hidden.float() * mask).sum(1) / mask.sum(1).clamp(min=1)
        if self.normalize_:
            vectors = vectors.float()
            vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return vectors

    def unload(self) -> None:
        """Forget network and tokenizer, to free memory; what needs them loads them again."""
        if "_loaded" in vars(self):
            import torch

            del self._loaded
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @property
    def identity_(self) -> dict[str, Any]:
        """All that decides the numbers, and nothing else: equal for encoders that give the same vectors.

        JSON values: the files of the model by their contents in a folder and by id and commit on the Hub, how texts are
        read, cut and pooled, and the precision. Not the device, nor how many tokens are computed at a time.
        """
        check_is_fitted(self, "n_features_out_")
        if "_loaded" in vars(self) and weights_digest(self._loaded) != self._loaded_weights:
            raise ModelFileError(
                f"features may be kept of a network as its files have it, and that of {os.fspath(self.model)!r} was "
                "changed in memory (trained, edited) since it was loaded: save it, network_.save_pretrained(folder) "
                "and tokenizer_.save_pretrained(folder), and encode with HFEncoder(folder); or call unload(), which "
                "brings back what the files hold"
            )
        on_hub = {"model": os.fspath(self.model)} if commit_of(self._fingerprint) else {}
        return {
            "encoder": type(self).__name__,
            **on_hub,
            "files": self._fingerprint,
            "reads": self.reads_,
            "chat_template": self.chat_template,
            "max_length": self.max_length_,
            "pooling": self.pooling_,
            "normalize": self.normalize_,
            "reward_head": bool(self.reward_head),
            "dtype": self.dtype_,
        }

    @property
    def network_(self) -> Any:
        """The transformers model without its head, for inference; loaded again where needed."""
        return self._load()[1]

    @property
    def tokenizer_(self) -> Any:
        """Its tokenizer; loaded again where needed."""
        return self._load()[0]

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        (n_features_out,) object array of str
            ``hfencoder0``, ``hfencoder1`` ..., and ``hfencoder_reward`` for the model's own reward.
        """
        names = super().get_feature_names_out(input_features)
        if self.reward_head:
            names[-1] = f"{type(self).__name__.lower()}_reward"
        return names

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def _encoded_windows(self, items: Sequence[Item]) -> Iterator[tuple[slice, torch.Tensor, Tokens]]:
        """Vectors of some thousand items after the other, on the network's device."""
        tokenizer, network, head = self._load()
        reader = self._reader(tokenizer, network, self.reads_, self.max_length_)
        ready = None
        for start in range(0, len(items), _WINDOW):
            part = items[start : start + _WINDOW]
            tokens = reader(part)  # while a GPU still works on the part before
            if ready is not None:
                yield ready
            states = self._states(tokenizer, network, tokens, [prompt for prompt, _ in part])
            ready = slice(start, start + len(part)), self._vectors(states, len(part), head), tokens
        if ready is not None:
            yield ready

    def _states(self, tokenizer: Any, network: Any, tokens: Tokens, prompts: Sequence[Hashable]) -> Iterator[States]:
        """Hidden states of all texts, by two ways where some share a start."""
        budget = self.batch_tokens or (_CPU_TOKENS if network.device.type == "cpu" else _GPU_TOKENS)
        shared = find_shared(tokens.ids, prompts) if self.prefix_caching_ else []
        is_alone = np.ones(len(tokens.ids), bool)
        for group in shared:
            is_alone[group.rows] = False
        return chain(
            states_after_prefixes(tokenizer, network, tokens, shared, budget),
            hidden_states(tokenizer, network, tokens, budget, np.flatnonzero(is_alone)),
        )

    def _vectors(self, states: Iterator[States], n_items: int, head: Any) -> torch.Tensor:
        """(n_items, n_features_out) float32 tensor of pooled states, and rewards where there is a head."""
        import torch

        with torch.inference_mode():
            vectors = None
            for rows, hidden, mask in states:
                columns = [self.pool(hidden, mask).float()]
                if head is not None:
                    columns.append(head(_last(hidden, mask).to(head.weight.device)).to(columns[0]))
                if vectors is None:
                    vectors = torch.zeros(n_items, self.n_features_out_, device=hidden.device)
                vectors[torch.from_numpy(rows)] = torch.cat(columns, 1)
            return torch.zeros(n_items, self.n_features_out_) if vectors is None else vectors

    def _reader(self, tokenizer: Any, network: Any, reads: Literal["conversation", "response"], length: int) -> Reader:
        padding_id = getattr(network.config, "pad_token_id", None) if reads == "conversation" else None
        return Reader(tokenizer, reads, length, self.chat_template, padding_id)

    def _network_options(self, dtype: str) -> NetworkOptions:
        return NetworkOptions(dtype, self.device, self.device_map, self.attn_implementation, bool(self.reward_head))

    def _load(self) -> tuple[Any, Any, Any]:
        """Tokenizer, network and reward head (or None) of a fitted encoder, loaded by `fit` or now."""
        check_is_fitted(self, "n_features_out_")
        if "_loaded" not in vars(self):
            source = find_pretrained(self.model, commit_of(self._fingerprint) or self.revision, self.trust_remote_code)
            if source.fingerprint() != self._fingerprint:
                raise ModelFileError(
                    f"the files of the model {os.fspath(self.model)!r} must be those of fit, and have changed since: "
                    "put them back, or fit again"
                )
            network, head = source.load_network(self._network_options(self.dtype_))
            self._keep(source.load_tokenizer(self._lower_case), network, head)
        return self._loaded

    def _keep(self, tokenizer: Any, network: Any, head: Any) -> None:
        self._loaded = tokenizer, network, head
        self._loaded_weights = weights_digest(self._loaded)

    def __getstate__(self) -> dict[str, Any]:
        """All but the network and the tokenizer, with what tells their files from others."""
        state = {name: value for name, value in super().__getstate__().items() if not name.startswith("_loaded")}
        if "_fingerprint" not in state:  # a cache of what fit makes must notice other files in the folder
            state[_UNFITTED_FILES] = folder_fingerprint(self.model)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state over, but for the files of an encoder that was not fitted: `fit` looks for itself."""
        super().__setstate__({name: value for name, value in state.items() if name != _UNFITTED_FILES})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _last(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """State of the last token of each text, (n, width)."""
    places = (attention_mask.sum(1) - 1).clamp(min=0)
    return hidden.gather(1, places[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]

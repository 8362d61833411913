"""Sentence encoders of transformers: a network's hidden states, pooled to one vector a text."""

from __future__ import annotations

import os
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skmrm.encoders._hidden_states import hidden_states
from skmrm.encoders._items import check_items, encodable
from skmrm.encoders._pretrained import commit_of, find_pretrained, folder_fingerprint
from skmrm.encoders._sentence_folder import read_sentence_facts
from skmrm.encoders._settings import check_first_token, output_width, settled_max_length, settled_pooling
from skmrm.exceptions import ModelFileError

if TYPE_CHECKING:
    import torch

__all__ = ["HFEncoder"]

_UNFITTED_FILES = "_files"


class HFEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Vectors of a sentence encoder of transformers: BERT and its like, with mean or CLS pooling.

    The text that is encoded is the response. The prompt is not used: both responses of a pair share it, so that it
    cancels in their difference. Nothing is learnt from texts; `fit` loads the model. It is needed again where the
    fitted encoder is used: pickles and saved models hold where it is and what tells it from others, not its weights.

    Parameters
    ----------
    model : str or path
        A folder that transformers or sentence-transformers wrote, or the id of such a model on the Hugging Face Hub.
    pooling : {"auto", "mean", "cls"}
        Mean of the last hidden states over all tokens, special ones included; or the state of the first token. "auto"
        does what sentence-transformers wrote beside the model, and takes the mean for a model without such files. It
        refuses what it would get wrong: other modules, and models that are no encoders (causal language models,
        classifiers, reward models).
    normalize : bool or "auto"
        Scale vectors to unit length. "auto" does where sentence-transformers would.
    max_length : int, optional
        Most tokens of a text, special ones included; the tokenizer cuts the rest, on its own side. None is what
        sentence-transformers wrote, else the tokenizer's, and never more than the model has positions for.
    batch_size : int
        Texts at a time, of like length. It changes no number beyond the rounding of float32.
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda", "cuda:1" ...
    revision : str, optional
        Branch, tag or commit of a model on the Hub. A fitted encoder keeps to the commit of its fit.
    trust_remote_code : bool
        Run Python files that come with the model. Read them before.

    Attributes
    ----------
    pooling_ : {"mean", "cls"}
        How tokens become one vector.
    normalize_ : bool
        Whether vectors have unit length.
    max_length_ : int
        Most tokens of a text.
    n_features_out_ : int
        Number of columns.

    Examples
    --------
    >>> encoder = HFEncoder("sentence-transformers/all-MiniLM-L6-v2")
    >>> vectors = encoder.fit_transform([("Tea?", "Yes, please."), ("Tea?", "No.")])  # doctest: +SKIP
    >>> vectors.shape, vectors.dtype  # doctest: +SKIP
    ((2, 384), dtype('float32'))
    """

    pooling_: Literal["mean", "cls"]
    normalize_: bool
    max_length_: int
    n_features_out_: int

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        "model": [str, os.PathLike],
        "pooling": [StrOptions({"auto", "mean", "cls"})],
        "normalize": ["boolean", StrOptions({"auto"})],
        "max_length": [None, Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "revision": [None, str],
        "trust_remote_code": ["boolean"],
    }

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        pooling: Literal["auto", "mean", "cls"] = "auto",
        normalize: bool | Literal["auto"] = "auto",
        max_length: int | None = None,
        batch_size: int = 32,
        device: str = "auto",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.normalize = normalize
        self.max_length = max_length
        self.batch_size = batch_size
        self.device = device
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
        pooling = settled_pooling(self.pooling, source.model, source.load_config(), facts)
        lower_case = facts is not None and facts.lower_case
        tokenizer, network = source.load_tokenizer(lower_case), source.load_network(self.device)
        if pooling == "cls":
            check_first_token(tokenizer)
        max_length = settled_max_length(self.max_length, source.model, facts, tokenizer, network)
        self.n_features_out_ = output_width(tokenizer, network, max_length)
        self.pooling_ = pooling
        self.normalize_ = bool(facts and facts.normalize) if self.normalize == "auto" else bool(self.normalize)
        self.max_length_ = max_length
        self._lower_case = lower_case
        self._fingerprint = source.fingerprint()
        self._loaded = tokenizer, network
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode the responses of texts.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.

        Returns
        -------
        (n_items, n_features_out) float32 array
            One row an item; a row depends on the others by the rounding of float32 at most. A text without a token
            (of a tokenizer without special ones) gives zeros.

        Raises
        ------
        ValueError
            If an item is not a pair of str.
        ModelFileError
            If the model had to be loaded again, and is another one now.
        """
        check_is_fitted(self, "n_features_out_")
        texts = [encodable(response) for _, response in check_items(X)]
        vectors = np.zeros((len(texts), self.n_features_out_), np.float32)
        if texts:
            tokenizer, network = self._load()
            for rows, hidden, mask in hidden_states(tokenizer, network, texts, self.max_length_, self.batch_size):
                vectors[rows] = self.pool(hidden, mask).cpu().numpy()
        return vectors

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
        else:
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        if self.normalize_:
            vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return vectors

    @property
    def network_(self) -> Any:
        """The transformers model, in float32 and for inference; loaded again where needed."""
        return self._load()[1]

    @property
    def tokenizer_(self) -> Any:
        """Its tokenizer; loaded again where needed."""
        return self._load()[0]

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def _load(self) -> tuple[Any, Any]:
        """Tokenizer and network of a fitted encoder, loaded by `fit` or now."""
        check_is_fitted(self, "n_features_out_")
        if "_loaded" not in vars(self):
            source = find_pretrained(self.model, commit_of(self._fingerprint) or self.revision, self.trust_remote_code)
            if source.fingerprint() != self._fingerprint:
                raise ModelFileError(
                    f"the files of the model {os.fspath(self.model)!r} must be those of fit, and have changed since: "
                    "put them back, or fit again"
                )
            self._loaded = source.load_tokenizer(self._lower_case), source.load_network(self.device)
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        """All but the network and the tokenizer, with what tells their files from others."""
        state = {name: value for name, value in super().__getstate__().items() if name != "_loaded"}
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

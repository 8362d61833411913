"""The encoder of a store: fitted, and as wide as its numbers say."""

from __future__ import annotations

import copy
import os
from typing import Any

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skmrm.encoders._encoded import encode_piece
from skmrm.encoders._identity import identity_of

__all__ = ["fitted_encoder", "width_of"]

_ANY_ITEM = ("Tea?", "Yes, please.")  # for encoders that learn nothing from it


def fitted_encoder(encoder: Any) -> Any:
    """What encodes texts, ready for it.

    Parameters
    ----------
    encoder : transformer, str or path
        One that learns from texts must be fitted. One that learns nothing, and calls a service, say, will do as it is,
        and a str or path becomes an :class:`skmrm.encoders.HFEncoder`; what came in is not changed.

    Raises
    ------
    ValueError
        If it is not fitted and learns from texts, appends statistics of style, or is nothing that can encode.
    """
    from skmrm.encoders._text_encoder import TextEncoder, check_encoder  # which takes a store as its memory
    from skmrm.encoders.huggingface._transformers import HFEncoder

    check_encoder(encoder)
    if isinstance(encoder, str | os.PathLike):
        encoder = HFEncoder(encoder)
    if isinstance(encoder, TextEncoder):
        if encoder.text_statistics:
            raise ValueError(
                "a store keeps what an encoder makes of texts, without statistics of style, got a TextEncoder with "
                "text_statistics=True: pass its inner encoder; models and TextEncoder(memory=store) append the "
                "statistics themselves, which are quick"
            )
        return fitted_encoder(encoder.encoder_ if _is_fitted(encoder) else encoder.encoder)
    if encoder is not None and _is_fitted(encoder):
        return encoder
    if hasattr(type(encoder), "identity_"):
        return clone(encoder, safe=False).fit([_ANY_ITEM])
    if encoder is not None and _learns_nothing(encoder):
        return encoder
    name = "HashedTextEncoder" if encoder is None else type(encoder).__name__  # None within a TextEncoder
    raise ValueError(
        "an encoder that learns from texts must be fitted before a store is made or opened with it, since the store "
        f"holds the numbers of one fitted encoder, got a {name} that is not: call its fit(texts) first (a model with "
        "memory=store and encoder=None takes the encoder of the store)"
    )


def width_of(encoder: Any) -> int:
    """Number of columns of a fitted encoder."""
    known = getattr(encoder, "n_features_out_", None)
    return int(known) if known is not None else encode_piece(encoder, [_ANY_ITEM]).features.shape[1]


def _learns_nothing(encoder: Any) -> bool:
    """Whether fitting leaves an encoder as it is, so that it needs none; tried on a copy."""
    try:
        before = identity_of(encoder)
    except ValueError:  # whoever keeps its numbers asks again, and says it
        return True
    try:
        return before == identity_of(copy.deepcopy(encoder).fit([_ANY_ITEM]))
    except Exception:  # whatever an encoder raises that cannot be copied, or that one text is too little for
        return False


def _is_fitted(encoder: Any) -> bool:
    try:
        check_is_fitted(encoder)
    except NotFittedError:
        return False
    except (AttributeError, TypeError):  # no scikit-learn estimator: what fit learns ends in _ all the same
        return any(name.endswith("_") and not name.endswith("__") for name in getattr(encoder, "__dict__", ()))
    return True

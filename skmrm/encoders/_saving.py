"""The package's own encoders as JSON and arrays, so that a model can be saved without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.files import as_json
from skmrm.encoders._cache import resolve_encoder
from skmrm.encoders._text_encoder import TextEncoder, inner_encoder
from skmrm.encoders.hashed._hashed import HashedTextEncoder, all_columns, seen_columns
from skmrm.encoders.huggingface._transformers import HFEncoder
from skmrm.encoders.style._statistics import TextStatistics

__all__ = ["encoder_from_config", "encoder_to_config", "fitted_arrays", "restore_fitted"]

_KNOWN: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (HashedTextEncoder, HFEncoder, TextEncoder, TextStatistics)
}
_TUPLES = ("word_ngrams", "char_ngrams")
_HF_FACTS = (
    *("pooling_", "reads_", "normalize_", "max_length_", "dtype_", "prefix_caching_", "n_features_out_"),
    *("_lower_case", "_fingerprint"),
)

Arrays = dict[str, NDArray[Any]]


def encoder_to_config(encoder: Any) -> dict[str, Any]:
    """Class and parameters of an encoder, or the name of a model in its place, as JSON can hold them.

    Raises
    ------
    TypeError
        If there is no encoder but a store that was opened for reading, it is not one of the package's own, or it runs
        code that is not.
    """
    if isinstance(encoder, TextEncoder) and getattr(encoder, "encoder_", encoder) is None:
        raise TypeError(
            "the model's store was opened for reading, so there is no encoder to save: open it with its encoder, "
            "EmbeddingStore(folder, encoder), and fit again"
        )
    if isinstance(encoder, str | os.PathLike):
        return {"model": os.fspath(encoder)}
    kind = type(encoder).__name__
    if _KNOWN.get(kind) is not type(encoder):
        raise TypeError(
            f"the encoder {kind} is not one of the package's, and code is never saved: encode the texts yourself and "
            "fit on arrays, or pickle the whole model with joblib.dump"
        )
    params = encoder.get_params(deep=False)
    if params.get("trust_remote_code"):
        raise TypeError(
            f"the encoder {kind} has trust_remote_code=True, and trust is never saved, since whoever alters the file "
            "would have it: pickle the whole model with joblib.dump"
        )
    if "model" in params:
        params["model"] = os.fspath(params["model"])
    if "memory" in params:
        params["encoder"] = resolve_encoder(params["encoder"], params["memory"])
    params |= _of_any_machine(params)
    if params.get("encoder") is not None:
        params["encoder"] = encoder_to_config(params["encoder"])
    if not isinstance(params.get("random_state"), Integral | None):
        params["random_state"] = None  # already used up by fit
    return {"class": kind, "params": params}


def encoder_from_config(config: Mapping[str, Any], device: str = "auto") -> Any:
    """Make an encoder, not fitted, of what :func:`encoder_to_config` gave; a network will be on the device.

    Raises
    ------
    ValueError
        If the class is not known to this version, or wants to run code.
    """
    if "model" in config:
        return config["model"]
    if config.get("class") not in _KNOWN:
        raise ValueError(f"encoder {config.get('class')!r} is not known to this version of skmrm: upgrade skmrm")
    params = dict(config["params"])
    if params.get("trust_remote_code"):
        raise ValueError(f"encoder {config['class']} wants trust_remote_code, which no file may grant: save it again")
    if isinstance(params.get("encoder"), Mapping):
        params["encoder"] = encoder_from_config(params["encoder"], device)
    params |= _of_any_machine(params, device)
    for name in _TUPLES:
        if params.get(name) is not None:
            params[name] = tuple(params[name])
    encoder = _KNOWN[config["class"]](**params)
    if params:
        encoder._validate_params()
    return encoder


def _of_any_machine(params: Mapping[str, Any], device: str = "auto") -> dict[str, Any]:
    """Those parameters that belong to a machine, as a file may have them: none names code or pickles to load."""
    found: dict[str, Any] = {"device": device, "device_map": None, "memory": None}
    if "/" in str(params.get("attn_implementation")):  # a kernel of the hub; it changes no number beyond rounding
        found["attn_implementation"] = None
    return {name: value for name, value in found.items() if name in params}


def fitted_arrays(encoder: Any) -> Arrays:
    """What a fitted encoder has learnt.

    Columns of the components that are zero, of n-grams that fit never saw, are left out.
    """
    if isinstance(encoder, TextEncoder):
        return {"n_features_out": np.array([encoder.n_features_out_]), **fitted_arrays(encoder.encoder_)}
    if isinstance(encoder, HashedTextEncoder):
        columns, components = seen_columns(encoder.components_)
        return {
            "columns": columns,
            "components": components,
            "singular_values": encoder.singular_values_,
            "idf": encoder.idf_,
        }
    if isinstance(encoder, HFEncoder):
        facts = as_json({name: getattr(encoder, name) for name in _HF_FACTS})
        return {"facts": np.frombuffer(facts.encode(), np.uint8)}
    return {}


def restore_fitted(encoder: Any, arrays: Arrays) -> None:
    """Give an encoder back what it had learnt."""
    if isinstance(encoder, TextEncoder):
        inner = inner_encoder(encoder.encoder)
        restore_fitted(inner, arrays)
        encoder.encoder_ = inner
        encoder.statistics_ = TextStatistics().fit([("", "")]) if encoder.text_statistics else None
        encoder.n_features_out_ = int(arrays["n_features_out"][0])
    elif isinstance(encoder, HashedTextEncoder):
        encoder.idf_ = arrays["idf"]
        encoder.components_ = all_columns(arrays["columns"], arrays["components"], len(encoder.idf_))
        encoder.singular_values_ = arrays["singular_values"]
    elif isinstance(encoder, HFEncoder):
        facts = json.loads(arrays["facts"].tobytes())
        for name in _HF_FACTS:
            setattr(encoder, name, facts[name])
    elif isinstance(encoder, TextStatistics):
        encoder.fit([("", "")])

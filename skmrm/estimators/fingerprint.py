"""What makes users' weights mean something, as a digest: another model has another."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from skmrm._support.files import as_json
from skmrm._support.tensors import Arrays
from skmrm.base_rewards import BaseRewards
from skmrm.estimators.inner_loop import InnerLoop

__all__ = ["fingerprint"]


def fingerprint(base: BaseRewards, inner: InnerLoop) -> str:
    """SHA-256 of base rewards, encoder and inner rule; the same for a model that was saved and loaded, on any machine.

    Raises
    ------
    ValueError
        If nobody can tell what the encoder is made of.
    """
    rule = inner.rule
    facts = {
        "encoder": _encoder_facts(base.encoder),
        "feature_names": base.feature_names,
        "scale": base.scale,
        "rule": f"{type(rule).__module__}.{type(rule).__qualname__}",
        "fields": asdict(rule) if is_dataclass(rule) and not isinstance(rule, type) else None,
    }
    arrays = {f"base.{name}": array for name, array in base.params.items()}
    arrays |= {f"adaptation.{name}": array for name, array in inner.params.items()}
    found = hashlib.sha256(as_json(facts, sort_keys=True).encode())
    found.update(_digest(arrays))
    return found.hexdigest()


def _encoder_facts(encoder: Any) -> Any:
    if encoder is None:
        return None
    from skmrm.encoders._identity import identity_of
    from skmrm.encoders._saving import encoder_to_config, fitted_arrays
    from skmrm.encoders._text_encoder import TextEncoder
    from skmrm.encoders.hashed._hashed import HashedTextEncoder

    if isinstance(encoder, TextEncoder):
        return {"style": bool(encoder.text_statistics), "encoder": _encoder_facts(encoder.encoder_)}
    if type(encoder) is HashedTextEncoder:  # whose identity_ would be of a version of scikit-learn
        return {**encoder_to_config(encoder), "learnt": _digest(fitted_arrays(encoder)).hex()}
    return identity_of(encoder)


def _digest(arrays: Arrays) -> bytes:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.atleast_1d(array)  # which a single number is in a saved model
        found.update(f"{name} {array.dtype.str} {array.shape}:".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()

"""What the service does with users: a scorer's methods over what a store keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.history import History
from skmrm.service.errors import ServiceError
from skmrm.service.pool import keys_of
from skmrm.service.store import Kept, WeightStore
from skmrm.serving import OnnxScorer

__all__ = ["Users"]


@dataclass(frozen=True)
class Users:
    """Users of one model.

    Attributes
    ----------
    scorer : OnnxScorer
        One for all threads.
    store : WeightStore
    most : int
        Pairs and ratings that are kept of one user.
    """

    scorer: OnnxScorer
    store: WeightStore
    most: int

    def kept(self, user_id: str) -> Kept:
        """All that is kept of a user; a ServiceError, 404, of one who is not known."""
        kept = self.store.kept(user_id)
        if kept is None:
            raise _unknown(user_id)
        return kept

    def weights(self, user_id: str, on_unknown: str) -> NDArray[np.float64] | None:
        """Weights of a user; None of one who is not known, or a ServiceError, 404, if that is to be an error."""
        weights = self.store.get(user_id)
        if weights is None and on_unknown == "error":
            raise _unknown(user_id)
        return weights

    def history(self, user_id: str, on_unknown: str, half_life: float | None) -> History | None:
        """What a user has said; None of one who is not known, or a ServiceError, 404, if that is to be an error."""
        kept = self.store.kept(user_id)
        if kept is None and on_unknown == "error":
            raise _unknown(user_id)
        return None if kept is None else self.read(user_id, kept).fading(half_life)

    def adapt(self, user_id: str, history: History, half_life: float | None) -> Kept:
        """Keep of a user what this history says, in place of what was kept."""
        kept = self._learnt(history, half_life)
        self.store.put(user_id, *kept)
        return kept

    def update(self, user_id: str, new: History, half_life: float | None) -> Kept:
        """Add to what is kept of a user."""

        def change(kept: Kept | None) -> Kept:
            history = new if kept is None else self.read(user_id, kept).joined(new)
            return self._learnt(history, half_life, b"" if kept is None else kept.asked)

        return self.store.change(user_id, change)

    def answer(self, user_id: str, key: bytes, said: History) -> Kept:
        """Add what a user answered to a comparison, which may be nothing; an answer that comes again adds nothing."""

        def change(kept: Kept | None) -> Kept:
            if kept is None:
                return self._learnt(said, None, key)
            if key in keys_of(kept.asked):
                return kept
            asked = kept.asked + key
            if not len(said.gaps):
                return kept._replace(asked=asked)
            return self._learnt(self.read(user_id, kept).joined(said), None, asked)

        return self.store.change(user_id, change)

    def forget(self, user_id: str) -> None:
        """Forget a user; a ServiceError, 404, of one who is not known."""
        if not self.store.forget(user_id):
            raise _unknown(user_id)

    def read(self, user_id: str, kept: Kept) -> History:
        """What a user has said, of what is kept; a ServiceError, 409, if a version adapted the user that kept none."""
        if kept.history is None:
            message = f"earlier choices of {user_id!r} were not kept by the version that adapted the user: adapt again"
            raise ServiceError(409, "choices_not_kept", message)
        return History.from_bytes(kept.history, self.scorer.n_bases)

    def _learnt(self, history: History, half_life: float | None, asked: bytes = b"") -> Kept:
        """What to keep of a user who said this; a ServiceError, 409, if it is too much."""
        if len(history.gaps) > self.most:
            message = (
                f"of a user {self.most} pairs and ratings are kept at most, these would be "
                f"{len(history.gaps)}: adapt with those that still count"
            )
            raise ServiceError(409, "too_many_choices", message)
        weights = self.scorer.adapt([], earlier=history, half_life=half_life)
        return Kept(weights, len(history.gaps), history.to_bytes(), asked)


def _unknown(user_id: str) -> ServiceError:
    return ServiceError(404, "unknown_user", f"nobody is known as {user_id!r}: adapt the user first")

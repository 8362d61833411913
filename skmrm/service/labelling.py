"""A page that shows a user two responses, learns from the choice, and asks what would teach most next."""

# No `from __future__ import annotations` here: FastAPI has to see the types of what a function defines.
import hashlib
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Annotated

import numpy as np
from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse

from skmrm.episodes.history import History
from skmrm.episodes.outcomes import UNTOLD
from skmrm.service.errors import ServiceError, documented
from skmrm.service.limits import Limits
from skmrm.service.pool import KEY_BYTES, Comparison, Pool
from skmrm.service.routes import id_path
from skmrm.service.schemas import Answer, Labelling, PoolQuestion
from skmrm.service.store import Kept
from skmrm.service.users import Users

__all__ = ["add_labelling"]

_PAGE = {
    "label": ("page.html", "text/html"),
    "label/page.js": ("page.js", "text/javascript"),
    "label/page.css": ("page.css", "text/css"),
}
_HEADERS = {
    # Nothing from elsewhere, and no script or style within the page: what texts hold can neither run nor call out.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a later version's script belongs to its page
}


@dataclass(frozen=True)
class _Labeller:
    """Asks users for comparisons of a pool."""

    users: Users
    pool: Pool

    @property
    def knows_ties(self) -> bool:
        thresholds = self.users.scorer.thresholds
        return thresholds is not None and bool(thresholds[0] > 0)  # 0 where there were strengths, and no ties

    def state(self, user_id: str, kept: Kept | None) -> Labelling:
        """How far a user is, and what to ask next."""
        earlier = None if kept is None else self.users.read(user_id, kept)
        asked = b"" if kept is None else kept.asked
        weights, covariance = self.users.scorer.posterior(earlier)
        found = None if covariance is None else self.pool.next(weights, covariance, asked)
        return Labelling(
            question=None if found is None else _shown(user_id, *found),
            n_choices=0 if kept is None else kept.n_pairs,
            n_asked=len(asked) // KEY_BYTES,
            n_left=self.pool.n_left(asked),
            ties=self.knows_ties,
        )

    def answer(self, user_id: str, answer: Answer) -> Labelling:
        """Learn from an answer."""
        one = self.pool.find(bytes.fromhex(answer.key))
        if one is None:
            message = "the pool has no such comparison: ask for the next one, the service may have a new pool"
            raise ServiceError(404, "unknown_question", message)
        if answer.choice == "tie" and not self.knows_ties:
            message = "nobody tied in fit, so that the model cannot say what a tie means: skip instead"
            raise ServiceError(422, "cannot_tie", message)
        said = self._said(one.prompt, *_sides(user_id, one), answer.choice)
        return self.state(user_id, self.users.answer(user_id, one.key, said))

    def _said(self, prompt: str, left: str, right: str, choice: str) -> History:
        """A choice as numbers; of unknown strength, where the model knows of strengths or ties."""
        scorer = self.users.scorer
        if choice == "skip":
            return scorer.history([])
        said = scorer.history([(prompt, right, left) if choice == "right" else (prompt, left, right)])
        if scorer.thresholds is None:
            return said
        return replace(said, said={**said.said, "outcome": np.array([0 if choice == "tie" else UNTOLD])})


def add_labelling(app: FastAPI, users: Users, pool: Pool, limits: Limits) -> None:
    """The page, and what it calls."""
    UserId = Annotated[str, id_path(limits)]
    labeller = _Labeller(users, pool)

    @app.get("/users/{user_id}/label", responses=documented(409, 422, 503))
    def next_question(user_id: UserId) -> Labelling:
        """How far the user is, and the comparison of the pool whose answer would teach most.

        It stays the same until it is answered.
        """
        return labeller.state(user_id, users.store.kept(user_id))

    @app.post("/users/{user_id}/label", responses=documented(400, 404, 409, 413, 422, 503))
    def answer(user_id: UserId, body: Answer) -> Labelling:
        """Learn from the answer to a comparison of the pool, as update does, and say what to ask next.

        A comparison counts once: an answer that is sent again, since the first got lost on its way, changes nothing.
        """
        return labeller.answer(user_id, body)

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("label")

    for path, (name, kind) in _PAGE.items():
        _add_file(app, path, name, kind)


def _add_file(app: FastAPI, path: str, name: str, kind: str) -> None:
    content = (files("skmrm.service") / "page" / name).read_bytes()

    @app.get(f"/{path}", include_in_schema=False)
    def page() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)


def _shown(user_id: str, one: Comparison, information: float) -> PoolQuestion:
    left, right = _sides(user_id, one)
    return PoolQuestion(key=one.key.hex(), prompt=one.prompt, left=left, right=right, information=information)


def _sides(user_id: str, one: Comparison) -> tuple[str, str]:
    """Which response stands where: by chance, so that liking one side teaches nothing, and always the same."""
    turned = hashlib.blake2b(one.key + user_id.encode()).digest()[0] % 2
    return (one.second, one.first) if turned else (one.first, one.second)

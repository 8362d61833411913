"""What is answered to whom: one function for each kind of request, which declares its paths."""

# No `from __future__ import annotations` here: FastAPI has to see the types of what a function defines.
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Path, Query

from skmrm.episodes.history import History
from skmrm.episodes.questions import Question
from skmrm.exceptions import EpisodeError
from skmrm.explanation import Explanation
from skmrm.service.errors import ServiceError, documented
from skmrm.service.limits import Limits
from skmrm.service.pool import keys_of
from skmrm.service.schemas import (
    Adapted,
    AskedPair,
    Explained,
    Forms,
    Health,
    ListedUser,
    Questions,
    Ranking,
    Scores,
    UserData,
    UserList,
)
from skmrm.service.users import Users

SAFE_ID = r"^[A-Za-z0-9][A-Za-z0-9._@-]*$"

OnUnknown = Annotated[
    Literal["prior", "error"],
    Query(description="Of a user without weights: the rewards of a user without choices, or 404"),
]
HalfLife = Annotated[
    float | None,
    Query(gt=0, allow_inf_nan=False, description="In which a choice loses half of its weight, in the unit of times"),
]
Most = Annotated[int, Query(ge=1, le=50, description="How many effects, gains and losses to state at most")]
Level = Annotated[float, Query(gt=0, lt=1, description="Coverage of each interval")]


def id_path(limits: Limits) -> Any:
    """How an id of a user is declared in a path."""
    return Path(pattern=SAFE_ID, max_length=limits.id_characters, examples=["ann"])


# Plain functions run in threads, as work on a CPU should.
def add_learning(app: FastAPI, users: Users, forms: Forms, limits: Limits) -> None:
    """Adapt and update."""
    UserId = Annotated[str, id_path(limits)]

    def said(body: Any) -> History:
        with _refused("cannot_use_features"):
            return users.scorer.history(body.read(), user_features=body.user_features)

    @app.post("/users/{user_id}/adapt", responses=documented(400, 413, 422, 503))
    def adapt(user_id: UserId, body: forms.adapt, half_life: HalfLife = None) -> Adapted:  # type: ignore[name-defined]
        """Learn a user's taste from pairs of a chosen and a rejected response, and from ratings of single ones.

        Send all pairs of the user and all ratings: the weights are replaced by what these say, and what was said before
        no longer counts. Texts are not kept; a few numbers a choice are, for update.
        """
        kept = users.adapt(user_id, said(body), half_life)
        return Adapted(user_id=user_id, n_pairs=kept.n_pairs, n_bases=len(kept.weights))

    @app.post("/users/{user_id}/update", responses=documented(400, 409, 413, 422, 503))
    def update(user_id: UserId, body: forms.adapt, half_life: HalfLife = None) -> Adapted:  # type: ignore[name-defined]
        """Learn from more pairs and ratings: the same as adapting on all of them, the earlier ones included.

        Of a user whom nobody adapted these are the first. `half_life` is not remembered: pass it each time.
        """
        new = said(body)  # what takes time, before anybody has to wait for it
        kept = users.update(user_id, new, half_life)
        return Adapted(user_id=user_id, n_pairs=kept.n_pairs, n_bases=len(kept.weights))


def add_scoring(app: FastAPI, users: Users, forms: Forms, limits: Limits) -> None:
    """Score and rank."""
    UserId = Annotated[str, id_path(limits)]

    def rewards_for(user_id: str, items: Any, on_unknown: str) -> tuple[np.ndarray, bool]:
        weights = users.weights(user_id, on_unknown)
        return users.scorer.predict(items, weights=weights), weights is not None

    @app.post("/users/{user_id}/score", responses=documented(400, 404, 413, 422, 503))
    def score(user_id: UserId, body: forms.score, on_unknown: OnUnknown = "prior") -> Scores:  # type: ignore[name-defined]
        """Rewards of responses under the user's taste."""
        rewards, known = rewards_for(user_id, body.read(), on_unknown)
        return Scores(rewards=rewards.tolist(), known_user=known)

    @app.post("/users/{user_id}/rank", responses=documented(400, 404, 413, 422, 503))
    def rank(user_id: UserId, body: forms.rank, on_unknown: OnUnknown = "prior") -> Ranking:  # type: ignore[name-defined]
        """Order responses to a prompt under the user's taste, best first."""
        rewards, known = rewards_for(user_id, body.read(), on_unknown)
        order = np.argsort(-rewards, kind="stable")
        return Ranking(order=order.tolist(), rewards=rewards.tolist(), known_user=known)


def add_asking(app: FastAPI, users: Users, forms: Forms, limits: Limits) -> None:
    """Questions to ask next."""
    UserId = Annotated[str, id_path(limits)]

    @app.post("/users/{user_id}/question", responses=documented(400, 404, 409, 413, 422, 503))
    def question(
        user_id: UserId,
        body: forms.ask,  # type: ignore[name-defined]
        on_unknown: OnUnknown = "prior",
        half_life: HalfLife = None,
    ) -> Questions:
        """The comparisons of candidates whose answers would teach most about the user.

        Show one of them to the user, and send what was chosen to update.
        """
        history = users.history(user_id, on_unknown, half_life)
        candidates, context = body.read()
        with _refused("cannot_ask"):
            found = users.scorer.suggest_pairs(candidates, body.n, context, earlier=history)
        n_pairs = 0 if history is None else len(history.gaps)
        return Questions(questions=[_asked(one) for one in found], n_pairs=n_pairs, known_user=history is not None)


def add_explaining(app: FastAPI, users: Users, forms: Forms, limits: Limits) -> None:
    """What has been learnt, in words."""
    UserId = Annotated[str, id_path(limits)]

    def told(history: History | None, items: Any, n: int, level: float) -> Explained:
        with _refused("cannot_explain"):
            found = users.scorer.explain(items, n, earlier=history, level=level)
        return Explained(**_explained(found), known_user=history is not None)

    @app.get("/users/{user_id}/explain", responses=documented(404, 409, 422, 503))
    def explain(
        user_id: UserId,
        n: Most = 5,
        level: Level = 0.95,
        on_unknown: OnUnknown = "prior",
        half_life: HalfLife = None,
    ) -> Explained:
        """What the user likes more or less than the crowd, over the responses that the model was fitted on."""
        return told(users.history(user_id, on_unknown, half_life), None, n, level)

    @app.post("/users/{user_id}/explain", responses=documented(400, 404, 409, 413, 422, 503))
    def explain_on(
        user_id: UserId,
        body: forms.score,  # type: ignore[name-defined]
        n: Most = 5,
        level: Level = 0.95,
        on_unknown: OnUnknown = "prior",
        half_life: HalfLife = None,
    ) -> Explained:
        """What the user likes more or less than the crowd, over these responses, and which of them gain and lose."""
        return told(users.history(user_id, on_unknown, half_life), body.read(), n, level)


def add_listing(app: FastAPI, users: Users, limits: Limits) -> None:
    """Who is known, what is kept, and forgetting it."""
    UserId = Annotated[str, id_path(limits)]

    @app.get("/users", responses=documented(422, 503))
    def list_users(
        limit: Annotated[int, Query(ge=1, le=limits.users, description="Users on a page")] = min(100, limits.users),
        after: Annotated[
            str | None,
            Query(pattern=SAFE_ID, max_length=limits.id_characters, description="The id that the page comes after"),
        ] = None,
    ) -> UserList:
        """Ids of all users and their numbers of choices, a page at a time."""
        found = users.store.users(limit + 1, after or "")
        listed = [ListedUser(user_id=user_id, n_pairs=n_pairs) for user_id, n_pairs in found[:limit]]
        return UserList(users=listed, after=listed[-1].user_id if len(found) > limit else None)

    @app.get("/users/{user_id}", responses=documented(404, 422, 503))
    def export(user_id: UserId) -> UserData:
        """All that is kept of a user, for whoever asks for their data."""
        kept = users.kept(user_id)
        history = None if kept.history is None else users.read(user_id, kept)
        moved = None if history is None else history.shift
        return UserData(
            user_id=user_id,
            n_pairs=kept.n_pairs,
            weights=kept.weights.tolist(),
            gaps=None if history is None else history.gaps.tolist(),
            said=None if history is None else {name: column.tolist() for name, column in history.said.items()},
            shift=None if moved is None else moved[0].tolist(),
            asked=[key.hex() for key in keys_of(kept.asked)],
        )

    @app.delete("/users/{user_id}", status_code=204, responses=documented(404, 422, 503))
    def forget(user_id: UserId) -> None:
        """Forget the user: when the answer is 204, no file holds the id, the weights or the choices.

        While something reads the database, copies are left. The answer is then 503: the user has no weights any more,
        and the same call, made again, wipes the copies.
        """
        users.forget(user_id)


def add_health(app: FastAPI, users: Users) -> None:
    """What is served."""

    @app.get("/health", responses=documented(503))
    def health() -> Health:
        """What is served."""
        return Health(**{**users.scorer.config, "kind": users.scorer.kind, "n_users": len(users.store)})


def _asked(question: Question) -> AskedPair:
    sides = {side: _plain(getattr(question, side)) for side in ("response_a", "response_b")}
    return AskedPair(**{**question._asdict(), **sides})


def _explained(explanation: Explanation) -> dict[str, Any]:
    """As JSON has it, which knows no NaN."""
    said = {"text": repr(explanation), "headline": explanation.headline, **asdict(explanation)}
    for name in ("effects", "gains", "losses"):
        said[name] = [{key: None if value != value else value for key, value in row.items()} for row in said[name]]
    return said


def _plain(response: Any) -> Any:
    return response.tolist() if isinstance(response, np.ndarray) else response


@contextmanager
def _refused(code: str) -> Iterator[None]:
    """What the scorer cannot do, in the one form of all refusals."""
    try:
        yield
    except EpisodeError:
        raise
    except ValueError as error:
        raise ServiceError(422, code, str(error)) from error

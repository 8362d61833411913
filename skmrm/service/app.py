"""One shared graph and a table of users' weights as an HTTP service, without torch and scikit-learn."""

# No `from __future__ import annotations` here: FastAPI has to see the types of what a function defines.
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Path, Query

from skmrm.episodes.history import History
from skmrm.episodes.questions import Question
from skmrm.exceptions import EpisodeError
from skmrm.explanation import Explanation
from skmrm.service.bodies import JsonRoute
from skmrm.service.errors import ServiceError, StartError, documented, handle_errors
from skmrm.service.limits import Limits, RequestLimits
from skmrm.service.schemas import (
    Adapted,
    AskedPair,
    Explained,
    Health,
    ListedUser,
    Questions,
    Ranking,
    Scores,
    UserData,
    UserList,
    feature_forms,
    text_forms,
)
from skmrm.service.store import Kept, WeightStore
from skmrm.serving import OnnxScorer

_SAFE_ID = r"^[A-Za-z0-9][A-Za-z0-9._@-]*$"
_DEFAULT = Limits()

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


def create_app(bundle: Any, database: str | os.PathLike[str], limits: Limits = _DEFAULT) -> FastAPI:
    """Make the service.

    Parameters
    ----------
    bundle : str or path
        Folder that ``export_onnx`` of a model wrote.
    database : str or path
        SQLite file of what users said and of their weights; made if it is not there.
    limits : Limits, default=Limits()
        How large requests may be, and how many are worked on at once.

    Returns
    -------
    fastapi.FastAPI
        The application, for any ASGI server.

    Raises
    ------
    ModelFileError, StartError
        If the bundle or the database cannot be served.
    """
    scorer = _open(bundle)  # one for all threads
    store = WeightStore(database, fingerprint(scorer.config), scorer.n_bases)
    forms = text_forms(limits) if scorer.kind == "text" else feature_forms(limits, scorer.n_features)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(title="Personal rewards", description=__doc__.split("\n")[0], lifespan=lifespan)
    app.router.route_class = JsonRoute
    app.add_middleware(RequestLimits, limits=limits)
    handle_errors(app, forms.wrong_kind)

    UserId = Annotated[str, Path(pattern=_SAFE_ID, max_length=limits.id_characters, examples=["ann"])]

    def rewards_for(user_id: str, items: Any, on_unknown: str) -> tuple[np.ndarray, bool]:
        weights = store.get(user_id)
        if weights is None and on_unknown == "error":
            raise _unknown(user_id)
        return scorer.predict(items, weights=weights), weights is not None

    def history_for(user_id: str, on_unknown: str, half_life: float | None) -> History | None:
        kept = store.kept(user_id)
        if kept is None and on_unknown == "error":
            raise _unknown(user_id)
        return None if kept is None else _history(user_id, kept, scorer.n_bases).fading(half_life)

    # Plain functions run in threads, as work on a CPU should.
    @app.post("/users/{user_id}/adapt", responses=documented(400, 413, 422, 503))
    def adapt(user_id: UserId, body: forms.adapt, half_life: HalfLife = None) -> Adapted:  # type: ignore[name-defined]
        """Learn a user's taste from pairs of a chosen and a rejected response, and from ratings of single ones.

        Send all pairs of the user and all ratings: the weights are replaced by what these say, and what was said before
        no longer counts. Texts are not kept; a few numbers a choice are, for update.
        """
        history = scorer.history(body.read())
        kept = _adapted(scorer, history, half_life)
        store.put(user_id, *kept)
        return Adapted(user_id=user_id, n_pairs=kept.n_pairs, n_bases=scorer.n_bases)

    @app.post("/users/{user_id}/update", responses=documented(400, 409, 413, 422, 503))
    def update(user_id: UserId, body: forms.adapt, half_life: HalfLife = None) -> Adapted:  # type: ignore[name-defined]
        """Learn from more pairs and ratings: the same as adapting on all of them, the earlier ones included.

        Of a user whom nobody adapted these are the first. `half_life` is not remembered: pass it each time.
        """
        new = scorer.history(body.read())  # what takes time, before anybody has to wait for it

        def change(kept: Kept | None) -> Kept:
            history = new if kept is None else _history(user_id, kept, scorer.n_bases).joined(new)
            if len(history.gaps) > limits.kept:
                message = (
                    f"of a user {limits.kept} pairs and ratings are kept at most, these would be "
                    f"{len(history.gaps)}: adapt with those that still count"
                )
                raise ServiceError(409, "too_many_choices", message)
            return _adapted(scorer, history, half_life)

        return Adapted(user_id=user_id, n_pairs=store.change(user_id, change).n_pairs, n_bases=scorer.n_bases)

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
        history = history_for(user_id, on_unknown, half_life)
        candidates, context = body.read()
        with _refused("cannot_ask"):
            found = scorer.suggest_pairs(candidates, body.n, context, earlier=history)
        n_pairs = 0 if history is None else len(history.gaps)
        return Questions(questions=[_asked(one) for one in found], n_pairs=n_pairs, known_user=history is not None)

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

    def told(history: History | None, items: Any, n: int, level: float) -> Explained:
        with _refused("cannot_explain"):
            found = scorer.explain(items, n, earlier=history, level=level)
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
        return told(history_for(user_id, on_unknown, half_life), None, n, level)

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
        return told(history_for(user_id, on_unknown, half_life), body.read(), n, level)

    @app.get("/users", responses=documented(422, 503))
    def users(
        limit: Annotated[int, Query(ge=1, le=limits.users, description="Users on a page")] = min(100, limits.users),
        after: Annotated[
            str | None,
            Query(pattern=_SAFE_ID, max_length=limits.id_characters, description="The id that the page comes after"),
        ] = None,
    ) -> UserList:
        """Ids of all users and their numbers of choices, a page at a time."""
        found = store.users(limit + 1, after or "")
        listed = [ListedUser(user_id=user_id, n_pairs=n_pairs) for user_id, n_pairs in found[:limit]]
        return UserList(users=listed, after=listed[-1].user_id if len(found) > limit else None)

    @app.get("/users/{user_id}", responses=documented(404, 422, 503))
    def export(user_id: UserId) -> UserData:
        """All that is kept of a user, for whoever asks for their data."""
        kept = store.kept(user_id)
        if kept is None:
            raise _unknown(user_id)
        gaps, said = None, None
        if kept.history is not None:
            history = History.from_bytes(kept.history, scorer.n_bases)
            gaps, said = history.gaps.tolist(), {name: column.tolist() for name, column in history.said.items()}
        weights = kept.weights.tolist()
        return UserData(user_id=user_id, n_pairs=kept.n_pairs, weights=weights, gaps=gaps, said=said)

    @app.delete("/users/{user_id}", status_code=204, responses=documented(404, 422, 503))
    def forget(user_id: UserId) -> None:
        """Forget the user: when the answer is 204, no file holds the id, the weights or the choices.

        While something reads the database, copies are left. The answer is then 503: the user has no weights any more,
        and the same call, made again, wipes the copies.
        """
        if not store.forget(user_id):
            raise _unknown(user_id)

    @app.get("/health", responses=documented(503))
    def health() -> Health:
        """What is served."""
        return Health(**{**scorer.config, "kind": scorer.kind, "n_users": len(store)})

    return app


def fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 of what makes a bundle's rewards; two exports of one model have the same."""
    facts = [config["encoder"], {name: file["sha256"] for name, file in config["files"].items()}]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def from_environment() -> FastAPI:
    """The service of $SCORER_BUNDLE and $SCORER_DATABASE: what uvicorn needs to start several workers."""
    return create_app(os.environ["SCORER_BUNDLE"], os.environ["SCORER_DATABASE"])


def _open(bundle: Any) -> OnnxScorer:
    scorer = OnnxScorer(bundle)
    try:
        scorer.adapt([])
    except TypeError as error:
        raise StartError(f"the service adapts users, and {error}") from error
    return scorer


def _adapted(scorer: OnnxScorer, history: History, half_life: float | None) -> Kept:
    """What to keep of a user who said this."""
    return Kept(scorer.adapt([], earlier=history, half_life=half_life), len(history.gaps), history.to_bytes())


def _history(user_id: str, kept: Kept, n_bases: int) -> History:
    if kept.history is None:
        message = f"earlier choices of {user_id!r} were not kept by the version that adapted the user: adapt again"
        raise ServiceError(409, "choices_not_kept", message)
    return History.from_bytes(kept.history, n_bases)


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


def _unknown(user_id: str) -> ServiceError:
    return ServiceError(404, "unknown_user", f"nobody is known as {user_id!r}: adapt the user first")

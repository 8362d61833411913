"""One shared graph and a table of users' weights as an HTTP service, without torch and scikit-learn.

python examples/serve_scorers/app.py --bundle scorer --database users.sqlite
"""

# No `from __future__ import annotations` here: FastAPI has to see the types of what a function defines.
import argparse
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import numpy as np
import uvicorn
from bodies import JsonRoute
from errors import ServiceError, StartError, documented, handle_errors
from fastapi import FastAPI, Path, Query
from limits import Limits, RequestLimits
from schemas import Adapted, Health, Ranking, Scores, feature_forms, text_forms
from store import WeightStore

from skmrm.exceptions import ModelFileError
from skmrm.serving import OnnxScorer

_SAFE_ID = r"^[A-Za-z0-9][A-Za-z0-9._@-]*$"
_DEFAULT = Limits()

OnUnknown = Annotated[
    Literal["prior", "error"],
    Query(description="Of a user without weights: the rewards of a user without choices, or 404"),
]


def create_app(bundle: Any, database: str | os.PathLike[str], limits: Limits = _DEFAULT) -> FastAPI:
    """The service; raises ModelFileError or StartError where the bundle or the database cannot be served."""
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

    # Plain functions run in threads, as work on a CPU should.
    @app.post("/users/{user_id}/adapt", responses=documented(400, 413, 422, 503))
    def adapt(user_id: UserId, body: forms.adapt) -> Adapted:
        """Learn a user's taste from pairs of a chosen and a rejected response, and from ratings of single ones.

        Send all pairs of the user and all ratings each time: the weights are replaced by what these say, since weights
        of two sets cannot be added. Nothing of it is kept.
        """
        pairs = body.read()
        store.put(user_id, scorer.adapt(pairs), len(pairs))
        return Adapted(user_id=user_id, n_pairs=len(pairs), n_bases=scorer.n_bases)

    @app.post("/users/{user_id}/score", responses=documented(400, 404, 413, 422, 503))
    def score(user_id: UserId, body: forms.score, on_unknown: OnUnknown = "prior") -> Scores:
        """Rewards of responses under the user's taste."""
        rewards, known = rewards_for(user_id, body.read(), on_unknown)
        return Scores(rewards=rewards.tolist(), known_user=known)

    @app.post("/users/{user_id}/rank", responses=documented(400, 404, 413, 422, 503))
    def rank(user_id: UserId, body: forms.rank, on_unknown: OnUnknown = "prior") -> Ranking:
        """Order responses to a prompt under the user's taste, best first."""
        rewards, known = rewards_for(user_id, body.read(), on_unknown)
        order = np.argsort(-rewards, kind="stable")
        return Ranking(order=order.tolist(), rewards=rewards.tolist(), known_user=known)

    @app.delete("/users/{user_id}", status_code=204, responses=documented(404, 422, 503))
    def forget(user_id: UserId) -> None:
        """Forget the user: when the answer is 204, no file holds the id or the weights.

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", required=True, help="folder that MetaRewardModel.export_onnx wrote")
    parser.add_argument("--database", required=True, help="SQLite file of users' weights; made if it is not there")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        app = create_app(options.bundle, options.database)
    except (ModelFileError, StartError) as error:
        sys.exit(f"cannot serve: {error}")
    uvicorn.run(app, host=options.host, port=options.port, access_log=False)  # its lines would hold users' ids


def _open(bundle: Any) -> OnnxScorer:
    scorer = OnnxScorer(bundle)
    try:
        scorer.adapt([])
    except TypeError as error:
        raise StartError(f"the service adapts users, and {error}") from error
    return scorer


def _unknown(user_id: str) -> ServiceError:
    return ServiceError(404, "unknown_user", f"nobody is known as {user_id!r}: adapt the user first")


if __name__ == "__main__":
    main()

"""One shared graph and a table of users' weights as an HTTP service, without torch and scikit-learn."""

import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from skmrm.service import routes
from skmrm.service.bodies import JsonRoute
from skmrm.service.errors import StartError, handle_errors
from skmrm.service.limits import Limits, RequestLimits
from skmrm.service.schemas import feature_forms, text_forms
from skmrm.service.store import WeightStore
from skmrm.service.users import Users
from skmrm.serving import OnnxScorer

__all__ = ["create_app", "fingerprint", "from_environment"]

_DEFAULT = Limits()


def create_app(bundle: Any, database: str | os.PathLike[str], limits: Limits = _DEFAULT) -> FastAPI:
    """The service of one model and its users, an ASGI application.

    Parameters
    ----------
    bundle : path, mapping of str to bytes, or bytes
        What ``MetaRewardModel.export_onnx`` wrote, as :class:`skmrm.serving.OnnxScorer` takes it.
    database : path
        SQLite file of what is learnt of users; made if it is not there.
    limits : Limits
        How large requests may be, how many are computed at once, and how much is kept of a user.

    Returns
    -------
    fastapi.FastAPI

    Raises
    ------
    ModelFileError, StartError
        Where the bundle or the database cannot be served; both are a ValueError.
    """
    scorer = _open(bundle)
    store = WeightStore(database, fingerprint(scorer.config), scorer.n_bases)
    users = Users(scorer, store, limits.kept)
    forms = text_forms(limits) if scorer.kind == "text" else feature_forms(limits, scorer.n_features)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(title="Personal rewards", description=__doc__, lifespan=lifespan)
    app.router.route_class = JsonRoute
    app.add_middleware(RequestLimits, limits=limits)
    handle_errors(app, forms.wrong_kind)
    for add in (routes.add_learning, routes.add_asking, routes.add_scoring, routes.add_explaining):
        add(app, users, forms, limits)
    routes.add_listing(app, users, limits)
    routes.add_health(app, users)
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

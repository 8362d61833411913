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
from skmrm.service.labelling import add_labelling
from skmrm.service.limits import Limits, RequestLimits
from skmrm.service.pool import Pool, read_pool
from skmrm.service.schemas import feature_forms, text_forms
from skmrm.service.store import WeightStore
from skmrm.service.users import Users
from skmrm.serving import OnnxScorer

__all__ = ["create_app", "fingerprint", "from_environment"]

_DEFAULT = Limits()


def create_app(
    bundle: Any, database: str | os.PathLike[str], limits: Limits = _DEFAULT, pool: str | os.PathLike[str] | None = None
) -> FastAPI:
    """The service of one model and its users, an ASGI application.

    Parameters
    ----------
    bundle : path, mapping of str to bytes, or bytes
        What ``MetaRewardModel.export_onnx`` wrote, as :class:`skmrm.serving.OnnxScorer` takes it.
    database : path
        SQLite file of what is learnt of users; made if it is not there.
    limits : Limits, default=Limits()
        How large requests may be, how many are computed at once, and how much is kept of a user.
    pool : path, optional
        File of JSON lines, ``{"prompt": "...", "responses": ["...", "..."]}`` each, that the page at ``/label`` asks
        users to compare; it is read and encoded once. None is a service without the page.

    Returns
    -------
    fastapi.FastAPI

    Raises
    ------
    ModelFileError, StartError
        Where the bundle, the database or the pool cannot be served; both are a ValueError.
    """
    items = None if pool is None else read_pool(pool, limits.characters)
    scorer = _open(bundle)
    asked = None if items is None else Pool.of(items, scorer)
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
    if asked is not None:
        add_labelling(app, users, asked, limits)
    return app


def fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 of what makes a bundle's rewards; two exports of one model have the same."""
    facts = [config["encoder"], {name: file["sha256"] for name, file in config["files"].items()}]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def from_environment() -> FastAPI:
    """The service of $SCORER_BUNDLE, $SCORER_DATABASE and perhaps $SCORER_POOL: for uvicorn with several workers."""
    return create_app(os.environ["SCORER_BUNDLE"], os.environ["SCORER_DATABASE"], pool=os.environ.get("SCORER_POOL"))


def _open(bundle: Any) -> OnnxScorer:
    scorer = OnnxScorer(bundle)
    try:
        scorer.adapt([])
    except TypeError as error:
        raise StartError(f"the service adapts users, and {error}") from error
    return scorer

"""One form for every refusal: {"error": {"code", "message", "problems"}}."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from skmrm.exceptions import EpisodeError

_MOST_PROBLEMS = 20
_MEANING = {
    400: "`bad_request`: the body cannot be read.",
    404: "`unknown_user`: nobody of this id has been adapted, or was forgotten. `unknown_question`: the pool of the "
    "labelling page has no such comparison.",
    409: "`choices_not_kept`: the user was adapted by a version that did not keep choices; adapt again. "
    "`too_many_choices`: more would be kept of the user than may be; adapt with those that still count.",
    413: "`body_too_large`: the body has more bytes than a request may have.",
    422: "`invalid_request`: a rule or limit is broken. `unusable_pairs`: a rule of adapting is. `wrong_input_kind`: "
    "texts where the bundle takes feature vectors, or the other way round. `cannot_ask`: the bundle's model defines no "
    "posterior. `cannot_explain`: nothing to explain by; the message says what. `cannot_tie`: nobody tied in fit, so "
    "that a tie would say nothing. `cannot_use_features`: the bundle's model knows no features of users.",
    503: "`overloaded`: as much is being computed as may be. `busy`: others are writing to the database. "
    "`not_yet_forgotten`: copies of a deleted user are left. The header Retry-After says when to try again.",
}


class StartError(ValueError):
    """A bundle or database that cannot be served."""


class ErrorDetail(BaseModel):
    """What was refused, and why."""

    code: str = Field(description="For programs", examples=["invalid_request"])
    message: str = Field(description="For people: the rule, what came, the remedy")
    problems: list[str] = Field(description=f"Single mistakes, the first {_MOST_PROBLEMS}; empty where there is one")


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


class ServiceError(Exception):
    """A request that is refused; `retry_after` are the seconds after which the same one may do."""

    def __init__(
        self, status: int, code: str, message: str, problems: tuple[str, ...] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.body = ErrorBody(error=ErrorDetail(code=code, message=message, problems=list(problems[:_MOST_PROBLEMS])))


def error_response(error: ServiceError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that tells an error."""
    return JSONResponse(error.body.model_dump(), error.status, {**error.headers, **(headers or {})})


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These refusals, for /openapi.json."""
    return {status: {"model": ErrorBody, "description": _MEANING[status]} for status in statuses}


def handle_errors(app: FastAPI, wrong_kind: Callable[[Any], str | None]) -> None:
    """Bring whatever FastAPI, the schemas and the scorer refuse into the one form.

    `wrong_kind` says of a body that breaks the schema whether it is of the other kind of bundle.
    """

    @app.exception_handler(ServiceError)
    def refused(request: Request, error: ServiceError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(EpisodeError)
    def unusable_pairs(request: Request, error: EpisodeError) -> JSONResponse:
        return error_response(ServiceError(422, "unusable_pairs", str(error), error.problems))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Where and what, never the input: it is somebody's text, and may be long.
        problems = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        code, message = "invalid_request", "; ".join(problems[:3])
        if isinstance(error.body, bytes):
            message = "the body was not read: send JSON, with the header Content-Type: application/json"
        elif other := wrong_kind(error.body):
            code, message = "wrong_input_kind", other
        return error_response(ServiceError(422, code, message, problems))

    @app.exception_handler(HTTPException)
    def standard(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        return error_response(ServiceError(error.status_code, code, str(error.detail)), error.headers)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> JSONResponse:
        return error_response(ServiceError(500, "internal_server_error", "the service failed; its log says how"))

"""What a request may be at most, and all of them together: refusals before anything reads a body."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skmrm.service.errors import ServiceError, error_response


@dataclass(frozen=True)
class Limits:
    """Largest requests; all but `kept` and the last three are part of the schemas, and so of /openapi.json.

    Parameters
    ----------
    pairs : int, default=200
        Pairs, and ratings, of one adapt or update.
    items : int, default=200
        Responses of one score, rank, question or explain.
    questions : int, default=20
        Comparisons in one answer.
    users : int, default=1000
        Users on one page of the list.
    kept : int, default=2000
        Pairs and ratings of one user, all updates together: others wait while they are learnt from.
    characters : int, default=20000
        Of one text; what a text costs goes by its characters, whatever they are.
    id_characters : int, default=128
        Of an id of a user.
    body_bytes : int, default=8388608
        Of one request.
    requests_at_once : int, default=32
        Fewer than the 40 threads that compute, so that none waits for a thread.
    bytes_at_once : int, default=16777216
        Of their bodies together, a few seconds' work.
    """

    pairs: int = 200
    items: int = 200
    questions: int = 20
    users: int = 1000
    kept: int = 2_000
    characters: int = 20_000
    id_characters: int = 128
    body_bytes: int = 8 << 20
    requests_at_once: int = 32
    bytes_at_once: int = 16 << 20


class RequestLimits:
    """ASGI middleware: 413 for a body that says it is too large, or turns out to be; 503 while too much is at work."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self._bodies: list[int] = []  # bytes of those that are at work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on with its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is None:
            message = (
                f"a body has at most {self.limits.body_bytes} bytes, this one has more: send fewer or shorter texts"
            )
            refusal = error_response(ServiceError(413, "body_too_large", message), {"connection": "close"})
            await refusal(scope, receive, send)
            return
        if self._is_too_much(len(body)):
            message = f"{len(self._bodies)} requests are being computed, as many or as large as may be: try again"
            await error_response(ServiceError(503, "overloaded", message, retry_after=1))(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        self._bodies.append(len(body))
        try:
            await self.app(scope, replay, send)
        finally:
            self._bodies.remove(len(body))

    def _is_too_much(self, n_bytes: int) -> bool:
        """Whether one more request would be: one alone never is."""
        return len(self._bodies) >= self.limits.requests_at_once or (
            any(self._bodies) and sum(self._bodies) + n_bytes > self.limits.bytes_at_once
        )

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None if it is too large, or if the client has gone, who reads no answer."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.limits.body_bytes:
            return None
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.disconnect" or len(body) > self.limits.body_bytes:
                return None
            more = message.get("more_body", False)
        return bytes(body)

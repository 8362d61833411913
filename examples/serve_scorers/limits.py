"""What a request may be at most, and the refusal of bodies that are more before anything reads them."""

from dataclasses import dataclass

from errors import ServiceError, error_response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Limits:
    """Largest requests; all but `body_bytes` are part of the schemas, and so of /openapi.json."""

    pairs: int = 200  # of one adapt
    items: int = 200  # of one score or rank
    characters: int = 20_000  # of one text
    id_characters: int = 128
    body_bytes: int = 8 << 20


class BodyLimit:
    """ASGI middleware: 413 for a body that says it is too large, or turns out to be."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is None:
            message = f"a body has at most {self.max_bytes} bytes, this one has more: send fewer or shorter texts"
            refusal = error_response(ServiceError(413, "body_too_large", message), {"connection": "close"})
            await refusal(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None if it is too large, or if the client has gone, who reads no answer."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.max_bytes:
            return None
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.disconnect" or len(body) > self.max_bytes:
                return None
            more = message.get("more_body", False)
        return bytes(body)

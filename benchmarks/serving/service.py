"""The example service on loopback, for as long as it is needed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["running_service"]

_APP = Path(__file__).resolve().parents[2] / "examples" / "serve_scorers" / "app.py"
_PATIENCE = 60.0  # seconds


@contextmanager
def running_service(bundle: Path, database: Path) -> Iterator[Callable[[str, bytes], Any]]:
    """Start the service; gives what posts JSON to it and returns the answer."""
    import httpx

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--bundle", str(bundle), "--database", str(database), "--port", str(port)]
    process = subprocess.Popen([sys.executable, str(_APP), *arguments], stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _wait_for(client, process)

            def post(path: str, body: bytes) -> Any:
                headers = {"content-type": "application/json"}
                return client.post(path, content=body, headers=headers).raise_for_status().json()

            yield post
    finally:
        process.terminate()
        process.wait()


def _wait_for(client: Any, process: subprocess.Popen[bytes]) -> None:
    import httpx

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError):
            client.get("/health").raise_for_status()
            return
        time.sleep(0.02)
    raise RuntimeError(f"the service did not start (exit status {process.poll()})")

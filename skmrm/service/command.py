"""The command that starts the service; `add_arguments` and `run` need none of the libraries that serving does."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["add_arguments", "main", "run"]


def add_arguments(parser: argparse.ArgumentParser, bundle: str = "--bundle") -> None:
    """Declare what :func:`run` takes.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    bundle : {"--bundle", "bundle"}
        Whether the bundle is an option, or stands by itself.
    """
    needed: dict[str, Any] = {"required": True} if bundle.startswith("-") else {}
    parser.add_argument(bundle, metavar="BUNDLE", help="the folder that export_onnx of a model wrote", **needed)
    parser.add_argument(
        "--database", required=True, metavar="FILE", help="SQLite file of what is learnt of users; made if not there"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--label", action="store_true", help="also a page on which users compare responses; needs --pool"
    )
    parser.add_argument(
        "--pool",
        metavar="FILE",
        help='what the page asks about: lines of {"prompt": "...", "responses": ["...", "..."]}',
    )


def run(arguments: argparse.Namespace) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    arguments : argparse.Namespace
        What a parser with :func:`add_arguments` read.

    Raises
    ------
    ImportError
        If what serving needs is not installed (``pip install 'skmrm[serve]'``).
    ValueError
        If the bundle, the database or the pool cannot be served (ModelFileError, StartError).
    """
    if arguments.label != (arguments.pool is not None):
        missing = "--pool FILE, which has what to ask about" if arguments.label else "--label, whose page asks about it"
        raise ValueError(f"--label and --pool go together: add {missing}")
    create_app, uvicorn = _libraries()
    if arguments.label:
        print(f"encoding the responses of {arguments.pool}", file=sys.stderr)
    app = create_app(arguments.bundle, arguments.database, pool=arguments.pool)
    if arguments.label:
        print(f"label at http://{arguments.host}:{arguments.port}/label", file=sys.stderr)
    uvicorn.run(app, host=arguments.host, port=arguments.port, access_log=False)  # its lines would hold users' ids


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a command line, and serve; a SystemExit says in words what cannot be served."""
    parser = argparse.ArgumentParser(
        prog="python -m skmrm.service", description="Serve an exported model over HTTP, and learn from its users."
    )
    add_arguments(parser)
    try:
        run(parser.parse_args(arguments))
    except (ImportError, ValueError) as error:
        sys.exit(f"cannot serve: {error}")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a whole number from 0 to 65535, got {text}")
    return int(text)


def _libraries() -> tuple[Any, Any]:
    """`create_app`, and uvicorn."""
    try:
        import uvicorn

        from skmrm.service.app import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("skmrm"):
            raise
        raise ImportError(
            f"the service needs {error.name}, which is not installed: pip install 'skmrm[serve]'"
        ) from error
    return create_app, uvicorn

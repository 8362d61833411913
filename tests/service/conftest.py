"""The service in a process of its own, where the heavy libraries cannot be imported, and models for it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import skmrm
from skmrm import MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences

ROOT = Path(skmrm.__file__).parents[1]
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="session")
def known_and_new():
    return split_users(load_style_preferences(n_users=48, random_state=0).episodes, random_state=0)


@pytest.fixture(scope="session")
def text_model(known_and_new):
    return MetaRewardModel(n_bases=4, max_epochs=1, random_state=0, device="cpu").fit(known_and_new[0])


@pytest.fixture(scope="session")
def environment_without(tmp_path_factory):
    """A function that makes a place in which libraries cannot be imported."""

    def make(*names):
        folder = tmp_path_factory.mktemp("blocked")
        (folder / "sitecustomize.py").write_text(BLOCKER.replace("BLOCKED", repr(set(names))))
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}

    return make


@pytest.fixture(scope="session")
def environment(environment_without):
    return environment_without("torch", "sklearn", "transformers", "scipy")


@pytest.fixture(scope="session")
def running(environment):
    """A function that starts a service by a command line of Python, for as long as the context that it gives lasts."""
    import httpx

    @contextmanager
    def start(arguments_for, variables=None, port=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = port or free.getsockname()[1]
        command, variables = [sys.executable, *arguments_for(port)], environment | (variables or {})
        with (
            tempfile.TemporaryFile("w+") as log,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=None, trust_env=False) as client,
        ):
            process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
            try:
                wait_for(client, process)
                yield client, process
            finally:
                process.terminate()
                process.wait()
                log.seek(0)
                printed = log.read()
        assert "Application startup complete" in printed
        assert "/users/" not in printed  # ids of users are in the paths
        assert "Traceback" not in printed

    return start


@pytest.fixture(scope="session")
def serving(running):
    """As `running`, of a bundle and a database; it is killed in the end, as a machine that fails would end it."""

    @contextmanager
    def start(bundle, database, limits=None, pool=None, port=None):
        asked = ["--label", "--pool", str(pool)] if pool else []
        given = ["-m", "skmrm.service", "--bundle", str(bundle), "--database", str(database), *asked]
        code = f"""
import uvicorn
from skmrm.service import Limits, create_app
uvicorn.run(create_app({str(bundle)!r}, {str(database)!r}, {limits}), port=PORT, access_log=False)
"""

        def arguments(port):
            return ["-c", code.replace("PORT", str(port))] if limits else [*given, "--port", str(port)]

        with running(arguments, port=port) as (client, process):
            yield client
            assert process.poll() is None
            process.kill()

    return start


def wait_for(client, process):
    import httpx

    while process.poll() is None:  # however slow the machine is
        with suppress(httpx.TransportError):
            client.get("/health").raise_for_status()
            return
        time.sleep(0.05)
    pytest.fail(f"the service did not start (exit status {process.poll()})")

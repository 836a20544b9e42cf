"""A Milvus server for tests, from PyPI's package ``milvus``: it needs packages of its own, so install it elsewhere.

python -m venv /tmp/milvus-venv && /tmp/milvus-venv/bin/pip install "milvus<2.4"
CCAFL_MILVUS_SERVER=/tmp/milvus-venv/bin/milvus-server make test
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_STARTING = 180  # seconds
_PARTS = ("root-coord", "query-coord", "query-node", "index-coord", "index-node", "data-coord", "data-node")
_PORTS = ("proxy", "proxy-internal", "etcd", *_PARTS)


def server_program() -> str | None:
    """The server's program: CCAFL_MILVUS_SERVER, or ``milvus-server`` on the PATH."""
    return os.environ.get("CCAFL_MILVUS_SERVER") or shutil.which("milvus-server")


@contextmanager
def running_server(program: str, folder: Path) -> Iterator[str]:
    """Run the server with its data in the folder; gives its address once it answers."""
    with ExitStack() as taken:  # all ports are free, so that several servers can run
        free = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _PORTS]
        ports = dict(zip(_PORTS, (listener.getsockname()[1] for listener in free), strict=True))
    options = [part for name, port in ports.items() for part in (f"--{name}-port", str(port))]
    command = [program, "--data", folder / "data", *options]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{ports['proxy']}"
    try:
        until = time.monotonic() + _STARTING
        while not _answers(address):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(1)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(address: str) -> bool:
    from pymilvus import MilvusClient, MilvusException

    try:
        client = MilvusClient(address, timeout=2)
        client.list_collections()
        client.close()
    except MilvusException:
        return False
    return True

"""What ``ccafl serve`` and ``ccafl label`` do; `ccafl.cli` only calls them."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ccafl.errors import InputError
from ccafl.files import check_suffix, lock
from ccafl.gallery.commands import model_of, say_if_drawn, say_if_uncalibrated
from ccafl.gallery.gallery import Gallery
from ccafl.packages import require
from ccafl.terminal import note
from ccafl.words import counted


def serve(
    db: Path,
    *,
    model: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    milvus_uri: str | None = None,
    token_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    milvus_token: str | None = None,
) -> None:
    """Serve a gallery over HTTP until stopped.

    Args:
        db: the gallery's folder.
        model: where the gallery's model is, if it has moved.
        host: name or address to listen on.
        port: to listen on.
        token: that every client must send, as it was given on the command line.
        token_file: holds it instead; without either, the environment's CCAFL_TOKEN counts.
        certificate: PEM file for TLS, with the chain.
        key: its private key, if that is in a file of its own.
        milvus_uri: of the gallery's Milvus server, which a token needs.
        milvus_token: for a Milvus server that requires one.

    Raises:
        InputError: no such gallery, its model cannot be used, or what `ccafl.service.server.serve` refuses.
    """
    require("search", "fastapi", "uvicorn", "python_multipart", "prometheus_client", what="the service")
    from ccafl.service.limits import ServiceSettings
    from ccafl.service.server import serve as run_server

    secret = _secret(token, token_file)
    settings = ServiceSettings(host=host, port=port, token=secret, certificate=certificate, key=key)
    with Gallery.open(db, uri=milvus_uri, token=milvus_token) as gallery:
        encoder = model_of(gallery, model)
        say_if_drawn(gallery, encoder)
        say_if_uncalibrated(gallery)
        run_server(gallery, encoder, settings)


def label(
    site: Path,
    *,
    cameras: Sequence[str] = (),
    encoder: str = "clip-synth",
    links: Path | None = None,
    kind: str | None = None,
    outside: bool = False,
    port: int = 8010,
) -> None:
    """Ask on a page of this machine which tracks of a camera are one person, until stopped.

    Args:
        site: a folder made by ``ccafl ingest``, or a manifest whose labels are tracks.
        cameras: which to ask about; all, one after another, if none is given.
        encoder: a run's folder, an exported ONNX file, or an architecture with weights; compares the tracks.
        links: table of the answers; ``links.csv`` in the folder if not given.
        kind: of data source; recognised by default.
        outside: let a manifest name pictures outside of its folder.
        port: to listen on; 0 for any free one.

    Raises:
        InputError: something given cannot be used, the labels are no tracks, or another process has the table.
    """
    require("search", "fastapi", "uvicorn", "python_multipart", "prometheus_client", what="the page")
    from ccafl.data.links import links_beside
    from ccafl.labelling.opening import open_session
    from ccafl.service.labelling import create_labelling_app
    from ccafl.service.limits import ServiceSettings
    from ccafl.service.metrics import Metrics
    from ccafl.service.server import run_app

    table = links or links_beside(site)
    check_suffix(table, (".csv",), "the answers")
    settings = ServiceSettings(host="127.0.0.1", port=port)
    with lock(table.parent / f".{table.name}.lock"):
        session = open_session(site, table, cameras=cameras, encoder=encoder, kind=kind, outside=outside)
        if doubtful := [f"{camera}/{track}" for camera, track in session.doubtful]:
            shows = "shows" if len(doubtful) == 1 else "show"
            note(
                f"{counted(len(doubtful), 'track')} probably {shows} two persons, one after the other; look at the "
                f"pictures, and remove those that do: {', '.join(doubtful)}"
            )
        metrics = Metrics()
        app = create_labelling_app(session, settings, metrics=metrics)
        run_app(lambda _: app, settings, metrics, lambda at: note(f"label at {at} (Ctrl-C to stop); answers: {table}"))


def _secret(token: str | None, file: Path | None) -> str | None:
    if token is not None and file is not None:
        raise InputError("--token and --token-file: give one of them")
    if token is not None:
        note("warning: every user of this machine can read --token in the list of processes; use --token-file")
        return token
    if file is None:
        return os.environ.get("CCAFL_TOKEN")
    try:
        secret = file.read_text("utf-8").strip()
        others = stat.S_IMODE(file.stat().st_mode) & 0o077
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{file}: cannot be read as a token ({reason}); give a text file of one line") from error
    if others:
        note(f"warning: other users of this machine can read {file}; chmod 600 it")
    return secret

"""What ``ccafl serve`` does; `ccafl.cli` only calls it."""

from pathlib import Path

from ccafl.gallery.commands import model_of
from ccafl.gallery.gallery import Gallery
from ccafl.packages import require


def serve(
    db: Path,
    *,
    model: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    milvus_uri: str | None = None,
    milvus_token: str | None = None,
) -> None:
    """Serve a gallery over HTTP until stopped.

    Args:
        db: the gallery's folder.
        model: where the gallery's model is, if it has moved.
        host: name or address to listen on.
        port: to listen on.
        token: that every client must send.
        milvus_uri: of the gallery's Milvus server, which a token needs.
        milvus_token: for a Milvus server that requires one.

    Raises:
        InputError: no such gallery, its model cannot be used, or what `ccafl.service.server.serve` refuses.
    """
    require("search", "fastapi", "uvicorn", "python_multipart", "prometheus_client", what="the service")
    from ccafl.service.limits import ServiceSettings
    from ccafl.service.server import serve as run_server

    settings = ServiceSettings(host=host, port=port, token=token)
    with Gallery.open(db, uri=milvus_uri, token=milvus_token) as gallery:
        run_server(gallery, model_of(gallery, model), settings)

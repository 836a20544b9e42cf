"""`python -m benchmarks.service`: how the HTTP service handles picture queries from many concurrent clients.

The gallery holds random unit vectors grouped into identities. The service runs in its own process, with an almost free
encoder unless a model is named. The clients run in another process and post pictures over persistent connections.
"""

import asyncio
import hashlib
import io
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from ccafl.encoders.encoder import Encoded, PictureEncoder, open_encoder
from ccafl.gallery.adding import thumbnail
from ccafl.gallery.entries import Entry
from ccafl.gallery.gallery import Gallery
from ccafl.service.limits import ServiceSettings
from ccafl.service.server import serve

DIM = 512  # of clip-synth's features
IDENTITY = 16  # pictures per identity
CAMERAS = 8
TOP = 10
PICTURES = 64  # distinct queries
LIMIT = 24  # hits per query
_BATCH = 2_000
_BLOCK = 100_000  # vectors compared at a time in float64
_BOUNDARY = "b0d7a5c1"


class Projection:
    """An almost free encoder: projects pictures onto random directions."""

    def __init__(self) -> None:
        self.fingerprint, self.name, self.runtime = hashlib.sha256(b"projection").hexdigest(), "projection", "numpy"
        self.place, self.dim, self.text_dim, self.describes = Path("/projection"), DIM, None, False
        self.camera_names: tuple[str, ...] = ()
        self.calibration, self.drawn, self.takes_cameras = None, False, False
        self._directions = np.random.default_rng(0).standard_normal((16 * 8 * 3, DIM)).astype(np.float32)

    def encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str] | None = None) -> Encoded:
        small = np.stack([np.asarray(picture.resize((8, 16)), np.float32) for picture in pictures])
        return Encoded(unit((small.reshape(len(pictures), -1) - 127.5) @ self._directions), None)

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class QueryTimes:
    """A query's seconds: in total, in its forward pass, and waiting for another query's forward pass."""

    latency: float
    model: float
    wait: float


def main(
    vectors: Annotated[int, typer.Option(help="Pictures in the gallery.")] = 100_000,
    clients: Annotated[int, typer.Option(help="Concurrent clients.")] = 16,
    seconds: Annotated[float, typer.Option(help="Duration of the measurement.")] = 20,
    filtered: Annotated[bool, typer.Option(help="Exclude a different camera from each query.")] = False,
    model: Annotated[Path | None, typer.Option(help="A run's folder or an exported ONNX file.")] = None,
    db: Annotated[Path | None, typer.Option(help="Keep the gallery here for later runs.")] = None,
    uri: Annotated[str | None, typer.Option(help="Of a running Milvus server, for the vectors.")] = None,
) -> None:
    """Measure the latency of picture queries, and their recall against exhaustive search."""
    with tempfile.TemporaryDirectory() as folder:
        row = measure(vectors, clients, seconds, filtered, model, db or Path(folder) / "gallery.db", uri)
    Console(stderr=True).print(
        f"{row['vectors']:,} vectors, {clients} clients, {row['encoder']}: {row['queries_a_second']:.0f} queries/s, "
        f"p50/p95/p99 {_joined(row['latency_ms'])} ms, beyond the forward pass {_joined(row['beyond_model_ms'])} ms, "
        f"recall@{TOP} {row['recall']:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    typer.echo(json.dumps(row))


def measure(
    vectors: int,
    clients: int,
    seconds: float,
    filtered: bool,
    model: Path | None,
    folder: Path,
    uri: str | None = None,
) -> dict[str, Any]:
    """Make a gallery, serve it, query it, and return the measurements."""
    encoder = _encoder(model)
    stored = unit(np.random.default_rng(1).standard_normal((vectors, encoder.dim), np.float32))
    begun, new = time.perf_counter(), not folder.exists()
    if new:
        _fill(folder, encoder, stored, uri)
    adding = time.perf_counter() - begun
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fresh = multiprocessing.get_context("spawn")
    service = fresh.Process(target=_serve, args=(folder, model, port))
    service.start()
    try:
        _wait(f"http://127.0.0.1:{port}/ready", service)
        pictures = _pictures()
        recall = _recall(port, encoder, pictures, stored)
        with fresh.Pool(1) as pool:
            before = _cpu(service.pid)
            answered = pool.apply(_query_all, (port, pictures, clients, seconds, filtered))
            used = _cpu(service.pid) - before
        memory = _peak_memory(service.pid)
    finally:
        service.terminate()
        service.join()
    latencies = [1000 * one.latency for one in answered]
    return {
        "vectors": vectors,
        "clients": clients,
        "encoder": f"{encoder.name}, {encoder.runtime}",
        "filtered": filtered,
        "queries": len(answered),
        "queries_a_second": len(answered) / seconds,
        "cpu_ms_a_query": round(1000 * used / len(answered), 2),
        "latency_ms": _percentiles(latencies),
        "beyond_model_ms": _percentiles([1000 * (one.latency - one.model) for one in answered]),
        "beyond_all_passes_ms": _percentiles([1000 * (one.latency - one.model - one.wait) for one in answered]),
        "model_ms": statistics.median(1000 * one.model for one in answered),
        "recall": recall,
        "adding_s": round(adding, 1) if new else None,
        "service_peak_gib": round(memory / 2**30, 2),
    }


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _encoder(model: Path | None) -> PictureEncoder:
    return Projection() if model is None else open_encoder(model)


def _fill(folder: Path, encoder: PictureEncoder, stored: NDArray[np.float32], uri: str | None) -> None:
    first, small = datetime(2026, 1, 1, tzinfo=UTC), thumbnail(Image.new("RGB", (64, 128)))
    with Gallery.create(folder, encoder, uri=uri) as gallery:
        for start in range(0, len(stored), _BATCH):
            numbers = range(start, min(start + _BATCH, len(stored)))
            entries = [
                Entry(_key(n), f"c{n % CAMERAS}", first + timedelta(seconds=n), f"{n}.jpg", f"p{n // IDENTITY}", "")
                for n in numbers
            ]
            rows = stored[start : start + _BATCH]
            text = None if encoder.text_dim is None else unit(np.ones((len(rows), encoder.text_dim), np.float32))
            gallery.put(entries, Encoded(rows, text), {entry.key: small for entry in entries})
        gallery.join({(f"c{n % CAMERAS}", f"p{n // IDENTITY}"): str(n // IDENTITY) for n in range(len(stored))})


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _serve(folder: Path, model: Path | None, port: int) -> None:
    serve(Gallery.open(folder), _encoder(model), ServiceSettings(port=port, rate=None))


def _wait(address: str, service: Any) -> None:
    while True:
        try:
            with urllib.request.urlopen(address):
                return
        except URLError:  # 503 until it is ready
            if not service.is_alive():
                raise
            time.sleep(0.1)


def _cpu(process: int) -> float:
    """CPU seconds used by a process; Linux only."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_memory(process: int) -> int:
    """The most memory that a process held at once, in bytes; Linux only."""
    return 1024 * int(Path(f"/proc/{process}/status").read_text("ascii").partition("VmHWM:")[2].split()[0])


def _pictures() -> list[bytes]:
    """JPEG files of smooth noise, as large as a person's picture."""
    rng, files = np.random.default_rng(2), []
    for _ in range(PICTURES):
        small = Image.fromarray(rng.integers(0, 256, (16, 8, 3), np.uint8))
        file = io.BytesIO()
        small.resize((128, 256), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def _recall(port: int, encoder: PictureEncoder, pictures: list[bytes], stored: NDArray[np.float32]) -> float:
    """Share of the nearest pictures by exhaustive cosine search that the service finds."""
    features = encoder.encode([Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]).features
    exact = features.astype(np.float64)
    scores = [exact @ stored[start : start + _BLOCK].astype(np.float64).T for start in range(0, len(stored), _BLOCK)]
    nearest = np.argsort(-np.hstack(scores), axis=1)[:, :TOP]

    async def found() -> list[set[str]]:
        async with _Connection(port) as connection:
            answers = [json.loads((await connection.post(_body(picture)))[1]) for picture in pictures]
        return [{hit["key"] for hit in answer["hits"][:TOP]} for answer in answers]

    pairs = zip(asyncio.run(found()), nearest, strict=True)
    return sum(len(keys & {_key(n) for n in right}) for keys, right in pairs) / nearest.size


def _query_all(port: int, pictures: list[bytes], clients: int, seconds: float, filtered: bool) -> list[QueryTimes]:
    """Each client posts a query, reads the answer, and repeats until the time is up."""

    async def client(number: int, until: float) -> list[QueryTimes]:
        answered: list[QueryTimes] = []
        async with _Connection(port) as connection:
            while (start := time.perf_counter()) < until:
                turn = number * 7 + len(answered)
                body = _body(pictures[turn % PICTURES], {"exclude_camera": f"c{turn % CAMERAS}"} if filtered else {})
                head, _ = await connection.post(body)
                latency = time.perf_counter() - start
                answered.append(QueryTimes(latency, _server_timing(head, "model"), _server_timing(head, "wait")))
        return answered

    async def all_clients() -> list[QueryTimes]:
        await asyncio.gather(*(client(number, time.perf_counter() + 1) for number in range(clients)))  # warm-up
        until = time.perf_counter() + seconds
        results = await asyncio.gather(*(client(n, until) for n in range(clients)))
        return [times for result in results for times in result]

    return asyncio.run(all_clients())


def _server_timing(head: str, part: str) -> float:
    """Seconds of one part of the Server-Timing header."""
    return float(head.partition(f"{part};dur=")[2].split(",")[0].split()[0]) / 1000


def _body(picture: bytes, fields: dict[str, str] | None = None) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"limit": str(LIMIT), **(fields or {})}.items()
    ]
    file = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'.encode()
    return b"".join([*parts, file, picture, f"\r\n--{_BOUNDARY}--\r\n".encode()])


class _Connection:
    """Minimal HTTP over one connection: the client must use little CPU, as it shares the cores with the service."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "_Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, body: bytes) -> tuple[str, bytes]:
        """Post a search and return the head and body of the response."""
        head = (
            f"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        content = await self._reader.readexactly(int(answer.lower().partition("content-length: ")[2].split()[0]))
        if " 200 " not in answer[:20]:
            raise RuntimeError(content.decode())
        return answer, content


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 2) for share in (50, 95, 99)}


def _joined(percentiles: dict[str, float]) -> str:
    return "/".join(f"{value:.0f}" for value in percentiles.values())


if __name__ == "__main__":
    typer.run(main)

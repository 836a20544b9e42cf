"""The service's metrics, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_PICTURES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Metrics of one service, in their own registry."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self.requests = Counter("ccafl_requests", "Requests answered", ["route", "status"], registry=own)
        self.seconds = Histogram("ccafl_request_seconds", "Time until a request was answered", ["route"], registry=own)
        self.batch = Histogram("ccafl_batch_pictures", "Pictures per forward pass", buckets=_PICTURES, registry=own)
        self.model = Histogram("ccafl_model_seconds", "Duration of a forward pass", registry=own)
        self.queue = Gauge("ccafl_queue_pictures", "Pictures of searches waiting or being answered", registry=own)
        self.uploads = Gauge("ccafl_upload_bytes", "Bytes of uploads in memory", registry=own)
        self.connections = Gauge("ccafl_connections", "Open connections", registry=own)
        self.ended = Counter(
            "ccafl_connections_ended", "Connections refused or ended before their answer", ["reason"], registry=own
        )
        self.pictures = Gauge("ccafl_gallery_pictures", "Pictures in the gallery", registry=own)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

"""What people know of their cameras, with the times of the images, for the association."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ccafl.data.topology import read_topology
from ccafl.method.topology import CameraTopology, sightings
from ccafl.terminal import note


def camera_topology(
    table: Path,
    camera_names: Sequence[str],
    identity_cameras: Tensor,
    identities: Tensor,
    times: Tensor | None,
    *,
    shown: bool = True,
) -> CameraTopology:
    """The topology in a table, for n images of N accumulated identities in C cameras.

    Args:
        table: as `read_topology` takes it.
        camera_names: C.
        identity_cameras: (N,) int64.
        identities: (n,) int64 in 0..N-1.
        times: (n,) float64, seconds, NaN where unknown; None if all are.
        shown: say on the terminal if the table has seconds and the images no times.

    Raises:
        InputError: as `read_topology`.
    """
    given = read_topology(table, camera_names)
    if given.timed and times is None and shown:
        note(f"{table}: its seconds have no effect because the images have no times; give a manifest with column time")
    seen = sightings(times, identities, len(identity_cameras)) if given.timed and times is not None else None
    return CameraTopology(identity_cameras, given.shared, given.least_seconds, given.most_seconds, seen)


def counts_of(topology: CameraTopology | None) -> dict[str, dict[str, int]]:
    """How many pairs of cameras share persons, never do, or are unknown, for results; empty without a topology."""
    if topology is None:
        return {}
    shared = topology.shared.triu(1)
    pairs = len(shared) * (len(shared) - 1) // 2
    yes, never = int((shared > 0).sum()), int((shared < 0).sum())
    return {"topology": {"yes": yes, "never": never, "estimated": pairs - yes - never}}


def fingerprint_of(topology: CameraTopology | None) -> str:
    """SHA-256 of what the table says, however it is written, and of the times it applies to; empty for nothing."""
    if topology is None or not (topology.shared.any() or topology.least.any() or topology.most.isfinite().any()):
        return ""
    digest = hashlib.sha256()
    seen = topology.seen
    times = () if seen is None else (seen.times, seen.bounds, seen.complete)
    for tensor in (topology.shared, topology.least, topology.most, *times):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()

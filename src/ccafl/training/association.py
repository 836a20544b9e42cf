"""Cross-camera association from features, as configured; training, `ccafl associate` and `gallery join` share it."""

from dataclasses import dataclass, replace

from torch import Tensor

from ccafl.config import Association
from ccafl.data.identity_links import IdentityLinks
from ccafl.method.association import (
    associate_features,
    by_first_member,
    centre_by_camera,
    identity_centres,
    of_members,
)
from ccafl.method.calibrated_association import Believed, associate_calibrated
from ccafl.method.share import Share
from ccafl.method.topology import CameraTopology
from ccafl.method.tracks import join_tracks


@dataclass(frozen=True, slots=True)
class Joined:
    """The accumulated identities of all cameras, joined; tensors on the CPU.

    Attributes:
        identities: (N,) int64, associated identity, -1 for an identity left alone.
        estimated_precision: estimated share of the joined pairs that are one person; None with a fixed rate.
        shared: (C, C) float64, estimated number of persons that two cameras share; None with a fixed rate.
        believed: the links made so far; None with a fixed rate.
        tracks: (N,) int64, which labels of a camera are one person's tracks, numbered by first member; None if tracks
            are not joined.
    """

    identities: Tensor
    estimated_precision: float | None = None
    shared: Tensor | None = None
    believed: Believed | None = None
    tracks: Tensor | None = None


def associate_identities(
    features: Tensor,
    identities: Tensor,
    identity_cameras: Tensor,
    settings: Association,
    links: IdentityLinks | None = None,
    topology: CameraTopology | None = None,
    before: Believed | None = None,
    tracks: Tensor | None = None,
    share: Share | None = None,
) -> Joined:
    """Join the accumulated identities of different cameras, and tracks of one camera if the settings say so.

    Args:
        features: (n, D), L2-normalised, of all images.
        identities: (n,) int64 in 0..N-1, accumulated identity of every image.
        identity_cameras: (N,) int64.
        settings: of the association.
        links: corrections by people.
        topology: what people know of the cameras.
        before: links that the features have learned from, for an honest estimate.
        tracks: (T, 3) float64, as `LabelledImages.tracks`. What is joined within a camera counts as one label for all
            estimates.
        share: of several processes that join them together.
    """
    if not settings.tracks or tracks is None:
        return _across_cameras(features, identities, identity_cameras, settings, links, topology, before, share)
    centred = centre_by_camera(features, identity_cameras[identities].to(features.device))
    must, cannot = (None, None) if links is None else (links.must, links.cannot)
    joined_tracks = join_tracks(centred, identities, identity_cameras, tracks, must, cannot)
    groups, doubtful = joined_tracks.groups, joined_tracks.doubtful
    first = by_first_member(groups)[1]
    links = None if links is None else links.grouped(groups)
    topology = None if topology is None else topology.grouped(groups, first)
    if before is not None:
        ends = groups[before.links].sort(dim=1).values
        across = ends[:, 0] != ends[:, 1]
        before = Believed(ends[across], before.probability[across])
    joined = _across_cameras(
        features, groups[identities], identity_cameras[first], settings, links, topology, before, share, doubtful
    )
    if joined.believed is not None:
        joined = replace(joined, believed=Believed(first[joined.believed.links], joined.believed.probability))
    return replace(joined, identities=of_members(joined.identities, groups), tracks=groups)


def _across_cameras(
    features: Tensor,
    identities: Tensor,
    identity_cameras: Tensor,
    settings: Association,
    links: IdentityLinks | None,
    topology: CameraTopology | None,
    before: Believed | None,
    share: Share | None,
    doubtful: Tensor | None = None,
) -> Joined:
    device = features.device
    identities, identity_cameras = identities.to(device), identity_cameras.to(device)
    must = None if links is None else links.must.to(device)
    cannot = None if links is None else links.cannot.to(device)
    if settings.rate != "auto":
        joined = associate_features(
            features,
            identities,
            identity_cameras,
            settings.rate,
            centred_by_camera=settings.centred_by_camera,
            one_camera_once=settings.one_camera_once,
            topology=topology,
            must_link=must,
            cannot_link=cannot,
            share=share,
        )
        return Joined(joined.cpu())
    if settings.centred_by_camera:
        features = centre_by_camera(features, identity_cameras[identities])
    centres = identity_centres(features, identities, len(identity_cameras))
    found = associate_calibrated(
        centres,
        identity_cameras,
        topology=topology,
        must_link=must,
        cannot_link=cannot,
        before=before,
        doubtful=doubtful,
        share=share,
    )
    return Joined(found.identities, found.estimated_precision, found.shared, found.believed)

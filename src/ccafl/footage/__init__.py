"""From video files to pictures with camera, label and time, one camera at a time.

`ingest` does what ``ccafl ingest`` does. A detector of one's own is a function of a `Frame`::

    ingest(["hall=hall.mp4"], Path("site"), detector=lambda rate: lambda frame: from_supervision(model(frame.image)))
"""

from ccafl.footage.commands import ingest
from ccafl.footage.detections import Detections, Detector, from_supervision
from ccafl.footage.frames import Frame
from ccafl.footage.ingest import Counts

__all__ = ["Counts", "Detections", "Detector", "Frame", "from_supervision", "ingest"]

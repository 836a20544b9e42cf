"""A folder of frames in which a red box walks, as footage with a given track."""

from pathlib import Path

from PIL import Image

FRAMES = 8


def walking_frames(folder: Path, camera: str) -> None:
    """Write ``frames/``, a table of the camera (cameras.csv) and its track (tracks.txt)."""
    (folder / "frames").mkdir()
    for number in range(FRAMES):
        picture = Image.new("RGB", (160, 120), "grey")
        picture.paste("red", (40 + 5 * number, 10, 80 + 5 * number, 115))
        picture.save(folder / "frames" / f"{number}.png")
    (folder / "cameras.csv").write_text(f"camera,fps\n{camera},4\n")
    rows = [f"{number + 1},1,{40 + 5 * number},10,40,105,1,1,1" for number in range(FRAMES)]
    (folder / "tracks.txt").write_text("\n".join(rows) + "\n")


def ingested(folder: Path, camera: str) -> tuple[object, ...]:
    """What ``ccafl ingest`` is given for them."""
    given = ("--cameras", folder / "cameras.csv", "--tracks", f"{camera}={folder / 'tracks.txt'}")
    return (f"{camera}={folder / 'frames'}", *given)

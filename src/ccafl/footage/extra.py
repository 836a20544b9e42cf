"""What footage needs beyond the core: the extra ``video``."""

from collections.abc import Iterator
from contextlib import contextmanager

from ccafl.errors import InputError


@contextmanager
def needs_video_extra() -> Iterator[None]:
    """Turn a failed import of PyAV, OpenCV or norfair-enough into an InputError that says what to install."""
    try:
        yield
    except ImportError as error:
        if "libGL" in str(error) or "libgthread" in str(error):
            raise InputError(
                "OpenCV: its build for desktops is installed, which needs a display's libraries; "
                "pip install --force-reinstall --no-deps opencv-python-headless"
            ) from error
        raise InputError(f'{error.name}: not installed; pip install "ccafl[video]"') from error

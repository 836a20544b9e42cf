"""Cameras of the synthetic world: where they hang, the scene they look at, and how they respond to light.

Scene coordinates, in metres: the camera hangs above the origin; ``x`` runs to its right, ``y`` away from it, ``z`` up
from the ground. Its frame (the whole picture it takes) is drawn once; persons are drawn into windows of it.
"""

from dataclasses import dataclass, replace
from math import cos, pi, sin, tan

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ccafl.synthetic.body import Floats
from ccafl.synthetic.render import Pixels
from ccafl.synthetic.variety import cluttered, textured

FRAME_HEIGHT, FRAME_WIDTH = 360, 640  # pixels
GOLDEN_RATIO = 0.6180339887  # steps of this size spread the settings of consecutive cameras
GREY = (0.299, 0.587, 0.114)
TONES = 1024  # levels of a tone curve
QUALITIES = (45, 93)  # of JPEG files, from the worst camera to the best
SHARPEST = 0.6  # pixels by which the sharpest lens blurs the frame
BRIGHTEST = 1.6  # linear light at which a tone curve saturates
STANDARD_HEIGHT = 480  # pixels of a video's frame, in which a person
TALL = 1.7  # metres tall
SMALLEST, LARGEST = 95, 280  # is so many pixels high at the far and at the near end of the walks
LEAST_MIDDLE, MOST_MIDDLE = 125, 200  # and so many where the camera's axis points


@dataclass(frozen=True, slots=True)
class Camera:
    """The properties that all pictures of a camera share."""

    eye: Floats  # (3,)
    axes: Floats  # (3, 3): the frame's right, down and forward
    focal: float  # pixels of the frame
    distance: float  # metres to the middle of the path, along the ground
    reach: float  # how far persons stray sideways from the middle of the path, metres
    sun: Floats  # (3,)
    sunshine: float
    sky: float
    colours: Floats  # (3, 3): white balance, saturation and mixing of the channels
    tones: npt.NDArray[np.uint8]  # (TONES,): pixel values for linear light from 0 to BRIGHTEST
    scale: float  # of its detector's boxes; 1 fits the person
    shift: tuple[float, float]  # of the boxes, right and down, as fractions of their size
    blur: float  # in pixels, for a picture 128 pixels high
    noise: float  # standard deviation, 0..255
    quality: int  # JPEG quality
    frame: Image.Image  # RGB, the empty scene
    foreground: Image.Image  # L, 255 where something stands in front of the path
    barrier: Pixels  # (H, W): metres along the axis to what stands in front of the path, infinity elsewhere
    walked: tuple[float, float]  # metres away along the ground from the nearest to the farthest walks


def random_camera(
    rng: np.random.Generator,
    index: int,
    strain: float = 1.0,
    *,
    varied: bool = False,
    footage: tuple[int, int] | None = None,
) -> Camera:
    """Draw camera number ``index``; consecutive cameras differ in colour cast and brightness.

    Args:
        rng: the camera's random generator.
        index: the camera's number.
        strain: how far its pictures depart from a faithful one in colour, exposure, sharpness and noise.
        varied: whether its scene has texture, and its boxes and compression are worse.
        footage: height and width of its video in pixels, for a camera whose whole frame is shown; persons then walk
            through all of the scene's depth, not along one path.
    """
    high, broad = footage or (FRAME_HEIGHT, FRAME_WIDTH)
    cast = (index * GOLDEN_RATIO + rng.uniform(-0.06, 0.06)) % 1.0
    brightness = (index * GOLDEN_RATIO**2 + 0.3 + rng.uniform(-0.06, 0.06)) % 1.0
    distance, height = float(rng.uniform(5, 10)), float(rng.uniform(1.6, 5))
    eye = np.array([0.0, 0.0, height])
    axes = _axes(float(np.arctan2(height - 0.9, distance)), float(rng.uniform(-0.05, 0.05)))
    focal = broad / 2 / tan(float(rng.uniform(20, 36)) * pi / 180)
    walked = (distance, distance)
    if footage:
        metre = high / STANDARD_HEIGHT * distance / TALL
        focal = min(max(focal, LEAST_MIDDLE * metre), MOST_MIDDLE * metre)
        walked = _walked(axes, focal, height, high)
    side, up = float(rng.uniform(0, 2 * pi)), float(rng.uniform(0.5, 1.2))
    sunshine = float(rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.5, 1.0)]))
    colours, tones = _colour_matrix(rng, cast, strain), _tone_curve(rng, brightness, strain)
    light, barrier = _draw_scene(rng, eye, axes, focal, distance, walked[1], (high, broad))
    if varied:
        light = textured(cluttered(light, rng), rng)
    photograph = Image.fromarray(_expose(light, colours, tones))
    camera = Camera(
        eye=eye,
        axes=axes,
        focal=focal,
        distance=distance,
        reach=distance * broad / focal / 4,  # half of what the frame shows
        sun=np.array([cos(up) * cos(side), cos(up) * sin(side), sin(up)]),
        sunshine=sunshine,
        sky=0.95 - 0.5 * sunshine,
        colours=colours,
        tones=tones,
        scale=float(rng.uniform(0.96, 1.16)),
        shift=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.03, 0.03))),
        blur=float(rng.uniform(0, 0.9)) * strain,
        noise=float(rng.uniform(1.5, 7)) * strain,
        quality=int(rng.integers(*QUALITIES)),
        frame=photograph.filter(ImageFilter.GaussianBlur(SHARPEST)),
        foreground=Image.fromarray(np.isfinite(barrier) * np.uint8(255)),
        barrier=barrier,
        walked=walked,
    )
    if not varied:
        return camera
    shift = (float(rng.normal(0, 0.05)), float(rng.normal(0, 0.04)))
    return replace(camera, scale=float(rng.uniform(0.86, 1.14)), shift=shift, quality=int(rng.integers(25, 96)))


def develop(camera: Camera, picture: Image.Image, exposure: float, rng: np.random.Generator) -> Image.Image:
    """Apply the lens, the changing light and the sensor to a picture: blur, exposure and noise."""
    picture = picture.filter(ImageFilter.GaussianBlur(camera.blur * picture.height / 128))
    grain = rng.standard_normal((picture.height, picture.width, 3), dtype=np.float32) * np.float32(camera.noise)
    return Image.fromarray((np.asarray(picture) * np.float32(exposure) + grain).clip(0, 255).astype(np.uint8))


def expose(camera: Camera, light: Pixels) -> npt.NDArray[np.uint8]:
    """The pixel values that the camera gives to linear light; both (..., 3)."""
    return _expose(light, camera.colours, camera.tones)


def _expose(light: Pixels, colours: Floats, tones: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    matrix = (colours * (TONES - 1) / BRIGHTEST).astype(np.float32)
    red, green, blue = light[..., 0], light[..., 1], light[..., 2]
    mixed = [matrix[i, 0] * red + matrix[i, 1] * green + matrix[i, 2] * blue for i in range(3)]
    steps = np.stack(mixed, -1).clip(0, TONES - 1).astype(np.int16)
    return tones[steps]


def _walked(axes: Floats, focal: float, height: float, high: int) -> tuple[float, float]:
    """From where to where persons walk in footage: whole in the frame's height, neither too large nor too small."""
    away, down, scale = np.arange(1, 30, 0.1), np.arcsin(-axes[2, 2]), high / STANDARD_HEIGHT
    feet, head = (focal * np.tan(np.arctan2(height - up, away) - down) for up in (0, TALL))  # pixels below the axis
    tall = (feet - head) / scale
    fits = away[(feet < 0.47 * high) & (head > -0.5 * high) & (tall > SMALLEST) & (tall < LARGEST)]
    return float(fits.min()), float(fits.max())


def _axes(down: float, roll: float) -> Floats:
    """Right, down and forward axes of a camera pitched ``down`` and turned by ``roll`` (radians)."""
    forward = np.array([0.0, cos(down), -sin(down)])
    below = np.array([0.0, -sin(down), -cos(down)])
    right = np.array([1.0, 0.0, 0.0])
    return np.stack([cos(roll) * right + sin(roll) * below, cos(roll) * below - sin(roll) * right, forward])


def _colour_matrix(rng: np.random.Generator, cast: float, strain: float) -> Floats:
    """White balance (``cast`` 0..1 goes round the colour wheel), saturation and some channel mixing; (3, 3)."""
    gains = np.exp(strain * rng.uniform(0.12, 0.3) * np.cos(2 * pi * (cast + np.arange(3) / 3)))
    saturation = 1 + strain * (rng.uniform(0.6, 1.1) - 1)
    matrix = saturation * np.eye(3) + (1 - saturation) * np.array(GREY) + rng.uniform(-0.05, 0.05, (3, 3))
    mixed: Floats = gains[:, None] * matrix / matrix.sum(axis=1, keepdims=True)
    return mixed


def _tone_curve(rng: np.random.Generator, brightness: float, strain: float) -> npt.NDArray[np.uint8]:
    """Exposure (``brightness`` 0..1 from dark to bright), contrast and black level; (TONES,)."""
    exposure = 2 ** (2.0 * strain * (brightness - 0.4))
    contrast = 1 - strain * (1 - rng.uniform(0.7, 1.0))
    black = rng.uniform(0, 0.7) * (1 - contrast)
    linear = np.linspace(0, BRIGHTEST, TONES) * exposure
    shoulder = linear * (1 + linear / 4) / (1 + linear)  # compresses highlights
    tones: npt.NDArray[np.uint8] = (
        (255 * (black + contrast * shoulder.clip(0, 1) ** (1 / 2.2))).round().astype(np.uint8)
    )
    return tones


@dataclass(frozen=True, slots=True)
class _Box:
    """An object in the scene: opposite corners in metres, and its reflectance."""

    low: Floats  # (3,)
    high: Floats
    surface: Floats


def _draw_scene(
    rng: np.random.Generator,
    eye: Floats,
    axes: Floats,
    focal: float,
    distance: float,
    far: float,
    size: tuple[int, int],
) -> tuple[Pixels, Pixels]:
    """Linear light of the empty scene (H, W, 3), with a background more than ``far`` metres away; and the depth of what
    stands in front of the path (H, W), infinity elsewhere.
    """
    across = (np.arange(size[1]) + 0.5 - size[1] / 2) / focal
    along = (np.arange(size[0]) + 0.5 - size[0] / 2) / focal
    rays = [axes[2, i] + axes[0, i] * across[None] + axes[1, i] * along[:, None] for i in range(3)]
    light, depth = _ground(rng, eye, rays)
    light, depth = _wall(rng, eye, rays, far + float(rng.uniform(2.5, 9)), light, depth)
    foreground = np.zeros(depth.shape, bool)
    for box, near in _objects(rng, distance, far):
        away, face = _intersect_box(box, eye, rays)
        hit = away < depth
        light[hit] = (box.surface * np.array([0.8, 0.65, 1.0])[face[hit], None]) * 0.9
        depth[hit] = away[hit]
        foreground = (foreground & ~hit) | (hit & near)
    grain = rng.normal(1, 0.035, depth.shape)
    return (light * grain[..., None]).astype(np.float32), np.where(foreground, depth, np.inf).astype(np.float32)


def _surface(rng: np.random.Generator, spread: float = 0.25) -> Floats:
    """A random reflectance for walls, ground and objects: a tinted grey; (3,)."""
    colour: Floats = np.exp(rng.uniform(np.log(0.06), np.log(0.6)) + rng.uniform(-spread, spread, 3)).clip(0.02, 0.85)
    return colour


def _ground(rng: np.random.Generator, eye: Floats, rays: list[Floats]) -> tuple[Floats, Floats]:
    """Ground with paving, stripes or patches up to the horizon, and sky: light (H, W, 3) and depth (H, W)."""
    falls = rays[2] < -0.01
    depth = np.where(falls, -eye[2] / np.where(falls, rays[2], -1), np.inf)
    reached = np.where(falls, depth, 0)
    x, y = eye[0] + reached * rays[0], eye[1] + reached * rays[1]
    turn = rng.uniform(0, pi)
    x, y = cos(turn) * x + sin(turn) * y, cos(turn) * y - sin(turn) * x
    base, other = _surface(rng), _surface(rng)
    kind, size = int(rng.integers(4)), float(rng.uniform(0.4, 1.5))
    if kind == 0:  # paving with joints
        mixed = (x / size % 1 < 0.05) | (y / size % 1 < 0.05)
    elif kind == 1:  # chequered paving
        mixed = (np.floor(x / size) + np.floor(y / size)) % 2 == 0
        other = base * rng.uniform(0.6, 0.9)
    elif kind == 2:  # stripes painted on a road
        mixed = (x / (3 * size) % 1 < 0.12) & (y / size % 1 < 0.7)
    else:  # patches of grass or mud
        mixed = np.sin(x * 1.7 / size) + np.sin(y * 2.3 / size + x) + np.sin((x + y) * 0.9) > 1.1
    light = np.where(mixed[..., None], other, base)
    sky = np.array([0.75, 0.85, 1.0]) * rng.uniform(0.5, 1.2)
    return np.where(falls[..., None], light, sky), depth


def _wall(
    rng: np.random.Generator, eye: Floats, rays: list[Floats], away: float, light: Floats, depth: Floats
) -> tuple[Floats, Floats]:
    """Add a wall of random height behind the path, with bricks, panels or windows; returns light and depth."""
    reached = away / np.maximum(rays[1], 1e-6)
    x, z = eye[0] + reached * rays[0], eye[2] + reached * rays[2]
    x = x + rng.uniform(-0.5, 0.5) * z * float(rng.random() < 0.1)
    high = rng.choice([1.0, 3.0, 12.0], p=[0.25, 0.25, 0.5])
    hit = (reached < depth) & (z < high) & (z > 0)
    base, other = _surface(rng), _surface(rng)
    kind, size = int(rng.integers(4)), float(rng.uniform(0.3, 1.2))
    if kind == 0:
        row = np.floor(z / size)
        mixed = (z / size % 1 < 0.07) | ((x / (2 * size) + row % 2 / 2) % 1 < 0.035)
    elif kind == 1:
        mixed = x / size % 1 < 0.5
        other = base * rng.uniform(0.6, 0.95)
    elif kind == 2:
        mixed = (x / (3 * size) % 1 < 0.5) & (np.abs(z - 1.8) < 0.8)
    else:
        mixed = z < 1.0
    painted = np.where(mixed[..., None], other, base) * 0.85
    return np.where(hit[..., None], painted, light), np.where(hit, reached, depth)


def _objects(rng: np.random.Generator, distance: float, far: float) -> list[tuple[_Box, bool]]:
    """Boxes, posts and doors behind the path, and sometimes a bench or a post in front of it (True)."""
    objects = []
    for _ in range(int(rng.integers(4, 11))):
        x, y = rng.uniform(-6, 6), far + rng.uniform(1.6, 7)
        broad, deep = rng.uniform(0.1, 1.2, 2)
        objects.append((_box(rng, x, y, broad, deep, float(rng.choice([0.5, 1.1, 2.2, 4.0]))), False))
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(-4, 4), distance * rng.uniform(0.55, 0.75)
        post = rng.random() < 0.5
        broad, high = (rng.uniform(0.06, 0.14), 4.0) if post else (rng.uniform(0.4, 1.4), rng.uniform(0.35, 0.8))
        objects.append((_box(rng, x, y, broad, 0.3, high), True))
    return objects


def _box(rng: np.random.Generator, x: float, y: float, broad: float, deep: float, high: float) -> _Box:
    low = np.array([x - broad / 2, y - deep / 2, 0.0])
    return _Box(low, low + np.array([broad, deep, high]), _surface(rng, 0.5))


def _intersect_box(box: _Box, eye: Floats, rays: list[Floats]) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Distance along each ray to the box (infinity for a miss), and the axis of the face it hits; (H, W)."""
    entered, left = [], []
    for axis in range(3):
        ray = np.where(np.abs(rays[axis]) < 1e-9, 1e-9, rays[axis])
        one, other = (box.low[axis] - eye[axis]) / ray, (box.high[axis] - eye[axis]) / ray
        entered.append(np.minimum(one, other))
        left.append(np.maximum(one, other))
    near = np.maximum(np.maximum(entered[0], entered[1]), entered[2])
    far = np.minimum(np.minimum(left[0], left[1]), left[2])
    return np.where((near < far) & (near > 0), near, np.inf), np.argmax(np.stack(entered), axis=0)

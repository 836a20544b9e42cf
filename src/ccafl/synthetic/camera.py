"""Cameras of the synthetic world: the place they look at, the way they look, and what they do to colours."""

from dataclasses import dataclass
from math import pi

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ccafl.synthetic.person import Colour

SCENE_HEIGHT, SCENE_WIDTH = 256, 1024  # pixels of the painted place; pictures show windows of it
OVERSAMPLING = 2  # pictures are composed this much larger, against jagged edges
GOLDEN = 0.6180339887  # steps of the golden ratio keep a few cameras apart in whatever they set
VIEWS = (0.0, 180.0, 90.0, -90.0)  # degrees: front, back, walking right, walking left
GREY_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Camera:
    """What stays the same in every picture of a camera."""

    scene: Image.Image  # RGB, SCENE_HEIGHT x SCENE_WIDTH
    yaw: float  # degrees, the side that most persons show
    elevation: float  # degrees it looks down
    scale: float  # 1 shows the whole person, more crops
    stretch: float  # breadth over height
    shear: float
    roll: float  # radians
    shift: tuple[float, float]  # right and down, in shares of the picture's width and height
    colours: tuple[float, ...]  # (12,) rows of the matrix from RGB 1 to RGB
    curve: tuple[int, ...]  # (768,) tone curve of each channel
    light: Image.Image  # RGB, what the light of the place leaves where, in the window
    blur: float  # pixels of a picture 128 high
    noise: float  # standard deviation, 0..255


@dataclass(frozen=True, slots=True)
class Shot:
    """What differs from one picture of a camera to the next."""

    place: float  # 0..1, where along the scene
    scale: float  # of the crop, around 1
    shift: tuple[float, float]  # of the crop, in shares of the picture
    exposure: float  # around 1


def random_camera(rng: np.random.Generator, index: int) -> Camera:
    """Draw camera number ``index``; consecutive cameras differ in view, colour cast and brightness."""
    cast = (index * GOLDEN + rng.uniform(-0.06, 0.06)) % 1.0
    brightness = (index * GOLDEN**2 + 0.3 + rng.uniform(-0.06, 0.06)) % 1.0
    return Camera(
        scene=_scene(rng),
        yaw=VIEWS[index % len(VIEWS)] + float(rng.uniform(-15, 15)),
        elevation=float(rng.uniform(0, 20)),
        scale=float(rng.uniform(0.92, 1.2)),
        stretch=float(rng.uniform(0.9, 1.12)),
        shear=float(rng.uniform(-0.1, 0.1)),
        roll=float(rng.uniform(-0.06, 0.06)),
        shift=(float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.04, 0.04))),
        colours=_colour_matrix(rng, cast),
        curve=_tone_curve(rng, brightness),
        light=_light(rng),
        blur=float(rng.uniform(0, 0.9)),
        noise=float(rng.uniform(2, 8)),
    )


def random_shot(rng: np.random.Generator, place: float) -> Shot:
    """Draw what a detector's box and the passing light change."""
    return Shot(
        place=place,
        scale=float(rng.uniform(0.95, 1.06)),
        shift=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.025, 0.025))),
        exposure=float(rng.uniform(0.92, 1.08)),
    )


def photograph(camera: Camera, shot: Shot, figure: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put a person before the camera's scene and give what the camera makes of it.

    Args:
        camera: the camera.
        shot: the crop and the light of this picture.
        figure: RGBA person, `OVERSAMPLING` times as large as the picture.
        rng: for the noise of the sensor.

    Returns:
        RGB picture.
    """
    placed = figure.transform(figure.size, Image.Transform.AFFINE, _crop(camera, shot, figure.size), _BILINEAR)
    composed = _window(camera.scene, shot.place, figure.size)
    composed.paste(placed, (0, 0), placed)
    picture = composed.reduce(OVERSAMPLING)
    picture = ImageChops.multiply(picture, camera.light.resize(picture.size, _BILINEAR))
    picture = picture.convert("RGB", tuple(shot.exposure * weight for weight in camera.colours)).point(camera.curve)
    picture = picture.filter(ImageFilter.GaussianBlur(camera.blur * picture.height / 128))
    grain = rng.standard_normal((picture.height, picture.width, 3), dtype=np.float32) * camera.noise
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


_BILINEAR = Image.Resampling.BILINEAR


def _crop(camera: Camera, shot: Shot, size: tuple[int, int]) -> tuple[float, ...]:
    """The six numbers of the affine map from the picture back to the person's drawing (width x height pixels)."""
    width, height = size
    scale = camera.scale * shot.scale
    right = (camera.shift[0] + shot.shift[0]) * width + width / 2
    down = (camera.shift[1] + shot.shift[1]) * height + height / 2
    across = (1 / (scale * camera.stretch), (camera.shear - camera.roll) / scale)
    along = (camera.roll / scale, 1 / scale)
    return (
        *across, width / 2 - across[0] * right - across[1] * down,
        *along, height / 2 - along[0] * right - along[1] * down,
    )  # fmt: skip


def _window(scene: Image.Image, place: float, size: tuple[int, int]) -> Image.Image:
    """The part of the scene behind a person, in the given size (width x height)."""
    broad = SCENE_HEIGHT * size[0] / size[1]
    left = place % 1.0 * (SCENE_WIDTH - broad)
    return scene.resize(size, _BILINEAR, box=(left, 0, left + broad, SCENE_HEIGHT))


def _colour_matrix(rng: np.random.Generator, cast: float) -> tuple[float, ...]:
    """White balance (``cast`` 0..1 goes round the colours), saturation and some mixing of the channels; (12,)."""
    angles = 2 * pi * (cast + np.arange(3) / 3)
    gains = np.exp(rng.uniform(0.14, 0.25) * np.cos(angles))
    saturation = rng.uniform(0.45, 1.1)
    matrix = saturation * np.eye(3) + (1 - saturation) * np.array(GREY_WEIGHTS)
    matrix = matrix + rng.uniform(-0.08, 0.08, (3, 3))
    matrix = gains[:, None] * matrix / matrix.sum(axis=1, keepdims=True)
    return tuple(np.concatenate([matrix, np.zeros((3, 1))], axis=1).ravel().tolist())


def _tone_curve(rng: np.random.Generator, brightness: float) -> tuple[int, ...]:
    """Gamma, contrast and black level; ``brightness`` 0..1 from dark to bright; (768,)."""
    gamma = 1.55 - 0.9 * brightness
    contrast = rng.uniform(0.6, 1.05)
    black = rng.uniform(0, 1) * (1 - min(contrast, 1.0))
    tones = 255 * (black + contrast * (np.arange(256) / 255) ** gamma)
    return tuple(np.tile(tones.round().clip(0, 255).astype(int), 3).tolist())


def _light(rng: np.random.Generator) -> Image.Image:
    """A soft fall of light across the window, RGB 32 x 16."""
    across, down = np.linspace(-1, 1, 16), np.linspace(-1, 1, 32)[:, None]
    falls = rng.uniform(-0.16, 0.16, 2)
    light = 0.9 + falls[0] * across + falls[1] * down - rng.uniform(0, 0.15) * (across**2 + down**2) / 2
    grey = Image.fromarray((255 * light).clip(0, 255).astype(np.uint8))
    return grey.convert("RGB")


def _scene(rng: np.random.Generator) -> Image.Image:
    """A wall or the open air above a ground, with things standing about."""
    scene = Image.new("RGB", (SCENE_WIDTH, SCENE_HEIGHT), _surface_colour(rng))
    draw = ImageDraw.Draw(scene)
    horizon = int(rng.uniform(0.3, 0.75) * SCENE_HEIGHT)
    _draw_wall(draw, rng, horizon)
    _draw_ground(draw, rng, horizon)
    for _ in range(int(rng.integers(10, 20))):
        _draw_thing(draw, rng, horizon)
    soft = scene.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 2.2))))
    grain = rng.normal(0, rng.uniform(2, 7), (SCENE_HEIGHT, SCENE_WIDTH, 1))
    return Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8))


def _surface_colour(rng: np.random.Generator, spread: float = 28) -> Colour:
    """Some colour of walls, grounds and things: a grey with a tint."""
    red, green, blue = (rng.uniform(55, 205) + rng.uniform(-spread, spread, 3)).clip(15, 240).astype(int).tolist()
    return red, green, blue


def _draw_wall(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Rows of stones, upright panels or nothing, down to the horizon."""
    colour, kind = _surface_colour(rng, 18), int(rng.integers(3))
    tall, broad = int(rng.integers(14, 40)), int(rng.integers(24, 90))
    if kind == 0:
        for row, y in enumerate(range(0, horizon, tall)):
            draw.line((0, y, SCENE_WIDTH, y), fill=colour, width=2)
            for x in range(row % 2 * broad // 2, SCENE_WIDTH, broad):
                draw.line((x, y, x, y + tall), fill=colour, width=2)
    elif kind == 1:
        for x in range(0, SCENE_WIDTH, broad):
            draw.rectangle((x, 0, x + broad // 2, horizon), fill=colour)


def _draw_ground(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """A plain, tiled or striped ground from the horizon down."""
    draw.rectangle((0, horizon, SCENE_WIDTH, SCENE_HEIGHT), fill=_surface_colour(rng))
    colour, lean = _surface_colour(rng, 18), float(rng.uniform(-120, 120))
    if rng.random() < 0.7:
        for x in range(-200, SCENE_WIDTH + 200, int(rng.integers(30, 110))):
            draw.line((x, horizon, x + lean, SCENE_HEIGHT), fill=colour, width=int(rng.integers(2, 7)))
    for y in np.geomspace(8, SCENE_HEIGHT, int(rng.integers(3, 7))).tolist():
        draw.line((0, horizon + y, SCENE_WIDTH, horizon + y), fill=colour, width=2)


def _draw_thing(draw: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """A window, post, tree, door or box somewhere along the scene."""
    x, colour, other = int(rng.integers(0, SCENE_WIDTH)), _surface_colour(rng, 60), _surface_colour(rng)
    kind, foot = int(rng.integers(5)), horizon + int(rng.integers(4, 40))
    broad, tall = int(rng.integers(20, 70)), int(rng.integers(30, 110))
    if kind == 0:
        draw.rectangle((x, horizon - tall - 30, x + broad, horizon - 30), fill=colour, outline=other, width=4)
    elif kind == 1:
        draw.rectangle((x, 0, x + broad // 4, foot), fill=colour)
    elif kind == 2:
        draw.rectangle((x - 5, horizon - tall, x + 5, foot), fill=other)
        draw.ellipse((x - broad, horizon - tall - broad, x + broad, horizon - tall // 2), fill=colour)
    elif kind == 3:
        draw.rectangle((x, foot - tall - 40, x + broad, foot), fill=colour, outline=other, width=3)
    else:
        draw.rectangle((x, foot - tall // 2, x + 2 * broad, foot), fill=colour)
        draw.rectangle((x, foot - tall // 2, x + 2 * broad, foot - tall // 2 + 8), fill=other)

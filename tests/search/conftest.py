"""Files of people of plain colours, and a gallery of them (`colour_people`)."""

from datetime import timedelta

import pytest
from colour_people import CAMERAS, FIRST, PERSONS, SHOTS, FakeEncoder, draw, filled

from ccafl.search.adding import Picture


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> list[Picture]:
    """Files with what is known of them: a minute apart, camera by camera."""
    folder = tmp_path_factory.mktemp("people")
    pictures = []
    for number, camera in enumerate(CAMERAS):
        for person in range(len(PERSONS)):
            for shot in range(SHOTS):
                path = folder / f"{camera}-{person}-{shot}.png"
                draw(person, number * SHOTS + shot).save(path)
                time = FIRST + timedelta(minutes=len(pictures))
                pictures.append(Picture(path, camera, f"{camera[0]}{person}", time))
    return pictures


@pytest.fixture
def encoder() -> FakeEncoder:
    """The encoder of the galleries here."""
    return FakeEncoder()


@pytest.fixture
def gallery(tmp_path, people, encoder):
    """An open gallery of all people, joined as `JOINED`."""
    with filled(tmp_path / "gallery.db", encoder, people) as made:
        yield made

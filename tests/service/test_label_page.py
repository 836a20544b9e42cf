"""The page of ccafl label in a real browser: keys answer, and the file has the answers."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from ccafl.data.links import read_links
from ccafl.data.numbering import accumulate
from ccafl.data.records import Record
from ccafl.labelling.session import LabellingSession
from ccafl.service.labelling import create_labelling_app
from ccafl.service.limits import ServiceSettings
from colour_people import FIRST, PERSONS, FakeEncoder, draw, running

SHOTS = 4


@pytest.fixture
def images(tmp_path):
    """Each person makes two tracks in the hall, an hour apart."""
    records = []
    for track in range(2 * len(PERSONS)):
        begin = FIRST + timedelta(hours=track // len(PERSONS), minutes=track)
        for shot in range(SHOTS):
            path = tmp_path / f"{track}-{shot}.png"
            draw(track % len(PERSONS), shot).save(path)
            records.append(Record(path, "hall", str(track), None, begin, (begin, begin + timedelta(seconds=5))))
    return accumulate(records)


def session_of(images, table):
    features = FakeEncoder().encode([Image.open(path) for path in images.paths]).features
    return LabellingSession(images, torch.from_numpy(np.array(features)), table)


def test_keys_answer_and_undo_and_every_answer_is_in_the_file_at_once(images, tmp_path, browser):
    table = tmp_path / "links.csv"
    table.write_text("kind,camera_a,label_a,camera_b,label_b\nmust_link,yard,1,gate,2\n")
    said = []

    def answers():
        return [link.kind for link in read_links(table) if link.one[0] == "hall"]

    with running(create_labelling_app(session_of(images, table), ServiceSettings())) as address:
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(address)
        progress = tab.get_by_role("status")
        tracks = tab.get_by_role("region")
        expect(progress).to_contain_text("0 answers")
        expect(tracks).to_have_count(2)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        expect(tab.get_by_role("button", name="Undo")).to_be_disabled()
        first = tracks.first.get_attribute("aria-label"), tracks.last.get_attribute("aria-label")
        tab.keyboard.press("y")
        expect(progress).to_contain_text("1 answer,")
        assert answers() == ["must_link"]
        tab.keyboard.press("n")
        expect(progress).to_contain_text("2 answers")
        assert answers() == ["must_link", "cannot_link"]
        tab.keyboard.press("u")
        expect(progress).to_contain_text("1 answer,")
        assert answers() == ["must_link"]
        tab.get_by_role("button", name="Undo").click()
        expect(progress).to_contain_text("0 answers")
        assert answers() == []
        assert (tracks.first.get_attribute("aria-label"), tracks.last.get_attribute("aria-label")) == first
        tab.keyboard.press("Space")
        expect(tab.get_by_text("Asked again")).to_have_count(0)
        tab.get_by_role("button", name="Yes").click()
        expect(progress).to_contain_text("1 answer,")
        tab.close()
    assert [link.kind for link in read_links(table)] == ["must_link", "must_link"]  # the other camera's is kept
    again = session_of(images, table)
    assert again.progress(0).answered == 1
    assert again.undo() == 0
    assert answers() == []
    assert said == []

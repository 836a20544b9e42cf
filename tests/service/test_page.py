"""The page in a real browser, on a real service: what somebody sees, hears and can do there.

Things are found by role and name, as a screen reader finds them. A message on the console, a request that fails or is
refused, and a page wider than the screen fail the test in which they happen.
"""

import base64
import re
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from test_frames_and_videos import write_manifest

from block_people import filmed
from ccafl.gallery.adding import Picture, add_pictures, listed
from ccafl.gallery.gallery import Gallery
from ccafl.service.app import create_app
from ccafl.service.limits import ServiceSettings
from colour_people import CAMERAS, FIRST, PERSONS, FakeEncoder, draw, key_of, running

__all__ = ["filmed"]

expect.set_options(timeout=30_000)  # for a busy machine

SHOTS = 5
EACH = SHOTS * len(CAMERAS)  # pictures per person
TIMELESS = 2  # the person whose pictures have no time
UNJOINED = 3  # the person whose labels are not joined
NOT_HTML = "<img src=x onerror=alert(1)>"  # a label within the yard
TOKEN = "a-token-of-the-tests"
FOUND = re.compile("^Open rank ")


def label(camera: str, person: int) -> str:
    return NOT_HTML if (camera, person) == ("yard", 1) else f"{camera[0]}{person}"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for number, camera in enumerate(CAMERAS):
        for person in range(len(PERSONS)):
            for shot in range(SHOTS):
                path = folder / f"{camera}-{person}-{shot}.png"
                draw(person, shot, size=(32 + 16 * number, 64 + 32 * number)).save(path)
                time = None if person == TIMELESS else FIRST + timedelta(hours=person, minutes=number, seconds=shot)
                made.append(Picture(path, camera, label(camera, person), time))
    return made


@pytest.fixture(scope="module")
def gallery(pictures, tmp_path_factory):
    with Gallery.create(tmp_path_factory.mktemp("page") / "gallery.db", FakeEncoder()) as made:
        add_pictures(made, FakeEncoder(), pictures)
        made.join({(c, label(c, p)): str(p) for c in CAMERAS for p in range(len(PERSONS)) if p != UNJOINED})
        yield made


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Person 0 on the left, person 1 on the right; stored rotated, upright by its EXIF orientation."""
    upright = Image.new("RGB", (240, 80), (120, 120, 120))
    upright.paste(draw(0, size=(40, 80)), (10, 0))
    upright.paste(draw(1, size=(40, 80)), (190, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path_factory.mktemp("scene") / "scene.jpg"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    return path


@pytest.fixture
def address(gallery):
    with running(create_app(gallery, FakeEncoder(), ServiceSettings())) as address:
        yield address


@pytest.fixture
def wordless(gallery):
    with running(create_app(gallery, FakeEncoder(describes=False), ServiceSettings())) as address:
        yield address


@pytest.fixture
def guarded(gallery):
    with running(create_app(gallery, FakeEncoder(), ServiceSettings(token=TOKEN))) as address:
        yield address


class Said(list):
    """What the browser says, without requests that the page itself has aborted for newer ones."""

    def append(self, line):
        if not line.startswith("net::ERR_ABORTED"):
            super().append(line)


@pytest.fixture
def said():
    """The browser's errors and warnings; a test that expects some removes them."""
    said = Said()
    yield said
    assert said == []


@pytest.fixture
def new_tab(browser, said):
    """Opens tabs with a given size and colour scheme."""
    contexts = []

    def open_tab(width=1280, height=800, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(30_000)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("requestfailed", lambda request: said.append(f"{request.failure} {request.url}"))
        tab.on("response", lambda answer: said.append(f"{answer.status} {answer.url}") if answer.status >= 400 else 0)
        return tab

    yield open_tab
    for context in contexts:
        context.close()


@pytest.fixture
def tab(address, new_tab):
    tab = new_tab()
    tab.goto(address)
    expect(tab.get_by_role("heading", name="Who are you looking for?")).to_be_visible()
    return tab


def found(tab) -> list[str]:
    """The accessible names of the results, once they are shown."""
    expect(tab.get_by_role("main")).to_have_attribute("aria-busy", "false")
    return tab.get_by_role("main").get_by_role("button", name=FOUND).evaluate_all("all => all.map(b => b.ariaLabel)")


def upload(tab, *paths) -> list[str]:
    tab.get_by_label("Choose pictures").set_input_files(paths)
    expect(tab.get_by_role("status").filter(has_text="best first")).to_be_visible()
    return found(tab)


def cameras_of(names: list[str]) -> list[str]:
    return [re.search("camera ([^,]+),", name)[1] for name in names]


def persons_of(names: list[str]) -> list[str]:
    return [re.search(r"(Person \d+|not joined)", name)[1] for name in names]


def tick(tab, camera: str):
    """The checkbox of a camera."""
    return tab.get_by_role("group", name="Cameras", exact=True).get_by_role("checkbox", name=camera)


def see(tab, view: str) -> None:
    tab.get_by_role("radio", name=view).check(force=True)  # the label covers it and would take the click


def viewer(tab):
    return tab.get_by_role("dialog")


# --- Searching --------------------------------------------------------------------------------------------------------


def test_the_gallery_is_looked_through_without_a_query(tab):
    people = tab.get_by_role("region", name="People")
    expect(people).to_contain_text("3 people, 3 labels not joined")
    expect(people.get_by_role("button", name=re.compile("^Person"))).to_have_count(3)
    expect(people.get_by_role("button", name=re.compile("^Person 1 3 cameras 4 May 13:02:04"))).to_be_visible()
    strip = tab.get_by_role("region", name="yard", exact=True)
    strip.scroll_into_view_if_needed()
    expect(strip.get_by_role("listitem")).to_have_count(SHOTS * len(PERSONS))
    strip.get_by_role("button", name="Show all of yard").click()
    expect(tab.get_by_role("heading", name="yard")).to_be_focused()
    expect(tab.get_by_role("status").filter(has_text="20 pictures, the latest first")).to_be_visible()
    expect(tab.get_by_role("heading", level=3)).to_have_text(["4 May 2026", "No time known"])
    tab.get_by_role("button", name=re.compile("^y3 15:02:04")).click()
    expect(viewer(tab)).to_contain_text("Not joined")
    tab.keyboard.press("ArrowRight")
    expect(viewer(tab).get_by_role("definition").filter(has_text="15:02:03").first).to_be_visible()
    for _ in range(2):
        tab.go_back()
    people.get_by_role("button", name=re.compile("^Person 1")).click()
    expect(viewer(tab).get_by_role("group", name=re.compile("^Timeline: 15 pictures"))).to_be_visible()
    viewer(tab).get_by_role("button", name="Close").click()
    tab.evaluate("location.hash = 'browse=people'")  # a button leads there if there are more
    expect(tab.get_by_role("status").filter(has_text="6, most cameras first")).to_be_visible()
    tab.get_by_role("link", name="People search").click()
    expect(people).to_be_visible()
    footer = tab.get_by_role("contentinfo")
    expect(footer).to_contain_text("A rank is not an identification.")
    expect(footer).to_contain_text("Model colours (ffffffffffff), numpy.")


def test_an_empty_search_says_what_is_missing_and_the_page_goes_on_loading(address, new_tab):
    tab, held = new_tab(), []
    tab.route("**/api/persons?*", lambda route: held.append(route))
    with tab.expect_request("**/api/persons?*"):
        tab.goto(address)
    tab.get_by_role("radio", name="Description").check(force=True)
    tab.get_by_role("button", name="Search", exact=True).click()
    expect(tab.get_by_role("alert").filter(has_text="describe the person in a sentence")).to_be_visible()
    for route in held:
        route.continue_()
    expect(tab.get_by_role("region", name="People")).to_be_visible()


def test_an_uploaded_picture_is_searched_for_and_results_are_paged(tab, pictures):
    names = upload(tab, pictures[0].path)
    assert len(names) == 24
    assert re.match(r"Open rank 1, camera \w+, 4 May 12:0\d:0\d, Person 0, score 1.000$", names[0])
    assert persons_of(names)[:EACH] == ["Person 0"] * EACH
    assert tab.evaluate("[...document.images].every(image => image.complete ? image.naturalWidth > 0 : true)")
    pages = tab.get_by_role("navigation", name="Pages of results")
    expect(pages.get_by_role("button", name="Previous")).to_be_disabled()
    pages.get_by_role("button", name="Next").click()
    expect(tab.get_by_role("status").filter(has_text="Pictures 25 to 48")).to_be_visible()
    second = found(tab)
    assert second[0].startswith("Open rank 25,")
    expect(tab.get_by_role("heading", name="Results")).to_be_focused()
    pages.get_by_role("button", name="Next").click()
    expect(tab.get_by_role("status").filter(has_text="Pictures 49 to 60")).to_be_visible()
    expect(pages.get_by_role("button", name="Next")).to_be_disabled()
    tab.go_back()
    expect(tab.get_by_role("status").filter(has_text="Pictures 25 to 48")).to_be_visible()
    assert found(tab) == second
    tab.get_by_label("Per page").select_option("100")
    expect(tab.get_by_role("status").filter(has_text="Pictures 1 to 60")).to_be_visible()


def test_filters_choose_cameras_and_times_and_are_kept_in_the_address(tab, pictures):
    upload(tab, pictures[0].path)
    for camera in ("entrance", "yard"):
        tick(tab, camera).uncheck()
        expect(tab.get_by_role("checkbox", name=f"Select rank 1, camera {camera}")).to_have_count(0)
    assert set(cameras_of(found(tab))) == {"corridor"}
    tab.get_by_label("From").fill("2026-05-04T13:00:00")
    expect(tab.get_by_role("button", name=FOUND)).to_have_count(2 * SHOTS)  # persons 1 and 3; 2 has no times
    tab.get_by_label("Until").fill("2026-05-04T13:01:03")
    expect(tab.get_by_role("button", name=FOUND)).to_have_count(3)
    tab.get_by_label("Until").fill("2026-05-04T13:00:00")
    expect(tab.get_by_role("status").filter(has_text="No pictures found.")).to_be_visible()
    tab.get_by_role("button", name="Clear the filters").click()
    expect(tab.get_by_role("button", name=FOUND)).to_have_count(24)
    assert tick(tab, "yard").is_checked()
    for _ in range(2):
        tab.go_back()
    expect(tab.get_by_role("button", name=FOUND)).to_have_count(3)
    assert not tick(tab, "yard").is_checked()
    tab.get_by_role("button", name="None", exact=True).click()
    expect(tab.get_by_role("alert").filter(has_text="No camera is ticked")).to_be_visible()
    tab.get_by_role("button", name="All", exact=True).click()
    expect(tab.get_by_role("button", name=FOUND).first).to_be_visible()


def test_more_like_this_searches_from_a_result_and_back_returns(tab, pictures, new_tab):
    upload(tab, pictures[0].path)
    tab.get_by_role("button", name=re.compile("Open rank 2,")).click()
    expect(viewer(tab)).to_contain_text("Person 0")
    assert viewer(tab).get_by_role("heading", name="Rank 2").is_visible()
    both = [viewer(tab).get_by_role("figure", name=name).get_by_role("img") for name in ("Query", "Result")]
    before = [image.bounding_box()["height"] for image in both]
    tab.keyboard.press("+")
    assert [image.bounding_box()["height"] for image in both] == [1.5 * height for height in before]
    tab.keyboard.press("-")
    tab.keyboard.press("ArrowRight")
    expect(viewer(tab).get_by_role("heading", name="Rank 3")).to_be_visible()
    third = tab.get_by_role("button", name=FOUND, include_hidden=True).nth(2).get_attribute("aria-label")
    viewer(tab).get_by_role("button", name="More like this").click()
    expect(viewer(tab)).to_have_count(0)
    query = tab.get_by_role("list", name="Pictures of the query")
    expect(query.get_by_role("listitem")).to_have_count(1)
    expect(query).to_contain_text(re.search(r"12:\d\d:\d\d", third)[0])
    expect(tab.get_by_role("button", name=re.compile("Open rank 1, .*score 1.000"))).to_be_visible()
    shared = tab.url
    key = re.search("key=([0-9a-f]{64})", shared)[1]
    assert key in {key_of(picture.path) for picture in pictures}
    tab.get_by_role("checkbox", name="Other cameras only").check()
    expect(tab.get_by_role("button", name=re.compile(f"Open rank 1, camera {cameras_of([third])[0]}"))).to_have_count(0)
    assert cameras_of([third])[0] not in cameras_of(found(tab))
    for _ in range(2):
        tab.go_back()
    expect(viewer(tab).get_by_role("heading", name="Rank 3")).to_be_visible()  # the picture that was open
    tab.go_back()
    expect(viewer(tab)).to_have_count(0)
    expect(query).to_contain_text(pictures[0].path.name)
    other = new_tab()
    other.goto(shared)
    expect(other.get_by_role("button", name=re.compile("Open rank 1, .*score 1.000"))).to_be_visible()


def test_a_box_chooses_the_person_in_a_scene(tab, scene):
    upload(tab, scene)
    tab.get_by_role("button", name="Draw a box").click()
    stage = viewer(tab).get_by_role("application", name="Picture to draw on")
    frame = stage.bounding_box()
    assert frame["width"] == pytest.approx(3 * frame["height"], rel=0.02)  # upright
    across = frame["width"] / 240
    tab.mouse.move(frame["x"] + 185 * across, frame["y"] + 2)
    tab.mouse.down()
    tab.mouse.move(frame["x"] + 210 * across, frame["y"] + 40 * across)
    tab.mouse.move(frame["x"] + 235 * across, frame["y"] + 79 * across)
    tab.mouse.up()
    sizes = {side: int(viewer(tab).get_by_label(side).input_value()) for side in ("Left", "Top", "Width", "Height")}
    assert sizes["Left"] == pytest.approx(185, abs=2)
    assert sizes["Width"] == pytest.approx(50, abs=3)
    assert sizes["Height"] == pytest.approx(78, abs=3)
    viewer(tab).get_by_role("button", name="Use the box").click()
    expect(tab.get_by_role("button", name=re.compile("Open rank 1, .*Person 1"))).to_be_visible()
    assert persons_of(found(tab))[:EACH] == ["Person 1"] * EACH

    tab.get_by_role("button", name="Change the box").press("Enter")  # the same by keyboard: to the left edge
    stage = viewer(tab).get_by_role("application", name="Picture to draw on")
    expect(stage).to_be_focused()
    for _ in range(60):
        tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("Shift+ArrowLeft")
    assert viewer(tab).get_by_label("Left").input_value() == str(sizes["Left"] - 118)
    viewer(tab).get_by_label("Left").fill("10")
    viewer(tab).get_by_label("Width").fill("4000")
    viewer(tab).get_by_label("Height").press("Tab")
    assert viewer(tab).get_by_label("Width").input_value() == "230"
    viewer(tab).get_by_label("Width").fill("40")
    viewer(tab).get_by_label("Width").press("Enter")
    expect(tab.get_by_role("button", name=re.compile("Open rank 1, .*Person 0"))).to_be_visible()
    expect(tab.get_by_role("button", name="Change the box")).to_be_focused()
    tab.get_by_role("button", name="Change the box").click()
    tab.keyboard.press("Enter")  # accepts the box as it is
    expect(viewer(tab)).to_have_count(0)
    tab.get_by_role("button", name="Change the box").click()
    viewer(tab).get_by_role("button", name="Whole picture").click()
    expect(tab.get_by_role("button", name="Draw a box")).to_be_visible()


def test_several_pictures_are_fused_and_no_more_than_the_service_takes(tab, pictures):
    upload(tab, pictures[0].path, pictures[SHOTS].path)
    tab.get_by_role("radio", name="whichever is nearest").check()
    expect(tab.get_by_role("button", name=re.compile("Open rank 2, .*score 1.000"))).to_be_visible()
    assert sorted(persons_of(found(tab))[: 2 * SHOTS]) == ["Person 0"] * SHOTS + ["Person 1"] * SHOTS
    tab.get_by_role("checkbox", name="Re-rank").check()
    reranked = tab.get_by_role("status").filter(has_text="re-ranked distance")
    expect(reranked).to_be_visible(timeout=60_000)  # torch is imported
    tab.get_by_label("Choose pictures").set_input_files([picture.path for picture in pictures[:7]])
    problem = "A query may have up to 8 pictures; 1 was left out."
    expect(tab.get_by_role("alert").filter(has_text=problem)).to_be_visible()
    assert tab.get_by_role("list", name="Pictures of the query").get_by_role("listitem").count() == 8
    found(tab)
    tab.get_by_role("button", name="Clear", exact=True).click()
    expect(tab.get_by_role("heading", name="Who are you looking for?")).to_be_visible()


GIVE = """([event, name, content]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type: "image/png" }));
  const made = event === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(made);
}"""


def test_pictures_are_dropped_and_pasted(tab, pictures):
    query = tab.get_by_role("list", name="Pictures of the query")
    for number, (event, picture) in enumerate((("drop", pictures[0]), ("paste", pictures[SHOTS])), 1):
        content = base64.b64encode(picture.path.read_bytes()).decode()
        if event == "drop":
            tab.evaluate(GIVE, ["dragenter", picture.path.name, content])
            expect(tab.get_by_text("Drop to search")).to_be_visible()
        tab.evaluate(GIVE, [event, picture.path.name, content])
        expect(query.get_by_role("listitem")).to_have_count(number)
        expect(query).to_contain_text(picture.path.name)
    expect(tab.get_by_text("Drop to search")).to_be_hidden()
    assert set(persons_of(found(tab))) >= {"Person 0", "Person 1"}


def test_a_person_is_described_in_words(tab):
    tab.get_by_role("radio", name="Description").check(force=True)
    tab.get_by_label("Description of the person").fill("somebody yellow and\nred")
    tab.get_by_role("button", name="Search", exact=True).click()
    expect(tab.get_by_role("button", name=re.compile("Open rank 1, .*Person 2"))).to_be_visible()
    assert persons_of(found(tab))[:EACH] == ["Person 2"] * EACH
    assert "text=somebody" in tab.url.partition("#")[2]  # the part that no server sees


def test_without_a_text_tower_nothing_is_described(wordless, new_tab):
    tab = new_tab()
    tab.goto(wordless)
    expect(tab.get_by_role("heading", name="Who are you looking for?")).to_be_visible()
    assert tab.get_by_role("radio", name="Description").count() == 0
    expect(tab.get_by_label("Description of the person")).to_be_hidden()


# --- Persons and joins ------------------------------------------------------------------------------------------------


def test_results_are_seen_by_camera_and_by_person(tab, pictures):
    upload(tab, pictures[0].path)
    see(tab, "By camera")
    headings = tab.get_by_role("main").get_by_role("heading", level=3)
    expect(headings).to_have_text(sorted(CAMERAS))
    expect(tab.get_by_text(f"best 12 of {EACH // 3 * len(PERSONS)} pictures")).to_have_count(3)  # not of one page's 24
    see(tab, "By person")
    expect(headings.first).to_have_text("Person 0")
    expect(tab.get_by_text(f"best 12 of {EACH} pictures, best 1.000")).to_be_visible()
    tab.reload()
    expect(tab.get_by_role("alert").filter(has_text="choose the picture from your computer again")).to_be_visible()


def test_a_person_is_seen_across_cameras_on_a_timeline(tab, pictures):
    upload(tab, pictures[SHOTS].path)
    tab.get_by_role("button", name=re.compile("Open rank 1,")).click()
    line = viewer(tab).get_by_role("group", name=re.compile(r"^Timeline: 15 pictures in .*13:00:00 to 13:02:04"))
    rows = line.get_by_role("listitem", name=re.compile("^Camera "))
    expect(rows).to_have_count(len(CAMERAS))
    left = {}
    for camera in CAMERAS:
        stack = line.get_by_role("button", name=re.compile(f"camera {camera}")).first
        left[camera] = stack.bounding_box()["x"]
    assert left["entrance"] + 100 < left["corridor"] < left["yard"] - 100  # in order of time
    line.get_by_role("button", name=re.compile("camera corridor")).first.click()
    facts = viewer(tab).get_by_role("definition")
    expect(facts.filter(has_text="corridor").first).to_be_visible()
    here = line.get_by_role("button", name=re.compile("camera corridor")).first
    expect(here).to_have_attribute("aria-current", "true")
    assert viewer(tab).get_by_role("heading", name=f"yard {NOT_HTML}").is_visible()  # names are text
    viewer(tab).get_by_role("button", name="Close").click()
    expect(viewer(tab)).to_have_count(0)


def test_without_times_the_person_is_a_list(tab, pictures):
    upload(tab, pictures[TIMELESS * SHOTS].path)
    tab.get_by_role("button", name=re.compile("Open rank 1, camera [^,]+, Person 2")).click()
    expect(viewer(tab)).to_contain_text("No times are known, so there is no timeline.")
    expect(viewer(tab)).not_to_contain_text("\u2013")  # in place of a time
    assert viewer(tab).get_by_role("button", name=re.compile("^Open camera [^,]+, Person 2")).count() == EACH


def test_a_track_is_opened_with_its_frame_and_its_video_beside_the_query(new_tab, tmp_path, filmed):
    write_manifest(tmp_path, filmed, tmp_path / "hall.mp4")
    (tmp_path / "hall.mp4").write_bytes(filmed.video.read_bytes())
    with Gallery.create(tmp_path / "gallery.db", FakeEncoder()) as made:
        add_pictures(made, FakeEncoder(), listed(tmp_path))
        with running(create_app(made, FakeEncoder(), ServiceSettings(token=TOKEN))) as address:
            tab = new_tab()
            tab.add_init_script(f"sessionStorage.setItem('ccafl-token', '{TOKEN}')")
            tab.goto(address)
            expect(tab.get_by_role("heading", name="Who are you looking for?")).to_be_visible()
            expect(tab.get_by_label("From")).to_have_count(0)  # no picture has a time
            names = upload(tab, tmp_path / "hall" / "30.png")
            assert [name.split(", ")[1:4] for name in names] == [
                [f"camera {camera}", "not joined", "track 1"] for camera in ("hall", "yard")
            ]
            tab.get_by_role("checkbox", name="Other cameras only").check()  # which ones is known by the file
            expect(tab.get_by_role("button", name=FOUND)).to_have_count(1)
            tab.get_by_role("button", name=re.compile("Open rank 1, camera yard")).click()
            expect(viewer(tab).get_by_role("img", name="The query: 30.png")).to_be_visible()
            tab.keyboard.press("+")
            expect(viewer(tab).get_by_role("button", name="Smaller")).to_be_enabled()
            viewer(tab).get_by_role("button", name="Show the frame").click()
            frame = viewer(tab).get_by_role("img", name=re.compile("^Frame .* of .*hall.mp4"))
            expect(frame).to_be_visible()
            viewer(tab).get_by_role("button", name="Play the video from here").click()
            at = re.search(r"frame (\d+)$", viewer(tab).get_by_role("definition").last.inner_text())[1]
            second = (int(at) - 1) / 10
            tab.wait_for_function(f"() => Math.abs(document.querySelector('video')?.currentTime - {second}) < 0.01")
            viewer(tab).get_by_role("button", name="Search with the whole track").click()
            expect(tab.get_by_role("list", name="Pictures of the query")).to_contain_text("The whole track")
            expect(tab.get_by_role("button", name=re.compile("Open rank 1, camera hall"))).to_be_visible()


def csv_of(tab, link) -> str:
    with tab.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "corrections.csv"
    return download.value.path().read_text()


def test_a_join_is_corrected_and_corrections_can_be_downloaded(tab, pictures, said):
    header = "kind,camera_a,label_a,camera_b,label_b\n"
    upload(tab, pictures[UNJOINED * SHOTS].path)
    bar = tab.get_by_role("region", name="Selected pictures")
    assert not bar.is_visible()
    tab.get_by_role("checkbox", name=re.compile("Select rank .*camera entrance.*not joined")).first.check()
    expect(bar.get_by_role("button", name="Same person")).to_be_disabled()
    tab.get_by_role("checkbox", name=re.compile("Select rank .*camera corridor.*not joined")).first.check()
    expect(bar).to_contain_text("2 pictures selected: not joined yet.")
    expect(bar.locator("img")).to_have_count(2)
    at = tab.evaluate("scrollY")
    bar.get_by_role("button", name="Same person").click()
    expect(bar).to_contain_text("are one person, now Person 3.")
    joined = tab.get_by_role("button", name=re.compile("Open rank .*Person 3"))
    expect(joined).to_have_count(2 * SHOTS)
    assert (
        csv_of(tab, bar.get_by_role("link", name="corrections.csv")) == f"{header}must_link,corridor,c3,entrance,e3\n"
    )
    bar.get_by_role("button", name="Undo").click()
    expect(joined).to_have_count(0)
    assert tab.request.get(f"{tab.url.partition('#')[0]}api/corrections").json() == []
    expect(bar).to_contain_text("2 pictures selected: not joined yet.")
    bar.get_by_role("button", name="Same person").click()
    expect(joined).to_have_count(2 * SHOTS)
    assert tab.evaluate("scrollY") == at

    for camera in ("corridor", "entrance"):
        tab.get_by_role("checkbox", name=re.compile(f"Select rank .*camera {camera}.*Person 3")).first.check()
    expect(bar).to_contain_text("These are all labels of Person 3")
    expect(bar.get_by_role("button", name="Not this person")).to_be_disabled()
    tab.get_by_role("checkbox", name=re.compile("Select rank .*camera entrance.*Person 3")).first.uncheck()
    expect(bar).to_contain_text("“Not this person” takes corridor c3 out of Person 3.")
    bar.get_by_role("button", name="Not this person").click()
    expect(bar).to_contain_text("Saved: corridor c3 is not Person 3, now Person 4.")
    expect(joined).to_have_count(SHOTS)
    bar.get_by_role("button", name="Dismiss").click()
    assert not bar.is_visible()
    tab.get_by_role("button", name="Corrections").click()
    row = viewer(tab).get_by_role("row", name=re.compile("^corridor c3 not the same person as entrance e3"))
    expect(row).to_be_visible()
    link = viewer(tab).get_by_role("link", name="Download corrections.csv")
    assert csv_of(tab, link) == f"{header}cannot_link,corridor,c3,entrance,e3\n"
    row.get_by_role("button", name="Remove").click()
    expect(viewer(tab)).to_contain_text("None. Select pictures")
    viewer(tab).get_by_role("button", name="Undo").click()
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    viewer(tab).get_by_role("button", name="Close").click()
    expect(tab.get_by_role("button", name=re.compile("Open rank .*not joined"))).to_have_count(3 * SHOTS)


def test_a_join_is_corrected_where_the_person_is_seen(tab, pictures):
    upload(tab, pictures[0].path)
    tab.get_by_role("button", name=re.compile("Open rank 1,")).click()
    bar = viewer(tab).get_by_role("region", name="Selected pictures")
    viewer(tab).get_by_role("button", name="Select all of yard y0").click()
    expect(bar).to_contain_text(f"{SHOTS} pictures selected: Person 0.")
    bar.get_by_role("button", name="Not this person").click()
    expect(bar).to_contain_text("Saved: yard y0 is not Person 0")
    expect(viewer(tab)).to_contain_text("10 pictures in 2 cameras")
    bar.get_by_role("button", name="Undo").click()
    expect(viewer(tab)).to_contain_text("15 pictures in 3 cameras")


def test_a_person_is_named_and_the_name_is_shown_as_text(tab, gallery):
    tab.get_by_role("region", name="People").get_by_role("button", name=re.compile("^Person 1")).click()
    viewer(tab).get_by_role("button", name="Give a name").click()
    tab.keyboard.type(f"{NOT_HTML} \u05e9\u05dc\u05d5\u05dd")
    tab.keyboard.press("Enter")
    named = viewer(tab).get_by_role("heading", name=f"\u2068{NOT_HTML} \u05e9\u05dc\u05d5\u05dd\u2069 across cameras")
    expect(named).to_be_visible()
    viewer(tab).get_by_role("button", name="Close").click()
    person = tab.get_by_role("region", name="People").get_by_role("button", name=re.compile(re.escape(NOT_HTML)))
    expect(person).to_be_visible()
    person.click()
    viewer(tab).get_by_role("button", name="Rename").click()
    tab.keyboard.press("Delete")  # what is there is selected
    tab.keyboard.press("Enter")
    expect(viewer(tab).get_by_role("heading", name="Person 1 across cameras")).to_be_visible()
    assert gallery.ledger.names() == {}


def test_doubtful_joins_are_answered_by_key_and_undone(tab, gallery):
    def kinds() -> list[str]:
        return [kind for kind, *_ in gallery.ledger.corrections()]

    tab.get_by_role("button", name="Doubtful joins").click()
    sides = viewer(tab).get_by_role("region")
    expect(sides).to_have_count(2)
    progress = viewer(tab).get_by_role("status")
    expect(progress).to_contain_text("3 doubtful joins left")  # of the labels that are not joined
    first = [side.get_attribute("aria-label") for side in sides.all()]
    tab.keyboard.press("s")
    expect(sides.last).not_to_have_attribute("aria-label", first[1])
    tab.keyboard.press("u")
    expect(sides.last).to_have_attribute("aria-label", first[1])
    tab.keyboard.press("y")
    expect(progress).to_contain_text("1 answer so far")
    assert kinds() == ["must_link"]
    tab.keyboard.press("n")
    expect(viewer(tab)).to_contain_text("Nothing is left to ask.")  # the third follows from the two
    assert sorted(kinds()) == ["cannot_link", "must_link"]
    for _ in range(2):
        viewer(tab).get_by_role("button", name="Undo").click()
    expect(progress).to_contain_text("0 answers so far")
    assert kinds() == []
    assert [side.get_attribute("aria-label") for side in sides.all()] == first
    viewer(tab).get_by_role("button", name="Close").click()
    expect(tab.get_by_role("region", name="People")).to_be_visible()


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_a_refused_file_is_explained_and_the_query_stays(tab, pictures, tmp_path, said):
    bad = tmp_path / "no-picture.jpg"
    bad.write_bytes(b"this is no picture")
    tab.get_by_label("Choose pictures").set_input_files([pictures[0].path, bad])
    problem = tab.get_by_role("alert").filter(has_text="picture 2, no-picture.jpg")
    expect(problem).to_be_visible()
    assert all("415" in line for line in said), said
    said.clear()
    query = tab.get_by_role("list", name="Pictures of the query")
    assert query.get_by_role("listitem").count() == 2
    query.get_by_role("button", name="Remove: picture 2, no-picture.jpg").click()
    expect(problem).to_have_count(0)
    assert persons_of(found(tab))[0] == "Person 0"


def test_a_service_that_does_not_answer_is_reported_and_can_be_retried(tab, pictures, said):
    upload(tab, pictures[0].path)
    tab.context.set_offline(True)
    tick(tab, "yard").uncheck()
    problem = tab.get_by_role("alert").filter(has_text="The service does not answer.")
    expect(problem).to_be_in_viewport()
    expect(tab.get_by_role("button", name=FOUND)).to_have_count(24)  # the results are still there
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in said), said
    said.clear()
    expect(tab.get_by_role("list", name="Pictures of the query")).to_contain_text(pictures[0].path.name)
    tab.context.set_offline(False)
    tab.get_by_role("button", name="Try again").click()
    expect(tab.get_by_role("button", name=FOUND).first).to_be_visible()
    assert "yard" not in cameras_of(found(tab))


def test_a_token_opens_a_guarded_service(guarded, new_tab, pictures, said):
    tab = new_tab()
    tab.goto(guarded)
    door = tab.get_by_role("dialog", name="This service needs a token")
    expect(door.get_by_label("Token")).to_be_focused()
    door.get_by_label("Token").fill("wrong")
    tab.keyboard.press("Enter")
    expect(door.get_by_role("alert")).to_have_text("The service does not accept this token.")
    door.get_by_label("Token").fill(TOKEN)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="Who are you looking for?")).to_be_visible()
    assert len(said) == 4, said
    assert all("401" in line for line in said), said
    said.clear()
    upload(tab, pictures[0].path)
    tab.wait_for_function(
        "() => { const seen = [...document.querySelectorAll('main img')].slice(0, 8);"
        " return seen.length === 8 && seen.every(image => image.naturalWidth > 0 && image.src.startsWith('blob:')) }"
    )
    tab.get_by_role("button", name=re.compile("Open rank 1,")).click()
    expect(viewer(tab).get_by_role("group", name=re.compile("Timeline"))).to_be_visible()
    tab.reload()  # the tab keeps the token
    expect(viewer(tab).get_by_role("group", name=re.compile("Timeline"))).to_be_visible()


# --- Accessibility ----------------------------------------------------------------------------------------------------


def tab_to(tab, name: re.Pattern, most: int = 80) -> None:
    """Press Tab until the element with this name has the focus."""
    for _ in range(most):
        tab.keyboard.press("Tab")
        focused = tab.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText ?? ''")
        if name.search(focused):
            return
    raise AssertionError(f"no Tab leads to {name.pattern}")


def test_everything_can_be_done_by_keyboard(tab):
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("link", name="Skip to the results")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="Look through the gallery")).to_be_focused()
    tab.get_by_role("radio", name="Picture").focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.get_by_role("radio", name="Description")).to_be_checked()
    tab.keyboard.press("Tab")
    tab.keyboard.type("red and blue")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("button", name=re.compile("Open rank 1,"))).to_be_visible()
    tab_to(tab, re.compile("^Open rank 1,"))
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    second = tab.get_by_role("button", name=re.compile("Open rank 2,"))
    expect(second).to_be_focused()
    tab.keyboard.press("Enter")
    expect(viewer(tab).get_by_role("heading", name="Rank 2")).to_be_focused()
    tab_to(tab, re.compile("^Open camera corridor"))
    tab.keyboard.press("Enter")
    expect(viewer(tab).get_by_role("definition").filter(has_text="corridor").first).to_be_visible()
    assert viewer(tab).evaluate("dialog => dialog.contains(document.activeElement)")
    tab.keyboard.press("Escape")
    expect(viewer(tab)).to_have_count(0)
    focused = tab.locator(":focus")
    expect(focused).to_have_attribute("aria-label", re.compile("^Open rank .*camera corridor"))  # the one opened last
    stop = focused.get_attribute("aria-label")
    tab.keyboard.press("Space")
    expect(tab.get_by_role("checkbox", name=f"Select {stop[5:].partition(', score')[0]}", exact=True)).to_be_checked()
    tab_to(tab, re.compile("^Clear the selection$"), most=8)  # the grid is one stop
    tab.keyboard.press("Enter")
    expect(focused).to_have_attribute("aria-label", stop)


INTERACTIVE = {"button", "checkbox", "radio", "textbox", "combobox", "link", "spinbutton", "Date", "DateTime"}
AXE = {
    "rules": {"target-size": {"enabled": True}},  # touch targets of 24 pixels
    "resultTypes": ["violations"],
}
PARTS = """[...document.querySelectorAll("[data-open][aria-label]")].filter((tile) => tile.checkVisibility()).flatMap(
    (tile) => [...tile.querySelectorAll(".line > *, .whole")].map((part) => [tile.ariaLabel, part.textContent]))"""


def check_accessible(tab) -> None:
    session = tab.context.new_cdp_session(tab)
    nodes = [n for n in session.send("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
    session.detach()
    roles = [node["role"]["value"] for node in nodes]
    controls = [node for node in nodes if node["role"]["value"] in INTERACTIVE]
    assert len(controls) > 2
    assert [n["role"]["value"] for n in controls if not n.get("name", {}).get("value", "").strip()] == []
    assert [n for n in nodes if n["role"]["value"] == "image" and not n.get("name", {}).get("value")] == []
    if "dialog" not in roles:  # a dialog hides what is behind it
        assert [roles.count(role) for role in ("main", "banner", "contentinfo", "search")] == [1, 1, 1, 1]
    found = Axe().run(tab, options=AXE).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert [pair for pair in tab.evaluate(PARTS) if pair[1] not in pair[0]] == []  # names contain the text


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (360, "light")])
def test_controls_are_named_text_is_legible_and_nothing_sticks_out(address, new_tab, pictures, scene, width, scheme):
    tab = new_tab(width, 740, scheme)
    tab.goto(address)

    def check(dialog=False):
        check_accessible(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        if dialog:
            assert viewer(tab).evaluate("d => Math.max(d.scrollWidth, d.firstElementChild.scrollWidth)") <= width

    expect(tab.get_by_role("heading", name="Who are you looking for?")).to_be_visible()
    strip = tab.get_by_role("region", name="yard", exact=True)
    strip.scroll_into_view_if_needed()
    expect(strip.get_by_role("listitem")).to_have_count(SHOTS * len(PERSONS))
    check()
    tab.get_by_role("button", name="Show all of yard").click()
    expect(tab.get_by_role("status").filter(has_text="the latest first")).to_be_visible()
    check()
    tab.get_by_role("button", name="Doubtful joins").click()
    expect(viewer(tab).get_by_role("region")).to_have_count(2)
    check(dialog=True)
    tab.keyboard.press("n")
    expect(viewer(tab).get_by_text(re.compile("1 answer (so far|given)"))).to_be_visible()
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Corrections").click()
    expect(viewer(tab).get_by_role("row")).to_have_count(2)
    check(dialog=True)
    viewer(tab).get_by_role("button", name=re.compile("^Remove: ")).click()
    expect(viewer(tab).get_by_text(re.compile("^Removed: "))).to_be_visible()
    tab.keyboard.press("Escape")
    upload(tab, scene, pictures[0].path)
    tab.get_by_role("checkbox", name=re.compile("Select rank 1,")).check()
    tab.get_by_role("checkbox", name=re.compile("Select rank 2,")).check()
    for view in ("Ranked", "By camera", "By person"):
        see(tab, view)
        check()
    tab.get_by_role("button", name=re.compile("Open rank 1,")).click()
    expect(viewer(tab).get_by_role("group", name=re.compile("Timeline"))).to_be_visible()
    viewer(tab).get_by_role("button", name=re.compile("Give a name")).click()
    check(dialog=True)
    viewer(tab).get_by_role("button", name="Close").click()
    expect(viewer(tab)).to_have_count(0)
    tab.get_by_role("search").locator("details").evaluate("details => { details.open = true }")
    check()
    tab.get_by_role("button", name="Draw a box").first.click()
    tab.keyboard.press("ArrowRight")
    check(dialog=True)
    tab.keyboard.press("Escape")
    expect(viewer(tab)).to_have_count(0)


# --- Hostile names ----------------------------------------------------------------------------------------------------

SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"
BACKWARDS = "\u202egpj.exe"  # shown as exe.jpg by what obeys it
HEBREW = "\u05e9\u05dc\u05d5\u05dd 7"
SAID = """document.body.innerText + [...document.querySelectorAll("*")].flatMap(
    (element) => ["aria-label", "title", "alt"].map((name) => element.getAttribute(name))).join(" ")"""
CLOSING = "\"'></title></style>{{7*7}}${7*7}"


@pytest.fixture
def hostile(tmp_path):
    """A service whose camera, labels, persons and files have names that attack the page."""
    pictures = []
    for number, name in enumerate((SCRIPT, BACKWARDS, HEBREW, CLOSING)):
        path = tmp_path / f"{name.replace('/', '|')}.png"
        draw(number).save(path)
        pictures.append(Picture(path, name, name, FIRST + timedelta(seconds=number)))
    with Gallery.create(tmp_path / "gallery.db", FakeEncoder()) as made:
        add_pictures(made, FakeEncoder(), pictures)
        made.join({(p.camera, p.label): p.label for p in pictures})
        with running(create_app(made, FakeEncoder(), ServiceSettings())) as address:
            yield address, pictures


def test_hostile_names_are_shown_as_text(hostile, new_tab):
    address, pictures = hostile
    tab = new_tab()
    tab.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    tab.goto(address)
    for name in (SCRIPT, CLOSING, f"\u2068{HEBREW}\u2069", "\ufffdgpj.exe"):
        expect(tab.get_by_role("heading", level=4, name=name, exact=True)).to_be_visible()
        expect(tab.get_by_role("region", name="People").get_by_text(name, exact=True)).to_be_visible()
    upload(tab, pictures[1].path)
    for view in ("Ranked", "By camera", "By person"):
        see(tab, view)
        expect(tab.get_by_role("button", name=FOUND)).to_have_count(len(pictures))
    see(tab, "Ranked")
    for rank in range(1, len(pictures) + 1):
        tab.get_by_role("button", name=re.compile(f"Open rank {rank},")).click()
        expect(viewer(tab).get_by_role("group", name=re.compile("Timeline"))).to_be_visible()
        viewer(tab).get_by_role("button", name="Close").click()
    assert "\u202e" not in tab.evaluate(SAID)
    assert tab.evaluate("document.scripts.length") == tab.evaluate("document.querySelectorAll('script[src]').length")
    assert tab.locator("img[src='x']").count() == 0

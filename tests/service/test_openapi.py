"""Whatever Schemathesis sends, the service answers as its OpenAPI description says."""

from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ccafl.service.app import create_app
from ccafl.service.limits import ServiceSettings
from colour_people import CAMERAS, FIRST, FakeEncoder, draw, filled, key_of, png, running

TOKEN = "a-token-of-the-tests"
FEW = settings(max_examples=6, suppress_health_check=list(HealthCheck))
SEARCH, ADDING = "POST /api/search", "POST /api/pictures"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, people):
    with filled(tmp_path_factory.mktemp("openapi") / "gallery.db", FakeEncoder(), people) as gallery:
        yield gallery


@pytest.fixture
def api(gallery):
    with running(create_app(gallery, FakeEncoder(), ServiceSettings(rate=None))) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.fixture
def guarded_api(gallery):
    with running(create_app(gallery, FakeEncoder(), ServiceSettings(rate=None, token=TOKEN))) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def statuses_of(api, mode: GenerationMode, **asked) -> dict[str, Counter]:
    """Try every call in the description; counts the status codes of each."""
    operations = [one.ok() for one in api.get_all_operations()]
    if mode is GenerationMode.NEGATIVE:  # only calls that can be made wrongly
        operations = [one for one in operations if one.body or one.path_parameters]
    with requests.Session() as session:
        return {operation.label: checked(operation, mode, session=session, **asked) for operation in operations}


def checked(operation, mode: GenerationMode, **asked) -> Counter:
    statuses = Counter()
    # no schema can say that bytes are a picture, or that boxes are as many as pictures: test_searches_... looks at that
    excluded = [positive_data_acceptance] if operation.label in (SEARCH, ADDING) else []

    @FEW
    @given(operation.as_strategy(generation_mode=mode))
    def answered(case):
        statuses[case.call_and_validate(excluded_checks=excluded, **asked).status_code] += 1

    answered()
    return statuses


def test_proper_requests_are_answered_as_described(api):
    statuses = statuses_of(api, GenerationMode.POSITIVE)
    assert len(statuses) == 25
    assert set(statuses["GET /api/gallery"]) == {200}
    assert set(statuses["POST /api/corrections/merge"]) == {409}
    assert set(statuses["GET /api/persons"]) == set(statuses["GET /api/review"]) == {200}


def test_improper_requests_are_refused_as_described(api):
    statuses = statuses_of(api, GenerationMode.NEGATIVE)
    assert len(statuses) == 16
    assert set(statuses.pop(ADDING)) == {403}, "there is no token"
    assert set().union(*statuses.values()) <= {400, 404, 422}


def test_requests_with_the_token_are_answered_as_described(guarded_api):
    statuses = statuses_of(guarded_api, GenerationMode.POSITIVE, headers={"Authorization": f"Bearer {TOKEN}"})
    assert not any(401 in counts for counts in statuses.values())


def test_requests_without_the_token_are_refused_as_described(guarded_api):
    statuses = statuses_of(guarded_api, GenerationMode.POSITIVE)
    assert {label for label, counts in statuses.items() if set(counts) != {401}} == {"GET /health", "GET /ready"}


def test_searches_and_corrections_are_answered_as_described(api, people):
    file = png(draw(0))
    one, same, other = (key_of(people[n].path) for n in (0, 8, 2))
    for body in (
        {"picture": [file]},
        {"picture": [file, file], "box": ["", "2,2,20.5,40"], "fusion": "max", "rerank": True},
        {"picture": [file], "key": [one], "camera": [CAMERAS[0]], "exclude_camera": [CAMERAS[1]]},
        {"key": [one], "since": FIRST.isoformat(), "until": "2026-05-05", "limit": 3, "offset": 1},
        {"track": [one], "group": "track", "other_cameras": True},
        {"text": "a person in red"},
    ):
        found = api["/api/search"]["POST"].Case(body=body, media_type="multipart/form-data").call_and_validate()
        assert found.status_code == 200
        assert found.json()["hits"]
    for path in ("/api/pictures/{key}", "/api/pictures/{key}/thumbnail"):
        assert api[path]["GET"].Case(path_parameters={"key": one}).call_and_validate().status_code == 200
    for kind, keys in (("split", [one, other]), ("split", [one]), ("merge", [one, same])):
        case = api[f"/api/corrections/{kind}"]["POST"].Case(body={"keys": keys}, media_type="application/json")
        assert case.call_and_validate().status_code == (409 if other in keys else 200)
    assert api["/api/corrections"]["GET"].Case().call_and_validate().json()

"""The command line and the HTTP API offer every filter, as `ccafl.gallery.filters` describes it."""

import typer

from ccafl.cli import app
from ccafl.gallery.filters import FILTERS, Filters
from ccafl.service.forms import form_schema
from ccafl.service.limits import ServiceSettings


def test_every_filter_is_an_option_and_a_form_field():
    options = {option.name: option for option in typer.main.get_command(app).commands["search"].params}
    fields = form_schema(ServiceSettings())["properties"]
    assert FILTERS
    for filter_ in FILTERS.values():
        assert options[filter_.parameter].opts == [f"--{filter_.parameter.replace('_', '-')}"]
        assert options[filter_.parameter].help.startswith(filter_.description)
        assert fields[filter_.parameter]["description"].startswith(filter_.description)


def test_filters_are_made_of_parameters():
    parameters = {filter_.parameter: None for filter_ in FILTERS.values()}
    assert Filters.of(parameters) == Filters()
    assert Filters.of(parameters | {"camera": ["b", "a", "b"]}) == Filters(cameras=("b", "a"))
    assert list(Filters().active()) == []

"""Requests that are made from /openapi.json, valid ones and others: each answer is one that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.web.conftest import Web

pytest.importorskip("schemathesis", reason="schemathesis isn't installed: the extra `clients` has it")

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

# Where a request may be wrong in a way that JSON Schema can't say.
SEMANTIC = {
    "GET /v1/search",  # one query at a time; a cursor is one that was given
    "POST /v1/search",
    "GET /v1/images",  # filter is JSON
    "POST /v1/images",  # addresses
    "POST /v1/images/files",  # a file is an image
    "POST /v1/uploads",
    "POST /v1/uploads/data",
    "POST /v1/embeddings",  # one of input and messages
    "POST /v1/images/tag",  # U+0000, which PostgreSQL can't store
    "POST /v1/labels",
    "GET /v1/models/compare",  # of two models
    "GET /v1/models/compare/search",
}
NAMES = "{label_set}"  # in a path: a name isn't blank
FETCHES = {"POST /v1/models"}  # a name that looks like one of the hub's would be looked up there


@pytest.fixture(scope="module")
def api_schema(own_web: Web) -> Iterator[Any]:
    with own_web.serve(web_hosts=frozenset({"*"})) as opened:
        yield schemathesis.openapi.from_asgi("/openapi.json", opened.app)


def check_all(api_schema: Any, examples: int) -> list[str]:
    """What is wrong with the answers of each route, to `examples` valid requests and as many that aren't."""
    found = []
    for result in api_schema.get_all_operations():
        operation = result.ok()
        if operation.label in FETCHES:
            continue
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)

            @given(case=strategy)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def check(case: Any) -> None:
                label = case.operation.label
                excluded = [positive_data_acceptance] if label in SEMANTIC or NAMES in label else []
                if label == "POST /v1/images/files":
                    excluded.append(negative_data_rejection)  # an empty field of a form is none
                response = case.call_and_validate(excluded_checks=excluded)
                if response.status_code >= 400 and case.method != "HEAD":
                    assert response.headers["content-type"] == ["application/problem+json"]
                    assert {"type", "title", "status", "detail"} <= response.json().keys()

            try:
                check()
            except Unsatisfiable:  # a route without parameters: all requests are valid
                continue
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # of several failures schemathesis makes a group
                found.append(f"{operation.label} ({mode.value}): {error}")
    return found


def test_answers_are_what_openapi_says(api_schema: Any) -> None:
    problems = check_all(api_schema, 4)
    assert not problems, "\n\n".join(problems)


@pytest.mark.slow
def test_answers_to_many_requests_are_what_openapi_says(api_schema: Any) -> None:
    problems = check_all(api_schema, 30)
    assert not problems, "\n\n".join(problems)

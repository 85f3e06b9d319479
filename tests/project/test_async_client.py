"""The asynchronous client is made from the synchronous one, and has all of it."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from siglip_ingest import AsyncIngestion, AsyncSiglipClient, Ingestion, SiglipClient
from tools.async_client import MODULE, make_module

OF_THE_BASE = {"close", "from_environment"}  # written by hand, in async_base.py
NOT_ASYNCHRONOUS = {"database", "model", "forget_inherited"}  # of `AsyncSiglipClient.synchronous`


def public_names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters_of(function: Callable[..., Any]) -> list[tuple[Any, ...]]:
    return [
        (parameter.name, parameter.kind, parameter.annotation, "a function" if inspect.isfunction(default) else default)
        for parameter in inspect.signature(function).parameters.values()
        for default in [parameter.default]
    ]


METHODS = sorted(public_names(SiglipClient) - NOT_ASYNCHRONOUS - OF_THE_BASE)


def test_the_module_is_what_the_tool_makes_of_the_synchronous_client() -> None:
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff isn't installed, which formats the module")
    assert MODULE.read_text(encoding="utf-8") == make_module(), "run `make async`"


def test_every_public_method_is_there() -> None:
    assert public_names(AsyncSiglipClient) >= public_names(SiglipClient) - NOT_ASYNCHRONOUS
    assert public_names(AsyncIngestion) == public_names(Ingestion) - {"poll"} | {"ingestion_id", "model_id"}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_parameters_and_the_docstring_of_the_synchronous_one(name: str) -> None:
    asynchronous, synchronous = getattr(AsyncSiglipClient, name), getattr(SiglipClient, name)
    assert parameters_of(asynchronous) == parameters_of(synchronous)
    assert inspect.getdoc(asynchronous) == inspect.getdoc(synchronous)
    returns = inspect.signature(synchronous).return_annotation
    assert inspect.iscoroutinefunction(asynchronous) == (not returns.startswith("Iterator"))


def test_clients_are_made_with_the_same_parameters() -> None:
    for name in ("__init__", "from_environment"):
        ours = dict(inspect.signature(getattr(AsyncSiglipClient, name)).parameters)
        assert ours.pop("max_threads").default == 16
        assert ours == dict(inspect.signature(getattr(SiglipClient, name)).parameters)

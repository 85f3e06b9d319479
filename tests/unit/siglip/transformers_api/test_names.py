"""The names of the transformers API, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from siglip_ingest import siglip
from siglip_ingest.errors import ConfigurationError


def test_opening_the_door_imports_no_torch_and_no_numpy() -> None:
    code = "import sys, siglip_ingest.siglip; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "numpy", "transformers"} & set(loaded)


def test_every_name_resolves_and_the_list_is_sorted() -> None:
    assert siglip.__all__ == sorted(siglip.__all__)
    for name in siglip.__all__:
        assert getattr(siglip, name).__doc__, name
        assert name in dir(siglip)


def test_each_class_has_its_twin() -> None:
    first = {name for name in siglip.__all__ if name.startswith("Siglip") and not name.startswith("Siglip2")}
    second = {name for name in siglip.__all__ if name.startswith("Siglip2")}
    assert {name.replace("Siglip", "Siglip2", 1) for name in first} == second


def test_the_pipeline_is_the_function_even_after_its_module_was_imported() -> None:
    import siglip_ingest.siglip.transformers_api.pipelines

    assert inspect.ismodule(siglip_ingest.siglip.transformers_api.pipelines)
    assert inspect.isfunction(siglip.pipeline)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="CLIPModel"):
        siglip.CLIPModel  # noqa: B018


def test_quantization_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match="bfloat16"):
        siglip.BitsAndBytesConfig  # noqa: B018

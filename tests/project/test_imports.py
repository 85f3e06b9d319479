"""What importing the package costs, and what its public names are."""

import subprocess
import sys

import pytest

import siglip_ingest


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_imports_neither_torch_nor_celery() -> None:
    loaded = run_python("import sys, siglip_ingest; print(*sys.modules)").split()
    assert not {"torch", "celery", "numpy", "psycopg"} & set(loaded)


def test_importing_the_client_imports_neither_torch_nor_celery() -> None:
    loaded = run_python("import sys; from siglip_ingest import SiglipClient; print(*sys.modules)").split()
    assert not {"torch", "celery", "transformers"} & set(loaded)


def test_importing_the_package_imports_nothing_that_takes_long() -> None:
    # What takes time is other packages; the standard library's modules are few.
    code = "import sys; before = set(sys.modules); import siglip_ingest; print(*set(sys.modules) - before)"
    loaded = run_python(code).split()
    assert {name.partition(".")[0] for name in loaded} - {"siglip_ingest", "lazy_loader"} <= sys.stdlib_module_names
    assert len(loaded) < 100


def test_every_public_name_resolves_and_the_list_is_sorted() -> None:
    assert siglip_ingest.__all__ == sorted(siglip_ingest.__all__)
    for name in siglip_ingest.__all__:
        assert getattr(siglip_ingest, name).__doc__
        assert name in dir(siglip_ingest)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="search_photos"):
        siglip_ingest.search_photos  # noqa: B018

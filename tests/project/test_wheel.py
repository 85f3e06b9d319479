"""What an install ships."""

import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    path = next(iter(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))
    return zipfile.ZipFile(path).namelist()


def test_the_wheel_ships_exactly_three_packages(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "siglip_ingest",
        "siglip_workers",
        "siglip_migrations",
    }


def list_data_files(folder: Path) -> list[Path]:
    """Without what Python keeps there, and a model that was prepared in int8."""
    files = [file for file in folder.rglob("*.*") if file.is_file() and file.suffix != ".pyc"]
    return [file for file in files if ".siglip_ingest" not in file.parts]


@pytest.mark.parametrize(
    "path",
    ["siglip_ingest/db", "siglip_migrations/sql", "siglip_ingest/demo/checkpoint", "siglip_ingest/web/static"],
    ids=lambda path: path,
)
def test_the_wheel_ships_every_data_file(wheel_names: list[str], path: str) -> None:
    folder = ROOT / {"siglip_migrations": "migrations"}.get(path.split("/", maxsplit=1)[0], "") / path
    wanted = {f"{path}/{file.relative_to(folder).as_posix()}" for file in list_data_files(folder)}
    assert wanted
    assert wanted <= set(wheel_names)


def test_the_wheel_ships_no_tests_and_stays_small(wheel_names: list[str]) -> None:
    assert not [name for name in wheel_names if "test" in Path(name).name and name.endswith(".py")]


def test_the_installed_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version("siglip-ingest") == project["version"]
    assert sys.version_info >= (3, 11)

"""Writes the migrations as files of a PostgreSQL extension, for `CREATE EXTENSION siglip`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

NAME = "siglip"
FIRST = "0009"  # the oldest revision that there are files for
UNPACKAGED = "unpackaged"  # the version of a schema that `siglip-ingest migrate` made

_CONTROL = """\
comment = 'Image search: images, their SigLIP embeddings, labels, and functions that search them'
default_version = '{version}'
requires = 'vector'
no_relocate = 'vector'
relocatable = false
schema = '{name}'
superuser = false
"""
_GUARD = '\\echo Use "CREATE EXTENSION siglip" to load this file. \\quit\n'


def extension_files(revisions: Iterable[str], *, first: str = FIRST) -> dict[str, str]:
    """The files of the extension: its control file, a script that makes all, and scripts that update.

    Args:
        revisions: All revisions, in order; the last is the version that CREATE EXTENSION makes.
        first: The oldest revision that an update starts from.

    Returns:
        The files' contents by their names.
    """
    known = list(revisions)
    newest = known[-1]
    updates = known[known.index(first) :]
    found = {
        f"{NAME}.control": _CONTROL.format(name=NAME, version=newest),
        f"{NAME}--{newest}.sql": _script(
            _own("010_before"), *map(_migration, known), _own("020_revision", newest), _own("040_kept_rows")
        ),
        f"{NAME}--{UNPACKAGED}.sql": _script(_own("015_migrated", newest)),
        f"{NAME}--{UNPACKAGED}--{newest}.sql": _script(
            _own("015_migrated", newest), _own("030_members"), _own("040_kept_rows")
        ),
    }
    for before, after in pairwise(updates):
        found[f"{NAME}--{before}--{after}.sql"] = _script(
            _migration(after), _own("050_updated", after), _own("040_kept_rows")
        )
    return found


def write_extension(folder: Path) -> list[Path]:
    """Write the files of the extension into a folder, which is made where it is missing; older ones are replaced.

    Raises:
        OSError: If they can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in extension_files(known_revisions()).items():
        path = folder / name
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def known_revisions() -> list[str]:
    """All revisions of this package, the oldest first."""
    from alembic.script import ScriptDirectory

    from siglip_migrations import _config

    return sorted(script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions())


def _script(*parts: str) -> str:
    return "\n".join([_GUARD, *parts])


def _migration(revision: str) -> str:
    """The statements of a revision on its way up, which CREATE EXTENSION runs with the search_path of `run_scripts`."""
    folder = files("siglip_migrations") / "sql" / revision
    scripts = sorted((entry for entry in folder.iterdir() if entry.is_file()), key=lambda entry: entry.name)
    text = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    return text.replace("@vector@", "@extschema:vector@")


def _own(name: str, revision: str = "") -> str:
    text = (files("siglip_migrations") / "sql" / "extension" / f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("@revision@", revision)

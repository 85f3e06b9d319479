"""`delete`, `prune` and `sync`: what they ask, do and print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from siglip_ingest.demo.world import write_images
from tests.cli.conftest import Terminal
from tests.programs import wait_until


def count_images(terminal: Terminal, collection: str) -> int:
    answer = terminal.run("delete", "--collection", collection, "--dry-run", "--json")
    assert answer.returncode == 0, answer.stderr
    return int(json.loads(answer.stdout)["images"])


def search_uris(terminal: Terminal, collection: str) -> set[str]:
    found = terminal.run("search", "a boat", "--collection", collection, "--limit", "100", "--json")
    assert found.returncode == 0, found.stderr
    return {Path(match["uri"]).name for match in json.loads(found.stdout)}


def test_images_are_deleted_and_no_longer_found(terminal: Terminal, tmp_path: Path) -> None:
    write_images(tmp_path, 3, seed=70_000, size=(64, 64))
    paths = sorted(tmp_path.glob("*.*"))
    assert terminal.run("index", str(tmp_path), "--collection", "to delete").returncode == 0
    refused = terminal.run("delete", "--collection", "to delete")
    assert refused.returncode == 2
    assert "Delete 3 images? Nobody can be asked here: --yes says so" in refused.stderr
    one = terminal.run("delete", "--uri", str(paths[0]), "--collection", "to delete", "--yes")
    assert (one.returncode, one.stdout) == (0, "1 image deleted.\n")
    assert search_uris(terminal, "to delete") == {path.name for path in paths[1:]}
    rest = terminal.run("delete", "--collection", "to delete", "--yes", "--json")
    assert json.loads(rest.stdout) == {"images": 2, "dry_run": False}
    assert count_images(terminal, "to delete") == 0


def test_without_a_condition_nothing_is_deleted(terminal: Terminal) -> None:
    refused = terminal.run("delete", "--yes")
    assert refused.returncode == 2
    assert "Say which images" in refused.stderr


def test_images_whose_file_is_gone_are_pruned(terminal: Terminal, tmp_path: Path) -> None:
    write_images(tmp_path / "there", 2, seed=71_000, size=(64, 64))
    write_images(tmp_path / "mount", 1, seed=72_000, size=(64, 64))
    assert terminal.run("index", str(tmp_path), "--collection", "to prune").returncode == 0
    gone = sorted((tmp_path / "there").iterdir())[0]
    gone.unlink()
    (mounted,) = (tmp_path / "mount").iterdir()
    mounted.unlink()
    dry = terminal.run("prune", "--collection", "to prune", "--dry-run", "--json")
    assert json.loads(dry.stdout) == {
        "checked": 3,
        "gone": [gone.as_uri()],
        "unreachable": [mounted.as_uri()],
        "dry_run": True,
    }
    done = terminal.run("prune", "--collection", "to prune", "--yes")
    assert (done.returncode, done.stdout) == (0, "3 images looked at, 1 deleted.\n")
    assert "a mount may be missing. They stay:" in done.stderr
    assert str(mounted) in done.stderr
    assert count_images(terminal, "to prune") == 2


def test_a_collection_is_made_as_a_folder_is(terminal: Terminal, tmp_path: Path) -> None:
    write_images(tmp_path, 4, seed=73_000, size=(64, 64))
    first, second, *_ = sorted(tmp_path.glob("*.*"))
    made = terminal.run("sync", str(tmp_path), "--collection", "followed")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "4 new, 0 changed, 0 moved, 0 deleted, 0 unchanged.\n4 done, 0 failed.\n"
    first.unlink()
    second.rename(tmp_path / f"renamed{second.suffix}")
    dry = terminal.run("sync", str(tmp_path), "--collection", "followed", "--dry-run")
    assert f"moved: {second} -> {tmp_path / f'renamed{second.suffix}'}" in dry.stdout
    assert f"deleted: {first}" in dry.stdout
    assert count_images(terminal, "followed") == 4
    done = terminal.run("sync", str(tmp_path), "--collection", "followed", "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (len(answer["moved"]), answer["deleted"], answer["unchanged"]) == (1, [first.as_uri()], 2)
    assert search_uris(terminal, "followed") == {path.name for path in tmp_path.glob("*.*")}


def test_a_folder_is_followed_until_ctrl_c(terminal: Terminal, tmp_path: Path) -> None:
    write_images(tmp_path, 1, seed=74_000, size=(64, 64))
    program = subprocess.Popen(
        [Path(sys.executable).with_name("siglip-ingest"), "sync", str(tmp_path), "--collection", "watched", "--watch"],
        cwd=terminal.folder,
        env=terminal.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stderr is not None
        wait_until(lambda: "Following" in (program.stderr.readline() if program.stderr else ""), timeout_s=60)
        write_images(tmp_path / "later", 2, seed=75_000, size=(64, 64))
        wait_until(lambda: count_images(terminal, "watched") == 3, timeout_s=120)
        next((tmp_path / "later").iterdir()).unlink()
        wait_until(lambda: count_images(terminal, "watched") == 2, timeout_s=120)
        os.kill(program.pid, signal.SIGINT)
        assert program.wait(timeout=30) == 0
    finally:
        program.kill()
        program.communicate()

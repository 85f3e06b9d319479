"""What lies in the cache: whole or not, pinned, compared with what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from siglip_ingest.errors import DownloadError
from siglip_ingest.siglip.checkpoint.hub import HubName, pull
from siglip_ingest.siglip.checkpoint.hub.cache import find_cached, hash_blob, list_pinned_repositories
from tests.unit.siglip.checkpoint.hub.conftest import NAME, Computer, Counter, spoil

TINY = HubName(NAME)
WEIGHTS = "model.safetensors"


def test_offline_the_cached_files_are_checked(computer: Computer) -> None:
    fetched = pull(TINY)
    computer.go_offline()
    counter = Counter()
    assert pull(TINY, progress=counter).folder == fetched.folder
    assert counter.done_bytes == counter.total_bytes == fetched.size_bytes
    spoil(computer.blob(WEIGHTS))
    with pytest.raises(DownloadError, match=f"{WEIGHTS} is damaged"):
        pull(TINY)


def unlink_cache(folder: Path) -> None:
    """Put files of its own into a snapshot instead of links, as a file system without links has them."""
    for link in folder.iterdir():
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)


def test_offline_what_can_not_be_compared_is_said_to_be_unchecked(computer: Computer) -> None:
    fetched = pull(TINY)
    assert fetched.unchecked == ()
    unlink_cache(fetched.folder)
    computer.go_offline()
    counter = Counter()
    again = pull(TINY, progress=counter)
    assert set(again.unchecked) == {path.name for path in fetched.folder.iterdir()}
    assert len(again.unchecked) == again.files
    assert counter.done_bytes == counter.total_bytes


def test_with_the_hub_files_without_links_are_compared_too(computer: Computer) -> None:
    folder = pull(TINY).folder
    unlink_cache(folder)
    spoil(folder / WEIGHTS)
    again = pull(TINY)
    assert (again.repaired, again.unchecked) == ((WEIGHTS,), ())
    assert (folder / WEIGHTS).read_bytes() == (computer.published / WEIGHTS).read_bytes()


def test_a_mirror_that_lists_no_hashes_leaves_those_that_the_links_say(computer: Computer) -> None:
    folder = pull(TINY).folder
    computer.hub.has_metadata = False
    assert pull(TINY).unchecked == ()
    spoil(computer.blob(WEIGHTS))
    assert pull(TINY).repaired == (WEIGHTS,)
    unlink_cache(folder)
    assert len(pull(TINY).unchecked) == len(list(folder.iterdir()))


@pytest.mark.parametrize("file", ["preprocessor_config.json", "spiece.model"])
def test_offline_a_pull_of_what_lacks_a_file_names_it(computer: Computer, file: str) -> None:
    folder = pull(TINY).folder
    (folder / file).unlink()
    computer.go_offline()
    cached = find_cached(TINY)
    assert cached is not None
    assert not cached.is_whole
    with pytest.raises(DownloadError, match=rf"only a part of {NAME}: .* has no {file}.*HF_HUB_OFFLINE"):
        pull(TINY)


def test_the_pin_is_a_ref_that_cleaning_tools_see(computer: Computer) -> None:
    from huggingface_hub import scan_cache_dir

    pull(TINY)
    (repository,) = scan_cache_dir(computer.cache).repos
    (revision,) = repository.revisions
    assert revision.refs == {"main", "siglip_ingest/pinned"}
    assert list_pinned_repositories() == [NAME]


def test_the_cache_tells_whole_from_unfinished(computer: Computer) -> None:
    assert find_cached(TINY) is None
    computer.hub.cut_off.add(WEIGHTS)
    with pytest.raises(DownloadError):
        pull(TINY)
    part = find_cached(TINY)
    assert part is not None
    assert not part.is_whole
    computer.hub.cut_off.clear()
    pull(TINY)
    whole = find_cached(TINY)
    assert whole is not None
    assert whole.is_whole
    assert whole.is_pinned
    assert whole.size_bytes == sum(file.stat().st_size for file in whole.folder.iterdir())


def test_hashes_are_those_of_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"test content\n")
    # The example of https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    assert hash_blob(file, "git") == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    assert hash_blob(file, "sha256") == hashlib.sha256(b"test content\n").hexdigest()

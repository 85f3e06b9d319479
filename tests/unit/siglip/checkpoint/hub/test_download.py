"""Fetching: resumed, compared with what was published, pinned."""

from __future__ import annotations

import errno
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from siglip_ingest.errors import DownloadError, HubUnavailableError, InvalidInputError
from siglip_ingest.siglip.checkpoint.hub import HubName, format_bytes, pull, resolve_checkpoint
from siglip_ingest.siglip.checkpoint.hub.cache import find_pinned
from siglip_ingest.siglip.checkpoint.hub.files import PARTIAL_SUFFIX
from tests.unit.siglip.checkpoint.hub.conftest import NAME, Computer, Counter, spoil
from tests.unit.siglip.checkpoint.hub_server import COMMIT, OLDER_COMMIT

TINY = HubName(NAME)
WEIGHTS = "model.safetensors"


def partials(computer: Computer) -> list[Path]:
    return list(computer.cache.rglob(f"*{PARTIAL_SUFFIX}"))


def test_what_arrives_is_what_was_published_and_every_byte_is_counted(computer: Computer) -> None:
    counter = Counter()
    fetched = pull(TINY, progress=counter)
    assert fetched.commit == COMMIT
    for file in fetched.folder.iterdir():
        assert file.read_bytes() == (computer.published / file.name).read_bytes()
    assert fetched.files == len(list(fetched.folder.iterdir()))
    assert fetched.fetched_bytes == fetched.size_bytes == counter.done_bytes == counter.total_bytes
    assert fetched.repaired == ()
    assert partials(computer) == []


def test_a_second_pull_fetches_nothing_but_the_listing(computer: Computer) -> None:
    pull(TINY)
    computer.hub.requested.clear()
    counter = Counter()
    again = pull(TINY, progress=counter)
    assert again.fetched_bytes == 0
    assert counter.done_bytes == counter.total_bytes > 0
    assert not any("resolve" in path for path in computer.hub.requested)


def test_a_pull_moves_the_name_to_the_newest_commit(computer: Computer) -> None:
    pull(TINY)
    computer.publish(OLDER_COMMIT, text="newer")
    sent = computer.hub.sent_bytes[WEIGHTS]
    assert resolve_checkpoint(NAME).name == COMMIT
    assert pull(TINY).commit == OLDER_COMMIT
    assert resolve_checkpoint(NAME).name == OLDER_COMMIT
    assert computer.hub.sent_bytes[WEIGHTS] == sent  # its content is the same in both


def test_a_revision_that_is_pulled_is_what_the_plain_name_means(computer: Computer) -> None:
    computer.hub.commits[NAME] = COMMIT
    computer.publish(OLDER_COMMIT, text="newer")
    computer.hub.revisions[f"{NAME}@v1"] = computer.hub.revisions.pop(f"{NAME}@{COMMIT}")
    pull(TINY, revision="v1")
    computer.hub.requested.clear()
    for name in (NAME, f"{NAME}@v1", f"{NAME}@{COMMIT}"):
        assert resolve_checkpoint(name).name == COMMIT
    assert not computer.hub.requested
    pull(TINY)
    assert resolve_checkpoint(NAME).name == OLDER_COMMIT
    assert resolve_checkpoint(f"{NAME}@v1").name == COMMIT


def test_a_name_with_a_revision_is_pulled_beside_the_plain_one(computer: Computer) -> None:
    computer.hub.commits[NAME] = COMMIT
    pull(TINY)
    computer.publish(OLDER_COMMIT, text="newer")
    assert pull(HubName(NAME, "main")).commit == OLDER_COMMIT
    assert resolve_checkpoint(NAME).name == COMMIT


def test_two_different_revisions_at_once_are_refused(computer: Computer) -> None:
    with pytest.raises(InvalidInputError, match="'v2' is another one"):
        pull(HubName(NAME, "v1"), revision="v2")
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        pull(TINY, revision="v9")


def test_an_interrupted_download_goes_on_where_it_stopped(computer: Computer) -> None:
    computer.hub.cut_off.add(WEIGHTS)
    with pytest.raises(DownloadError, match=r"whole.*what has arrived is kept"):
        pull(TINY)
    (partial,) = partials(computer)
    arrived = partial.stat().st_size
    assert arrived > 0
    computer.hub.cut_off.clear()
    computer.hub.ranges.clear()
    computer.hub.sent_bytes.clear()
    counter = Counter()
    fetched = pull(TINY, progress=counter)
    size = (computer.published / WEIGHTS).stat().st_size
    assert computer.hub.ranges == [f"bytes={arrived}-"]
    assert computer.hub.sent_bytes[WEIGHTS] == size - arrived
    assert counter.done_bytes == counter.total_bytes
    assert fetched.fetched_bytes < fetched.size_bytes
    assert partials(computer) == []


def test_a_connection_that_breaks_again_and_again_still_brings_the_file(computer: Computer) -> None:
    computer.hub.bytes_per_answer = 50_000  # the weights have about 220,000
    counter = Counter()
    pull(TINY, progress=counter)
    assert len(computer.hub.ranges) >= 4
    assert counter.done_bytes == counter.total_bytes


def test_a_hub_that_knows_no_ranges_sends_the_whole_file_again(computer: Computer) -> None:
    computer.hub.cut_off.add(WEIGHTS)
    with pytest.raises(DownloadError):
        pull(TINY)
    computer.hub.cut_off.clear()
    computer.hub.ignores_ranges = True
    counter = Counter()
    fetched = pull(TINY, progress=counter)
    assert (fetched.folder / WEIGHTS).read_bytes() == (computer.published / WEIGHTS).read_bytes()
    assert counter.done_bytes == counter.total_bytes


def test_a_damaged_beginning_is_noticed_and_fetched_again(computer: Computer) -> None:
    computer.hub.cut_off.add(WEIGHTS)
    with pytest.raises(DownloadError):
        pull(TINY)
    spoil(partials(computer)[0])
    computer.hub.cut_off.clear()
    counter = Counter()
    fetched = pull(TINY, progress=counter)
    assert (fetched.folder / WEIGHTS).read_bytes() == (computer.published / WEIGHTS).read_bytes()
    assert counter.done_bytes == counter.total_bytes


@pytest.mark.parametrize("file", [WEIGHTS, "preprocessor_config.json"], ids=["large", "small"])
def test_content_that_was_altered_once_on_the_way_is_fetched_again(computer: Computer, file: str) -> None:
    computer.hub.corrupt[file] = 1
    fetched = pull(TINY)
    assert (fetched.folder / file).read_bytes() == (computer.published / file).read_bytes()


@pytest.mark.parametrize("file", [WEIGHTS, "preprocessor_config.json"], ids=["large", "small"])
def test_content_that_is_always_altered_on_the_way_is_not_kept(computer: Computer, file: str) -> None:
    computer.hub.corrupt[file] = 99
    with pytest.raises(DownloadError, match=f"{file} of {NAME} arrived with other content"):
        pull(TINY)
    assert not list(computer.cache.rglob(file))
    assert partials(computer) == []
    assert find_pinned(TINY) is None


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"], ids=["large", "small"])
@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_a_damaged_file_in_the_cache_is_replaced_by_a_pull(computer: Computer, file: str, damage: str) -> None:
    folder = pull(TINY).folder
    blob = computer.blob(file)
    if damage == "altered":
        spoil(blob)
    else:
        blob.write_bytes(blob.read_bytes()[:-1])
    again = pull(TINY)
    assert again.repaired == (file,)
    assert again.fetched_bytes == (computer.published / file).stat().st_size
    assert (folder / file).read_bytes() == (computer.published / file).read_bytes()


def test_a_damaged_file_of_another_revision_is_not_taken_over(computer: Computer) -> None:
    pull(TINY)
    spoil(computer.blob(WEIGHTS))
    computer.publish(OLDER_COMMIT, text="newer")
    fetched = pull(TINY)
    assert fetched.repaired == (WEIGHTS,)
    assert (fetched.folder / WEIGHTS).read_bytes() == (computer.published / WEIGHTS).read_bytes()


def test_a_mirror_that_lists_no_sizes_is_good_enough(computer: Computer) -> None:
    computer.hub.has_metadata = False
    fetched = pull(TINY)
    assert (fetched.folder / WEIGHTS).read_bytes() == (computer.published / WEIGHTS).read_bytes()
    assert resolve_checkpoint(NAME) == fetched.folder


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"], ids=["large", "small"])
def test_a_mirror_that_lists_no_sizes_can_alter_nothing_unnoticed(computer: Computer, file: str) -> None:
    computer.hub.has_metadata = False
    computer.hub.corrupt[file] = 99
    with pytest.raises(DownloadError, match="other content"):
        pull(TINY)
    assert find_pinned(TINY) is None


def test_offline_nothing_can_be_pulled_that_is_not_there(computer: Computer) -> None:
    computer.go_offline()
    with pytest.raises(HubUnavailableError, match="HF_HUB_OFFLINE"):
        pull(TINY)


def test_two_who_want_the_same_checkpoint_fetch_it_once(computer: Computer) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(resolve_checkpoint, [NAME, NAME])
    assert first == second
    assert computer.hub.sent_bytes[WEIGHTS] == (computer.published / WEIGHTS).stat().st_size


def test_a_disk_that_is_too_small_is_noticed_before_the_download(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(DownloadError, match=r"needs 466 kB more, but the disk of .* has 1\.00 kB free"):
        pull(TINY)
    assert not any("resolve" in path for path in computer.hub.requested)


def test_a_disk_that_fills_up_meanwhile_is_named(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("siglip_ingest.siglip.checkpoint.hub.files._Counted.write", write)
    with pytest.raises(DownloadError, match=r"is full.*HF_HOME"):
        pull(TINY)


def test_a_cache_that_can_not_be_written_is_named(computer: Computer) -> None:
    computer.cache.write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match="could not be fetched"):
        pull(TINY)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (465_909, "466 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (12_345_678, "12.3 MB"),
        (1_500_800_904, "1.50 GB"),
        (7 * 10**15, "7000 TB"),
    ],
)
def test_a_number_of_bytes_is_said_in_the_unit_that_fits(count: int, text: str) -> None:
    assert format_bytes(count) == text

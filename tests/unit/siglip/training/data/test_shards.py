from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.training.data.examples import read_part
from siglip_ingest.siglip.training.data.finding import find_pairs
from siglip_ingest.siglip.training.data.shards import expand_shards
from tests.unit.siglip.training.sets import png, write_shard

FILES = {
    "train/a.png": png(0),
    "train/a.txt": b"a boat\n",
    "train/b.json": b'{"caption": ["a house", "a tree"], "width": 30}',
    "train/b.png": png(1),
    "train/b.seg.png": png(2),  # another file of b, not its image
    "train/._a.png": b"what macOS leaves",
    "train/c.png": png(3),
}


def test_pairs_are_read_from_their_places_in_a_shard(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "one.tar", FILES)
    data = find_pairs(str(shard))
    assert [(example.name, example.captions) for example in data.examples] == [
        ("one.tar/train/a.png", ("a boat",)),
        ("one.tar/train/b.png", ("a house", "a tree")),
    ]
    assert [read_part(example) for example in data.examples] == [FILES["train/a.png"], FILES["train/b.png"]]
    assert len(data.left_out) == 1
    assert "train/c.png: has no caption" in data.left_out[0]


@pytest.mark.parametrize("pattern", ["", "set-{08..10}.tar", "set-{08,09,10}.tar", "set-*.tar"])
def test_shards_are_found_in_a_folder_or_by_a_pattern(tmp_path: Path, pattern: str) -> None:
    for number in ("08", "09", "10"):
        write_shard(tmp_path / f"set-{number}.tar", {f"{number}.png": png(0), f"{number}.txt": b"a boat"})
    data = find_pairs(f"{tmp_path}/{pattern}")
    assert [example.path.name for example in data.examples] == ["set-08.tar", "set-09.tar", "set-10.tar"]


def test_a_missing_shard_of_a_pattern_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "set-1.tar", FILES)
    with pytest.raises(InvalidInputError, match=r"There is no shard .*set-2\.tar; 2 of 3 are missing"):
        expand_shards(tmp_path / "set-{1..3}.tar")
    with pytest.raises(InvalidInputError, match="No shard is called"):
        expand_shards(tmp_path / "other-*.tar")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\x1f\x8b no tar", "is not a whole tar file", id="a compressed file"),
        pytest.param(None, "is not a whole tar file", id="a file that is cut off"),
    ],
)
def test_what_is_no_whole_tar_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    shard = write_shard(tmp_path / "one.tar", FILES)
    shard.write_bytes(shard.read_bytes()[:700] if content is None else content)
    with pytest.raises(InvalidInputError, match=message):
        find_pairs(str(shard))


def test_a_shard_without_pairs_is_refused_with_an_example(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "one.tar", {"a.png": png(0), "a.json": b"{"})
    with pytest.raises(InvalidInputError, match=r"no pair .* for instance: .*a\.png"):
        find_pairs(str(shard))

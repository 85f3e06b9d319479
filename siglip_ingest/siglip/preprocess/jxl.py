"""The size of a JPEG XL image, from its header: the plug-in for Pillow decodes all of a file when it opens it.

ISO/IEC 18181-1, the headers SizeHeader and the signature; 18181-2, the container's boxes.
"""

from __future__ import annotations

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"

_SIZE_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, from 1 on
_HEADER_BYTES = 12  # more than a SizeHeader takes


def is_jxl(start: bytes) -> bool:
    """Whether a file begins as a JPEG XL file does."""
    return start.startswith((CODESTREAM, CONTAINER))


def read_jxl_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of the coded image, perhaps turned; None where the header can't be read."""
    header = content[:_HEADER_BYTES] if content.startswith(CODESTREAM) else _find_codestream(content)
    if not header.startswith(CODESTREAM) or len(header) < _HEADER_BYTES:
        return None
    bits = _Bits(header[len(CODESTREAM) :])
    is_small = bool(bits.take(1))
    height = _take_length(bits, is_small=is_small)
    if ratio := bits.take(3):
        wide, high = _RATIOS[ratio - 1]
        return height * wide // high, height
    return _take_length(bits, is_small=is_small), height


def _take_length(bits: _Bits, *, is_small: bool) -> int:
    if is_small:
        return (bits.take(5) + 1) * 8
    return bits.take(_SIZE_BITS[bits.take(2)]) + 1


def _find_codestream(content: bytes) -> bytes:
    """The first bytes of the codestream in a container; none where there is none."""
    at = 0
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(content[start : start + 8], "big"), start + 8
        if kind in {b"jxlc", b"jxlp"}:
            start += 4 if kind == b"jxlp" else 0  # the number of the part
            return content[start : start + _HEADER_BYTES]
        if size < 8:  # 0: to the end of the file
            break
        at += size
    return b""


class _Bits:
    """Reads numbers from bytes, the lowest bit first."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value

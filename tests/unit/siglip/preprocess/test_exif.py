"""What is read of EXIF data, and that broken and hostile ones give nothing."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import ExifTags, Image, TiffImagePlugin

from siglip_ingest.siglip.preprocess.exif import read_exif
from tests.images import encode, heic, make_image

BASE, GPS, IFD = ExifTags.Base, ExifTags.GPS, ExifTags.IFD
PLACE = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (33.0, 51.0, 31.2),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (151.0, 12.0, 50.4),
    GPS.GPSAltitudeRef: b"\0",
    GPS.GPSAltitude: 58.5,
}


def make_exif(main: dict[int, Any], details: dict[int, Any], place: dict[int, Any]) -> Image.Exif:
    exif = Image.Exif()
    exif.update(main)
    exif.get_ifd(IFD.Exif).update(details)
    exif.get_ifd(IFD.GPSInfo).update(place)
    return exif


def photograph(image_format: str = "JPEG") -> bytes:
    exif = make_exif(
        {BASE.Make: "Canon", BASE.Model: "Canon EOS R5"},
        {
            BASE.DateTimeOriginal: "2026:05:04 18:30:15",
            BASE.OffsetTimeOriginal: "+02:00",
            BASE.SubsecTimeOriginal: "25",
        },
        dict(PLACE),
    )
    if image_format == "JXL":
        pytest.importorskip("pillow_jxl")
    return encode(make_image(60, 40), image_format, exif=exif.tobytes())


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "JXL"])
def test_time_camera_and_place_are_read(image_format: str) -> None:
    assert read_exif(photograph(image_format)) == {
        "taken_at": "2026-05-04T18:30:15.25+02:00",
        "camera": "Canon EOS R5",
        "latitude": -33.8586667,
        "longitude": 151.214,
        "altitude": 58.5,
    }


def test_an_image_that_has_none_gives_nothing() -> None:
    assert read_exif(encode(make_image(4, 4), "JPEG")) == {}
    assert read_exif(heic(make_image(40, 40))) == {}
    assert read_exif(make_image(4, 4)) == {}


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", photograph()[:200]])
def test_what_is_no_image_gives_nothing(content: bytes) -> None:
    assert read_exif(content) == {}


class Stub(Image.Image):
    """An image whose EXIF data are what a test says."""

    def __init__(self, main: Any = None, details: Any = None, place: Any = None) -> None:
        super().__init__()
        self._stub = main or {}, details or {}, place or {}

    def getexif(self) -> Any:
        main, details, place = self._stub

        class Exif(dict[int, Any]):
            def get_ifd(self, tag: int) -> Any:
                return details if tag == IFD.Exif else place

        return Exif(main)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("SONY\0\0\0", " ILCE-7M4 \0junk", "SONY ILCE-7M4"),
        (b"Leica", b"Q3", "Leica Q3"),
        ("Canon", None, "Canon"),
        (None, "X100", "X100"),
        ("a\nb\x07", "x" * 999, ("ab " + "x" * 999)[:200]),
        (7, (1, 2), None),
        ("", " ", None),
    ],
)
def test_make_and_model_are_one_name(make: Any, model: Any, camera: str | None) -> None:
    assert read_exif(Stub({BASE.Make: make, BASE.Model: model})).get("camera") == camera


@pytest.mark.parametrize(
    ("details", "taken_at"),
    [
        ({BASE.DateTimeOriginal: "2026:05:04 18:30:15"}, "2026-05-04T18:30:15"),
        ({BASE.DateTimeOriginal: b"2026:05:04 18:30:15\0"}, "2026-05-04T18:30:15"),
        ({BASE.DateTimeDigitized: "2026:05:04 18:30:15"}, "2026-05-04T18:30:15"),
        (
            {BASE.DateTimeOriginal: "0000:00:00 00:00:00", BASE.DateTimeDigitized: "2026:05:04 18:30:15"},
            "2026-05-04T18:30:15",
        ),
        ({BASE.DateTimeOriginal: "2026:05:04 18:30:15", BASE.OffsetTimeOriginal: "+99:00"}, "2026-05-04T18:30:15"),
        (
            {BASE.DateTimeOriginal: "2026:05:04 18:30:15", BASE.OffsetTimeOriginal: "-07:30"},
            "2026-05-04T18:30:15-07:30",
        ),
        ({BASE.DateTimeOriginal: "2026:05:04 18:30:15", BASE.SubsecTimeOriginal: "12345678"}, "2026-05-04T18:30:15"),
        ({BASE.DateTimeOriginal: "2026:02:30 18:30:15"}, None),
        ({BASE.DateTimeOriginal: "    :  :     :  :  "}, None),
        ({BASE.DateTimeOriginal: "yesterday"}, None),
        ({BASE.DateTimeOriginal: 20260504}, None),
    ],
)
def test_a_time_is_read_where_it_can_be_true(details: dict[int, Any], taken_at: str | None) -> None:
    assert read_exif(Stub(details=details)).get("taken_at") == taken_at


@pytest.mark.parametrize(
    "changed",
    [
        {GPS.GPSLatitude: (float("nan"), 0.0, 0.0)},
        {GPS.GPSLatitude: (float("inf"), 0.0, 0.0)},
        {GPS.GPSLatitude: (TiffImagePlugin.IFDRational(1, 0), 0, 0)},
        {GPS.GPSLatitude: (90.0, 0.1, 0.0)},
        {GPS.GPSLatitude: (-1.0, 0.0, 0.0)},
        {GPS.GPSLatitude: "33"},
        {GPS.GPSLatitude: ()},
        {GPS.GPSLatitude: (1, 2, 3, 4)},
        {GPS.GPSLatitude: ("1", "2", "3")},
        {GPS.GPSLatitude: None},
        {GPS.GPSLatitudeRef: "X"},
        {GPS.GPSLatitudeRef: None},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLongitude: (180.0, 0.0, 1.0)},
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
    ],
)
def test_a_place_that_cannot_be_true_is_left_out(changed: dict[int, Any]) -> None:
    assert read_exif(Stub(place={**PLACE, **changed})) == {}


@pytest.mark.parametrize(
    ("changed", "altitude"),
    [
        ({GPS.GPSAltitudeRef: b"\1"}, -58.5),
        ({GPS.GPSAltitudeRef: 1}, -58.5),
        ({GPS.GPSAltitudeRef: None}, 58.5),
        ({GPS.GPSAltitude: Fraction(1, 3)}, 0.33),
        ({GPS.GPSAltitude: TiffImagePlugin.IFDRational(1, 0)}, None),
        ({GPS.GPSAltitude: float("nan")}, None),
        ({GPS.GPSAltitude: 1e9}, None),
        ({GPS.GPSAltitude: "high"}, None),
        ({GPS.GPSAltitude: 10**400}, None),
    ],
)
def test_an_altitude_is_read_where_it_can_be_true(changed: dict[int, Any], altitude: float | None) -> None:
    found = read_exif(Stub(place={**PLACE, **changed}))
    assert found.get("altitude") == altitude
    assert found["latitude"] == -33.8586667


ANYTHING = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.tuples(st.floats(), st.floats()),
)

READ = [
    BASE.Make,
    BASE.Model,
    BASE.DateTimeOriginal,
    BASE.OffsetTimeOriginal,
    BASE.SubsecTimeOriginal,
    BASE.DateTimeDigitized,
]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first example may wait for a busy machine
@given(st.dictionaries(st.sampled_from(READ), ANYTHING), st.dictionaries(st.sampled_from([*PLACE]), ANYTHING))
def test_whatever_stands_there_gives_json_and_never_an_error(tags: dict[int, Any], place: dict[int, Any]) -> None:
    json.dumps(read_exif(Stub(tags, tags, place)), allow_nan=False).encode("utf-8")


@given(st.data())
def test_damaged_bytes_never_raise(data: st.DataObject) -> None:
    content = bytearray(PHOTOGRAPH)
    for _ in range(8):
        content[data.draw(st.integers(2, 400))] = data.draw(st.integers(0, 255))
    json.dumps(read_exif(bytes(content)), allow_nan=False)


PHOTOGRAPH = photograph()

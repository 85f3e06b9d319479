"""What EXIF says of a photograph: when, with what, and where it was taken (CIPA DC-008, Exif 2.32)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from siglip_ingest.siglip.preprocess.decode import open_header

_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
_MAX_CAMERA = 200  # characters
_BELOW_SEA_LEVEL = (1, 3)  # of GPSAltitudeRef; 3: below the ellipsoid


def read_exif(source: bytes | Image.Image) -> dict[str, str | float]:
    """Read what is known of a photograph from its EXIF data; never an error.

    Args:
        source: The bytes of an image file, of which only the header is read, or an image that was opened by Pillow.

    Returns:
        Of these, what the file says and can be true: `taken_at` (ISO 8601, with an offset from UTC where there is one),
        `camera` (make and model), `latitude` and `longitude` (degrees, north and east), `altitude` (metres above the
        sea).
    """
    try:
        exif = _open(source).getexif()
        main, details = dict(exif), dict(exif.get_ifd(ExifTags.IFD.Exif))
        place = dict(exif.get_ifd(ExifTags.IFD.GPSInfo))
    except Exception:  # noqa: BLE001  Pillow's EXIF parser raises anything on broken data
        return {}
    found = {"taken_at": _read_time(details), "camera": _read_camera(main), **_read_place(place)}
    return {name: value for name, value in found.items() if value is not None}


def _open(source: bytes | Image.Image) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    return open_header(source)


def _read_time(details: Mapping[int, Any]) -> str | None:
    """When the shutter was released, or else when the file was made from it, as ISO 8601."""
    base = ExifTags.Base
    for time, offset, fraction in (
        (base.DateTimeOriginal, base.OffsetTimeOriginal, base.SubsecTimeOriginal),
        (base.DateTimeDigitized, base.OffsetTimeDigitized, base.SubsecTimeDigitized),
    ):
        match = _DATE.match(_text(details.get(time)))
        if match is None:
            continue
        try:
            taken_at = datetime(*map(int, match.groups())).isoformat()  # type: ignore[arg-type]  # six numbers
        except ValueError:  # a day or an hour that there is not
            continue
        digits = _text(details.get(fraction))
        if re.fullmatch(r"[0-9]{1,6}", digits):
            taken_at += f".{digits}"
        zone = _text(details.get(offset))
        return taken_at + (zone if _is_offset(zone) else "")
    return None


def _is_offset(zone: str) -> bool:
    return bool(_OFFSET.fullmatch(zone)) and int(zone[1:3]) <= 14 and int(zone[4:]) < 60


def _read_camera(main: Mapping[int, Any]) -> str | None:
    """Make and model, which most models begin with already."""
    make, model = _text(main.get(ExifTags.Base.Make)), _text(main.get(ExifTags.Base.Model))
    first = make.partition(" ")[0].lower()
    both = model if model and first and model.lower().startswith(first) else f"{make} {model}".strip()
    return both[:_MAX_CAMERA] or None


def _read_place(tags: Mapping[int, Any]) -> dict[str, float | None]:
    gps = ExifTags.GPS
    latitude = _read_angle(tags.get(gps.GPSLatitude), tags.get(gps.GPSLatitudeRef), "NS", 90)
    longitude = _read_angle(tags.get(gps.GPSLongitude), tags.get(gps.GPSLongitudeRef), "EW", 180)
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):  # what cameras without a fix write
        latitude = longitude = None
    altitude = _number(tags.get(gps.GPSAltitude))
    if altitude is not None:
        altitude = round(-altitude if _code(tags.get(gps.GPSAltitudeRef)) in _BELOW_SEA_LEVEL else altitude, 2)
        altitude = altitude if -12_000 <= altitude <= 100_000 else None
    return {"latitude": latitude, "longitude": longitude, "altitude": None if latitude is None else altitude}


def _read_angle(value: Any, reference: Any, directions: str, limit: int) -> float | None:
    """Degrees, minutes and seconds as degrees; None where they can't be true."""
    direction = _text(reference).upper()[:1]
    if not isinstance(value, tuple | list) or not 1 <= len(value) <= 3 or not direction or direction not in directions:
        return None
    parts = [_number(part) for part in value]
    if any(part is None or part < 0 for part in parts):
        return None
    angle = sum((part / 60.0**place for place, part in enumerate(parts) if part is not None), start=0.0)
    if angle > limit:
        return None
    return round(-angle if direction == directions[1] else angle, 7)


def _number(value: Any) -> float | None:
    """A finite number; None for what isn't one, a fraction with the denominator 0 among them."""
    if isinstance(value, str | bytes | bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None


def _code(value: Any) -> int | None:
    """A number from 0 to 255, which Pillow gives as a byte."""
    return value[0] if isinstance(value, bytes) and value else value if isinstance(value, int) else None


def _text(value: Any) -> str:
    """What can be printed of a text, without the zeros and spaces that cameras fill it up with."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return "".join(letter for letter in value.partition("\0")[0] if letter.isprintable()).strip()

"""Settings from environment variables: frozen dataclasses whose fields say what they mean and what they may be.

Each part of the package derives its own class from `EnvironmentSettings` and makes its fields with `setting`.
`siglip_ingest.settings` joins the parts.
"""

# Not pydantic-settings: its import adds 200 ms to the 450 ms that `from siglip_ingest import SiglipClient` takes.

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Self

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import expand_user

PREFIX = "SIGLIP_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is known of a setting beside its type and default.

    Attributes:
        meaning: What it is for, in a sentence or two.
        unit: Of a number: `seconds`, `pixels`, ...
        unset: What counts where it has no value.
        at_least: Smallest value.
        at_most: Largest value.
        above: Number that a value must be larger than.
        choices: All values that there are, if they can be listed.
    """

    meaning: str
    unit: str = ""
    unset: str = ""
    at_least: int | None = None
    at_most: int | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """What a value must be, to follow "must be"; empty where any value of the type will do."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.above is not None:
            return f"a finite number above {self.above:g}"
        if self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        return "" if self.at_least is None else f"at least {self.at_least}"

    def allows(self, value: Any) -> bool:
        """Whether a value meets the requirement."""
        return (
            (not self.choices or value in self.choices)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or (value > self.above and isfinite(value)))
        )


def setting(
    default: Any = None, *, factory: Callable[[], Any] | None = None, is_secret: bool = False, **rule: Any
) -> Any:
    """A field of a class of settings.

    Args:
        default: Its default; None means that it has no value.
        factory: Makes the default, in place of `default`.
        is_secret: Whether it may hold a password, so that `repr` leaves it out.
        **rule: See `Rule`.
    """
    given: dict[str, Any] = {"default": default} if factory is None else {"default_factory": factory}
    return dataclasses.field(**given, repr=not is_secret, metadata={"rule": Rule(**rule)})


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings:
    """Values that are each read from `SIGLIP_<FIELD>` in upper case.

    Raises:
        ConfigurationError: If a value is out of range.
    """

    @classmethod
    def variables(cls) -> dict[str, dataclasses.Field[Any]]:
        """The fields by the names of their environment variables."""
        return {PREFIX + field.name.upper(): field for field in dataclasses.fields(cls)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings from a mapping such as `os.environ`. A variable that is blank counts as unset.

        Raises:
            ConfigurationError: If a value can't be read as its field's type or is out of range.
        """
        return cls(
            **{
                field.name: _parse(name, text, kind_of(field))
                for name, field in cls.variables().items()
                if (text := environment.get(name, "").strip())
            }
        )

    def to_environment(self) -> dict[str, str]:
        """Environment variables that make `from_environment` give the same settings, for child processes."""
        return {
            name: _write(value)
            for name, field in self.variables().items()
            if (value := getattr(self, field.name)) not in (None, frozenset())
        }

    def __post_init__(self) -> None:
        for name, field in self.variables().items():
            value, rule = getattr(self, field.name), field.metadata["rule"]
            if value is not None and not rule.allows(value):
                shown = repr(value) if isinstance(value, str) else value
                raise ConfigurationError(f"{name} must be {rule.requirement}, not {shown}.")


def kind_of(field: dataclasses.Field[Any]) -> str:
    """A field's type as it is written, without `| None`."""
    return str(field.type).removesuffix(" | None")


def _parse(name: str, text: str, kind: str) -> Any:
    match kind:
        case "int" | "float":
            try:
                return int(text) if kind == "int" else float(text)
            except ValueError as error:
                number = "whole number" if kind == "int" else "number"
                raise ConfigurationError(f"{name} must be a {number}, not {text!r}.") from error
        case "Path":
            return _to_path(name, text)
        case "tuple[Path, ...]":
            return tuple(_to_path(name, part).absolute() for part in text.split(os.pathsep) if part.strip())
        case "frozenset[str]":
            return frozenset(part.strip() for part in text.split(",") if part.strip())
    return text


def _write(value: object) -> str:
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value)) or os.pathsep
    return ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def _to_path(name: str, text: str) -> Path:
    path = expand_user(text)
    if path.parts[:1] == ("~",):
        raise ConfigurationError(f"{name} is {text!r}, but this user has no home folder. Give the whole path.")
    return path

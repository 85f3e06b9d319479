"""Configs of the transformers API; their fields are those of `siglip_ingest.siglip.model.config`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE, read_json
from siglip_ingest.siglip.model import config as sizes
from siglip_ingest.siglip.transformers_api.folders import (
    Name,
    check_options,
    check_save_options,
    find_folder,
    write_json,
)


class _Saved:
    """Configs that lie in a checkpoint's config.json. They don't change: `dataclasses.replace` makes another one."""

    model_type: ClassVar[str]
    part: ClassVar[str | None] = None

    @classmethod
    def from_pretrained(cls, name: Name, *, revision: str | None = None, **changes: Any) -> Self:
        """Read a checkpoint's config.json, or what it says of this tower.

        Args:
            name: `demo`, a folder, or a hub name.
            revision: A branch, tag or commit of the hub's.
            changes: Fields to have another value.

        Raises:
            CheckpointError: If there is no such checkpoint, or it is of another model_type.
            InvalidInputError: If there is no such field.
        """
        folder = find_folder(name, revision)
        config = read_config(folder, cls.part, **changes)
        if not isinstance(config, cls):
            raise CheckpointError(
                f"{folder / CONFIG_FILE} describes {config.model_type!r}, not {cls.model_type!r}: "
                f"use {type(config).__name__}."
            )
        return config

    @classmethod
    def changeable(cls) -> frozenset[str]:
        """Names of the fields that `from_pretrained` can give another value."""
        return frozenset(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]  # all are dataclasses

    def to_dict(self) -> dict[str, Any]:
        """Give the content of a config.json."""
        return {"model_type": self.model_type} | dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def to_json_string(self) -> str:
        """Give the text of a config.json."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(
            f"A config doesn't change: dataclasses.replace(config, {name}={value!r}) makes another one, and "
            f"from_pretrained(..., {name}={value!r}) loads a model with it."
        )

    def save_pretrained(self, save_directory: Name, **options: Any) -> None:
        """Write config.json into a folder, which is made where it doesn't exist; `options` are the model's."""
        check_save_options(options)
        write_json(Path(save_directory) / CONFIG_FILE, self.to_dict())


class SiglipTextConfig(_Saved, sizes.SiglipTextConfig):
    """Sizes of the text tower. Without arguments, those of `google/siglip-base-patch16-224`."""

    part = "text_config"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "projection_size", self.dimension)  # as transformers fills it in


class Siglip2TextConfig(SiglipTextConfig, sizes.Siglip2TextConfig):
    """Sizes of the text tower beside a NaFlex vision tower."""

    model_type = "siglip2_text_model"


class SiglipVisionConfig(_Saved, sizes.SiglipVisionConfig):
    """Sizes of a vision tower for square images. Without arguments, those of `google/siglip-base-patch16-224`."""

    part = "vision_config"


class Siglip2VisionConfig(_Saved, sizes.Siglip2VisionConfig):
    """Sizes of a NaFlex vision tower. Without arguments, those of `google/siglip2-base-patch16-naflex`."""

    part = "vision_config"


class _Both(_Saved, sizes.SiglipConfig):
    """Both towers' sizes, and the classes of an image classifier."""

    def __init__(
        self,
        text_config: sizes.SiglipTextConfig | Mapping[str, Any] | None = None,
        vision_config: sizes.VisionConfig | Mapping[str, Any] | None = None,
        *,
        initializer_factor: float = 1.0,
        id2label: Mapping[int, str] | None = None,
        label2id: Mapping[str, int] | None = None,
        num_labels: int | None = None,
        problem_type: str | None = None,
    ) -> None:
        """Put both towers together.

        Args:
            text_config: Or its fields; the defaults where it is None.
            vision_config: Or its fields; the defaults where it is None.
            initializer_factor: Multiplies the deviation of a new classifier's weights.
            id2label: Names of a classifier's classes; `LABEL_0` and so on where there are none.
            label2id: The same the other way round; it may stand alone.
            num_labels: How many classes, instead of names; two where nothing is said.
            problem_type: "single_label_classification", "multi_label_classification" or "regression"; None lets the
                labels decide.

        Raises:
            CheckpointError: If a size can't be used, or the towers don't meet.
            InvalidInputError: If the classes contradict each other.
        """
        if not isinstance(text_config, sizes.SiglipTextConfig):
            text_config = self.text_config_class.from_dict(text_config or {})
        if not isinstance(vision_config, sizes.VisionConfig):
            vision_config = self.vision_config_class.from_dict(vision_config or {})
        super().__init__(
            text_config=text_config,
            vision_config=vision_config,
            initializer_factor=initializer_factor,
            id2label=_name_classes(id2label, label2id, num_labels),
            problem_type=problem_type,
        )

    @classmethod
    def from_text_vision_configs(
        cls,
        text_config: sizes.SiglipTextConfig | Mapping[str, Any],
        vision_config: sizes.VisionConfig | Mapping[str, Any],
        **others: Any,
    ) -> Self:
        """Put both towers' sizes together; `others` are the constructor's."""
        return cls(text_config, vision_config, **others)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read a parsed config.json of this class's `model_type`; its other keys are left alone.

        Raises:
            CheckpointError: If it describes another architecture or a value can't be used.
        """
        names = _name_classes(values.get("id2label"), values.get("label2id"), values.get("num_labels"))
        return super().from_dict(dict(values) | {"id2label": names})

    @classmethod
    def changeable(cls) -> frozenset[str]:
        """Names of what `from_pretrained` can give another value."""
        return super().changeable() | {"num_labels", "label2id"}

    @property
    def label2id(self) -> dict[str, int]:
        """A classifier's classes by name."""
        return {label: index for index, label in (self.id2label or {}).items()}

    def to_dict(self) -> dict[str, Any]:
        """Give the content of a config.json; the two default classes are left out."""
        values = sizes.SiglipConfig.to_dict(self)
        if self.id2label == _name_classes(None, None, None):
            del values["id2label"], values["label2id"]
        return values


class SiglipConfig(_Both):
    """Both towers' sizes, for images of one size: SigLIP, and SigLIP 2's fixed-resolution checkpoints."""

    text_config_class = SiglipTextConfig
    vision_config_class = SiglipVisionConfig


class Siglip2Config(_Both, sizes.Siglip2Config):
    """Both towers' sizes of a NaFlex model."""

    text_config_class = Siglip2TextConfig
    vision_config_class = Siglip2VisionConfig


_CLASSES = {"id2label", "label2id", "num_labels"}
AnyConfig = SiglipConfig | Siglip2Config | SiglipTextConfig | SiglipVisionConfig | Siglip2VisionConfig
CONFIG_CLASSES: dict[str, type[AnyConfig]] = {
    config_class.model_type: config_class
    for config_class in (
        SiglipConfig, Siglip2Config, SiglipTextConfig, Siglip2TextConfig, SiglipVisionConfig, Siglip2VisionConfig,
    )
}  # fmt: skip


def read_config(folder: Path, part: str | None = None, **changes: Any) -> AnyConfig:
    """Read a config.json in the class that its model_type asks for.

    Args:
        folder: Holds config.json.
        part: "text_config" or "vision_config" for one tower, of a whole checkpoint or of that tower's own.
        changes: Fields to have another value.

    Raises:
        CheckpointError: If it is missing or broken, or describes another architecture.
        InvalidInputError: If there is no such field to change.
    """
    values = _read_values(folder, part)
    config_class = CONFIG_CLASSES.get(values["model_type"])
    if config_class is None or config_class.part != part:
        wanted = ", ".join(repr(name) for name, each in CONFIG_CLASSES.items() if each.part == part)
        raise CheckpointError(f"{folder / CONFIG_FILE} describes {values['model_type']!r}, expected one of {wanted}.")
    changes = check_options(changes, config_class.changeable())
    if changes.keys() & _CLASSES and len(values.get("id2label") or ()) != changes.get("num_labels"):
        values = {name: value for name, value in values.items() if name not in _CLASSES}  # other classes, other names
    return config_class.from_dict(values | changes)


def read_model_type(folder: Path) -> str:
    """Read the model_type of a config.json.

    Raises:
        CheckpointError: If it is missing or broken.
    """
    return str(_read_values(folder, None)["model_type"])


def _read_values(folder: Path, part: str | None) -> dict[str, Any]:
    """Read config.json, or what a whole checkpoint's says of one tower; `model_type` is always there."""
    values = read_json(folder / CONFIG_FILE)
    family = values.get("model_type", SiglipConfig.model_type)
    if part is None or part not in values:
        return values | {"model_type": family}
    return dict(values[part] or {}) | {"model_type": f"{family}_{part.replace('config', 'model')}"}


def _name_classes(
    id2label: Mapping[Any, Any] | None, label2id: Mapping[str, int] | None, num_labels: int | None
) -> dict[int, str]:
    """Find a classifier's classes in whatever was given of them.

    Raises:
        InvalidInputError: If their number contradicts the names.
    """
    if id2label is None and label2id is not None:
        id2label = {index: label for label, index in label2id.items()}
    if id2label is None:
        return {index: f"LABEL_{index}" for index in range(2 if num_labels is None else num_labels)}
    if num_labels is not None and num_labels != len(id2label):
        raise InvalidInputError(f"num_labels is {num_labels}, but {len(id2label)} classes are named.")
    return {int(index): str(label) for index, label in id2label.items()}

"""`from_pretrained` and `save_pretrained` of all models."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE, read_json
from siglip_ingest.siglip.checkpoint.loading import CONSTANT_NAMES, load_part, write_checkpoint
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.model import set_attention
from siglip_ingest.siglip.model.attention import DEFAULT_ATTENTION
from siglip_ingest.siglip.model.config import name_architecture
from siglip_ingest.siglip.model.layers import Attention, Encoder
from siglip_ingest.siglip.transformers_api.folders import Name, check_options, check_save_options, find_folder
from siglip_ingest.siglip.transformers_api.models.configs import CONFIG_CLASSES, AnyConfig, read_config
from siglip_ingest.siglip.transformers_api.models.placement import DeviceMap, choose_dtype, place_parts

_logger = logging.getLogger(__name__)


class PreTrainedModel(nn.Module):
    """The base of all models here. A new model has random weights, until `from_pretrained` loads others.

    Attributes:
        config: Its sizes.
        config_part: Key of its config in a whole checkpoint's config.json; None for the whole one.
        weight_prefix: In front of its parameters' names in a whole checkpoint's files.
        optional_weights: Parameters that a checkpoint may lack, which are then drawn.
        architecture: Its name in config.json, but for the family's number.
    """

    config_part: ClassVar[str | None] = None
    weight_prefix: ClassVar[str] = ""
    optional_weights: ClassVar[tuple[str, ...]] = ()
    architecture: ClassVar[str]
    config: Any

    @classmethod
    def from_pretrained(
        cls,
        name: Name,
        *,
        config: AnyConfig | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: DeviceMap = None,
        attn_implementation: str = DEFAULT_ATTENTION,
        revision: str | None = None,
        ignore_mismatched_sizes: bool = False,
        **changes: Any,
    ) -> Self:
        """Load a checkpoint, of which only this model's own weights are read.

        Args:
            name: `demo`, a folder, or a hub name.
            config: Instead of the checkpoint's.
            dtype: What the weights are converted to: torch's or its name; "auto" and None keep the checkpoint's.
                `logit_scale` and `logit_bias` stay float32.
            torch_dtype: Its older name.
            device_map: A device, "auto" for a GPU where there is one, or devices by part: "text_model",
                "vision_model", "" for the rest.
            attn_implementation: "eager", "sdpa" or "flash_attention_2".
            revision: A branch, tag or commit of the hub's.
            ignore_mismatched_sizes: Draw a classifier anew whose number of classes is another one.
            changes: Fields of the config to have another value, such as `num_labels`.

        Returns:
            The model in evaluation mode.

        Raises:
            CheckpointError: If there is no such checkpoint, or its files are broken, or of another architecture.
            ConfigurationError: If that attention needs a package or a device that isn't there.
            InvalidInputError: If an argument can't be used.
        """
        parts = place_parts(device_map)
        check_options(changes, read_changeable())
        folder = find_folder(name, revision)
        reader = WeightReader(folder)
        values = read_json(folder / CONFIG_FILE)
        with torch.device("meta"):
            model = cls(config or read_config(folder, cls.config_part, **changes))
        set_attention(model, attn_implementation)
        stored = next(
            tensor.dtype for tensor_name, tensor in reader.tensors.items() if tensor_name not in CONSTANT_NAMES
        )
        model._load(
            reader,
            parts,
            choose_dtype(dtype or torch_dtype, values, stored),
            is_mismatch_ignored=ignore_mismatched_sizes,
        )
        return model.eval()

    def _load(
        self,
        reader: WeightReader,
        parts: dict[str, torch.device],
        dtype: torch.dtype,
        *,
        is_mismatch_ignored: bool,
    ) -> None:
        """Fill a model that was made on the meta device."""
        own = self.state_dict()
        prefix = "" if own.keys() & reader.tensors.keys() else self.weight_prefix  # a tower alone may have none
        new = {name for name in self.optional_weights if not _is_stored(reader, name, own[name], is_mismatch_ignored)}
        load_part(self, reader, device=parts, dtype=dtype, prefix=prefix, drawn=new)
        if new:
            self.init_optional_weights()
            _logger.warning("%s has no %s that fits: train it.", reader.folder, " and ".join(sorted(new)))

    def save_pretrained(self, save_directory: Name, **options: Any) -> None:
        """Write config.json and model.safetensors, as transformers and `from_pretrained` read them.

        Args:
            save_directory: Made where it doesn't exist. Files of those two names are replaced, each at once.
            options: `safe_serialization`, which is always true, and `max_shard_size`, which there is no need of, as
                mapped files may be of any size; and `push_to_hub=False`.

        Raises:
            InvalidInputError: If an option asks for something else.
        """
        check_save_options(options)
        config = self.config.to_dict() | {
            "architectures": [name_architecture(self.config.model_type, self.architecture)]
        }
        weights = {self.weight_prefix + name: tensor for name, tensor in self.state_dict().items()}
        write_checkpoint(weights, config, Path(save_directory), dtype=self.dtype)

    @abstractmethod
    def init_all_weights(self) -> None:
        """Draw new weights."""

    def init_optional_weights(self) -> None:
        """Draw the `optional_weights` alone."""

    def finish_init(self) -> None:
        """Draw a new model's weights, unless it is on the meta device and will be loaded."""
        if not any(parameter.is_meta for parameter in self.parameters()):
            self.init_all_weights()

    def set_attn_implementation(self, name: str) -> None:
        """Choose how attention is computed: "eager", "sdpa" or "flash_attention_2".

        Raises:
            ConfigurationError: If it is unknown, or needs a package or a device that this machine lacks.
        """
        set_attention(self, name)

    @property
    def attn_implementation(self) -> str:
        """How attention is computed."""
        return next(module.implementation for module in self.modules() if isinstance(module, Attention))

    def get_input_embeddings(self) -> nn.Module:
        """Give the layer that tokens enter by; patches, where the model has no text tower."""
        modules: dict[str, nn.Module] = dict(self.named_modules())
        kinds = ("embeddings.token_embedding", "embeddings.patch_embedding")
        name = next(name for kind in kinds for name in modules if name.endswith(kind))
        return modules[name]

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Trade time for memory in training: keep each layer's input alone, and compute the rest again for gradients.

        Args:
            gradient_checkpointing_kwargs: Without effect: there is one way, torch's without reentry.
        """
        self._set_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep what gradients need, as by default."""
        self._set_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are computed again for gradients."""
        return any(module.is_recomputed for module in self.modules() if isinstance(module, Encoder))

    def _set_checkpointing(self, is_recomputed: bool) -> None:
        for encoder in (module for module in self.modules() if isinstance(module, Encoder)):
            encoder.is_recomputed = is_recomputed

    @property
    def device(self) -> torch.device:
        """Where the first of its weights is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What its weights are kept in."""
        return next(parameter.dtype for name, parameter in self.named_parameters() if name not in CONSTANT_NAMES)

    def num_parameters(self, *, only_trainable: bool = False) -> int:
        """Count its weights' numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)


def read_changeable() -> frozenset[str]:
    """Names of what `from_pretrained` of a model can change in its config."""
    return frozenset().union(*(config_class.changeable() for config_class in CONFIG_CLASSES.values()))


def _is_stored(reader: WeightReader, name: str, wanted: Tensor, is_mismatch_ignored: bool) -> bool:
    """Whether a checkpoint has a tensor that must be read, or fail to be."""
    found = reader.tensors.get(name)
    return found is not None and (found.shape == tuple(wanted.shape) or not is_mismatch_ignored)

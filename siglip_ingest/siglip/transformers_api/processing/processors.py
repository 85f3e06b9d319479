"""`SiglipProcessor`: an image processor and a tokenizer in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.transformers_api.folders import Name, check_save_options, find_folder
from siglip_ingest.siglip.transformers_api.processing.batches import BatchFeature
from siglip_ingest.siglip.transformers_api.processing.image_processors import ImageInput, SiglipImageProcessor
from siglip_ingest.siglip.transformers_api.processing.loading import load_image_processor, load_tokenizer
from siglip_ingest.siglip.transformers_api.processing.tokenizer_base import PreTrainedTokenizer

_TEXT_OPTIONS = frozenset(
    {"add_special_tokens", "padding", "truncation", "max_length", "padding_side", "return_attention_mask"}
)


class SiglipProcessor:
    """Images and texts to what a model takes; either may be left out.

    Attributes:
        image_processor: For images.
        tokenizer: For texts.
    """

    processor_class: ClassVar[str] = "SiglipProcessor"
    text_defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, image_processor: SiglipImageProcessor, tokenizer: PreTrainedTokenizer) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name: Name, *, revision: str | None = None, **image_settings: Any) -> Self:
        """Load a checkpoint's image processor and tokenizer, each of the kind that its files ask for.

        Args:
            name: `demo`, a folder, or a hub name.
            revision: A branch, tag or commit of the hub's.
            image_settings: Of the image processor, to have another value.

        Raises:
            CheckpointError: If there is no such checkpoint, or its files can't be used.
        """
        folder = find_folder(name, revision)
        return cls(load_image_processor(folder, **image_settings), load_tokenizer(folder))

    @property
    def model_input_names(self) -> list[str]:
        """Names of what a call gives."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | Sequence[str] | None = None,
        *,
        return_tensors: str | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Prepare images, texts, or both.

        Args:
            images: See `SiglipImageProcessor`.
            text: One or several; a list in any case.
            return_tensors: "pt", "np" or None, which gives lists.
            options: Of the tokenizer's call (`padding`, `truncation`, `max_length`, ...), and settings of the image
                processor for this call (`max_num_patches`, ...).

        Returns:
            The inputs of a model's call. No attention mask for texts: the models had none.

        Raises:
            InvalidInputError: If there is neither image nor text, or an option is unknown.
            ImageError: If an image can't be read.
        """
        if images is None and text is None:
            raise InvalidInputError("Give images, text, or both.")
        text_options = options.pop("text_kwargs", {}) | {k: v for k, v in options.items() if k in _TEXT_OPTIONS}
        settings = options.pop("images_kwargs", {}) | {k: v for k, v in options.items() if k not in _TEXT_OPTIONS}
        inputs = BatchFeature()
        if text is not None:
            texts = [text] if isinstance(text, str) else text
            inputs.update(self.tokenizer(texts, return_tensors=return_tensors, **self.text_defaults | text_options))
        if images is not None:
            inputs.update(self.image_processor(images, return_tensors=return_tensors, **settings))
        return inputs

    def decode(self, ids: Any, *, skip_special_tokens: bool = False) -> str:
        """Turn ids into a text."""
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def batch_decode(self, rows: Any, *, skip_special_tokens: bool = False) -> list[str]:
        """Turn rows of ids into texts."""
        return self.tokenizer.batch_decode(rows, skip_special_tokens=skip_special_tokens)

    def save_pretrained(self, save_directory: Name, **options: Any) -> None:
        """Write the files of both, as transformers and `from_pretrained` read them; `options` are the model's."""
        check_save_options(options)
        self.image_processor.save_pretrained(save_directory, processor_class=self.processor_class)
        self.tokenizer.save_pretrained(save_directory, processor_class=self.processor_class)


class Siglip2Processor(SiglipProcessor):
    """The same for NaFlex; texts are padded to the model's length and cut to it by default."""

    processor_class = "Siglip2Processor"
    text_defaults: ClassVar[dict[str, Any]] = {"padding": "max_length", "truncation": True}

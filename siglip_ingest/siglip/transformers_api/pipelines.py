"""`pipeline`: from an image to labels with scores in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.siglip.transformers_api.auto import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoTokenizer,
)
from siglip_ingest.siglip.transformers_api.folders import Name
from siglip_ingest.siglip.transformers_api.models.classification import SiglipForImageClassification
from siglip_ingest.siglip.transformers_api.models.placement import Device, DeviceMap, read_device
from siglip_ingest.siglip.transformers_api.models.towers import SiglipModel
from siglip_ingest.siglip.transformers_api.processing.image_processors import SiglipImageProcessor
from siglip_ingest.siglip.transformers_api.processing.images import load_image
from siglip_ingest.siglip.transformers_api.processing.processors import SiglipProcessor
from siglip_ingest.siglip.transformers_api.processing.tokenizer_base import PreTrainedTokenizer

Scores = list[dict[str, Any]]
ImageInput = Any  # a PIL image, a path, a URL, or the bytes of a file


class _Pipeline:
    """A model and its image processor, for one image or several."""

    def __init__(self, model: Any, image_processor: SiglipImageProcessor) -> None:
        self.model = model
        self.image_processor = image_processor

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.model.device
        return device

    def _prepare(self, images: ImageInput, timeout: float | None, batch_size: int) -> Iterator[Any]:
        """Yield the model's inputs for `batch_size` images at a time."""
        listed = [images] if _is_one(images) else list(images)
        for start in range(0, len(listed), batch_size):
            loaded = [load_image(image, timeout) for image in listed[start : start + batch_size]]
            yield self.image_processor(loaded, return_tensors="pt").to(self.device)


class ZeroShotImageClassificationPipeline(_Pipeline):
    """Scores images against labels that nobody trained."""

    def __init__(
        self, model: SiglipModel, image_processor: SiglipImageProcessor, tokenizer: PreTrainedTokenizer
    ) -> None:
        super().__init__(model, image_processor)
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput] | None = None,
        candidate_labels: Sequence[str] = (),
        *,
        hypothesis_template: str = DEFAULT_TEMPLATE,
        timeout: float | None = None,
        batch_size: int = 8,
        images: ImageInput | Sequence[ImageInput] | None = None,
    ) -> Any:
        """Score one image, or several, against each label.

        The scores are independent probabilities, sigmoid(exp(logit_scale) * cosine + logit_bias): they don't sum to 1.

        Args:
            image: A PIL image, a path, a URL or the bytes of a file; or a list of those.
            candidate_labels: What to look for, at least one.
            hypothesis_template: Makes a label's prompt; `{label}` or `{}` stands for it.
            timeout: Seconds that a web server has for its whole answer; None gives it 30.
            batch_size: Most images in one pass.
            images: Another name of `image`.

        Returns:
            For each label its `score` and `label`, best first; a list of those for a list of images.

        Raises:
            InvalidInputError: If there is no label or no image, or the template has no place for the label.
            ImageError: If an image can't be read.
        """
        given = image if images is None else images
        if given is None:
            raise InvalidInputError("Give an image, or a list of them.")
        prompts = fill_template(candidate_labels, hypothesis_template)
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        text_features = self.model.get_text_features(ids)
        results = []
        for inputs in self._prepare(given, timeout, batch_size):
            image_features = self.model.get_image_features(**inputs).pooler_output.to(text_features.device)
            logits = self.model.score(image_features, text_features.pooler_output).logits_per_image
            results += [rank(candidate_labels, scores) for scores in logits.float().sigmoid().tolist()]
        return results[0] if _is_one(given) else results


class ImageClassificationPipeline(_Pipeline):
    """Scores images against the classes that a classifier was trained on."""

    @torch.inference_mode()
    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        *,
        top_k: int = 5,
        timeout: float | None = None,
        batch_size: int = 8,
    ) -> Any:
        """Classify one image, or several.

        Args:
            inputs: A PIL image, a path, a URL or the bytes of a file; or a list of those.
            top_k: How many of the best classes to give.
            timeout: Seconds that a web server has for its whole answer; None gives it 30.
            batch_size: Most images in one pass.

        Returns:
            For the best classes their `score` and `label`, best first: probabilities that sum to 1 over all classes,
            or independent ones where the problem is of several labels. A list of those for a list of images.

        Raises:
            ImageError: If an image can't be read.
        """
        config = self.model.config
        labels = [config.id2label[index] for index in range(config.num_labels)]
        results = []
        for batch in self._prepare(inputs, timeout, batch_size):
            logits = self.model(**batch).logits.float()
            is_independent = config.problem_type == "multi_label_classification" or len(labels) == 1
            scores = logits.sigmoid() if is_independent else logits.softmax(dim=-1)
            results += [rank(labels, row)[:top_k] for row in scores.tolist()]
        return results[0] if _is_one(inputs) else results


def pipeline(
    task: str,
    model: Name | SiglipModel | SiglipForImageClassification,
    *,
    tokenizer: PreTrainedTokenizer | Name | None = None,
    image_processor: SiglipImageProcessor | Name | None = None,
    processor: SiglipProcessor | None = None,
    device: Device | None = None,
    device_map: DeviceMap = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    model_kwargs: dict[str, Any] | None = None,
    use_fast: bool | None = None,  # noqa: ARG001
) -> ZeroShotImageClassificationPipeline | ImageClassificationPipeline:
    """Put together what a task needs.

    Args:
        task: "zero-shot-image-classification" or "image-classification".
        model: `demo`, a folder, a hub name, or a loaded model.
        tokenizer: The checkpoint's by default; a loaded model has none.
        image_processor: Likewise.
        processor: Both of them in one.
        device: Where to compute; a GPU by default where there is one.
        device_map: Instead of `device`; see `SiglipModel.from_pretrained`, as the next two.
        dtype: What to compute in.
        torch_dtype: Its older name.
        revision: A branch, tag or commit of the hub's.
        model_kwargs: Further arguments of the model's `from_pretrained`.
        use_fast: Without effect.

    Raises:
        CheckpointError: If there is no such checkpoint, or its files can't be used.
        InvalidInputError: If there is no such task, or a loaded model comes without its processor.
    """
    if task not in {"zero-shot-image-classification", "image-classification"}:
        raise InvalidInputError(
            f"There are the tasks 'zero-shot-image-classification' and 'image-classification', not {task!r}."
        )
    if processor is not None:
        tokenizer, image_processor = tokenizer or processor.tokenizer, image_processor or processor.image_processor
    is_zero_shot = task.startswith("zero-shot")
    loaded: Any = model
    if not isinstance(model, SiglipModel | SiglipForImageClassification):
        tokenizer, image_processor = tokenizer or model, image_processor or model
        loaded = (AutoModel if is_zero_shot else AutoModelForImageClassification).from_pretrained(
            model,
            revision=revision,
            dtype=dtype or torch_dtype,
            device_map=device_map or read_device("auto" if device is None else device),
            **(model_kwargs or {}),
        )
    elif device is not None:
        loaded = model.to(read_device(device))
    if image_processor is None or (tokenizer is None and is_zero_shot):
        raise InvalidInputError(
            "A loaded model comes without a processor: pass processor=AutoProcessor.from_pretrained(...)."
        )
    if not isinstance(image_processor, SiglipImageProcessor):
        image_processor = AutoImageProcessor.from_pretrained(image_processor, revision=revision)
    if not is_zero_shot:
        return ImageClassificationPipeline(loaded, image_processor)
    if not isinstance(tokenizer, PreTrainedTokenizer):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer, revision=revision)  # type: ignore[arg-type]  # not None
    return ZeroShotImageClassificationPipeline(loaded, image_processor, tokenizer)


def fill_template(labels: Sequence[str], template: str) -> list[str]:
    """Put each label into a template, where `{label}` or `{}` stands.

    Raises:
        InvalidInputError: If there is no label, or no place for it.
    """
    if isinstance(labels, str) or not labels:
        raise InvalidInputError('candidate_labels must be a list with at least one label, such as ["cat", "dog"].')
    places = [place for place in ("{label}", "{}") if place in template]
    if not places:
        raise InvalidInputError(f"hypothesis_template must contain {{label}} or {{}}, unlike {template!r}.")
    return [template.replace(places[0], label) for label in labels]


def rank(labels: Sequence[str], scores: Sequence[float]) -> Scores:
    """Give labels with their scores, best first."""
    ranked = sorted(zip(scores, labels, strict=True), key=lambda scored: -scored[0])
    return [{"score": score, "label": label} for score, label in ranked]


def _is_one(images: ImageInput) -> bool:
    """Whether it is one image, not a list of them."""
    return not isinstance(images, list | tuple)

"""Every stage between pixels or tokens and logits."""

from __future__ import annotations

import torch
from torch import Tensor

from siglip_ingest.siglip.model.attention import Trace
from tests.parity.pairs import TOLERANCE, Pair


def assert_close(stage: str, ours: Tensor, reference: Tensor, *, atol: float = TOLERANCE) -> None:
    assert ours.shape == reference.shape, f"{stage} has the shape {tuple(ours.shape)}, not {tuple(reference.shape)}"
    torch.testing.assert_close(ours, reference, rtol=0, atol=atol, msg=lambda message: f"{stage} differs. {message}")


def test_patch_embeddings_equal_the_references(pair: Pair) -> None:
    with torch.no_grad():
        ours = pair.ours.vision_model.embeddings(pair.pixel_values)
        reference = pair.reference.vision_model.embeddings(pair.pixel_values)
    assert_close("patch embeddings", ours, reference)


def test_token_embeddings_equal_the_references(pair: Pair) -> None:
    with torch.no_grad():
        ours = pair.ours.text_model.embeddings(pair.input_ids)
        reference = pair.reference.text_model.embeddings(pair.input_ids)
    assert_close("token embeddings", ours, reference)


def test_every_vision_layer_equals_the_references(pair: Pair) -> None:
    trace = Trace()
    with torch.no_grad():
        pair.ours.vision_model.encode(pair.pixel_values, trace=trace)
        reference = pair.reference.vision_model(pixel_values=pair.pixel_values, output_hidden_states=True)
    assert len(trace.hidden_states) == len(reference.hidden_states)
    for index, (our_states, reference_states) in enumerate(
        zip(trace.hidden_states, reference.hidden_states, strict=True)
    ):
        assert_close(f"vision hidden state {index}", our_states, reference_states)


def test_every_text_layer_equals_the_references(pair: Pair) -> None:
    trace = Trace()
    with torch.no_grad():
        pair.ours.text_model.encode(pair.input_ids, trace=trace)
        reference = pair.reference.text_model(input_ids=pair.input_ids, output_hidden_states=True)
    assert len(trace.hidden_states) == len(reference.hidden_states)
    for index, (our_states, reference_states) in enumerate(
        zip(trace.hidden_states, reference.hidden_states, strict=True)
    ):
        assert_close(f"text hidden state {index}", our_states, reference_states)


def test_pooling_head_equals_the_references_on_the_same_hidden_states(pair: Pair) -> None:
    config = pair.ours.config.vision_config
    hidden_states = torch.randn(2, config.patches_per_side**2, config.hidden_size)
    with torch.no_grad():
        ours = pair.ours.vision_model.head(hidden_states)
        reference = pair.reference.vision_model.head(hidden_states)
    assert_close("pooling head", ours, reference)


def test_pooled_image_output_equals_the_references(pair: Pair) -> None:
    with torch.no_grad():
        ours = pair.ours.get_image_features(pair.pixel_values)
        reference = pair.reference.get_image_features(pixel_values=pair.pixel_values).pooler_output
    assert_close("pooled image output", ours, reference)


def test_pooled_text_output_equals_the_references(pair: Pair) -> None:
    with torch.no_grad():
        ours = pair.ours.get_text_features(pair.input_ids)
        reference = pair.reference.get_text_features(input_ids=pair.input_ids).pooler_output
    assert_close("pooled text output", ours, reference)


def test_pooled_text_output_is_the_same_with_and_without_the_shortened_last_layer(pair: Pair) -> None:
    with torch.no_grad():
        short = pair.ours.text_model(pair.input_ids)
        full = pair.ours.text_model.pool(pair.ours.text_model.encode(pair.input_ids))
    assert_close("pooled text output of the short way", short, full)


def test_embeddings_and_logits_equal_the_references(pair: Pair) -> None:
    with torch.no_grad():
        ours = pair.ours(pair.input_ids, pair.pixel_values)
        reference = pair.reference(input_ids=pair.input_ids, pixel_values=pair.pixel_values)
    assert_close("image_embeds", ours.image_embeds, reference.image_embeds)
    assert_close("text_embeds", ours.text_embeds, reference.text_embeds)
    # The last digits of a float32 sum depend on the CPU, and those of a cosine are multiplied by exp(logit_scale), 110.
    atol = 1e-6 * float(pair.ours.logit_scale.exp())
    assert_close("logits_per_image", ours.logits_per_image, reference.logits_per_image, atol=atol)
    assert_close("logits_per_text", ours.logits_per_text, reference.logits_per_text, atol=atol)


def test_gradients_equal_the_references(small_pair: Pair) -> None:
    ours, reference = small_pair.ours.requires_grad_(True), small_pair.reference
    ours(small_pair.input_ids, small_pair.pixel_values).logits_per_image.mean().backward()
    reference(input_ids=small_pair.input_ids, pixel_values=small_pair.pixel_values).logits_per_image.mean().backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert_close(f"gradient of {name}", parameter.grad, gradients[name])

"""Outputs by attribute, key and place, and embeddings that are a tensor and an output at once."""

from __future__ import annotations

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import Tensor

from siglip_ingest.siglip.transformers_api.models.outputs import BaseModelOutputWithPooling, Features, SiglipOutput


def make_output() -> BaseModelOutputWithPooling:
    return BaseModelOutputWithPooling(last_hidden_state=torch.ones(2, 3, 4), pooler_output=torch.arange(8.0).view(2, 4))


def test_a_value_is_an_attribute_a_key_and_a_place() -> None:
    output = make_output()
    assert output.last_hidden_state is output["last_hidden_state"] is output[0]
    assert output[-1] is output.pooler_output
    assert len(output[:2]) == len(output) == 2


def test_what_was_not_asked_for_is_left_out() -> None:
    output = make_output()
    assert list(output) == list(output.keys()) == ["last_hidden_state", "pooler_output"]
    assert output.hidden_states is None
    assert "hidden_states" not in output
    assert output.get("hidden_states", 7) == 7
    with pytest.raises(KeyError):
        output["hidden_states"]


def test_it_unpacks_as_a_mapping_and_as_a_tuple() -> None:
    output = make_output()
    assert {**output}.keys() == dict(output.items()).keys() == {"last_hidden_state", "pooler_output"}
    states, pooled = output.to_tuple()
    assert (states, pooled) == (output.last_hidden_state, output.pooler_output)


def test_outputs_inside_become_tuples_too() -> None:
    both = SiglipOutput(logits_per_image=torch.ones(1), text_model_output=make_output())
    assert isinstance(both[1], tuple)
    assert isinstance(both["text_model_output"], BaseModelOutputWithPooling)


def test_features_are_computed_with_as_plain_tensors() -> None:
    features = Features.from_output(make_output())
    assert features.shape == (2, 4)
    for computed in (
        features / features.norm(dim=-1, keepdim=True),
        features @ features.T,
        features[0],
        torch.cat([features]),
    ):
        assert type(computed) is Tensor


def test_features_know_the_towers_output() -> None:
    output = make_output()
    features = Features.from_output(output)
    assert type(features.pooler_output) is Tensor
    assert torch.equal(features.pooler_output, torch.arange(8.0).view(2, 4))
    assert features.last_hidden_state is output.last_hidden_state
    assert features.hidden_states is features.attentions is None


def test_features_without_embeddings_are_refused() -> None:
    with pytest.raises(TypeError, match="pooler_output"):
        Features.from_output(BaseModelOutputWithPooling(last_hidden_state=torch.ones(1, 1, 1)))


def test_gradients_go_through_features() -> None:
    weight = torch.ones(2, 4, requires_grad=True)
    features = Features.from_output(BaseModelOutputWithPooling(pooler_output=weight * 3))
    (features.sum() + features.pooler_output.sum()).backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full((2, 4), 6.0))


def test_copied_and_saved_features_are_plain_tensors() -> None:
    features = Features.from_output(make_output())
    file = io.BytesIO()
    torch.save(features, file)
    file.seek(0)
    for copied in (torch.load(file), copy.deepcopy(features)):
        assert type(copied) is Tensor
        assert torch.equal(copied, features.pooler_output)


def test_features_let_go_of_the_states_without_the_garbage_collector() -> None:
    output = make_output()
    states = weakref.ref(output.last_hidden_state)
    features = Features.from_output(output)
    assert features.pooler_output.shape == (2, 4)
    gc.disable()
    try:
        del output, features
        assert states() is None
    finally:
        gc.enable()

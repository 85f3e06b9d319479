from __future__ import annotations

import random

import numpy as np
import pytest

from siglip_ingest.demo.captions import Caption, find_matches, label_captions, vary, write_caption
from siglip_ingest.demo.description import Description, Item, describe_scene
from tools.demo_model.attributes import ATTRIBUTES, find_targets
from tools.demo_model.evaluate import choose_examples

SCENES = [describe_scene(seed) for seed in range(300)]


@pytest.mark.parametrize("is_partial", [False, True], ids=["full", "partial"])
def test_a_caption_is_true_of_its_own_image(is_partial: bool) -> None:
    rng = random.Random(1)
    for scene in SCENES:
        written = write_caption(scene, rng, is_partial=is_partial)
        assert written.is_true_of(scene)
        assert written.claims
        assert written.text


def test_a_full_caption_of_a_varied_image_is_false_of_the_first() -> None:
    rng = random.Random(2)
    are_true = [write_caption(vary(scene, rng), rng).is_true_of(scene) for scene in SCENES]
    assert np.mean(are_true) < 0.1  # a change back to the same words is rare


def test_a_caption_with_fewer_details_is_true_of_more_images() -> None:
    rng = random.Random(3)
    full = find_matches(SCENES, [write_caption(scene, rng) for scene in SCENES])
    partial = find_matches(SCENES, [write_caption(scene, rng, is_partial=True) for scene in SCENES])
    assert partial.sum() > 4 * full.sum()


def test_matches_equal_what_each_caption_says() -> None:
    rng = random.Random(4)
    captions = [*(write_caption(scene, rng, is_partial=True) for scene in SCENES[:40]), *label_captions(rng)]
    matches = find_matches(SCENES[:60], captions)
    expected = [[caption.is_true_of(scene) for caption in captions] for scene in SCENES[:60]]
    assert matches.tolist() == expected


def test_the_sentence_of_the_readme_is_a_caption_with_its_meaning() -> None:
    scene = Description(0, "sunset", "water", Item("boat", "red", "left"))
    rng = random.Random(5)
    found = {write_caption(scene, rng, is_partial=True) for _ in range(3000)}
    assert Caption("sunset over water", frozenset({"sky=sunset", "ground=water"})) in found


def test_texts_hold_what_they_claim() -> None:
    scene = Description(0, "storm", "desert", Item("castle", "purple", "right"), Item("kite", "green", "left"))
    for seed in range(50):
        text = write_caption(scene, random.Random(seed)).text
        assert "purple castle" in text or "purple fortress" in text
        assert "green kite" in text
        assert "left" in text
        assert "right" in text


def test_every_label_is_true_of_some_images_and_false_of_others() -> None:
    matches = find_matches(SCENES, label_captions())
    assert matches.any(axis=0).all()
    assert not matches.all(axis=0).any()


def test_evaluation_captions_are_true_of_exactly_one_image() -> None:
    examples = choose_examples(150)
    matches = find_matches([e.description for e in examples], [e.caption for e in examples])
    assert np.array_equal(matches, np.eye(150, dtype=bool))
    assert len({example.caption.text for example in examples}) == 150


def test_attribute_targets_name_the_words_of_an_image() -> None:
    targets = find_targets(SCENES[:50]).tolist()
    for scene, row in zip(SCENES[:50], targets, strict=True):
        words = [options[index - 1] if index else "" for options, index in zip(ATTRIBUTES, row, strict=True)]
        assert words[0] == scene.sky
        assert words[1] == scene.ground
        assert words[4:7] == ([scene.thing.kind, scene.thing.colour, scene.thing.place] if scene.thing else [""] * 3)
        assert words[3] == scene.relation

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from siglip_ingest.demo.description import COLOURS, FLYERS, GROUNDS, PLACES, SKIES, THINGS, Item, describe_scene
from siglip_ingest.demo.drawing.scene import draw_scene
from siglip_ingest.demo.world import DEMO_SEED, EVALUATION_SEED, caption, render_scene, write_images


def test_a_seed_always_gives_the_same_image() -> None:
    first, second = render_scene(7), render_scene(7)
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert (first.caption, first.attributes) == (second.caption, second.attributes)


def test_different_seeds_give_different_images() -> None:
    pixels = {render_scene(seed, 32).image.tobytes() for seed in range(40)}
    assert len(pixels) == 40


@pytest.mark.parametrize(("size", "expected"), [(48, (48, 48)), ((90, 60), (90, 60)), ((31, 47), (31, 47))])
def test_an_image_has_the_size_asked_for(size: int | tuple[int, int], expected: tuple[int, int]) -> None:
    image = render_scene(3, size).image
    assert image.size == expected
    assert image.mode == "RGB"


def test_a_scene_looks_the_same_at_any_size() -> None:
    small, large = render_scene(11, (96, 72)).image, render_scene(11, (384, 288)).image.resize((96, 72))
    difference = np.abs(np.asarray(small, np.int16) - np.asarray(large, np.int16)).mean()
    assert difference < 12


def test_every_word_of_the_world_can_be_drawn() -> None:
    scenes = [describe_scene(seed) for seed in range(1500)]
    assert {scene.sky for scene in scenes} == {"", *SKIES}
    assert {scene.ground for scene in scenes} == {"", *GROUNDS}
    assert {scene.thing.kind for scene in scenes if scene.thing} == set(THINGS)
    assert {scene.flyer.kind for scene in scenes if scene.flyer} == set(FLYERS)
    assert {scene.thing.place for scene in scenes if scene.thing} == set(PLACES)
    assert {scene.thing.colour for scene in scenes if scene.thing} == set(COLOURS)


def test_facts_of_a_landscape_name_things_with_and_without_their_details() -> None:
    scene = next(s for s in map(describe_scene, range(500)) if s.thing and s.thing.kind == "boat")
    colour, place = scene.thing.colour, scene.thing.place
    assert {"ground=water", "boat", f"{colour} boat", f"boat at {place}", f"{colour} boat at {place}"} <= scene.facts
    assert not any(fact.startswith("tree") for fact in scene.facts)


def test_facts_of_shapes_hold_from_both_sides() -> None:
    scene = next(s for s in map(describe_scene, range(500)) if s.relation == "left of")
    first, second = (f"{shape.colour} {shape.kind}" for shape in scene.shapes)
    assert {f"{first} left of {second}", f"{second} right of {first}"} <= scene.facts
    assert f"{second} left of {first}" not in scene.facts


def test_firs_are_trees() -> None:
    scene = next(s for s in map(describe_scene, range(500)) if s.ground == "forest")
    assert {"tree", "green tree at left"} <= scene.facts
    assert scene.thing is None or scene.thing.kind != "tree"


def test_shapes_never_vanish_into_background_or_each_other() -> None:
    for scene in map(describe_scene, range(1000)):
        if scene.is_landscape:
            continue
        first, second = scene.shapes
        assert scene.background not in {first.colour, second.colour}
        assert scene.relation != "inside" or first.colour != second.colour
        assert first != second


def test_captions_differ_in_words_by_paraphrase_seed() -> None:
    scene = render_scene(5, 16)
    assert len({caption(scene, seed) for seed in range(30)}) > 10
    assert caption(scene, 4) == caption(scene.description, 4)


def test_images_are_written_with_names_that_say_what_they_show(tmp_path: Path) -> None:
    images = write_images(tmp_path / "new folder", 12, size=(64, 48))
    assert len({image.path for image in images}) == 12
    for number, image in enumerate(images):
        scene = render_scene(DEMO_SEED + number, (64, 48))
        assert image.path.name.startswith(f"{number + 1:04d}-")
        with Image.open(image.path) as opened:
            assert opened.size == (64, 48)
        assert image.attributes == scene.attributes
        assert image.caption == scene.caption
        if scene.sky and scene.ground:
            assert scene.sky.replace(" ", "-") in image.path.name


def test_seeds_for_training_measuring_and_showing_are_apart() -> None:
    assert 1_000_000 < EVALUATION_SEED < EVALUATION_SEED + 1_000_000 < DEMO_SEED


def test_an_item_without_colour_or_place_claims_only_its_kind() -> None:
    scene = next(s for s in map(describe_scene, range(500)) if s.flyer == Item("rainbow"))
    assert "rainbow" in scene.facts
    assert not any("rainbow at" in fact for fact in scene.facts)


@pytest.mark.parametrize("seed", range(EVALUATION_SEED, EVALUATION_SEED + 12))
def test_boxes_hold_what_was_drawn(seed: int) -> None:
    shown = describe_scene(seed)
    image, boxes = draw_scene(shown, (320, 240))
    items = {"thing": shown.thing, "flyer": shown.flyer}
    items |= {f"shape_{number}": shape for number, shape in enumerate(shown.shapes, start=1)}
    assert boxes.keys() == {role for role, item in items.items() if item}
    assert render_scene(seed, (160, 120)).boxes == boxes
    for role in boxes.keys() & {"thing", "flyer"}:
        item = items[role]
        assert item is not None
        if not item.colour:
            continue
        repainted = replace(item, colour="red" if item.colour != "red" else "blue")
        other = draw_scene(replace(shown, **{role: repainted}), (320, 240)).image  # type: ignore[arg-type]
        changed = ImageChops.difference(image, other).getbbox()
        assert changed is not None
        left, top, right, bottom = (value / side for value, side in zip(changed, (320, 240) * 2, strict=True))
        box = boxes[role]
        assert left >= box[0] - 0.02
        assert top >= box[1] - 0.02
        assert right <= box[2] + 0.02
        assert bottom <= box[3] + 0.02
        assert (right - left) * (bottom - top) > 0.25 * (box[2] - box[0]) * (box[3] - box[1])

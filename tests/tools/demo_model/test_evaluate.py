from __future__ import annotations

import pytest

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.world import CALIBRATION_SEED, EVALUATION_SEED
from tools.demo_model.evaluate import Encoder, Figures, choose_examples, find_bias, measure


def test_examples_come_from_the_seeds_asked_for() -> None:
    seeds = [example.description.seed for example in choose_examples(30, first_seed=CALIBRATION_SEED)]
    assert seeds == sorted(seeds)
    assert CALIBRATION_SEED <= seeds[0] <= seeds[-1] < EVALUATION_SEED


def test_the_found_bias_gives_the_precision_asked_for() -> None:
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    examples = choose_examples(60, first_seed=CALIBRATION_SEED)
    pixels = encoder.prepare_images([example.description for example in examples])
    encoder.model.logit_bias.data.fill_(find_bias(encoder, examples, pixels, precision=0.75))
    figures = measure(encoder, examples, pixels)
    assert figures.precision == pytest.approx(0.75, abs=0.02)
    assert figures.found >= 0.9


def test_figures_are_printed_beside_their_aims() -> None:
    lines = str(Figures(1000, 0.91, 0.99, 1.0, 1.0, 0.93, 0.85)).splitlines()
    assert lines[0] == "1,000 unseen images, 1,000,000 pairs"
    assert "recall@1 " in lines[1]
    assert "0.9100   (aim: at least 0.90)" in lines[1]


@pytest.mark.parametrize("text", ["sunset over water", "a boat at night", "snow"])
def test_a_search_of_few_words_finds_what_it_names(text: str) -> None:
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    descriptions = [example.description for example in choose_examples(120)]
    pixels = encoder.prepare_images(descriptions)
    similarities = encoder.embed_pixels(pixels) @ encoder.embed_texts([text])[0]
    wanted = {
        "sunset over water": {"sky=sunset", "ground=water"},
        "a boat at night": {"boat", "sky=night sky"},
        "snow": {"ground=snow"},
    }[text]
    assert wanted <= descriptions[int(similarities.argmax())].facts

"""Which way to combine the parts of a query finds what was meant: "castle without snow" has a truth in the demo world.

    python benchmarks/composing.py [--images 1500]

Draws images, embeds them with the demo checkpoint, and asks every query of five kinds that has at least five right and
five wrong answers (of the images that the positive parts fit). Each rule gives the images an order; printed is its mean
precision at 10 (or at the number of right answers where that is smaller) and its mean average precision. Takes about a
minute and needs no database.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from engine.measuring import CONTEXT, print_table, print_title
from engine.server import count_cores
from numpy.typing import NDArray

from siglip_ingest.demo import CHECKPOINT, words
from siglip_ingest.demo.description import FLYERS, GROUNDS, SKIES, THINGS, Description, describe_scene
from tools.demo_model.evaluate import Encoder

FIRST_SEED = 60_000_000  # beyond what the demo and its training draw
CHUNK = 250
LEAST = 5  # right answers, and wrong ones, of a query that counts
QUERIES = 400  # of each kind, at most

Vectors = NDArray[np.float32]
TEXTS = {
    **{f"sky={sky}": words.SKY_NOUNS[sky][0] for sky in SKIES},
    **{f"ground={ground}": words.GROUND_NOUNS[ground][0] for ground in GROUNDS},
    **{kind: words.ITEM_NOUNS.get(kind, (kind,))[0] for kind in (*THINGS, *FLYERS)},
}


@dataclass(frozen=True)
class Query:
    """Parts of a query, as signed weights and unit vectors, and which images are right.

    Attributes:
        weights: (N,), below 0 for what should not be there.
        parts: (N, D) unit vectors.
        is_image: (N,), whether a part is an image.
        truth: (images,), whether each is right.
        left_out: Images that stand in the query.
    """

    weights: NDArray[np.float64]
    parts: Vectors
    is_image: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class World:
    """The images: what is true of them, and their vectors."""

    facts: list[frozenset[str]]
    grounds: list[str]
    vectors: Vectors
    texts: dict[str, Vectors]
    scale: float
    bias: float

    def has(self, claim: str) -> NDArray[np.bool_]:
        """Which images a claim is true of."""
        return np.array([claim in facts for facts in self.facts])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    world = make_world(parser.parse_args().images)
    kinds: dict[str, Callable[[World], Iterator[Query]]] = {
        "X without Y": ask_without,
        "X and Y": ask_both,
        "X and Y without Z": ask_both_without,
        "like an image, and Y": ask_like_and,
        "like three images with X, less like one with Y": ask_like_three,
    }
    for name, ask in kinds.items():
        queries = list(ask(world))
        queries = random.Random(1).sample(queries, min(QUERIES, len(queries)))
        print_title(f"{name}: {len(queries)} queries")
        rows = []
        for rule_name, rule in RULES.items():
            measured = np.array([measure(rule(world, query), query) for query in queries])
            rows.append([rule_name, *(f"{value:.3f}" for value in measured.mean(axis=0))])
        print_table(["rule", "precision@10", "average precision"], rows)


def make_world(count: int) -> World:
    """Draw and embed."""
    starts = range(FIRST_SEED, FIRST_SEED + count, CHUNK)
    with ProcessPoolExecutor(count_cores(), mp_context=CONTEXT) as pool:
        vectors = np.concatenate(list(pool.map(embed_images, starts, [CHUNK] * len(starts))))[:count]
    descriptions = [describe_scene(seed) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    texts = dict(zip(TEXTS, encoder.embed_texts(list(TEXTS.values())), strict=True))
    scale, bias = float(np.exp(encoder.model.logit_scale.item())), encoder.model.logit_bias.item()
    return World([d.facts for d in descriptions], [d.ground for d in descriptions], vectors, texts, scale, bias)


def embed_images(first_seed: int, count: int) -> Vectors:
    """A process's part: draw images and embed them, (count, D)."""
    torch.set_num_threads(1)
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    descriptions: list[Description] = [describe_scene(seed) for seed in range(first_seed, first_seed + count)]
    return np.asarray(encoder.embed_pixels(encoder.prepare_images(descriptions)), dtype=np.float32)


def of_texts(world: World, claims: tuple[str, ...], weights: tuple[float, ...]) -> Query | None:
    """Texts alone; None where too few images are right, or too few fit the positive parts and are wrong."""
    truth, fits = np.ones(len(world.facts), bool), np.ones(len(world.facts), bool)
    for claim, weight in zip(claims, weights, strict=True):
        has = world.has(claim)
        truth &= has if weight > 0 else ~has
        fits &= has if weight > 0 else True
    has_negatives = min(weights) < 0
    if truth.sum() < LEAST or (has_negatives and (fits & ~truth).sum() < LEAST):
        return None
    parts = np.stack([world.texts[claim] for claim in claims])
    return Query(np.array(weights), parts, np.zeros(len(claims), bool), truth)


def ask_without(world: World) -> Iterator[Query]:
    """A castle without snow."""
    yield from filter(None, (of_texts(world, pair, (1.0, -1.0)) for pair in itertools.permutations(TEXTS, 2)))


def ask_both(world: World) -> Iterator[Query]:
    """A castle, and snow."""
    yield from filter(None, (of_texts(world, pair, (1.0, 1.0)) for pair in itertools.combinations(TEXTS, 2)))


def ask_both_without(world: World) -> Iterator[Query]:
    """A castle, and snow, without the moon."""
    for pair in itertools.combinations(TEXTS, 2):
        for third in TEXTS:
            if third not in pair and (query := of_texts(world, (*pair, third), (1.0, 1.0, -1.0))) is not None:
                yield query


def ask_like_and(world: World) -> Iterator[Query]:
    """Like this image, and at night: the image's ground, with what the text says and the image doesn't show."""
    for image, ground in enumerate(world.grounds[:200]):
        for claim in TEXTS:
            if not ground or claim in world.facts[image] or claim.startswith("ground="):
                continue
            truth = world.has(claim) & world.has(f"ground={ground}")
            if truth.sum() >= LEAST:
                parts = np.stack([world.vectors[image], world.texts[claim]])
                yield Query(np.array([1.0, 1.0]), parts, np.array([True, False]), truth, (image,))


def ask_like_three(world: World) -> Iterator[Query]:
    """More like these three castles, less like that castle in the snow."""
    rng = random.Random(2)
    for claim, unwanted in itertools.permutations(TEXTS, 2):
        truth, wrong = world.has(claim) & ~world.has(unwanted), world.has(claim) & world.has(unwanted)
        if truth.sum() < LEAST + 3 or wrong.sum() < LEAST + 1:
            continue
        likes = rng.sample(np.flatnonzero(truth).tolist(), 3)
        unlike = rng.choice(np.flatnonzero(wrong).tolist())
        images = (*likes, unlike)
        weights = np.array([1.0, 1.0, 1.0, -1.0])
        yield Query(weights, world.vectors[list(images)], np.ones(4, bool), truth, images)


def add_vectors(negative: float) -> Callable[[World, Query], NDArray[np.float64]]:
    """The similarity with the sum of the parts (and so the sum of their logits); negatives weigh `negative`."""

    def rule(world: World, query: Query) -> NDArray[np.float64]:
        weights = np.where(query.weights < 0, negative * query.weights, query.weights)
        return np.asarray(world.vectors @ (weights @ query.parts))

    return rule


def project(world: World, query: Query) -> NDArray[np.float64]:
    """The sum of the positive parts, without what lies along the negative ones."""
    vector = query.weights.clip(0) @ query.parts
    for part in query.parts[query.weights < 0]:
        vector = vector - (vector @ part) * part
    return np.asarray(world.vectors @ vector)


def find_logits(world: World, query: Query) -> NDArray[np.float64]:
    """(images, N) logits of each image and part."""
    return np.asarray(world.scale * (world.vectors @ query.parts.T).astype(np.float64) + world.bias)


def multiply_scores(world: World, query: Query) -> NDArray[np.float64]:
    """The logarithm of the product of the scores, and of 1 - score for what is negative."""
    signs, weights = np.sign(query.weights), np.abs(query.weights)
    return np.asarray(-(np.logaddexp(0, -signs * find_logits(world, query)) @ weights))


def least_score(world: World, query: Query) -> NDArray[np.float64]:
    """The smallest of the scores, and of 1 - score for what is negative."""
    return np.asarray((np.sign(query.weights) * find_logits(world, query)).min(axis=1))


def multiply(exponent: float) -> Callable[[World, Query], NDArray[np.float64]]:
    """As `multiply_scores`, where a part that is an image has the score ((1 + similarity) / 2) ** exponent.

    1 - similarity stands for 1 + similarity where it is negative.
    """

    def rule(world: World, query: Query) -> NDArray[np.float64]:
        signs, weights = np.sign(query.weights), np.abs(query.weights)
        texts = -np.logaddexp(0, -signs * find_logits(world, query))
        likeness = exponent * np.log(((1 + signs * (world.vectors @ query.parts.T)) / 2).clip(1e-9))
        return np.asarray(np.where(query.is_image, likeness, texts) @ weights)

    return rule


def multiply_mean(negative: float, exponent: float = 4.0) -> Callable[[World, Query], NDArray[np.float64]]:
    """The rule of `siglip.search_images(siglip.compose(...))`: scores of texts, and one likeness for all images.

    The likeness is ((1 + s) / 2) ** (exponent * w), s the mean similarity by weight, w the sum of the weights; images
    that aren't wanted weigh `negative` as much.
    """

    def rule(world: World, query: Query) -> NDArray[np.float64]:
        signs, weights = np.sign(query.weights), np.abs(query.weights)
        order = (-np.logaddexp(0, -signs * find_logits(world, query)) * ~query.is_image) @ weights
        if query.is_image.any():
            weights = np.where(signs < 0, negative * weights, weights) * query.is_image
            mean = (world.vectors @ query.parts.T) @ (signs * weights) / weights.sum()
            order += exponent * weights.sum() * np.log(((1 + mean) / 2).clip(1e-9))
        return np.asarray(order)

    return rule


RULES: dict[str, Callable[[World, Query], NDArray[np.float64]]] = {
    "without the negatives": add_vectors(0.0),
    "vectors, negatives x 0.25": add_vectors(0.25),
    "vectors, negatives x 0.5": add_vectors(0.5),
    "vectors (or logits)": add_vectors(1.0),
    "vectors, negatives projected out": project,
    "product of scores": multiply_scores,
    "least score": least_score,
    "product, each image by itself": multiply(4),
    "product, images together, negatives x 1": multiply_mean(1.0),
    "product, images together, negatives x 0.5": multiply_mean(0.5),
    "product, images together, negatives x 0.25": multiply_mean(0.25),
    "product, images together, exponent 1": multiply_mean(0.25, 1.0),
    "product, images together, exponent 16": multiply_mean(0.25, 16.0),
}


def measure(order: NDArray[np.float64], query: Query) -> tuple[float, float]:
    """Precision at 10 and average precision of an order, the largest first."""
    order = np.array(order, dtype=np.float64)
    kept = np.setdiff1d(np.arange(len(order)), query.left_out)
    right = query.truth[kept][np.argsort(-order[kept], kind="stable")]
    first = min(10, int(right.sum()))
    precisions = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(right[:first].mean()), float(precisions[right].mean())


if __name__ == "__main__":
    main()

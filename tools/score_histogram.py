"""Draws docs/score-histogram.svg, and prints the figures that docs/scores.md quotes: `python -m tools.score_histogram`.

Images of the demo world that the demo checkpoint never saw are scored against two labels, one in words that it learnt
and one that it has to guess at, and sorted by what they really show. Takes about half a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.description import Description, describe_scene
from siglip_ingest.demo.world import EVALUATION_SEED
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.siglip.scores import score_similarities
from tools.demo_model.evaluate import Encoder

ROOT = Path(__file__).parents[1]
LABELS = {"house": DEFAULT_TEMPLATE, "an old house": "{label}"}
TOGETHER = ("sunset", "water", "boat", "house", "moon")
CHUNK = 100
FIRST_LOGIT, LAST_LOGIT, BINS = -14.0, 9.0, 46
TICKS = (0.000_01, 0.000_1, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
WIDTH, PANEL, LEFT, BAR_HEIGHT = 690, 170, 20, 105
COLOURS = {True: "#1f6fb4", False: "#9a9a9a"}


@click.command()
@click.option("--images", type=int, default=2_000, show_default=True, help="How many images are scored.")
@click.option("--to", "target", type=click.Path(path_type=Path), default=ROOT / "docs" / "score-histogram.svg")
def main(images: int, target: Path) -> None:
    """Score images, print what docs/scores.md says of them, and draw the histograms."""
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    scenes = [describe_scene(seed) for seed in range(EVALUATION_SEED, EVALUATION_SEED + images)]
    vectors = np.concatenate(
        [
            encoder.embed_pixels(encoder.prepare_images(scenes[start : start + CHUNK]))
            for start in range(0, images, CHUNK)
        ]
    )

    def score(texts: Sequence[str]) -> NDArray[np.float64]:
        similarities = vectors @ encoder.embed_texts(list(texts)).T
        model = encoder.model
        scores = score_similarities(
            similarities, logit_scale=model.logit_scale.item(), logit_bias=model.logit_bias.item()
        )
        return np.asarray(scores, np.float64)

    sums = score([DEFAULT_TEMPLATE.format(label=label) for label in TOGETHER]).sum(axis=1)
    click.echo(
        f"{', '.join(TOGETHER)}: the {len(TOGETHER)} scores of an image sum to {sums.min():.2f} to {sums.max():.2f},"
        f" mean {sums.mean():.2f}"
    )
    scores = score([template.format(label=label) for label, template in LABELS.items()])
    has_label = np.array([_shows_house(scene) for scene in scenes])
    for label, of_label in zip(LABELS, scores.T, strict=True):
        low, middle, high = np.percentile(of_label[has_label], [5, 50, 95])
        least = next(
            value for value in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if (of_label[has_label] >= value).mean() > 0.9
        )
        above = of_label >= least
        half = of_label >= 0.5
        click.echo(
            f"{label}: {has_label.sum()} of {images} images show one; their scores: 5 % below {low:.3f}, half below"
            f" {middle:.3f}, 95 % below {high:.3f}; 99.9 % of the others below"
            f" {np.percentile(of_label[~has_label], 99.9):.4f}."
            f" At 0.5: {100 * has_label[half].mean():.0f} % right, {100 * half[has_label].mean():.0f} % found;"
            f" at {least}: {100 * has_label[above].mean():.0f} % right, {100 * above[has_label].mean():.0f} % found."
        )
    target.write_text(draw(list(LABELS), scores.T, has_label), encoding="utf-8")
    click.echo(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def draw(labels: Sequence[str], scores: NDArray[np.float64], has_label: NDArray[np.bool_]) -> str:
    """An SVG with a panel a label: how the scores of images with and without it are distributed, by their logits."""
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {PANEL * len(labels) + 30}" font-size="12"'
            ' font-family="sans-serif" fill="#222">'
        ),
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for panel, (label, of_label) in enumerate(zip(labels, scores, strict=True)):
        base = PANEL * panel + 30 + BAR_HEIGHT
        parts.append(f'<text x="{LEFT}" y="{base - BAR_HEIGHT - 8}" font-size="14">“{label}”</text>')
        for is_true in (False, True):
            parts += _draw_bars(of_label[has_label == is_true], base, COLOURS[is_true])
        parts.append(f'<path d="M{LEFT} {base}H{WIDTH - LEFT}" stroke="#222"/>')
        for tick in TICKS:
            x = _place(float(np.log(tick / (1 - tick))))
            parts.append(f'<path d="M{x:.0f} {base}v5" stroke="#222"/>')
            parts.append(f'<text x="{x:.0f}" y="{base + 18}" text-anchor="middle">{_format(tick)}</text>')
        x = _place(0)
        parts.append(f'<path d="M{x:.0f} {base}v-{BAR_HEIGHT}" stroke="#c03a2b" stroke-dasharray="4 3"/>')
    legend = PANEL * len(labels) + 18
    for x, is_true, text in ((LEFT, False, "images without a house"), (LEFT + 190, True, "images with a house")):
        parts.append(f'<rect x="{x}" y="{legend - 10}" width="12" height="12" fill="{COLOURS[is_true]}"/>')
        parts.append(f'<text x="{x + 18}" y="{legend}">{text}</text>')
    parts.append(f'<text x="{LEFT + 360}" y="{legend}">score; dashed: 0.5. Each colour sums to 100 %.</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_bars(scores: NDArray[np.float64], base: int, colour: str) -> list[str]:
    """The bars of some scores, as shares of all of them, cut at 30 %; what lies outside is in the first and last."""
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(scores / (1 - scores)), FIRST_LOGIT, LAST_LOGIT - 1e-9)
    counts, edges = np.histogram(logits, BINS, (FIRST_LOGIT, LAST_LOGIT))
    width = _place(edges[1]) - _place(edges[0]) - 1
    return [
        f'<rect x="{_place(edge):.1f}" y="{base - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' fill="{colour}" fill-opacity="0.8"/>'
        for edge, share in zip(edges, counts / len(scores), strict=False)
        if (height := BAR_HEIGHT * min(1, share / 0.3)) > 0
    ]


def _format(score: float) -> str:
    return f"{score:.5f}".rstrip("0")


def _place(logit: float) -> float:
    return LEFT + (WIDTH - 2 * LEFT) * (logit - FIRST_LOGIT) / (LAST_LOGIT - FIRST_LOGIT)


def _shows_house(scene: Description) -> bool:
    return scene.thing is not None and scene.thing.kind == "house"


if __name__ == "__main__":
    main()

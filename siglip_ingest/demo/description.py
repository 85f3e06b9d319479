"""What can be in an image of the demo world, and what is then true of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

SKIES = ("sunset", "night sky", "clear sky", "cloudy sky", "storm")
GROUNDS = ("water", "mountains", "desert", "forest", "city", "field", "snow")
THINGS = ("boat", "house", "tree", "tent", "car", "windmill", "lighthouse", "castle", "umbrella", "flag")
FLYERS = ("moon", "balloon", "kite", "birds", "airplane", "rainbow")
PLACES = ("left", "middle", "right")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring")
BACKGROUNDS = ("white", "black", "gray", "striped", "dotted", "checkered")
COLOURS: Mapping[str, tuple[int, int, int]] = {  # RGB
    "red": (216, 38, 40),
    "orange": (246, 132, 28),
    "yellow": (252, 216, 48),
    "green": (44, 160, 66),
    "blue": (36, 96, 216),
    "purple": (136, 60, 182),
    "white": (248, 248, 248),
}

_SHARE_OF_SHAPES = 0.3
_WOODED = {"forest", "snow"}  # firs stand all over these grounds
_MIRRORED = {"left of": "right of", "above": "below", "inside": "around"}


@dataclass(frozen=True, slots=True)
class Item:
    """Something in an image.

    Attributes:
        kind: A word of `THINGS`, `FLYERS` or `SHAPES`.
        colour: A word of `COLOURS`; empty for what has none of its own (moon, birds, rainbow).
        place: A word of `PLACES`; empty for a rainbow and for shapes.
    """

    kind: str
    colour: str = ""
    place: str = ""


@dataclass(frozen=True)
class Description:
    """What is in an image, before it is drawn.

    Attributes:
        seed: What it was made from; also fixes everything that no caption mentions (sizes, dunes, stars).
        sky: A word of `SKIES`, empty for shapes.
        ground: A word of `GROUNDS`, empty for shapes.
        thing: What stands on the ground, or None.
        flyer: What is in the air, or None.
        background: A word of `BACKGROUNDS`, empty for landscapes.
        shapes: The two shapes, such that `shapes[0]` is `relation` `shapes[1]`; empty for landscapes.
        relation: `left of`, `above` or `inside`; empty for landscapes.
    """

    seed: int
    sky: str = ""
    ground: str = ""
    thing: Item | None = None
    flyer: Item | None = None
    background: str = ""
    shapes: tuple[Item, ...] = ()
    relation: str = ""

    @property
    def is_landscape(self) -> bool:
        """True for the first family, false for shapes."""
        return bool(self.sky)

    @cached_property
    def facts(self) -> frozenset[str]:
        """Every elementary statement that is true of the image: a caption is true where it claims nothing else."""
        if self.is_landscape:
            facts = {"landscape", f"sky={self.sky}", f"ground={self.ground}"}
            facts.update(*(item_claims(item) for item in (self.thing, self.flyer) if item))
            if self.ground in _WOODED:
                facts.update(*(item_claims(Item("tree", "green", place)) for place in PLACES))
            return frozenset(facts)
        first, second = self.shapes
        facts = {"shapes", f"background={self.background}", *item_claims(first), *item_claims(second)}
        for a in item_claims(first):
            for b in item_claims(second):
                facts |= {f"{a} {self.relation} {b}", f"{b} {_MIRRORED[self.relation]} {a}"}
        return frozenset(facts)


def item_claims(item: Item) -> frozenset[str]:
    """Return the statements that an item makes true: its kind alone, with its colour, with its place, with both."""
    named = {item.kind} | ({f"{item.colour} {item.kind}"} if item.colour else set())
    return frozenset(named | ({f"{name} at {item.place}" for name in named} if item.place else set()))


def describe_scene(seed: int) -> Description:
    """Decide what is in the image of a seed."""
    rng = random.Random(f"scene {seed}")  # noqa: S311  # images, not secrets
    if rng.random() < _SHARE_OF_SHAPES:
        return _describe_shapes(seed, rng)
    sky, ground = rng.choice(SKIES), rng.choice(GROUNDS)
    thing = choose_thing(ground, rng) if rng.random() < 0.9 else None
    flyer = choose_flyer(sky, rng) if rng.random() < 0.75 else None
    return Description(seed, sky, ground, thing, flyer)


def choose_thing(ground: str, rng: random.Random) -> Item:
    """Choose what stands on a ground: boats float, cars and tents don't, and no tree stands out among firs."""
    unfit = {"car", "tent"} if ground == "water" else {"boat", "tree"} if ground in _WOODED else {"boat"}
    kinds = [kind for kind in THINGS if kind not in unfit]
    kind = "boat" if ground == "water" and rng.random() < 0.4 else rng.choice(kinds)
    return Item(kind, rng.choice(tuple(COLOURS)), rng.choice(PLACES))


def choose_flyer(sky: str, rng: random.Random) -> Item:
    """Choose what is in the air: no moon behind clouds, no rainbow at night."""
    unfit = {"night sky": {"rainbow"}, "clear sky": set[str]()}.get(sky, {"moon"})
    kind = rng.choice([kind for kind in FLYERS if kind not in unfit])
    colour = rng.choice(tuple(COLOURS)) if kind in {"balloon", "kite", "airplane"} else ""
    return Item(kind, colour, "" if kind == "rainbow" else rng.choice(PLACES))


def _describe_shapes(seed: int, rng: random.Random) -> Description:
    background, relation = rng.choice(BACKGROUNDS), rng.choice(("left of", "above", "inside", "left of", "above"))
    colours = [colour for colour in COLOURS if colour != background]
    first = Item(rng.choice(SHAPES), rng.choice(colours))
    second = Item(rng.choice(("circle", "square", "heart") if relation == "inside" else SHAPES), rng.choice(colours))
    if relation == "inside" or first == second:
        second = Item(second.kind, rng.choice([colour for colour in colours if colour != first.colour]))
    return Description(seed, background=background, shapes=(first, second), relation=relation)

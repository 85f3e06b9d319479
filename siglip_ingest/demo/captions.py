"""Captions of the demo world: many ways to say what is true of an image, each knowing what it claims.

A caption names some of an image's attributes. It is true of every image whose facts include all its claims, so a
training batch can be told exactly which texts belong to which images, and an evaluation knows which captions name
exactly one image.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.demo import words
from siglip_ingest.demo.description import (
    BACKGROUNDS,
    COLOURS,
    GROUNDS,
    PLACES,
    SHAPES,
    SKIES,
    Description,
    Item,
    choose_flyer,
    choose_thing,
    item_claims,
)

LABEL_TEMPLATE = "This is a photo of {label}."


@dataclass(frozen=True, slots=True)
class Caption:
    """A text and the elementary statements that it makes (compare `Description.facts`)."""

    text: str
    claims: frozenset[str]

    def is_true_of(self, description: Description) -> bool:
        """Tell whether everything the caption says holds for an image."""
        return self.claims <= description.facts


def write_caption(description: Description, rng: random.Random, *, is_partial: bool = False) -> Caption:
    """Write a caption: of everything in the image, or of a random part of it."""
    if is_partial:
        description = _forget_some(description, rng)
    write = _write_landscape if description.sky or description.ground or not description.shapes else _write_shapes
    text, claims = write(description, rng)
    if rng.random() < (0.4 if is_partial else 0.15):
        text = rng.choice(words.WRAPPERS).format(text)
    return Caption(text, claims)


def label_caption(claim: str, text: str, rng: random.Random | None = None) -> Caption:
    """Write the prompt of one label: through `LABEL_TEMPLATE`, or a random wrapper where `rng` is given."""
    wrapper = rng.choice(words.WRAPPERS) if rng and rng.random() < 0.5 else LABEL_TEMPLATE.replace("{label}", "{}")
    return Caption(wrapper.format(text), frozenset({claim}))


def label_captions(rng: random.Random | None = None) -> list[Caption]:
    """Write one prompt for every word of the world that can stand alone as a label."""
    return [label_caption(claim, text, rng) for claim, text in words.LABELS]


def find_matches(descriptions: Sequence[Description], captions: Sequence[Caption]) -> NDArray[np.bool_]:
    """Tell which captions are true of which images: (images, captions), bool."""
    claims = sorted(set().union(*(c.claims for c in captions)))
    column = {claim: index for index, claim in enumerate(claims)}
    facts = np.zeros((len(descriptions), len(claims)), np.float32)
    for row, description in enumerate(descriptions):
        facts[row, [column[fact] for fact in description.facts if fact in column]] = 1.0
    needs = np.zeros((len(captions), len(claims)), np.float32)
    for row, text in enumerate(captions):
        needs[row, [column[claim] for claim in text.claims]] = 1.0
    return np.asarray(facts @ needs.T >= needs.sum(axis=1))


def vary(description: Description, rng: random.Random) -> Description:
    """Change one attribute of an image: its caption is then a near miss for the image it came from."""
    if not description.is_landscape:
        return _vary_shapes(description, rng)
    choices = ["sky", "ground"]
    choices += ["thing"] * 3 if description.thing else []
    choices += ["flyer"] * 2 if description.flyer else []
    what = rng.choice(choices)
    if what == "sky":
        return replace(description, sky=_other(SKIES, description.sky, rng))
    if what == "ground":
        return replace(description, ground=_other(GROUNDS, description.ground, rng))
    if what == "thing" and description.thing:
        return replace(description, thing=_vary_item(description.thing, choose_thing(description.ground, rng), rng))
    if description.flyer:
        return replace(description, flyer=_vary_item(description.flyer, choose_flyer(description.sky, rng), rng))
    return description


def _vary_item(item: Item, other: Item, rng: random.Random) -> Item:
    what = rng.choice(["kind", "colour", "place"])
    if what == "colour" and item.colour:
        return replace(item, colour=_other(tuple(COLOURS), item.colour, rng))
    if what == "place" and item.place:
        return replace(item, place=_other(PLACES, item.place, rng))
    has_both = bool(item.colour) == bool(other.colour) and bool(item.place) == bool(other.place)
    return replace(item, kind=other.kind) if has_both else other


def _vary_shapes(description: Description, rng: random.Random) -> Description:
    what = rng.choice(
        ["background", "swap", "swap colours", "swap kinds", "relation", "colour", "colour", "kind", "kind"]
    )
    first, second = description.shapes
    if what == "background":
        return replace(description, background=_other(BACKGROUNDS, description.background, rng))
    if what == "swap":
        return replace(description, shapes=(second, first))
    if what == "swap colours" and first.colour != second.colour:
        return replace(description, shapes=(Item(first.kind, second.colour), Item(second.kind, first.colour)))
    if what == "swap kinds" and first.kind != second.kind:
        return replace(description, shapes=(Item(second.kind, first.colour), Item(first.kind, second.colour)))
    if what == "relation":
        return replace(description, relation=_other(("left of", "above", "inside"), description.relation, rng))
    index, pair = rng.randrange(2), [first, second]
    if what == "colour":
        pair[index] = replace(pair[index], colour=_other(tuple(COLOURS), pair[index].colour, rng))
    else:
        pair[index] = replace(pair[index], kind=_other(SHAPES, pair[index].kind, rng))
    return replace(description, shapes=(pair[0], pair[1]))


def _other(words_: Sequence[str], word: str, rng: random.Random) -> str:
    return rng.choice([other for other in words_ if other != word])


def _forget_some(description: Description, rng: random.Random) -> Description:
    """Drop attributes at random, leaving at least one to speak of."""
    if not description.is_landscape:
        return _forget_shapes(description, rng)
    parts = [part for part in ("sky", "ground", "thing", "flyer") if getattr(description, part)]
    kept = set(rng.sample(parts, rng.randint(1, max(1, len(parts) - 1))))
    if rng.random() < 0.2:
        kept = {"sky", "ground"}
    return replace(
        description,
        sky=description.sky if "sky" in kept else "",
        ground=description.ground if "ground" in kept else "",
        thing=_forget_of_item(description.thing, rng) if "thing" in kept else None,
        flyer=_forget_of_item(description.flyer, rng) if "flyer" in kept else None,
    )


def _forget_of_item(item: Item | None, rng: random.Random) -> Item | None:
    if item is None:
        return None
    keep_colour, keep_place = rng.choice([(True, False), (False, True), (False, False), (True, True)])
    return Item(item.kind, item.colour if keep_colour else "", item.place if keep_place else "")


def _forget_shapes(description: Description, rng: random.Random) -> Description:
    first, second = description.shapes
    if rng.random() < 0.4:
        kept = rng.choice([first, second])
        kept = kept if rng.random() < 0.6 else replace(kept, colour="")
        return replace(description, shapes=(kept,), relation="", background=rng.choice(["", description.background]))
    if rng.random() < 0.4:
        first, second = replace(first, colour=""), replace(second, colour="")
    return replace(description, shapes=(first, second), background="")


def _write_landscape(description: Description, rng: random.Random) -> tuple[str, frozenset[str]]:
    claims: set[str] = set()
    if description.sky:
        claims.add(f"sky={description.sky}")
    if description.ground:
        claims.add(f"ground={description.ground}")
    things = [_write_item(item, rng) for item in (description.thing, description.flyer) if item]
    for item in (description.thing, description.flyer):
        claims |= _strongest(item) if item else set()
    if rng.random() < 0.3:
        things.reverse()
    text = _order_parts(description, " and ".join(things), rng)
    return text, frozenset(claims)


def _order_parts(description: Description, things: str, rng: random.Random) -> str:
    sky, ground = description.sky, description.ground
    view = ""
    if sky and ground:
        view = rng.choice(words.OVER).format(
            sky=rng.choice(words.SKY_NOUNS[sky]), ground=rng.choice(words.GROUND_NOUNS[ground])
        )
    elif sky or ground:
        view = rng.choice(words.SKY_NOUNS[sky] if sky else words.GROUND_NOUNS[ground])
    if not things:
        return view
    where = [rng.choice(words.GROUND_PLACES[ground])] if ground else []
    if ground and description.flyer and not description.thing:
        where = [f"{rng.choice(('over', 'above'))} {rng.choice(words.GROUND_NOUNS[ground])}"]
    when = [rng.choice(words.SKY_TIMES[sky])] if sky else []
    places = where + when if rng.random() < 0.75 else when + where
    if view and rng.random() < 0.4:
        return f"{view} {rng.choice(('with', 'and'))} {things}"
    if places and rng.random() < 0.15:
        return f"{' '.join(places)} there is {things}"
    return " ".join([things, *places])


def _write_item(item: Item, rng: random.Random) -> str:
    noun = rng.choice(words.ITEM_NOUNS.get(item.kind, (item.kind,)))
    name = f"{item.colour} {noun}" if item.colour else noun
    if item.kind != "birds":
        name = f"{'an' if name[0] in 'aeio' else 'a'} {name}"
    elif item.kind == "birds" and rng.random() < 0.3:
        name = "a flock of birds"
    return f"{name} {rng.choice(words.PLACE_NAMES[item.place])}" if item.place else name


def _strongest(item: Item) -> set[str]:
    """The claims of an item that imply all its others."""
    return {max(item_claims(item), key=len)}


def _write_shapes(description: Description, rng: random.Random) -> tuple[str, frozenset[str]]:
    claims = {f"background={description.background}"} if description.background else set()
    tail = f" {rng.choice(words.BACKGROUND_PLACES).format(description.background)}" if description.background else ""
    if len(description.shapes) == 1:
        claims |= _strongest(description.shapes[0])
        return _write_item(description.shapes[0], rng) + tail, frozenset(claims)
    first, second = description.shapes
    claims.add(f"{_full_name(first)} {description.relation} {_full_name(second)}")
    forth, back = words.RELATIONS[description.relation]
    if rng.random() < 0.5:
        text = f"{_write_item(first, rng)} {rng.choice(forth)} {_write_item(second, rng)}"
    else:
        text = f"{_write_item(second, rng)} {rng.choice(back)} {_write_item(first, rng)}"
    return text + tail, frozenset(claims)


def _full_name(item: Item) -> str:
    return f"{item.colour} {item.kind}" if item.colour else item.kind

"""The words of the demo world's captions: every way to say each thing."""

from __future__ import annotations

from siglip_ingest.demo.description import BACKGROUNDS, FLYERS, GROUNDS, SHAPES, SKIES, THINGS

WRAPPERS = (
    "This is a photo of {}.",
    "a photo of {}",
    "a picture of {}",
    "This is a picture of {}.",
    "an image of {}",
    "a drawing of {}",
)

SKY_NOUNS = {
    "sunset": ("sunset", "sunset", "a sunset", "a sunset sky", "the setting sun", "evening sky"),
    "night sky": ("night sky", "a night sky", "a starry sky", "a starry night", "stars", "the night sky"),
    "clear sky": ("clear sky", "a clear sky", "a blue sky", "a clear blue sky", "blue sky"),
    "cloudy sky": ("cloudy sky", "a cloudy sky", "clouds", "an overcast sky", "white clouds"),
    "storm": ("storm", "a storm", "a thunderstorm", "a stormy sky", "lightning"),
}
SKY_TIMES = {
    "sunset": ("at sunset", "at sunset", "at dusk", "in the evening", "under a sunset sky", "as the sun sets"),
    "night sky": ("at night", "at night", "under a night sky", "under the stars", "under a starry sky", "by night"),
    "clear sky": ("under a clear sky", "under a clear sky", "under a blue sky", "on a clear day", "on a sunny day"),
    "cloudy sky": ("under a cloudy sky", "under a cloudy sky", "on a cloudy day", "under clouds", "on an overcast day"),
    "storm": ("in a storm", "during a storm", "during a thunderstorm", "under a stormy sky", "with lightning"),
}

GROUND_NOUNS = {
    "water": ("water", "water", "the water", "the sea", "the ocean", "a lake", "waves"),
    "mountains": ("mountains", "mountains", "the mountains", "a mountain range", "mountain peaks", "high mountains"),
    "desert": ("desert", "a desert", "the desert", "sand dunes", "the dunes", "desert sand"),
    "forest": ("forest", "a forest", "the forest", "the woods", "woods", "a fir forest"),
    "city": ("city", "a city", "the city", "a city skyline", "tall buildings", "skyscrapers"),
    "field": ("field", "a field", "a green field", "a meadow", "fields", "the field"),
    "snow": ("snow", "the snow", "a snowy landscape", "a winter landscape", "snowy land", "deep snow"),
}
GROUND_PLACES = {
    "water": ("on the water", "on the water", "on the sea", "at sea", "on a lake", "in the ocean"),
    "mountains": ("in the mountains", "in front of mountains", "near mountains", "by the mountains"),
    "desert": ("in the desert", "in a desert", "among sand dunes", "on the dunes", "on desert sand"),
    "forest": ("in a forest", "in the forest", "in the woods", "in front of a forest"),
    "city": ("in the city", "in a city", "in front of skyscrapers", "in front of tall buildings", "downtown"),
    "field": ("in a field", "in a meadow", "on a green field", "in the fields"),
    "snow": ("in the snow", "in snow", "on the snow", "in a snowy landscape", "in deep snow"),
}
OVER = (
    "{sky} over {ground}",
    "{sky} over {ground}",
    "{sky} above {ground}",
    "{ground} under {sky}",
    "{ground} and {sky}",
    "{ground} with {sky}",
)

ITEM_NOUNS = {
    "boat": ("boat", "boat", "sailing boat", "sailboat", "ship"),
    "house": ("house", "house", "cottage", "little house"),
    "tree": ("tree",),
    "tent": ("tent", "tent", "camping tent"),
    "car": ("car",),
    "windmill": ("windmill", "windmill", "mill"),
    "castle": ("castle", "castle", "fortress"),
    "umbrella": ("umbrella", "umbrella", "sunshade"),
    "moon": ("moon", "moon", "full moon"),
    "balloon": ("balloon", "hot air balloon"),
    "airplane": ("airplane", "plane", "airplane"),
    "square": ("square", "square", "box"),
    "circle": ("circle", "circle", "disc"),
}
PLACE_NAMES = {
    "left": ("on the left", "on the left", "to the left", "at the left"),
    "middle": ("in the middle", "in the middle", "in the center", "in the centre"),
    "right": ("on the right", "on the right", "to the right", "at the right"),
}
RELATIONS = {
    "left of": (("left of", "to the left of", "left of"), ("right of", "to the right of", "right of")),
    "above": (("above", "over", "on top of"), ("below", "under", "beneath")),
    "inside": (("inside", "in", "within"), ("around", "surrounding")),
}
BACKGROUND_PLACES = ("on a {} background", "on a {} background", "with a {} background", "against a {} background")

# (claim, words) of everything that can stand alone as a label.
LABELS: tuple[tuple[str, str], ...] = (
    *((f"sky={sky}", noun) for sky in SKIES for noun in dict.fromkeys((sky, *SKY_NOUNS[sky]))),
    *((f"ground={ground}", noun) for ground in GROUNDS for noun in dict.fromkeys((ground, *GROUND_NOUNS[ground]))),
    *((kind, noun) for kind in (*THINGS, *FLYERS, *SHAPES) for noun in dict.fromkeys(ITEM_NOUNS.get(kind, (kind,)))),
    *((kind, f"a {kind}") for kind in (*THINGS, *SHAPES, "moon", "rainbow", "balloon", "kite") if kind != "umbrella"),
    *((kind, f"an {kind}") for kind in ("umbrella", "airplane")),
    *((f"background={background}", f"a {background} background") for background in BACKGROUNDS),
    ("shapes", "shapes"),
    ("shapes", "colored shapes"),
    ("shapes", "geometric shapes"),
    ("landscape", "landscape"),
    ("landscape", "a landscape"),
)

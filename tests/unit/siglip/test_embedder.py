"""The embedder on tiny checkpoints with random weights: one for images of a fixed size, and one NaFlex."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from siglip_ingest.errors import CheckpointError, ConfigurationError, InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.preprocess.image import ImageSettings, make_naflex_inputs, normalize, resize_image
from siglip_ingest.types import Embedder
from tests.checkpoints import write_tiny_checkpoint
from tests.images import make_image

SIZES = [(30, 20), (1, 1), (1, 500), (64, 64), (20, 30), (33, 31), (50, 50)]


@pytest.fixture(scope="module")
def naflex_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("naflex"), is_naflex=True)


@pytest.fixture(params=["fixed", "naflex"])
def checkpoint(request: pytest.FixtureRequest, tiny_checkpoint: Path, naflex_checkpoint: Path) -> Path:
    return naflex_checkpoint if request.param == "naflex" else tiny_checkpoint


@pytest.fixture
def embedder(checkpoint: Path) -> TorchEmbedder:
    return open_embedder(checkpoint, batch_size=3)


@pytest.fixture
def naflex(naflex_checkpoint: Path) -> TorchEmbedder:
    return open_embedder(naflex_checkpoint, batch_size=3)


def open_embedder(folder: Path, **options: Any) -> TorchEmbedder:
    return TorchEmbedder.from_checkpoint(folder, name="tiny", device="cpu", **options)


def make_images() -> list[Any]:
    return [make_image(width, height, seed) for seed, (width, height) in enumerate(SIZES)]


def make_expected_vectors(folder: Path) -> NDArray[np.float32]:
    """The images' vectors by the plain model; for NaFlex padded, as the reference does it."""
    settings = ImageSettings.from_file(folder / "preprocessor_config.json")
    resized = [resize_image(image, settings) for image in make_images()]
    inputs: list[NDArray[Any]]
    if settings.is_naflex:
        inputs = list(make_naflex_inputs(resized, settings))
    else:
        inputs = [normalize(np.stack(resized), settings)]
    with torch.no_grad():
        features = load_model(folder).get_image_features(*map(torch.from_numpy, inputs))
    return torch.nn.functional.normalize(features, dim=-1).numpy()


def fail_above(size: int, compute: Callable[..., Tensor], error: Exception) -> Callable[..., Tensor]:
    """Make a tower that lacks the memory for more than `size` inputs."""

    def compute_or_fail(*inputs: Tensor) -> Tensor:
        if len(inputs[-1]) > size:  # of NaFlex's two inputs the last one has a row an image
            raise error
        return compute(*inputs)

    return compute_or_fail


def fail_on_images(embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch, size: int, error: Exception) -> None:
    for name in ("encode_pixels", "encode_patches"):
        monkeypatch.setattr(embedder._model, name, fail_above(size, getattr(embedder._model, name), error))


def test_image_vectors_are_the_models_own_of_unit_length(embedder: TorchEmbedder, checkpoint: Path) -> None:
    expected = make_expected_vectors(checkpoint)
    vectors = embedder.embed_images(make_images())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


def test_vectors_do_not_depend_on_the_batch(embedder: TorchEmbedder) -> None:
    together = embedder.embed_images(make_images())
    one_by_one = np.concatenate([embedder.embed_images([image]) for image in make_images()])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-6)
    texts = ["a cat", "a dog", "A CAT", "a boat over water", "x"]
    vectors = embedder.embed_texts(texts)
    one_by_one = np.concatenate([embedder.embed_texts([text]) for text in texts])
    np.testing.assert_allclose(vectors, one_by_one, rtol=0, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[2], rtol=0, atol=1e-6)


NOTHING = ["", "  \n", "\u200b", "\u200d\ufeff\u2060", "\x01\x07\x7f"]
NOTHING_FOR_SIGLIP = ["!!!", "-- ... ?!", "</s>", "! </s> !"]
NOTHING_FOR_SIGLIP2 = ["<eos>", "<pad><eos>"]


@pytest.mark.parametrize("text", NOTHING, ids=ascii)
def test_a_text_of_which_nothing_can_be_seen_is_refused(embedder: TorchEmbedder, text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"leaves nothing of the text .* Say in words"):
        embedder.embed_texts([text])
    assert embedder.describe_refusals(["a cat", text])[0] is None
    assert embedder.describe_refusals(["a cat", text])[1] is not None


def test_a_text_of_which_siglips_tokenizer_leaves_nothing_is_refused(tiny_checkpoint: Path) -> None:
    embedder = open_embedder(tiny_checkpoint)
    for text, refusal in zip(NOTHING_FOR_SIGLIP, embedder.describe_refusals(NOTHING_FOR_SIGLIP), strict=True):
        assert (
            refusal == f"The model's tokenizer leaves nothing of the text {text!r}. Say in words what the image shows."
        )
    assert embedder.describe_refusals(["a cat!", "a", "<unk>"]) == [None] * 3
    # The reference embeds padding alone, and training and evaluation go with it.
    assert embedder.embed_tokens(embedder.tokenize(NOTHING_FOR_SIGLIP)).shape == (4, 32)


def test_a_text_of_which_siglip2s_tokenizer_leaves_nothing_is_refused(naflex: TorchEmbedder) -> None:
    assert None not in naflex.describe_refusals(NOTHING_FOR_SIGLIP2)
    assert naflex.describe_refusals(["!!!", "a cat", "<mask>", "\U0001f984", "日"]) == [None] * 5


def test_the_first_of_several_texts_that_is_refused_is_named(embedder: TorchEmbedder) -> None:
    with pytest.raises(InvalidInputError, match=r"^Text 2 of 4: .* leaves nothing of the text '\\u200b'"):
        embedder.embed_texts(["a cat", "\u200b", "a dog", ""])


def test_a_long_text_that_is_refused_is_shown_in_one_short_line(embedder: TorchEmbedder) -> None:
    (refusal,) = embedder.describe_refusals(["\u200b\n" * 10_000])
    assert refusal is not None
    assert len(refusal) < 1000
    assert "\n" not in refusal


def test_a_prefix_is_settled_once_the_model_is_full_well_before_its_end(embedder: TorchEmbedder) -> None:
    text = "a photo of a cat and a dog beside a river and a red boat " * 4
    settled = [text[:length] for length in range(len(text)) if embedder.is_settled(text[:length])]
    first_cut = next(n for n in range(len(text)) if embedder.describe_truncation([text[:n]]) is not None)
    assert first_cut + 64 <= len(settled[0]) < first_cut + 64 + 20  # where the cut is inside a word, a word later
    for more in ("", "s", " and a tree", "</s>", "!" * 500, "\u0301", "\n"):
        found = embedder.tokenize([prefix + more for prefix in settled])
        np.testing.assert_array_equal(found, embedder.tokenize([text] * len(settled)))


def test_a_long_prefix_of_which_little_is_left_is_not_settled(tiny_checkpoint: Path) -> None:
    embedder = open_embedder(tiny_checkpoint)
    assert not embedder.is_settled("a cat" + "!" * 10_000)
    assert not embedder.is_settled("")
    assert embedder.is_settled("a cat " * 40 + "!" * 10_000)


def test_prepared_pixels_give_the_same_vectors(embedder: TorchEmbedder) -> None:
    pixels = [embedder.prepare_image(image) for image in make_images()]
    for image in pixels:
        image.setflags(write=False)
    np.testing.assert_allclose(embedder.embed_pixels(pixels), embedder.embed_images(make_images()), rtol=0, atol=1e-6)


def test_pixels_of_one_size_may_be_stacked(embedder: TorchEmbedder) -> None:
    pixels = [embedder.prepare_image(make_image(32, 32, seed)) for seed in range(5)]
    assert pixels[0].shape == (32, 32, 3)
    np.testing.assert_array_equal(embedder.embed_pixels(np.stack(pixels)), embedder.embed_pixels(pixels))


def test_naflex_images_keep_their_shapes_and_have_as_many_patches_as_fit(naflex: TorchEmbedder) -> None:
    shapes = [naflex.prepare_image(image).shape[:2] for image in make_images()]
    assert len(set(shapes)) > 3
    assert all(height * width <= 16 * 8 * 8 for height, width in shapes)
    assert naflex.prepare_image(make_image(1, 500)).shape == (128, 8, 3)


def test_naflex_batches_hold_no_padding(naflex: TorchEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[Tensor, Tensor]] = []
    encode = naflex._model.encode_patches
    monkeypatch.setattr(
        naflex._model,
        "encode_patches",
        lambda patches, shapes: (batches.append((patches, shapes)), encode(patches, shapes))[1],
    )
    pixels = [naflex.prepare_image(image) for image in make_images()]
    naflex.embed_pixels(pixels)
    assert [len(shapes) for _, shapes in batches] == [3, 3, 1]
    assert all(len(patches) == int(shapes.prod(dim=1).sum()) for patches, shapes in batches)
    assert sum(len(patches) for patches, _ in batches) == sum(image.size // (8 * 8 * 3) for image in pixels)


def test_naflex_takes_as_many_patches_as_it_is_told(naflex_checkpoint: Path) -> None:
    embedder = open_embedder(naflex_checkpoint, max_num_patches=50)
    assert embedder.info.image_settings["max_num_patches"] == 50
    assert embedder.prepare_image(make_image(1, 500)).shape == (400, 8, 3)
    assert embedder.embed_images(make_images()).shape == (len(SIZES), 32)


def test_a_number_of_patches_for_a_model_of_a_fixed_size_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"SIGLIP_MAX_NUM_PATCHES is 64.*no NaFlex.*32 x 32"):
        open_embedder(tiny_checkpoint, max_num_patches=64)


def test_nothing_gives_no_vectors(embedder: TorchEmbedder) -> None:
    assert embedder.embed_images([]).shape == (0, 32)
    assert embedder.embed_texts([]).shape == (0, 32)


def test_one_text_instead_of_a_list_is_refused(embedder: TorchEmbedder) -> None:
    with pytest.raises(InvalidInputError, match="list"):
        embedder.embed_texts("a cat")


def test_pixels_of_another_size_are_refused_with_both_sizes(tiny_checkpoint: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\(32, 32, 3\) uint8, not \(16, 16, 3\)"):
        open_embedder(tiny_checkpoint).embed_pixels(np.zeros((1, 16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((8, 12, 3), np.uint8),
        ((40, 40, 3), np.uint8),
        ((0, 8, 3), np.uint8),
        ((8, 8), np.uint8),
        ((8, 8, 3), np.float32),
    ],
    ids=["no whole patches", "too many patches", "no patch", "no colours", "another dtype"],
)
def test_pixels_that_naflex_cannot_cut_are_refused(naflex: TorchEmbedder, shape: tuple[int, ...], dtype: Any) -> None:
    with pytest.raises(InvalidInputError, match="at most 16 whole patches of 8 x 8"):
        naflex.embed_pixels([np.zeros(shape, dtype=dtype)])


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["cuda", "cpu"],
)
def test_out_of_memory_halves_the_batch_and_remembers(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    embedder = open_embedder(checkpoint, batch_size=7)
    expected = embedder.embed_images(make_images())
    fail_on_images(embedder, monkeypatch, 2, error)
    np.testing.assert_allclose(embedder.embed_images(make_images()), expected, rtol=0, atol=1e-6)
    assert embedder.batch_size == 1


def test_not_enough_memory_for_one_says_what_to_do(embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(embedder._model, "encode_texts", fail_above(0, lambda inputs: inputs, error))
    with pytest.raises(ConfigurationError, match="SIGLIP_DEVICE=cpu"):
        embedder.embed_texts(["a cat"])


def test_other_errors_of_the_device_pass_through(embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("something else")
    monkeypatch.setattr(embedder._model, "encode_texts", fail_above(0, lambda inputs: inputs, error))
    with pytest.raises(RuntimeError, match="something else"):
        embedder.embed_texts(["a cat"])


def test_numbers_that_are_not_finite_are_never_returned(tmp_path: Path) -> None:
    path = write_tiny_checkpoint(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["text_model.head.bias"][3] = float("nan")
    save_file(tensors, path)
    embedder = open_embedder(tmp_path)
    with pytest.raises(CheckpointError, match=r"aren't finite, computing in float32\. Its weights are damaged\.$"):
        embedder.embed_texts(["a cat"])
    with pytest.raises(CheckpointError, match=r"or it needs SIGLIP_DTYPE=float32\.$"):
        open_embedder(tmp_path, dtype="bfloat16").embed_texts(["a cat"])
    assert np.isfinite(embedder.embed_images([make_image(8, 8)])).all()


def test_threads_get_their_own_vectors(embedder: TorchEmbedder) -> None:
    expected = embedder.embed_images(make_images())
    results: dict[int, Any] = {}

    def embed(index: int) -> None:
        results[index] = embedder.embed_images(make_images()[index:])

    threads = [threading.Thread(target=embed, args=(index,)) for index in range(len(SIZES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, vectors in results.items():
        np.testing.assert_allclose(vectors, expected[index:], rtol=0, atol=1e-6)


def test_each_tower_is_read_when_it_is_first_needed(embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    reader = embedder._model._reader
    original = reader.read
    monkeypatch.setattr(reader, "read", lambda name, **options: (read.append(name), original(name, **options))[1])
    assert embedder.info.logit_bias == -10
    embedder.embed_texts(["a cat"])
    assert {name.partition(".")[0] for name in read} == {"text_model"}
    embedder.embed_images([make_image(8, 8)])
    assert {name.partition(".")[0] for name in read} == {"text_model", "vision_model"}
    count = len(read)
    embedder.load()
    assert len(read) == count


def test_the_weights_are_hashed_only_when_somebody_asks_for_the_revision(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def find_revision(folder: Path) -> str:
        hashed.append(folder)
        return "sha256:0"

    monkeypatch.setattr("siglip_ingest.siglip.embedder.find_revision", find_revision)
    embedder = open_embedder(checkpoint)
    embedder.embed_texts(["a cat"])
    embedder.embed_images([make_image(30, 20)])
    assert not hashed
    assert embedder.info.revision == embedder.info.revision == "sha256:0"
    assert hashed == [checkpoint]


def test_info_describes_the_checkpoint(tiny_checkpoint: Path) -> None:
    embedder = open_embedder(tiny_checkpoint)
    as_protocol: Embedder = embedder
    info = as_protocol.info
    weights = (tiny_checkpoint / "model.safetensors").read_bytes()
    assert info.name == "tiny"
    assert info.revision == f"sha256:{hashlib.sha256(weights).hexdigest()}"
    assert info.dimension == 32
    assert info.logit_scale == pytest.approx(np.log(10))
    assert info.logit_bias == -10
    assert info.image_settings["size"] == {"height": 32, "width": 32}
    assert info.text_settings["max_length"] == 16


def test_info_describes_a_naflex_checkpoint(naflex: TorchEmbedder) -> None:
    settings = naflex.info.image_settings
    assert (settings["patch_size"], settings["max_num_patches"]) == (8, 16)
    assert "size" not in settings
    assert naflex.info.text_settings["is_lower_case"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_dtypes_give_nearly_the_same_vectors(checkpoint: Path, embedder: TorchEmbedder, dtype: str) -> None:
    narrow = open_embedder(checkpoint, dtype=dtype)
    cosines = (narrow.embed_images(make_images()) * embedder.embed_images(make_images())).sum(axis=1)
    assert cosines.min() > 0.999
    assert narrow.info.logit_scale == embedder.info.logit_scale


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "xpu"])
def test_a_device_that_is_not_there_is_named(tiny_checkpoint: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no device '{device}'"):
        TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device=device)


def test_an_unknown_dtype_is_named(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="int8"):
        TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu", dtype="int8")

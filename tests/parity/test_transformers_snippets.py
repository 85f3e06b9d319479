"""What the family's documents show, run twice: as it stands, with transformers, and with the import line changed.

The statements are those of the model pages, of the classes' own examples and of the model cards, for small checkpoints
in the place of the published ones and an image of ours in the place of theirs.
"""

from __future__ import annotations

import http.server
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from siglip_ingest.errors import ConfigurationError, InvalidInputError
from tests.images import encode, make_image

PLACES = {
    "google/siglip-base-patch16-224": "siglip",
    "google/siglip2-base-patch16-224": "siglip2",
    "google/siglip2-base-patch16-naflex": "naflex",
}
LABELS = '["a Pallas cat", "a lion", "a Siberian tiger"]'


@dataclass(frozen=True)
class Snippet:
    """Code, and the names of what it leaves behind to be compared."""

    code: str
    results: tuple[str, ...]
    tolerance: float = 1e-5


SNIPPETS = {
    "pipeline": Snippet(
        f"""
from transformers import pipeline
image = URL
candidate_labels = {LABELS}
pipeline = pipeline(task="zero-shot-image-classification", model="google/siglip-base-patch16-224", device=0)
outputs = pipeline(image, candidate_labels=candidate_labels)
""",
        ("outputs",),
    ),
    "pipeline in bfloat16": Snippet(
        f"""
import torch
from transformers import pipeline
candidate_labels = {LABELS}
pipeline = pipeline(
    task="zero-shot-image-classification", model="google/siglip2-base-patch16-224", device=0, dtype=torch.bfloat16
)
outputs = pipeline(URL, candidate_labels=candidate_labels)
""",
        ("outputs",),
        0.02,
    ),
    "pipeline on a PIL image, rounded": Snippet(
        """
from transformers import pipeline
from PIL import Image
image_classifier = pipeline(task="zero-shot-image-classification", model="google/siglip-base-patch16-224")
image = Image.open(PATH)
outputs = image_classifier(image, candidate_labels=["2 cats", "a plane", "a remote"])
outputs = [{"score": round(output["score"], 4), "label": output["label"]} for output in outputs]
""",
        ("outputs",),
        1.01e-4,
    ),
    "pipeline of the model card": Snippet(
        """
from transformers import pipeline
ckpt = "google/siglip2-base-patch16-224"
image_classifier = pipeline(model=ckpt, task="zero-shot-image-classification")
candidate_labels = ["2 cats", "a plane", "a remote"]
outputs = image_classifier(PATH, candidate_labels)
several = image_classifier([PATH, URL], candidate_labels, hypothesis_template="A {}")
""",
        ("outputs", "several"),
    ),
    "both towers, fixed": Snippet(
        f"""
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("google/siglip-base-patch16-224", device_map="auto", attn_implementation="sdpa")
processor = AutoProcessor.from_pretrained("google/siglip-base-patch16-224")
image = Image.open(PATH)
candidate_labels = {LABELS}
texts = [f'This is a photo of {{label}}.' for label in candidate_labels]
inputs = processor(text=texts, images=image, padding="max_length", return_tensors="pt").to(model.device)
with torch.no_grad():
    outputs = model(**inputs)
logits_per_image = outputs.logits_per_image
probs = torch.sigmoid(logits_per_image)
sentence = f"{{probs[0][0]:.1%}} that image 0 is '{{candidate_labels[0]}}'"
""",
        ("logits_per_image", "probs", "sentence"),
    ),
    "both towers, SigLIP 2": Snippet(
        f"""
import torch
from PIL import Image
from transformers import AutoProcessor, AutoModel
model = AutoModel.from_pretrained(
    "google/siglip2-base-patch16-224", dtype=torch.float16, device_map="auto", attn_implementation="sdpa"
)
processor = AutoProcessor.from_pretrained("google/siglip2-base-patch16-224")
image = Image.open(PATH)
candidate_labels = {LABELS}
texts = [f'This is a photo of {{label}}.' for label in candidate_labels]
inputs = processor(text=texts, images=image, padding="max_length", max_length=64, return_tensors="pt").to(model.device)
with torch.no_grad():
    outputs = model(**inputs)
probs = torch.sigmoid(outputs.logits_per_image)
""",
        ("probs",),
        0.01,
    ),
    "both towers, NaFlex": Snippet(
        f"""
import torch
from PIL import Image
from transformers import AutoProcessor, AutoModel
model = AutoModel.from_pretrained(
    "google/siglip2-base-patch16-naflex", dtype=torch.float16, device_map="auto", attn_implementation="sdpa"
)
processor = AutoProcessor.from_pretrained("google/siglip2-base-patch16-naflex")
image = Image.open(PATH)
candidate_labels = {LABELS}
texts = [f'This is a photo of {{label}}.' for label in candidate_labels]
inputs = processor(
    text=texts, images=image, padding="max_length", max_num_patches=256, return_tensors="pt"
).to(model.device)
with torch.no_grad():
    outputs = model(**inputs)
probs = torch.sigmoid(outputs.logits_per_image)
""",
        ("probs",),
        0.01,
    ),
    "text features": Snippet(
        """
from transformers import AutoTokenizer, AutoModel
import torch
model = AutoModel.from_pretrained("google/siglip-base-patch16-224")
tokenizer = AutoTokenizer.from_pretrained("google/siglip-base-patch16-224")
inputs = tokenizer(["a photo of a cat", "a photo of a dog"], padding="max_length", return_tensors="pt")
with torch.no_grad():
    text_features = model.get_text_features(**inputs).pooler_output
""",
        ("text_features",),
    ),
    "image features": Snippet(
        """
import torch
from transformers import AutoProcessor, AutoModel
from transformers.image_utils import load_image
image = load_image(URL)
model = AutoModel.from_pretrained("google/siglip2-base-patch16-224")
processor = AutoProcessor.from_pretrained("google/siglip2-base-patch16-224")
inputs = processor(images=image, return_tensors="pt")
with torch.no_grad():
    image_features = model.get_image_features(**inputs).pooler_output
""",
        ("image_features",),
    ),
    "text tower": Snippet(
        """
from transformers import AutoTokenizer, SiglipTextModel
model = SiglipTextModel.from_pretrained("google/siglip-base-patch16-224")
tokenizer = AutoTokenizer.from_pretrained("google/siglip-base-patch16-224")
inputs = tokenizer(["a photo of a cat", "a photo of a dog"], padding="max_length", return_tensors="pt")
outputs = model(**inputs)
last_hidden_state = outputs.last_hidden_state
pooled_output = outputs.pooler_output
""",
        ("last_hidden_state", "pooled_output"),
    ),
    "vision tower": Snippet(
        """
from PIL import Image
from transformers import AutoProcessor, SiglipVisionModel
model = SiglipVisionModel.from_pretrained("google/siglip-base-patch16-224")
processor = AutoProcessor.from_pretrained("google/siglip-base-patch16-224")
inputs = processor(images=Image.open(PATH), return_tensors="pt")
outputs = model(**inputs)
last_hidden_state = outputs.last_hidden_state
pooled_output = outputs.pooler_output
""",
        ("last_hidden_state", "pooled_output"),
    ),
    "vision tower, NaFlex": Snippet(
        """
from PIL import Image
from transformers import AutoProcessor, Siglip2VisionModel
model = Siglip2VisionModel.from_pretrained("google/siglip2-base-patch16-naflex")
processor = AutoProcessor.from_pretrained("google/siglip2-base-patch16-naflex")
inputs = processor(images=Image.open(PATH), return_tensors="pt")
pooled_output = model(**inputs).pooler_output
""",
        ("pooled_output",),
    ),
    "configs": Snippet(
        """
from transformers import SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig
config_text = SiglipTextConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=4, intermediate_size=8)
config_vision = SiglipVisionConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=4, intermediate_size=8)
config = SiglipConfig(text_config=config_text, vision_config=config_vision)
model = SiglipModel(config)
configuration = model.config
sizes = (configuration.text_config.vocab_size, configuration.vision_config.image_size, config_text.projection_size)
count = sum(parameter.numel() for parameter in model.parameters())
""",
        ("sizes", "count"),
    ),
    "configs, NaFlex": Snippet(
        """
from transformers import Siglip2Config, Siglip2Model, Siglip2TextConfig, Siglip2VisionConfig
config_text = Siglip2TextConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=4, intermediate_size=8)
config_vision = Siglip2VisionConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=4, intermediate_size=8)
config = Siglip2Config(text_config=config_text, vision_config=config_vision)
model = Siglip2Model(config)
sizes = (model.config.text_config.vocab_size, model.config.vision_config.num_patches)
count = sum(parameter.numel() for parameter in model.parameters())
""",
        ("sizes", "count"),
    ),
}

# Snippets that transformers 5 itself doesn't run, or not twice the same.
OURS_ALONE = {
    "features as transformers 4 gives them": """
import torch
from transformers import AutoModel, AutoProcessor
from transformers.image_utils import load_image
ckpt = "google/siglip2-base-patch16-224"
model = AutoModel.from_pretrained(ckpt, device_map="auto").eval()
processor = AutoProcessor.from_pretrained(ckpt)
inputs = processor(images=[load_image(URL)], return_tensors="pt").to(model.device)
with torch.no_grad():
    image_embeddings = model.get_image_features(**inputs)
assert image_embeddings.shape == (1, 32)
unit = image_embeddings / image_embeddings.norm(dim=-1, keepdim=True)
assert torch.allclose(unit.norm(dim=-1), torch.ones(1))
""",
    "a new classifier": """
from transformers import AutoImageProcessor, SiglipForImageClassification
import torch
from PIL import Image
torch.manual_seed(3)
image_processor = AutoImageProcessor.from_pretrained("google/siglip-base-patch16-224")
model = SiglipForImageClassification.from_pretrained("google/siglip-base-patch16-224")
inputs = image_processor(images=Image.open(PATH), return_tensors="pt")
outputs = model(**inputs)
predicted_class_idx = outputs.logits.argmax(-1).item()
assert model.config.id2label[predicted_class_idx] in {"LABEL_0", "LABEL_1"}
""",
    "Siglip2 classes with a fixed-resolution checkpoint": """
from PIL import Image
from transformers import AutoProcessor, Siglip2ForImageClassification, Siglip2TextModel, Siglip2VisionModel
processor = AutoProcessor.from_pretrained("google/siglip2-base-patch16-224")
inputs = processor(images=Image.open(PATH), return_tensors="pt")
model = Siglip2VisionModel.from_pretrained("google/siglip2-base-patch16-224")
assert model(**inputs).pooler_output.shape == (1, 32)
model = Siglip2ForImageClassification.from_pretrained("google/siglip2-base-patch16-224")
assert model(**inputs).logits.shape == (1, 2)
model = Siglip2TextModel.from_pretrained("google/siglip2-base-patch16-224")
assert model(**processor(text=["a cat"], padding="max_length", return_tensors="pt")).pooler_output.shape == (1, 32)
""",
    "both towers' configs by their older name": """
from transformers import SiglipConfig, SiglipTextConfig, SiglipVisionConfig
config = SiglipConfig.from_text_vision_configs(SiglipTextConfig(), SiglipVisionConfig(image_size=384))
assert config.vision_config.image_size == 384
""",
}


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "cats.png"
    path.write_bytes(encode(make_image(60, 40), "PNG"))
    return path


@pytest.fixture(scope="module")
def image_url(image_file: Path) -> Iterator[str]:
    """Address of the image on a web server of our own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = image_file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/cats.png"
        server.shutdown()
        thread.join()


@pytest.fixture
def names(reference_checkpoints: dict[str, Path], image_file: Path, image_url: str) -> dict[str, Any]:
    """What snippets find under the names PATH and URL, and where the published checkpoints are."""
    return {"PATH": str(image_file), "URL": image_url, "places": reference_checkpoints}


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    for published, kind in PLACES.items():
        code = code.replace(f'"{published}"', repr(str(names["places"][kind])))
    found = dict(names)
    exec(compile(code, "<snippet>", "exec"), found)
    return found


def change_import_lines(code: str) -> str:
    code = code.replace("from transformers.image_utils import", "from siglip_ingest.siglip import")
    return code.replace("from transformers import", "from siglip_ingest.siglip import")


def run_reference(code: str, names: dict[str, Any]) -> dict[str, Any]:
    code = code.replace('device_map="auto", ', "")  # the reference needs a package of its own for it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(code, names)


def assert_close(where: str, ours: Any, reference: Any, tolerance: float) -> None:
    if isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, reference, rtol=0, atol=tolerance, check_dtype=False, msg=lambda m: where + m)
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(reference), where
        for mine, theirs in zip(ours, reference, strict=True):
            assert_close(where, mine, theirs, tolerance)
    elif isinstance(ours, dict):
        assert ours.keys() == reference.keys(), where
        assert ours["score"] == pytest.approx(reference["score"], abs=tolerance), where
        assert tolerance > 1e-3 or ours["label"] == reference["label"], where
    else:
        assert ours == reference, where


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs_with_the_import_line_changed_and_gives_the_same(name: str, names: dict[str, Any]) -> None:
    snippet = SNIPPETS[name]
    ours, reference = run(change_import_lines(snippet.code), names), run_reference(snippet.code, names)
    for result in snippet.results:
        assert_close(result, ours[result], reference[result], snippet.tolerance)


@pytest.mark.parametrize("name", OURS_ALONE)
def test_a_snippet_of_other_versions_runs(name: str, names: dict[str, Any]) -> None:
    run(change_import_lines(OURS_ALONE[name]), names)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU lacks")
def test_flash_attention_says_what_it_needs(names: dict[str, Any]) -> None:
    code = """
from transformers import SiglipModel
SiglipModel.from_pretrained(
    "google/siglip-base-patch16-224", attn_implementation="flash_attention_2", device_map="auto"
)
"""
    with pytest.raises(ConfigurationError, match="flash"):
        run(change_import_lines(code), names)


def test_quantization_says_that_it_is_not_supported(names: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Quantized weights aren't supported"):
        run(change_import_lines("from transformers import AutoModel, BitsAndBytesConfig"), names)
    code = 'from transformers import AutoModel\nAutoModel.from_pretrained("google/siglip-base-patch16-224", {})'
    for option in ("quantization_config=object()", "load_in_4bit=True"):
        with pytest.raises(InvalidInputError, match="Quantized weights aren't supported"):
            run(change_import_lines(code.format(option)), names)

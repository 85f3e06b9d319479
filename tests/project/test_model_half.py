"""The model half could be published alone: it runs without the rest of the package, and without what the rest needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "siglip_ingest"
SHARED = ("errors.py", "types.py", "process")  # what it takes along
PROGRAM = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"psycopg", "pgvector", "celery", "kombu", "redis", "sqlalchemy", "click"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
from pathlib import Path
from PIL import Image
from siglip_ingest.siglip import AutoModel, AutoProcessor, pipeline
from siglip_ingest.siglip.embedder import TorchEmbedder
import siglip_ingest.siglip.evaluation, siglip_ingest.siglip.training, siglip_ingest.siglip.verify
import siglip_ingest.siglip.zero_shot, siglip_ingest.siglip.training.fine_tuning

assert "alone" in siglip_ingest.__path__[0], siglip_ingest.__path__
folder, image = sys.argv[1], Image.new("RGB", (60, 40), "red")
inputs = AutoProcessor.from_pretrained(folder)(text=["a boat"], images=image, return_tensors="pt", padding="max_length")
try:
    AutoModel.from_pretrained("demo")
except siglip_ingest.errors.CheckpointError as error:
    assert "which isn't here" in str(error), error
print(AutoModel.from_pretrained(folder)(**inputs).logits_per_image.shape)
print(pipeline("zero-shot-image-classification", model=folder)(image, candidate_labels=["boat", "night"]))
print(TorchEmbedder.from_checkpoint(Path(folder), name="demo", device="cpu").embed_texts(["a boat"]).shape)
"""


def test_the_model_half_runs_alone(tmp_path: Path, demo_checkpoint: Path) -> None:
    alone = tmp_path / "alone" / "siglip_ingest"
    alone.mkdir(parents=True)
    for name in ("siglip", *SHARED):
        copy = shutil.copytree if (PACKAGE / name).is_dir() else shutil.copy
        copy(PACKAGE / name, alone / name)
    (alone / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(demo_checkpoint)],
        env={"PYTHONPATH": str(alone.parent), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch.Size([1, 1])")

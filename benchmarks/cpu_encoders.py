"""Images per second and exactness of the ways to embed images on a CPU, beside `transformers`.

    python benchmarks/cpu_encoders.py                 # all instructions of the processor, then AVX2's alone
    python benchmarks/cpu_encoders.py --isa all       # only the first
    python benchmarks/cpu_encoders.py --onnxruntime FOLDER    # for AVX2: see below

Speed: base-patch16-224 at its true sizes with random weights, batches of 8, taken in turns, so that a busy machine
slows all of them: the median, the fastest run, and the median's ratio to transformers in float32. Then images a second
of processor time on one thread, in turns too, and its ratio: that hardly depends on what else the machine does.

Exactness: the demo checkpoint, which is trained, on unseen scenes with a caption each, and on photographs
(--photographs, by default those that scikit-image and scikit-learn bring, where they are installed): the least cosine
to float32, the captions whose image is the most similar of all (recall@1), and how far the true pairs' scores move, on
average, at the 95th percentile and at most. Texts are embedded in float32 throughout: query and image differ.

AVX2: ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA and MKL_ENABLE_INSTRUCTIONS limit torch, oneDNN and OpenVINO. ONNX Runtime
has no such limit and goes by the processor; --onnxruntime names a folder with a copy of its package that goes without
AVX-512. Without one, the row of int8 isn't shown under AVX2 on a processor that has more.
With --openvino, rows of OpenVINO, which we don't use: it needs the packages openvino and, for int8, nncf.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ISAS = {
    "all": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
BATCH = 8
Encode = Callable[[Any], Any]


def main() -> None:
    """Measure in a process for each set of instructions and number of threads, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=ISAS, nargs="+", default=list(ISAS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=800)
    parser.add_argument("--photographs", type=Path, help="folder of images")
    parser.add_argument(
        "--onnxruntime", type=Path, metavar="FOLDER", help="holds a package onnxruntime without AVX-512"
    )
    parser.add_argument("--openvino", action="store_true", help="also measure OpenVINO")
    parser.add_argument("--part", choices=["speed", "exactness"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measure_speed(arguments) if arguments.part == "speed" else measure_exactness(arguments)))
        return
    print(f"{name_processor()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    for isa in arguments.isa:
        run(isa, arguments)


def run(isa: str, arguments: argparse.Namespace) -> None:
    """Print the tables of one set of instructions."""
    wall = run_part("speed", isa, arguments, {})
    alone = run_part("speed", isa, arguments, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    print(f"\n{isa}: base-patch16-224, random weights, batch {BATCH}")
    print(f"{'':34} images/s  (best)  to transformers float32    a CPU second")
    base, base_alone = wall["transformers float32"], alone["transformers float32"]
    for name, (median_s, best_s, _) in wall.items():
        cpu_s = alone[name][2]
        print(
            f"{name:34} {BATCH / median_s:8.2f} {BATCH / best_s:7.2f} {base[0] / median_s:12.2f} "
            f"{BATCH / cpu_s:21.2f} {base_alone[2] / cpu_s:6.2f}",
            flush=True,
        )
    print(f"\n{isa}: demo checkpoint, {arguments.scenes} unseen scenes and photographs")
    print(f"{'':34} least cosine  photographs  recall@1  score moves: mean, 95 %, most")
    for name, row in run_part("exactness", isa, arguments, {}).items():
        print(
            f"{name:34} {row[0]:12.5f} {row[1]:12.5f} {row[2]:9.4f} {row[3]:18.4f} {row[4]:.4f} {row[5]:.4f}",
            flush=True,
        )


def run_part(part: str, isa: str, arguments: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any]:
    """Measure in a process of its own, which the limits are for."""
    if isa == "avx2" and arguments.onnxruntime:
        environment = environment | {"PYTHONPATH": f"{arguments.onnxruntime}:{os.environ.get('PYTHONPATH', '')}"}
    options = [f"--repeats={arguments.repeats}", f"--scenes={arguments.scenes}"]
    options += ["--openvino"] if arguments.openvino else []
    options += [f"--photographs={arguments.photographs}"] if arguments.photographs else []
    output = subprocess.run(
        [sys.executable, __file__, "--part", part, "--isa", isa, *options],
        env={**os.environ, **ISAS[isa], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout
    return dict(json.loads(output.splitlines()[-1]))


def measure_speed(arguments: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """Time each encoder on one batch: median and least seconds, least seconds of processor time."""
    import numpy as np
    import torch
    import transformers

    from siglip_ingest.siglip.preprocess.image import ImageSettings, normalize

    settings = ImageSettings()
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, *settings.size, 3), dtype=np.uint8)
    values = torch.from_numpy(normalize(pixels, settings))
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as name:
        folder = Path(name)
        torch.manual_seed(0)
        transformers.SiglipModel(transformers.SiglipConfig()).save_pretrained(folder)
        encoders = make_encoders(folder, arguments, dtypes_of_theirs=("float32", "bfloat16"))
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in encoders}
        for _ in range(arguments.repeats + 1):
            for way, encode in encoders.items():
                started, cpu_started = time.perf_counter(), time.process_time()
                encode(values if way.startswith("transformers") else pixels)
                times[way].append((time.perf_counter() - started, time.process_time() - cpu_started))
    return {
        name: (statistics.median(wall), min(wall), min(cpu))
        for name, (wall, cpu) in ((name, list(zip(*rows[1:], strict=True))) for name, rows in times.items())
    }


def make_encoders(
    folder: Path, arguments: argparse.Namespace, *, dtypes_of_theirs: tuple[str, ...] = ()
) -> dict[str, Encode]:
    """Open a checkpoint in every way that is there: by name, what maps a batch to embeddings."""
    import torch
    import transformers

    isa = arguments.isa[0]
    dtypes = ["float32", "bfloat16"] if isa == "all" else ["float32"]
    encoders: dict[str, Encode] = {}
    for dtype in (dtype for dtype in dtypes_of_theirs if dtype in dtypes):
        model = transformers.SiglipVisionModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

        def encode(values: Any, model: Any = model, dtype: str = dtype) -> Any:
            with torch.inference_mode():
                return model(pixel_values=values.to(getattr(torch, dtype))).pooler_output.float().numpy()

        encoders[f"transformers {dtype}"] = encode
    for dtype in dtypes:
        encoders[f"ours {dtype}"] = open_ours(folder, dtype, is_int8=False)
    if isa == "all" or is_limited():
        encoders["ours int8 (ONNX Runtime)"] = open_ours(folder, "float32", is_int8=True)
    if arguments.openvino:
        encoders |= open_openvino(folder, dtypes)
    return encoders


def is_limited() -> bool:
    """Whether ONNX Runtime goes without AVX-512: a copy that does, or a processor that has none."""
    import onnxruntime

    flags = Path("/proc/cpuinfo").read_text()
    return "site-packages" not in onnxruntime.__file__ or "avx512f" not in flags


def open_ours(folder: Path, dtype: str, *, is_int8: bool) -> Encode:
    """Our encoder. Random weights are calibrated with noise: scenes are all alike to them."""
    import numpy as np
    from PIL import Image

    from siglip_ingest.demo import CHECKPOINT
    from siglip_ingest.embedders.calibration import choose_calibration
    from siglip_ingest.siglip.embedder import TorchEmbedder
    from siglip_ingest.siglip.inference.int8 import Calibration, Int8Options
    from siglip_ingest.siglip.preprocess.image import ImageSettings

    def draw_noise() -> list[Image.Image]:
        noise = np.random.default_rng(1)
        return [Image.fromarray(noise.integers(0, 256, (224, 224, 3), dtype=np.uint8)) for _ in range(10)]

    if folder == CHECKPOINT:
        options = Int8Options(choose_calibration(None), [])
        embedder = TorchEmbedder.from_checkpoint(
            folder, name="demo", device="cpu", dtype=dtype, int8=options if is_int8 else None
        )
        embedder.load()
        return embedder.embed_pixels
    import torch

    from siglip_ingest.siglip.checkpoint.loading import read_config
    from siglip_ingest.siglip.inference import InferenceModel
    from siglip_ingest.siglip.inference.int8 import Int8Tower

    def make_tower(read_tower: Any) -> Int8Tower:
        return Int8Tower(
            Int8Options(Calibration("noise", draw_noise), []), name="random", revision="", image_settings={},
            config=read_config(folder).vision_config, prepare_image=np.asarray, read_tower=read_tower,
        )  # fmt: skip

    model = InferenceModel(
        folder, image_settings=ImageSettings(), device=torch.device("cpu"), dtype=getattr(torch, dtype),
        make_int8_tower=make_tower if is_int8 else None,
    )  # fmt: skip
    return lambda pixels: model.encode_pixels(torch.from_numpy(pixels)).numpy()


def open_openvino(folder: Path, dtypes: list[str]) -> dict[str, Encode]:
    """Our tower, converted by OpenVINO as it is; in int8 by nncf where that is installed."""
    import numpy as np
    import openvino
    import torch

    from siglip_ingest.siglip.checkpoint.loading import load_model

    vision = load_model(folder, towers=["vision_model"]).vision_model
    size = vision.config.image_size if hasattr(vision, "config") else vision.embeddings.image_size

    class FromPixels(torch.nn.Module):
        def forward(self, pixels: Any) -> Any:
            return vision((pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)

    example = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        model = openvino.convert_model(
            torch.jit.trace(FromPixels(), example, check_trace=False), input=[([-1, size, size, 3], openvino.Type.u8)]
        )
    encoders = {f"OpenVINO {dtype}": _compile(model, {"float32": "f32", "bfloat16": "bf16"}[dtype]) for dtype in dtypes}
    if importlib.util.find_spec("nncf"):
        import nncf

        batches = [_calibration_pixels(folder, size, index) for index in range(8)]
        quantized = nncf.quantize(
            model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches)
        )
        encoders["OpenVINO int8 (nncf)"] = _compile(quantized, "f32")
    assert np.isfinite(next(iter(encoders.values()))(example.numpy())).all()
    return encoders


def _calibration_pixels(folder: Path, size: int, index: int) -> Any:
    import numpy as np

    from siglip_ingest.demo import CHECKPOINT
    from siglip_ingest.demo.world import CALIBRATION_SEED, render_scene
    from siglip_ingest.siglip.preprocess.image import PREPROCESSOR_FILE, ImageSettings, resize_image

    if folder != CHECKPOINT:
        return np.random.default_rng(index).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    settings = ImageSettings.from_file(folder / PREPROCESSOR_FILE)
    scenes = (render_scene(CALIBRATION_SEED + BATCH * index + number).image for number in range(BATCH))
    return np.stack([resize_image(image, settings) for image in scenes])


def _compile(model: Any, precision: str) -> Encode:
    import openvino
    import torch

    compiled = openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    )
    request = compiled.create_infer_request()
    return lambda pixels: request.infer([pixels])[0].copy()


def measure_exactness(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Compare each encoder's vectors of the demo checkpoint with float32's."""
    import numpy as np

    from siglip_ingest.demo import CHECKPOINT
    from siglip_ingest.siglip.evaluation import find_ranks, share_within
    from siglip_ingest.siglip.preprocess.image import resize_image
    from siglip_ingest.siglip.preprocess.opening import open_image

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tools.demo_model.evaluate import Encoder, choose_examples

    reference = Encoder.from_checkpoint(CHECKPOINT)
    examples = choose_examples(arguments.scenes)
    scenes = reference.prepare_images([example.description for example in examples])
    texts = reference.embed_texts([example.caption.text for example in examples])
    photographs = np.stack(
        [resize_image(open_image(path), reference._settings) for path in find_photographs(arguments)]
    )
    wanted, wanted_photographs = reference.embed_pixels(scenes), reference.embed_pixels(photographs)
    rows, own = {}, np.arange(len(examples))
    for name, encode in {"float32": None, **make_encoders(CHECKPOINT, arguments)}.items():
        found, found_photographs = (
            reference.embed_pixels(pixels) if encode is None else _embed(encode, pixels)
            for pixels in (scenes, photographs)
        )
        moved = np.abs(reference.score((found * texts).sum(1)) - reference.score((wanted * texts).sum(1)))
        rows[name] = [
            (found * wanted).sum(1).min(), (found_photographs * wanted_photographs).sum(1).min(),
            share_within(find_ranks(texts, found, own, own), 1), moved.mean(), np.quantile(moved, 0.95), moved.max(),
        ]  # fmt: skip
    return {name: [float(value) for value in row] for name, row in rows.items()}


def _embed(encode: Encode, pixels: Any) -> Any:
    import numpy as np

    vectors = np.concatenate([encode(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def find_photographs(arguments: argparse.Namespace) -> list[Path]:
    """Images of a folder, or those that come with scikit-image and scikit-learn."""
    from PIL import Image

    folders = [arguments.photographs] if arguments.photographs else []
    for package, inside in () if folders else (("skimage", "data"), ("sklearn", "datasets/images")):
        if spec := importlib.util.find_spec(package):
            folders.append(Path(spec.origin or "").parent / inside)
    paths = sorted(path for folder in folders for path in folder.iterdir() if path.suffix in {".png", ".jpg", ".jpeg"})
    paths = [path for path in paths if min(Image.open(path).size) >= 100]
    if not paths:
        raise SystemExit("No photographs: pip install scikit-image scikit-learn, or name a folder with --photographs.")
    return paths


def name_processor() -> str:
    """The processor as its maker calls it."""
    from siglip_ingest.siglip.inference.arithmetic import name_processor as find_name

    return find_name()


if __name__ == "__main__":
    main()

"""Images and texts per second beside `transformers`, on the same weights and machine, in one run.

    python benchmarks/model.py            # float32 and bfloat16, batches of 1, 8 and 32: some ten minutes on two cores
    python benchmarks/model.py --quick    # batches of 1 and 8, fewer repetitions
    python benchmarks/model.py --naflex   # base-patch16-naflex too: images of mixed shapes
    python benchmarks/model.py --device cuda --compile reduce-overhead    # CUDA graphs, for both

The checkpoint has base-patch16-224's true sizes and random weights, and is saved by transformers itself. Before a row
is timed, its unit vectors are compared; the last column is their largest difference. Ours and theirs are then timed in
turns, so that a busy machine slows both, and medians are taken. Ours starts at pixels, theirs at normalised pixel
values: its normalisation isn't counted. NaFlex's patches are cut beforehand for both, ours packed one behind the other,
theirs padded to 256 with a mask.

MFU (model FLOPs utilisation) is the model's floating-point operations, as they stand in the paper, over what the device
could do in the time. What is pruned away counts as done, so over 100 % is possible. The peak is that of torch's own
matrix product, measured in the same run, unless --peak-tflops gives what the device's data sheet says.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch import Tensor

from siglip_ingest.siglip.checkpoint.family import measure
from siglip_ingest.siglip.inference import InferenceModel
from siglip_ingest.siglip.preprocess.image import ImageSettings, make_naflex_inputs, normalize
from siglip_ingest.siglip.preprocess.naflex import cut_images

MODELS: dict[str, tuple[str, ImageSettings]] = {  # transformers' defaults are the sizes of these two
    "base-patch16-224": ("Siglip", ImageSettings()),
    "base-patch16-naflex": ("Siglip2", ImageSettings(resample=2, patch_size=16, max_num_patches=256)),
}
SHAPES = ((480, 640), (640, 480), (224, 1024), (500, 333), (768, 768), (1200, 400), (1080, 1920))  # height, width
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One line of the table: medians of rates in inputs per second.

    Attributes:
        best_ratio: That of the fastest runs instead of the medians: on a busy machine the less noisy one.
        difference: The largest of ours and theirs, of a number in a unit vector.
    """

    dtype: str
    kind: str
    batch: int
    ours: float
    theirs: float
    our_mfu: float
    their_mfu: float
    best_ratio: float
    difference: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.ours / self.theirs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="float32, bfloat16, float16")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--compile", metavar="MODE", help="torch.compile both: default, reduce-overhead, max-autotune")
    parser.add_argument(
        "--peak-tflops", nargs="+", default=[], metavar="DTYPE=NUMBER", help="of the device, such as bfloat16=989"
    )
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement, at least")
    parser.add_argument("--quick", action="store_true", help="batches of 1 and 8, 3 repetitions")
    parser.add_argument("--naflex", action="store_true", help="measure base-patch16-naflex too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.batches, arguments.repeats = [1, 8], 3
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} torch threads"
    print(
        f"{device.type}, {name}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}" + (f", torch.compile {arguments.compile}" if arguments.compile else "")
    )
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        rows = [
            row
            for model in list(MODELS)[: 2 if arguments.naflex else 1]
            for dtype in arguments.dtypes
            for row in measure_dtype(Path(folder, model), dtype, device, arguments)
        ]
    print(f"geometric mean of the ratios: {statistics.geometric_mean(row.ratio for row in rows):.2f}")
    print(f"smallest ratio:               {min(row.ratio for row in rows):.2f}")
    best = [row.best_ratio for row in rows]
    print(f"of the best runs:             {statistics.geometric_mean(best):.2f} and {min(best):.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(row) | {"ratio": row.ratio} for row in rows], indent=2) + "\n")


def measure_dtype(folder: Path, dtype_name: str, device: torch.device, arguments: argparse.Namespace) -> Iterator[Row]:
    """Compare results and time images and texts, or NaFlex's images, of a model in one dtype: a table of its own.

    Args:
        folder: Named as one of `MODELS`, which is written into it if it isn't there yet.
        dtype_name: What both compute in.
        device: Where both compute.
        arguments: The command line's.
    """
    dtype: torch.dtype = getattr(torch, dtype_name)
    kind_of_model, settings = MODELS[folder.name]
    model_class: Any = getattr(transformers, f"{kind_of_model}Model")
    if not folder.exists():
        torch.manual_seed(0)
        model_class(getattr(transformers, f"{kind_of_model}Config")()).save_pretrained(folder)
    reference = model_class.from_pretrained(folder, dtype=dtype).eval().to(device)
    ours = InferenceModel(folder, image_settings=settings, device=device, dtype=dtype, compile_mode=arguments.compile)
    get_images, get_texts = reference.get_image_features, reference.get_text_features
    if arguments.compile:
        get_images, get_texts = (
            torch.compile(get, mode=arguments.compile, dynamic=False) for get in (get_images, get_texts)
        )
    figures = measure(json.loads((folder / "config.json").read_text()))
    peaks = dict(pair.split("=") for pair in arguments.peak_tflops)
    peak = float(peaks[dtype_name]) * 1e12 if dtype_name in peaks else measure_peak(device, dtype)
    print(f"\n{folder.name}, {dtype_name}, peak {peak / 1e12:.3f} TFLOP/s")
    print("         batch     ours/s   theirs/s  ratio   best  our MFU  theirs  differ by")
    both = {"images": figures.image_flop, "texts": figures.text_flop}
    # NaFlex's images have nearly 256 patches each, whatever their shape; its text tower is the other model's.
    for kind, flop in ({"naflex": figures.image_flop} if settings.is_naflex else both).items():
        for batch in arguments.batches:
            if kind == "naflex":
                run_ours, run_theirs = _make_naflex_runs(batch, ours, get_images, settings, device, dtype)
            else:
                run_ours, run_theirs = _make_runs(kind, batch, ours, get_images, get_texts, settings, device, dtype)
            difference = compare(run_ours(), run_theirs(), dtype)
            times = time_in_turns([run_ours, run_theirs], device, arguments.repeats)
            our_s, their_s = (statistics.median(own_times) for own_times in times)
            row = Row(
                dtype_name, kind, batch, batch / our_s, batch / their_s,
                our_mfu=batch * flop / our_s / peak, their_mfu=batch * flop / their_s / peak,
                best_ratio=min(times[1]) / min(times[0]), difference=difference,
            )  # fmt: skip
            print(
                f"{kind:8} {batch:5} {row.ours:10.2f} {row.theirs:10.2f} {row.ratio:6.2f} {row.best_ratio:6.2f} "
                f"{row.our_mfu:8.0%} {row.their_mfu:7.0%} {row.difference:10.1e}",
                flush=True,
            )
            yield row


def _make_runs(
    kind: str,
    batch: int,
    ours: InferenceModel,
    get_images: Callable[..., Any],
    get_texts: Callable[..., Any],
    settings: ImageSettings,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Draw a batch on the device and give ours and theirs on it."""
    if kind == "images":
        drawn = torch.randint(0, 256, (batch, *settings.size, 3), dtype=torch.uint8)
        pixels = drawn.to(device)
        pixel_values = torch.from_numpy(normalize(drawn.numpy(), settings)).to(device, dtype)
        return lambda: ours.encode_pixels(pixels), lambda: get_images(pixel_values=pixel_values).pooler_output
    text = ours.config.text_config
    input_ids = torch.randint(0, text.vocab_size, (batch, text.max_position_embeddings)).to(device)
    return lambda: ours.encode_texts(input_ids), lambda: get_texts(input_ids=input_ids).pooler_output


def _make_naflex_runs(
    batch: int,
    ours: InferenceModel,
    get_images: Callable[..., Any],
    settings: ImageSettings,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Draw images of mixed shapes, as they are resized; ours gets their patches packed, theirs padded."""
    sizes = [settings.choose_size(*SHAPES[index % len(SHAPES)]) for index in range(batch)]
    images = [torch.randint(0, 256, (*size, 3), dtype=torch.uint8).numpy() for size in sizes]
    patches, shapes = cut_images(images, patch_size=settings.patch_size or 16)
    packed, packed_shapes = torch.from_numpy(np.concatenate(patches)).to(device), torch.tensor(shapes)
    padded = {
        name: torch.from_numpy(values).to(device)
        for name, values in make_naflex_inputs(images, settings)._asdict().items()
    }
    padded["pixel_values"] = padded["pixel_values"].to(dtype)
    return lambda: ours.encode_patches(packed, packed_shapes), lambda: get_images(**padded).pooler_output


@torch.inference_mode()
def compare(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> float:
    """Give the largest difference of unit vectors; stop where float32's is more than `TOLERANCE`."""
    difference = (F.normalize(ours, dim=-1) - F.normalize(theirs.float(), dim=-1)).abs().max().item()
    if dtype == torch.float32 and difference > TOLERANCE:
        raise SystemExit(f"The embeddings differ by {difference:.1e}, more than {TOLERANCE}.")
    return difference


@torch.inference_mode()
def time_in_turns(runs: list[Callable[[], Tensor]], device: torch.device, repeats: int) -> list[list[float]]:
    """Run each in turns, at least `repeats` times and for at least two seconds together; each one's seconds."""
    for run in runs * 2:
        run()
    times: list[list[float]] = [[] for _ in runs]
    started = time.perf_counter()
    while len(times[0]) < repeats or time.perf_counter() - started < 2:
        for run, own_times in zip(runs, times, strict=True):
            with timed(own_times, device):
                run()
    return times


@contextmanager
def timed(times: list[float], device: torch.device) -> Iterator[None]:
    """Append the seconds that the block takes, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    times.append(time.perf_counter() - started)


@torch.inference_mode()
def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Time a large matrix product: FLOP/s, a multiplication and its addition counted as two."""
    size = 8192 if device.type == "cuda" else 1536
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    for _ in range(30):
        with timed(times, device):
            left @ right
    return float(2 * size**3 / min(times[2:]))


if __name__ == "__main__":
    main()

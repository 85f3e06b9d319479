"""What SIGLIP_DTYPE leaves open: int8 where its packages are, else bfloat16 where the processor is fast in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.siglip.inference import arithmetic
from siglip_ingest.siglip.inference.arithmetic import CACHE_FILE, Arithmetic, choose_arithmetic, choose_cpu_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def has_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "find_missing_packages", list)


@pytest.fixture
def lacks_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "find_missing_packages", lambda: ["onnxruntime", "onnx"])


@pytest.fixture
def fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A processor that has bfloat16 and is faster in it; gives the list of measurements."""
    measured: list[str] = []
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda: True)
    monkeypatch.setattr(arithmetic, "_measure", lambda: measured.append("bfloat16") or measured[-1])
    return measured


@pytest.mark.parametrize(
    ("name", "device", "is_naflex", "expected"),
    [
        pytest.param("auto", CPU, False, Arithmetic("bfloat16", is_int8=True), id="auto on a CPU"),
        pytest.param("auto", CPU, True, Arithmetic("bfloat16"), id="auto for NaFlex"),
        pytest.param("auto", CUDA, False, Arithmetic("auto"), id="auto on CUDA"),
        pytest.param("int8", CPU, False, Arithmetic("bfloat16", is_int8=True, is_required=True), id="int8"),
        pytest.param("float32", CPU, False, Arithmetic("float32"), id="float32"),
    ],
)
@pytest.mark.usefixtures("has_packages", "fast_bfloat16")
def test_a_setting_chooses(name: str, device: torch.device, is_naflex: bool, expected: Arithmetic) -> None:
    assert choose_arithmetic(name, device, is_naflex=is_naflex) == expected


@pytest.mark.usefixtures("lacks_packages", "fast_bfloat16")
def test_without_the_extra_auto_goes_without_int8() -> None:
    assert choose_arithmetic("auto", CPU, is_naflex=False) == Arithmetic("bfloat16")


@pytest.mark.usefixtures("lacks_packages")
def test_without_the_extra_int8_says_what_to_install() -> None:
    with pytest.raises(
        ConfigurationError, match=r"needs onnxruntime and onnx, not installed here: pip install '.\[cpu"
    ):
        choose_arithmetic("int8", CPU, is_naflex=False)


@pytest.mark.parametrize(
    ("device", "is_naflex", "sentence"),
    [
        pytest.param(CUDA, False, "is for the CPU, but the device is cuda", id="on CUDA"),
        pytest.param(CPU, True, "this one is NaFlex", id="NaFlex"),
    ],
)
@pytest.mark.usefixtures("has_packages")
def test_int8_is_refused_where_it_can_t_be(device: torch.device, is_naflex: bool, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        choose_arithmetic("int8", device, is_naflex=is_naflex)


def test_a_measurement_is_remembered(tmp_path: Path, fast_bfloat16: list[str]) -> None:
    assert [choose_cpu_dtype(tmp_path) for _ in range(3)] == ["bfloat16"] * 3
    assert len(fast_bfloat16) == 1
    (tmp_path / CACHE_FILE).write_text("{broken")
    assert choose_cpu_dtype(tmp_path) == "bfloat16"
    assert len(fast_bfloat16) == 2
    assert list(json.loads((tmp_path / CACHE_FILE).read_text()).values()) == ["bfloat16"]


def test_a_processor_without_bfloat16_isn_t_measured(
    tmp_path: Path, fast_bfloat16: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda: False)
    assert choose_cpu_dtype(tmp_path) == "float32"
    assert not fast_bfloat16


@pytest.mark.parametrize(("factor", "chosen"), [(0.5, "bfloat16"), (0.95, "float32"), (2.0, "float32")])
def test_bfloat16_must_be_faster(factor: float, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_time_layers", lambda dtype: factor if dtype == torch.bfloat16 else 1.0)
    assert arithmetic._measure.__wrapped__() == chosen

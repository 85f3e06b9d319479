"""Writes a vision tower as an ONNX model whose large matrix products are in int8.

What is quantised, and how:

* Inputs of a linear layer x are u = round(x / a) + z, unsigned 8 bits, with one scale a and one zero point z a layer,
  from the ranges that calibration saw.
* Weights are round(W / w), signed, with a scale w for each output. They take 7 bits, -63 to 63: processors without VNNI
  add two products of 8 bits in 16, which overflows with more (cosines fell to 0.90), and so all give the same.
* Channels are evened out first (Xiao et al. 2022, "SmoothQuant", arXiv:2211.10438, equation 4, alpha = 0.5): input
  channel j is divided by s_j = max|x_j|^0.5 / max|W_j|^0.5, its weights are multiplied by that. The division goes into
  the layer norm before, into the values' projection (weights of attention add up to 1), or after the activation.
* The patch embedding, layer norms, attention, activations, sums and the pooling head stay in float32: the first and
  the last take one product in a hundred, and rounding the first one moved scores twice as far.

Letters in shapes: B batch, P patches, C hidden size, H heads, F values of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from siglip_ingest.siglip.inference.int8.calibration import Observed
from siglip_ingest.siglip.inference.towers import PIXEL_CENTER, VisionTower
from siglip_ingest.siglip.model.config import VisionConfig

SCHEME = 2  # a new number whenever what is written changes: files of another one aren't used
MOST_WEIGHT = 63
MOST_INPUT = 255
SMOOTHING = 0.5
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators
FLOAT = 1  # ONNX's number of float32
LEAST = 1e-5  # below that a channel counts as empty

Array = NDArray[np.float32]


def write_graph(tower: VisionTower, config: VisionConfig, observed: Mapping[str, Observed]) -> bytes:
    """Write the model: pixels (B, height, width, 3) uint8, of the size that the model takes, to embeddings (B, D).

    Args:
        tower: In float32, made of plain operators.
        config: Its config.
        observed: What calibration saw of each of its layers.
    """
    graph = _Graph()
    side, size = config.patches_per_side, config.patch_size
    x = graph.reshape("pixels", -1, side, size, side, size, 3)
    x = graph.reshape(graph.add("Transpose", x, perm=[0, 1, 3, 2, 4, 5]), -1, side**2, size * size * 3)
    x = graph.add("Sub", graph.add("Cast", x, to=FLOAT), graph.keep(np.float32(PIXEL_CENTER)))
    x = graph.add("MatMul", x, graph.keep(_numbers(tower.patch_embedding.weight).T))
    x = graph.add("Add", x, graph.keep(_numbers(tower.positions)[None] + _numbers(tower.patch_embedding.bias)))
    for index, layer in enumerate(tower.layers):
        x = _write_layer(graph, layer, config, f"{index}.", x, observed)
    vectors = _write_head(graph, tower.head, config, graph.norm(x, tower.norm))
    return graph.serialize("vectors", vectors, (side * size, side * size, 3), config.hidden_size)


def _write_layer(
    graph: _Graph, layer: Any, config: VisionConfig, name: str, x: str, observed: Mapping[str, Observed]
) -> str:
    mlp, width = layer.mlp, config.hidden_size
    weight, bias = _numbers(layer.qkv.weight).copy(), _numbers(layer.qkv.bias).copy()
    out, fc1, fc2 = (_numbers(module.weight) for module in (layer.out, mlp.fc1, mlp.fc2))
    seen = {part: observed[name + part] for part in ("qkv", "out", "fc1", "fc2")}
    even = {part: _even_out(seen[part], w) for part, w in (("qkv", weight), ("out", out), ("fc1", fc1), ("fc2", fc2))}
    weight[2 * width :] /= even["out"][:, None]
    bias[2 * width :] /= even["out"]

    u, scale, zero = graph.quantize(graph.norm(x, layer.norm, even["qkv"]), seen["qkv"], even["qkv"])
    thirds = zip(np.split(weight * even["qkv"], 3), np.split(bias, 3), strict=True)
    projected = [graph.multiply(u, scale, zero, *third) for third in thirds]
    attended = graph.add("MultiHeadAttention", *projected, domain=MICROSOFT, num_heads=config.num_attention_heads)
    u, scale, zero = graph.quantize(attended, seen["out"], even["out"])
    x = graph.add("Add", x, graph.multiply(u, scale, zero, out * even["out"], _numbers(layer.out.bias)))

    u, scale, zero = graph.quantize(graph.norm(x, mlp.norm, even["fc1"]), seen["fc1"], even["fc1"])
    hidden = graph.activate(graph.multiply(u, scale, zero, fc1 * even["fc1"], _numbers(mlp.fc1.bias)), config)
    hidden = graph.add("Mul", hidden, graph.keep(1 / even["fc2"]))
    u, scale, zero = graph.quantize(hidden, seen["fc2"], even["fc2"])
    return graph.add("Add", x, graph.multiply(u, scale, zero, fc2 * even["fc2"], _numbers(mlp.fc2.bias)))


def _write_head(graph: _Graph, head: Any, config: VisionConfig, x: str) -> str:
    """The pooling head, in float32: it runs once an image, not once a patch."""
    query = graph.keep(_numbers(head.query)[0])  # (H, C)
    weights = graph.add("Softmax", graph.add("MatMul", query, graph.add("Transpose", x, perm=[0, 2, 1])), axis=-1)
    looked = graph.reshape(graph.add("MatMul", weights, x), -1, config.num_attention_heads, 1, config.hidden_size)
    values = _numbers(head.attention.value_weight).transpose(0, 2, 1)  # (H, C, C / H)
    pooled = graph.reshape(graph.add("MatMul", looked, graph.keep(values)), -1, config.hidden_size)
    pooled = graph.add("Add", pooled, graph.keep(_numbers(head.attention.value_bias)))
    pooled = graph.linear(pooled, head.out)
    hidden = graph.activate(graph.linear(graph.norm(pooled, head.mlp.norm), head.mlp.fc1), config)
    return graph.add("Add", pooled, graph.linear(hidden, head.mlp.fc2))


def _even_out(seen: Observed, weight: Array) -> Array:
    """SmoothQuant's divisor of each input channel, (C,); they multiply to 1."""
    inputs = np.maximum(np.maximum(-seen.least, seen.largest), LEAST)
    weights = np.maximum(np.abs(weight).max(axis=0), LEAST)
    divisor = np.log(inputs) * SMOOTHING - np.log(weights) * (1 - SMOOTHING)
    return np.asarray(np.exp(divisor - divisor.mean()), dtype=np.float32)


def _numbers(tensor: Tensor | nn.Module) -> Array:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)  # type: ignore[operator]


class _Graph:
    """Nodes and constants, in order; each method adds some and gives the name of what comes out."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def keep(self, values: NDArray[Any] | np.generic) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.keep(np.array(shape, dtype=np.int64)))

    def norm(self, x: str, norm: Any, divisor: Array | None = None) -> str:
        weight, bias = (_numbers(part) / (1 if divisor is None else divisor) for part in (norm.weight, norm.bias))
        return self.add("LayerNormalization", x, self.keep(weight), self.keep(bias), axis=-1, epsilon=norm.eps)

    def activate(self, x: str, config: VisionConfig) -> str:
        return self.add("Gelu", x, approximate="tanh" if config.hidden_act == "gelu_pytorch_tanh" else "none")

    def linear(self, x: str, module: Any) -> str:
        return self.add("Gemm", x, self.keep(_numbers(module.weight)), self.keep(_numbers(module.bias)), transB=1)

    def quantize(self, x: str, seen: Observed, divisor: Array) -> tuple[str, float, int]:
        """Round x, whose channels were `seen` before they were divided; gives it, its scale and its zero point."""
        least, largest = min(0.0, float((seen.least / divisor).min())), float((seen.largest / divisor).max())
        scale = max(largest - least, LEAST) / MOST_INPUT
        zero = round(-least / scale)
        inputs = (x, self.keep(np.float32(scale)), self.keep(np.uint8(zero)))
        return self.add("QuantizeLinear", *inputs), scale, zero

    def multiply(self, u: str, scale: float, zero: int, weight: Array, bias: Array) -> str:
        """Give scale (u - zero) W^T + b in float32, with W (outputs, inputs) rounded."""
        scales = np.maximum(np.abs(weight).max(axis=1), LEAST**2) / MOST_WEIGHT
        rounded = np.rint(weight / scales[:, None]).astype(np.int8).T
        return self.add(
            "MatMulIntegerToFloat",
            u,
            self.keep(rounded),
            self.keep(np.float32(scale)),
            self.keep(scales.astype(np.float32)),
            self.keep(np.uint8(zero)),
            self.keep(np.zeros(len(scales), dtype=np.int8)),
            self.keep(bias),
            domain=MICROSOFT,
        )

    def serialize(self, output: str, x: str, pixels: tuple[int, int, int], width: int) -> bytes:
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [x], [output]))
        graph = helper.make_graph(
            self._nodes,
            "vision_model",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["B", *pixels])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", width])],
            self._constants,
        )
        versions = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10)
        return bytes(model.SerializeToString())

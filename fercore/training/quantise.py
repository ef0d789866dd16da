"""A network in eight bits: static quantisation, per channel, with the ranges of activations taken from validation faces.

Activations and weights become int8 between QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime fuses into integer
operators. ``benchmarks/int8.py`` measures what that costs and brings. Serving needs nothing for it: the result is an ONNX file
like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

METHODS = ("MinMax", "Entropy", "Percentile")
"""How the range of an activation is chosen from what calibration faces give."""


def quantise(
    model: bytes, faces: np.ndarray, *, method: str = "MinMax", keep: tuple[str, ...] = ("Gemm", "MatMul")
) -> bytes:
    """Return an ONNX file in int8.

    Args:
        model: the ONNX file in float32.
        faces: (N, rows, columns, channels) float32 network input, some hundred faces of the validation split.
        method: one of ``METHODS``.
        keep: operators that stay in float32; by default the last layers, which cost no time.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load_from_string(model).graph.input[0].name
    kinds = {node.op_type for node in onnx.load_from_string(model).graph.node}

    class Reader(quantization.CalibrationDataReader):
        """Gives the faces in portions."""

        def __init__(self) -> None:
            size = min(32, len(faces))  # portions of one size, as the calibrator needs
            self.parts: Iterator[np.ndarray] = iter(
                [faces[start : start + size] for start in range(0, len(faces) - size + 1, size)]
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {name: part}

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, result = (Path(folder, f"{step}.onnx") for step in ("given", "prepared", "result"))
        given.write_bytes(model)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(result),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=getattr(quantization.CalibrationMethod, method),
            op_types_to_quantize=sorted(kinds - set(keep)),
        )
        return result.read_bytes()

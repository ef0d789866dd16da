"""Networks trained from a pack, on a machine that has neither the datasets nor what reads them.

Neither TensorFlow nor ONNX Runtime is needed: the teachers' answers come from the Keras networks themselves. ``returned`` makes
runs of what is left here, where the datasets are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .. import calibration, features
from ..errors import ConfigError, DataError, RunError
from ..preprocess import InputSpec
from . import distil, models, pack
from .building import adapt, build, has_gpu, input_of, policy_of
from .crew import Crew
from .data import Faces, Feed
from .describe import made
from .fit import answers_of, checkpoint_file, fit
from .recipe import Recipe
from .shipped import GPU, Shipped, get
from .trained import Trained, bare

if TYPE_CHECKING:
    from ..datasets.crops import Progress

Tell = Callable[[str], None]
"""Called with a line to be shown."""


def train_all(
    file: Path,
    out: Path,
    *,
    only: Collection[str] = (),
    changes: Mapping[str, Any] | None = None,
    workers: int | None = None,
    tell: Tell = print,
    progress: Progress | None = None,
) -> None:
    """Train the networks of ``shipped.GPU`` from a pack; what is done already is left as it is, what was begun goes on.

    Args:
        file: the pack.
        out: a folder for each network's.
        only: names of those to train, empty for all. Several processes may train different ones at the same time, as long
            as a student's teachers are done.
        changes: of every recipe, for a rehearsal or another machine.
        workers: processes that change faces (see ``Crew``).
        tell: told about progress.
        progress: wraps the loop over the teacher's faces.

    Raises:
        FerError: the pack is damaged, a name is unknown, or ``out`` holds networks of another pack or recipe.
    """
    chosen = [get(name, GPU) for name in only] or list(GPU)
    packed = pack.opened(file, out)
    tell(f"Keras on {keras.backend.backend()}, {_device()}")
    if _has_cuda():
        import torch

        torch.backends.cudnn.benchmark = True  # all batches have one shape: look up once what is quickest
    with Crew(functools.partial(packed.faces, "train"), workers) as crew:
        for each in chosen:
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
    recipe = each.recipe().replace(**{**packed.facts["prepared"], **changes})
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
    feed: Feed = crew.batches
    if recipe.teacher:
        teacher = get(recipe.teacher, GPU)
        members = [Trained.load(out / name) for name in teacher.members or [teacher.name]]
        if recipe.consistent:
            feed = distil.following(feed, _teaching(members, classes, recipe), recipe.distil)
        else:
            tell(f"{each.name}: asks its teacher about {len(learn):,} faces")
            answers = [(input_of(one.recipe).size, _answer(one, classes)) for one in members]
            said = distil.averaged(learn, answers, [1 / len(answers)] * len(answers), progress=progress)
            learn = distil.blended(learn, said, recipe.distil)
    work = out / f".{each.name}.training"
    start = recipe.options.get("weights")
    if start in {one.name for one in GPU}:
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
        feed=feed,
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


def _teaching(members: list[Trained], classes: Mapping[str, int], recipe: Recipe) -> distil.Teach:
    """Return what asks several networks, each of which counts the same, about a student's input."""
    asked = []
    for one in members:
        spec, model = input_of(one.recipe), one.model(classes, policy_of(recipe))
        ask = _graphed(model, (recipe.batch_size, spec.size, spec.size, 1)) if _has_cuda() else model.predict_on_batch
        asked.append((spec, ask, one.temperatures))

    def teach(shown: np.ndarray, own: InputSpec) -> Mapping[str, np.ndarray]:
        grey = keras.ops.convert_to_tensor(shown) * own.std + own.mean
        total = dict.fromkeys(classes, 0.0)
        for spec, ask, temperatures in asked:
            seen = keras.ops.image.resize(grey, (spec.size, spec.size), antialias=True)
            found = ask((seen - spec.mean) / spec.std)
            for head in classes:
                answer = keras.ops.softmax(keras.ops.cast(found[head], "float32") / temperatures[head])
                total[head] = total[head] + answer / len(asked)
        return {head: keras.ops.convert_to_numpy(values) for head, values in total.items()}

    return teach


def _graphed(model: keras.Model, shape: tuple[int, ...]) -> Callable[[Any], Mapping[str, Any]]:
    """Return what answers inputs of this shape by a CUDA graph: on a GPU, Keras's own way mostly waits for Python."""
    import torch

    inputs = torch.zeros(shape, device="cuda")
    with torch.no_grad():
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is allocated and chosen at the first calls must not be in the graph
            for _ in range(3):
                model(inputs, training=False)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = model(inputs, training=False)

    def answer(shown: Any) -> Mapping[str, Any]:
        if tuple(shown.shape) != shape:
            return model.predict_on_batch(shown)
        inputs.copy_(shown)
        graph.replay()
        return outputs

    return answer


def _temperatures(one: Trained, check: Faces, classes: Mapping[str, int]) -> dict[str, float]:
    """Return the temperature of each head that validation asks for, of the network in float32."""
    spec = input_of(one.recipe)
    found = answers_of(one.model(classes, "float32"), check.pictures(range(len(check)), spec.size), spec, classes)
    result = {}
    for head in classes:
        known = check.weights[head] > 0
        codes = check.targets[head][known].argmax(axis=1)
        result[head] = float(calibration.fit_temperature(codes, found[head][known]))
    return result


def _has_cuda() -> bool:
    return keras.backend.backend() == "torch" and has_gpu()


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

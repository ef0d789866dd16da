"""The search for a recipe: many short trainings by Optuna, the hopeless ones stopped early, judged on validation alone.

Everything follows from the seed: trial number n is drawn by a sampler seeded with (seed, n) that has seen the n trials
before. The study is a JSON file that is replaced as a whole after each trial, so that a search which was killed goes on with
the trial it was in, and ends as if nothing had happened. The test split is never looked at here.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna

from .. import runs
from ..datasets.crops import Progress
from ..errors import RunError
from ..study import FILE, Dimension, Study, Trial
from . import models
from .building import adapt, build, input_of, policy_of
from .fit import Diverged, Report, fit
from .prepare import Prepared, Seen, prepare_all
from .recipe import Recipe
from .space import apply
from .train import fingerprint, lessons, train

METRIC = "val_accuracy"
RANDOM_TRIALS = 8
"""Trials that are drawn at random before the sampler learns from them."""
LEAST_TO_PRUNE = 4
"""Complete trials before any is stopped early."""

Told = Callable[[Study], None]
"""Called with the study after each trial."""


def tune(
    trial_recipe: Recipe,
    final_recipe: Recipe,
    space: Mapping[str, Dimension],
    *,
    trials: int,
    data: str | Path,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    told: Told | None = None,
    report: Report | None = None,
    final_report: Report | None = None,
    progress: Progress | None = None,
    seen: Seen | None = None,
) -> runs.Run:
    """Search, train the best recipe fully, and write its run with the study in it.

    Args:
        trial_recipe: of every trial: short, by few epochs and a ``limit`` of faces.
        final_recipe: of the training at the end. The best trial's parameters replace values of both.
        space: what is searched (see ``space.space_for``).
        trials: trials in all, those of an interrupted search included.
        data: the data folder, or the dataset's own.
        out: the run's folder. A hidden folder beside it holds the study until the run is whole.
        resume: go on with that study, and with the training at the end.
        overwrite: replace a run that stands there.
        told: told about every trial.
        report: told about the epochs of each trial (see ``fit``).
        final_report: told about the epochs of the training at the end.
        progress: wraps loops over pictures.
        seen: told about each dataset before the first trial, with what of it cannot be used.

    Raises:
        FerError: a dataset that cannot be used, a study of another search, no trial that came to its end.
    """
    target = Path(out)
    runs.check_place(target, overwrite=overwrite)
    work = study_folder(target)
    study = search(
        trial_recipe,
        space,
        trials=trials,
        data=data,
        folder=work,
        resume=resume,
        told=told,
        report=report,
        progress=progress,
        seen=seen,
    )
    if study.best is None:
        raise RunError(f"{work / FILE}: none of {len(study.trials)} trials came to its end; lower the learning rates")
    run = train(
        apply(final_recipe, study.best.params),
        data=data,
        out=target,
        resume=resume,
        overwrite=overwrite,
        report=final_report,
        progress=progress,
        extra={FILE: study.to_json().encode()},
    )
    (work / FILE).unlink()
    work.rmdir()
    return run


def study_folder(target: Path) -> Path:
    """Return where the study of a run stands while the search goes on."""
    return target.parent / f".{target.name}.tuning"


def search(
    recipe: Recipe,
    space: Mapping[str, Dimension],
    *,
    trials: int,
    data: str | Path,
    folder: Path,
    resume: bool = False,
    told: Told | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    seen: Seen | None = None,
) -> Study:
    """Run trials until there are so many, and return the study; ``folder / study.json`` holds it after each of them.

    See ``tune`` for the arguments.

    Raises:
        RunError: the study in the folder is damaged or of another search, or one is there and ``resume`` was not asked for.
    """
    if not resume and (folder / FILE).is_file():
        raise RunError(f"{folder / FILE}: a search was interrupted here; go on with --resume, or delete the folder")
    parts = prepare_all(recipe, data, progress=progress, seen=seen)
    begun = Study(
        metric=METRIC,
        seed=recipe.seed,
        sampler=f"TPE (tree-structured Parzen estimator), the first {RANDOM_TRIALS} at random",
        pruner=f"below the median of earlier trials at the same epoch, once {LEAST_TO_PRUNE} are complete",
        recipe=recipe.to_dict(),
        fingerprint=_digest(recipe, space, parts),
        space=dict(space),
    )
    study = _resumed(folder / FILE, begun)
    while len(study.trials) < trials:
        study = _with_trial(study, _try(study, recipe, space, parts, report))
        _save(folder / FILE, study)
        if told:
            told(study)
    return study


def _try(
    study: Study, recipe: Recipe, space: Mapping[str, Dimension], parts: list[Prepared], report: Report | None
) -> Trial:
    """Draw the next trial's parameters and train with them."""
    number = len(study.trials)
    replayed = _replay(study, space)
    trial = replayed.ask({name: _distribution(of) for name, of in space.items()})
    params = {name: _value(of, trial.params[name]) for name, of in space.items()}
    started = time.monotonic()
    seen: list[float] = []

    def watch(row: dict[str, Any]) -> None:
        if report:
            report(row)
        if METRIC in row:
            seen.append(float(row[METRIC]))
            trial.report(seen[-1], len(seen))
            if len(seen) < recipe.epochs and trial.should_prune():
                raise optuna.TrialPruned

    state = "complete"
    try:
        _train(apply(recipe, params), parts, watch)
    except optuna.TrialPruned:
        state = "pruned"
    except Diverged:
        state = "failed"
    return Trial(
        number=number,
        params=params,
        state=state,
        value=max(seen) if state == "complete" else None,
        epochs=tuple(seen),
        seconds=round(time.monotonic() - started, 2),
    )


def _train(recipe: Recipe, parts: list[Prepared], report: Report) -> None:
    """Train one trial's network on the train split, measured on the validation split; nothing of it is kept."""
    entry, spec = models.get(recipe.model), input_of(recipe)
    classes = {part.dataset.name: len(part.dataset.labels) for part in parts}
    learn, check, feed = lessons(parts, recipe)
    keras.backend.clear_session()
    keras.utils.set_random_seed(recipe.seed)
    model = build(entry, spec, classes, recipe, policy_of(recipe))
    adapt(model, recipe, learn)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, learn, check, recipe, spec, folder=Path(folder), fingerprint="", report=report, feed=feed)


def _replay(study: Study, space: Mapping[str, Dimension]) -> optuna.Study:
    """Return an Optuna study that knows the trials so far, with the sampler of the next one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence([study.seed, len(study.trials)]).generate_state(1)[0])
    result = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=LEAST_TO_PRUNE),
    )
    distributions = {name: _distribution(of) for name, of in space.items()}
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for trial in study.trials:
        result.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[states[trial.state]],
                value=trial.epochs[-1] if trial.state == "pruned" else trial.value,
                params={name: _key(space[name], value) for name, value in trial.params.items()},
                distributions=distributions,
                intermediate_values=dict(enumerate(trial.epochs, 1)),
            )
        )
    return result


def _with_trial(study: Study, trial: Trial) -> Study:
    """Return the study with one more trial, and what the complete ones now say of each parameter's importance."""
    values = {name: getattr(study, name) for name in Study.__dataclass_fields__}
    grown = Study(**{**values, "trials": (*study.trials, trial), "importance": {}})
    complete = grown.of("complete")
    if len(complete) < max(3, len(study.space) // 2) or len({each.value for each in complete}) < 2:
        return grown
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.seed)
    found = optuna.importance.get_param_importances(_replay(grown, study.space), evaluator=evaluator)
    shares = {name: min(1.0, max(0.0, float(found.get(name, 0.0)))) for name in study.space}
    return Study(**{**values, "trials": grown.trials, "importance": shares})


def _distribution(of: Dimension) -> optuna.distributions.BaseDistribution:
    if of.choices:
        return optuna.distributions.CategoricalDistribution([_key(of, value) for value in of.choices])
    return optuna.distributions.FloatDistribution(of.low, of.high, log=of.log)


def _key(of: Dimension, value: Any) -> Any:
    """Return a value as Optuna takes it: choices may be lists, which it knows as their JSON text."""
    return json.dumps(value) if of.choices else float(value)


def _value(of: Dimension, key: Any) -> Any:
    return json.loads(key) if of.choices else float(key)


def _digest(recipe: Recipe, space: Mapping[str, Dimension], parts: list[Prepared]) -> str:
    searched = {name: of.to_dict() for name, of in space.items()}
    return hashlib.sha256((json.dumps(searched, sort_keys=True) + fingerprint(recipe, parts)).encode()).hexdigest()


def _resumed(file: Path, begun: Study) -> Study:
    """Return the study in a file if there is one and it is of this search, else the one that begins."""
    if not file.is_file():
        return begun
    mend = f"search without --resume after deleting {file.parent}"
    try:
        study = Study.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise RunError(f"{file}: {error}; {mend}") from error
    if study.fingerprint != begun.fingerprint:
        raise RunError(f"{file}: of a search with another recipe, space or other data; {mend}")
    return study


def _save(file: Path, study: Study) -> None:
    """Write the study, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_suffix(".part")
    staged.write_text(study.to_json(), encoding="utf-8")
    staged.replace(file)

"""A recipe is JSON in and out, says clearly what is wrong with it, and its defaults are the report's."""

from __future__ import annotations

import json
import math

import pytest

from fercore.errors import ConfigError
from fercore.training import models
from fercore.training.recipe import AUGMENTATIONS, Augmentation, Recipe

FULL = {
    "model": "transfer",
    "datasets": ["fer2013", "expw"],
    "epochs": 7,
    "resolutions": [64, 64, 112],
    "shares": {"expw": 0.25},
    "options": {"frozen": 3, "filters": [8, 16], "deep": {"er": [1.5, None, "x"]}},
    "ema": 0.99,
    "weight_decay": 0,
    "augment": "strong",
}


def recipe(**changes: object) -> Recipe:
    return Recipe.from_dict({"model": "report-cnn", "datasets": ["expw", "fer2013"], **changes})


def test_survives_a_journey_through_json():
    made = Recipe.from_dict(FULL)
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert made.datasets == ("fer2013", "expw")
    assert made.resolutions == (64, 64, 112)
    assert made.options == FULL["options"]
    assert made.shares == {"expw": 0.25}


def test_options_given_as_tuples_compare_equal_after_json():
    made = Recipe(model="report-cnn", datasets=("expw",), options={"filters": (8, 16)})
    assert made.options == {"filters": [8, 16]}
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_options_are_a_copy():
    given = {"filters": [8, 16]}
    made = recipe(options=given)
    given["filters"].append(32)
    assert made.options == {"filters": [8, 16]}


def test_defaults_are_the_reports():
    made = Recipe(model="report-cnn", datasets=("expw",))
    assert (made.optimizer, made.learning_rate, made.batch_size, made.schedule) == ("adam", 1e-3, 64, "constant")
    assert (made.augment, made.ema, made.mixup, made.label_smoothing, made.class_weight) == ("none", 0, 0, 0, 0)


@pytest.mark.parametrize("name", models.MODELS)
def test_what_each_model_sets_is_a_recipe(name):
    made = Recipe.from_dict({**models.MODELS[name].recipe, "model": name, "datasets": ["expw"]})
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_an_unknown_field_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="unknown option 'batchsize'; did you mean 'batch_size'"):
        recipe(batchsize=32)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        recipe().replace(epoch=3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": "ten"}, "epochs: expected a whole number, got 'ten'"),
        ({"epochs": 2.5}, "epochs: expected a whole number, got 2.5"),
        ({"epochs": True}, "epochs: expected a whole number, got True"),
        ({"epochs": 0}, "epochs: 0 is outside 1 to"),
        ({"batch_size": 0}, "batch_size: 0 is outside 1 to 65536"),
        ({"learning_rate": 0}, "learning_rate: 0 is outside"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0 is outside"),
        ({"learning_rate": math.nan}, "learning_rate: nan is outside"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number, got 'fast'"),
        ({"warmup": 1.5}, "warmup: 1.5 is outside 0 to 1"),
        ({"ema": 1.0}, "ema: 1.0 is outside 0 to"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is outside"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1 is outside 0 to 1"),
        ({"mixup": -0.1}, "mixup: -0.1 is outside"),
        ({"cutmix": -0.1}, "cutmix: -0.1 is outside 0 to 100"),
        ({"distil": 1.5}, "distil: 1.5 is outside 0 to 1"),
        ({"teacher": 3}, "teacher: expected text, got 3"),
        ({"seed": -1}, "seed: -1 is outside"),
        ({"seed": 2**32}, "seed: 4294967296 is outside"),
        ({"limit": -1}, "limit: -1 is outside"),
        ({"optimizer": "adagrad"}, "optimizer: 'adagrad' is none of adam, sgd"),
        ({"schedule": "step"}, "schedule: 'step' is none of constant, cosine, one_cycle"),
        ({"precision": "half"}, "precision: 'half' is none of auto, float32"),
        ({"augment": "wild"}, "augment: 'wild' is none of none, light, strong"),
        ({"augment": ["light"]}, "augment: expected text"),
        ({"keep_duplicates": 1}, "keep_duplicates: expected true or false, got 1"),
        ({"datasets": []}, "datasets: name at least one"),
        ({"datasets": "expw"}, "datasets: expected a list, got 'expw'"),
        ({"datasets": ["expw", "expw"]}, "datasets: one stands there twice in expw, expw"),
        ({"size": 4}, "size: expected 8 to 512 pixels, or 0 for the model's own; got 4"),
        ({"size": -1}, "size: expected 8 to 512"),
        ({"resolutions": 64}, "resolutions: expected a list, got 64"),
        ({"resolutions": [4]}, "resolutions: expected sides of 8 to 512 pixels, got [4]"),
        ({"resolutions": ["64"]}, "resolutions: expected sides"),
        ({"shares": {"ckplus": 0.2}}, "shares: ckplus is not among the datasets"),
        ({"shares": {"expw": 0}}, "shares: each must be above 0 and at most 1"),
        ({"shares": {"expw": "half"}}, "shares: each must be above 0 and at most 1"),
        ({"shares": {"expw": 0.6, "fer2013": 0.6}}, "shares: they sum to 1.2, above 1"),
        ({"shares": {"expw": 1.0}}, "no place for the datasets without a share in batches of 64"),
        ({"shares": {"expw": 0.5, "fer2013": 0.5}, "batch_size": 1}, "no place for each dataset in batches of 1"),
        ({"options": [1]}, "options: expected an object"),
        ({"options": {"weights": object()}}, "options: expected JSON values"),
    ],
)
def test_an_impossible_value_is_refused_in_one_line(changes, told):
    with pytest.raises(ConfigError) as caught:
        recipe(**changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resolutions_come_in_equal_shares_of_the_epochs():
    staged = recipe(epochs=6, resolutions=[48, 64, 96])
    assert [staged.resolution(epoch, 112) for epoch in range(6)] == [48, 48, 64, 64, 96, 96]
    fewer = recipe(epochs=2, resolutions=[64] * 7 + [112] * 3)
    assert [fewer.resolution(epoch, 112) for epoch in range(2)] == [64, 64]
    assert recipe().resolution(3, 112) == 112


def test_each_dataset_with_a_share_has_a_place_in_the_batch():
    assert recipe(shares={"expw": 0.25}).share_widths() == {"expw": 16}
    assert recipe(shares={"expw": 0.01}, batch_size=16).share_widths() == {"expw": 1}
    assert recipe().share_widths() == {}


def test_augmentations_are_configurations_too():
    for options in AUGMENTATIONS.values():
        assert Augmentation.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert AUGMENTATIONS["none"] == Augmentation()

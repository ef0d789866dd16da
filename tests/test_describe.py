"""What a run says of itself: layers with their shapes, datasets in numbers, and averages that show nobody."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fercore.training import models
from fercore.training.prepare import Prepared
from made_faces import made_dataset

pytest.importorskip("keras")

from fercore.training.describe import average_faces, describe, facts, layer_table, packages


def prepared(codes: list[int], **options: object) -> Prepared:
    dataset, crops, rows = made_dataset(codes, ("angry", "happy", "zen"), **options)
    return Prepared(dataset=dataset, crops=crops, rows=rows, duplicates={"train-test": 2}, left_out=3)


def test_layers_of_the_reports_cnn():
    model = models.get("report-cnn").build({"expw": 7})
    table = layer_table(model, np.zeros((1, 48, 48, 1), np.float32))
    rows = {row["name"]: row for row in table}
    assert rows["conv_1"] == {"name": "conv_1", "type": "Conv2D", "output": [48, 48, 32], "parameters": 320}
    assert rows["pool_2"]["output"] == [12, 12, 64]
    assert rows["flatten"]["output"] == [9216]
    assert rows["expw"] == {"name": "expw", "type": "Dense", "output": [7], "parameters": 3591}
    assert sum(row["parameters"] for row in table) == 2_513_543


def test_layers_of_a_nested_body_have_the_shapes_of_a_real_face():
    model = models.get("transfer").build({"a": 7, "b": 8}, weights=None)
    table = layer_table(model, np.zeros((1, 112, 112, 1), np.float32))
    rows = {row["name"]: row for row in table}
    assert rows["conv1"]["output"] == [56, 56, 32]
    assert rows["conv_pw_13"]["output"] == [3, 3, 1024]
    assert rows["b"]["output"] == [8]
    assert sum(row["parameters"] for row in table) == model.count_params()
    assert all(row["output"] for row in table if row["type"] != "InputLayer")
    names = [row["name"] for row in table]
    order = ["faces", "conv1", "conv1_bn", "conv_dw_1", "conv_pw_1", "conv_pw_13_relu", "features", "dropout", "b"]
    assert sorted(order, key=names.index) == order, "from the picture to the answer"


def test_layers_inside_a_wrapper_count_once():
    model = models.get("bilstm-cnn").build({"a": 7})
    table = layer_table(model, np.zeros((1, 48, 48, 1), np.float32))
    assert sum(row["parameters"] for row in table) == model.count_params()
    assert [row["name"] for row in table if "lstm" in row["name"]] == ["bilstm"]


def test_averages_are_of_twenty_faces_at_least():
    """Class 0 has 20 faces, class 1 has 19; of the predictions one cell has 20."""
    part = prepared([0] * 20 + [1] * 19)
    locators = part.dataset.locators()
    table = pd.DataFrame(
        {
            "locator": locators,
            "label": ["angry"] * 20 + ["happy"] * 19,
            "prediction": ["happy"] * 20 + ["happy"] * 19,
        }
    )
    found = average_faces(part, table)
    assert set(found) == {"made/class/angry", "made/cell/angry/happy"}
    for picture in found.values():
        assert picture.shape == (48, 48)
        assert picture.dtype == np.float16
        np.testing.assert_allclose(picture, part.crops.pixels[:20].mean(axis=0), atol=0.1)
    assert float(found["made/class/angry"].max()) > 100  # from 0 to 255


def test_averages_take_the_crop_of_each_row():
    """Rows and crops are not in the same order once something was left out."""
    dataset, crops, _ = made_dataset([0, 1] * 25, ("angry", "happy", "zen"))
    rows = np.arange(1, 50, 2)
    part = Prepared(dataset=dataset.select(rows), crops=crops, rows=rows, duplicates={})
    found = average_faces(part, pd.DataFrame({"locator": [], "label": [], "prediction": []}))
    assert set(found) == {"made/class/happy"}
    np.testing.assert_allclose(found["made/class/happy"], crops.pixels[1::2].mean(axis=0), atol=0.1)


def test_description_by_hand():
    part = prepared([0, 0, 1, 2, 2, 2], split=["train"] * 3 + ["test"] * 3)
    said = describe(part)
    assert said["counts"] == {
        "train": {"angry": 2, "happy": 1, "zen": 0},
        "test": {"angry": 0, "happy": 0, "zen": 3},
    }
    assert said["photos"] == 6
    assert said["faces_per_photo"] == {"1": 6}
    assert said["face_sizes"] == {"edges": [], "counts": []}
    assert said["duplicates"] == {"train-test": 2, "left_out": 3}
    assert said["problems"] == {}
    assert facts(part) == {"digest": part.dataset.digest(), "licence": "", "source": "", "faces": 6}


def test_sizes_of_labelled_boxes():
    part = prepared([0] * 4)
    table = part.dataset.table.assign(left=0.0, top=0.0, width=[10.0, 20, 40, 90], height=[10.0, 20, 40, 10])
    table["image"] = ["a", "a", "a", "b"]
    said = describe(
        Prepared(part.dataset.__class__(**{**vars(part.dataset), "table": table}), part.crops, part.rows, {})
    )
    assert said["faces_per_photo"] == {"1": 1, "3": 1}
    assert sum(said["face_sizes"]["counts"]) == 4
    assert said["face_sizes"]["edges"][0] == pytest.approx(10)
    assert said["face_sizes"]["edges"][-1] == pytest.approx(40)  # 90 x 10 counts as 30


def test_packages_that_are_installed_have_a_version():
    found = packages()
    assert found["numpy"] == np.__version__
    assert all(version[0].isdigit() for version in found.values())

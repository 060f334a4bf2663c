"""The long table: selection, files, text."""

import json

import pytest

from icl.tables import Table, concatenate


def test_tables_keep_what_they_hold(tmp_path):
    table = Table.from_rows(
        ("ridge", -1, k, metric, "raw", k + 0.1, k - 0.5, k + 0.5, 8)
        for metric in ("squared_error", "excess")
        for k in (*range(5), -1)
    )
    path = tmp_path / "table.csv"
    table.to_csv(path)
    lines = path.read_text().splitlines()
    assert lines[0] == "predictor,seed,position,metric,normalization,value,low,high,n"
    assert len(lines) == len(table) + 1
    assert json.loads(table.to_json())["columns"]["value"] == pytest.approx(table.value.tolist())
    twice = concatenate([table, table])
    assert len(twice) == 2 * len(table) == len(table + table)
    assert "squared_error [raw]" in str(table)
    assert "k=3" in str(table.where(position=[0, 3], metric="squared_error"))
    with pytest.raises(ValueError, match="no column"):
        table.where(predictors="ridge")
    with pytest.raises(ValueError, match="columns"):
        Table({"value": [1.0]})


def test_numbers_that_are_not_finite_are_null_in_json():
    table = Table.from_rows([("a", -1, 0, "nll", "nats", float("inf"), 0.0, float("nan"), 3)])
    columns = json.loads(table.to_json())["columns"]
    assert columns["value"] == columns["high"] == [None]
    assert columns["low"] == [0.0]

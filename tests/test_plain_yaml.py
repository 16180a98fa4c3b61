"""Settings in YAML: the reader refuses doubled keys, aliases that multiply, deep nesting and tags, each in one sentence."""

from unittest.mock import patch

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.plain_yaml import DEPTH, DIGITS, VALUES, YamlError, load, load_all, quoted
from wsc_ray.recipe.template import recipe_template


def refused(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        load(text)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def bomb(levels: int, width: int = 10) -> str:
    lines = [f"x0: &x0 [{', '.join(['1'] * width)}]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"train: {{lr: *x{levels - 1}}}"])


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_pyyaml_writes_is_read_as_pyyaml_reads_it(value):
    text = yaml.safe_dump(value)
    assert load(text) == yaml.safe_load(text)


def test_a_key_that_is_there_twice_is_named_with_both_lines():
    said = refused("data: {}\ntrain: {epochs: 1}\n\ntrain:\n  epochs: 2\n")
    assert said == "line 4: 'train' occurs twice, first in line 2; keep one"
    assert "line 3: 'lr' occurs twice" in refused("train:\n  lr: 1\n  lr: 2\n")
    assert "'b' occurs twice" in refused("a: [{b: 1, b: 1}]")
    assert "1.0 occurs twice" in refused("{1: a, 1.0: b}")
    assert "line 4" in refused("a: 1\n---\nb: 1\nb: 2\n")


def test_anchors_that_people_use():
    assert load("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  x: 3\n") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 3, "y": 2},
    }


@pytest.mark.parametrize("levels", [5, 8, 40, 400])
def test_aliases_that_stand_for_more_than_anybody_writes(levels):
    assert f"more than {VALUES:,} values" in refused(bomb(levels))


def test_merged_keys_that_stand_for_more_than_anybody_writes():
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    assert f"more than {VALUES:,} values" in refused("\n".join(lines))


def test_many_keys_are_refused_before_values_are_built():
    with patch("yaml.load_all", side_effect=AssertionError("built")):
        assert f"more than {VALUES:,} values" in refused("train:\n" + "".join(f"  k{n}: {n}\n" for n in range(9000)))


def test_a_recipe_with_as_many_labels_as_it_may_have():
    labels = ", ".join(f"label{n}" for n in range(1000))
    values = load(f"{recipe_template()}\nmore: {{pure: [{labels}], mixed: [{labels}]}}")
    assert len(values["more"]["pure"]) == 1000


def test_an_alias_of_itself():
    assert "has no end" in refused("a: &a [1, *a]")
    assert "has no end" in refused("&a {b: {c: *a}}")


def test_deep_nesting():
    assert load("[" * DEPTH + "]" * DEPTH)
    for opening in ("[", "{a: ", "- "):
        for depth in (DEPTH + 1, 1000, 50_000):
            assert "nested more than" in refused(opening * depth)


def test_dates_are_text():
    assert load("[2024-01-01, 2024-13-45, 2001-12-14t21:59:43.10-05:00]") == [
        "2024-01-01",
        "2024-13-45",
        "2001-12-14t21:59:43.10-05:00",
    ]


@pytest.mark.parametrize(
    "number",
    [
        "9" * 5000,
        "-" + "9" * 90_000,
        "0x" + "f" * 90_000,
        "1" + ":1" * 40_000,
        "0b_",
        "0x_",
        "1" * 200 + ".5",
        "9" * 101,
    ],
    ids=lambda text: text[:4] + str(len(text)),
)
def test_numbers_that_no_setting_takes(number):
    refused(f"seed: {number}")


@pytest.mark.parametrize(
    "text",
    [
        "!!int ''",
        "!!float ''",
        "!!bool x",
        "!!timestamp x",
        "!!timestamp 2024-13-45",
        "!!binary é",
        "!!python/object/apply:os.system [true]",
        "a: !" + "x" * 90_000 + " 1",
        "a: *nothing",
        "a: [1",
        "a: b: c",
        "? [a]\n: b",
        "=",
        "\0",
        "a: 1\n--- \nb: 2",
        "\t- a",
        "x" * 300_000,
        "%YAML 3.0\n--- a",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_whatever_else_is_wrong_is_a_sentence(text):
    refused(text)


def test_several_documents():
    assert load_all("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, None, {"b": 2}]
    assert load("") is None


def test_quoted_values_are_short():
    assert quoted("a") == "'a'"
    assert quoted([1, "b"]) == "[1, 'b']"
    assert quoted({"a": 1}) == "{'a': 1}"
    assert quoted(10**5000) == f"a number of more than {DIGITS} digits"
    for value in ("x" * 10**6, list(range(10**6)), [["x" * 10**6]], {"x" * 10**6: 1}, [10**5000], [{}] * 10**5):
        assert len(quoted(value)) < 200

"""What Hydra's grammar does not know is a text; what it knows stays what it is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kirigami.search.config.compose import compose
from kirigami.search.config.overrides import grammatical
from kirigami.search.config.resolve import literal, resolve
from kirigami.search.errors import InputError

TABLE = ["task=table", "task.train=rows.csv", "space=[]"]
TEXTS = some.text(some.characters(exclude_characters="$", exclude_categories=("Cs", "Cc")), min_size=1)
ODD = [
    "what?next",
    "run%31",
    "a${b}",
    "größe",
    "conf, (v2)",
    "[x] y",
    "it's",
    'a "b"',
    "a=b",
    "a#b",
    "{x}",
    "a\\",
    "~x",
]


@pytest.mark.parametrize(
    "text", ["Größe (cm)", "/a b/c,d", "length,width", "a=b", "it's", "x#y", "range(2)x", "a;b", "ü\\"]
)
def test_a_text_needs_no_quotes(text):
    assert resolve(compose([*TABLE, f"task.target={text}"]))["task"]["target"] == text


@given(TEXTS)
def test_a_name_is_a_text_whatever_it_looks_like(text):
    quoted = grammatical(f"name={text}")
    plain = text == "null" or text.strip() != text or text[:1] in "'\"" or text == ""

    assert plain or resolve(compose([quoted]))["name"] == text


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("+x=[1,2.5,a]", [1, 2.5, "a"]),
        ("+x=[Größe,1e-3,true,null]", ["Größe", 0.001, True, None]),
        ("+x={a: 1, b: [c]}", {"a": 1, "b": ["c"]}),
        ("+x='1'", "1"),
        ("+x=1e-3", 0.001),
        ("+x=true", True),
        ("+x=null", None),
        ("+x=${seed}", 0),
        ("+x='ü ${seed}'", "ü 0"),
        ("+x=ü ${seed}", "ü 0"),
    ],
)
def test_what_is_more_than_a_text_stays_so(override, value):
    assert resolve(compose([f"+network.{override[1:]}"]))["network"]["x"] == value


@pytest.mark.parametrize("override", ["optimizer.lr={", "objective=[accuracy,", "+x='a", "optimizer.lr=1,2", "grün=1"])
def test_what_was_meant_otherwise_is_refused(override):
    with pytest.raises(InputError) as caught:
        compose([override])
    assert override.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_what_is_there_is_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()

    assert resolve(compose([*TABLE, "task.target=y", f"task.train={name}"]))["task"]["train"] == name


@pytest.mark.parametrize("name", ODD)
def test_a_config_folder_may_have_any_name(name, tmp_path):
    folder = tmp_path / name
    (folder / "study").mkdir(parents=True)
    (folder / "study" / "grün, (v2).yaml").write_text("# @package _global_\nseed: 7\n")

    assert compose(["study=grün, (v2)"], [folder])["seed"] == 7


@given(some.text(some.sampled_from("\\${}ab"), max_size=12))
def test_a_literal_is_resolved_to_itself(text):
    assert resolve({"x": literal(text)}) == {"x": text}

"""What a card says of a network's inputs, and the Python that feeds it without this project."""

from collections.abc import Mapping
from typing import Any

from kirigami.tasks.tables.numbers import GAPS

Rules = Mapping[str, Any]

START = ["import numpy as np", "import onnxruntime"]
SESSION = ['session = onnxruntime.InferenceSession("model.onnx")']
ABOUT = ["about = session.get_modelmeta().custom_metadata_map", 'rules = json.loads(about["preparation"])']
DATES = [
    '    if kind == "date":  # seconds since 1970, UTC where no zone is said',
    '        day, _, time = cell.replace("T", " ").partition(" ")',
    '        day = "{y}-{m:0>2}-{d:0>2}".format(**dict(zip(order, re.split("[-/.]", day))))',
    "        moment = datetime.fromisoformat(f\"{day} {time or '00:00'}\")",
    "        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()",
]
BOOLEANS = [
    '    if kind == "boolean":',
    '        cell = {"true": "1", "false": "0"}.get(cell.lower(), cell)',
]
WHOLE = r're.sub(r"^([+-]?\d+)\.0+$", r"\1", {cell})'


def code(card: Mapping[str, Any]) -> list[str]:
    """Return lines of Python that turn raw data into the inputs of `model.onnx`, run it, and print its answers."""
    rules = card["preparation"]
    if "columns" in rules:
        return _table(rules, card["inputs"][0]["name"], card["output"])
    if "picture" in rules:
        return _picture(rules["picture"], card["inputs"][0]["name"], card["output"])
    if "characters" in rules:
        return _text(card["inputs"][0])
    return _numbers(card)


def columns(rules: Rules) -> list[tuple[str, str, str]]:
    """Return (places, column, coding) of the input of a table, in order; nothing for other data."""
    reader = rules.get("reader", {})
    written, instead = reader.get("rules", {}), reader.get("instead", {})
    rows = [(str(place), name, _number(written.get(name, {}))) for place, name in enumerate(rules.get("columns", ()))]
    place = len(rows)
    for name, values in rules.get("categories", {}).items():
        names = ", ".join(f"`{value}`" if value else "an empty cell" for value in values)
        gap = f"; an empty cell counts as `{instead[name]}`" if name in instead else ""
        places = str(place) if len(values) == 1 else f"{place} to {place + len(values) - 1}"
        rows.append((places, name, f"1 for its category, else 0, in the order {names}; any other is all 0{gap}"))
        place += len(values)
    return rows


def _number(rule: Rules) -> str:
    kind = rule.get("kind", "number")
    if kind == "date":
        return f"date ({'-'.join(rule['order'])}) in seconds since 1970-01-01 UTC; NaN where it is empty"
    if kind == "boolean":
        return "true is 1, false is 0; NaN where it is empty"
    example = f"1{rule.get('thousands', '')}234{rule.get('decimal', '.')}5 {rule.get('unit', '')}".strip()
    return "number" + ("" if not rule else f", written like {example}") + "; NaN where it is empty"


def page(card: Mapping[str, Any]) -> list[str]:
    """Return the part of a card on inputs, outputs and how to feed them."""
    rows = columns(card["preparation"])
    table = ["| place | column | what stands there |", "| --- | --- | --- |"] if rows else []
    return [
        "## How to load it",
        "",
        *(f"Input `{argument['name']}`: {argument['what']}." for argument in card["inputs"]),
        f"Output: {card['output']['what']}.",
        "",
        *table,
        *(f"| {' | '.join(row)} |" for row in rows),
        *([""] if rows else []),
        "With ONNX Runtime and numpy alone; what it needs to know of the data is in the file:",
        "",
        "```python",
        *code(card),
        "```",
        "",
    ]


def what(rules: Rules, shape: tuple[int, ...], kind: str) -> str:
    """Return what a row of an input is, in words."""
    if "columns" in rules:
        return f"rows of {shape[0]} numbers ({kind}): numbers first, NaN where one is missing, then categories"
    if "characters" in rules:
        known = len(rules["characters"])
        return (
            f"{shape[0]} characters a row ({kind}), each by its place in the alphabet of {known} that the file holds; "
            f"any other is {known}"
        )
    if "picture" in rules:
        picture = rules["picture"]
        colours = "grey" if picture["channels"] == 1 else "red, green and blue"
        white = "as measured" if picture["white"] is None else f"0 (black) to {picture['white']:g} (white)"
        size = f"{picture['height']} pixels high and {picture['width']} wide"
        return f"pictures (channels, height, width): {colours}, {size}, {kind} {white}"
    return f"raw rows of {shape} ({kind}), as the data have them"


def _table(rules: Rules, name: str, output: Rules) -> list[str]:
    reader = rules["reader"]
    written = reader.get("rules", {})
    kinds = {rule.get("kind") for rule in written.values()}
    words = reader.get("missing_words")
    empty = sorted({"", *(GAPS if words is None else words)} - {""})
    dates = "date" in kinds
    return [
        f"import csv, json{', re' if dates or _has_whole(rules) else ''}",
        *(["from datetime import datetime, timezone"] if dates else []),
        *START,
        "",
        *SESSION,
        *ABOUT,
        f"EMPTY = {['', *empty]!r}  # words that are no number, in small letters",
        "",
        'def number(cell, kind="", order="", unit="", thousands="", decimal="."):',
        "    if cell.lower() in EMPTY:",
        "        return np.nan",
        *(DATES if dates else []),
        *(BOOLEANS if "boolean" in kinds else []),
        '    return float(cell.replace(unit, "").replace(thousands, "").replace(decimal, "."))',
        "",
        *_row(rules),
        "",
        *_read(reader),
        f'outputs = session.run(None, {{"{name}": np.array([row(cells) for cells in table], np.float64)}})[0]',
        f'print(*{_answers(output)}, sep="\\n")',
    ]


def _row(rules: Rules) -> list[str]:
    """Return the function that makes the numbers of a row of cells."""
    gaps, instead = rules["reader"].get("missing_words"), rules["reader"].get("instead")
    cell = "cells[name].strip()"
    key = cell
    if _has_whole(rules):
        key = WHOLE.replace("{cell}", cell)
    if gaps:
        key = f'("" if {cell}.lower() in EMPTY else {key})'
    if instead:
        key = f'({key} or rules["reader"]["instead"].get(name))'
    rule = '**rules["reader"].get("rules", {}).get(name, {})'
    pairs = 'for name, values in rules["categories"].items() for value in values'
    return [
        "def row(cells):  # texts by column",
        f'    numbers = [number({cell}, {rule}) for name in rules["columns"]]',
        f"    return numbers + [{key} == value {pairs}]",
    ]


def _has_whole(rules: Rules) -> bool:
    """Tell whether categories are whole numbers, of which 1 and 1.0 are the same."""
    return any(value.lstrip("+-").isdigit() for values in rules["categories"].values() for value in values)


def _read(reader: Rules) -> list[str]:
    opened = f'open("rows.csv", newline="", encoding="{reader.get("encoding", "utf-8-sig")}")'
    separator = repr(reader["separator"]) if "separator" in reader else 'max(",;\\t|", key=lines[0].count)'
    return [f"lines = list({opened})", f"table = csv.DictReader(lines, delimiter={separator}, skipinitialspace=True)"]


def _picture(rules: Rules, name: str, output: Rules) -> list[str]:
    width, height, channels, ground = rules["width"], rules["height"], rules["channels"], rules["background"]
    brought = f".resize(({width}, {height}), Image.Resampling.BICUBIC)" if rules["resize"] else ""
    mode = "L" if channels == 1 else "RGB"
    if rules["white"] not in (None, 65535):
        pixels = [
            'layer = ImageOps.exif_transpose(Image.open("picture.png")).convert("RGBA")',
            f'ground = Image.new("RGBA", layer.size, ({ground}, {ground}, {ground}, 255))',
            f'picture = Image.alpha_composite(ground, layer).convert("{mode}"){brought}  # {width} x {height}',
            f"rows = np.asarray(picture).reshape(1, {height}, {width}, {channels}).transpose(0, 3, 1, 2)",
            *([] if rules["white"] == 255 else [f"rows = (rows * ({rules['white']:g} / 255)).astype(np.float32)"]),
        ]
    else:
        pixels = [
            f'values = Image.fromarray(np.asarray(Image.open("picture.tif")).astype(np.float32)){brought}',
            f"rows = np.repeat(np.asarray(values)[None, None], {channels}, axis=1)  # one picture of 16 bits or values",
        ]
    return [
        "import json",
        *START,
        "from PIL import Image, ImageOps",
        "",
        *SESSION,
        *ABOUT[:1],
        *pixels,
        f'outputs = session.run(None, {{"{name}": rows}})[0]',
        f'print(*{_answers(output)}, sep="\\n")',
    ]


def _text(argument: Rules) -> list[str]:
    return [
        "import json",
        *START,
        "",
        *SESSION,
        *ABOUT,
        'alphabet = rules["characters"]',
        f'text = open("text.txt", encoding="utf-8").read()[-{argument["shape"][1]}:]  # so many characters',
        "rows = [[alphabet.index(one) if one in alphabet else len(alphabet) for one in text]]",
        f'scores = session.run(None, {{"{argument["name"]}": np.array(rows, np.int64)}})[0]',
        'print((alphabet + "?")[scores[0, -1].argmax()])  # the most likely character after the text',
    ]


def _numbers(card: Mapping[str, Any]) -> list[str]:
    lines, feed = [], []
    for place, argument in enumerate(card["inputs"]):
        variable = "rows" if len(card["inputs"]) == 1 else f"rows_{place}"
        shape = ", ".join(map(str, argument["shape"][1:]))
        lines.append(f"{variable} = np.zeros((1, {shape}), np.{argument['type']})  # your rows")
        feed.append(f'"{argument["name"]}": {variable}')
    run = f"outputs = session.run(None, {{{', '.join(feed)}}})[0]"
    return [*START, "", *SESSION, *lines, run, f"print({_decided(card['output'])})"]


def _answers(output: Rules) -> str:
    """Return how answers of rows are read off the outputs, in Python, where the classes are in `about`."""
    if output["kind"] == "classes":
        return '[json.loads(about["classes"])[place] for place in outputs.argmax(1)]'
    return "outputs[:, 0]" if output["kind"] == "values" else _decided(output)


def _decided(output: Rules) -> str:
    """Return how answers are read off the outputs, in Python."""
    if output["kind"] in ("classes", "characters"):
        return "outputs.argmax(-1)"
    if output["kind"] == "pixels" and output["classes"]:
        return "outputs.argmax(1)"
    return "outputs > 0" if output["kind"] in ("labels", "pixels") else "outputs"

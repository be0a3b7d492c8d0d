"""The weights of a graph in their smallest exact form: integers and a scale, float16, one tensor for equal ones.

Sharing is found in the numbers: tensors that are equal, whose integers are equal, or of which one is exactly a number
times another, become one constant. So it does not matter which technique made them so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy

from kirigami.models.graph import grid
from kirigami.models.graph.grid import Array
from kirigami.models.graph.model import BITS, INT2, INT4, Model, Node, Tensor
from kirigami.models.graph.sources import (
    RANGE,
    Builder,
    Codes,
    Ends,
    Multiple,
    Source,
    State,
    Tree,
    Whole,
    bits_of,
    largest,
    of_array,
    ratio,
    stored,
)

OPSET, OPSET_INT2 = 21, 25  # INT4 came with the one, INT2 with the other
OVERHEAD = {Whole: 26, Codes: 48, Multiple: 32}  # bytes that the additional nodes and constants take
SHORT = 256  # entries of a vector that is not worth additional nodes
# Operators before which ONNX Runtime computes DequantizeLinear exactly. In front of a MatMul it would round the
# other operand to 8 bits, and in front of a Gather unpack the whole table at each run.
DEQUANTIZED = ("Conv", "ConvTranspose", "Gemm")


def plans(state: State, int2: bool) -> dict[str, Source]:
    """Return the smallest exact form of each tensor; equal tensors share one.

    Args:
        state: tensors by name.
        int2: whether INT2 may be used, which needs opset 25.
    """
    first: dict[Tensor, str] = {}
    equal = {name: first.setdefault(of_array(values), name) for name, values in state.items()}
    sources: dict[str, Source] = {}
    codes: set[Tensor] = set()
    for name in first.values():
        plan = _plan(name, state, int2)
        sources[name] = _matched(plan, state, codes) if isinstance(plan, Codes) else plan
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name, plan in sources.items():
        if plan == Whole(name) and _is_large(state[name]):
            shapes.setdefault(state[name].shape, []).append(name)
    for alike in shapes.values():
        sources |= _multiples(alike, state)
    return {name: sources[equal_to] for name, equal_to in equal.items()}


def has_int2(state: State) -> bool:
    """Tell whether some tensor would be INT2."""
    return any(isinstance(plan, Codes) and plan.dtype == INT2 for plan in (_plan(name, state, True) for name in state))


def _plan(name: str, state: State, int2: bool) -> Source:
    values = state[name]
    options: dict[int, Source] = {8 * values.nbytes: Whole(name)}
    if values.dtype != numpy.float32 or (values.ndim < 2 and values.size < SHORT):
        return Whole(name)
    with numpy.errstate(over="ignore"):
        halved = values.astype(numpy.float16).astype(numpy.float32)
    if (halved == values).all():
        options[16 * values.size + 8 * OVERHEAD[Whole]] = Whole(name, half=True)
    if (on_grid := grid.find(values)) is not None:
        lattice, dtype = on_grid
        dtype = INT4 if dtype == INT2 and not int2 else dtype
        options[BITS[dtype] * values.size + 8 * OVERHEAD[Codes]] = Codes(name, lattice, dtype)
    return options[min(options)]


def _matched(plan: Codes, state: State, stored_integers: set[Tensor]) -> Codes:
    """Return the plan, or the negated one if its integers are stored already."""
    integers_of_plan = stored(plan.tree(state))
    integers = plan.grid.integers(state[plan.name])
    if integers_of_plan not in stored_integers and int(-integers.min()) < 1 << BITS[plan.dtype] - 1:
        other = replace(plan, grid=replace(plan.grid, negative=True))
        if stored(other.tree(state)) in stored_integers:
            return other
    stored_integers.add(integers_of_plan)
    return plan


def _is_large(values: Array) -> bool:
    return values.dtype == numpy.float32 and 4 * values.size > OVERHEAD[Multiple] and bool(values.any())


def _multiples(names: Sequence[str], state: State) -> dict[str, Source]:
    """Return plans for those tensors of one shape that are exactly a number times another one of them."""
    rest, multiples = list(names), dict[str, Source]()
    while rest:
        made_of = {base: _made_of(base, rest, state) for base in rest}
        base = max(rest, key=lambda name: len(made_of[name]))
        if not made_of[base]:
            break
        multiples |= made_of[base]
        rest = [name for name in rest if name != base and name not in made_of[base]]
    return multiples


def _made_of(base: str, names: Iterable[str], state: State) -> dict[str, Source]:
    """Return plans for the tensors that are a number times the base; most others show in the first row."""
    values, place = state[base], largest(state[base])
    multiples: dict[str, Source] = {}
    for name in names:
        for nudge in grid.NUDGES if name != base else ():
            scale = ratio(state[name], values, place, nudge)
            if all((values[part] * scale == state[name][part]).all() for part in (0, ...)):
                multiples[name] = Multiple(name, base, nudge)
                break
    return multiples


def trees(state: State, int2: bool) -> dict[Tree, list[Source]]:
    """Return all trees that may stand in a model for tensors of a state, and their sources."""
    sources: dict[Tree, list[Source]] = {}
    for name, plan in plans(state, int2).items():
        for source in _variants(name, plan, state):
            sources.setdefault(source.tree(state), []).append(source)
    return sources


def _variants(name: str, plan: Source, state: State) -> Iterator[Source]:
    renamed = replace(plan, name=name)
    for turned in (False, True) if state[name].ndim == 2 else (False,):
        yield Whole(name, turned=turned)
        if isinstance(renamed, Codes):
            yield from (replace(renamed, turned=turned, dequantise=how) for how in (False, True))
        elif renamed != Whole(name) and not isinstance(renamed, Ends):
            yield replace(renamed, turned=turned)
    if name.endswith(RANGE) and bits_of(name) in state:
        yield from (Ends(name, which) for which in range(3))


def place(model: Model, names: Mapping[int, str], state: State, dequantise: bool) -> None:
    """Put the weights of a traced model into their smallest form, in place.

    Args:
        model: whose constants hold the weights as floats.
        names: of the constants that are tensors of the state, by value.
        state: tensors by name.
        dequantise: whether integers become weights by DequantizeLinear where that is safe, or by Cast and Mul.
    """
    sources_by_name = plans(state, model.opset >= OPSET_INT2)
    sources = {value: sources_by_name[name] for value, name in names.items() if name in state}
    turned = _turned(model, sources, state)
    builder = Builder(max([0, *model.constants, *(v for n in model.nodes for v in (*n.inputs, *n.outputs))]) + 1)

    def placed(value: int, integers: bool = False) -> int:
        """Return the value that replaces one of the traced model; `integers` where DequantizeLinear is safe."""
        source = sources.get(turned.get(value, value))
        if source is None:
            return builder.place(model.constants[value]) if value in model.constants else value
        if value in turned and not isinstance(source, Ends):
            source = replace(source, turned=True)
        if isinstance(source, Codes):
            source = replace(source, dequantise=integers)
        return builder.place(source.tree(state))

    for node in model.nodes:
        if node.outputs[0] not in turned:
            safe = dequantise and node.form.op in DEQUANTIZED
            inputs = [placed(value, safe and place == 1) for place, value in enumerate(node.inputs)]
            builder.nodes.append(Node(node.form, inputs, node.outputs))
    model.outputs = [(placed(value), port) for value, port in model.outputs]
    model.nodes, model.constants = builder.nodes, builder.constants


def _turned(model: Model, sources: Mapping[int, Source], state: State) -> dict[int, int]:
    """Return the outputs of nodes that transpose a weight whose constant has no other use, and the weights."""
    constants = {value: stored(source.tree(state)) for value, source in sources.items()}
    flips, straight = {}, set()
    for node in model.nodes:
        for value in constants.keys() & set(node.inputs):
            if len(constants[value].dims) == 2 and _transposes(node):
                flips[node.outputs[0]] = value
            else:
                straight.add(constants[value])
    return {output: value for output, value in flips.items() if constants[value] not in straight}


def _transposes(node: Node) -> bool:
    return node.form.op == "Transpose" and dict(node.form.attributes).get("perm", (1, 0)) == (1, 0)

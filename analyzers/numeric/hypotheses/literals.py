"""Wrong literals: numbers, flags, names of variants, and settings of the modules that a statement builds."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from analyzers.numeric import operands, statements
from analyzers.numeric.hypotheses.edits import Candidate, Code, Replacement
from analyzers.numeric.hypotheses.evidence import Constants, Evidence, Place

_ACTIVATIONS = (
    ("gelu_pytorch_tanh", "gelu_new", "gelu_tanh", "tanh", "gelu-approximate"),
    ("gelu", "none"),
    ("silu", "swish"),
    ("relu",),
    ("quick_gelu",),
)
_NORMS = (("layer", "layer_norm", "layernorm"), ("rms", "rms_norm", "rmsnorm"))
_ACTIVATION_CLASSES = ("GELU", "SiLU", "ReLU", "Mish", "Tanh", "Sigmoid")
_ACTIVATION_FUNCTIONS = ("gelu", "silu", "relu", "mish", "tanh", "sigmoid")


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Literals in the likely statements, exchanged for what the official side has."""
    for place in evidence.places:
        for constants in evidence.constants:
            yield from _exchanged(place, constants)
            yield from _arguments(place, constants)
        yield from _variants(evidence, place)
        yield from _flags(evidence, place)
        yield from _official_literals(evidence, place)
        yield from _called_alike(evidence, place)
        yield from _keywords_too_many(evidence, place)


def _exchanged(place: Place, constants: Constants) -> Iterator[Candidate]:
    """The very literal."""
    ours, theirs = constants.ours, constants.theirs
    if not _writable(theirs):
        return
    rank = place.near * 1.2 + (0.0 if constants.sure else 1.5)
    for node in place.nodes:
        if isinstance(node, ast.expr) and _same(_literal(node), ours):
            yield _literal_candidate(place.code, node, constants, rank)
    if isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)) and len(ours) == len(theirs):
        for run in _runs(place.nodes, len(ours)):
            if all(_same(_literal(node), value) for node, value in zip(run, ours, strict=True)):
                edits = tuple(
                    place.code.replacing(node, repr(value))
                    for node, value, old in zip(run, theirs, ours, strict=True)
                    if not _same(value, old)
                )
                yield _candidate("order", place.code, edits, _is(constants), rank)


def _literal_candidate(code: Code, node: ast.expr, constants: Constants, rank: float) -> Candidate:
    theirs = constants.theirs
    if isinstance(_literal(node), int) and isinstance(theirs, float) and theirs.is_integer():
        theirs = int(theirs)
    text = _written(theirs)
    return _candidate(
        cause_of(_keyword_of(code, node) or constants.name, constants.operation, constants.theirs),
        code,
        (code.replacing(node, text),),
        f"`{code.code(node)}` has to be `{text}`, as in the official model",
        rank,
    )


def _arguments(place: Place, constants: Constants) -> Iterator[Candidate]:
    """An argument that is called like the constant: another value for it, none at all, or one more."""
    if not constants.name or constants.name.isdigit() or not isinstance(place.statement, ast.stmt):
        return
    theirs = constants.theirs
    text = _written(theirs)
    rank = place.near * 1.2 + (0.5 if constants.sure else 2.0)
    cause = cause_of(constants.name, constants.operation, theirs)
    for call in (node for node in place.nodes if isinstance(node, ast.Call)):
        named = [each for each in call.keywords if each.arg is not None and _alike(each.arg, constants.name)]
        for keyword in named:
            if _writable(theirs) and not _same(_literal(keyword.value), theirs):
                yield _candidate(
                    cause,
                    place.code,
                    (place.code.replacing(keyword.value, text),),
                    f"`{keyword.arg}` has to be {text}, as in the official model",
                    rank + (0.6 if _literal(keyword.value) is not ... else 1.2),
                )
            yield _candidate(
                cause,
                place.code,
                (place.code.without_argument(call, keyword),),
                f"`{keyword.arg}` has to be left out: its default is what the official model has",
                rank - 0.6 if _is_own_scale(constants) else rank + 0.9,
            )
        if not named and _writable(theirs) and constants.sure and _may_take(call, constants):
            yield _candidate(
                cause,
                place.code,
                (place.code.with_argument(call, f"{constants.name}={text}"),),
                f"`{constants.name}={text}` has to be given, as in the official model",
                rank + (0.2 if constants.sure else 0.8),
            )


def _is_own_scale(constants: Constants) -> bool:
    """Whether the official attention has the scale that attention has by itself: one over a root."""
    theirs = constants.theirs
    if constants.operation != "scaled_dot_product_attention" or not isinstance(theirs, float) or not theirs:
        return False
    width = theirs**-2
    return math.isclose(width, round(width), rel_tol=1e-6)


def _may_take(call: ast.Call, constants: Constants) -> bool:
    """Whether a call may have a constant as one more keyword: a class its setting, a function its own."""
    name = statements.callee(call) or ""
    if not constants.name.isidentifier() or constants.operation in operands.ORDER | operands.FORM:
        return False
    return name[:1].isupper() or name == constants.operation


def _variants(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    """Activations and norms by name: the one that the official operations show comes first."""
    wanted = _official_variants(evidence)
    for node in place.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for family, cause in ((_ACTIVATIONS, "activation"), (_NORMS, "norm-kind")):
                yield from _texts(place, node, family, cause, wanted)
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        for classes in (_ACTIVATION_CLASSES, _ACTIVATION_FUNCTIONS):
            if isinstance(node, (ast.Attribute, ast.Name)) and name in classes:
                stem = place.code.code(node)[: -len(name)] if name else ""
                for other in classes:
                    if other != name and other.lower() in wanted:
                        yield _candidate(
                            "activation",
                            place.code,
                            (place.code.replacing(node, stem + other),),
                            f"the activation has to be {other}, as in the official model",
                            place.near * 1.2 + 0.3,
                        )


def _texts(
    place: Place, node: ast.Constant, family: Sequence[Sequence[str]], cause: str, wanted: frozenset[str]
) -> Iterator[Candidate]:
    if not any(node.value in words for words in family):
        return
    for words in family:
        if node.value in words:
            continue
        shown = bool(wanted & set(words))
        tanh = cause == "activation" and {node.value, words[0]} & {"gelu_pytorch_tanh", "tanh", "gelu_new"}
        for position, word in enumerate(words):
            yield _candidate(
                "gelu-approximate" if tanh and "gelu" in f"{node.value!r} {words[0]}" else cause,
                place.code,
                (place.code.replacing(node, _quoted(word)),),
                f"`{place.code.code(node)}` has to be `{_quoted(word)}`, as in the official model",
                place.near * 1.2 + (0.2 if shown else 3.0) + position * 0.1,
            )


def _official_variants(evidence: Evidence) -> frozenset[str]:
    found: set[str] = set()
    for change in evidence.changes:
        if change.official is None:
            continue
        name = operands.canonical(change.official)
        texts = {constant.text.strip("'\"") for constant in operands.constants(change.official)}
        if name == "gelu":
            found.add("gelu_pytorch_tanh" if "tanh" in texts else "gelu")
            found |= {"gelu"} if "tanh" not in texts else set()
        elif name in _ACTIVATION_FUNCTIONS or name in ("layer_norm", "rms_norm"):
            found.add(name)
    return frozenset(found)


def _flags(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    """A flag the other way, also one that a called function of a library has by default."""
    rotary = _speaks_of_rotation(evidence)
    for node in place.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            name = _keyword_of(place.code, node)
            yield _candidate(
                _flag_cause(name, rotary),
                place.code,
                (place.code.replacing(node, str(not node.value)),),
                f"`{name or node.value}` has to be {not node.value} to compute what the official model does",
                place.near * 1.2 + 1.2,
            )
    for call, name, preset in _library_flags(evidence, place):
        yield _candidate(
            _flag_cause(name, rotary),
            place.code,
            (place.code.with_argument(call, f"{name}={not preset}"),),
            f"`{name}={not preset}` has to be given to compute what the official model does",
            place.near * 1.2 + 1.6,
        )


def _library_flags(evidence: Evidence, place: Place) -> Iterator[tuple[ast.Call, str, bool]]:
    """Flags with a default of the library functions that the statement was seen to call."""
    path, statement = place.code.path, place.statement
    last = statement.end_lineno or statement.lineno
    seen: set[tuple[str, str]] = set()
    for operation in evidence.operations.native.operations:
        for inner, outer in pairwise(operation.stack):
            if outer.path != path or not statement.lineno - 1 <= outer.line < last:
                continue
            function = evidence.sources.function(inner.path, inner.line)
            if function is None or (inner.path, function.name) in seen:
                continue
            seen.add((inner.path, function.name))
            cls = evidence.sources.enclosing_class(inner.path, function.lineno - 1)
            names = {function.name, cls.name if cls is not None else function.name}
            for call in (node for node in place.nodes if isinstance(node, ast.Call)):
                if statements.callee(call) not in names:
                    continue
                for name in sorted(statements.parameters(function)):
                    preset = statements.default(function, name)
                    given = statements.argument(call, function, name, bound=cls is not None)
                    if given is None and isinstance(preset, ast.Constant) and isinstance(preset.value, bool):
                        yield call, name, preset.value


def _official_literals(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    """Numbers that only one of the two statements has."""
    if place.near > 1:
        return
    theirs = [
        _literal(node)
        for each in evidence.official_statements
        for node in ast.walk(statements.head(each))
        if isinstance(node, ast.Constant)
    ]
    mine = [node for node in place.nodes if isinstance(node, ast.Constant) and _is_number(node.value)]
    own = [node.value for node in mine]
    others = [value for value in dict.fromkeys(theirs) if _is_number(value) and value not in own]
    for node in mine:
        if any(_same(node.value, value) for value in theirs):
            continue
        for value in others[:3]:
            constants = Constants(node.value, value, _keyword_of(place.code, node) or "", "", False)
            yield _literal_candidate(place.code, node, constants, place.near * 1.2 + 2.5)


def _called_alike(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    """A literal for which the official files have another one under the same name, or one like it."""
    for node in place.nodes:
        name = _keyword_of(place.code, node) if isinstance(node, ast.Constant) else None
        if name is None or not isinstance(node, ast.Constant) or node.value is None:
            continue
        for other, values in evidence.official_literals.items():
            if not _alike(name, other) or any(_same(node.value, value) for value in values):
                continue
            for value in values:
                numbers = _is_number(node.value) and _is_number(value)
                if not _writable(value) or not (numbers or type(value) is type(node.value)):
                    continue
                constants = Constants(node.value, value, name, "", False)
                rank = place.near * 0.6 + (0.5 if name == other else 0.9)
                yield _literal_candidate(place.code, node, constants, rank)


def _keywords_too_many(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    """A keyword that no official call of the same name gives."""
    for call in (node for node in place.nodes if isinstance(node, ast.Call)):
        known = evidence.official_keywords.get(statements.callee(call) or "")
        for keyword in call.keywords if known is not None else ():
            if keyword.arg is not None and known is not None and keyword.arg not in known:
                yield _candidate(
                    _flag_cause(keyword.arg, False),
                    place.code,
                    (place.code.without_argument(call, keyword),),
                    f"`{keyword.arg}` has to be left out: the official model does not give it",
                    place.near * 0.6 + 1.0,
                )


# --------------------------------------------------------------------------- names


def cause_of(name: str, operation: str, value: object = None) -> str:
    """The name of a wrong constant's cause."""
    if "eps" in name or name in ("variance_epsilon",):
        return "eps"
    if name == "approximate":
        return "gelu-approximate"
    if operation == "scaled_dot_product_attention" or "softmax_scale" in name:
        return "softmax-scale"
    if "theta" in name or (operation in ("pow", "arange") and _is_number(value) and _large(value)):
        return "theta"
    if operation in operands.ORDER or operation in operands.FORM:
        return "order"
    if operation in operands.CAST or name == "dtype":
        return "cast"
    return name if name and name.isidentifier() and not name.isdigit() else "constant"


def _large(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) >= 16


def _flag_cause(name: str | None, rotary: bool) -> str:
    if name is None:
        return "rope-pairs" if rotary else "flag"
    if "neox" in name or "interleave" in name or "use_real" in name:
        return "rope-pairs"
    return name.replace("_", "-")


def _speaks_of_rotation(evidence: Evidence) -> bool:
    text = " ".join(
        frame.function for operation in evidence.account.native.operations for frame in operation.stack[:3]
    ).lower()
    return "rot" in text or "rope" in text


def _is(constants: Constants) -> str:
    return f"`{constants.ours}` has to be `{constants.theirs}`, as in the official model"


def _candidate(
    cause: str, code: Code, replacements: Sequence[Replacement], message: str, rank: float
) -> Candidate:
    return Candidate(cause, message, code.path, tuple(replacements), rank)


# --------------------------------------------------------------------------- literals


def _literal(node: ast.AST) -> object:
    """The value of a literal; Ellipsis where it is none."""
    if not isinstance(node, (ast.Constant, ast.UnaryOp, ast.Tuple, ast.List)):
        return ...
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError):
        return ...
    return value


def _same(one: object, other: object) -> bool:
    if one is ... or other is ...:
        return False
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if _is_number(one) and _is_number(other):
        assert isinstance(one, (int, float))
        assert isinstance(other, (int, float))
        return one == other or math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _writable(value: object) -> bool:
    if isinstance(value, str):
        return _word(value)
    if isinstance(value, (list, tuple)):
        return all(_writable(item) for item in value)
    return (
        value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value))
    )


def _word(text: str) -> bool:
    return text.replace("_", "").isalnum()


def _quoted(text: str) -> str:
    return f'"{text}"'


def _written(value: object) -> str:
    """A literal as a person writes it (`1e-6`)."""
    if isinstance(value, str):
        return _quoted(value)
    return re.sub(r"e([+-])0+(?=\d)", r"e\1", repr(value)) if isinstance(value, float) else repr(value)


def _runs(nodes: Sequence[ast.AST], count: int) -> Iterator[Sequence[ast.expr]]:
    """Neighbouring arguments and items."""
    for node in nodes:
        parts = node.args if isinstance(node, ast.Call) else getattr(node, "elts", ())
        for start in range(len(parts) - count + 1):
            yield parts[start : start + count]


def _alike(one: str, other: str) -> bool:
    words, wanted = set(one.lower().split("_")), set(other.lower().split("_"))
    return (
        one == other
        or bool((words & wanted) - {"is", "use", "dim", "to", "in", "out", "num", ""})
        or ({one, other} == {"eps", "variance_epsilon"})
    )


def _keyword_of(code: Code, node: ast.expr) -> str | None:
    """The keyword, parameter or variable that a literal is given for."""
    around = code.parents.get(node)
    if isinstance(around, ast.keyword):
        return around.arg
    if isinstance(around, ast.Assign) and len(around.targets) == 1:
        target = around.targets[0]
        return getattr(target, "attr", None) or getattr(target, "id", None)
    if isinstance(around, ast.arguments):
        positional = [*around.posonlyargs, *around.args]
        for arg, value in zip(reversed(positional), reversed(around.defaults), strict=False):
            if value is node:
                return arg.arg
        for arg, preset in zip(around.kwonlyargs, around.kw_defaults, strict=True):
            if preset is node:
                return arg.arg
    return None

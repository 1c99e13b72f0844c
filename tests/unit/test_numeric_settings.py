"""From what a module was constructed with to the statement that wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.numeric.origins import House
from analyzers.numeric.records import CodeLine, Module, Operation
from analyzers.numeric.settings import Settings
from analyzers.numeric.statements import Range, Sources

PORT, LAYERS = "dits/port.py", "layers/acts.py"
PORT_TEXT = """\
class Angles(nn.Module):
    def __init__(self, theta, axes):
        self.theta = theta
        self.axes = axes

    def forward(self, ids):
        return frequencies(ids, self.axes, self.theta)


class Gated(nn.Module):
    def __init__(self, dim, chosen="tanh"):
        if chosen == "tanh":
            act = Act(dim, approximate="tanh")
        else:
            act = Act(dim, approximate="none")
        self.act = act

    def forward(self, x):
        return self.act(x)


class Embedded(nn.Module):
    def __init__(self, dim, act_fn, prefix):
        self.act = get_act(act_fn, prefix)

    def forward(self, x):
        return self.act(x)


class Port(nn.Module):
    def __init__(self, config):
        axes = list(config.axes)
        self.angles = Angles(theta=10000, axes=axes[::-1])
        self.one = Gated(8, chosen="exact")
        self.two = Gated(8)
        self.three = Embedded(8, "silu", "three")

    def forward(self, x):
        return self.three(self.two(self.one(x)))
"""
TEXTS = {PORT: PORT_TEXT, LAYERS: "def get_act(name, prefix):\n    return ACTS[name]()\n"}


def _frame(piece: str, path: str = PORT) -> CodeLine:
    found = [number for number, line in enumerate(TEXTS[path].splitlines()) if piece in line]
    assert len(found) == 1, (piece, found)
    return CodeLine(path, found[0], "f")


def _module(name: str, cls: str, forward: int, *built: CodeLine, **settings: str) -> Module:
    return Module(name, cls, PORT, forward, built, (), settings)


MODULES = (
    Module("", "Port", PORT, _frame("return self.three(").line - 1, (), (), {}),
    _module("angles", "Angles", 5, _frame("self.angles ="), theta="10000", axes="[8, 4]"),
    _module("one", "Gated", _frame("def __init__(self, dim, chosen").line + 6, _frame("self.one =")),
    Module(
        "one.act", "Act", "layers/acts.py", 0, (_frame('approximate="none"'), _frame("self.one =")), (), {}
    ),
    Module(
        "two.act", "Act", "layers/acts.py", 0, (_frame('approximate="tanh"'), _frame("self.two =")), (), {}
    ),
    Module(
        "three.act",
        "Silu",
        "torch/silu.py",
        0,
        (CodeLine(LAYERS, 1, "get_act"), _frame("get_act("), _frame("self.three =")),
        (),
        {},
    ),
)


def _settings(*others: Module) -> Settings:
    return Settings(House.of(MODULES, Sources(TEXTS.get)), others)


def _operation(name: str, module: str, *stack: CodeLine) -> Operation:
    return Operation(0, f"aten.{name}.default", (), (0,), module, stack)


def _text(place: Range | None) -> str:
    assert place is not None
    return "\n".join(line.strip() for line in TEXTS[place.path].splitlines()[place.line : place.end_line + 1])


def _place(frame: CodeLine) -> Range:
    return Range(frame.path, frame.line, frame.line)


def test_a_branch_whose_sibling_holds_the_right_constant_was_chosen_wrongly() -> None:
    gelu = _operation("gelu", "one.act", CodeLine("layers/acts.py", 0, "forward"))
    chosen = _settings().branch(gelu, _place(_frame('approximate="none"')), "'tanh'")
    assert _text(chosen) == 'self.one = Gated(8, chosen="exact")'


def test_a_choice_by_default_is_told_at_the_default() -> None:
    gelu = _operation("gelu", "two.act", CodeLine("layers/acts.py", 0, "forward"))
    chosen = _settings().branch(gelu, _place(_frame('approximate="tanh"')), "'none'")
    assert _text(chosen) == 'def __init__(self, dim, chosen="tanh"):'


def test_a_branch_is_wrong_itself_where_no_other_has_the_right_constant() -> None:
    gelu = _operation("gelu", "one.act", CodeLine("layers/acts.py", 0, "forward"))
    assert _settings().branch(gelu, _place(_frame('approximate="none"')), "'erf'") is None


def test_a_text_that_names_the_operation_chose_it() -> None:
    silu = _operation("silu", "three.act", CodeLine("torch/silu.py", 0, "forward"))
    assert _text(_settings().kind(silu)) == 'self.three = Embedded(8, "silu", "three")'
    other = _operation("tanh", "three.act", CodeLine("torch/silu.py", 0, "forward"))
    assert _settings().kind(other) is None


def _angles() -> Operation:
    return _operation("outer", "angles", CodeLine(LAYERS, 0, "f"), _frame("return frequencies("))


def _official(**settings: str) -> Module:
    return Module("rope", "Rope", None, None, (), (), settings)


def test_axes_in_another_order_are_told_where_they_were_turned() -> None:
    found = _settings(_official(axes_dim="(4, 8)", theta="10000")).differing(_angles())
    assert _text(found) == "self.angles = Angles(theta=10000, axes=axes[::-1])"


def test_a_base_that_the_other_side_has_nowhere_is_told_where_it_was_written() -> None:
    found = _settings(_official(axes_dim="(8, 4)", rope_theta="256.0")).differing(_angles())
    assert _text(found) == "self.angles = Angles(theta=10000, axes=axes[::-1])"


def test_settings_that_the_other_side_has_too_are_no_difference() -> None:
    others: Sequence[Module] = (_official(axes_dim="(8, 4)", theta="10000.0"), _official(theta="256"))
    assert _settings(*others).differing(_angles()) is None
    assert _settings(_official(width="3")).differing(_angles()) is None

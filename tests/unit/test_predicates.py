"""The interpreter of detectors agrees with Python, and says so where it cannot tell."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.facts.predicates import Closure, Scope, Undecided, evaluate, execute, tokens


def closure(source: str, names: str = "") -> Closure:
    scope = Scope()
    for statement in ast.parse(names).body:
        execute(statement, scope)
    found = evaluate(ast.parse(source, mode="eval").body, scope)
    assert isinstance(found, Closure)
    return found


DECIDED = [
    'lambda path: "wan" in path',
    'lambda path: "wan" in path.lower() and "i2v" not in path.lower()',
    'lambda path: any(token in path for token in ("wan", "hunyuan")) and "14b" not in path',
    'lambda path: all(t in path for t in ["wan", "2.1"])',
    'lambda p: p.endswith(("-diffusers", "/wan")) or p.startswith("wan")',
    'lambda p: p.split("/")[-1] == "wan2.1-t2v-14b"',
    'lambda p: "wan" in p if len(p) > 8 else False',
    'lambda p: (name := p.rpartition("/")[2]).count("-") >= 2 and "wan" in name',
    'lambda p: not {"wan", "x"}.__len__() == 2 if False else p.replace("_", "-").find("wan-2") == 0',
    'lambda p, *, need="wan": f"/{need}" in p',
    'lambda p: [t for t in ("wan", "org") if t in p and len(t) == 3] != []',
    "lambda p: p[:3] in ('wan', 'org') and p[-1].isalnum()",
]
PATHS = ["", "wan", "org/wan2.1-t2v-14b", "wan_2.1-diffusers", "org/Wan-I2V", "org/hunyuan-1.5", "a/b/wan"]


@pytest.mark.parametrize("source", DECIDED)
@pytest.mark.parametrize("path", PATHS)
def test_agrees_with_python(source: str, path: str) -> None:
    try:
        wanted = bool(eval(source)(path))
    except IndexError:
        assert closure(source).accepts(path) is None
        return
    assert closure(source).accepts(path) is wanted


@given(
    st.text(alphabet="wanWAN21/-_.", max_size=12),
    st.lists(st.text(alphabet="wan21-", min_size=1, max_size=3), max_size=3),
)
def test_agrees_on_any_path(path: str, listed: list[str]) -> None:
    source = f"lambda path: any(t in path.lower() for t in {tuple(listed)!r}) or path.lower().endswith('wan')"
    assert closure(source).accepts(path) is bool(eval(source)(path))


@pytest.mark.parametrize(
    "source",
    [
        'lambda p: re.search("wan", p) is not None',
        "lambda p: unknown(p)",
        "lambda p: open(p).read() == ''",
        "lambda p: p.__class__.__bases__ == ()",
        "lambda *p: True",
        "lambda p, q: True",
        'lambda p: "wan" * 1000000000 in p',
        "lambda p: f'{p:>100000000}' == p",
        'lambda p: p.encode("utf-8") == b""',
        "lambda p: (lambda f: f(f))(lambda f: f(f))",
        "lambda p: [x for x in [p] for y in [1]*3 for z in y]",
        'lambda p: __import__("os").system("true") == 0',
        "lambda p: p.format(p)",
        "lambda p: p.ljust(100) == p",
    ],
)
def test_is_undecided(source: str) -> None:
    assert closure(source).accepts("org/wan") is None


def test_gives_up_after_a_bounded_number_of_steps() -> None:
    digits = ", ".join("0123456789")
    loops = " ".join(f"for {name} in ({digits})" for name in "abcdefgh")
    assert closure(f"lambda p: any(False {loops})").accepts("x") is None


def test_functions_closures_and_defaults() -> None:
    names = '''
TOKENS = ("wan", "self")

def make(require=(), exclude=()):
    """Makes a detector."""

    def detect(path: str) -> bool:
        lowered = path.lower()
        if "kandinsky" not in lowered:
            return False
        for token in exclude:
            if token in lowered:
                return False
        return all(token in lowered for token in require)

    return detect

lite = make(require=("t2v", "lite"), exclude=("i2v",))
each = [lambda p, t=t: t in p for t in TOKENS]
late = [lambda p: t in p for t in TOKENS]
first = each[0]
second = late[0]
'''
    assert closure("lite", names).accepts("org/Kandinsky-T2V-Lite") is True
    assert closure("lite", names).accepts("org/Kandinsky-T2V-Lite-I2V") is False
    assert closure("lite", names).accepts("org/wan-t2v-lite") is False
    assert closure("first", names).accepts("wan") is True
    assert closure("first", names).accepts("self") is False
    assert closure("second", names).accepts("wan") is False, "a comprehension's name is looked up late"
    assert {"t2v", "lite", "i2v", "kandinsky"} <= tokens(closure("lite", names))


def test_a_name_that_is_bound_otherwise_is_unknown() -> None:
    scope = Scope()
    for statement in ast.parse("token = 'wan'\nif True:\n    token = 'x'\n").body:
        execute(statement, scope)
    found = evaluate(ast.parse("lambda p: token in p", mode="eval").body, scope)
    assert isinstance(found, Closure)
    assert found.accepts("wan") is None
    with pytest.raises(Undecided):
        evaluate(ast.parse("token", mode="eval").body, scope)


def test_deep_expressions_are_undecided_and_not_a_crash() -> None:
    deep = "lambda p: " + " + ".join(["p"] * 600) + " == p"
    shallow = "lambda p: " + " or ".join(['"x" in p'] * 600)
    assert closure(deep).accepts("a") in (None, False)
    assert closure(shallow).accepts("a") is False

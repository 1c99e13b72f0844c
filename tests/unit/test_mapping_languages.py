"""Languages of patterns say what `re` says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.weights.mapping.languages import Languages
from analyzers.weights.mapping.patterns import (
    all_names,
    has_alternatives,
    is_name,
    matched_names,
    parse_pattern,
)
from analyzers.weights.mapping.symbolic import SymbolicRule, merge_faults, shadows
from analyzers.weights.mapping.syntax import Unsupported
from analyzers.weights.mapping.templates import indices, is_identity, leading_path, made_names, parse_template

LETTERS = "ab0."

_ATOMS = st.sampled_from(
    ["a", "b", "0", r"\.", ".", r"\d", r"\w", "[ab]", "[^a]", r"[^.]", "[a-b0]", r"[\d.]", r"\D", r"\W"]
)
_ASSERTIONS = st.sampled_from(["^", "$", r"\A", r"\Z", "(?=a)", "(?!b)", r"(?!a\.)", "(?=.*0)", "(?=b|$)"])


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda text: f"({text})"),
    )


PATTERNS = st.recursive(st.one_of(_ATOMS, _ATOMS, _ATOMS, _ASSERTIONS), _combined, max_leaves=8)
TEXTS = st.text(alphabet=LETTERS, max_size=7)


def language_of(languages: Languages, text: str) -> int | None:
    pattern = parse_pattern(text)
    assert pattern is not None
    try:
        return matched_names(languages, pattern)
    except Unsupported:
        return None


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=4, max_size=12))
def test_a_pattern_matches_what_its_language_holds(text: str, names: list[str]) -> None:
    languages = Languages()
    language = language_of(languages, text)
    if language is None:
        return
    for name in names:
        assert languages.contains(language, name) == (re.match(text, name) is not None)


@settings(max_examples=200, deadline=None)
@given(PATTERNS)
def test_an_example_is_matched_and_none_means_none(text: str) -> None:
    languages = Languages()
    language = language_of(languages, text)
    if language is None:
        return
    example = languages.example(languages.both(language, all_names(languages)))
    if example is None:
        names = [a + b + c for a in "ab0" for b in ("", *LETTERS) for c in ("", *"ab0")]
        assert [name for name in names if is_name(name) and re.match(text, name)] == []
    else:
        assert is_name(example)
        assert re.match(text, example) is not None


@settings(max_examples=300, deadline=None)
@given(st.lists(PATTERNS, min_size=2, max_size=4), st.lists(TEXTS, min_size=10, max_size=30))
def test_a_shadowed_rule_is_never_the_first_to_match(patterns: list[str], names: list[str]) -> None:
    rules = [SymbolicRule(pattern, "x") for pattern in dict.fromkeys(patterns)]
    dead = {shadow.rule for shadow in shadows(rules, "first-match")}
    for name in filter(is_name, names):
        first = next((i for i, rule in enumerate(rules) if re.match(rule.pattern or "", name)), None)
        assert first not in dead


@settings(max_examples=200, deadline=None)
@given(st.lists(PATTERNS, min_size=2, max_size=3))
def test_a_rule_that_is_not_shadowed_has_a_name_of_its_own(patterns: list[str]) -> None:
    texts = [text for text in dict.fromkeys(patterns) if SymbolicRule(text, "x").parsed is not None]
    dead = {shadow.rule for shadow in shadows([SymbolicRule(t, "x") for t in texts], "first-match")}
    for position, text in enumerate(texts):
        languages = Languages()
        own = [language_of(languages, t) for t in texts[: position + 1]]
        if position in dead or any(language is None for language in own):
            continue
        known = [language for language in own if language is not None]
        names = languages.both(known[-1], all_names(languages))
        if languages.example(names) is None:
            continue  # matches nothing at all, which is another rule's matter
        alone = languages.both(names, languages.without(languages.either(*known[:-1])))
        example = languages.example(alone)
        assert example is not None
        assert re.match(text, example)
        assert not any(re.match(other, example) for other in texts[:position])


@settings(max_examples=300, deadline=None)
@given(PATTERNS, TEXTS, st.sampled_from(["x", r"\1", r"b.\1.a", r"\1\1", r"\g<1>0"]))
def test_what_a_rule_makes_lies_among_its_made_names(text: str, name: str, target: str) -> None:
    pattern = parse_pattern(f"({text})")
    assert pattern is not None
    if pattern.compiled.match(name) is None:
        return
    languages = Languages()
    made = made_names(languages, pattern, parse_template(pattern, target))
    assert languages.contains(made, pattern.compiled.sub(target, name))


TEMPLATES = st.lists(
    st.sampled_from(
        [
            r"\1",
            r"\2",
            r"\g<1>",
            r"\g<one>",
            r"\g<0>",
            r"\\",
            r"\.",
            r"\-",
            r"\n",
            "a",
            ".",
            "\\012",
            "\\101",
            "1",
            "0",
        ]
    ),
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEMPLATES)
def test_a_template_expands_as_re_expands_it(text: str) -> None:
    pattern = parse_pattern(r"(?P<one>\w+)\.(\w+)$")
    assert pattern is not None
    try:
        template = parse_template(pattern, text)
    except (re.error, IndexError):
        with pytest.raises((re.error, IndexError)):
            pattern.compiled.sub(text, "")
        return
    match = pattern.compiled.match("ab.cd")
    assert match is not None
    expanded = "".join(part if isinstance(part, str) else match[part] for part in template.parts)
    assert expanded == match.expand(text)


@pytest.mark.parametrize("text", [r"(\w+)\.\1", r"(?i)blocks\.", r"(?<=a)b", r"\bnorm", "a" * 500])
def test_what_no_language_tells_is_unsupported(text: str) -> None:
    pattern = parse_pattern(text)
    assert pattern is not None
    with pytest.raises(Unsupported):
        matched_names(Languages(), pattern)


@pytest.mark.parametrize(
    ("text", "anchored", "rest"),
    [
        (r"^a\.(.*)$", True, True),
        (r"a\.(.*)", False, True),
        (r"(^a|^b)\.", True, False),
        (r"^a|b$", False, False),
        (r"\A(?:a)\Z", True, True),
        (r"(?=a)^a.*?", True, False),
        (r"^a(\.b$|\.c.*)", True, True),
    ],
)
def test_anchors_are_seen(text: str, anchored: bool, rest: bool) -> None:
    pattern = parse_pattern(text)
    assert pattern is not None
    assert (pattern.is_anchored, pattern.takes_the_rest) == (anchored, rest)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"^norm1", True),
        (r"^norm\.", False),
        (r"^lora_unet_", False),
        (r"^blocks\.\d+", False),
        (r"^time\.[02]", True),
        (r"^head\.(weight|bias)", True),
        (r"^to_out(?:\.0)?", True),
        (r"^norm1$", False),
        (r"^norm1(?=\.)", False),
    ],
)
def test_an_end_inside_a_component_is_seen(text: str, inside: bool) -> None:
    pattern = parse_pattern(text)
    assert pattern is not None
    assert pattern.may_end_inside == inside


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a|b", True), ("(a|b)", False), (r"a\|b", False), ("[|]", False), ("[]|]a", False), (r"[\]|]|b", True)],
)
def test_alternatives_outside_of_groups_are_seen(text: str, expected: bool) -> None:
    assert has_alternatives(text) == expected


def test_indices_and_paths() -> None:
    pattern = parse_pattern(r"^net\.(blocks\.(\d+))\.sub\.\d+\.(.*)$")
    assert pattern is not None
    assert indices(pattern) == (("net.blocks", frozenset({1, 2})), ("net.blocks.0.sub", frozenset()))
    path = leading_path(pattern, parse_template(pattern, r"layers.\2.attn.to_\3"))
    assert path == ("layers", None, "attn")
    exact = parse_pattern(r"^head\.modulation$")
    assert exact is not None
    assert leading_path(exact, parse_template(exact, "table")) == ("table",)
    assert is_identity(exact, parse_template(exact, "head.modulation"))


def test_chained_rules_are_shadowed_only_where_no_rule_leads_to_them() -> None:
    special = SymbolicRule(r"^blocks\.(\d+)\.q\.(.*)$", r"layers.\1.to_q.\2")
    general = SymbolicRule(r"^blocks\.(.*)$", r"layers.\1")
    prefix = SymbolicRule(r"^model\.(.*)$", r"\1")
    assert [s.rule for s in shadows([general, special], "first-match")] == [1]
    assert [s.rule for s in shadows([general, special], "chained")] == [1]
    # After the general rule was used once, `model.blocks...` comes back as `blocks...`.
    assert shadows([general, special, prefix], "chained") == ()


def test_merges_through_differently_cut_groups_belong_together() -> None:
    first = SymbolicRule(r"^(blocks\.\d+)\.q\.(.*)$", r"\1.qkv.\2", (0, 2))
    second = SymbolicRule(r"^blocks\.(\d+)\.k\.(weight|bias)$", r"blocks.\1.qkv.\2", (1, 2))
    assert merge_faults([first, second], "first-match") == ()
    (fault,) = merge_faults([first], "first-match")
    assert fault.missing == (1,)


@pytest.mark.parametrize("patterns", [["(?!b)", "b", "."], ["(?!b)", "(?=b|$)", "."]])
def test_what_no_sample_shows_may_be_taken_by_several(patterns: list[str]) -> None:
    rules = [SymbolicRule(pattern, "x") for pattern in patterns]
    assert [(shadow.rule, shadow.by) for shadow in shadows(rules, "first-match")] == [(2, (0, 1))]

"""Who uses a name of the code base: beyond importing it, exporting it, and saying it in a comment."""

from __future__ import annotations

import io
import tokenize

from analyzers.facts.chunks import normalise_newlines
from analyzers.project.sources import Sources

_LAYOUT = (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)


def used_in(sources: Sources, path: str, name: str) -> bool:
    """Whether a file uses a name that another (or the same) file defines.

    Not a use: an import or re-export, a line of `__all__`, the `class` statement itself, a comment, a
    string that merely holds the name. A use: any other mention, a string that is exactly the name, an
    import under another name. A file that cannot be read as tokens is taken to use it.
    """
    text = sources.text(path)
    if text is None or name not in text:
        return False
    return sources.memory.get(("used in", path, name), lambda: _used(sources.text(path) or "", name))


def _used(text: str, name: str) -> bool:
    line: list[tokenize.TokenInfo] = []
    try:
        # Python's tokenizer takes a lone carriage return for the end of a line before 3.12 only.
        for token in tokenize.generate_tokens(io.StringIO(normalise_newlines(text)).readline):
            if token.type == tokenize.NEWLINE:
                if _uses(line, name):
                    return True
                line = []
            elif token.type not in _LAYOUT:
                line.append(token)
    except (tokenize.TokenError, SyntaxError, ValueError):
        return True
    return False


def _uses(line: list[tokenize.TokenInfo], name: str) -> bool:
    """Whether a logical line uses the name."""
    texts = [token.string for token in line]
    first = texts[0] if texts else ""
    if first == "__all__":
        return False
    for index, token in enumerate(line):
        following = texts[index + 1] if index + 1 < len(texts) else ""
        if token.type == tokenize.STRING and first not in ("from", "import"):
            if token.string.strip("rbuRBU\"'") == name:
                return True
        elif token.type == tokenize.NAME and token.string == name:
            if first in ("from", "import"):
                if following == "as":
                    return True
                continue
            defined = following in ("=", ":") if index == 0 else texts[index - 1] in ("class", "def")
            if not defined:
                return True
    return False

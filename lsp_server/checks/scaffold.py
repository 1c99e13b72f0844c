"""A recipe to begin with, written from the two forward signatures. Nothing is run.

What an argument's name and the official constructor's own arguments tell is filled in, each with a remark to
look at; for what they do not tell a line stands commented out, and the comparison says that it lacks.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analyzers.project.index import Project
from analyzers.project.official import Official
from analyzers.project.ports import Port
from lsp_server.checks.errors import CheckError
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.recipes import FOLDER
from lsp_server.checks.trace_question import official_classes

_SKIPPED = frozenset(
    {
        *("return_dict", "attention_kwargs", "joint_attention_kwargs", "controlnet_block_samples"),
        *("controlnet_single_block_samples", "block_controlnet_hidden_states", "skip_layers"),
    }
)
"""Arguments of diffusers that choose no input of a comparison."""

_LONGEST_REMARK = 100
_SHAPED = re.compile(r"of shape\s*:?\s*`+(?P<shape>[(\[][^`]*[)\]])`+")
_OPENING = re.compile(r"^(?P<name>\w+)\s*(?:\((?P<type>.*)\))?\s*:\s*(?P<says>.*)$")

_CONTEXT_DIMS = (
    *(
        "text_dim",
        "in_text_dim",
        "joint_attention_dim",
        "text_embed_dim",
        "cross_attention_dim",
        "cap_feat_dim",
    ),
    *("caption_channels", "text_encoder_dim"),
)
_IMAGE_DIMS = ("image_dim", "image_embed_dim", "img_dim")


@dataclass(frozen=True)
class Argument:
    """A parameter of a forward. `annotation` and `default` as written, None where there is none; `says`: what
    the docstring tells of it, its shape first, empty where it tells nothing."""

    name: str
    annotation: str | None
    default: str | None
    says: str = ""


@dataclass(frozen=True)
class Signature:
    """A forward: where it stands (`line` from 1), what it takes, and whether it takes any keyword."""

    path: str
    line: int
    arguments: tuple[Argument, ...]
    open_ended: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its arguments."""
        return tuple(argument.name for argument in self.arguments)


def write_scaffold(
    project: Project, port: Port, *, official: str | None, python: str | None, here: Path
) -> str:
    """Writes `.ditproof/recipes/<Class>.py`; its path, relative to the root.

    Raises CheckError where it is there already, or where a signature cannot be read.
    """
    shown = f"{FOLDER}/{port.name}.py"
    target = project.root / shown
    if target.exists():
        raise CheckError(f"{shown} is there already.", "Edit it, or remove it first: nothing is overwritten.")
    interpreter = find_interpreter(project.root, python, named_by="--python")
    text = scaffold_of(project, port, official=official, python=interpreter.path, here=here)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CheckError(f"{shown} is there already.", "Edit it, or remove it first.") from None
    except OSError as error:
        raise CheckError(
            f"{shown} cannot be written: {error.strerror or error}.", "Make it writable."
        ) from error
    return shown


def scaffold_of(project: Project, port: Port, *, official: str | None, python: str, here: Path) -> str:
    """The text of a recipe for a port. Raises CheckError where a signature cannot be read."""
    reference = official_classes(project, port, official, here)[0].ref
    sources = Official(project.sources, replace(project.settings, python=python))
    cls = sources.cls(reference)
    if cls is None:
        raise CheckError(
            f"the source of the official class {reference} is not at hand.",
            "Install its package for the project's interpreter (--python), or name another with --official.",
        )
    theirs = _signature(project, cls.path, cls.fact.name)
    if theirs is None:
        raise CheckError(
            f"{reference} defines no forward of its own ({cls.path}).",
            "Name the class that does with --official, or write the recipe by hand: `ditproof trace --help` "
            "says how.",
        )
    ours = next(
        (
            found
            for owner in project.names.ancestry(port.cls).classes
            if (found := _signature(project, owner.path, owner.fact.name)) is not None
        ),
        None,
    )
    if ours is None:
        raise CheckError(f"{port.name} has no forward that can be read.", "Mend its file first.")
    constructor = sources.constructor(reference)
    config = tuple(p.name for p in constructor.parameters if p.name != "self") if constructor else ()
    return scaffold(port.name, reference, theirs, ours, config)


def scaffold(port: str, official: str, theirs: Signature, ours: Signature, config: Sequence[str] = ()) -> str:
    """The text of a recipe. `config`: the arguments of the official constructor."""
    needed = [a for a in theirs.arguments if a.name not in _SKIPPED]
    values = [*_inputs(official, needed, frozenset(config))]
    imports = any("torch." in line.partition(": ")[2] for line in values if "#" not in line[:10])
    lines = [
        f'"""Inputs of the small comparison of {port}: look at each shape (`ditproof trace --help`).',
        "",
        f"Official forward, {_short(theirs.path)}:{theirs.line}",
        *(f"    {_described(argument)}" for argument in theirs.arguments),
        f"The port's forward, {_short(ours.path)}:{ours.line}",
        *(f"    {_described(argument)}" for argument in ours.arguments),
        *_configuration(config),
        '"""',
        *(("", "import torch") if imports else ()),
        "",
        f'OFFICIAL = "{official}"',
        f'PORT = "{port}"',
        "",
        "",
        "def inputs(case):",
        "    config, batch = case.config, case.batch",
        "    return {",
        *values,
        "    }",
        *_port_inputs(needed, ours),
    ]
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------- the inputs


def _inputs(official: str, arguments: Sequence[Argument], config: frozenset[str]) -> Iterator[str]:
    names = {argument.name for argument in arguments}
    for argument in arguments:
        told = _known(argument, names, official, config)
        if told is not None:
            value, shape = told
            # An image beside the text is for the configurations that have a width for it.
            left_out = "# " if argument.default is not None and "image" in argument.name else ""
            yield f'        {left_out}"{argument.name}": {value},  # {shape}'
        elif argument.default is None:
            remark = f"; {argument.says}" if argument.says else ""
            kind = argument.annotation or "of no declared type"
            yield f'        # "{argument.name}": needed, {kind}{remark}'
        elif _is_tensor(argument):
            yield f'        # "{argument.name}": {argument.annotation} = {argument.default}'


def _known(
    argument: Argument, names: set[str], official: str, config: frozenset[str]
) -> tuple[str, str] | None:
    """The value that a name of diffusers' conventions stands for, and its shape; None where it tells none."""
    name = argument.name
    if name == "hidden_states" and "in_channels" in config:
        if "img_ids" in names:
            return 'case.randn(batch, case.height * case.width, config["in_channels"])', "[B, tokens, C]"
        if "3D" in official.rpartition(":")[2]:
            sizes = "case.frames, case.height, case.width"
            return f'case.randn(batch, config["in_channels"], {sizes})', "[B, C, T, H, W]"
        return 'case.randn(batch, config["in_channels"], case.height, case.width)', "[B, C, H, W]"
    if name in ("encoder_hidden_states", "encoder_hidden_states_image", "image_embeds"):
        dims = _CONTEXT_DIMS if name == "encoder_hidden_states" else _IMAGE_DIMS
        dim = next((dim for dim in dims if dim in config), None)
        return (f'case.randn(batch, case.text, config["{dim}"])', "[B, L, D]") if dim is not None else None
    if name == "pooled_projections" and "pooled_projection_dim" in config:
        return 'case.randn(batch, config["pooled_projection_dim"])', "[B, D]"
    if name == "timestep":
        if argument.annotation is not None and "Long" in argument.annotation:
            return "case.randint(1, 1000, batch)", "[B]"
        return "case.uniform(1.0, 1000.0, batch)", "[B]; some models take 0 to 1"
    if name == "guidance":
        return "case.uniform(1.0, 5.0, batch)", "[B]; only where the configuration embeds it"
    if name in ("encoder_attention_mask", "encoder_hidden_states_mask"):
        return "case.mask(batch, case.text)", "[B, L]"
    if name == "txt_ids":
        return "torch.zeros(case.text, 3, dtype=torch.int64)", "[L, axes]"
    if name == "img_ids":
        rows, columns = "torch.arange(case.height)", "torch.arange(case.width)"
        return f"torch.cartesian_prod(torch.arange(1), {rows}, {columns})", "[tokens, axes]"
    return None


def _port_inputs(arguments: Sequence[Argument], ours: Signature) -> Iterator[str]:
    """Only where the port does not take the official arguments under their names."""
    foreign = [a.name for a in arguments if a.name not in ours.names]
    if not foreign or ours.open_ended:
        return
    theirs = {argument.name for argument in arguments}
    yield from ("", "", "def port_inputs(inputs, case):")
    yield f"    # The port has no argument called {', '.join(foreign)}."
    own = [name for name in ours.names if name not in theirs and name not in _SKIPPED]
    if own:
        yield f"    # Of its own it has {', '.join(own)}."
    yield f"    left_out = {{{', '.join(repr(name) for name in foreign)}}}".replace("'", '"')
    yield "    return {name: value for name, value in inputs.items() if name not in left_out}"


def _configuration(config: Sequence[str]) -> Iterator[str]:
    """The names that `case.config` has."""
    if config:
        yield "case.config has"
        yield from textwrap.wrap(", ".join(config), 100, initial_indent="    ", subsequent_indent="    ")


def _short(path: str) -> str:
    """Without the place where packages are installed, which differs from machine to machine."""
    return path.rpartition("/site-packages/")[2]


def _is_tensor(argument: Argument) -> bool:
    return argument.annotation is not None and "Tensor" in argument.annotation


def _described(argument: Argument) -> str:
    annotation = f": {argument.annotation}" if argument.annotation is not None else ""
    return f"{argument.name}{annotation}{f' = {argument.default}' if argument.default is not None else ''}"


# --------------------------------------------------------------------------- signatures


def _signature(project: Project, path: str, cls: str) -> Signature | None:
    """The `forward` of a class; None where it has none of its own, or its file does not parse."""
    text = project.sources.text(path)
    if text is None:
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "forward":
                    return _of(item, path)
    return None


def _of(function: ast.FunctionDef, path: str) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults[-len(positional) :] if positional else []
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    remarks = _remarks(ast.get_docstring(function) or "")
    return Signature(
        path,
        function.lineno,
        tuple(
            Argument(
                parameter.arg,
                ast.unparse(parameter.annotation) if parameter.annotation is not None else None,
                ast.unparse(default) if default is not None else None,
                remarks.get(parameter.arg, ""),
            )
            for parameter, default in pairs
        ),
        arguments.kwarg is not None,
    )


def _remarks(docstring: str) -> dict[str, str]:
    """What the `Args:` of a docstring in Google's style tell of each argument, its shape first."""
    _, _, section = docstring.partition("Args:\n")
    lines = textwrap.dedent(section.partition("\n\nReturns")[0]).splitlines()
    told: dict[str, list[str]] = {}
    name: str | None = None
    for line in lines:
        if not line.strip():
            continue
        opening = None if line[0].isspace() else _OPENING.match(line)
        if opening is not None:
            name = opening["name"]
            told[name] = [opening["type"] or "", opening["says"]]
        elif name is not None and line[0].isspace():
            told[name].append(line.strip())
        else:
            break  # another section
    return {name: _remark(" ".join(texts)) for name, texts in told.items()}


def _remark(text: str) -> str:
    """The shape, where one is told, and the first sentence after the type."""
    shape = _SHAPED.search(text)
    sentence = re.sub(r"\s+", " ", text.rpartition("`")[2] if shape else text.partition("` ")[2] or text)
    sentence = sentence.strip(" .:,()")
    parts = [shape["shape"]] if shape is not None else []
    parts += [sentence] if sentence else []
    return textwrap.shorten(": ".join(parts), _LONGEST_REMARK, placeholder=" ...").replace('"', "'")

"""The names by which a port's official side is configured, and where each is written down."""

from __future__ import annotations

from dataclasses import dataclass

from analyzers.facts.model import Expr, Parameter, literal
from analyzers.findings import Location
from analyzers.project.official import Official
from analyzers.project.ports import Port
from analyzers.project.published import Published

_NO_ARCHITECTURE = frozenset(
    {"args", "cfg", "config", "device", "dtype", "hf_config", "kwargs", "operations", "params", "prefix"}
    | {"quant_config", "quantization_config", "torch_dtype", "transformers_version", "weight_dtype"}
)
"""Keys and arguments that place or compress a model, or hand a whole configuration on."""


@dataclass(frozen=True)
class Mirrored:
    """One name: `known` tells whether `value` is (it is a literal); `parameter` is set where a
    constructor takes it, `source` names the place for a message."""

    name: str
    location: Location
    source: str
    known: bool
    value: object
    parameter: Parameter | None = None


_DIFFUSERS = ("diffusers/models/transformers", "diffusers/models/controlnets")
"""Where diffusers keeps the models whose constructors' arguments make a checkpoint's config.json."""


class Mirrors:
    """Published configurations and official constructors, by port."""

    def __init__(self, published: Published, official: Official) -> None:
        self.published = published
        self.official = official

    def of(self, port: Port) -> tuple[Mirrored, ...]:
        """What the port's config.json files and its official constructor have, each name once."""
        found: dict[str, Mirrored] = {}
        for config in self.published.of(port):
            for key, value in config.values.items():
                if not key.startswith("_") and key not in _NO_ARCHITECTURE:
                    place = self.published.place(config, key)
                    found.setdefault(key, Mirrored(key, place, f"the published {config.path}", True, value))
        built = self.official.constructor(port.oracle.ref) if port.oracle is not None else None
        for parameter in built.parameters if built is not None else ():
            name = parameter.name
            if built is not None and not name.startswith("_") and name not in _NO_ARCHITECTURE:
                known, value = _value(parameter.default)
                where = built.init.at(built.init.fact.name_span)
                source = f"the constructor of the official '{built.cls.fact.name}'"
                found.setdefault(name, Mirrored(name, where, source, known, value, parameter))
        return tuple(found.values())

    def diffusers_takes(self, name: str) -> bool:
        """Whether a transformer of the installed diffusers has an argument of that name, which diffusers
        then writes into every config.json of it; False where diffusers is not installed."""
        return self.official.some_constructor_takes(_DIFFUSERS, name)


def _value(expr: Expr | None) -> tuple[bool, object]:
    try:
        return True, literal(expr)
    except ValueError:
        return False, None

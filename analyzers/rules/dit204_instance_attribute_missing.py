"""DIT204 instance-attribute-missing: attributes that the base demands, set on no path of `__init__`."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import Reference
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.contract import POST_INIT, Construction, declares, loader_keywords
from analyzers.project.names import Missing
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """One finding a class, since the attributes are mended together."""
    contract = context.project.contract
    if contract is None:
        return
    for port in context.project.ports:
        if port.cls.path != context.file.path or context.project.is_helper_base(port):
            continue
        built = context.project.construction(port.cls)
        if built is None:
            continue
        yield from _late(context, port, built)
        missing = missing_attributes(context, port)
        inherited = {name for base in _bases(context, port) for name in missing_attributes(context, base)}
        missing = tuple(name for name in missing if name not in inherited)
        if not missing:
            continue
        own = built.owner == port.cls
        if not own and any(p.cls == built.owner for p in context.project.ports):
            continue  # the base port builds it, and is reported itself
        listed = ", ".join(f"'{name}'" for name in missing)
        consequence = (
            f"'{contract.base.fact.name}.{POST_INIT}' raises"
            if POST_INIT in built.calls
            else "the stages that read them from the transformer fail"
        )
        yield context.finding(
            built.init.at(built.init.fact.name_span) if own else port.location,
            f"'{port.name}' never sets {listed} on the instance: {consequence}",
            symbol=port.name,
            port=port.name,
            related=(Related(contract.base.at(contract.base.fact.name_span), "the base that demands them"),),
            fix=_fix(context, port, built, missing) if own else None,
        )


def _late(context: Context, port: Port, built: Construction) -> Iterator[Finding]:
    """What is set too late: the base's own check stands above it, and raises."""
    contract = context.project.contract
    checks = [c for c in context.names.ancestry(port.cls).classes if c.fact.method(POST_INIT) is not None]
    if contract is None or not built.certain or built.owner != port.cls:
        return
    if not checks or context.names.qualified_class(checks[0]) != context.profile.base_dit:
        return
    late = [
        name
        for name in contract.instance_attributes
        if name in built.late and isinstance(context.names.class_attribute(port.cls, name), Missing)
    ]
    if late:
        listed = ", ".join(f"'{name}'" for name in late)
        first = next(a for a in built.init.fact.assignments if a.name == late[0])
        yield context.finding(
            built.init.at(first.span),
            f"'{port.name}' sets {listed} after self.{POST_INIT}(), which raises without; "
            "call it at the end of __init__",
            symbol=port.name,
            port=port.name,
            related=(Related(contract.base.at(contract.base.fact.name_span), "the base that demands them"),),
        )


def _bases(context: Context, port: Port) -> list[Port]:
    """The ports that a port derives from, and whose `__init__` its own runs: told themselves."""
    built = context.project.construction(port.cls)
    if built is None or "__init__" not in built.calls:
        return []
    above = {context.names.qualified_class(c) for c in context.names.ancestry(port.cls).classes[1:]}
    return [
        other
        for other in context.project.ports
        if context.names.qualified_class(other.cls) in above and not context.project.is_helper_base(other)
    ]


def _fix(context: Context, port: Port, built: Construction, missing: tuple[str, ...]) -> Fix | None:
    """Takes all of them from the config, where the port's own config declares them."""
    names, profile = context.names, context.profile
    keywords = loader_keywords(names, profile)
    parameter = built.init.fact.parameter(keywords[0]) if keywords else None
    if parameter is None or parameter.kind not in ("any", "keyword"):
        return None
    config = port.config
    if isinstance(parameter.annotation, Reference):
        config = names.class_of(port.cls.path, parameter.annotation.dotted) or config
    if config is None or not all(declares(names, profile, config, name) for name in missing):
        return None
    return Fix(
        f"Take {', '.join(missing)} from the config",
        "set-from-config",
        {
            "path": port.cls.path,
            "class": port.name,
            "parameter": parameter.name,
            "names": list(missing),
        },
        Applicability.UNSAFE,
    )


def missing_attributes(context: Context, port: Port) -> tuple[str, ...]:
    """The demanded attributes that are certainly set nowhere; none where that cannot be told."""
    contract = context.project.contract
    built = context.project.construction(port.cls)
    if contract is None or built is None or not built.certain:
        return ()
    return tuple(
        name
        for name in contract.instance_attributes
        if name not in built.sets and isinstance(context.names.class_attribute(port.cls, name), Missing)
    )


_FILE = "fastvideo/models/dits/echo.py"


def _model(body: str, helpers: str = "") -> str:
    return f"""\
from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = SoundConfig().param_names_mapping

    def __init__(self, config: SoundConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
{body}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
{helpers}

EntryClass = EchoTransformer3DModel
"""


RULE = Rule(
    code="DIT204",
    name="instance-attribute-missing",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="attributes that the base demands, set on no path of `__init__`",
    what=(
        "Reports a port whose construction never sets `hidden_size`, `num_attention_heads` or "
        "`num_channels_latents` (the names are read from `BaseDiT.__post_init__` of the workspace). "
        "Followed are `__init__`, the methods it calls on `self`, the `__init__` of bases reached through "
        "`super()`, class attributes, properties and `setattr` with a literal name. Reports also what is set "
        "only after `self.__post_init__()`, which is where the base asks for it."
    ),
    why=(
        "`BaseDiT.__post_init__` raises `AttributeError` for each of them. Where a port does not call it, "
        "the stages fail later: latent preparation reads `transformer.num_channels_latents`, denoising "
        "divides `hidden_size` by `num_attention_heads`."
    ),
    how=(
        "Set the attributes in `__init__`, usually from the config's field of the same name. The fix does "
        "that, where the port's own config declares every one of them."
    ),
    exceptions=(
        "Ports that hand `self` to a function, set attributes under computed names, define `__getattr__`, "
        "have a decorator on the class or `__init__`, or a base that cannot be followed. Classes that only "
        "serve as a base. A port that takes over the constructor of another is not told what that one lacks."
    ),
    source="`fastvideo/models/dits/base.py`, `BaseDiT.__post_init__`",
    fixable=Applicability.UNSAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example("set in `__init__`", {}),
        Example(
            "set in a helper, by a property and by name",
            {
                _FILE: _model(
                    "        self._dimensions(config)\n"
                    '        setattr(self, "num_channels_latents", 16)\n'
                    "        self.__post_init__()\n",
                    "\n    def _dimensions(self, config):\n"
                    "        self.hidden_size = config.hidden_size\n"
                    "\n    @property\n    def num_attention_heads(self):\n        return 4\n",
                )
            },
        ),
        Example(
            "set by a base port",
            {
                _FILE: """\
from fastvideo.models.dits.sound import SoundTransformer3DModel


class EchoTransformer3DModel(SoundTransformer3DModel):

    def __init__(self, config, hf_config):
        super().__init__(config=config, hf_config=hf_config)
        self.echo = True


EntryClass = EchoTransformer3DModel
""",
            },
        ),
        Example(
            "a function may set them",
            {
                _FILE: _model(
                    "        configure(self, config)\n", "\n\ndef configure(model, config):\n    pass\n"
                )
            },
        ),
        Example(
            "a decorator of the class may set them",
            {_FILE: _model("").replace("class Echo", "@with_dimensions\nclass Echo", 1)},
        ),
        Example(
            "set after the call of another check",
            {
                _FILE: _model(
                    "        self.__post_init__()\n"
                    "        self.hidden_size = self.num_attention_heads = self.num_channels_latents = 4\n",
                    "\n    def __post_init__(self):\n        pass\n",
                )
            },
        ),
    ),
    invalid=(
        Example(
            "one of three is forgotten",
            {
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        self.__post_init__()\n"
                )
            },
            findings=(
                Expected(
                    _FILE, 8, "never sets 'num_channels_latents' on the instance: 'BaseDiT.__post_init__"
                ),
            ),
            fixed={
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        self.num_channels_latents = config.num_channels_latents\n"
                    "        self.__post_init__()\n"
                )
            },
        ),
        Example(
            "nothing is set and nothing checks",
            {_FILE: _model("")},
            findings=(
                Expected(
                    _FILE,
                    8,
                    "never sets 'hidden_size', 'num_attention_heads', 'num_channels_latents'",
                    Severity.ERROR,
                ),
            ),
            fixed={
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        self.num_channels_latents = config.num_channels_latents\n"
                )
            },
        ),
        Example(
            "a config that does not declare it",
            {
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                ).replace("SoundConfig", "EchoConfig"),
                "fastvideo/configs/models/dits/__init__.py": """\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.configs.models.dits.sound import SoundConfig

__all__ = ["EchoConfig", "SoundConfig"]
""",
                "fastvideo/configs/models/dits/echo.py": """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    hidden_size: int = 64
    num_attention_heads: int = 4


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
""",
            },
            findings=(Expected(_FILE, 8, "never sets 'num_channels_latents'"),),
        ),
        Example(
            "one is set after the check",
            {
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        self.__post_init__()\n"
                    "        self.num_channels_latents = config.num_channels_latents\n"
                )
            },
            findings=(Expected(_FILE, 13, "sets 'num_channels_latents' after self.__post_init__()"),),
        ),
        Example(
            "declared, never set",
            {
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        self.num_channels_latents: int\n"
                    "        self.__post_init__()\n"
                )
            },
            findings=(Expected(_FILE, 8, "never sets 'num_channels_latents'"),),
        ),
        Example(
            "the constructor of the base port is skipped",
            {
                _FILE: """\
from torch import nn

from fastvideo.models.dits.sound import SoundTransformer3DModel


class EchoTransformer3DModel(SoundTransformer3DModel):

    def __init__(self, config, hf_config):
        nn.Module.__init__(self)
        self.hidden_size = 64
        self.__post_init__()


EntryClass = EchoTransformer3DModel
"""
            },
            findings=(Expected(_FILE, 8, "never sets 'num_attention_heads', 'num_channels_latents'"),),
        ),
        Example(
            "a port that takes over the constructor is not told again",
            {
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                ),
                "fastvideo/models/dits/echo_i2v.py": """\
from fastvideo.models.dits.echo import EchoTransformer3DModel


class EchoI2VTransformer3DModel(EchoTransformer3DModel):

    def __init__(self, config, hf_config):
        super().__init__(config=config, hf_config=hf_config)
        self.image = True


EntryClass = EchoI2VTransformer3DModel
""",
            },
            findings=(Expected(_FILE, 8, "never sets 'num_channels_latents'"),),
        ),
        Example(
            "the check is called in a helper, under a condition",
            {
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        if config.prefix:\n"
                    "            self._finish()\n",
                    "\n    def _finish(self):\n        self.__post_init__()\n",
                )
            },
            findings=(Expected(_FILE, 8, "never sets 'num_channels_latents'"),),
            fixed={
                _FILE: _model(
                    "        self.hidden_size = config.hidden_size\n"
                    "        self.num_attention_heads = config.num_attention_heads\n"
                    "        self.num_channels_latents = config.num_channels_latents\n"
                    "        if config.prefix:\n"
                    "            self._finish()\n",
                    "\n    def _finish(self):\n        self.__post_init__()\n",
                )
            },
        ),
    ),
)

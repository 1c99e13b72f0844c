"""DIT201 not-a-dit: an `EntryClass` under `dits/` that does not derive from `BaseDiT`."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.contract import loader_keywords
from analyzers.project.names import External, Missing
from analyzers.project.registry import discover_in
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Speaks only where every base of the class could be followed."""
    profile, path = context.profile, context.file.path
    if not path.startswith(profile.dits + "/"):
        return
    base = profile.base_dit.rpartition(".")[2]
    for entry in discover_in(path, context.project.sources, profile):
        cls = context.names.class_of(path, entry.name)
        if cls is None or context.names.derives_from(cls, profile.base_dit) is not False:
            continue
        yield context.finding(
            entry.location,
            f"'{entry.name}' is registered as a DiT but does not derive from {base}: "
            f"{_consequence(context, cls)}",
            symbol=entry.name,
            related=(Related(cls.at(cls.fact.name_span), "the class"),),
            fix=_fix(context, cls),
        )


def _consequence(context: Context, cls: Placed[ClassFacts]) -> str:
    """What the loader will miss; a class that brings all of it is merely not checked."""
    contract = context.project.contract
    wanted = contract.class_attributes if contract is not None else ()
    lacking = [n for n in wanted if isinstance(context.names.class_attribute(cls, n), Missing)]
    if lacking:
        return f"the loader reads {' and '.join(repr(n) for n in lacking)} from it, and fails"
    return "nothing checks that it has what the loader and the stages read from a DiT"


def _fix(context: Context, cls: Placed[ClassFacts]) -> Fix | None:
    """Derives the class from the base, where it brings what the base demands already."""
    names, contract = context.names, context.project.contract
    keywords = loader_keywords(names, context.profile)
    bases = names.bases(cls)
    plain = all(isinstance(b, External) and b.dotted in _PLAIN for b in bases) and len(bases) <= 1
    if contract is None or not keywords or not plain or cls.path != context.file.path:
        return None
    if not all(cls.fact.attribute(name) is not None for name in contract.class_attributes):
        return None
    built = context.project.construction(cls)
    if built is None or not built.always.issuperset(contract.instance_attributes):
        return None
    if cls.fact.method("forward") is None:
        return None
    return Fix(
        f"Derive '{cls.fact.name}' from {contract.base.fact.name}",
        "derive-from-base",
        {
            "path": cls.path,
            "class": cls.fact.name,
            "base": contract.base.fact.name,
            "module": names.module_name(contract.base.path),
            "keywords": list(keywords),
        },
        Applicability.UNSAFE,
    )


_PLAIN = frozenset({"torch.nn.Module", "torch.nn.modules.module.Module", "object"})


_FILE = "fastvideo/models/dits/plain.py"


def _complete(imports: str, base: str, above: str) -> str:
    return f"""\
from fastvideo.configs.models.dits import SoundConfig
{imports}

class PlainTransformer3DModel({base}):  # a port
    _fsdp_shard_conditions = SoundConfig()._fsdp_shard_conditions
    _compile_conditions = SoundConfig()._compile_conditions
    param_names_mapping = SoundConfig().param_names_mapping

    def __init__(self, config: SoundConfig, hf_config: dict) -> None:
        {above}
        self.hidden_size = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.num_channels_latents = config.num_channels_latents
        self.__post_init__()

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = PlainTransformer3DModel
"""


RULE = Rule(
    code="DIT201",
    name="not-a-dit",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="an `EntryClass` under `dits/` that does not derive from `BaseDiT`",
    what=(
        "Reports a name in the `EntryClass` of a file under `fastvideo/models/dits/` whose class does not "
        "derive from `BaseDiT`, directly or through another port."
    ),
    why=(
        "`maybe_load_fsdp_model` reads `_fsdp_shard_conditions` and `param_names_mapping` from the class and "
        "calls it with `config=` and `hf_config=`. A plain `nn.Module` fails there, after the registry has "
        "accepted it, and none of `BaseDiT`'s own checks run at import."
    ),
    how=(
        "Derive the class from `BaseDiT` and give it the attributes that the base demands. The fix changes "
        "the base and passes `config` and `hf_config` on, where the class has all of them."
    ),
    exceptions="A class with a base that cannot be followed is left alone.",
    source="`fastvideo/models/dits/base.py`; `fastvideo/models/loader/fsdp_load.py`, `maybe_load_fsdp_model`",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example("derived from the base", {}),
        Example(
            "derived through another port",
            {
                _FILE: """\
from fastvideo.models.dits.sound import SoundTransformer3DModel


class PlainTransformer3DModel(SoundTransformer3DModel):
    pass


EntryClass = PlainTransformer3DModel
""",
            },
        ),
        Example(
            "a base that cannot be followed",
            {
                _FILE: """\
from fastvideo.models.generated import make_base


class PlainTransformer3DModel(make_base()):
    pass


EntryClass = PlainTransformer3DModel
""",
            },
        ),
    ),
    invalid=(
        Example(
            "a plain module is registered",
            {
                _FILE: """\
from torch import nn


class PlainTransformer3DModel(nn.Module):

    def forward(self, hidden_states):
        return hidden_states


EntryClass = [PlainTransformer3DModel]
""",
            },
            findings=(Expected(_FILE, 10, "does not derive from BaseDiT", Severity.ERROR),),
        ),
        Example(
            "a module that has all a DiT needs but the base",
            {
                _FILE: _complete("from torch import nn\n", "nn.Module", "super().__init__()"),
                "tests/local_tests/plain/test_plain_transformer_parity.py": """\
import pytest
import torch
from official_plain import PlainTransformer
from torch.testing import assert_close

from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.plain import PlainTransformer3DModel

PARITY_SCOPE = "implementation_subcomponent"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_plain_transformer_parity():
    official = PlainTransformer()
    port = PlainTransformer3DModel(SoundConfig(), {})
    x = torch.randn(1, 16, 4, 4, 4)
    assert_close(port(x, x, x), official(x), atol=1e-2, rtol=1e-2)
""",
            },
            findings=(Expected(_FILE, 21, "does not derive from BaseDiT"),),
            fixed={
                _FILE: _complete(
                    "from torch import nn\nfrom fastvideo.models.dits.base import BaseDiT\n",
                    "BaseDiT",
                    "super().__init__(config=config, hf_config=hf_config)",
                )
            },
        ),
    ),
)

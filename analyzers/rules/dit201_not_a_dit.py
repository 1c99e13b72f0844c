"""DIT201 not-a-dit: an `EntryClass` under `dits/` that does not derive from `BaseDiT`."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
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
            f"'{entry.name}' is registered as a DiT but does not derive from {base}: the loader asks it "
            "for class attributes that it does not have",
            symbol=entry.name,
            related=(Related(cls.at(cls.fact.name_span), "the class"),),
        )


_FILE = "fastvideo/models/dits/plain.py"

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
    how="Derive the class from `BaseDiT` and give it the attributes that the base demands.",
    exceptions="A class with a base that cannot be followed is left alone.",
    source="`fastvideo/models/dits/base.py`; `fastvideo/models/loader/fsdp_load.py`, `maybe_load_fsdp_model`",
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
    ),
)

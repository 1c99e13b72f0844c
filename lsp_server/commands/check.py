"""`ditproof check`: findings in four formats; with `--fix` the fixes are taken first."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace

import click

from analyzers.findings import Applicability, Finding, Severity
from analyzers.project.index import Project
from analyzers.project.sources import FactsCache
from analyzers.rules.engine import find_all
from lsp_server.commands.baselines import (
    DEFAULT_BASELINE,
    baseline_to_write,
    judged_by,
    record_baseline,
    require_baseline,
    with_baseline,
)
from lsp_server.commands.exits import ExitCode
from lsp_server.commands.options import formats_option, quiet_option, tree_options
from lsp_server.commands.report import count, diff_text, finding_text, statistics_text, summary_text
from lsp_server.commands.terminal import colours, say, write, write_json
from lsp_server.commands.workspace import (
    Tree,
    open_tree,
    project_of,
    requested_files,
    tell_problems,
    with_selection,
)
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.payloads import findings_json, lines_of
from lsp_server.results_cache import Result, ResultsCache, TracedSources
from lsp_server.revisions import Changes, changes_since, findings_since
from lsp_server.rule_pages import find_page


@dataclass(frozen=True)
class Options:
    """What was asked for, besides where."""

    format: str
    quiet: bool
    fail_on: Severity
    fix: bool
    unsafe: bool
    diff: bool
    statistics: bool
    cache: bool
    write_baseline: bool
    changed_since: str | None


@click.command("check")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--select",
    multiple=True,
    metavar="CODES",
    help="Only these rules: codes, prefixes such as DIT4, names, or ALL; separated by commas.",
)
@click.option(
    "--ignore", multiple=True, metavar="CODES", help="Not these rules, besides those of the settings."
)
@click.option(
    "--fail-on",
    type=click.Choice([s.value for s in Severity]),
    default=Severity.WARNING.value,
    show_default=True,
    help="Exit with 1 from this severity on.",
)
@click.option("--fix", is_flag=True, help="Take every safe fix, then report what remains.")
@click.option("--unsafe-fixes", is_flag=True, help="With --fix or --diff: take unsafe fixes too.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option("--statistics", is_flag=True, help="How often each rule reports, instead of every finding.")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the cache.")
@click.option(
    "--baseline",
    metavar="FILE",
    help="Leave out the findings that FILE has recorded. Default: `baseline` of the settings.",
)
@click.option(
    "--write-baseline",
    is_flag=True,
    help=f"Record the present findings in the baseline (without one: {DEFAULT_BASELINE}).",
)
@click.option(
    "--changed-since",
    metavar="REV",
    help="Only files that differ from git revision REV, and findings elsewhere that it did not have.",
)
@formats_option("text", "json", "sarif", "github")
@quiet_option
@tree_options
def command(
    paths: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    statistics: bool,
    no_cache: bool,
    baseline: str | None,
    write_baseline: bool,
    changed_since: str | None,
    root: str | None,
    python: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Report findings in the ports of the tree, or only in the PATHs (files or folders).

    The whole tree is read either way: what a file means depends on the others.
    """
    if diff and output_format != "text":
        raise click.UsageError(f"--diff writes a diff: it cannot be combined with --format {output_format}.")
    if write_baseline and (diff or changed_since is not None):
        other = "--diff" if diff else "--changed-since"
        raise click.UsageError(f"--write-baseline records every finding: it cannot be combined with {other}.")
    # Facts are trees without cycles: looking for cycles in them costs more than finding them.
    gc.disable()
    try:
        tree = open_tree(root, paths)
        settings = with_baseline(tree.root, with_selection(tree.settings, select, ignore), baseline)
        tree = Tree(tree.root, tree.profile, settings)
        wanted = Options(
            format=output_format,
            quiet=quiet,
            fail_on=Severity(fail_on),
            fix=fix,
            unsafe=unsafe_fixes,
            diff=diff,
            statistics=statistics,
            cache=not no_cache,
            write_baseline=write_baseline,
            changed_since=changed_since,
        )
        code = _diff(tree, paths, wanted) if diff else _check(tree, paths, wanted)
    finally:
        gc.unfreeze()
        gc.enable()
    # Wrong settings outweigh findings: the findings may not be those that the user meant.
    return ExitCode.USAGE if tell_problems(tree.settings) else code


def _tell_switched_off(tree: Tree) -> None:
    """Says which of the rules that were asked for by code or name are switched off in this code base."""
    for selector in tree.settings.select:
        page = find_page(selector)
        reason = tree.profile.off(page.code) if page is not None else None
        if page is not None and reason is not None:
            say(
                f"warning: {page.code} is switched off in {tree.profile.title}. {reason}",
                style="warning",
            )


def _check(tree: Tree, paths: tuple[str, ...], wanted: Options) -> int:
    began = time.perf_counter()
    if not wanted.quiet:
        _tell_switched_off(tree)
    facts = DiskFactsCache() if wanted.cache else None
    sources = TracedSources(tree.root, facts)
    project = project_of(tree, sources)
    files = requested_files(project, paths)
    if wanted.write_baseline:
        baseline_to_write(project)  # before the fixes: one that cannot be replaced ends the run
    else:
        require_baseline(project)
    changes = changes_since(tree.root, wanted.changed_since) if wanted.changed_since is not None else None
    fixed = 0
    if wanted.fix:
        fixed = _fix(project, _changed(files, changes), wanted)
        sources = TracedSources(tree.root, facts)
        project = project_of(tree, sources)
    if wanted.write_baseline:
        say(record_baseline(project, files, everything=not paths))
        if tree.settings.baseline is None and not wanted.quiet:
            say(f'  next: put `baseline = "{DEFAULT_BASELINE}"` into the settings, or pass --baseline.')
        return ExitCode.CLEAN

    def compute() -> Result:
        return compute_result(project, files)

    if wanted.cache:
        result = ResultsCache().get(sources, tree.profile, tree.settings, files, compute)
    else:
        result = compute()
    if changes is not None:
        new = findings_since(project, changes, result.findings, facts)
        result = replace(result, findings=tuple(new), files=len(_changed(files, changes)))
    _tell_cache(facts, wanted)
    if result.outdated and not wanted.quiet:
        gone = count(result.outdated, "recorded finding")
        say(f"note: {gone} no longer there: --write-baseline records that.")
    if not result.legacy_known and not wanted.quiet:
        say(
            f"warning: the tables of {tree.profile.registry} cannot be followed: only discovery was counted.",
            style="warning",
        )
    seconds = time.perf_counter() - began
    if wanted.format == "json":
        write_json(check_json(project, result, seconds))
    elif wanted.format == "sarif":
        from lsp_server.sarif import sarif_json

        write_json(sarif_json(project, result.findings))
    elif wanted.format == "github":
        from lsp_server.annotations import annotations_text

        write(annotations_text(result.findings, lines_of(project.sources), project.root))
        if not wanted.quiet:
            say(_summary(result, wanted, fixed))
    else:
        write(_text(project, result, wanted, fixed))
    failing = any(f.severity.rank >= wanted.fail_on.rank for f in result.findings)
    return ExitCode.FINDINGS if failing else ExitCode.CLEAN


def compute_result(project: Project, files: tuple[str, ...]) -> Result:
    """Runs every enabled rule over the files."""
    found = sorted((f for path in files for f in find_all(project, path)), key=lambda f: f.sort_key)
    new, known = project.recorded.split(found, project.line)
    return Result(
        findings=tuple(new),
        files=len(files),
        ports=len(project.ports),
        legacy_known=project.registry.legacy_known,
        baselined=len(known),
        outdated=project.recorded.outdated(found, judged_by(project, files), project.line),
    )


def _changed(files: tuple[str, ...], changes: Changes | None) -> tuple[str, ...]:
    return files if changes is None else tuple(path for path in files if path in changes.paths)


def check_json(project: Project, result: Result, seconds: float) -> dict[str, object]:
    """The document that `--format json` writes."""
    return {
        "version": 1,
        "root": str(project.root),
        "profile": project.profile.name,
        "findings": findings_json(result.findings, project.sources),
        "summary": {
            "files": result.files,
            "ports": result.ports,
            "by_rule": dict(sorted(Counter(f.code for f in result.findings).items())),
            "seconds": round(seconds, 3),
        },
    }


def _text(project: Project, result: Result, wanted: Options, fixed: int) -> str:
    colour = colours(sys.stdout)
    if wanted.statistics:
        parts = [statistics_text(result.findings, colour=colour)]
    else:
        lines = lines_of(project.sources)
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        texts = (finding_text(f, lines, colour=colour, columns=columns) for f in result.findings)
        parts = ["\n".join(texts)]
    if not wanted.quiet:
        if result.findings:
            parts.append("\n")
        parts.append(_summary(result, wanted, fixed) + "\n")
    return "".join(parts)


def _summary(result: Result, wanted: Options, fixed: int) -> str:
    text = summary_text(
        result.findings, files=result.files, ports=result.ports, unsafe=wanted.unsafe, fixed=fixed
    )
    return f"{text} {result.baselined} more in the baseline." if result.baselined else text


# --------------------------------------------------------------------------- fixes


def _fix(project: Project, files: tuple[str, ...], wanted: Options) -> int:
    """Takes the fixes; how many findings they settle."""
    from lsp_server.commands.fixing import fix_all, write_texts

    _collect_garbage_of_edits()
    outcome = fix_all(project, files, _allowed(wanted))
    write_texts(project, outcome.texts)
    _tell_refused(outcome.refused, wanted)
    return len(outcome.settled)


def _diff(tree: Tree, paths: tuple[str, ...], wanted: Options) -> int:
    from lsp_server.commands.fixing import diff_of, fix_all

    facts: FactsCache | None = DiskFactsCache() if wanted.cache else None
    project = project_of(tree, TracedSources(tree.root, facts))
    files = requested_files(project, paths)
    require_baseline(project)
    if wanted.changed_since is not None:
        files = _changed(files, changes_since(tree.root, wanted.changed_since))
    _collect_garbage_of_edits()
    outcome = fix_all(project, files, _allowed(wanted))
    write(diff_text(diff_of(project, outcome.texts), colour=colours(sys.stdout)))
    _tell_refused(outcome.refused, wanted)
    if not wanted.quiet:
        say(f"Would fix {count(len(outcome.settled), 'finding')} in {count(len(outcome.texts), 'file')}.")
    return ExitCode.FINDINGS if outcome.texts else ExitCode.CLEAN


def _collect_garbage_of_edits() -> None:
    """Syntax trees of edits are large and may hold cycles; what is there already is left out."""
    gc.freeze()
    gc.enable()


def _allowed(wanted: Options) -> frozenset[Applicability]:
    return frozenset(Applicability) if wanted.unsafe else frozenset({Applicability.SAFE})


def _tell_refused(refused: list[tuple[Finding, str]], wanted: Options) -> None:
    if wanted.quiet:
        return
    for finding, reason in refused:
        place = f"{finding.location.path}:{finding.location.span.line + 1}"
        say(f"not fixed: {place} {finding.code}: {reason}")


def _tell_cache(facts: DiskFactsCache | None, wanted: Options) -> None:
    if facts is None:
        return
    facts.prune()
    if facts.problem is not None and not wanted.quiet:
        say(f"warning: the cache: {facts.problem}", style="warning")

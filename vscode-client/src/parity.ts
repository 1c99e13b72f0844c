/** Asking for a parity run, and what the editor says of its verdict. */
import * as vscode from "vscode";
import { verdictHeadline, verdictTable } from "./present";
import type { ParityTarget, Verdict } from "./protocol";

/** The server's command; the language client registers it, so here it is only called. */
export const PARITY_COMMAND = "ditproof.parity";

/** How the codes of findings begin that come from runs, not from reading the source. */
const RUN_FINDINGS = "DIT9";

export async function runParity(): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python" || editor.document.uri.scheme !== "file") {
    void vscode.window.showInformationMessage("Open a parity test or a port first: there is no Python file to run.");
    return;
  }
  const target: ParityTarget = { uri: editor.document.uri.toString(), line: editor.selection.active.line };
  await vscode.commands.executeCommand(PARITY_COMMAND, target);
}

/** Every way to a parity run passes here: the command, a code lens, a code action. */
export async function aroundParity(run: () => Promise<unknown>): Promise<unknown> {
  if (!vscode.workspace.isTrusted) {
    const choice = await vscode.window.showWarningMessage(
      "A parity run executes the workspace's code, so the workspace has to be trusted first.",
      "Manage Trust",
    );
    if (choice !== undefined) await vscode.commands.executeCommand("workbench.trust.manage");
    return null;
  }
  // The test imports what is on disk: an unsaved port would give a verdict on other code than is shown.
  await vscode.workspace.saveAll(false);
  return run();
}

export async function announce(verdict: Verdict, log: vscode.LogOutputChannel): Promise<void> {
  if (verdict.repeated === true) return;
  log.info(verdictTable(verdict));
  // The status item and the underlined line are enough: a message after every save would be in the way.
  if (verdict.by_itself) return;
  const because = verdict.reason === null || verdict.reason === "" ? "" : `: ${verdict.reason}`;
  switch (verdict.status) {
    case "passed": // the status item is enough
    case "cancelled": // by the user, who knows
      return;
    case "failed": {
      const choice = await vscode.window.showErrorMessage(
        because === "" ? `${nameOf(verdict)}: ${verdictHeadline(verdict)}` : `${nameOf(verdict)} failed${because}`,
        "Show in File",
        "Show Logs",
      );
      if (choice === "Show in File") await showInFile(verdict);
      if (choice === "Show Logs") log.show();
      return;
    }
    case "skipped": {
      const choice = await vscode.window.showWarningMessage(
        `${nameOf(verdict)} was skipped and proves nothing${because}`,
        "Show Logs",
      );
      if (choice !== undefined) log.show();
      return;
    }
    case "error": {
      const choice = await vscode.window.showErrorMessage(`${nameOf(verdict)} could not run${because}`, "Show Logs");
      if (choice !== undefined) log.show();
      return;
    }
  }
}

/** The line that the server blames, or else the test. */
async function showInFile(verdict: Verdict): Promise<void> {
  if (verdict.uri === undefined) return;
  const document = await vscode.workspace.openTextDocument(vscode.Uri.parse(verdict.uri));
  const blamed = vscode.languages
    .getDiagnostics(document.uri)
    .find((found) => found.source === "ditproof" && codeOf(found).startsWith(RUN_FINDINGS));
  const test = document.positionAt(Math.max(0, document.getText().indexOf(`def ${nameOf(verdict)}(`)));
  await vscode.window.showTextDocument(document, { selection: blamed?.range ?? new vscode.Range(test, test) });
}

function codeOf(found: vscode.Diagnostic): string {
  return String(typeof found.code === "object" ? found.code.value : (found.code ?? ""));
}

function nameOf(verdict: Verdict): string {
  return verdict.test.split("::").at(-1) ?? verdict.test;
}

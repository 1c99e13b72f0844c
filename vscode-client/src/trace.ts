/** Asking for a trace, and its report beside the editor. */
import { randomBytes } from "node:crypto";
import { isAbsolute, join } from "node:path";
import * as vscode from "vscode";
import type { KnownTrace, TraceAnswer, TracePlace, TraceTarget } from "./protocol";
import { traceReport, traceTitle } from "./traceReport";

/** The server's command; the language client registers it, so here it is only called. */
export const TRACE_COMMAND = "ditproof.trace";

/** Tells what is known of a port without running anything; undefined where no server runs. */
export type AskForTrace = (target: TraceTarget) => Promise<TraceAnswer | undefined>;

export async function tracePort(): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python" || editor.document.uri.scheme !== "file") {
    void vscode.window.showInformationMessage("Open a port or its config first: there is no Python file to trace.");
    return;
  }
  const target: TraceTarget = { uri: editor.document.uri.toString(), line: editor.selection.active.line };
  await vscode.commands.executeCommand(TRACE_COMMAND, target);
}

interface Shown {
  readonly panel: vscode.WebviewPanel;
  root: string;
  places: readonly TracePlace[];
}

/** One report a port; an open one follows the traces that a save starts. */
export class TraceReports implements vscode.Disposable {
  private readonly shown = new Map<string, Shown>();

  constructor(private readonly ask: AskForTrace) {}

  /** Every way to a trace passes here: the command, a code lens, the report's button. */
  async around(run: () => Promise<unknown>): Promise<unknown> {
    if (!vscode.workspace.isTrusted) {
      const choice = await vscode.window.showWarningMessage(
        "A trace runs the workspace's models, so the workspace has to be trusted first.",
        "Manage Trust",
      );
      if (choice !== undefined) await vscode.commands.executeCommand("workbench.trust.manage");
      return null;
    }
    // The models are imported from disk: an unsaved port would be traced in another text than is shown.
    await vscode.workspace.saveAll(false);
    const answer = (await run()) as TraceAnswer | null;
    for (const known of answer?.traces ?? []) this.show(answer?.root ?? "", known, true);
    return answer;
  }

  /** The server knows something else of a port. */
  async changed(port: string): Promise<void> {
    if (!this.shown.has(port)) return;
    const answer = await this.ask({ port });
    for (const known of answer?.traces ?? []) this.show(answer?.root ?? "", known, false);
  }

  dispose(): void {
    for (const { panel } of [...this.shown.values()]) panel.dispose();
  }

  private show(root: string, known: KnownTrace, reveal: boolean): void {
    const shown = this.shown.get(known.port) ?? (reveal ? this.open(known.port) : undefined);
    if (shown === undefined) return; // closed meanwhile
    const report = traceReport(known, randomBytes(16).toString("hex"));
    shown.root = root;
    shown.places = report.places;
    shown.panel.title = traceTitle(known);
    shown.panel.webview.html = report.html;
    if (reveal) shown.panel.reveal(undefined, false);
  }

  private open(port: string): Shown {
    const panel = vscode.window.createWebviewPanel("ditproof.trace", "Trace", vscode.ViewColumn.Beside, {
      enableScripts: true,
      enableFindWidget: true,
      localResourceRoots: [],
    });
    const shown: Shown = { panel, root: "", places: [] };
    this.shown.set(port, shown);
    panel.onDidDispose(() => this.shown.delete(port));
    panel.webview.onDidReceiveMessage((message: { open?: number; again?: boolean }) => {
      if (message.again === true) void vscode.commands.executeCommand(TRACE_COMMAND, { port, again: true });
      const place = message.open === undefined ? undefined : shown.places[message.open];
      if (place !== undefined) void openPlace(shown.root, place);
    });
    return shown;
  }
}

/** Beside the report, which stays in view. */
async function openPlace(root: string, place: TracePlace): Promise<void> {
  if (place.path === null) return;
  const file = vscode.Uri.file(isAbsolute(place.path) ? place.path : join(root, place.path));
  const line = Math.max(0, (place.line ?? 1) - 1);
  const at = new vscode.Position(line, 0);
  const open = vscode.window.visibleTextEditors.find((editor) => editor.document.uri.toString() === file.toString());
  await vscode.window.showTextDocument(file, {
    selection: new vscode.Range(at, at),
    viewColumn: open?.viewColumn ?? vscode.ViewColumn.One,
  });
}

/** What a port hands over, as a document, with the way to bring its state files up to date. */
import * as vscode from "vscode";
import { handoffRemark } from "./present";
import type { HandoffAnswer, HandoffEdits, HandoffTarget } from "./protocol";

/** The server's command; the language client registers it, so here it is only called. */
export const HANDOFF_COMMAND = "ditproof.handoff";

const SCHEME = "ditproof-handoff";
const UPDATE = "Update the State Files";

/** Turns the server's edits into the editor's; undefined where no server runs. */
export type ToWorkspaceEdit = (edits: HandoffEdits) => Promise<vscode.WorkspaceEdit> | undefined;

export async function handOver(): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python" || editor.document.uri.scheme !== "file") {
    void vscode.window.showInformationMessage("Open a port or its config first: there is no Python file to hand over.");
    return;
  }
  const target: HandoffTarget = { uri: editor.document.uri.toString(), line: editor.selection.active.line };
  await vscode.commands.executeCommand(HANDOFF_COMMAND, target);
}

/** The handoffs that were asked for, each under its port's name. */
export class HandoffReports implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly texts = new Map<string, string>();
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  readonly onDidChange = this.changed.event;

  constructor(private readonly toWorkspaceEdit: ToWorkspaceEdit) {}

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? "This handoff is gone: ask for it again.\n";
  }

  /** Every way to a handoff passes here: the command, a code action. */
  async around(run: () => Promise<unknown>): Promise<unknown> {
    // Whether a run still counts hangs on the files as they are on disk.
    await vscode.workspace.saveAll(false);
    const answer = (await run()) as HandoffAnswer | null;
    if (answer === null) return null;
    await this.show(answer);
    void this.offer(answer);
    return answer;
  }

  dispose(): void {
    this.registration.dispose();
    this.changed.dispose();
  }

  private async show(answer: HandoffAnswer): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${answer.json.port} handoff.md` });
    this.texts.set(uri.toString(), answer.markdown);
    this.changed.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document, { preview: true });
  }

  private async offer(answer: HandoffAnswer): Promise<void> {
    const remark = handoffRemark(answer);
    if (remark === undefined) return;
    const choices = Object.keys(answer.edits).length > 0 ? [UPDATE] : [];
    const choice = await vscode.window.showInformationMessage(remark, ...choices);
    if (choice !== UPDATE) return;
    const edit = await this.toWorkspaceEdit(answer.edits);
    if (edit === undefined || !(await vscode.workspace.applyEdit(edit))) {
      void vscode.window.showWarningMessage("The state files were not updated: ask for the handoff again.");
    }
  }
}

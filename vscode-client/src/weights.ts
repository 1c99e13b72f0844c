/** Asking for the proof of a port's weights, and its report as a read-only document. */
import * as vscode from "vscode";
import { reportTitle } from "./present";
import type { WeightsAnswer, WeightsTarget } from "./protocol";

/** The server's command; the language client registers it, so here it is only called. */
export const WEIGHTS_COMMAND = "ditproof.weights";

const SCHEME = "ditproof-weights";

export async function proveWeights(): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python" || editor.document.uri.scheme !== "file") {
    void vscode.window.showInformationMessage("Open a port or its config first: there is no Python file to prove.");
    return;
  }
  const target: WeightsTarget = { uri: editor.document.uri.toString(), line: editor.selection.active.line };
  await vscode.commands.executeCommand(WEIGHTS_COMMAND, target);
}

/** The reports that were asked for, each under its own title. */
export class WeightReports implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly texts = new Map<string, string>();
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  readonly onDidChange = this.changed.event;

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? "This report is gone: prove the weights again.\n";
  }

  /** Every way to a proof passes here: the command, a code lens. */
  async around(run: () => Promise<unknown>): Promise<unknown> {
    if (!vscode.workspace.isTrusted) {
      const choice = await vscode.window.showWarningMessage(
        "Proving weights builds the workspace's models, so the workspace has to be trusted first.",
        "Manage Trust",
      );
      if (choice !== undefined) await vscode.commands.executeCommand("workbench.trust.manage");
      return null;
    }
    // The models are imported from disk: an unsaved port would be proven in another text than is shown.
    await vscode.workspace.saveAll(false);
    const answer = (await run()) as WeightsAnswer | null;
    if (answer !== null) await this.show(answer);
    return answer;
  }

  dispose(): void {
    this.registration.dispose();
    this.changed.dispose();
  }

  private async show(answer: WeightsAnswer): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${reportTitle(answer)}` });
    this.texts.set(uri.toString(), answer.text);
    this.changed.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document, { preview: true });
  }
}

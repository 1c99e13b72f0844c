/** The item in the status bar: the server's state, the running check, or the last verdict. */
import * as vscode from "vscode";
import { statusView, type ServerState, type Situation, type Tone } from "./present";
import type { ServerStatus, TraceVerdict, Verdict } from "./protocol";

export const MENU_COMMAND = "ditproof.showMenu";

export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("status", vscode.StatusBarAlignment.Left, 1);
  private now: Situation = { state: "starting", message: "", run: null, verdict: null, outdated: false };
  private readonly listeners: vscode.Disposable[];

  constructor() {
    this.item.name = "ditproof";
    this.item.command = MENU_COMMAND;
    this.listeners = [
      vscode.window.onDidChangeActiveTextEditor(() => { this.draw(); }),
      vscode.workspace.onDidChangeTextDocument((event) => {
        const edited = event.contentChanges.length > 0 && event.document.languageId === "python";
        if (edited && this.now.verdict !== null && !this.now.outdated) this.update({ outdated: true });
      }),
    ];
    this.draw();
  }

  get checkRuns(): boolean {
    return this.now.run !== null;
  }

  get runTitle(): string | undefined {
    return this.now.run?.title;
  }

  serverIs(state: ServerState, message: string): void {
    this.update({ state, message, run: null });
    void vscode.commands.executeCommand("setContext", "ditproof.serverRunning", state === "ready");
  }

  report(status: ServerStatus): void {
    this.update({ state: status.state, message: status.message, run: status.run });
  }

  show(verdict: Verdict | TraceVerdict): void {
    this.update({ verdict, outdated: false });
  }

  dispose(): void {
    this.item.dispose();
    for (const listener of this.listeners) listener.dispose();
  }

  private update(change: Partial<Situation>): void {
    this.now = { ...this.now, ...change };
    void vscode.commands.executeCommand("setContext", "ditproof.checkRunning", this.checkRuns);
    this.draw();
  }

  private draw(): void {
    const view = statusView(this.now);
    this.item.text = view.text;
    this.item.tooltip = view.tooltip;
    this.item.color = view.tone === "passed" ? new vscode.ThemeColor("testing.iconPassed") : undefined;
    this.item.backgroundColor = background(view.tone);
    // Beside other files (and the log) it stays only while it has something to say.
    const python = vscode.window.activeTextEditor?.document.languageId === "python";
    const speaks = this.checkRuns || this.now.verdict !== null || this.now.state === "failed";
    if (python || speaks) this.item.show();
    else this.item.hide();
  }
}

function background(tone: Tone): vscode.ThemeColor | undefined {
  if (tone === "error" || tone === "warning") return new vscode.ThemeColor(`statusBarItem.${tone}Background`);
  return undefined;
}

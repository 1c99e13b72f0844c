/** The commands that this side carries out. Those that the server advertises are registered by the language client. */
import * as vscode from "vscode";
import { HANDOFF_COMMAND, handOver, type HandoffReports } from "./handoff";
import { PARITY_COMMAND, aroundParity, runParity } from "./parity";
import type { Server } from "./server";
import { MENU_COMMAND, type StatusItem } from "./status";
import { TRACE_COMMAND, tracePort, type TraceReports } from "./trace";
import { WEIGHTS_COMMAND, proveWeights, type WeightReports } from "./weights";

const CANCEL_COMMAND = "ditproof.cancel";

export interface Reports {
  readonly weights: WeightReports;
  readonly traces: TraceReports;
  readonly handoffs: HandoffReports;
}

export function registerCommands(
  server: Server,
  status: StatusItem,
  log: vscode.LogOutputChannel,
): vscode.Disposable[] {
  return [
    vscode.commands.registerCommand("ditproof.restart", () => server.restart()),
    vscode.commands.registerCommand("ditproof.showLogs", () => { log.show(); }),
    vscode.commands.registerCommand("ditproof.runParity", runParity),
    vscode.commands.registerCommand("ditproof.proveWeights", proveWeights),
    vscode.commands.registerCommand("ditproof.tracePort", tracePort),
    vscode.commands.registerCommand("ditproof.handOver", handOver),
    vscode.commands.registerCommand(MENU_COMMAND, () => showMenu(status)),
  ];
}

/** A command of the server that fails leaves one message with a way on, not VS Code's generic one. */
export async function aroundServerCommand(
  command: string,
  run: () => Promise<unknown>,
  reports: Reports,
  log: vscode.LogOutputChannel,
): Promise<unknown> {
  try {
    if (command === PARITY_COMMAND) return await aroundParity(run);
    if (command === WEIGHTS_COMMAND) return await reports.weights.around(run);
    if (command === TRACE_COMMAND) return await reports.traces.around(run);
    if (command === HANDOFF_COMMAND) return await reports.handoffs.around(run);
    return await run();
  } catch (error) {
    if (error instanceof vscode.CancellationError) return null;
    const problem = error instanceof Error ? error.message : String(error);
    void vscode.window.showErrorMessage(`${command} failed: ${problem}`, "Show Logs").then((choice) => {
      if (choice !== undefined) log.show();
    });
    return null;
  }
}

async function showMenu(status: StatusItem): Promise<void> {
  const entries: (vscode.QuickPickItem & { command: string })[] = [
    { label: "$(output) Show Logs", command: "ditproof.showLogs" },
    { label: "$(debug-restart) Restart Server", command: "ditproof.restart" },
    { label: "$(gear) Open Settings", command: "workbench.action.openSettings" },
  ];
  if (status.checkRuns) {
    const running = status.runTitle === undefined ? {} : { description: status.runTitle };
    entries.unshift({ label: "$(stop-circle) Cancel the Running Check", ...running, command: CANCEL_COMMAND });
  }
  const choice = await vscode.window.showQuickPick(entries, { title: "ditproof" });
  if (choice === undefined) return;
  const wantsSettings = choice.command === "workbench.action.openSettings";
  await vscode.commands.executeCommand(choice.command, ...(wantsSettings ? ["ditproof."] : []));
}

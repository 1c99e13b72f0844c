/** Puts the parts together: a log, a status item, the server, and the commands over them. */
import * as vscode from "vscode";
import { aroundServerCommand, registerCommands } from "./commands";
import { HandoffReports } from "./handoff";
import { announce } from "./parity";
import { Server } from "./server";
import { needsRestart, SECTION } from "./settings";
import { StatusItem } from "./status";
import { TraceReports } from "./trace";
import { WeightReports } from "./weights";

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("ditproof", { log: true });
  const status = new StatusItem();
  const reports = {
    weights: new WeightReports(),
    traces: new TraceReports(async (target) => server?.knownTrace(target)),
    handoffs: new HandoffReports((edits) => server?.workspaceEdit(edits)),
  };
  const started = new Server(
    log,
    {
      stateChanged: (state, message) => { status.serverIs(state, message); },
      statusReported: (report) => { status.report(report); },
      verdictReached: (verdict) => {
        status.show(verdict);
        void announce(verdict, log);
      },
      traceChanged: (told) => {
        if (told.verdict !== null) status.show({ port: told.class, ...told.verdict });
        void reports.traces.changed(told.port).catch((error: unknown) => { log.warn(String(error)); });
      },
      aroundCommand: (command, run) => aroundServerCommand(command, run, reports, log),
    },
    context.extensionPath,
  );
  server = started;
  context.subscriptions.push(
    log,
    status,
    reports.weights,
    reports.traces,
    reports.handoffs,
    ...registerCommands(started, status, log),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (needsRestart(change)) void started.restart();
      else if (change.affectsConfiguration(SECTION)) void started.pushSettings();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => started.trustGranted()),
  );
  await started.restart();
}

export async function deactivate(): Promise<void> {
  await server?.dispose();
}

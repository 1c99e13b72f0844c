/**
 * The server process and the client that speaks to it.
 *
 * Invariants: at most one client exists. Every start goes through `restart`; restarts asked for while one is under
 * way become one more turn after it. A server that does not start, or keeps crashing, is reported once and left
 * alone until somebody asks again.
 */
import { createInterface } from "node:readline";
import * as vscode from "vscode";
import {
  CloseAction,
  DidChangeConfigurationNotification,
  ErrorAction,
  LanguageClient,
  RevealOutputChannelOn,
  type LanguageClientOptions,
  type Middleware,
} from "vscode-languageclient/node";
import { findServer, type ServerCommand } from "./discovery";
import type { ServerState } from "./present";
import type { HandoffEdits, ServerStatus, TraceAnswer, TraceChanged, TraceTarget, Verdict } from "./protocol";
import { CrashBudget } from "./restarts";
import { readSettings, SECTION, settingsForServer, surroundings } from "./settings";

const RESTART_DELAY_MS = 500;

export interface ServerListener {
  stateChanged(state: ServerState, message: string): void;
  statusReported(status: ServerStatus): void;
  verdictReached(verdict: Verdict): void;
  /** Something else is known of the trace of a port, `path::Class`. */
  traceChanged(told: TraceChanged): void;
  /** Wraps every command that the server advertises; `run` carries it out. */
  aroundCommand(command: string, run: () => Promise<unknown>): Promise<unknown>;
}

/** Leaves every message to `Server`, which says each problem once; the client's own go to the log. */
class QuietClient extends LanguageClient {
  /** What the process wrote last: where a start fails, the reason. */
  lastWords = "";

  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

export class Server {
  private client: LanguageClient | undefined;
  private turn: Promise<void> | undefined;
  private asked = 0;
  private disposed = false;
  private readonly crashes = new CrashBudget();

  constructor(
    private readonly log: vscode.LogOutputChannel,
    private readonly listener: ServerListener,
    /** Where the process starts: never the opened folder, or Python's `-m` would import modules from there. */
    private readonly workingFolder: string,
  ) {}

  get running(): boolean {
    return this.client?.isRunning() ?? false;
  }

  restart(): Promise<void> {
    this.asked += 1;
    this.turn ??= this.takeTurns().finally(() => (this.turn = undefined));
    return this.turn;
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.turn;
    await this.stop();
  }

  /** The settings changed and the server may go on. */
  async pushSettings(): Promise<void> {
    if (!this.running) return;
    await this.client?.sendNotification(DidChangeConfigurationNotification.type, {
      settings: { [SECTION]: settingsForServer() },
    });
  }

  /** What is known of a trace; nothing is run. */
  async knownTrace(target: TraceTarget): Promise<TraceAnswer | undefined> {
    return this.running ? await this.client?.sendRequest<TraceAnswer>("ditproof/trace", target) : undefined;
  }

  workspaceEdit(edits: HandoffEdits): Promise<vscode.WorkspaceEdit> | undefined {
    return this.client?.protocol2CodeConverter.asWorkspaceEdit({ changes: { ...edits } });
  }

  async trustGranted(): Promise<void> {
    if (this.running) await this.client?.sendNotification("ditproof/trustChanged", { trusted: true });
  }

  private async takeTurns(): Promise<void> {
    let served: number;
    do {
      served = this.asked;
      await this.stop();
      if (!this.disposed) await this.start();
    } while (served !== this.asked);
  }

  private async start(): Promise<void> {
    const settings = readSettings();
    if (!settings.enable) {
      this.listener.stateChanged("disabled", "");
      return;
    }
    const found = findServer(settings, surroundings());
    if ("problem" in found) {
      this.fail(found.problem);
      return;
    }
    this.listener.stateChanged("starting", "");
    const shown = [found.command, ...found.args].join(" ");
    this.log.info(`starting: ${shown}`);
    const client = this.makeClient(found);
    try {
      await client.start();
      this.client = client;
      this.listener.stateChanged("ready", `Server: ${shown}`);
    } catch (error) {
      this.log.error(error instanceof Error ? error : String(error));
      await disposeQuietly(client);
      const because = client.lastWords === "" ? "" : ` (${client.lastWords})`;
      this.fail(`The ditproof server did not start${because}. Tried: ${shown}`);
    }
  }

  private async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    if (client !== undefined) await disposeQuietly(client);
  }

  private crashed(): void {
    // A start that fails is reported by `start`, a process that `stop` ended by nobody.
    if (this.client === undefined || this.disposed) return;
    this.log.error("the server ended unexpectedly");
    if (this.crashes.spend(Date.now())) {
      // Later, when the client has seen to the closed connection: until then it would try to shut the server down.
      setTimeout(() => void this.restart(), RESTART_DELAY_MS);
    } else {
      this.fail("The ditproof server keeps crashing and was not started again.");
    }
  }

  private fail(problem: string): void {
    this.log.error(problem);
    this.listener.stateChanged("failed", problem);
    void vscode.window.showErrorMessage(problem, "Open Settings", "Show Logs").then((choice) => {
      if (choice === "Open Settings") {
        void vscode.commands.executeCommand("workbench.action.openSettings", `${SECTION}.`);
      } else if (choice === "Show Logs") {
        this.log.show();
      }
    });
  }

  private makeClient(server: ServerCommand): QuietClient {
    const options: LanguageClientOptions = {
      documentSelector: [
        { language: "python", scheme: "file" },
        { pattern: "**/PORT_STATUS.md", scheme: "file" },
        { pattern: "**/{config,model_index}.json", scheme: "file" },
        { pattern: "**/*_keys.json", scheme: "file" },
      ],
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: () => ({ settings: settingsForServer() }),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          this.crashed();
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
      middleware: this.middleware(),
      // The server's own log goes to stderr; by default each of its lines would be shown as an error.
      stdioOptions: {
        stdout: () => undefined,
        stderr: (stream) => {
          createInterface({ input: stream }).on("line", (line) => {
            this.log.info(line);
            if (line.trim() !== "") client.lastWords = line.trim();
          });
        },
      },
    };
    const client = new QuietClient(
      SECTION,
      "ditproof",
      {
        command: server.command,
        args: [...server.args],
        // No `transport`: it would be stdio all the same, but with a flag `--stdio` added to the command.
        options: { cwd: this.workingFolder },
      },
      options,
    );
    client.onNotification("ditproof/status", (status: ServerStatus) => { this.listener.statusReported(status); });
    client.onNotification("ditproof/verdict", (verdict: Verdict) => { this.listener.verdictReached(verdict); });
    client.onNotification("ditproof/traceChanged", (told: TraceChanged) => { this.listener.traceChanged(told); });
    return client;
  }

  private middleware(): Middleware {
    return {
      executeCommand: (command, args, next) =>
        this.listener.aroundCommand(command, async () => (await next(command, args)) as unknown),
      workspace: {
        // A server that asks gets what it was given at the start: settings with variables replaced, and trust.
        configuration: async (params, token, next) => {
          const answers = await next(params, token);
          if (!Array.isArray(answers)) return answers;
          return answers.map((answer: unknown, at) =>
            params.items[at]?.section === SECTION ? settingsForServer() : answer,
          );
        },
        didChangeConfiguration: () => this.pushSettings(),
      },
    };
  }
}

async function disposeQuietly(client: LanguageClient): Promise<void> {
  try {
    await client.dispose();
  } catch {
    // A client whose process is gone or never came cannot be stopped in good order; there is nothing left to end.
  }
}

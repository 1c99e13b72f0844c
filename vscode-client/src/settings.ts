/** The settings of this window, and the part of them that the server is told. */
import { homedir } from "node:os";
import { accessSync, constants, statSync } from "node:fs";
import * as vscode from "vscode";
import { substitute, type ServerSettings, type Surroundings } from "./discovery";

export const SECTION = "ditproof";

export interface Settings extends ServerSettings {
  readonly enable: boolean;
  readonly projectPython: string;
  readonly weightsOnSave: boolean;
  readonly traceOnSave: boolean;
  readonly parityOnSave: boolean;
}

/** What the server gets at the start, on every change, and whenever it asks for the section. */
export interface SettingsForServer {
  readonly python: string | null;
  readonly trusted: boolean;
  readonly weights: { readonly onSave: boolean };
  readonly trace: { readonly onSave: boolean };
  readonly parity: { readonly onSave: boolean };
}

export function readSettings(): Settings {
  const section = vscode.workspace.getConfiguration(SECTION);
  const path = section.get<string | string[]>("path", []);
  return {
    enable: section.get("enable", true),
    path: (Array.isArray(path) ? path : [path]).filter((entry) => entry !== ""),
    interpreter: section.get("interpreter", ""),
    projectPython: section.get("projectPython", ""),
    weightsOnSave: section.get("weights.onSave", true),
    traceOnSave: section.get("trace.onSave", true),
    parityOnSave: section.get("parity.onSave", false),
  };
}

export function settingsForServer(): SettingsForServer {
  const settings = readSettings();
  const python = substitute(settings.projectPython, surroundings());
  return {
    python: python === "" ? null : python,
    trusted: vscode.workspace.isTrusted,
    weights: { onSave: settings.weightsOnSave },
    trace: { onSave: settings.traceOnSave },
    parity: { onSave: settings.parityOnSave },
  };
}

/** A change of these needs another server process; everything else is pushed to the one that runs. */
export function needsRestart(change: vscode.ConfigurationChangeEvent): boolean {
  return ["enable", "path", "interpreter"].some((name) => change.affectsConfiguration(`${SECTION}.${name}`));
}

export function surroundings(): Surroundings {
  return {
    env: process.env,
    home: homedir(),
    workspaceFolder: vscode.workspace.workspaceFolders?.[0]?.uri.fsPath,
    windows: process.platform === "win32",
    isExecutable,
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

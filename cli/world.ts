/** What a command line runs in: everything that the process gives. Tests give their own. */
import type { Environment } from '../protocol/index.ts';

export interface Output {
  write(text: string | Uint8Array): void;
  readonly isTty: boolean;
  /** Of the terminal. */
  readonly columns: number | undefined;
}

export interface World {
  /** Without node and script. */
  readonly argv: readonly string[];
  readonly env: Environment;
  readonly cwd: string;
  readonly userHome: string;
  readonly temporaryDir: string;
  readonly uid: number;
  /** The answer. */
  readonly out: Output;
  /** Everything else. */
  readonly err: Output;
  /** Whether a person sits at standard input: then the terminal sends its signals to the whole group. */
  readonly isInteractive: boolean;
  /** Standard input, for files named "-". Errors: too_large. */
  readInput(bytesMax: number): Promise<Uint8Array>;
  nowMs(): number;
  /** Fires on the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** As Node names it; where programs keep their files depends on it. */
  readonly platform: string;
  /** Node and arguments that start this command line, before its own words. */
  readonly ownCommand: readonly [string, ...string[]];
  /** Node and arguments that start agentmeshd, before its own flags. */
  readonly daemonCommand: readonly [string, ...string[]];
  readonly nodeVersion: string;
  readonly version: string;
}

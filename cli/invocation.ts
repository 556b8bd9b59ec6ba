/** One command being run: where it looks, whom it asks, and how it answers. */
import type { HomePaths } from '../protocol/index.ts';
import type { ExitCode } from './exit.ts';
import type { Mesh } from './mesh.ts';
import type { Place } from './problem.ts';
import { formatCommand } from './text/command.ts';
import { plainJson, plainLines } from './text/plain.ts';
import { createPaint, hasColour, type Paint } from './text/style.ts';
import type { View } from './text/table.ts';
import type { World } from './world.ts';

export interface InvocationOptions {
  readonly world: World;
  readonly json: boolean;
  readonly paths: HomePaths;
  readonly place: Place;
  /** Errors: not_running, permissions, version. */
  readonly connect: () => Promise<Mesh>;
}

export type Handler<A extends unknown[]> = (invocation: Invocation, ...args: A) => Promise<ExitCode | void>;

export class Invocation {
  readonly world: World;
  readonly json: boolean;
  readonly paths: HomePaths;
  readonly place: Place;
  readonly view: View;
  readonly #paintErr: Paint;
  readonly #connect: () => Promise<Mesh>;
  #mesh: Promise<Mesh> | undefined;

  constructor({ world, json, paths, place, connect }: InvocationOptions) {
    this.world = world;
    this.json = json;
    this.paths = paths;
    this.place = place;
    const { out, err, env } = world;
    this.view = {
      nowMs: world.nowMs(),
      paint: createPaint(hasColour(out.isTty, env)),
      columns: out.isTty ? out.columns : undefined,
    };
    this.#paintErr = createPaint(hasColour(err.isTty, env));
    this.#connect = connect;
  }

  get signal(): AbortSignal {
    return this.world.signal;
  }

  /** The running daemon. Errors: not_running, permissions, version. */
  mesh(): Promise<Mesh> {
    this.#mesh ??= this.#connect();
    return this.#mesh;
  }

  /** The answer, on stdout: one JSON value, or text for people. */
  answer(json: unknown, format: (view: View) => string): void {
    this.world.out.write(this.json ? `${plainJson(json, 2)}\n` : format({ ...this.view, nowMs: this.world.nowMs() }));
  }

  /** One of many answers: a line of JSON, or of text. */
  answerLine(json: unknown, format: (view: View) => string): void {
    this.world.out.write(this.json ? `${plainJson(json)}\n` : format(this.view));
  }

  /** Said beside the answer, on stderr. */
  note(text: string): void {
    this.world.err.write(`${plainLines(text)}\n`);
  }

  /** A command to run next, on stderr; nothing to a program. */
  suggest(why: string, ...command: string[]): void {
    if (!this.json)
      this.note(
        `${this.#paintErr('dim', 'next ')} ${formatCommand(command, this.place)}  ${this.#paintErr('dim', why)}`,
      );
  }
}

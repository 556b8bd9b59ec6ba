/** What waits for a signature made elsewhere: bounded in number and time, each taken once. */
import { MeshError } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';

export interface DraftsOptions {
  /** What waits, for messages: "link", "credential" … */
  readonly what: string;
  /** For the signature to come back. Default 10 minutes. */
  readonly keepMs?: number;
  /** Waiting at once; the oldest goes. Default 256. */
  readonly countMax?: number;
}

const KEEP_MS = 10 * 60_000;
const COUNT_MAX = 256;

export class Drafts<D> {
  readonly #clock: Clock;
  readonly #what: string;
  readonly #keepMs: number;
  readonly #countMax: number;
  readonly #waiting = new Map<string, { readonly draft: D; readonly untilMs: number }>();

  constructor(clock: Clock, { what, keepMs = KEEP_MS, countMax = COUNT_MAX }: DraftsOptions) {
    this.#clock = clock;
    this.#what = what;
    this.#keepMs = keepMs;
    this.#countMax = countMax;
  }

  put(id: string, draft: D): void {
    if (this.#waiting.size >= this.#countMax) this.#waiting.delete(this.#waiting.keys().next().value as string);
    this.#waiting.set(id, { draft, untilMs: this.#clock.nowMs() + this.#keepMs });
  }

  /** Takes it out. One that is not the caller's stays, and is not there for him. Errors: not_found, expired. */
  take(id: string, isMine: (draft: D) => boolean = () => true): D {
    const found = this.#waiting.get(id);
    if (found === undefined || !isMine(found.draft)) {
      throw new MeshError(
        'not_found',
        `Cannot complete ${this.#what} "${id}": nothing waits for a signature under this id`,
        { id },
      );
    }
    this.#waiting.delete(id);
    if (this.#clock.nowMs() >= found.untilMs) {
      throw new MeshError('expired', `Cannot complete ${this.#what} "${id}": its time is over, ask anew`, { id });
    }
    return found.draft;
  }
}

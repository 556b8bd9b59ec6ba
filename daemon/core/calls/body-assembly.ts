/** Bodies that arrive in parts, as many at a time as the sender likes and in any mixture (SPEC "Calls", bodies). */
import { concatBytes, type ErrorCode, limits, MeshError } from '../../../protocol/index.ts';
import { type ByteBudget, holdAll, releaseAll } from './byte-budget.ts';

interface OpenBody {
  readonly parts: Uint8Array[];
  bytes: number;
  /** A part below CALL_PART_BYTES_MIN came: the last. */
  isWhole: boolean;
}

export class BodyAssembly {
  readonly #budgets: readonly ByteBudget[];
  readonly #open = new Map<number, OpenBody>();
  #bytes = 0;
  /** Bodies are numbered from 1 in the order of their first parts, so no number comes twice. */
  #next = 1;

  constructor(budgets: readonly ByteBudget[]) {
    this.#budgets = budgets;
  }

  get isEmpty(): boolean {
    return this.#open.size === 0;
  }

  /** Keeps the bytes themselves. Errors: malformed, too_large, busy. */
  add(m: number, part: Uint8Array): void {
    const body = this.#open.get(m) ?? this.#begin(m);
    if (body.isWhole)
      throw refused('malformed', `body ${m} goes on after a part below ${limits.CALL_PART_BYTES_MIN} bytes`);
    if (body.bytes + part.length > limits.MCP_MESSAGE_BYTES_MAX)
      throw refused('too_large', `body ${m} has more than ${limits.MCP_MESSAGE_BYTES_MAX} bytes`);
    if (this.#bytes + part.length > limits.CALL_ASSEMBLY_BYTES_MAX)
      throw refused(
        'too_large',
        `${this.#open.size} unfinished bodies have more than ${limits.CALL_ASSEMBLY_BYTES_MAX} bytes`,
      );
    if (!holdAll(this.#budgets, part.length)) throw refused('busy', 'too much is under way from this side already');
    body.parts.push(part);
    body.bytes += part.length;
    body.isWhole = part.length < limits.CALL_PART_BYTES_MIN;
    this.#bytes += part.length;
  }

  /** The whole body, which is then forgotten. Errors: malformed. */
  take(m: number, size: number): Uint8Array {
    const body = this.#open.get(m);
    if (body === undefined) throw refused('malformed', `no part of body ${m} came`);
    if (body.bytes !== size) throw refused('malformed', `body ${m} is ${body.bytes} bytes, want ${size}`);
    this.#open.delete(m);
    this.#let(body.bytes);
    return concatBytes(...body.parts);
  }

  clear(): void {
    this.#open.clear();
    this.#let(this.#bytes);
  }

  #begin(m: number): OpenBody {
    if (m !== this.#next)
      throw refused('malformed', `a part is of body ${m}, which is not open; the next is ${this.#next}`);
    if (this.#open.size === limits.CALL_OPEN_BODIES_MAX)
      throw refused('too_large', `more than ${limits.CALL_OPEN_BODIES_MAX} bodies are unfinished`);
    this.#next++;
    const body: OpenBody = { parts: [], bytes: 0, isWhole: false };
    this.#open.set(m, body);
    return body;
  }

  #let(bytes: number): void {
    this.#bytes -= bytes;
    releaseAll(this.#budgets, bytes);
  }
}

const refused = (code: ErrorCode, why: string): MeshError => new MeshError(code, `Cannot receive a message: ${why}`);

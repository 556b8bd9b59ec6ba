import type { ToolState } from '../policy/gate.ts';
import { canonicalName } from '../policy/names.ts';
import type { CheckedTools, KnownTools } from './ports.ts';

/** How often a list is fetched anew because the server changed it meanwhile; a server may not keep a call waiting so. */
const FETCHES_MAX = 3;

/** What the gate said of a server's tools: asked once, and again when the server says that they changed. */
export const createKnownTools = (): KnownTools => new Known();

class Known implements KnownTools {
  readonly #states = new Map<string, ToolState>();
  readonly #withSchema = new Set<string>();
  #isComplete = false;
  /** Counts what the server said of changes, so that a list which was under way meanwhile is not taken for the newest. */
  #changes = 0;
  #fetching: Promise<void> | undefined;

  get isComplete(): boolean {
    return this.#isComplete;
  }

  get changes(): number {
    return this.#changes;
  }

  stateOf(name: string): ToolState | undefined {
    return this.#states.get(canonicalName(name));
  }

  setChanged(): void {
    this.#changes++;
    this.#isComplete = false;
  }

  hasOutputSchema(name: string): boolean {
    return this.#withSchema.has(canonicalName(name));
  }

  keep({ states, definitions }: CheckedTools, whole: { readonly changes: number } | undefined): void {
    const isWhole = whole !== undefined && whole.changes === this.#changes;
    if (isWhole) {
      this.#states.clear();
      this.#withSchema.clear();
      this.#isComplete = true;
    }
    for (const state of states) {
      const name = canonicalName(state.name);
      const known = this.#states.get(name);
      // Of two tools with one name, the one that is held back counts: nobody can tell which of them a call reaches.
      if (!isWhole || known === undefined || !isHeldBack(known)) this.#states.set(name, state);
    }
    for (const { name, outputSchema } of definitions)
      if (outputSchema !== undefined && typeof name === 'string') this.#withSchema.add(canonicalName(name));
  }

  async complete(load: () => Promise<CheckedTools>): Promise<boolean> {
    for (let i = 0; i < FETCHES_MAX && !this.#isComplete; i++) {
      this.#fetching ??= this.#fetch(load).finally(() => (this.#fetching = undefined));
      await this.#fetching;
    }
    return this.#isComplete;
  }

  async #fetch(load: () => Promise<CheckedTools>): Promise<void> {
    const changes = this.#changes;
    this.keep(await load(), { changes });
  }
}

/** Not shown and not called until somebody approves of it. */
export const isHeldBack = ({ state, action }: ToolState): boolean =>
  state !== 'pinned' && action !== 'ignore' && action !== 'warn';

/**
 * Bindings that left the set, of logs whose checkpoints were seen. An organisation can push out its own by dating others
 * before it: what the key signed while it was bound stays that organisation's, so who has the binding can still prove it.
 *
 *   K ‖ SHA-256 of the statement   its envelope
 */
import {
  concatBytes,
  isMeshError,
  isOfKind,
  limits,
  MeshError,
  type MeshState,
  parseStatement,
  type Statement,
  toHex,
} from '../../../protocol/index.ts';
import { originOf } from '../../../protocol/log/index.ts';
import type { Logger, Store, StoreWrite } from '../../ports.ts';
import { Serial } from '../serial.ts';

type Binding = Statement<'binding/v1'>;
type Bound = Pick<MeshState, 'bindingsOfOrigin' | 'bindingsOfWitness'>;

const PREFIX = 0x4b;

export class LeftBindings {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #rows = new Serial();
  /** By id, the one that left longest ago first. */
  readonly #left = new Map<string, Binding>();

  private constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  /** Errors: store_corrupt. */
  static async open({ store, log }: { readonly store: Store; readonly log: Logger }): Promise<LeftBindings> {
    const bindings = new LeftBindings(store, log);
    for await (const [key, value] of store.range(Uint8Array.of(PREFIX), Uint8Array.of(PREFIX + 1))) {
      const binding = readBinding(key, value);
      bindings.#left.set(binding.id, binding);
    }
    return bindings;
  }

  /** Those of one organisation make room for each other first: it cannot push out what others have left behind. */
  keep(binding: Binding): void {
    const { iss } = binding.payload;
    const others = [...this.#left.values()];
    const own = others.filter(({ payload }) => payload.iss === iss);
    const gone =
      own.length >= limits.BINDINGS_PER_ORGANISATION_MAX
        ? own.at(-1) // the first to leave is the one that was in use
        : this.#left.size >= limits.MONITOR_ORIGINS_MAX
          ? others[0]
          : undefined;
    if (gone !== undefined) this.#left.delete(gone.id);
    this.#left.set(binding.id, binding);
    this.#write([
      ...(gone === undefined ? [] : [{ type: 'del', key: keyOf(gone) } as const]),
      { type: 'put', key: keyOf(binding), value: binding.envelope },
    ]);
  }

  /** What the set holds, and what has left it. */
  bindingsOfOrigin(held: Bound, origin: string): Binding[] {
    return this.#with(held.bindingsOfOrigin(origin), (binding) => originOf(binding.payload) === origin);
  }

  bindingsOfWitness(held: Bound, vkey: string): Binding[] {
    return this.#with(held.bindingsOfWitness(vkey), ({ payload }) => payload.wit === vkey);
  }

  /** Resolves when all is written that was kept before. */
  async close(): Promise<void> {
    await this.#rows.run(async () => {});
  }

  #with(held: readonly Binding[], isWanted: (binding: Binding) => boolean): Binding[] {
    const left = [...this.#left.values()].filter((one) => isWanted(one) && !held.some(({ id }) => id === one.id));
    return [...held, ...left];
  }

  #write(writes: readonly StoreWrite[]): void {
    this.#rows
      .run(() => this.#store.batch(writes, { sync: false }))
      .catch((error: unknown) => this.#log.error({ error }, 'a binding that left cannot be written'));
  }
}

const keyOf = ({ digest }: Binding): Uint8Array => concatBytes(Uint8Array.of(PREFIX), digest);

function readBinding(key: Uint8Array, value: Uint8Array): Binding {
  const id = toHex(key);
  try {
    const statement = parseStatement(value);
    if (isOfKind(statement, 'binding/v1') && toHex(keyOf(statement)) === id) return statement;
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('store_corrupt', `Cannot read row "${id}": it holds no binding`, { id }, { cause });
  }
  throw new MeshError('store_corrupt', `Cannot read row "${id}": it holds another statement`, { id });
}

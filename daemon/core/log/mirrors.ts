/**
 * Copies of other organisations' logs (SPEC "Mirrors and recovery"), each as far as a checkpoint that its owner signed. They
 * are kept for the owner: he alone may read the entries here, should he have lost his own.
 */
import {
  isMeshError,
  type IsSignatureValid,
  isOfKind,
  limits,
  MeshError,
  type MeshState,
} from '../../../protocol/index.ts';
import {
  logOf,
  originOf,
  parseCheckpoint,
  parseLogOrigin,
  type SignedCheckpoint,
  type TreeEdge,
  type TreeHasher,
  verifyNote,
} from '../../../protocol/log/index.ts';
import type { Clock, Logger, Store } from '../../ports.ts';
import type { Pipeline } from '../pipeline.ts';
import { copyLog, edgeOfRows } from './copy-log.ts';
import type { LogReader, ServedLog } from './log-read.ts';
import { LogKeys, mirrorPrefix } from './log-rows.ts';
import { createLogStore, type LogStore } from './log-store.ts';

export interface MirrorsComponents {
  /** The root store. */
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly state: Pick<MeshState, 'bindingsOf' | 'bindingsOfOrigin'>;
  readonly pipeline: Pick<Pipeline, 'listen'>;
  readonly reader: LogReader;
  readonly peersOf: (organisation: string) => readonly string[];
  /** A checkpoint that a mirrored log showed, and whoever watches should see. */
  readonly noticed: (signed: SignedCheckpoint, peer: string) => void;
  readonly hasher?: TreeHasher;
}

export interface MirrorStatus {
  readonly organisation: string;
  readonly origin: string;
  readonly treeSize: number;
  /** Code of the last failure to extend it, if none has succeeded since. */
  readonly problem: string | null;
}

interface Copy extends ServedLog {
  readonly owner: string;
  readonly files: LogStore;
  signed: SignedCheckpoint | undefined;
  problem: string | null;
  /** A turn each; what was asked for meanwhile is one more. */
  work: Promise<void> | undefined;
  isAgain: boolean;
}

export class Mirrors {
  readonly #components: MirrorsComponents;
  readonly #organisations: ReadonlySet<string>;
  readonly #copies = new Map<string, Copy>();
  readonly #stop = new AbortController();

  private constructor(components: MirrorsComponents, organisations: Iterable<string>) {
    this.#components = components;
    this.#organisations = new Set(organisations);
  }

  /** Reads what was copied of the logs of these organisations; setting `log_mirrors`. Errors: store_corrupt. */
  static async open(components: MirrorsComponents, organisations: Iterable<string>): Promise<Mirrors> {
    const mirrors = new Mirrors(components, organisations);
    for (const owner of mirrors.#organisations)
      for (const { payload } of components.state.bindingsOf(owner)) await mirrors.#openCopy(originOf(payload), owner);
    return mirrors;
  }

  /** Follows the logs from now on. */
  start(): void {
    this.#components.pipeline.listen({
      accepted: (statement) => {
        if (isOfKind(statement, 'binding/v1')) this.#followOwner(statement.payload.iss);
        else if (isOfKind(statement, 'checkpoint/v1')) this.#followOrigin(parseCheckpoint(statement.payload.note));
      },
    });
  }

  peerBound(_peer: string, organisation: string): void {
    this.#followOwner(organisation);
  }

  /** To be shown beside the own log: those of which something is held. */
  copies(): ServedLog[] {
    return [...this.#copies.values()].filter(({ signed }) => signed !== undefined);
  }

  status(): MirrorStatus[] {
    return [...this.#copies.values()].map(({ owner, origin, signed, problem }) => ({
      organisation: owner,
      origin,
      treeSize: signed?.checkpoint.treeSize ?? 0,
      problem,
    }));
  }

  async settled(): Promise<void> {
    await Promise.all([...this.#copies.values()].flatMap(({ work }) => work ?? []));
  }

  async close(): Promise<void> {
    this.#stop.abort(new MeshError('cancelled', 'Cannot mirror: this side is stopping'));
    await this.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #followOwner(owner: string): void {
    if (!this.#organisations.has(owner)) return;
    const logs = this.#components.state.bindingsOf(owner).map(({ payload }) => logOf(payload));
    const newest = logs.sort((a, b) => b.generation - a.generation).slice(0, limits.ORIGINS_PER_ORGANISATION_MAX);
    for (const { vkey } of newest) this.#follow(vkey.name, owner);
  }

  #followOrigin({ checkpoint: { origin } }: SignedCheckpoint): void {
    for (const { payload } of this.#components.state.bindingsOfOrigin(origin))
      if (this.#organisations.has(payload.iss)) this.#follow(origin, payload.iss);
  }

  #follow(origin: string, owner: string): void {
    const held = this.#copies.get(origin);
    if (held?.work !== undefined) {
      held.isAgain = true;
      return;
    }
    const copy = held ?? this.#newCopy(origin, owner);
    copy.work = this.#extendAll(copy).finally(() => {
      copy.work = undefined;
    });
  }

  async #extendAll(copy: Copy): Promise<void> {
    do {
      copy.isAgain = false;
      try {
        await this.#extend(copy);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const problem = isMeshError(error) ? error.code : 'internal';
        if (problem !== copy.problem)
          this.#components.log.warn({ origin: copy.origin, error }, 'the copy of a log was not extended');
        copy.problem = problem;
      }
    } while (copy.isAgain && !this.#stop.signal.aborted);
  }

  async #extend(copy: Copy): Promise<void> {
    const { store, reader, peersOf, noticed, hasher } = this.#components;
    const [peer] = peersOf(copy.owner);
    if (peer === undefined) return;
    const { signal } = this.#stop;
    const signed = await reader.readCheckpoint(peer, copy.origin, { signal });
    if (signed === undefined || signed.checkpoint.treeSize === 0) return;
    verifyNote(signed.note, vkeysOf(copy.origin), this.#components.isSignatureValid);
    noticed(signed, peer);
    if (signed.checkpoint.treeSize <= (copy.signed?.checkpoint.treeSize ?? 0)) return;
    const prefix = mirrorPrefix(copy.origin);
    const parts = { store, reader, ...(hasher !== undefined && { hasher }) };
    const edge: TreeEdge = await edgeOfRows(parts, prefix, copy.signed?.checkpoint.treeSize ?? 0);
    await copyLog(parts, { prefix, peer, signed, edge, last: [], signal });
    copy.signed = signed;
    copy.problem = null;
  }

  async #openCopy(origin: string, owner: string): Promise<void> {
    const head = await this.#components.store.get(new LogKeys(mirrorPrefix(origin)).head);
    if (head === undefined) return;
    try {
      const signed = parseCheckpoint(head);
      verifyNote(signed.note, vkeysOf(origin), this.#components.isSignatureValid);
      this.#newCopy(origin, owner).signed = signed;
    } catch (cause) {
      if (!isMeshError(cause)) throw cause;
      throw new MeshError('store_corrupt', `Cannot read the copy of "${origin}": ${cause.message}`, {}, { cause });
    }
  }

  #newCopy(origin: string, owner: string): Copy {
    const copy: Copy = {
      origin,
      owner,
      readers: [owner],
      files: createLogStore({
        store: this.#components.store,
        prefix: mirrorPrefix(origin),
        treeSize: () => copy.signed?.checkpoint.treeSize ?? 0,
      }),
      signed: undefined,
      problem: null,
      work: undefined,
      isAgain: false,
      released: () => copy.signed,
    };
    this.#copies.set(origin, copy);
    return copy;
  }
}

const vkeysOf = (origin: string) => {
  const name = parseLogOrigin(origin);
  return name === undefined ? [] : [name.vkey];
};

/**
 * The protocol tlog/read (SPEC "Reading logs"): what this daemon shows of the logs that it keeps, and how it reads those
 * of others. Only what was released is shown. A question whether two checkpoints agree is passed on to the log that it
 * is about, once: a log that answers by who asks has then to tell its own two audiences apart.
 */
import {
  concatBytes,
  isMeshError,
  limits,
  MeshError,
  type MeshState,
  type Statement,
  toHex,
} from '../../../protocol/index.ts';
import {
  formatHashLines,
  formatNote,
  formatReadPath,
  HASH_BYTES,
  originHash,
  originOf,
  parseBundle,
  parseCheckpoint,
  parseHashLinesOf,
  parseReadPath,
  type ReadQuestion,
  type ReadStatus,
  type SignedCheckpoint,
  type TilePlace,
} from '../../../protocol/log/index.ts';
import type { Clock, Logger, Network, PeerConnection } from '../../ports.ts';
import { deadline } from '../deadline.ts';
import { TokenBuckets } from '../token-buckets.ts';
import type { LogStore } from './log-store.ts';
import { plainAnswer, serveTlog, type TlogAnswer, TlogAsker, type TlogRequest } from './tlog-stream.ts';

/** A log that this daemon keeps: its own, or a copy. */
export interface ServedLog {
  readonly origin: string;
  readonly files: Pick<LogStore, 'tile' | 'proveInclusion' | 'proveConsistency'>;
  /** The newest checkpoint that others may see. */
  released(): SignedCheckpoint | undefined;
  /** Who may read entries, in place of those that the own log names: of a copy its owner. */
  readonly readers?: readonly string[];
}

export interface LogReadServerComponents {
  readonly network: Network;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whose log is whose. */
  readonly state: Pick<MeshState, 'bindings'>;
  readonly reader: LogReader;
  /** Of a bound peer. */
  readonly organisationOf: (peer: string) => string | undefined;
  readonly peersOf: (organisation: string) => readonly string[];
  /** The own log first, then copies of others'. */
  readonly logs: () => Iterable<ServedLog>;
  /** The newest note seen of another log, with the lines that came along; the hash is hex. Default: none are shown. */
  readonly seen?: (hash: string) => Promise<Uint8Array | undefined>;
}

export interface LogReadServerOptions {
  /** Organisations that may read entries; setting `log_readers`. Default: the own one alone. */
  readonly isReader?: (organisation: string) => boolean;
  /** Questions of one peer a second, and how many at once. Default TLOG_READS_PER_SECOND, TLOG_READS_BURST. */
  readonly perSecond?: number;
  readonly burst?: number;
}

const RELAY_PEERS_MAX = 4; // organisations that claim one log; honestly there is one

export class LogReadServer {
  readonly #components: LogReadServerComponents;
  readonly #isReader: (organisation: string) => boolean;
  readonly #reads: TokenBuckets;
  readonly #relays: TokenBuckets;
  readonly #hashes = new WeakMap<Statement<'binding/v1'>, string>();
  readonly #stop = new AbortController();

  constructor(components: LogReadServerComponents, options: LogReadServerOptions = {}) {
    const { perSecond = limits.TLOG_READS_PER_SECOND, burst = limits.TLOG_READS_BURST } = options;
    this.#components = components;
    this.#isReader = options.isReader ?? (() => false);
    this.#reads = new TokenBuckets(components.clock, { perSecond, burst });
    this.#relays = new TokenBuckets(components.clock, {
      perSecond: limits.TLOG_RELAYS_PER_SECOND,
      burst: limits.TLOG_RELAYS_BURST,
    });
  }

  /** Answers bound peers from now on. */
  async start(): Promise<void> {
    const { network, log } = this.#components;
    await serveTlog({ network, log, answer: (request, from) => this.answer(request, from) }, 'tlog/read', {
      frameBytesMax: limits.TLOG_READ_FRAME_BYTES_MAX,
      signal: this.#stop.signal,
    });
  }

  close(): void {
    this.#stop.abort();
  }

  /** What a bound peer is told. Errors: those of the store, which are this side's fault. */
  async answer({ path, body }: TlogRequest, { peer }: Pick<PeerConnection, 'peer'>): Promise<TlogAnswer> {
    if (!this.#reads.take(peer)) return refusal(429, 'too many questions');
    let asked: ReturnType<typeof parseReadPath>;
    try {
      if (body.length > 0) throw new MeshError('malformed', 'Cannot read a question: it has a body');
      asked = parseReadPath(path);
    } catch (error) {
      if (isMeshError(error)) return refusal(400, error.message);
      throw error;
    }
    const { hash, question } = asked;
    for (const log of this.#components.logs())
      if (toHex(originHash(log.origin)) === hash) return this.#show(log, question, peer);
    if (question.of === 'checkpoint') return this.#showSeen(hash);
    if ((question.of !== 'consistency' && question.of !== 'tile') || question.isDirect) return NO_LOG;
    if (!this.#relays.take(peer)) return refusal(429, 'too many questions about logs of others');
    return this.#askOnBehalf(hash, path, question, peer);
  }

  async #show(log: ServedLog, question: ReadQuestion, peer: string): Promise<TlogAnswer> {
    const released = log.released();
    if (released === undefined) return refusal(404, 'nothing was released yet');
    const { treeSize } = released.checkpoint;
    switch (question.of) {
      case 'checkpoint':
        return shown(formatNote(released.note), 'text/plain; charset=utf-8');
      case 'tile':
        return this.#tile(log, question.place, treeSize);
      case 'bundle': {
        const organisation = this.#components.organisationOf(peer);
        const isReader = (did: string): boolean => log.readers?.includes(did) ?? this.#isReader(did);
        if (organisation === undefined || !isReader(organisation)) return refusal(403, 'entries are not for this peer');
        return this.#tile(log, question.place, treeSize, question.part);
      }
      case 'consistency': {
        const { oldSize, newSize } = question;
        if (oldSize > newSize) return refusal(400, 'the old size is above the new one');
        if (newSize > treeSize) return NOT_SO_MUCH;
        return shown(formatHashLines(await log.files.proveConsistency(oldSize, newSize)), 'text/plain; charset=utf-8');
      }
      case 'inclusion': {
        const { leafIndex, treeSize: size } = question;
        if (leafIndex >= size) return refusal(400, 'the tree has no such leaf');
        if (size > treeSize) return NOT_SO_MUCH;
        return shown(formatHashLines(await log.files.proveInclusion(leafIndex, size)), 'text/plain; charset=utf-8');
      }
    }
  }

  async #tile(log: ServedLog, place: TilePlace, treeSize: number, part?: number): Promise<TlogAnswer> {
    const level = place.level === 'entries' ? 0 : place.level;
    const hashes = Math.floor(treeSize / 256 ** level);
    if (place.index * 256 + place.width > hashes) return NOT_SO_MUCH;
    const bytes = await log.files.tile(place);
    if (bytes === undefined) return NOT_SO_MUCH;
    if (part === undefined) return shown(bytes);
    const from = part * limits.TLOG_READ_PART_BYTES;
    return from > bytes.length ? NOT_SO_MUCH : shown(bytes.subarray(from, from + limits.TLOG_READ_PART_BYTES));
  }

  async #showSeen(hash: string): Promise<TlogAnswer> {
    const note = await this.#components.seen?.(hash);
    return note === undefined ? NO_LOG : shown(note, 'text/plain; charset=utf-8');
  }

  async #askOnBehalf(
    hash: string,
    path: string,
    question: ReadQuestion & { of: 'consistency' | 'tile' },
    asker: string,
  ): Promise<TlogAnswer> {
    const { reader, clock } = this.#components;
    const peers = this.#peersOfLog(hash).filter((peer) => peer !== asker);
    if (peers.length === 0) return NO_LOG;
    const signal = deadline(clock, limits.TLOG_RELAY_MS, this.#stop.signal);
    for (const peer of peers.slice(0, RELAY_PEERS_MAX)) {
      try {
        const bytes = await reader.ask(peer, `${path}/direct`, signal);
        if (bytes !== undefined && bytes.length <= bytesOf(question)) return shown(bytes);
      } catch (error) {
        if (!isMeshError(error) || this.#stop.signal.aborted) throw error; // else this one does not show it: the next
      }
    }
    return NOT_SHOWN;
  }

  /** Peers of the organisations that say it is theirs: more than one may, and one of them is right. */
  #peersOfLog(hash: string): string[] {
    const organisations = new Set<string>();
    for (const binding of this.#components.state.bindings()) {
      let known = this.#hashes.get(binding);
      if (known === undefined) {
        known = toHex(originHash(originOf(binding.payload)));
        this.#hashes.set(binding, known);
      }
      if (known === hash) organisations.add(binding.payload.iss);
    }
    return [...organisations].flatMap((organisation) => this.#components.peersOf(organisation).slice(0, 1));
  }
}

const shown = (body: Uint8Array, contentType = 'application/octet-stream'): TlogAnswer => ({
  status: 200,
  contentType,
  body,
});
const refusal = (status: ReadStatus, message: string): TlogAnswer => plainAnswer(status, message);
const NO_LOG = refusal(404, 'no such log here');
const NOT_SO_MUCH = refusal(404, 'not so much of it was released');
const NOT_SHOWN = refusal(502, 'the log did not show it');

const HASH_LINE_BYTES = 45; // base64 of a hash and the line's end
const bytesOf = (question: ReadQuestion & { of: 'consistency' | 'tile' }): number =>
  question.of === 'tile' ? question.place.width * HASH_BYTES : limits.MERKLE_PROOF_HASHES_MAX * HASH_LINE_BYTES;

export interface ReadOptions {
  readonly signal?: AbortSignal;
}

/** Reads logs at bound peers: theirs, and what they say of others'. What comes is parsed, and verified by the caller. */
export class LogReader {
  readonly #asker: TlogAsker;

  constructor(components: { readonly network: Network; readonly clock: Clock }) {
    this.#asker = new TlogAsker(components, 'tlog/read', { frameBytesMax: limits.TLOG_READ_FRAME_BYTES_MAX });
  }

  close(): void {
    this.#asker.close();
  }

  /** Nothing is said about its signatures yet. Errors: as of ask, malformed, too_large. */
  async readCheckpoint(peer: string, origin: string, options: ReadOptions = {}): Promise<SignedCheckpoint | undefined> {
    const bytes = await this.#read(peer, origin, { of: 'checkpoint' }, options);
    if (bytes === undefined) return undefined;
    const signed = parseCheckpoint(bytes);
    if (signed.checkpoint.origin !== origin)
      throw malformed(peer, `it showed a checkpoint of "${signed.checkpoint.origin}", want "${origin}"`);
    return signed;
  }

  /** From the old size to the new one; of another's log by the peer's asking it. Errors: as of ask, malformed, too_large. */
  async readConsistency(
    peer: string,
    origin: string,
    oldSize: number,
    newSize: number,
    options: ReadOptions = {},
  ): Promise<Uint8Array[] | undefined> {
    const bytes = await this.#read(peer, origin, { of: 'consistency', oldSize, newSize, isDirect: false }, options);
    return bytes === undefined ? undefined : parseHashLinesOf(bytes, 'a consistency proof');
  }

  /** Errors: as of ask, malformed, too_large. */
  async readInclusion(
    peer: string,
    origin: string,
    leafIndex: number,
    treeSize: number,
    options: ReadOptions = {},
  ): Promise<Uint8Array[] | undefined> {
    const bytes = await this.#read(peer, origin, { of: 'inclusion', leafIndex, treeSize }, options);
    return bytes === undefined ? undefined : parseHashLinesOf(bytes, 'an inclusion proof');
  }

  /** A hash tile of exactly this width. Errors: as of ask, malformed. */
  async readTile(
    peer: string,
    origin: string,
    place: TilePlace & { readonly level: number },
    options: ReadOptions = {},
  ): Promise<Uint8Array | undefined> {
    const bytes = await this.#read(peer, origin, { of: 'tile', place, isDirect: false }, options);
    if (bytes !== undefined && bytes.length !== place.width * HASH_BYTES)
      throw malformed(peer, `it showed a tile of ${bytes.length} bytes, want ${place.width * HASH_BYTES}`);
    return bytes;
  }

  /** The entries of a bundle, in parts. Errors: as of ask (policy_denied: it is not for us), malformed, too_large. */
  async readBundle(
    peer: string,
    origin: string,
    place: Omit<TilePlace, 'level'>,
    options: ReadOptions = {},
  ): Promise<Uint8Array[] | undefined> {
    const parts: Uint8Array[] = [];
    for (let part = 0; ; part++) {
      const question = { of: 'bundle', place: { ...place, level: 'entries' }, part } as const;
      const bytes = await this.#read(peer, origin, question, options);
      if (bytes === undefined || bytes.length > limits.TLOG_READ_PART_BYTES) return undefined;
      parts.push(bytes);
      if (bytes.length < limits.TLOG_READ_PART_BYTES) break;
      if (part * limits.TLOG_READ_PART_BYTES > limits.LOG_BUNDLE_BYTES_MAX)
        throw malformed(peer, `its bundle has over ${limits.LOG_BUNDLE_BYTES_MAX} bytes`);
    }
    return parseBundle(concatBytes(...parts), place.width);
  }

  #read(
    peer: string,
    origin: string,
    question: ReadQuestion,
    { signal }: ReadOptions,
  ): Promise<Uint8Array | undefined> {
    return this.ask(peer, formatReadPath(originHash(origin), question), signal);
  }

  /**
   * Undefined: the peer has no such log, or not so much of it. Errors: unreachable, no_route, timeout, cancelled,
   * closed, policy_denied, busy, malformed (anything else that it answers).
   */
  async ask(peer: string, path: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const { status, body } = await this.#asker.ask(peer, { path, body: new Uint8Array() }, signal);
    switch (status) {
      case 200:
        return body;
      case 404:
        return undefined;
      case 403:
        throw new MeshError('policy_denied', `Cannot read the log at ${peer}: it is not shown to this side`, {
          id: peer,
        });
      case 429:
        throw new MeshError('busy', `Cannot read the log at ${peer}: it answers later`, { id: peer });
      case 502:
        throw new MeshError('unreachable', `Cannot read the log through ${peer}: it was not shown there`, { id: peer });
      default:
        throw malformed(peer, `it answered with status ${status}`);
    }
  }
}

const malformed = (peer: string, why: string): MeshError =>
  new MeshError('malformed', `Cannot read a log at ${peer}: ${why}`, { id: peer });

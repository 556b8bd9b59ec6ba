/**
 * The witness: cosigns what extends the largest tree that it has seen of a log, and nothing else (C2SP tlog-witness,
 * main of July 2026; SPEC "Witness protocol over libp2p"). The same handler answers over libp2p and over HTTP.
 *
 * A cosignature says that this witness has seen no larger tree of the log, so two of them must never contradict each
 * other: deciding and storing is one step, the store is on disk before the answer leaves, and what was stored is the
 * whole note, which turns a contradiction by the log into evidence.
 */
import { type IsSignatureValid, isMeshError, limits, MeshError, rawKeyOf } from '../../../protocol/index.ts';
import {
  type AddCheckpointRequest,
  cosignatureMessage,
  createCosignatureLine,
  emptyRoot,
  formatCosignatures,
  formatNote,
  formatTreeSize,
  parseAddCheckpoint,
  parseCheckpoint,
  type SignedCheckpoint,
  TREE_SIZE_CONTENT_TYPE,
  type VerifiedSignature,
  verifyExtension,
  verifyNote,
  type Vkey,
  type WitnessStatus,
  witnessVkey,
} from '../../../protocol/log/index.ts';
import type { Clock, Signer, Store } from '../../ports.ts';
import { TokenBuckets } from '../token-buckets.ts';
import { WitnessRows } from './witness-rows.ts';

export interface WitnessComponents {
  /** The root store. */
  readonly store: Store;
  /** The key `witness`, which signs nothing else. */
  readonly signer: Signer;
  readonly clock: Clock;
  readonly isSignatureValid: IsSignatureValid;
  /** The keys trusted for an origin; undefined: it is unknown; none: whoever signs it is trusted no more. */
  readonly admits: (origin: string) => readonly Vkey[] | undefined;
  /** False while the notes held here may be older than what this witness has cosigned. Default: they never are. */
  readonly mayCosign?: () => boolean;
  /**
   * A checkpoint that the log signed was refused beside the one held here: perhaps two histories, perhaps only late.
   * Called before the answer; must neither throw nor take long.
   */
  readonly onConflict: (held: SignedCheckpoint, request: AddCheckpointRequest) => void;
  /** Cosigned and on disk. */
  readonly onCosigned?: (signed: SignedCheckpoint) => void;
}

export interface WitnessOptions {
  /** Logs of which something may be cosigned; default WITNESS_ORIGINS_MAX. */
  readonly originsMax?: number;
  /** Submissions a second by one submitter, and how many at once; default WITNESS_PER_SECOND, WITNESS_BURST. */
  readonly perSecond?: number;
  readonly burst?: number;
  /** The same for all submitters together; default WITNESS_ALL_PER_SECOND. */
  readonly allPerSecond?: number;
}

export interface WitnessAnswer {
  readonly status: WitnessStatus;
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface Witness {
  readonly vkey: Vkey;
  /**
   * Answers the body of an add-checkpoint request. `from` is whose budget it takes: a PeerId or a network prefix.
   * Errors: those of the store. Then nothing was cosigned, or nobody was told.
   */
  addCheckpoint(body: Uint8Array, from?: string): Promise<WitnessAnswer>;
  /** The note last cosigned of a log, by the lower-case hex of its origin's hash. */
  checkpointOf(originHashHex: string): Promise<Uint8Array | undefined>;
  /** The note last cosigned of every log. */
  notes(): AsyncIterable<Uint8Array>;
  /** Logs of which something was cosigned. */
  originCount(): Promise<number>;
}

export const createWitness = (components: WitnessComponents, options: WitnessOptions = {}): Witness =>
  new StoringWitness(components, options);

/** Why a request is refused; the message is the body. */
class Refusal extends Error {
  readonly status: Exclude<WitnessStatus, 200>;

  constructor(status: Exclude<WitnessStatus, 200>, message: string) {
    super(message);
    this.status = status;
  }
}

const PLAIN = 'text/plain; charset=utf-8';
const EVERYBODY = 'everybody';
const utf8 = new TextEncoder();

interface Decision {
  readonly answer: { readonly answer: WitnessAnswer; readonly cosigned?: SignedCheckpoint };
  readonly note?: Uint8Array;
}

class StoringWitness implements Witness {
  readonly vkey: Vkey;
  readonly #components: WitnessComponents;
  readonly #rows: WitnessRows;
  readonly #originsMax: number;
  readonly #bySubmitter: TokenBuckets;
  readonly #all: TokenBuckets;

  constructor(components: WitnessComponents, options: WitnessOptions) {
    const { clock, signer, store } = components;
    const { perSecond = limits.WITNESS_PER_SECOND, burst = limits.WITNESS_BURST } = options;
    const { allPerSecond = limits.WITNESS_ALL_PER_SECOND } = options;
    this.#components = components;
    this.#rows = new WitnessRows(store);
    this.#originsMax = options.originsMax ?? limits.WITNESS_ORIGINS_MAX;
    this.#bySubmitter = new TokenBuckets(clock, { perSecond, burst });
    this.#all = new TokenBuckets(clock, { perSecond: allPerSecond, burst: allPerSecond });
    this.vkey = witnessVkey(rawKeyOf(signer.publicKey));
  }

  async addCheckpoint(body: Uint8Array, from = 'unknown'): Promise<WitnessAnswer> {
    try {
      return await this.#answer(body, from);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return refusal(error.status, error.message);
    }
  }

  checkpointOf(originHashHex: string): Promise<Uint8Array | undefined> {
    return this.#rows.read(originHashHex);
  }

  notes(): AsyncIterable<Uint8Array> {
    return this.#rows.notes();
  }

  originCount(): Promise<number> {
    return this.#rows.count();
  }

  /** In the order in which the specification states the checks. */
  async #answer(body: Uint8Array, from: string): Promise<WitnessAnswer> {
    if (!this.#bySubmitter.take(from) || !this.#all.take(EVERYBODY)) throw new Refusal(429, 'too many requests');
    const request = orRefuse(400, () => parseAddCheckpoint(body));
    const { checkpoint, note } = request.signed;
    if (note.signatures.length > limits.WITNESS_NOTE_SIGNATURES_MAX)
      throw new Refusal(400, `the note has over ${limits.WITNESS_NOTE_SIGNATURES_MAX} signatures`);
    const vkeys = this.#components.admits(checkpoint.origin);
    if (vkeys === undefined) throw new Refusal(404, 'unknown log');
    const lines = orRefuse(403, () => verifyNote(note, vkeys, this.#components.isSignatureValid));
    if (this.#components.mayCosign?.() === false) throw new Refusal(429, 'this witness cosigns nothing now');
    const { answer, cosigned } = await this.#rows.update(checkpoint.origin, (held) =>
      this.#decide(held, request, lines),
    );
    if (cosigned !== undefined) this.#components.onCosigned?.(cosigned);
    return answer;
  }

  async #decide(
    row: Uint8Array | undefined,
    request: AddCheckpointRequest,
    lines: readonly VerifiedSignature[],
  ): Promise<Decision> {
    const held = row === undefined ? undefined : this.#readHeld(row);
    const refused = refusalOf(held?.signed, request);
    if (refused !== undefined) {
      if (held !== undefined && request.signed.checkpoint.treeSize > 0)
        this.#components.onConflict(held.signed, request);
      return { answer: { answer: refused } };
    }
    if (held === undefined && (await this.#rows.count()) >= this.#originsMax)
      throw new Refusal(429, 'this witness has as many logs as it keeps');
    return this.#cosign(request.signed, lines, held?.timeSeconds ?? 0);
  }

  /** Signed here, dated at least as late as whatever it was signed with before: of two, the later one is the larger tree. */
  #cosign(signed: SignedCheckpoint, lines: readonly VerifiedSignature[], heldSeconds: number): Decision {
    const { clock, signer } = this.#components;
    const { text } = signed.note;
    const timeSeconds = Math.max(Math.floor(clock.nowMs() / 1000), heldSeconds);
    const own = createCosignatureLine(this.vkey, timeSeconds, signer.sign(cosignatureMessage(text, timeSeconds)));
    const ofLog = new Map(lines.map(({ vkey, line }) => [vkey, line]));
    const note = { text, signatures: [...ofLog.values(), own] };
    return {
      note: formatNote(note),
      answer: {
        answer: { status: 200, contentType: PLAIN, body: formatCosignatures([own]) },
        cosigned: { checkpoint: signed.checkpoint, note },
      },
    };
  }

  /** Errors: store_corrupt; a row that is not what was written must neither be signed over nor accuse anybody. */
  #readHeld(row: Uint8Array): { readonly signed: SignedCheckpoint; readonly timeSeconds: number } {
    try {
      const signed = parseCheckpoint(row);
      const [own] = verifyNote(signed.note, [this.vkey], this.#components.isSignatureValid);
      return { signed, timeSeconds: own?.timeSeconds ?? 0 };
    } catch (cause) {
      if (!isMeshError(cause)) throw cause;
      throw new MeshError(
        'store_corrupt',
        `Cannot read what was cosigned last of a log: ${cause.message}`,
        {},
        { cause },
      );
    }
  }
}

/** Undefined: the checkpoint extends the one held. */
function refusalOf(held: SignedCheckpoint | undefined, request: AddCheckpointRequest): WitnessAnswer | undefined {
  const { oldSize, proof, signed } = request;
  const heldSize = held?.checkpoint.treeSize ?? 0;
  if (oldSize !== heldSize) return { status: 409, contentType: TREE_SIZE_CONTENT_TYPE, body: formatTreeSize(heldSize) };
  try {
    const heldRoot = held?.checkpoint.root ?? emptyRoot();
    verifyExtension(heldSize, signed.checkpoint.treeSize, heldRoot, signed.checkpoint.root, proof);
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return refusal(422, error.message);
    throw error;
  }
}

const refusal = (status: WitnessStatus, message: string): WitnessAnswer => ({
  status,
  contentType: PLAIN,
  body: utf8.encode(`${message}\n`),
});

function orRefuse<T>(status: 400 | 403, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (isMeshError(error)) throw new Refusal(status, error.message);
    throw error;
  }
}

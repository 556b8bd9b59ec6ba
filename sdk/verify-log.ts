/** The audit log checked in the caller's own process, from bytes: no daemon is asked and none is believed. */
import { randomBytes } from 'node:crypto';
import { limits, MeshError } from '../protocol/index.ts';
import {
  type Checkpoint,
  commitmentOf,
  type Freshness,
  type LogFiles,
  type LogProgress,
  type LogReport,
  parseCheckpoint,
  parseLogOrigin,
  parsePolicy,
  type Policy,
  type VerifiedEntry,
  verifyEntryProof,
  verifyLog,
  verifyNote,
} from '../protocol/log/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { filesIn } from './log-export.ts';

/** C2SP tlog-policy, as text, as bytes or read already. */
export type PolicyInput = Policy | string | Uint8Array;

export interface VerifyProofOptions {
  /** Cosignatures that are older do not count. Default: any age. */
  readonly ageSecondsMax?: number | undefined;
  /** Default: now. */
  readonly nowMs?: number | undefined;
}

export interface VerifyLogOptions extends VerifyProofOptions {
  /** Whose quorum must have cosigned. Default: nobody; then only the log's own key is looked at. */
  readonly policy?: PolicyInput | undefined;
  /** Checkpoints of this log that were seen before: the log has to contain them. */
  readonly since?: readonly Uint8Array[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each bundle of entries. */
  readonly onProgress?: ((progress: LogProgress) => void) | undefined;
}

/**
 * An entry with its proof (`mesh.log.prove`, `agentmesh log prove`): that the key it names signed it, that it is in a log
 * of the policy, and that the policy's quorum cosigned. Whether that key was its actor's, the log's other entries tell.
 * Errors: bad_proof, bad_signature, not_signed, quorum, malformed, schema.
 */
export function verifyProof(
  proof: Uint8Array,
  entry: Uint8Array,
  policy: PolicyInput,
  options: VerifyProofOptions = {},
): VerifiedEntry {
  return verifyEntryProof(proof, entry, policyOf(policy), isSignatureValidSodium, freshnessOf(options));
}

/**
 * A whole log, from its files: the checkpoint, every entry, every tile. What is wrong is an error that names the first
 * place. Errors: those of verifyProof; not_found; cancelled. `data` has path and index.
 */
export async function verifyLogFiles(files: LogFiles, options: VerifyLogOptions = {}): Promise<LogReport> {
  const { policy, since = [], signal, onProgress } = options;
  const parsed = policy === undefined ? undefined : policyOf(policy);
  const freshness = freshnessOf(options);
  return verifyLog(files, {
    isSignatureValid: isSignatureValidSodium,
    known: since.map((bytes) => checkpointOf(bytes, parsed)),
    ...(parsed !== undefined && { policy: parsed }),
    ...(freshness !== undefined && { freshness }),
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && { onProgress }),
  });
}

/** A directory that `mesh.log.export` or `agentmesh log export` wrote, or any copy of it. Errors: as verifyLogFiles. */
export const verifyLogDirectory = (directory: string, options: VerifyLogOptions = {}): Promise<LogReport> =>
  verifyLogFiles(filesIn(directory), options);

/** What was committed to, to be kept outside the log: whoever has salt and bytes can show what the entry means. */
export interface Commitment {
  readonly salt: Uint8Array;
  /** For `in` or `out` of an entry. */
  readonly commitment: string;
}

/** With a fresh salt: erasing that erases what was committed to, and leaves the log as it is. */
export function createCommitment(bytes: Uint8Array): Commitment {
  const salt = Uint8Array.from(randomBytes(limits.LOG_SALT_BYTES));
  return { salt, commitment: commitmentOf(salt, bytes) };
}

/** Errors: malformed, key_type, too_large. */
export function policyOf(policy: PolicyInput): Policy {
  if (typeof policy === 'string') return parsePolicy(new TextEncoder().encode(policy));
  return policy instanceof Uint8Array ? parsePolicy(policy) : policy;
}

/** One that was seen before, if the log's key signed it. Errors: malformed, not_signed, bad_signature. */
function checkpointOf(bytes: Uint8Array, policy: Policy | undefined): Checkpoint {
  const { checkpoint, note } = parseCheckpoint(bytes);
  const { origin } = checkpoint;
  const known = policy?.logs.map(({ vkey }) => vkey).find(({ name }) => name === origin);
  const vkey = parseLogOrigin(origin)?.vkey ?? known;
  if (vkey === undefined)
    throw new MeshError('not_signed', `Cannot use a checkpoint of "${origin}": its key is not known; want a policy`);
  verifyNote(note, [vkey], isSignatureValidSodium);
  return checkpoint;
}

const freshnessOf = ({ ageSecondsMax, nowMs = Date.now() }: VerifyProofOptions): Freshness | undefined =>
  ageSecondsMax === undefined ? undefined : { nowMs, ageSecondsMax };

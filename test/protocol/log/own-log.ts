/** Logs and witnesses that are named after their keys, and the statements about them; all from names. */
import { rawKeyOf, type Statement, type StatementSigner, signStatement } from '../../../protocol/index.ts';
import {
  type Checkpoint,
  checkpointStatement,
  createForkProof,
  formatCheckpointText,
  formatNote,
  formatVkey,
} from '../../../protocol/log/index.ts';
import { logVkey, witnessVkey } from '../../../protocol/log/names.ts';
import { type Identity, keyOf, NOW_SECONDS } from '../../builders.ts';
import { naiveConsistency, naiveRoot } from './naive-tree.ts';
import { cosignLine, leaves, type Signer, signedNote } from './sample.ts';

export function ownLog(name: string, generation = 0): Signer {
  const key = keyOf(`${name} log`);
  return { key, vkey: logVkey(rawKeyOf(key.publicKey), generation) };
}

export function ownWitness(name: string): Signer {
  const key = keyOf(`${name} witness`);
  return { key, vkey: witnessVkey(rawKeyOf(key.publicKey)) };
}

interface BindingOptions {
  readonly log?: Signer;
  readonly witness?: Signer;
  readonly iat?: number;
  readonly signer?: StatementSigner;
}

/** By default of the log and witness that have the organisation's name. */
export const createBinding = (
  { did, name, keys, node }: Identity,
  { log = ownLog(name), witness = ownWitness(name), iat = NOW_SECONDS, signer = keys.sign }: BindingOptions = {},
): Statement<'binding/v1'> =>
  signStatement<'binding/v1'>(
    { t: 'binding/v1', iat, iss: did, log: formatVkey(log.vkey), wit: formatVkey(witness.vkey), peer: node.peerId },
    [signer, log.key, witness.key],
  );

export const checkpointOf = (log: Signer, treeSize: number, salt = ''): Checkpoint => ({
  origin: log.vkey.name,
  treeSize,
  root: naiveRoot(leaves(treeSize, salt)),
});

export const noteOf = (log: Signer, treeSize: number, salt = '', witnesses: readonly Signer[] = []): Uint8Array =>
  signedNote(checkpointOf(log, treeSize, salt), log, witnesses);

export const createCheckpoint = (log: Signer, treeSize: number, salt = ''): Statement<'checkpoint/v1'> =>
  checkpointStatement(noteOf(log, treeSize, salt));

/** Only the witness's line. */
export function cosignedNote(checkpoint: Checkpoint, witness: Signer, timeSeconds = NOW_SECONDS): Uint8Array {
  const text = formatCheckpointText(checkpoint);
  return formatNote({ text, signatures: [cosignLine(witness, text, timeSeconds)] });
}

/** Two histories of one log that part at the first leaf, by the log's key or by a witness's. */
export function createFork(
  binding: Statement<'binding/v1'>,
  signer: Signer,
  [m, n]: readonly [number, number],
  {
    salt = 'other',
    log = signer,
    who = binding.payload.iss,
  }: {
    readonly salt?: string;
    /** The log that a witness cosigned. */
    readonly log?: Signer;
    readonly who?: string;
  } = {},
): Statement<'proof/v1'> {
  const isWitness = signer !== log;
  const [one, other] = [checkpointOf(log, m), checkpointOf(log, n, salt)];
  const noteBy = (checkpoint: Checkpoint): Uint8Array =>
    isWitness ? cosignedNote(checkpoint, signer) : signedNote(checkpoint, log);
  return createForkProof({
    of: isWitness ? 'witness' : 'log',
    who,
    vkey: signer.vkey,
    a: noteBy(one),
    b: noteBy(other),
    rootOfAOnB: naiveRoot(leaves(n, salt), m),
    proof: m === n ? [] : naiveConsistency(m, leaves(n, salt)),
    binding,
  });
}

/**
 * `proof/v1` (SPEC "Audit log statements"): two notes by one key that cannot both be true, and the binding by which the
 * key is an organisation's. It convicts that organisation, on every node alike and on nobody's word: nobody signs it.
 */
import { bytes, bytesOfAtMost, type Checked, list, literal, map, oneOf, refine } from '../encoding/schema.ts';
import { compareBytes } from '../encoding/bytes.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { meshDid } from '../identity/operations.ts';
import { BINDING_BYTES_MAX, CHECKPOINT_NOTE_BYTES_MAX, MERKLE_PROOF_HASHES_MAX } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import { type Binding, logVkeyText, witnessVkeyText } from './binding.ts';
import type { Checkpoint } from './checkpoint.ts';
import { parseOneLine, provesItself } from './checkpoint-statement.ts';
import { evaluateFork, FORK_DOUBTS } from './fork.ts';
import { HASH_BYTES } from './tree.ts';
import { parseVkey, type Vkey } from './vkey.ts';

/** In which of its two roles an organisation signed both. */
export const CONVICTED_AS = ['log', 'witness'] as const;
export type ConvictedAs = (typeof CONVICTED_AS)[number];

const hash = bytes(HASH_BYTES);
const note = bytesOfAtMost(CHECKPOINT_NOTE_BYTES_MAX);

export const proof = refine(
  map(
    {
      t: literal('proof/v1'),
      ...provesItself,
      of: oneOf(...CONVICTED_AS),
      who: meshDid,
      a: note,
      b: note,
      rootOfAOnB: hash,
      proof: list(hash, 0, MERKLE_PROOF_HASHES_MAX),
      binding: bytesOfAtMost(BINDING_BYTES_MAX),
    },
    { log: logVkeyText, witness: witnessVkeyText },
  ),
  (value, fail) => {
    for (const of of CONVICTED_AS)
      if ((value[of] === undefined) !== (value.of !== of)) fail(of, 'the key of what the proof is of, and no other');
    const [a, b] = [openNote(value, value.a), openNote(value, value.b)];
    if (a === undefined) return fail('a', 'a checkpoint with one line, by the key that the proof names');
    if (b === undefined) return fail('b', 'a checkpoint with one line, by the key that the proof names');
    if (compareNotes([a, value.a], [b, value.b]) >= 0)
      fail('b', 'the larger tree, or at equal sizes the later note in byte order');
  },
);
export type Conviction = Checked<typeof proof>;

type Keyed = Pick<Conviction, 'of' | 'log' | 'witness'>;

/** The key that signed both notes. */
export const vkeyOf = (proven: Keyed): Vkey => parseVkey(vkeyTextOf(proven));
const vkeyTextOf = ({ of, log, witness }: Keyed): string => (of === 'log' ? log : witness) ?? '';

function openNote(proven: Keyed, bytes: Uint8Array): Checkpoint | undefined {
  try {
    const vkey = vkeyOf(proven);
    // A log of ours signs its own checkpoints alone; a witness cosigns those of any log.
    return parseOneLine(bytes, (origin) => (proven.of === 'log' && origin !== vkey.name ? undefined : vkey)).checkpoint;
  } catch (error) {
    if (isMeshError(error)) return undefined; // the schema says what it wanted
    throw error;
  }
}

/** The one order of two notes in a proof: the smaller tree first, of equal ones the first in byte order. */
export const compareNotes = (
  [one, oneBytes]: readonly [Checkpoint, Uint8Array],
  [other, otherBytes]: readonly [Checkpoint, Uint8Array],
): number => one.treeSize - other.treeSize || compareBytes(oneBytes, otherBytes);

/**
 * Whether the proof convicts the organisation of the binding that it holds; the binding's own signature is for the
 * caller to check. Errors: bad_proof.
 */
export function verifyConviction(proven: Conviction, binding: Binding, isSignatureValid: IsSignatureValid): void {
  if (binding.iss !== proven.who) throw refused(`its binding is that of "${binding.iss}", want "${proven.who}"`);
  if ((proven.of === 'log' ? binding.log : binding.wit) !== vkeyTextOf(proven))
    throw refused('its binding is of another key');
  const verdict = evaluateFork({ ...proven, vkey: vkeyOf(proven) }, isSignatureValid);
  if (!verdict.proven) throw refused(FORK_DOUBTS[verdict.reason]);
}

const refused = (why: string): MeshError => new MeshError('bad_proof', `Cannot accept a proof of a fork: ${why}`);

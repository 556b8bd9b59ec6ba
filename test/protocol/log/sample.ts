/** A log and its witnesses with fixed keys. */
import { rawKeyOf } from '../../../protocol/encoding/multikey.ts';
import {
  type Checkpoint,
  cosignatureMessage,
  createCosignatureLine,
  createSignatureLine,
  createVkey,
  formatCheckpointText,
  formatNote,
  leafHash,
  LOG_KEY_TYPE,
  noteMessage,
  type NoteSignature,
  type Vkey,
  WITNESS_KEY_TYPE,
} from '../../../protocol/log/index.ts';
import { keyOf, type TestKey } from '../../builders.ts';

export interface Signer {
  readonly key: TestKey;
  readonly vkey: Vkey;
}

export const ORIGIN = 'example.org/log 1';
export const logSigner = (name: string, keyName = name): Signer => {
  const key = keyOf(keyName);
  return { key, vkey: createVkey(name, LOG_KEY_TYPE, rawKeyOf(key.publicKey)) };
};
export const witnessSigner = (name: string, keyName = name): Signer => {
  const key = keyOf(keyName);
  return { key, vkey: createVkey(name, WITNESS_KEY_TYPE, rawKeyOf(key.publicKey)) };
};

export const signLine = ({ key, vkey }: Signer, text: string): NoteSignature =>
  createSignatureLine(vkey, key.sign(noteMessage(text)));
export const cosignLine = ({ key, vkey }: Signer, text: string, timeSeconds: number): NoteSignature =>
  createCosignatureLine(vkey, timeSeconds, key.sign(cosignatureMessage(text, timeSeconds)));

/** The note of a checkpoint, by a log and by witnesses at a time. */
export function signedNote(
  checkpoint: Checkpoint,
  log: Signer,
  witnesses: readonly Signer[] = [],
  timeSeconds = 1_800_000_000,
): Uint8Array {
  const text = formatCheckpointText(checkpoint);
  return formatNote({
    text,
    signatures: [signLine(log, text), ...witnesses.map((witness) => cosignLine(witness, text, timeSeconds))],
  });
}

/** `salt` makes another history. */
export const leaves = (count: number, salt = ''): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => leafHash(new TextEncoder().encode(`entry ${i} ${salt}`)));

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true }).decode(bytes);

/** The code of the error that it throws. */
export function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return String(error.code);
    throw error;
  }
  return 'accepted';
}

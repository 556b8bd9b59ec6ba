/**
 * What goes to a worker thread to be verified: many statements in one buffer, handed over and not copied.
 *
 *   job        statement*
 *   statement  u32le length of message ‖ u32le signatures ‖ message ‖ (raw key (32) ‖ signature (64))*
 *
 * The message is what each signer signed: context ‖ 0x00 ‖ payload.
 */
import {
  isMultikey,
  type IsSignatureValid,
  PUBLIC_KEY_BYTES,
  rawKeyOf,
  SIGNATURE_BYTES,
  signingInput,
  type Statement,
} from '../protocol/index.ts';

const HEAD_BYTES = 8;
const SIGNER_BYTES = PUBLIC_KEY_BYTES + SIGNATURE_BYTES;

/** Whether the lengths are those of the rule, outside of which nothing is valid; only such statements can be packed. */
export const isPackable = ({ payload: { by }, signatures }: Statement): boolean =>
  by.length === signatures.length &&
  by.every(isMultikey) &&
  signatures.every((signature) => signature.length === SIGNATURE_BYTES);

export function packJob(statements: readonly Statement[]): ArrayBuffer {
  const messages = statements.map(({ t, payloadBytes }) => signingInput(t, payloadBytes));
  const bytes = statements.reduce(
    (sum, { signatures }, i) => sum + HEAD_BYTES + (messages[i]?.length ?? 0) + signatures.length * SIGNER_BYTES,
    0,
  );
  const job = new Uint8Array(bytes);
  const words = new DataView(job.buffer);
  let at = 0;
  const put = (part: Uint8Array): void => {
    job.set(part, at);
    at += part.length;
  };
  for (const [i, { payload, signatures }] of statements.entries()) {
    const message = messages[i] as Uint8Array;
    words.setUint32(at, message.length, true);
    words.setUint32(at + 4, signatures.length, true);
    at += HEAD_BYTES;
    put(message);
    for (const [k, key] of payload.by.entries()) {
      put(rawKeyOf(key));
      put(signatures[k] as Uint8Array);
    }
  }
  return job.buffer;
}

/** One byte a statement: 1 if all its signatures are valid. */
export function verifyJob(buffer: ArrayBuffer, isSignatureValid: IsSignatureValid): Uint8Array {
  const job = new Uint8Array(buffer);
  const words = new DataView(buffer);
  const verdicts: number[] = [];
  for (let at = 0; at < job.length; ) {
    const message = job.subarray(at + HEAD_BYTES, at + HEAD_BYTES + words.getUint32(at, true));
    const end = at + HEAD_BYTES + message.length + words.getUint32(at + 4, true) * SIGNER_BYTES;
    let isValid = true;
    for (at += HEAD_BYTES + message.length; at < end; at += SIGNER_BYTES) {
      const key = job.subarray(at, at + PUBLIC_KEY_BYTES);
      const signature = job.subarray(at + PUBLIC_KEY_BYTES, at + SIGNER_BYTES);
      isValid &&= isSignatureValid(signature, message, key);
    }
    verdicts.push(isValid ? 1 : 0);
  }
  return Uint8Array.from(verdicts);
}

/**
 * What goes to a worker thread to be verified: many statements in one buffer, handed over and not copied.
 *
 *   job        statement*
 *   statement  u32le length of message ‖ u32le signatures ‖ message ‖ (raw key (32) ‖ signature (64))*
 *
 * The message is what each signer signed: context ‖ 0x00 ‖ payload; of a checkpoint the text of its note, signed by the
 * key of the log. Proofs are not among them: what they show takes more than signatures.
 */
import { checkpointSignature } from '../protocol/log/index.ts';
import {
  isMultikey,
  type IsSignatureValid,
  PUBLIC_KEY_BYTES,
  isOfKind,
  rawKeyOf,
  SIGNATURE_BYTES,
  signingInput,
  type Statement,
} from '../protocol/index.ts';

const HEAD_BYTES = 8;
const SIGNER_BYTES = PUBLIC_KEY_BYTES + SIGNATURE_BYTES;

/** Whether signatures are all that there is to verify; of others `verifySignatures` knows what is. */
export const isSignaturesAlone = ({ t }: Statement): boolean => t !== 'proof/v1';

/** Whether the lengths are those of the rule, outside of which nothing is valid; only such statements can be packed. */
export const isPackable = (statement: Statement): boolean => {
  const { payload, signatures } = statement;
  return (
    isSignaturesAlone(statement) &&
    payload.by.length === signatures.length &&
    payload.by.every(isMultikey) &&
    signatures.every((signature) => signature.length === SIGNATURE_BYTES)
  );
};

interface Signed {
  readonly message: Uint8Array;
  readonly signers: readonly { readonly key: Uint8Array; readonly signature: Uint8Array }[];
}

function signedOf(statement: Statement): Signed {
  if (isOfKind(statement, 'checkpoint/v1')) {
    const { message, signature, publicKey } = checkpointSignature(statement.payload);
    return { message, signers: [{ key: publicKey, signature }] };
  }
  const { t, payload, payloadBytes, signatures } = statement;
  return {
    message: signingInput(t, payloadBytes),
    signers: payload.by.map((key, i) => ({ key: rawKeyOf(key), signature: signatures[i] as Uint8Array })),
  };
}

export function packJob(statements: readonly Statement[]): ArrayBuffer {
  const all = statements.map(signedOf);
  const bytes = all.reduce(
    (sum, { message, signers }) => sum + HEAD_BYTES + message.length + signers.length * SIGNER_BYTES,
    0,
  );
  const job = new Uint8Array(bytes);
  const words = new DataView(job.buffer);
  let at = 0;
  const put = (part: Uint8Array): void => {
    job.set(part, at);
    at += part.length;
  };
  for (const { message, signers } of all) {
    words.setUint32(at, message.length, true);
    words.setUint32(at + 4, signers.length, true);
    at += HEAD_BYTES;
    put(message);
    for (const { key, signature } of signers) {
      put(key);
      put(signature);
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

import { expect, test } from 'vitest';
import { type OpenClaim, openProof, verifyOpenProof } from '../../../protocol/call/index.ts';
import { digestOf, isSignatureValidPure, Link, signedBytes } from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { keyOf } from '../../builders.ts';
import { caller, claims, FRAMES } from './worked-example.ts';

const code = (wanted: string) => expect.objectContaining({ code: wanted });
const key = caller.publicKey;
const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, i) => (i === 3 ? byte ^ 1 : byte));

test.each(Object.entries(claims))('the proof of %s holds for it and for nothing else', (name, claim: OpenClaim) => {
  const sig = openProof(claim, caller);
  verifyOpenProof(claim, sig, key, isSignatureValidSodium);
  verifyOpenProof(claim, sig, key, isSignatureValidPure);
  const others: Record<string, OpenClaim> = {
    protocolId: { ...claim, protocolId: '/agentmesh/other/call/1.0.0' },
    hash: { ...claim, hash: flipped(claim.hash) },
    sid: { ...claim, sid: flipped(claim.sid) },
    frame: { ...claim, frame: claim.frame === 'open' ? 'ask' : 'open' },
    subject: { ...claim, subject: `${claim.subject}x` },
    nonce: { ...claim, nonce: flipped(claim.nonce) },
    id: { ...claim, id: claim.id === undefined ? Link.ofDigest(digestOf(new Uint8Array(1))) : undefined },
  };
  for (const [what, other] of Object.entries(others))
    expect(() => verifyOpenProof(other, sig, key, isSignatureValidSodium), `${name}: ${what}`).toThrow(
      code('bad_signature'),
    );
  expect(() => verifyOpenProof(claim, flipped(sig), key, isSignatureValidSodium)).toThrow(code('bad_signature'));
  expect(() => verifyOpenProof(claim, sig, keyOf('mallory').publicKey, isSignatureValidSodium)).toThrow(
    code('bad_signature'),
  );
});

test('the examples carry the proofs of what they say', () => {
  for (const [name, claim] of Object.entries(claims)) {
    const [frame] = FRAMES[name] ?? [];
    if (frame === undefined || !('sig' in frame)) throw new Error(`"${name}" is not signed`);
    verifyOpenProof(claim, frame.sig, key, isSignatureValidSodium);
  }
});

test('a signature made in another context is no proof', () => {
  const message = new Uint8Array(32);
  const sig = caller.sign(signedBytes('iatp', message));
  expect(() => verifyOpenProof(claims.open, sig, key, isSignatureValidSodium)).toThrow(code('bad_signature'));
});

test('a claim of other lengths is refused, so that no two read alike', () => {
  for (const wrong of [
    { hash: new Uint8Array(31) },
    { sid: new Uint8Array(17) },
    { nonce: new Uint8Array(0) },
  ] as Partial<OpenClaim>[])
    expect(() => openProof({ ...claims.open, ...wrong }, caller)).toThrow(code('malformed'));
});

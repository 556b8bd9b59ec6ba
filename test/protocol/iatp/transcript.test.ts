import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { concatBytes, toHex, u32be } from '../../../protocol/encoding/bytes.ts';
import { digestOf } from '../../../protocol/encoding/cid.ts';
import { peerIdBytes } from '../../../protocol/encoding/multikey.ts';
import { encodeUnsigned, parseHandshakeFrame } from '../../../protocol/iatp/frames.ts';
import {
  handshakeMessage,
  type Role,
  signatureShown,
  signFrame,
  startTranscript,
  type Transcript,
  transcriptHash,
  verifyShown,
  withMessage,
} from '../../../protocol/iatp/transcript.ts';
import { isSignatureValidPure } from '../../../protocol/signature.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { keyOf } from '../../builders.ts';
import { acme, before, channel, frames, worker } from './worked-example.ts';

const proof = parseHandshakeFrame('proof', frames.proof);
const unsigned = encodeUnsigned<'proof'>(proof);

describe('the transcript', () => {
  test('is SHA-256 over protocol id, both PeerIds, channel binding, earlier messages and the own one, each after its length', () => {
    const parts = [
      new TextEncoder().encode('/agentmesh/agentmesh/iatp/1.0.0'),
      peerIdBytes(channel.initiator),
      peerIdBytes(channel.responder),
      new Uint8Array(32).fill(0x0c),
      frames.hello,
      frames.offer,
      unsigned,
    ];
    const expected = digestOf(concatBytes(...parts.flatMap((part) => [u32be(part.length), part])));
    expect(toHex(transcriptHash(before.proof, unsigned))).toBe(toHex(expected));
    expect(handshakeMessage('I', before.proof, unsigned)).toEqual(concatBytes(Uint8Array.of(0x49), expected));
    expect(handshakeMessage('R', before.proof, unsigned)[0]).toBe(0x52);
    expect(peerIdBytes(channel.initiator)).toHaveLength(38);
  });

  test('of the worked example is what SPEC.md says', () => {
    const spec = readFileSync(join(import.meta.dirname, '../../../protocol/SPEC.md'), 'utf8');
    for (const name of ['offer', 'proof', 'result'] as const) {
      const hash = toHex(transcriptHash(before[name], encodeUnsigned(parseHandshakeFrame(name, frames[name]))));
      expect(spec).toContain(`| ${name.toUpperCase()} | ${frames[name].length} | ${hash} |`);
    }
    for (const value of [channel.initiator, channel.responder, acme.did, worker.did]) expect(spec).toContain(value);
  });

  test('tells apart messages that run together to the same bytes', () => {
    const [a, b] = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5)];
    const start = startTranscript(channel);
    const split = [
      [a, b],
      [concatBytes(a, b)],
      [Uint8Array.of(1, 2), Uint8Array.of(3, 4, 5)],
      [a, b, new Uint8Array()],
    ].map((messages) => toHex(transcriptHash(messages.reduce(withMessage, start), unsigned)));
    expect(new Set(split).size).toBe(split.length);
  });

  test('does not begin without a channel binding of 32 bytes', () => {
    for (const channelBinding of [undefined, new Uint8Array(), new Uint8Array(31), new Uint8Array(33)]) {
      expect(() => startTranscript({ ...channel, channelBinding })).toThrow(
        expect.objectContaining({ code: 'no_channel_binding' }),
      );
    }
  });

  test('does not begin with oneself, nor with a PeerId of another key type', () => {
    expect(() => startTranscript({ ...channel, responder: channel.initiator })).toThrow(
      expect.objectContaining({ code: 'reflection' }),
    );
    expect(() => startTranscript({ ...channel, responder: 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N' })).toThrow(
      expect.objectContaining({ code: 'malformed' }),
    );
  });
});

describe('a signature', () => {
  const key = worker.keys.auth;
  const verify = (role: Role, transcript: Transcript, keys = [key.publicKey]): Uint8Array =>
    verifyShown(signatureShown<'proof'>(role, transcript, proof), keys, isSignatureValidSodium, '');

  test('is found under the one of several keys that made it, by both verifiers of the rule', () => {
    const keys = [worker.keys.sign.publicKey, key.publicKey];
    expect(verify('I', before.proof, keys)).toEqual(key.publicKey);
    expect(verifyShown(signatureShown<'proof'>('I', before.proof, proof), keys, isSignatureValidPure, '')).toEqual(
      key.publicKey,
    );
  });

  test('does not verify when no key may speak', () => {
    expect(() => verify('I', before.proof, [])).toThrow(expect.objectContaining({ code: 'bad_signature' }));
  });

  const other = keyOf('mallory').peerId;
  const changed: [string, Role, Transcript][] = [
    ['the other role', 'R', before.proof],
    ['another channel binding', 'I', { ...before.proof, channel: { ...channel, channelBinding: new Uint8Array(32) } }],
    ['another initiator', 'I', { ...before.proof, channel: { ...channel, initiator: other } }],
    ['another responder', 'I', { ...before.proof, channel: { ...channel, responder: other } }],
    [
      'the peers swapped',
      'I',
      { ...before.proof, channel: { ...channel, initiator: channel.responder, responder: channel.initiator } },
    ],
    ['another network', 'I', { ...before.proof, channel: { ...channel, protocolId: '/agentmesh/lab/iatp/1.0.0' } }],
    ['a message less', 'I', before.offer],
    ['a message more', 'I', before.result],
    ['messages in another order', 'I', { ...before.proof, messages: [frames.offer, frames.hello] }],
  ];
  test.each(changed)('does not verify over %s', (_, role, transcript) => {
    expect(() => verify(role, transcript)).toThrow(expect.objectContaining({ code: 'bad_signature' }));
  });

  test('made for a statement or a login does not verify as one of a handshake', () => {
    const message = handshakeMessage('I', before.proof, unsigned);
    for (const context of ['delegation', 'login', 'heartbeat']) {
      const signature = key.sign(concatBytes(new TextEncoder().encode(`AgentMesh/${context}/v1\0`), message));
      expect(() => verifyShown({ message, signature }, [key.publicKey], isSignatureValidSodium, '')).toThrow(
        expect.objectContaining({ code: 'bad_signature' }),
      );
    }
  });

  test('over an OFFER cannot be replayed against another nonce', () => {
    const again = withMessage(
      startTranscript(channel),
      frames.hello.map((byte) => byte ^ 0),
    );
    const offer = parseHandshakeFrame('offer', frames.offer);
    expect(
      verifyShown(signatureShown<'offer'>('R', again, offer), [acme.keys.auth.publicKey], isSignatureValidSodium, ''),
    ).toEqual(acme.keys.auth.publicKey);
    const other = signFrame('offer', 'R', again, { ...offer, non: new Uint8Array(32).fill(0x23) }, acme.keys.auth);
    const swapped = { ...parseHandshakeFrame('offer', other), non: offer.non };
    expect(() =>
      verifyShown(signatureShown<'offer'>('R', again, swapped), [acme.keys.auth.publicKey], isSignatureValidSodium, ''),
    ).toThrow(expect.objectContaining({ code: 'bad_signature' }));
  });
});

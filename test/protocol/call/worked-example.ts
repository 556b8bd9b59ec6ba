/** One of each frame of calls, and the proof of SPEC.md, "Calls". Every value follows from names and repeated bytes. */
import {
  type CallFrame,
  encodeCallFrame,
  encodePartFrame,
  type OpenClaim,
  openProof,
} from '../../../protocol/call/index.ts';
import {
  concatBytes,
  digestOf,
  Link,
  protocolId,
  toHex,
  transcriptDigest,
  withMessage,
} from '../../../protocol/index.ts';
import { before, frames as handshake, worker } from '../iatp/worked-example.ts';

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
const utf8 = new TextEncoder();

/** The session of the handshake's example. */
export const hash = transcriptDigest(withMessage(before.result, handshake.result));
export const sid = filled(16, 0x33);
export const nonce = filled(32, 0x44);
export const caller = worker.keys.auth;
const entry = Link.ofDigest(digestOf(utf8.encode('an entry')));

const claim = (frame: OpenClaim['frame'], subject: string, id?: Link): OpenClaim => ({
  protocolId: protocolId('agentmesh', 'call'),
  hash,
  sid,
  frame,
  subject,
  nonce,
  id,
});
export const claims = {
  open: claim('open', 'files'),
  'ask-for-services': claim('ask', 'services'),
  'ask-for-evidence': claim('ask', 'evidence', entry),
  renew: claim('renew', 'files'),
} as const;

const sig = filled(64, 0x55);
const salt = filled(16, 0x66);
const statement = filled(300, 0x77);
export const request = utf8.encode('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}');
export const answer = utf8.encode('{"jsonrpc":"2.0","id":1,"result":{"content":[]}}');

/** Each with the frame's own fields; those that carry one have the body inline. */
export const FRAMES: Readonly<Record<string, readonly [frame: CallFrame, body?: Uint8Array]>> = {
  open: [{ f: 'open', v: 1, sid, srv: 'files', non: nonce, sig: openProof(claims.open, caller) }],
  'ask-for-services': [
    { f: 'ask', v: 1, sid, what: 'services', non: nonce, sig: openProof(claims['ask-for-services'], caller) },
  ],
  'ask-for-evidence': [
    {
      f: 'ask',
      v: 1,
      sid,
      what: 'evidence',
      id: entry,
      non: nonce,
      sig: openProof(claims['ask-for-evidence'], caller),
    },
  ],
  opened: [{ f: 'opened' }],
  rejected: [{ f: 'rej', code: 'caps_insufficient', why: 'Cannot open "files": nothing of it is granted' }],
  call: [{ f: 'call', n: 1, order: statement, salt }, request],
  taken: [{ f: 'taken', n: 1, stmt: statement }],
  result: [{ f: 'result', n: 1, rcpt: statement, sig, salt }, answer],
  msg: [{ f: 'msg' }, answer],
  told: [{ f: 'told' }, utf8.encode('[]')],
  sign: [{ f: 'sign', n: 1, sig }],
  decline: [{ f: 'decline', n: 1, code: 'conflict' }],
  renew: [{ f: 'renew', sid, non: nonce, sig: openProof(claims.renew, caller) }],
  renewed: [{ f: 'renewed', sid }],
  mail: [{ f: 'mail', seq: 1, env: statement }],
  kept: [{ f: 'kept', seq: 1 }],
  end: [{ f: 'end', code: 'revoked', why: '' }],
};

export const encoded = (name: string): Uint8Array => {
  const [frame, body] = FRAMES[name] ?? [];
  if (frame === undefined) throw new Error(`There is no example "${name}"`);
  return encodeCallFrame(frame, body && { inline: body });
};

/** A body of 70,000 bytes on the wire: two parts, then the frame that it belongs to. */
export const LARGE_BODY = utf8.encode(toHex(filled(35_000, 0xab)));
export const largeMessage: readonly Uint8Array[] = [
  concatBytes(...encodePartFrame(1, LARGE_BODY.subarray(0, 40_000))),
  concatBytes(...encodePartFrame(1, LARGE_BODY.subarray(40_000))),
  encodeCallFrame({ f: 'msg' }, { m: 1, size: LARGE_BODY.length }),
];

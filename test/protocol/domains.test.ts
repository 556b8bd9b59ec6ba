import { expect, test } from 'vitest';
import {
  CHANNEL_BINDING_PREFIX,
  isNetworkName,
  protocolId,
  SIGNING_CONTEXTS,
  signedBytes,
  type SigningContext,
  TOPICS,
  topicName,
} from '../../protocol/domains.ts';
import { toHex } from '../../protocol/encoding/bytes.ts';
import { KINDS } from '../../protocol/statement/kinds.ts';

const contexts = Object.entries(SIGNING_CONTEXTS) as [SigningContext, string][];

test('every context is "AgentMesh/" name "/v1", and none is the start of another', () => {
  for (const [name, text] of contexts) expect(text).toBe(`AgentMesh/${name}/v1`);
  const prefixes = [...contexts.map(([, text]) => `${text}\0`), new TextDecoder().decode(CHANNEL_BINDING_PREFIX)];
  for (const one of prefixes) expect(prefixes.filter((other) => other.startsWith(one))).toEqual([one]);
});

test('what is signed is the context, a zero byte and the message', () => {
  const message = Uint8Array.of(0, 0xff, 7);
  for (const [name, text] of contexts) {
    expect(toHex(signedBytes(name, message))).toBe(`${Buffer.from(text, 'ascii').toString('hex')}0000ff07`);
  }
});

const provingThemselves = ['checkpoint/v1', 'proof/v1'];
test('a kind signs under the context of its own name, unless it proves itself', () => {
  for (const [t, { context }] of Object.entries(KINDS)) {
    if (context === undefined) expect(provingThemselves).toContain(t);
    else expect(SIGNING_CONTEXTS[context]).toBe(`AgentMesh/${t}`);
  }
  expect(provingThemselves.every((t) => Object.hasOwn(KINDS, t))).toBe(true);
});

test('protocol ids and topics carry the network and a version', () => {
  expect(protocolId('lab', 'sync')).toBe('/agentmesh/lab/sync/1.0.0');
  expect(TOPICS.map((topic) => topicName('lab', topic))).toEqual([
    '/agentmesh/lab/rev/1',
    '/agentmesh/lab/id/1',
    '/agentmesh/lab/link/1',
    '/agentmesh/lab/cp/1',
  ]);
});

test('the name of a network is short, lower case and holds no slash', () => {
  for (const name of ['agentmesh', 'a', '0', 'lab-2', 'x'.repeat(32)]) expect(isNetworkName(name), name).toBe(true);
  for (const name of ['', '-a', 'A', 'a/b', 'a b', 'é', 'a_b', 'a\n', 'x'.repeat(33)])
    expect(isNetworkName(name), name).toBe(false);
});

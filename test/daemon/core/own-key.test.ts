import { afterEach, expect, test } from 'vitest';
import type { ToSign } from '../../../protocol/control/index.ts';
import { isMeshError, type KindName, signingInput } from '../../../protocol/index.ts';
import { keyOf } from '../../builders.ts';
import { input, type Member, never, NodeWorld, operator } from './node-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

const key = keyOf('kept by the agent');
const signed = (t: KindName, toSign: readonly ToSign[]): string[] =>
  toSign.map(({ payload }) =>
    Buffer.from(key.sign(signingInput(t, Uint8Array.from(Buffer.from(payload, 'base64url'))))).toString('base64url'),
  );

/** Two nodes; at the second an agent that keeps its own key, to whom the first has granted something. */
async function granted(): Promise<{ a: Member; b: Member; reader: string; clerk: string; grant: string }> {
  world = new NodeWorld();
  const [a, b] = [await world.open('acme'), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  const made = await world.during(
    a.api.agentCreate(
      input({ name: 'clerk', sponsor: 'alice@example.com', capabilities: [{ can: 'read:data' }] }),
      operator,
      never,
    ),
  );
  const draft = await world.during(
    b.api.agentCreate(
      input({ name: 'reader', sponsor: 'bob@example.com', capabilities: [{ can: 'read:data' }], publicKey: key.text }),
      operator,
      never,
    ),
  );
  const reader = draft.agent.did;
  await world.during(
    b.api.agentComplete(input({ signatures: signed('didop/v1', draft.toSign) }, { did: reader }), operator, never),
  );
  const { link } = await world.during(
    a.api.delegationCreate(input({ to: reader, capabilities: [{ can: 'read:reports/*' }] }), operator, never),
  );
  return { a, b, reader, clerk: made.agent.did, grant: link.id };
}

async function renew(b: Member, did: string, body: { grant?: string }): Promise<string> {
  const { id, toSign } = await b.api.credentialPrepare(input(body, { did }), operator, never);
  const answer = await world.during(
    b.api.credentialComplete(input({ id, signatures: signed('delegation/v1', toSign) }, { did }), operator, never),
  );
  return answer.credential?.holderKey ?? '';
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  world.during(
    work.then(
      () => 'ok',
      (error: unknown) => (isMeshError(error) ? error.code : String(error)),
    ),
    1_000,
  );

test('an agent that keeps its own key presents a grant once it bound it to the key of its credential', async () => {
  const { a, b, reader, clerk, grant } = await granted();
  const wish = { did: clerk, as: reader, grant, capabilities: [{ can: 'read:reports/q3' }] };
  expect(await codeOf(b.api.handshakeCreate(input(wish), operator, never))).toBe('key_missing');
  const holderKey = await renew(b, reader, {});
  expect(await codeOf(b.api.handshakeCreate(input(wish), operator, never))).toBe('key_missing');
  expect(await renew(b, reader, { grant })).toBe(holderKey);
  expect(await codeOf(b.api.handshakeCreate(input(wish), operator, never))).toBe('ok');
  expect(a.node.sessions.size).toBe(1);
  // With the next credential there is another key, so the grant has to be bound anew.
  expect(await renew(b, reader, {})).not.toBe(holderKey);
  expect(await codeOf(b.api.handshakeCreate(input(wish), operator, never))).toBe('key_missing');
});

test('a grant can be bound by its holder alone, with its own signature, under a credential in force', async () => {
  const { b, reader, clerk, grant } = await granted();
  const prepare = (did: string): Promise<unknown> =>
    b.api.credentialPrepare(input({ grant }, { did }), operator, never);
  expect(await codeOf(prepare(reader))).toBe('key_missing');
  await renew(b, reader, {});
  expect(await codeOf(prepare(clerk))).toBe('holder_mismatch');
  const { id } = await b.api.credentialPrepare(input({ grant }, { did: reader }), operator, never);
  const signatures = [Buffer.alloc(64, 1).toString('base64url')];
  expect(await codeOf(b.api.credentialComplete(input({ id, signatures }, { did: reader }), operator, never))).toBe(
    'bad_signature',
  );
});

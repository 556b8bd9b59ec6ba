import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SessionView } from '../../protocol/control/index.ts';
import { AgentIdentity, AgentMesh, TrustBridge } from '../../sdk/index.ts';
import { createAgent } from '../builders.ts';
import { FakeBackend } from '../daemon/control/fake-backend.ts';
import { startServer, type Started } from '../daemon/control/start.ts';

let started: Started;
let mesh: AgentMesh;
let peer: string;
beforeEach(async () => {
  started = await startServer();
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  peer = (await AgentIdentity.create({ name: 'peer', sponsor: 'bob@company.com', capabilities: ['read:data'], mesh }))
    .did;
});
afterEach(() => started[Symbol.asyncDispose]());

describe('TrustBridge', () => {
  test('verifyPeer() gives what was found, and from what the score is', async () => {
    const verification = await new TrustBridge({ mesh }).verifyPeer(peer, {
      minScore: 300,
      capabilities: ['read:data:eu'],
    });
    expect(verification).toMatchObject({
      verified: true,
      did: peer,
      organisation: started.fake.organisation.did,
      score: 300,
      scoreBasis: 'neutral default: no evidence exists yet',
      capabilities: [{ can: 'read:data/eu' }],
    });
    expect(await mesh.sessions.list()).toHaveLength(1);
    await verification.close();
    expect(await mesh.sessions.list()).toEqual([]);
  });

  test.each([
    ['requiredTrustScore', { requiredTrustScore: 700 }, 700],
    ['minScore', { minScore: 301 }, 301],
    ['the higher of both', { minScore: 300, requiredTrustScore: 500 }, 500],
  ])('a peer below %s is refused, with its score of 300', async (_, options, min) => {
    await expect(new TrustBridge({ mesh }).verifyPeer(peer, options)).rejects.toMatchObject({
      code: 'score_below',
      data: { did: peer, is: 300, min },
    });
    expect(await mesh.sessions.list()).toEqual([]);
  });

  test('a peer that nobody knows is refused, and so is what is no capability', async () => {
    const stranger = createAgent(started.fake.organisation, 'stranger').did;
    await expect(new TrustBridge({ mesh }).verifyPeer(stranger)).rejects.toMatchObject({ code: 'did_unknown' });
    await expect(new TrustBridge({ mesh }).verifyPeer('peer-1')).rejects.toMatchObject({ code: 'bad_request' });
    await expect(new TrustBridge({ mesh }).verifyPeer(peer, { capabilities: ['*'] })).rejects.toMatchObject({
      code: 'malformed',
    });
    await expect(new TrustBridge({ mesh }).verifyPeer(peer, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
  });

  test('asks for the identity that it was given, through its daemon', async () => {
    const identity = await AgentIdentity.create({
      name: 'me',
      sponsor: 'bob@company.com',
      capabilities: ['read:data'],
      mesh,
    });
    await using verification = await new TrustBridge({ as: identity }).verifyPeer(peer);
    expect(verification.session.as).toBe(identity.did);
  });

  test('an identity that keeps its own key binds the grant that it presents to its credential, and signs nothing else', async () => {
    const me = await AgentIdentity.create({
      name: 'me',
      sponsor: 'bob@company.com',
      capabilities: ['read:data'],
      key: 'own',
      mesh,
    });
    const { link } = await mesh.delegations.create({ to: me.did, capabilities: [{ can: 'read:reports/*' }] });
    await using verification = await new TrustBridge({ as: me }).verifyPeer(peer, {
      grant: link.id,
      capabilities: ['read:reports/q3'],
    });
    expect(verification.verified).toBe(true);
    expect(started.fake.bound.map(({ did, grant }) => [did, grant])).toEqual([[me.did, link.id]]);
    expect(started.fake.bound[0]?.link.payload).toMatchObject({
      iss: me.did,
      aud: me.did,
      cap: [{ can: 'read:reports/*' }],
      pri: true,
    });
    me.close();
  });

  test.each<[string, (session: SessionView) => SessionView]>([
    ['another peer', (session) => ({ ...session, did: session.organisation })],
    ['a score below what was asked', (session) => ({ ...session, score: 299 })],
    ['less than the capabilities asked for', (session) => ({ ...session, granted: [{ can: 'read:other' }] })],
  ])('does not believe a daemon that answers with %s', async (_, change) => {
    class Lying extends FakeBackend {
      override async handshakeCreate(...args: Parameters<FakeBackend['handshakeCreate']>) {
        return { session: change((await super.handshakeCreate(...args)).session) };
      }
    }
    await using lying = await startServer({ fake: new Lying() });
    const there = await AgentMesh.connect({ socket: lying.socketPath, token: null });
    const { did } = await AgentIdentity.create({
      name: 'peer',
      sponsor: 'bob@company.com',
      capabilities: ['read:data'],
      mesh: there,
    });
    await expect(
      new TrustBridge({ mesh: there }).verifyPeer(did, { capabilities: ['read:data'] }),
    ).rejects.toMatchObject({ code: 'internal' });
  });
});

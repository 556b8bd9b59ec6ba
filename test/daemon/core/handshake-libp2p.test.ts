/** Over real sockets: the channel binding of a real Noise handshake, and a lifeline that is a real stream. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createLibp2pNetwork, type Libp2pNetwork } from '../../../daemon/libp2p/index.ts';
import type { Clock } from '../../../daemon/ports.ts';
import { createSystemClock, createSystemRandom } from '../../../daemon/system.ts';
import { encodeCbor, limits } from '../../../protocol/index.ts';
import { createRevocation, NOW_MS } from '../../builders.ts';
import { addressOf, until } from '../libp2p/world.ts';
import { createHandshakeWorld, endings, grantTo, type Party, quiet, refusals, type World } from './handshake-world.ts';

// One pair of nodes for all tests; no session outlives its test.
let world: World;
let acme: Party;
let beta: Party;
beforeAll(async () => {
  world = await connected();
  [acme, beta] = world.parties as [Party, Party];
});
afterEach(async () => {
  for (const { sid } of beta.sessions.list()) beta.sessions.end(sid);
  await until('all is over', () => acme.sessions.size + beta.sessions.size === 0);
  for (const { events, is } of world.parties) {
    events.length = 0;
    is.presents = undefined;
  }
});
afterAll(() => world.close());

/** Runs on from the time of the builders. */
function clockFrom(startMs: number): Clock {
  const system = createSystemClock();
  const beganMs = system.monotonicMs();
  return { ...system, nowMs: () => startMs + system.monotonicMs() - beganMs };
}

async function connected(): Promise<World> {
  const clock = clockFrom(NOW_MS);
  const networks: Libp2pNetwork[] = [];
  const join = async ({ seed }: { readonly seed: Uint8Array }): Promise<Libp2pNetwork> => {
    const network = await createLibp2pNetwork(
      { clock, random: createSystemRandom(), log: quiet },
      { listen: ['/ip4/127.0.0.1/tcp/0'], localNetwork: true, privateKeySeed: seed },
    );
    network.onConnect(({ peer }) => network.setBound(peer, true));
    networks.push(network);
    return network;
  };
  const made = await createHandshakeWorld({ real: { clock, join } });
  for (const network of networks) await network.start();
  await networks[1]?.dial(addressOf(networks[0] as Libp2pNetwork));
  await until('both are connected', () => made.parties.every(({ network }) => network.connections().length === 1));
  return made;
}
const Q3 = [{ can: 'read:reports/q3' }];

describe('over libp2p', () => {
  test('a session opens, is revoked on one side, and ends on the other', async () => {
    const grant = grantTo(world, acme, beta);
    const session = await beta.handshakes.shake({
      as: beta.agent.did,
      did: acme.agent.did,
      grant: grant.id,
      capabilities: Q3,
    });
    expect(session).toMatchObject({ granted: Q3, direction: 'outbound' });
    expect(session.durationMs).toBeGreaterThan(0);
    await until('R has it too', () => acme.sessions.get(session.sid) !== undefined);
    world.learn([createRevocation(acme.organisation, grant)], acme);
    expect(endings(acme)).toEqual(['revoked']);
    await until('I learns of it', () => beta.sessions.size === 0);
    expect(endings(beta)).toEqual(['revoked']);
  });

  test('refusals arrive with their code', async () => {
    beta.is.presents = (usual) => ({ ...usual, signer: beta.agent.keys.sign });
    await expect(beta.handshakes.shake({ as: beta.agent.did, did: acme.agent.did })).rejects.toMatchObject({
      code: 'bad_signature',
      data: { side: 'peer' },
    });
    expect(refusals(acme)).toEqual(['bad_signature']);
    await expect(
      beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did, minScore: 700 }),
    ).rejects.toMatchObject({
      code: 'score_below',
      data: { min: 700, is: 300 },
    });
    await until('R has heard it', () => refusals(acme).includes('score_below'));
  });

  test('no more sessions fit a connection than it carries streams, and each makes room when it ends', async () => {
    const shake = () => beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    for (let i = 0; i < limits.SESSIONS_A_CONNECTION_MAX; i++) await shake();
    await expect(shake()).rejects.toMatchObject({ code: 'busy' });
    beta.sessions.end(beta.sessions.list()[0]?.sid ?? '');
    await until('there is room again', async () => (await shake().catch(() => undefined)) !== undefined);
  });

  test('a stranger that sends too much is cut off', async () => {
    const stream = await beta.network.openStream(acme.network.peer, 'iatp', { frameBytesMax: 2 ** 20 });
    await stream.send(encodeCbor(new Uint8Array(limits.IATP_FRAME_BYTES_MAX)));
    await expect(stream.receive()).rejects.toMatchObject({ code: 'closed' });
    expect(refusals(acme)).toEqual(['too_large']);
  });

  test('a connection that breaks ends its sessions on both sides', async () => {
    await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    await until('R has it too', () => acme.sessions.size === 1);
    await acme.network.disconnect(beta.network.peer, 'a test');
    await until('both know', () => acme.sessions.size + beta.sessions.size === 0);
    expect([endings(acme), endings(beta)]).toEqual([['closed'], ['closed']]);
  });
});

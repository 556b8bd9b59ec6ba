import { afterEach, describe, expect, test } from 'vitest';
import { formatSession } from '../../../daemon/core/sessions.ts';
import { checkJson, schemas } from '../../../protocol/control/index.ts';
import {
  createHandshakeWorld,
  endings,
  grantTo,
  type Party,
  refusals,
  type World,
  type WorldOptions,
} from './handshake-world.ts';
import { settle } from './virtual-clock.ts';

let open: World | undefined;
afterEach(async () => {
  await open?.close();
  const errors = open?.parties.flatMap((party) => [...party.errors, ...party.network.faults]) ?? [];
  const timers = open?.clock.timers;
  open = undefined;
  expect(errors).toEqual([]);
  expect(timers ?? 0).toBe(0);
});

async function pair(options?: WorldOptions): Promise<{ world: World; acme: Party; beta: Party }> {
  const world = await createHandshakeWorld(options);
  open = world;
  const [acme, beta] = world.parties;
  if (acme === undefined || beta === undefined) throw new Error('two parties');
  return { world, acme, beta };
}

describe('a handshake', () => {
  test('of two organisations opens one session on both sides', async () => {
    const { acme, beta } = await pair();
    const session = await beta.handshakes.shake({ as: beta.organisation.did, did: acme.organisation.did });
    await settle();
    const [other] = acme.sessions.list();
    expect(other?.sid).toBe(session.sid);
    expect(session).toMatchObject({
      direction: 'outbound',
      sponsor: null,
      granted: [],
      score: 300,
      did: acme.organisation.did,
    });
    expect(other).toMatchObject({
      direction: 'inbound',
      did: beta.organisation.did,
      as: acme.organisation.did,
      durationMs: null,
    });
  });

  test('of an agent with a grant is given what it asks for', async () => {
    const { world, acme, beta } = await pair();
    const grant = grantTo(world, acme, beta, { rate: [{ can: 'read:reports/*', n: 10, per: 60 }] });
    const session = await beta.handshakes.shake({
      as: beta.agent.did,
      did: acme.agent.did,
      grant: grant.id,
      capabilities: [{ can: 'read:reports/q3' }],
    });
    await settle();
    expect(session.granted).toEqual([{ can: 'read:reports/q3' }]);
    expect(acme.sessions.list()).toMatchObject([
      { granted: [{ can: 'read:reports/q3' }], sponsor: beta.sponsor.did, rates: [{ link: grant.id, n: 10, per: 60 }] },
    ]);
    expect(refusals(acme)).toEqual([]);
  });
});

import { afterEach, beforeEach, expect, test } from 'vitest';
import { chooseGrant, type GrantWanted } from '../../../../daemon/core/calls/grants.ts';
import { isMeshError, type Statement, verifyChain } from '../../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createChildLink, createRevocation, createRootLink, NOW_SECONDS } from '../../../builders.ts';
import { createHandshakeWorld, type Party, type World } from '../handshake-world.ts';

type Link = Statement<'delegation/v1'>;
let world: World;
let acme: Party;
let beta: Party;
beforeEach(async () => {
  world = await createHandshakeWorld();
  [acme, beta] = world.parties as [Party, Party];
});
afterEach(() => world.close());

const never = new AbortController().signal;
type Fields = Partial<Parameters<typeof createRootLink>[2]>;

const give = (can: readonly string[], fields: Fields = {}): Link => {
  const link = createRootLink(acme.organisation, acme.sponsor, {
    aud: beta.agent.did,
    cap: can.map((one) => ({ can: one })),
    ...fields,
  });
  world.learn([link]);
  return link;
};
const choose = (wanted: Partial<GrantWanted> = {}) =>
  chooseGrant(
    {
      state: beta.state,
      clock: world.clock,
      chains: {
        judge: (leaf, question) =>
          verifyChain(leaf, {
            view: beta.state,
            roots: question?.roots ?? new Set(),
            nowMs: world.clock.nowMs(),
            isSignatureValid: isSignatureValidSodium,
          }),
        freshen: async () => {},
      },
    },
    {
      as: beta.agent.did,
      did: acme.agent.did,
      organisation: acme.organisation.did,
      about: 'mcp:files/*',
      ...wanted,
    },
    never,
  );
const codeOf = async (wanted: Partial<GrantWanted> = {}): Promise<string> => {
  try {
    return (await choose(wanted)).leaf;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
};

test('the one that covers most of what is wanted is chosen, whatever its age', async () => {
  const wide = give(['mcp:files/*'], { iat: NOW_SECONDS - 100 });
  give(['mcp:files/read'], { iat: NOW_SECONDS });
  expect((await choose()).leaf).toBe(wide.id);
});

test('what grants something by name comes before what grants something else', async () => {
  give(['read:reports/*', 'write:notes/*', 'pay:invoices/*']);
  const named = give(['mcp:files/read']);
  expect((await choose()).leaf).toBe(named.id);
});

test('what grants only something else is presented all the same: an exposure may need that', async () => {
  const other = give(['read:reports/*']);
  expect(await choose()).toEqual({ leaf: other.id, capabilities: [{ can: 'read:reports/*' }] });
});

test('of equals the newest, and asked twice the same', async () => {
  give(['mcp:files/*'], { iat: NOW_SECONDS - 20, nbf: NOW_SECONDS - 20 });
  const newest = give(['mcp:files/*'], { iat: NOW_SECONDS - 10, nbf: NOW_SECONDS - 20 });
  expect([(await choose()).leaf, (await choose()).leaf]).toEqual([newest.id, newest.id]);
});

test('what is expired, revoked, for another place, purpose or root is not chosen', async () => {
  give(['mcp:files/*'], { nbf: NOW_SECONDS - 100, iat: NOW_SECONDS - 100, exp: NOW_SECONDS - 61 });
  give(['mcp:files/*'], { at: [acme.sponsor.did] });
  give(['mcp:files/*'], { pur: ['audit'] });
  const revoked = give(['mcp:files/*'], { dep: 0 });
  world.learn([createRevocation(acme.organisation, revoked)]);
  expect(await codeOf()).toBe('caps_insufficient');
  expect(await codeOf({ organisation: beta.organisation.did })).toBe(beta.rootLink.id);
});

test('a grant for a purpose is chosen for that purpose', async () => {
  const link = give(['mcp:files/*'], { pur: ['audit'] });
  expect(await codeOf({ purpose: 'audit' })).toBe(link.id);
  expect(await codeOf({ purpose: 'fun' })).toBe('caps_insufficient');
});

test('a grant is followed through the own organisation to its agent, and means the meet of its links', async () => {
  const toOrganisation = createRootLink(acme.organisation, acme.sponsor, {
    aud: beta.organisation.did,
    cap: [{ can: 'mcp:files/*', res: ['/srv/a/'] }],
  });
  const child = createChildLink(toOrganisation, beta.organisation, {
    aud: beta.agent.did,
    cap: [{ can: 'mcp:files/read' }],
  });
  world.learn([toOrganisation, child]);
  expect(await choose()).toEqual({ leaf: child.id, capabilities: [{ can: 'mcp:files/read', res: ['/srv/a/'] }] });
});

test('a named one is taken as it is, or refused for what is wrong with it', async () => {
  give(['mcp:files/*']);
  const named = give(['read:reports/q3']);
  expect(await codeOf({ grant: named.id })).toBe(named.id);
  expect(await codeOf({ grant: acme.rootLink.id })).toBe('holder_mismatch');
  expect(await codeOf({ grant: `${named.id.slice(0, -1)}b` })).toBe('not_found');
  world.learn([createRevocation(acme.organisation, named)]);
  expect(await codeOf({ grant: named.id })).toBe('revoked');
});

test('without any, the error says who may give one and how', async () => {
  await expect(choose()).rejects.toMatchObject({
    code: 'caps_insufficient',
    data: {
      did: acme.agent.did,
      want: 'mcp:files/*',
      next: expect.stringContaining(`agentmesh delegate --to ${beta.agent.did} --can mcp:files/*`),
    },
  });
});

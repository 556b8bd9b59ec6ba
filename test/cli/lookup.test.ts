import { expect, test } from 'vitest';
import { findSession, speakerOf } from '../../cli/lookup.ts';
import type { Mesh } from '../../cli/mesh.ts';

const sids = [`0f3a${'0'.repeat(28)}`, `0f3a${'1'.repeat(28)}`, `aa${'2'.repeat(30)}`];
const mesh: Pick<Mesh, 'call'> = { call: (async () => ({ sessions: sids.map((sid) => ({ sid })) })) as Mesh['call'] };
const find = (text: string): Promise<string> => findSession(mesh, text);

test('findSession() takes what only one session begins with, as tables cut it', async () => {
  expect([await find('0f3a1'), await find('0F3A0…'), await find('aa22')]).toEqual([sids[1], sids[0], sids[2]]);
  expect(await find('f'.repeat(32))).toBe('f'.repeat(32)); // whether it is open is the daemon's word
});

test('findSession() refuses what several begin with, what none does, and what is too short or no id', async () => {
  await expect(find('0f3a')).rejects.toThrow('2 begin with "0f3a"');
  await expect(find('0f3b')).rejects.toMatchObject({ code: 'not_found' });
  await expect(find('0f3')).rejects.toThrow('at least 4 letters');
  await expect(find('reports')).rejects.toThrow('at least 4 letters');
});

const [organisation, reader, clerk] = ['a', 'b', 'c'].map((letter) => `did:mesh:bafyrei${letter.repeat(52)}`);
const speaker = (statuses: readonly string[], named?: string): Promise<string | undefined> => {
  const agents = statuses.map((status, index) => ({
    name: ['reader', 'clerk'][index],
    did: [reader, clerk][index],
    status,
  }));
  const call = async (route: string) => (route === 'status' ? { organisation: { did: organisation } } : { agents });
  return speakerOf({ call: call as unknown as Mesh['call'] } as Mesh, named);
};

test('speakerOf() is the only registered agent, and without one the organisation', async () => {
  expect(await speaker(['active'])).toBe(reader);
  expect(await speaker(['revoked', 'active'])).toBe(clerk);
  expect(await speaker(['unregistered', 'suspended'])).toBeUndefined();
  expect(await speaker([])).toBeUndefined();
});

test('speakerOf() is whoever is named, the organisation by its DID, and nobody where it cannot be told', async () => {
  expect(await speaker(['active', 'active'], 'clerk')).toBe(clerk);
  expect(await speaker(['active', 'active'], organisation)).toBeUndefined();
  await expect(speaker(['active', 'active'])).rejects.toThrow('there are "reader", "clerk"');
  await expect(speaker(['active'], 'nobody')).rejects.toMatchObject({ code: 'not_found' });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LevelDatastore } from 'datastore-level';
import { Key } from 'interface-datastore';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openDatastore, parseKnownPeers } from '../../../daemon/libp2p/datastore.ts';
import { limits } from '../../../protocol/index.ts';
import { quietLog } from './world.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'agentmesh-datastore-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const known = [{ peer: '12D3KooW', addresses: ['/ip4/127.0.0.1/tcp/4001'], seenMs: 5 }];

describe('openDatastore()', () => {
  test('gives back the known peers that were saved', async () => {
    const first = await openDatastore(directory);
    expect(await first.loadKnownPeers(quietLog)).toEqual([]);
    await first.saveKnownPeers(known);
    await first.close();
    const second = await openDatastore(directory);
    expect(await second.loadKnownPeers(quietLog)).toEqual(known);
    await second.close();
  });

  test('says so and starts without them when the row cannot be read', async () => {
    const damaged = new LevelDatastore(directory);
    await damaged.open();
    await damaged.put(new Key('/agentmesh/known-peers'), new TextEncoder().encode('{'));
    await damaged.close();
    const warnings: string[] = [];
    const datastore = await openDatastore(directory);
    expect(await datastore.loadKnownPeers({ ...quietLog, warn: (_, message) => warnings.push(message) })).toEqual([]);
    expect(warnings).toEqual(['known peers could not be read']);
    await datastore.close();
  });

  test('keeps nothing without a directory', async () => {
    const datastore = await openDatastore(undefined);
    await datastore.saveKnownPeers(known);
    expect(await datastore.loadKnownPeers(quietLog)).toEqual([]);
    expect(datastore.datastore).toBeUndefined();
    await datastore.close();
  });

  test('says already_running while another holds the directory', async () => {
    const first = await openDatastore(directory);
    await expect(openDatastore(directory)).rejects.toMatchObject({ code: 'already_running' });
    await first.close();
  });
});

describe('parseKnownPeers()', () => {
  test.each([
    '{}',
    '[1]',
    '[null]',
    '[{}]',
    '[{"peer":1,"addresses":[],"seenMs":0}]',
    '[{"peer":"p","addresses":[1],"seenMs":0}]',
  ])('refuses %s', (text) => {
    expect(() => parseKnownPeers(text)).toThrow(expect.objectContaining({ code: 'store_corrupt' }));
  });

  test('takes no more peers than are remembered', () => {
    const rows = Array.from({ length: limits.KNOWN_PEERS_MAX + 5 }, () => known[0]);
    expect(parseKnownPeers(JSON.stringify(rows))).toHaveLength(limits.KNOWN_PEERS_MAX);
  });
});

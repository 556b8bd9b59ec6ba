import { afterEach, expect, test } from 'vitest';
import { Freshness, type FreshnessComponents } from '../../../daemon/core/freshness.ts';
import { MeshError } from '../../../protocol/index.ts';
import { createOrganisation } from '../../builders.ts';
import { quiet } from './handshake-world.ts';
import { NodeWorld } from './node-world.ts';
import { settle } from './virtual-clock.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

test('that one who asked gives up takes nothing from another who waits for the same answer', async () => {
  world = new NodeWorld();
  const { node } = await world.open('acme');
  let answer = (): void => {};
  const sync = {
    peersOf: () => ['issuer'],
    boundPeers: () => [],
    pullHeartbeats: (_dids: unknown, _peer: unknown, { signal }: { signal: AbortSignal }) =>
      new Promise<void>((resolve, reject) => {
        answer = resolve;
        signal.addEventListener('abort', () => reject(new MeshError('cancelled', 'Cannot go on: cancelled')));
      }),
  } as unknown as FreshnessComponents['sync'];
  const { pipeline, resolver, organisation } = node;
  const { clock, random } = node.components;
  const freshness = new Freshness({
    pipeline,
    sync,
    resolver,
    organisation,
    clock,
    random,
    log: quiet,
    reliedOn: () => new Map(),
  });
  const { did } = createOrganisation('issuer');
  const leaving = new AbortController();
  const ended: string[] = [];
  const first = freshness.freshen(did, { maxAgeSeconds: 60, signal: leaving.signal }).then(() => ended.push('first'));
  const second = freshness.freshen(did, { maxAgeSeconds: 60 }).then(() => ended.push('second'));
  await settle();
  leaving.abort(new MeshError('cancelled', 'Cannot go on: cancelled'));
  await settle();
  expect(ended).toEqual(['first']);
  answer();
  await Promise.all([first, second]);
  expect(ended).toEqual(['first', 'second']);
});

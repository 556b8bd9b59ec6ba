import { describe, expect, test } from 'vitest';
import { PendingStatements } from '../../../daemon/core/pending.ts';
import type { Statement } from '../../../protocol/index.ts';
import { createOrganisation } from '../../builders.ts';
import { VirtualClock } from './virtual-clock.ts';

const { genesis } = createOrganisation('acme');
/** What counts here is the id and the length. */
const statementOf = (id: string, bytes = 100): Statement => ({ ...genesis, id, envelope: new Uint8Array(bytes) });
const from = (peer: string) => ({ via: 'pulled', peer }) as const;
const waiting = (pending: PendingStatements, ...names: string[]): string[] =>
  pending.entriesFor(...names).map(({ statement }) => statement.id);

describe('what waits', () => {
  test('is found by what it waits for, oldest first', () => {
    const pending = new PendingStatements(new VirtualClock());
    expect(pending.add(statementOf('a'), 'x', from('p'))).toBe(true);
    expect(pending.add(statementOf('b'), 'y', from('p'))).toBe(true);
    expect(pending.add(statementOf('c'), 'x', from('q'))).toBe(true);
    expect(waiting(pending, 'x')).toEqual(['a', 'c']);
    expect(waiting(pending, 'y', 'x')).toEqual(['b', 'a', 'c']);
    expect(waiting(pending, 'z')).toEqual([]);
    expect(pending.waitingFor('x').map(({ id }) => id)).toEqual(['a', 'c']);
  });

  test('keeps its place when it is offered again, and takes a new one when it waits for something else', async () => {
    const clock = new VirtualClock();
    const pending = new PendingStatements(clock);
    pending.add(statementOf('a'), 'x', from('p'));
    pending.add(statementOf('b'), 'x', from('p'));
    const [entry] = pending.entriesFor('x');
    await clock.advance(5 * 60_000);
    expect(pending.add(statementOf('a'), 'x', from('q'))).toBe(false);
    expect(waiting(pending, 'x')).toEqual(['a', 'b']);
    expect(entry !== undefined && pending.has(entry)).toBe(true);
    expect(pending.add(statementOf('b'), 'y', from('q'))).toBe(true);
    expect(pending.size).toBe(2);
    await clock.advance(5 * 60_000);
    pending.expire();
    expect(waiting(pending, 'x', 'y')).toEqual(['b']);
  });

  test('is taken out by the entry, unless it waits for something else by now', () => {
    const pending = new PendingStatements(new VirtualClock());
    pending.add(statementOf('a'), 'x', from('p'));
    const [old] = pending.entriesFor('x');
    if (old === undefined) throw new Error('it waits');
    pending.add(statementOf('a'), 'y', from('p'));
    expect(pending.has(old)).toBe(false);
    pending.remove(old);
    expect(waiting(pending, 'y')).toEqual(['a']);
    const [entry] = pending.entriesFor('y');
    if (entry !== undefined) pending.remove(entry);
    expect(pending.size).toBe(0);
    expect(waiting(pending, 'x', 'y')).toEqual([]);
  });

  test('goes after ten minutes', async () => {
    const clock = new VirtualClock();
    const pending = new PendingStatements(clock);
    pending.add(statementOf('a'), 'x', from('p'));
    await clock.advance(1);
    pending.add(statementOf('b'), 'x', from('p'));
    await clock.advance(10 * 60_000 - 2);
    pending.expire();
    expect(pending.size).toBe(2);
    await clock.advance(1);
    pending.expire();
    expect(waiting(pending, 'x')).toEqual(['b']);
  });

  test('is 256 of one peer, 4,096 of all, 16 MiB: the oldest goes', () => {
    const pending = new PendingStatements(new VirtualClock());
    for (let i = 0; i < 4_096 + 256; i++) {
      pending.add(statementOf(`${i}`), `x ${i}`, from(`p ${i >> 8}`));
      expect(pending.size).toBe(Math.min(i + 1, 4_096));
    }
    expect(waiting(pending, 'x 255', 'x 256')).toEqual(['256']);
    pending.add(statementOf('more'), 'y', from('p 3'));
    expect(pending.size).toBe(4_096); // of its own peer, not the oldest of all
    expect(waiting(pending, 'x 256', 'x 767', 'x 768', 'x 769')).toEqual(['256', '767', '769']);

    const large = new PendingStatements(new VirtualClock());
    for (let i = 0; i < 300; i++) large.add(statementOf(`${i}`, 64 * 1024), `${i}`, from(`p ${i >> 7}`));
    expect(large.size).toBe(256);
    expect(waiting(large, '43', '44')).toEqual(['44']);
    for (const entry of large.entriesFor(...Array.from({ length: 300 }, (_, i) => `${i}`))) large.remove(entry);
    for (let i = 0; i < 256; i++) large.add(statementOf(`${i}`, 64 * 1024), `${i}`, from('p'));
    expect(large.size).toBe(256); // what went is counted no more
  });
});

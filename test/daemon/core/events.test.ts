import { describe, expect, test } from 'vitest';
import { EventBus } from '../../../daemon/core/events.ts';
import { checkJson, EventSchema, type MeshEvent } from '../../../protocol/control/index.ts';
import { createOrganisation } from '../../builders.ts';

const { did } = createOrganisation('events');
const emit = (bus: EventBus, revocations: number): void =>
  bus.emit({ type: 'heartbeat', data: { organisation: did, at: '2026-11-22T12:00:00Z', revocations } });
const numbers = (events: readonly MeshEvent[]): unknown[] =>
  events.map(({ type, data }) => (type === 'heartbeat' ? data.revocations : type));
const busOf = (run = 'ab', ringMax = 3): EventBus => new EventBus({ nowMs: () => 1_795_000_000_000 }, { run, ringMax });

describe('EventBus', () => {
  test('numbers events, dates them, and they fit the schema that clients read them by', () => {
    const bus = busOf();
    const heard: MeshEvent[] = [];
    bus.subscribe(undefined, (event) => heard.push(event));
    emit(bus, 1);
    emit(bus, 2);
    expect(heard.map(({ id }) => id)).toEqual(['ab-1', 'ab-2']);
    expect(heard[0]?.at).toBe('2026-11-18T11:06:40.000Z');
    for (const event of heard) expect(() => checkJson(EventSchema, event, 'it', 'internal')).not.toThrow();
  });

  test('gives nothing of the past unless an id is named', () => {
    const bus = busOf();
    emit(bus, 1);
    expect(bus.subscribe(undefined, () => {}).missed).toEqual([]);
  });

  test.each([
    ['the newest', 'ab-5', []],
    ['the one before', 'ab-4', [5]],
    ['the last that is forgotten', 'ab-2', [3, 4, 5]],
    ['one long forgotten', 'ab-1', ['gap', 3, 4, 5]],
    ['the start', 'ab-0', ['gap', 3, 4, 5]],
    ['one of another run', 'cd-4', ['gap', 3, 4, 5]],
    ['one that is not there yet', 'ab-6', ['gap', 3, 4, 5]],
    ['nonsense', '<script>', ['gap', 3, 4, 5]],
  ])('after %s resumes without loss, or says that there is a gap', (_, lastId, want) => {
    const bus = busOf();
    for (let i = 1; i <= 5; i++) emit(bus, i);
    expect(numbers(bus.subscribe(lastId, () => {}).missed)).toEqual(want);
  });

  test('a client that resumes after the gap is not told of it again', () => {
    const bus = busOf();
    for (let i = 1; i <= 5; i++) emit(bus, i);
    const [gap] = bus.subscribe('ab-0', () => {}).missed;
    expect(gap).toMatchObject({ type: 'gap', data: { reason: 'too_old' } });
    expect(numbers(bus.subscribe(gap?.id, () => {}).missed)).toEqual([3, 4, 5]);
    expect(bus.subscribe('cd-1', () => {}).missed[0]).toMatchObject({ data: { reason: 'restarted' } });
  });

  test('calls nobody who has closed, and goes on with the rest', () => {
    const bus = busOf();
    const heard: string[] = [];
    const first = bus.subscribe(undefined, () => {
      heard.push('first');
      first.close();
    });
    bus.subscribe(undefined, () => heard.push('second'));
    emit(bus, 1);
    emit(bus, 2);
    expect(heard).toEqual(['first', 'second', 'second']);
  });

  test('remembers no more than its ring', () => {
    const bus = busOf('ab', 100);
    for (let i = 1; i <= 10_000; i++) emit(bus, i);
    expect(bus.subscribe('ab-9900', () => {}).missed).toHaveLength(100);
    expect(bus.subscribe('ab-9899', () => {}).missed).toHaveLength(101);
  });
});

import { afterEach, beforeEach, expect, test } from 'vitest';
import { Recorder } from '../../../../daemon/core/log/recorder.ts';
import type { LogProblem } from '../../../../daemon/core/log/audit-log.ts';
import type { Logger, Signer } from '../../../../daemon/ports.ts';
import { type ErrorCode, isMeshError, limits, MeshError } from '../../../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  type Entry,
  parseEntry,
  parseUuid7,
  verifyEntry,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createAgent, createOrganisation, keyOf, NOW_MS } from '../../../builders.ts';
import { seededRandom } from '../../../random.ts';
import { quiet } from '../handshake-world.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';

const acme = createOrganisation('acme');
const clerk = createAgent(acme, 'clerk');
const peer = createOrganisation('beta');
const SID = '0123456789abcdef0123456789abcdef';

/** A log in memory that can be held up, and can fail. */
class LogDouble {
  readonly entries: Entry[] = [];
  readonly waiting: (() => void)[] = [];
  isHeld = false;
  broken: ErrorCode | undefined;
  problem: LogProblem | undefined;

  async append({ bytes }: { readonly bytes: Uint8Array; readonly id16: Uint8Array }): Promise<number> {
    if (this.broken !== undefined) throw new MeshError(this.broken, 'Cannot append: a double refuses');
    if (this.isHeld)
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
      });
    const parsed = parseEntry(bytes);
    verifyEntry(parsed, isSignatureValidSodium);
    return this.entries.push(parsed.entry) - 1;
  }

  async flush(): Promise<void> {}

  release(): void {
    this.isHeld = false;
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

let clock: VirtualClock;
let log: LogDouble;
let recorder: Recorder;
let warnings: string[];
const credentials = new Map<string, Signer>();
beforeEach(() => {
  clock = new VirtualClock();
  log = new LogDouble();
  warnings = [];
  credentials.clear();
  const random = seededRandom(7);
  const logger: Logger = { ...quiet, warn: (_facts, message) => warnings.push(message) };
  recorder = new Recorder({
    auditLog: log,
    actors: {
      signer: (actor) => credentials.get(actor) ?? acme.keys.sign,
      principal: (actor) => (actor === clerk.did ? acme.did : undefined),
    },
    organisation: acme.did,
    clock,
    random: {
      bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256)),
      fraction: random,
    },
    log: logger,
  });
});
afterEach(() => recorder.close());

const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    (error: unknown) => (isMeshError(error) ? error.code : String(error)),
  );
const lost = (): void => recorder.note('peer.lost', { peerId: peer.node.peerId }, { peer: peer.did });
/** Members of one type, as they were written. */
const seen = (type: string): Record<string, unknown>[] =>
  log.entries.filter((entry) => entry.type === `agentmesh.${type}.v1`).map(({ data }) => ({ ...data }));

test('an entry is signed by the organisation, or by the credential of the agent that acted', async () => {
  await recorder.record('daemon.started', { version: '1' });
  const key = keyOf('a credential of clerk');
  credentials.set(clerk.did, key);
  const details = { actor: clerk.did, peer: peer.did, session: SID };
  await recorder.record('session.ended', { as: clerk.did, direction: 'inbound', code: 'closed' }, details);
  expect(log.entries.map(({ data }) => [data.actor, data.sig.kid, data.principal])).toEqual([
    [acme.did, acme.keys.sign.text, undefined],
    [clerk.did, key.text, acme.did],
  ]);
});

test('an entry has the time of the clock in it and in its id', async () => {
  await clock.advance(1_234);
  const { id, index } = await recorder.record('daemon.started', { version: '1' });
  expect(index).toBe(0);
  expect(log.entries[0]).toMatchObject({ id, time: new Date(NOW_MS + 1_234).toISOString(), source: acme.did });
  expect(parseUuid7(id).timeMs).toBe(NOW_MS + 1_234);
});

test('what is announced is settled by an entry that names it', async () => {
  const about = { actor: clerk.did, peer: peer.did, session: SID, subject: SID };
  const settleWith = await recorder.announce('token.issued', { did: clerk.did, until: null }, about);
  expect(log.entries.map(({ data }) => data.phase)).toEqual(['intent']);
  settleWith(undefined);
  const other = await recorder.announce('token.issued', { did: clerk.did, until: null });
  other(new MeshError('suspended', 'Cannot act as agent "clerk of alice@example.com": it is suspended'));
  await settle();
  const [intent, outcome, second, refused] = log.entries;
  expect(outcome).toMatchObject({
    type: 'agentmesh.intent.settled.v1',
    subject: SID,
    data: {
      phase: 'outcome',
      intent: intent?.id,
      actor: clerk.did,
      peer: peer.did,
      session: SID,
      result: { code: 'ok' },
    },
  });
  expect(refused?.data).toMatchObject({ intent: second?.id, result: { code: 'suspended' } });
  // What errors say in words may quote what has to be erasable.
  expect(JSON.stringify(log.entries)).not.toContain('alice');
});

test('record() and announce() resolve when the log has the entry, not before', async () => {
  log.isHeld = true;
  let done = 0;
  const works = [
    recorder.record('daemon.started', { version: '1' }),
    recorder.announce('sponsor.registered', { did: clerk.did }),
  ];
  for (const work of works) void work.then(() => done++);
  await settle();
  expect(done).toBe(0);
  log.release();
  await Promise.all(works);
  expect([done, log.entries.length]).toEqual([2, 2]);
});

test('what the log refuses is refused with its code', async () => {
  for (const code of ['log_halted', 'read_only', 'busy'] as const) {
    log.broken = code;
    expect(await codeOf(recorder.announce('sponsor.registered', { did: clerk.did }))).toBe(code);
  }
  expect(log.entries).toEqual([]);
});

test('verifyOpen() refuses while the log is halted', () => {
  expect(() => recorder.verifyOpen()).not.toThrow();
  log.problem = { code: 'log_halted', message: 'a test says so' };
  expect(() => recorder.verifyOpen()).toThrow(expect.objectContaining({ code: 'log_halted' }));
});

test('members that the table does not have are refused before anything is appended', async () => {
  const wrong = { did: 'did:example:1' };
  expect(await codeOf(recorder.record('sponsor.registered', wrong))).toBe('schema');
  expect(log.entries).toEqual([]);
});

test('a flood of one observation is cut, counted in the next of its type, and leaves others their place', async () => {
  const flood = limits.LOG_NOTES_BURST + 50;
  for (let i = 0; i < flood; i++) lost();
  recorder.note('statement.rejected', { code: 'bad_signature', source: 'gossip' });
  await settle();
  expect(seen('peer.lost')).toHaveLength(limits.LOG_NOTES_BURST);
  expect(seen('peer.lost').every((data) => data['omitted'] === undefined)).toBe(true);
  expect(seen('statement.rejected')).toHaveLength(1);
  await clock.advance(1_000);
  for (let i = 0; i < flood; i++) lost();
  await settle();
  const more = seen('peer.lost').slice(limits.LOG_NOTES_BURST);
  expect(more).toHaveLength(limits.LOG_NOTES_PER_SECOND);
  expect(more[0]?.['omitted']).toBe(50);
});

test('observations wait in a bounded queue while the log is slow', async () => {
  log.isHeld = true;
  const total = limits.LOG_NOTES_WAITING_MAX + 7;
  for (let i = 0; i < total; i++) recorder.note('agent.changed', { did: clerk.did, status: 'suspended' });
  expect(log.waiting).toHaveLength(limits.LOG_NOTES_WAITING_MAX);
  log.release();
  await settle();
  expect(seen('agent.changed')).toHaveLength(limits.LOG_NOTES_WAITING_MAX);
  await recorder.close();
  expect(seen('daemon.stopped')).toEqual([expect.objectContaining({ omitted: 7 })]);
});

test('what the log could not take is counted too, and said once', async () => {
  log.broken = 'busy';
  for (let i = 0; i < 3; i++) lost();
  await settle();
  expect(warnings).toHaveLength(1);
  log.broken = undefined;
  lost();
  await settle();
  expect(seen('peer.lost')).toEqual([expect.objectContaining({ omitted: 3 })]);
});

test('while a log is begun, entries wait for those that come first', async () => {
  let end = (): void => {};
  const work = new Promise<void>((resolve) => {
    end = resolve;
  });
  const holding = recorder.hold(() => recorder.hold(() => work));
  const waits = recorder.record('daemon.started', { version: '1' });
  const brought = recorder.append(
    createEntry(
      {
        id: createUuid7(NOW_MS, new Uint8Array(16)),
        source: acme.did,
        timeMs: NOW_MS,
        type: 'agentmesh.agent.action.v1',
        data: { actor: acme.did, phase: 'outcome' },
      },
      acme.keys.sign,
    ),
  );
  lost();
  await settle();
  expect(log.entries).toEqual([]);
  await recorder.record('sponsor.registered', { did: clerk.did }, { isFirst: true });
  end();
  await Promise.all([holding, waits, brought]);
  await settle();
  expect(log.entries.map(({ type }) => type)).toEqual(
    ['sponsor.registered', 'daemon.started', 'agent.action', 'peer.lost'].map((type) => `agentmesh.${type}.v1`),
  );
});

test('close() waits for what is under way, says how much was left out, and then takes nothing more', async () => {
  log.isHeld = true;
  const settleWith = recorder.announce('sponsor.registered', { did: clerk.did });
  void settleWith.then((ended) => ended(undefined));
  for (let i = 0; i < limits.LOG_NOTES_BURST + 3; i++) lost();
  let isClosed = false;
  const closing = recorder.close('stopped by a test').then(() => {
    isClosed = true;
  });
  await settle();
  expect(isClosed).toBe(false);
  log.release();
  await closing;
  expect(seen('intent.settled')).toHaveLength(1);
  expect(log.entries.at(-1)).toMatchObject({
    type: 'agentmesh.daemon.stopped.v1',
    data: { omitted: 3, reason: 'stopped by a test' },
  });
  const count = log.entries.length;
  lost();
  expect(await codeOf(recorder.record('daemon.started', { version: '1' }))).toBe('read_only');
  expect(() => recorder.verifyOpen()).toThrow(expect.objectContaining({ code: 'read_only' }));
  expect(log.entries).toHaveLength(count);
});

import { beforeEach, describe, expect, test } from 'vitest';
import type { BackendOperationId, Caller, InputOf, ResponseOf } from '../../../../protocol/control/index.ts';
import { checkJson, routeOf } from '../../../../protocol/control/index.ts';
import { limits, MeshError, multikeyText, type StatementSigner } from '../../../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  leafHash,
  parseCheckpoint,
  parsePolicy,
  parseProofFile,
  verifyEntryProof,
  wireTypeOf,
} from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { createOrganisation, keyOf } from '../../../builders.ts';
import { FakeBackend } from '../../control/fake-backend.ts';

const operator: Caller = { kind: 'operator' };
const bytesOf = (base64url: string): Uint8Array => Uint8Array.from(Buffer.from(base64url, 'base64url'));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

let fake: FakeBackend;
let agent: string;
let other: string;
let ownKey: string;
const own = keyOf('an agent that keeps its key');

async function call<K extends BackendOperationId>(
  operationId: K,
  input: Partial<InputOf<K>> = {},
  caller: Caller = operator,
): Promise<ResponseOf<K>> {
  const whole = { params: {}, query: {}, ...input } as never;
  const answer = await fake[operationId](whole, caller, new AbortController().signal);
  checkJson(routeOf(operationId).response, JSON.parse(JSON.stringify(answer)), operationId, 'internal');
  return answer as ResponseOf<K>;
}

beforeEach(async () => {
  fake = new FakeBackend();
  const create = async (name: string, publicKey?: string): Promise<string> => {
    const body = { name, sponsor: 'alice@company.com', capabilities: [{ can: 'read:data' }] };
    const made = await call('agentCreate', { body: { ...body, ...(publicKey !== undefined && { publicKey }) } });
    for (const { payload } of made.toSign) {
      const signature = own.sign(Buffer.concat([Buffer.from('AgentMesh/didop/v1\0', 'latin1'), bytesOf(payload)]));
      await call('agentComplete', { params: { did: made.agent.did }, body: { signatures: [text(signature)] } });
    }
    return made.agent.did;
  };
  agent = await create('one');
  other = await create('two');
  ownKey = await create('three', multikeyText(own.publicKey));
});

describe('entries', () => {
  const record = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await fake.recorder.record('daemon.started', { version: String(i) });
  };
  const indices = ({ entries }: ResponseOf<'logEntries'>): number[] => entries.map(({ index }) => index);

  test('come newest first in pages that continue one another, or oldest first', async () => {
    await record(10);
    const { treeSize } = fake.auditLog;
    const all = Array.from({ length: treeSize }, (_, i) => i);
    for (const order of ['newest', 'oldest'] as const) {
      const found: number[] = [];
      let place: { before?: string; after?: string } = {};
      for (let i = 0; i < treeSize; i++) {
        const page = await call('logEntries', { query: { order, limit: '3', ...place } });
        found.push(...indices(page));
        if (page.next === null) break;
        place = order === 'newest' ? { before: String(page.next) } : { after: String(page.next) };
      }
      expect(found).toEqual(order === 'newest' ? all.toReversed() : all);
    }
    const middle = await call('logEntries', { query: { after: '2', before: '5' } });
    expect([indices(middle), middle.next]).toEqual([[4, 3], null]);
    expect((await call('logEntries', { query: { after: '999' } })).entries).toEqual([]);
    expect((await call('logEntries', { query: { before: '0' } })).entries).toEqual([]);
  });

  test('of an actor, of types by whole words, and between times', async () => {
    await call('logAppend', { body: { as: agent, op: 'a' } });
    await call('logAppend', { body: { as: other, op: 'b', type: 'com.example.ticket' } });
    const typesOf = async (query: InputOf<'logEntries'>['query']): Promise<unknown[]> =>
      (await call('logEntries', { query })).entries.map(({ entry }) => entry['type']);
    expect(await typesOf({ actor: agent })).toEqual(['agentmesh.agent.action.v1']);
    expect(await typesOf({ types: 'com.example' })).toEqual(['com.example.ticket']);
    expect(await typesOf({ types: 'com.exam' })).toEqual([]);
    expect(await typesOf({ types: 'com.example.ticket,agentmesh.agent.action.v1' })).toHaveLength(2);
    const at = Date.parse('2020-01-02T03:04:05.678Z');
    await fake.recorder.record('daemon.started', { version: 'old' }, { timeMs: at });
    const exactly = new Date(at).toISOString();
    expect(await typesOf({ until: exactly })).toEqual(['agentmesh.daemon.started.v1']);
    expect(await typesOf({ since: exactly, until: exactly })).toHaveLength(1);
    expect(await typesOf({ until: '2020-01-02T03:04:05.677Z' })).toEqual([]);
    expect(await typesOf({ since: '2020-01-02T03:04:05Z' })).toHaveLength(fake.auditLog.treeSize);
  });

  test('are not found by words that they merely mention', async () => {
    await call('logAppend', { body: { as: agent, facts: { about: other, type: 'agentmesh.session.ended.v1' } } });
    expect((await call('logEntries', { query: { actor: other } })).entries).toEqual([]);
    expect((await call('logEntries', { query: { types: 'agentmesh.session' } })).entries).toEqual([]);
    const faked = '","time":"2000-01-01T00:00:00.000Z","type":"agentmesh.session.ended.v1"}';
    await call('logAppend', { body: { as: agent, facts: { z: faked } } });
    expect((await call('logEntries', { query: { until: '2001-01-01T00:00:00Z' } })).entries).toEqual([]);
  });

  test('are looked at a bounded number at a time', async () => {
    await record(limits.LOG_ENTRIES_SCANNED_MAX + 300);
    const first = await call('logEntries', { query: { types: 'agentmesh.log' } });
    expect(first.entries).toEqual([]);
    expect(first.scanned).toBe(limits.LOG_ENTRIES_SCANNED_MAX);
    const rest = await call('logEntries', { query: { types: 'agentmesh.log', before: String(first.next) } });
    expect([indices(rest), rest.next]).toEqual([[0], null]);
  });

  test('a limit out of bounds is a bad request', async () => {
    for (const limit of ['0', '257'])
      await expect(call('logEntries', { query: { limit } })).rejects.toMatchObject({ code: 'bad_request' });
  });
});

describe('one entry', () => {
  test('is found by number or id, with its exact bytes', async () => {
    const { index, id } = await call('logAppend', { body: { as: agent, op: 'a' } });
    const found = await call('logEntry', { params: { at: id } });
    expect(found).toEqual(await call('logEntry', { params: { at: String(index) } }));
    expect(bytesOf(found.bytes)).toEqual(await fake.auditLog.entry(index));
    for (const at of ['99999', '01a204bb-4ed0-7825-95a3-0aacf0e8cfed'])
      await expect(call('logEntry', { params: { at } })).rejects.toMatchObject({ code: 'not_found' });
  });

  test('of another is not there for an agent', async () => {
    const { index, id } = await call('logAppend', { body: { as: agent, op: 'a' } });
    const [mine, others] = [agent, other].map((did): Caller => ({ kind: 'agent', did }));
    for (const at of [String(index), id]) {
      expect((await call('logEntry', { params: { at } }, mine)).index).toBe(index);
      await expect(call('logEntry', { params: { at } }, others)).rejects.toMatchObject({ code: 'not_found' });
      await expect(call('logProof', { params: { at } }, others)).rejects.toMatchObject({ code: 'not_found' });
    }
  });
});

describe('append', () => {
  let made = 0;
  const signed = (
    change: { readonly signer?: StatementSigner; readonly timeMs?: number; readonly type?: string } & Record<
      string,
      unknown
    > = {},
  ): string => {
    const { signer = own, timeMs = Date.now(), type = wireTypeOf('agent.action'), source, actor } = change;
    const { bytes } = createEntry(
      {
        id: createUuid7(timeMs, new Uint8Array(16).fill((made += 1))),
        source: (source as string | undefined) ?? fake.organisation.did,
        timeMs,
        type,
        data: { actor: (actor as string | undefined) ?? ownKey, phase: 'outcome', op: 'x' },
      },
      signer,
    );
    return text(bytes);
  };
  const appendSigned = (entry: string, as = ownKey) => call('logAppend', { body: { as, entry } });

  test('signs with the key of the agent’s credential, and names its sponsor', async () => {
    const { index } = await call('logAppend', { body: { as: agent, op: 'execute_tool', tool: 'search' } });
    const { entry } = await call('logEntry', { params: { at: String(index) } });
    const { credential } = await call('credentialShow', { params: { did: agent } });
    expect(entry).toMatchObject({
      source: fake.organisation.did,
      type: 'agentmesh.agent.action.v1',
      data: { actor: agent, phase: 'outcome', tool: 'search', sig: { kid: credential?.holderKey } },
    });
    expect((entry['data'] as { principal: string }).principal).toMatch(/^did:mesh:/);
    const { index: operators } = await call('logAppend', { body: { op: 'maintenance' } });
    const ownEntry = await call('logEntry', { params: { at: String(operators) } });
    expect(ownEntry.entry['data']).toMatchObject({ actor: fake.organisation.did });
  });

  test('takes what an agent signed itself as it is', async () => {
    const entry = signed();
    const { index } = await appendSigned(entry);
    expect(text((await fake.auditLog.entry(index)) ?? new Uint8Array())).toBe(entry);
    await expect(appendSigned(entry)).rejects.toMatchObject({ code: 'conflict' });
  });

  test.each([
    ['with another key', () => signed({ signer: keyOf('somebody') }), 'key_unknown'],
    ['for another organisation', () => signed({ source: createOrganisation('beta').did }), 'schema'],
    ['for another agent', () => signed({ actor: other }), 'schema'],
    ['as the daemon itself', () => signed({ type: 'com.example.ticket', timeMs: Date.now() + 120_000 }), 'too_early'],
    ['long ago', () => signed({ timeMs: Date.now() - 120_000 }), 'expired'],
    [
      'with a byte changed',
      () => text(Uint8Array.from(bytesOf(signed()), (byte, i) => (i === 60 ? byte ^ 1 : byte))),
      undefined,
    ],
    ['that is no entry', () => 'AAAA', 'malformed'],
  ])('refuses an entry signed %s', async (_, make, code) => {
    const before = fake.auditLog.treeSize;
    const refused = appendSigned(make());
    await expect(refused).rejects.toMatchObject({
      code: code ?? (expect.stringMatching(/^(?:malformed|noncanonical|schema|bad_signature)$/) as string),
    });
    expect(fake.auditLog.treeSize).toBe(before);
  });

  test('refuses types that the daemon alone writes, from agent and operator, signed or not', async () => {
    for (const body of [
      { as: agent, type: 'agentmesh.session.ended.v1' },
      { type: 'agentmesh.daemon.started.v1' },
      { as: ownKey, entry: signed(), op: 'x' },
    ])
      await expect(call('logAppend', { body })).rejects.toMatchObject({
        code: 'entry' in body ? 'bad_request' : 'forbidden',
      });
  });

  test('refuses for an agent that is suspended, unknown or without a credential', async () => {
    await call('agentSuspend', { params: { did: agent } });
    await expect(call('logAppend', { body: { as: agent, op: 'a' } })).rejects.toMatchObject({ code: 'suspended' });
    const { did } = createOrganisation('beta');
    await expect(call('logAppend', { body: { as: did, op: 'a' } })).rejects.toMatchObject({ code: 'not_found' });
    await expect(call('logAppend', { body: { as: ownKey, op: 'a' } })).rejects.toMatchObject({ code: 'key_missing' });
  });

  test('refuses facts that have no one spelling', async () => {
    for (const facts of [{ a: 1.5 }, { a: 2 ** 60 }, JSON.parse('{"__proto__":{"a":1}}') as Record<string, unknown>])
      await expect(call('logAppend', { body: { as: agent, facts } })).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:malformed|schema)$/) as string,
      });
  });

  test('waits for witnesses, and says when there are not as many', async () => {
    const { cosigned, index } = await call('logAppend', { body: { as: agent, op: 'a', witnessed: 2 } });
    expect(cosigned).toEqual({ treeSize: index + 1, cosigners: 2 });
    const { treeSize } = fake.auditLog;
    await expect(call('logAppend', { body: { as: agent, op: 'a', witnessed: 3 } })).rejects.toMatchObject({
      code: 'quorum',
    });
    expect(fake.auditLog.treeSize, 'nothing is written for what can never be').toBe(treeSize);
    fake.cosigning.refusal = new MeshError('log_halted', 'Cannot have it witnessed: the log is halted');
    await expect(call('logAppend', { body: { as: agent, op: 'a', witnessed: 2 } })).rejects.toMatchObject({
      code: 'log_halted',
      data: { index: treeSize },
    });
  });

  test('of a halted log is refused, and reading goes on', async () => {
    fake.auditLog.halt({ code: 'log_halted', message: 'a witness has another' });
    await expect(call('logAppend', { body: { as: agent, op: 'a' } })).rejects.toMatchObject({ code: 'log_halted' });
    expect((await call('logStatus')).problem).toEqual({
      code: 'log_halted',
      message: 'a witness has another',
      place: null,
    });
    expect((await call('logEntries')).entries.length).toBeGreaterThan(0);
  });
});

describe('proofs and files', () => {
  test('a proof is of the newest released checkpoint that has the entry, or one that is waited for', async () => {
    const { index } = await call('logAppend', { body: { as: agent, op: 'a' } });
    const plain = await call('logProof', { params: { at: String(index) } });
    expect(plain.cosignatures).toEqual([]);
    const cosigned = await call('logProof', { params: { at: String(index) }, query: { witnessed: '2' } });
    expect(cosigned.cosignatures.map(({ did }) => did)).toEqual([
      createOrganisation('watcher 1').did,
      createOrganisation('watcher 2').did,
    ]);
    await call('logAppend', { body: { as: agent, op: 'b' } });
    const later = await call('logProof', { params: { at: String(index) } });
    expect(later.treeSize).toBe(index + 1);
    const { policy } = await call('logPolicy');
    const proof = bytesOf(cosigned.proof);
    const verified = verifyEntryProof(
      proof,
      bytesOf(cosigned.bytes),
      parsePolicy(Buffer.from(policy)),
      isSignatureValidSodium,
    );
    expect([verified.leafIndex, verified.cosignatures.length]).toEqual([index, 2]);
    expect(parseProofFile(proof).leafIndex).toBe(index);
  });

  test('files are those of the layout, and nothing else', async () => {
    for (let i = 0; i < 260; i++) await fake.recorder.record('daemon.started', { version: String(i) });
    const { treeSize } = fake.auditLog;
    await expect(call('logFile', { query: { path: 'checkpoint' } })).rejects.toMatchObject({ code: 'not_found' });
    await fake.cosigning.witnessed(treeSize, 1);
    const read = async (path: string): Promise<Uint8Array> =>
      bytesOf((await call('logFile', { query: { path } })).bytes);
    expect(parseCheckpoint(await read('checkpoint')).checkpoint.treeSize).toBe(treeSize);
    expect((await read('tile/0/000')).length).toBe(8192);
    expect(await read(`tile/0/001.p/1`)).toEqual(leafHash((await fake.auditLog.entry(256)) ?? new Uint8Array()));
    expect((await read('tile/1/000.p/1')).length).toBe(32);
    expect(Buffer.from(await read('log.v0.vkey')).toString('utf8')).toBe(`${(await call('logStatus')).vkey}\n`);
    expect(Buffer.from(await read('policy')).toString('utf8')).toBe((await call('logPolicy')).policy);
    for (const path of ['tile/0/001', 'tile/2/000.p/1', `tile/0/001.p/${treeSize - 255}`])
      await expect(read(path), path).rejects.toMatchObject({ code: 'not_found' });
    for (const path of ['tile/0/1', '../checkpoint', 'tile/0/000/', 'tile/entries'])
      await expect(read(path), path).rejects.toMatchObject({ code: 'malformed' });
  });
});

test('status says what is released, how long ago it was cosigned, and whether anybody watches', async () => {
  const before = await call('logStatus');
  expect(before).toMatchObject({ released: null, watched: true, treeSize: fake.auditLog.treeSize });
  await fake.cosigning.witnessed(fake.auditLog.treeSize, 1);
  expect((await call('logStatus')).released).toMatchObject({ quorumMet: false, cosignatures: [{}] });
  await fake.cosigning.witnessed(fake.auditLog.treeSize, 2);
  const { released, headAt } = await call('logStatus');
  expect(released).toMatchObject({ quorumMet: true, cosignatures: [{ ageSeconds: expect.any(Number) as number }, {}] });
  expect(Date.parse(headAt ?? '')).toBeGreaterThan(Date.now() - 60_000);
  const { log } = await call('status');
  expect(log).toMatchObject({ quorumMet: true, cosigners: 2, releasedSize: fake.auditLog.treeSize });
});

test('status says which logs withhold that they agree, since when, and which copies are kept', async () => {
  expect(await call('logStatus')).toMatchObject({ monitor: { logs: 0, withheld: [] }, mirrors: [] });
  const { origin } = fake.auditLog;
  const [owner, sinceMs] = [createOrganisation('beta').did, Date.parse('2026-11-22T18:00:00Z')];
  const held = { origin, organisations: [owner], treeSizes: [41, 57] as const, times: 3 };
  fake.watched = {
    ...fake.watched,
    logs: 2,
    checkpoints: 9,
    proven: 1,
    withheld: [{ ...held, sinceMs, lastMs: sinceMs + 61_000 }],
  };
  fake.copies = [{ organisation: owner, origin, treeSize: 57, problem: 'unreachable' }];
  const { monitor, mirrors } = await call('logStatus');
  expect(monitor).toEqual({
    logs: 2,
    checkpoints: 9,
    proven: 1,
    withheld: [{ ...held, since: '2026-11-22T18:00:00Z', last: '2026-11-22T18:01:01Z' }],
  });
  expect(mirrors).toEqual([{ did: owner, origin, treeSize: 57, problem: 'unreachable' }]);
});

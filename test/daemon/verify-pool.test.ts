import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import type { Logger } from '../../daemon/ports.ts';
import { isPackable, packJob, verifyJob } from '../../daemon/verify-job.ts';
import { createVerifyPool, type VerifyPool } from '../../daemon/verify-pool.ts';
import { isMultikey, rawKeyOf, type Statement, signingInput, signStatement } from '../../protocol/index.ts';
import { createSignatureLine, formatNote, LOG_KEY_TYPE, parseNote } from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { createHeartbeat, createOrganisation, createPerson, createRootLink } from '../builders.ts';
import { createBinding, createCheckpoint, createFork, ownLog, ownWitness } from '../protocol/log/own-log.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
/** Of one signature and of two, of all lengths. */
const statements: readonly Statement[] = [
  acme.genesis,
  alice.genesis,
  createHeartbeat(acme),
  ...Array.from({ length: 20 }, (_, i) =>
    createRootLink(acme, alice, { aud: alice.did, nonce: `${i}`, cap: [{ can: `read:reports/${'x'.repeat(i + 1)}` }] }),
  ),
];

/** What the one rule says of every signature, one after the other on this thread. */
const byTheRule = ({ t, payload: { by }, payloadBytes, signatures }: Statement): boolean =>
  by.length === signatures.length &&
  by.every(
    (key, i) =>
      isMultikey(key) &&
      isSignatureValidSodium(signatures[i] as Uint8Array, signingInput(t, payloadBytes), rawKeyOf(key)),
  );

const pools: VerifyPool[] = [];
function poolOf(options: Parameters<typeof createVerifyPool>[0]): VerifyPool {
  const pool = createVerifyPool(options);
  pools.push(pool);
  return pool;
}
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

/** A worker made of these lines, which has `parentPort`. */
const workerOf = (...lines: readonly string[]): Worker =>
  new Worker(`const { parentPort } = require('node:worker_threads');\n${lines.join('\n')}`, {
    eval: true,
    stderr: true,
  });

function recordingLog(): { readonly log: Logger; readonly errors: object[] } {
  const errors: object[] = [];
  const unexpected = (facts: object, message: string): never => {
    throw new Error(`${message} ${JSON.stringify(facts)}`);
  };
  return {
    errors,
    log: { debug: unexpected, info: unexpected, warn: unexpected, error: (facts) => errors.push(facts) },
  };
}

const flipBit = (bytes: Uint8Array, bit: number): Uint8Array => {
  const flipped = Uint8Array.from(bytes);
  const at = (bit >> 3) % Math.max(1, flipped.length);
  if (flipped.length > 0) flipped[at] = (flipped[at] as number) ^ (1 << (bit & 7));
  return flipped;
};
const resize = (bytes: Uint8Array, length: number): Uint8Array => {
  const resized = new Uint8Array(length);
  resized.set(bytes.subarray(0, length));
  return resized;
};

/** The same checkpoint with another signature. */
function spoilt({ payload }: Statement<'checkpoint/v1'>): Statement {
  const { text, signatures } = parseNote(payload.note);
  const lines = signatures.map(({ name, keyId, signature }) =>
    createSignatureLine(
      { name, keyId, type: LOG_KEY_TYPE, publicKey: new Uint8Array(32) },
      flipBit(signature, 8 * text.length),
    ),
  );
  return signStatement<'checkpoint/v1'>(
    { t: 'checkpoint/v1', iat: 0, note: formatNote({ text, signatures: lines }) },
    [],
  );
}

interface Damage {
  readonly where: 'nowhere' | 'signature' | 'key' | 'payload' | 'signature length' | 'key length' | 'count';
  readonly at: number;
  readonly signer: number;
}
const damages = fc.record<Damage>({
  where: fc.constantFrom(
    'nowhere',
    'nowhere',
    'signature',
    'key',
    'payload',
    'signature length',
    'key length',
    'count',
  ),
  at: fc.nat(4095),
  signer: fc.nat(15),
});

function damaged(statement: Statement, { where, at, signer }: Damage): Statement {
  const { payload, signatures } = statement;
  const which = signer % signatures.length;
  const change = (list: readonly Uint8Array[], how: (item: Uint8Array) => Uint8Array): Uint8Array[] =>
    list.map((item, i) => (i === which ? how(item) : item));
  const withKeys = (by: Uint8Array[]): Statement => ({ ...statement, payload: { ...payload, by } });
  switch (where) {
    case 'nowhere':
      return statement;
    case 'signature':
      return { ...statement, signatures: change(signatures, (bytes) => flipBit(bytes, at)) };
    case 'key':
      return withKeys(change(payload.by, (bytes) => flipBit(bytes, at)));
    case 'payload':
      return { ...statement, payloadBytes: flipBit(statement.payloadBytes, at) };
    case 'signature length':
      return { ...statement, signatures: change(signatures, (bytes) => resize(bytes, at % 130)) };
    case 'key length':
      return withKeys(change(payload.by, (bytes) => resize(bytes, at % 70)));
    case 'count':
      return { ...statement, signatures: at % 2 === 0 ? signatures.slice(1) : [...signatures, ...signatures] };
  }
}

describe('a pool of verifying threads', () => {
  test.each([0, 1, 2, 3])(
    'of %i gives the verdicts of the one rule, in order, whatever the lengths',
    async (threads) => {
      const pool = poolOf({ threads });
      const verdicts = new Set<boolean>();
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(statements.length - 1), damages), { maxLength: 150 }),
          async (drawn) => {
            const batch = drawn.map(([i, damage]) => damaged(statements[i] as Statement, damage));
            const expected = batch.map(byTheRule);
            expect(await pool(batch)).toEqual(expected);
            for (const verdict of expected) verdicts.add(verdict);
          },
        ),
        { numRuns: 15 },
      );
      expect(verdicts).toEqual(new Set([true, false]));
    },
  );

  test.each([0, 2])('of %i knows what proves itself by what it holds', async (threads) => {
    const log = ownLog('acme');
    const binding = createBinding(acme);
    const good = [
      ...Array.from({ length: 40 }, (_, i) => createCheckpoint(log, i % 9, `${i}`)),
      binding,
      ...Array.from({ length: 5 }, (_, i) => createFork(binding, log, [3, 3 + i])),
      createFork(binding, ownWitness('acme'), [3, 8], { log: ownLog('beta') }),
    ];
    // Neither has anybody who signs it: whoever counted signatures alone would take it.
    const bad = [
      ...Array.from({ length: 9 }, (_, i) => spoilt(createCheckpoint(log, i))),
      createFork(binding, log, [3, 8], { salt: '' }),
      createFork(binding, log, [3, 8], { who: alice.did }),
    ];
    const mixed = [...good, ...bad, ...statements].toSorted((a, b) => (a.id.slice(20) < b.id.slice(20) ? -1 : 1));
    expect(await poolOf({ threads })(mixed)).toEqual(mixed.map((statement) => !bad.includes(statement)));
    expect(await poolOf({ threads })(bad)).toEqual(bad.map(() => false));
  });

  test('answers calls that overlap each with its own', async () => {
    const pool = poolOf({ threads: 2 });
    const bad = damaged(acme.genesis, { where: 'signature', at: 5, signer: 0 });
    const calls = Array.from({ length: 40 }, (_, call) =>
      Array.from({ length: 1 + ((call * 7) % 90) }, (_, i) =>
        i % 7 === call % 7 ? bad : (statements[i % 23] as Statement),
      ),
    );
    const verdicts = await Promise.all(calls.map((batch) => pool(batch)));
    expect(verdicts).toEqual(calls.map((batch) => batch.map((statement) => statement !== bad)));
  });

  test('starts its threads with the first bulk, and no more than asked for', async () => {
    let started = 0;
    const pool = poolOf({
      threads: 2,
      createWorker: () => {
        started += 1;
        return new Worker(new URL('../../daemon/verify-worker.ts', import.meta.url));
      },
    });
    expect(started).toBe(0);
    expect(await pool([])).toEqual([]);
    expect(started).toBe(0);
    await Promise.all([pool(statements), pool(statements)]);
    await pool(statements);
    expect(started).toBe(2);
  });

  // One statement leaves a thread without work, hundreds give some to each.
  test.each([1, 200])('lets the process end without being closed, but not before it has answered: %i', (count) => {
    const user = fileURLToPath(new URL('./verify-pool-user.ts', import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [user, `${count}`], {
      encoding: 'utf8',
      timeout: 15_000,
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: `${count} true\n`, stderr: '' });
  });

  test('finishes what was asked when it is closed, and answers nothing after', async () => {
    const pool = createVerifyPool({ threads: 1 });
    const asked = pool(statements);
    await pool.close();
    expect(await asked).toEqual(statements.map(() => true));
    await expect(pool(statements)).rejects.toMatchObject({ code: 'closed' });
    await pool[Symbol.asyncDispose]();
  });
});

describe('a thread that dies', () => {
  const bad = damaged(alice.genesis, { where: 'signature', at: 5, signer: 1 });
  const batch = [...statements, bad, ...statements];
  const expected = batch.map((statement) => statement !== bad);

  test.each([
    ['by an exception', "parentPort.once('message', () => { throw new Error('broken') })"],
    ['by ending', "parentPort.once('message', () => process.exit(7))"],
  ])('%s has its statements verified on the calling thread, and is replaced', async (_, line) => {
    const { log, errors } = recordingLog();
    let started = 0;
    const pool = poolOf({
      threads: 1,
      log,
      createWorker: () => {
        started += 1;
        return started === 1 ? workerOf(line) : new Worker(new URL('../../daemon/verify-worker.ts', import.meta.url));
      },
    });
    expect(await pool(batch)).toEqual(expected);
    expect(errors).toEqual([expect.objectContaining({ crashes: 1, jobs: 1 })]);
    expect(await pool(batch)).toEqual(expected);
    expect(errors).toHaveLength(1);
    expect(started).toBe(2);
  });

  test('again and again is given up, and the calling thread does the work', async () => {
    const { log, errors } = recordingLog();
    let started = 0;
    const pool = poolOf({
      threads: 2,
      log,
      createWorker: () => {
        started += 1;
        return workerOf("throw new Error('cannot start')");
      },
    });
    for (let i = 0; i < 12; i++) expect(await pool(batch)).toEqual(expected);
    expect(errors.length).toBe(started);
    expect(started).toBeGreaterThan(2);
    expect(started).toBeLessThanOrEqual(12);
    const before = started;
    expect(await pool(batch)).toEqual(expected);
    expect(started).toBe(before);
  });

  test('is made up for whatever waits behind it', async () => {
    const { log, errors } = recordingLog();
    let die = (): void => {};
    const pool = poolOf({
      threads: 1,
      log,
      createWorker: () => {
        const worker = workerOf("parentPort.on('message', (message) => { if (message === 'die') throw new Error() })");
        die = () => worker.postMessage('die');
        return worker;
      },
    });
    const asked = Array.from({ length: 20 }, () => pool([alice.genesis, bad]));
    const dying = setInterval(() => die(), 20);
    try {
      expect(await Promise.all(asked)).toEqual(asked.map(() => [true, false]));
    } finally {
      clearInterval(dying);
    }
    expect(errors.length).toBeGreaterThan(0);
  });
});

test('a full queue makes the calling thread verify: no more than 256 jobs wait', async () => {
  const { log } = recordingLog();
  let end = (): Promise<number> => Promise.resolve(0);
  const pool = poolOf({
    threads: 1,
    log,
    createWorker: () => {
      const worker = workerOf("parentPort.on('message', () => {})");
      end = () => worker.terminate();
      return worker;
    },
  });
  let answered = 0;
  const asked = Array.from({ length: 300 }, async () => {
    const verdicts = await pool([acme.genesis]);
    answered += 1;
    return verdicts;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(answered).toBe(300 - 256 - 2); // two with the thread, which never answers
  const ending = setInterval(() => void end(), 5);
  try {
    expect(await Promise.all(asked)).toEqual(asked.map(() => [true]));
  } finally {
    clearInterval(ending);
  }
});

test('packJob() lays statements one behind the other, and verifyJob() finds each', () => {
  const batch = statements.map((statement, i) =>
    i % 3 === 0 ? damaged(statement, { where: 'payload', at: 77 + i, signer: 0 }) : statement,
  );
  expect([...verifyJob(packJob(batch), isSignatureValidSodium)]).toEqual(batch.map((_, i) => (i % 3 === 0 ? 0 : 1)));
  expect([...verifyJob(packJob([]), isSignatureValidSodium)]).toEqual([]);
  expect(packJob([acme.genesis]).byteLength).toBe(
    8 + signingInput('didop/v1', acme.genesis.payloadBytes).length + 2 * (32 + 64),
  );
  expect(isPackable(acme.genesis)).toBe(true);
  expect(isPackable(damaged(acme.genesis, { where: 'signature length', at: 65, signer: 0 }))).toBe(false);
});

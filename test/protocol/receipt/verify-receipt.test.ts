import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, isMeshError, type MeshError } from '../../../protocol/index.ts';
import type { Policy } from '../../../protocol/log/index.ts';
import {
  createHalfReceipt,
  createTaking,
  formatReceiptFile,
  type ReceiptCheckName,
  type ReceiptFile,
  type ReceiptReport,
  verifyReceiptFile,
  type VerifyReceiptOptions,
} from '../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import {
  createChildLink,
  createCredential,
  createHeartbeat,
  createOrganisation,
  createRevocation,
  createRootLink,
  createRotate,
  keyOf,
  NOW_SECONDS,
} from '../../builders.ts';
import { ownLog, ownWitness } from '../log/own-log.ts';
import {
  acme,
  alice,
  bytesOf,
  calleeKey,
  callerCredential,
  callerGrant,
  callerIdent,
  callerKey,
  desk,
  fileOf,
  gail,
  gamma,
  grace,
  granted,
  halfFileOf,
  handshakeOf,
  happened,
  orderOf,
  ORGANISATION,
  passedOn,
  proofOf,
  receiptOf,
  REQUEST,
  RESULT,
  SALTS,
  STATEMENTS,
} from './world.ts';

const optionsOf = (more: Partial<VerifyReceiptOptions> = {}): VerifyReceiptOptions => ({
  isSignatureValid: isSignatureValidSodium,
  roots: new Set([acme.did, gamma.did]),
  ...more,
});
const verify = (file: ReceiptFile, more: Partial<VerifyReceiptOptions> = {}): ReceiptReport =>
  verifyReceiptFile(formatReceiptFile(file), optionsOf(more));

function refusal(
  file: ReceiptFile,
  more: Partial<VerifyReceiptOptions> = {},
): { error: MeshError; report: ReceiptReport } {
  try {
    verify(file, more);
  } catch (error) {
    if (isMeshError(error)) return { error, report: error.data.report as ReceiptReport };
    throw error;
  }
  throw new Error('Cannot test a refusal: nothing was refused');
}

const statusOf = (report: ReceiptReport): Record<string, string> =>
  Object.fromEntries(report.checks.map(({ check, status }) => [check, status]));
const failing = (report: ReceiptReport): string[] =>
  report.checks.filter(({ status }) => status === 'failed').map(({ check, code }) => `${check}: ${code}`);

const witnesses = (names: readonly string[]): Policy => ({
  logs: [],
  witnesses: names.map((name) => ({ name, vkey: ownWitness(name).vkey })),
  groups: [{ name: 'all', threshold: names.length, members: [...names] }],
  quorum: 'all',
});

describe('verifyReceiptFile()', () => {
  test('finds everything good that the file shows, and says what it was not given', () => {
    const report = verify(fileOf());
    expect(statusOf(report)).toEqual({
      receipt: 'ok',
      order: 'ok',
      taking: 'ok',
      handshake: 'notChecked',
      caller: 'ok',
      callee: 'ok',
      authority: 'ok',
      need: 'ok',
      callerLog: 'ok',
      calleeLog: 'ok',
      witnesses: 'notChecked',
      request: 'notChecked',
      result: 'notChecked',
    });
    expect(report.half).toBeNull();
    expect(report.tool).toEqual({ name: 'read_file', shownBy: 'entry' });
    expect(report.notProven).toEqual(['what was asked', 'what was answered']);
    expect(report.since).toEqual([]);
  });

  test('finds request, result and cosignatures good where they are given', () => {
    const policy = witnesses(['beta', 'delta']);
    const report = verify(fileOf({ handshake: handshakeOf() }), { request: REQUEST, result: RESULT, policy });
    expect(new Set(report.checks.map(({ status }) => status))).toEqual(new Set(['ok']));
    expect(report.tool).toEqual({ name: 'read_file', shownBy: 'request' });
    expect(report.notProven).toEqual([]);
  });

  test('takes a message with the end of a line that a file has', () => {
    const ended = new Uint8Array([...REQUEST, 0x0a]);
    expect(statusOf(verify(fileOf(), { request: ended })).request).toBe('ok');
  });

  test('accepts an organisation that answers by its own key', () => {
    const report = verifyReceiptFile(bytesOf({}, ORGANISATION), optionsOf());
    expect(statusOf(report).callee).toBe('ok');
    expect(statusOf(report).calleeLog).toBe('ok');
  });

  test('is content with the organisation that granted, for the caller too', () => {
    const report = verify(fileOf(), { roots: new Set([acme.did]) });
    expect(statusOf(report).caller).toBe('ok');
  });

  const changed = (at: number, bytes: Uint8Array): Uint8Array => bytes.with(at, (bytes[at] as number) ^ 1);
  const without = (...ids: readonly string[]): Uint8Array[] =>
    STATEMENTS.filter(({ id }) => !ids.includes(id)).map(({ envelope }) => envelope);
  const replaced = (...statements: readonly { readonly envelope: Uint8Array }[]): Uint8Array[] => [
    ...STATEMENTS.map(({ envelope }) => envelope),
    ...statements.map(({ envelope }) => envelope),
  ];
  const other = createOrganisation('other');
  const foreign = keyOf('somebody else');
  const another = orderOf(undefined, { n: 4 });

  const refused: readonly (readonly [
    string,
    () => ReceiptFile,
    Partial<VerifyReceiptOptions>,
    ReceiptCheckName,
    ErrorCode,
  ])[] = [
    ['a result swapped after the receipt', () => fileOf(), { result: changed(20, RESULT) }, 'result', 'conflict'],
    ['another request', () => fileOf(), { request: RESULT }, 'request', 'conflict'],
    [
      'another salt',
      () => fileOf({ salts: { ...SALTS, req: SALTS.res } }),
      { request: REQUEST },
      'request',
      'conflict',
    ],
    ['the order of another call', () => fileOf({ order: another, receipt: receiptOf() }), {}, 'order', 'conflict'],
    [
      'a taking of another call',
      () => fileOf({ taking: createTaking(another, { iat: NOW_SECONDS }, calleeKey) }),
      {},
      'taking',
      'conflict',
    ],
    [
      'a taking by another key',
      () => fileOf({ taking: createTaking(orderOf(), { iat: NOW_SECONDS }, foreign) }),
      {},
      'taking',
      'conflict',
    ],
    ['no named organisation', () => fileOf(), { roots: new Set() }, 'caller', 'unknown_root'],
    [
      'the callee of an organisation that is not named',
      () => fileOf(),
      { roots: new Set([gamma.did]) },
      'callee',
      'unknown_root',
    ],
    [
      'an order by another key than the credential binds',
      () => fileOf({ order: orderOf(undefined, {}, foreign), receipt: receiptOf() }),
      {},
      'order',
      'conflict',
    ],
    [
      'a credential that had ended',
      () => {
        const order = orderOf(undefined, { iat: NOW_SECONDS + 2_000 });
        return fileOf({ order, receipt: receiptOf(order) });
      },
      {},
      'caller',
      'expired',
    ],
    [
      'links that are not in the file',
      () => fileOf({ statements: without(callerIdent.id, passedOn.id) }),
      {},
      'caller',
      'broken_link',
    ],
    [
      'heartbeats that are not in the file',
      () => fileOf({ statements: STATEMENTS.filter(({ t }) => t !== 'heartbeat/v1').map(({ envelope }) => envelope) }),
      {},
      'caller',
      'status_stale',
    ],
    [
      'a key that was revoked before the order',
      () => {
        const revocation = createRevocation(acme, granted, { iat: NOW_SECONDS + 5 });
        const heartbeat = createHeartbeat(acme, { iat: NOW_SECONDS + 6, rhead: revocation });
        return fileOf({ statements: replaced(revocation, heartbeat) });
      },
      {},
      'authority',
      'revoked',
    ],
    [
      'a chain of somebody else',
      () =>
        fileOf({
          parties: { caller: { ident: callerCredential.id, grant: granted.id }, callee: fileOf().parties.callee },
        }),
      {},
      'authority',
      'holder_mismatch',
    ],
    [
      'an entry with another receipt',
      () => fileOf({ proofs: [proofOf('caller', receiptOf(another))] }),
      {},
      'callerLog',
      'conflict',
    ],
    [
      "an entry in somebody else's log",
      () => fileOf({ proofs: [proofOf('caller', receiptOf(), { log: ownLog('other') })] }),
      {},
      'callerLog',
      'not_entitled',
    ],
    [
      "an entry that another organisation's log holds for it",
      () => fileOf({ proofs: [proofOf('caller', receiptOf(), { organisation: other, log: ownLog('other') })] }),
      {},
      'callerLog',
      'conflict',
    ],
    [
      'an entry by a foreign key',
      () => fileOf({ proofs: [proofOf('caller', receiptOf(), { key: foreign })] }),
      {},
      'callerLog',
      'key_unknown',
    ],
    [
      'a proof of another entry',
      () => {
        const [mine, theirs] = [proofOf('caller', receiptOf()), proofOf('callee', receiptOf())];
        const log = ownLog('gamma');
        const swapped = proofOf('callee', receiptOf(), { log });
        return fileOf({ proofs: [{ ...mine, proof: swapped.proof }, theirs] });
      },
      {},
      'callerLog',
      'bad_proof',
    ],
    ['a quorum that did not cosign', () => fileOf(), { policy: witnesses(['beta', 'epsilon']) }, 'witnesses', 'quorum'],
    [
      'a handshake of another session',
      () => fileOf({ handshake: handshakeOf(ORGANISATION) }),
      {},
      'handshake',
      'conflict',
    ],
  ];
  test.each(refused)('refuses %s', (_, file, more, check, code) => {
    const { error, report } = refusal(file(), more);
    expect(error.code).toBe(code);
    expect(failing(report)).toContain(`${check}: ${code}`);
    expect(error.data.field).toBe(failing(report)[0]?.split(':')[0]);
  });

  test.each([
    ['a minute after the order', NOW_SECONDS + 60],
    ['in the second of the order', NOW_SECONDS + 10],
  ])('tells what was revoked %s, and lets what was signed stand', (_, iat) => {
    const revocation = createRevocation(acme, granted, { iat });
    const heartbeat = createHeartbeat(acme, { iat: iat + 1, rhead: revocation });
    const report = verify(fileOf({ statements: replaced(revocation, heartbeat) }));
    expect(statusOf(report)).toMatchObject({ caller: 'ok', callee: 'ok', authority: 'ok' });
    expect(report.since.join('\n')).toContain('was revoked');
    expect(report.knownThrough).toContainEqual({ did: acme.did, asOf: new Date((iat + 1) * 1000).toISOString() });
  });

  test('tells which keys were rotated since, and lets what they signed before stand', () => {
    const rotated = createRotate(gamma, 'gamma 2', {
      iat: NOW_SECONDS + 60,
      retire: [gamma.keys.auth, gamma.keys.delegate, gamma.keys.sign].map((key) => [key, null]),
    });
    const heartbeat = createHeartbeat(gamma, {
      iat: NOW_SECONDS + 61,
      head: rotated,
      signers: [keyOf('gamma 2 sign')],
    });
    const report = verify(fileOf({ statements: replaced(rotated, heartbeat) }));
    expect(statusOf(report)).toMatchObject({ caller: 'ok', callee: 'ok', authority: 'ok' });
    expect(report.since.join('\n')).toContain('retired');
  });

  test('says that the chain does not name what was called, and does not guess', () => {
    const receipt = receiptOf();
    const report = verify(fileOf({ proofs: [proofOf('callee', receipt, { tool: 'write_file' })] }));
    const need = report.checks.find(({ check }) => check === 'need');
    expect(need?.status).toBe('notChecked');
    expect(need?.text).toContain('mcp:files/write_file');
  });

  test('shows no tool where nothing tells it', () => {
    const report = verify(fileOf({ proofs: [] }));
    expect(report.tool).toBeNull();
    expect(statusOf(report)).toMatchObject({ need: 'notChecked', callerLog: 'notChecked', calleeLog: 'notChecked' });
  });
});

describe('verifyReceiptFile() of a half receipt', () => {
  test("by the caller proves the order, the session and the taking, and not the callee's outcome", () => {
    const report = verify(halfFileOf('caller'));
    expect(report.half).toBe('caller');
    expect(statusOf(report)).toMatchObject({ receipt: 'ok', order: 'ok', taking: 'ok', handshake: 'ok', callee: 'ok' });
    expect(report.proven).toContain('against the callee: it took the order');
    expect(report.notProven.join('\n')).toContain('the word of the caller alone');
  });

  test('by the caller without a taking proves the session alone against the callee', () => {
    const { taking: _, ...file } = halfFileOf('caller');
    const report = verify(file);
    expect(report.proven).toContain('against the callee: it agreed to the session in which that was ordered');
    expect(report.notProven).toContain('against the callee: that the order reached it');
  });

  test('by the caller, without taking and handshake, proves nothing against the callee', () => {
    const { taking: _, handshake: __, ...file } = halfFileOf('caller');
    const report = verify(file);
    expect(statusOf(report)).toMatchObject({ callee: 'notChecked', handshake: 'notChecked' });
    expect(report.proven.filter((what) => what.includes('callee'))).toEqual([]);
  });

  test('by the callee proves the order against the caller, and not that it got an answer', () => {
    const report = verify(halfFileOf('callee'));
    expect(report.half).toBe('callee');
    expect(report.proven.join('\n')).toContain('against the caller: it ordered call 3');
    expect(report.notProven.join('\n')).toContain('the word of the callee alone');
  });

  test('shows the receipt of its own that the other side logged', () => {
    const file = halfFileOf('caller');
    const theirs = createHalfReceipt(file.order, happened('ok'), 'callee', calleeKey);
    const report = verify({ ...file, proofs: [...file.proofs, proofOf('callee', theirs)] });
    const line = report.checks.find(({ check }) => check === 'calleeLog');
    expect(line?.status).toBe('ok');
    expect(line?.text).toContain('says "ok"');
  });

  test('refuses one by a key that is nobody of the two', () => {
    const order = orderOf();
    const receipt = createHalfReceipt(order, happened(), 'callee', keyOf('somebody else'));
    const { taking: _, ...file } = halfFileOf('callee', { order, receipt, proofs: [] });
    const { report } = refusal(file);
    expect(failing(report)).toContain('callee: holder_mismatch');
  });
});

describe('a key that somebody else binds to a party', () => {
  const forged = keyOf('forged');
  const binding = { cnf: forged.publicKey, pri: true, exp: passedOn.payload.iat + 900 } as const;
  const toDesk = { aud: desk.did, ...binding };
  const byGamma = createRootLink(gamma, gail, { ...toDesk, cap: [{ can: 'mcp:*' }] });
  const byGrace = createChildLink(passedOn, grace, toDesk);
  // What follows a link that binds a key is signed by that key, also where it is as if by the party itself.
  const asIfByDesk = createCredential(byGamma, desk, forged, { signers: [forged] });

  test.each([
    ['by an organisation that is trusted too', [byGamma]],
    ['below a grant of its own organisation', [byGrace]],
    ['with a credential below it', [byGamma, asIfByDesk]],
  ])('%s makes no receipt of it', (_, links) => {
    const callee = { callee: desk, calleeKey: forged, calleeIdent: links.at(-1)?.id };
    const order = orderOf();
    const statements = [...STATEMENTS, ...links].map(({ envelope }) => envelope);
    const { taking: _taking, ...file } = fileOf(
      { order, receipt: receiptOf(order, callee), proofs: [], statements },
      callee,
    );
    const { report } = refusal(file);
    expect(failing(report)).toContain('callee: holder_mismatch');
    expect(report.proven.filter((line) => line.includes('against the callee'))).toEqual([]);
  });

  test('makes no order of it', () => {
    const link = createRootLink(acme, alice, { aud: grace.did, ...binding, cap: [{ can: 'mcp:files/*' }] });
    const order = orderOf(undefined, {}, forged);
    const receipt = createHalfReceipt(order, happened(), 'callee', calleeKey);
    const statements = [...STATEMENTS, link].map(({ envelope }) => envelope);
    const { parties } = fileOf();
    const {
      taking: _,
      handshake: _handshake,
      ...file
    } = halfFileOf('callee', { order, receipt, proofs: [], statements });
    const { report } = refusal({ ...file, parties: { ...parties, caller: { ident: link.id, grant: link.id } } });
    expect(failing(report)).toEqual(expect.arrayContaining(['caller: holder_mismatch', 'authority: holder_mismatch']));
    expect(report.proven.filter((line) => line.includes('against the caller'))).toEqual([]);
  });
});

describe('tampering', () => {
  const options = optionsOf({
    request: REQUEST,
    result: RESULT,
    policy: witnesses(['beta', 'delta']),
  });
  const files = [
    ['a whole receipt', formatReceiptFile(fileOf({ handshake: handshakeOf() }))],
    ['a half receipt', formatReceiptFile(halfFileOf('callee'))],
  ] as const;

  test.each(files)('with any byte of %s is noticed, or changes nothing that is reported', (_, bytes) => {
    const good = JSON.stringify(verifyReceiptFile(bytes, options));
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = bytes.with(at, (bytes[at] as number) ^ change);
        let report: string;
        try {
          report = JSON.stringify(verifyReceiptFile(changed, options));
        } catch (error) {
          expect(isMeshError(error)).toBe(true);
          return;
        }
        expect(report).toBe(good);
      }),
      { numRuns: 400 },
    );
  });

  test.each(files)('by cutting %s anywhere is noticed', (_, bytes) => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 3), (length) => {
        expect(() => verifyReceiptFile(bytes.subarray(0, length), options)).toThrow();
      }),
      { numRuns: 50 },
    );
  });
});

test('a session key that a second credential binds is found all the same', () => {
  const again = createCredential(callerIdent, grace, callerKey, { nonce: 'again' });
  const file = fileOf({
    parties: { ...fileOf().parties, caller: { ident: again.id, grant: callerGrant.id } },
    statements: [...STATEMENTS, again].map(({ envelope }) => envelope),
  });
  expect(statusOf(verify(file)).caller).toBe('ok');
});

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatVkey } from '../../../protocol/log/index.ts';
import { fakeReceipts, RECEIPTS } from '../../daemon/control/fake-receipts.ts';
import { ownWitness } from '../../protocol/log/own-log.ts';
import { acme, bytesOf, gamma, grace, REQUEST, RESULT } from '../../protocol/receipt/world.ts';
import { createHome, createHomeWithDaemon, type HomeWithDaemon } from '../start.ts';

let home: HomeWithDaemon;
let folder: string;
let file: string;
const [half, whole] = RECEIPTS.map(({ receipt }) => receipt.id) as [string, string];
const roots = ['--root', acme.did, '--root', gamma.did];

beforeAll(async () => {
  home = await createHomeWithDaemon();
  folder = await mkdtemp(join(tmpdir(), 'receipt-'));
  file = join(folder, 'call.receipt');
  await writeFile(file, bytesOf());
  await writeFile(join(folder, 'request.json'), REQUEST);
  await writeFile(join(folder, 'result.json'), RESULT);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

describe('receipt list and show', () => {
  test('show the newest first, and which are of this side alone', async () => {
    const { out, exit } = await home.run(['receipt', 'list']);
    expect(exit).toBe(0);
    expect(out.indexOf(half)).toBeLessThan(out.indexOf(whole));
    expect(out).toContain('timeout (half)');
    const { json } = await home.run(['receipt', 'list', '--with', grace.did, '--json']);
    expect((json['receipts'] as { id: string }[]).map(({ id }) => id)).toEqual([whole]);
  });

  test('find one by the beginning of its id', async () => {
    const { out, exit } = await home.run(['receipt', 'show', whole.slice(0, 20)]);
    expect(exit).toBe(0);
    expect(out).toContain(whole);
    expect(out).toContain('both sides');
    expect((await home.run(['receipt', 'show', half])).out).toContain('this side alone');
    expect(await home.run(['receipt', 'show', 'bafyreizzzzzz'])).toMatchObject({ exit: 4, out: '' });
  });
});

describe('receipt save', () => {
  test('writes what "receipt verify" accepts elsewhere, without a daemon', async () => {
    const target = join(folder, 'saved.receipt');
    expect(await home.run(['receipt', 'save', whole, '-o', target])).toMatchObject({ exit: 0 });
    const answer = await fakeReceipts.receiptFile(
      { params: { id: whole }, query: {}, body: undefined },
      { kind: 'operator' },
      new AbortController().signal,
    );
    expect(await readFile(target, 'base64url')).toBe(answer.file);
    await using elsewhere = await createHome();
    const { out, exit } = await elsewhere.run(['receipt', 'verify', target, ...roots]);
    expect(exit).toBe(0);
    expect(out).toMatch(/^valid {4}the receipt is of both sides; 4 of 13 checks were not made\n/);
  });

  test('refuses a directory that is not there', async () => {
    expect((await home.run(['receipt', 'save', whole, '-o', join(folder, 'no', 'where')])).exit).toBe(4);
  });
});

describe('receipt verify', () => {
  const verify = (...words: string[]) => home.run(['receipt', 'verify', file, ...words]);

  test('has a line for every check, with all that it was given', async () => {
    const witnesses = ['beta', 'delta'].flatMap((name) => ['--witness', formatVkey(ownWitness(name).vkey)]);
    const contents = ['--request', join(folder, 'request.json'), '--result', join(folder, 'result.json')];
    const { out, exit } = await verify(...roots, ...witnesses, ...contents);
    expect(exit).toBe(0);
    expect(out).toContain('Handshake');
    expect(out.match(/ ok /g)).toHaveLength(12);
    expect(out.match(/not checked/g)).toHaveLength(1);
    expect(out).toContain('against the callee: it took the order');
  });

  test('says what is wrong, with its code, and exits with 3', async () => {
    const wrong = await verify(...roots, '--result', join(folder, 'request.json'), '--json');
    expect(wrong.exit).toBe(3);
    expect(wrong.json).toMatchObject({ ok: false, code: 'conflict' });
    const checks = (wrong.json['report'] as { checks: { check: string; status: string }[] }).checks;
    expect(checks.find(({ check }) => check === 'result')?.status).toBe('failed');
    const unknown = await verify('--root', grace.did);
    expect(unknown).toMatchObject({ exit: 3 });
    expect(unknown.out).toMatch(/^invalid {2}unknown_root/);
    const quorum = await verify(...roots, '--witness', formatVkey(ownWitness('epsilon').vkey));
    expect(quorum.out).toMatch(/^invalid {2}quorum/);
  });

  test('tells a file that is no receipt, and one that is not there', async () => {
    const other = join(folder, 'request.json');
    expect((await home.run(['receipt', 'verify', other, ...roots])).out).toMatch(/^invalid {2}schema/);
    expect((await home.run(['receipt', 'verify', join(folder, 'none'), ...roots])).exit).toBe(4);
  });

  test('is not told by the file what to print: whoever wrote it wrote its names too', async () => {
    const forged = join(folder, 'forged.receipt');
    const name = '\r\u001b[2Kvalid    the receipt is of both sides';
    await writeFile(forged, JSON.stringify({ [name]: 1 }));
    const { out, exit } = await home.run(['receipt', 'verify', forged, ...roots]);
    expect(exit).toBe(3);
    expect(out).toContain('valid    the receipt is of both sides');
    expect(out.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });

  test('shows of a file what is in it, whatever is wrong', async () => {
    const { out, exit } = await home.run(['receipt', 'show', file]);
    expect(exit).toBe(0);
    expect(out).toContain('call 3');
  });
});

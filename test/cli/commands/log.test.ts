import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkJson, ROUTES } from '../../../protocol/control/index.ts';
import { MeshError } from '../../../protocol/index.ts';
import { formatNote, leafHash, parseBundle, parseCheckpoint, parseEntry } from '../../../protocol/log/index.ts';
import { createOrganisation } from '../../builders.ts';
import { FakeBackend } from '../../daemon/control/fake-backend.ts';
import { createHome, createHomeWithDaemon, type HomeWithDaemon, type Ran } from '../start.ts';

let home: HomeWithDaemon;
let reporter: string;
const operator = { kind: 'operator' } as const;
const never = new AbortController().signal;

/** An action of the agent. */
async function act(tool: string, facts: Record<string, unknown> = {}): Promise<number> {
  const body = { as: reporter, op: 'execute_tool', tool, facts };
  return (await home.fake.logAppend({ params: {}, query: {}, body }, operator, never)).index;
}
const release = () => home.fake.cosigning.witnessed(home.fake.auditLog.treeSize, 2);
const linesOf = ({ out }: Ran): string[] => out.trimEnd().split('\n');

beforeAll(async () => {
  home = await createHomeWithDaemon();
  reporter = ((await home.run(['agent', 'show', 'reporter', '--json'])).json['agent'] as { did: string }).did;
  await act('search', { hits: 3 });
  await act('mail');
  await release();
});
afterAll(() => home[Symbol.asyncDispose]());

describe('log tail', () => {
  test('shows the newest last, a line each, with names for own DIDs', async () => {
    const { out, exit } = await home.run(['log', 'tail']);
    expect(exit).toBe(0);
    const lines = out.trimEnd().split('\n');
    expect(lines).toHaveLength(home.fake.auditLog.treeSize);
    expect(lines[0]).toMatch(/^ {5}0 {2}20\d\d-\d\d-\d\d \d\d:\d\d:\d\d {2}log\.opened +acme$/);
    expect(lines.at(-2)).toMatch(/ {2}agent\.action +reporter {2}.*op=execute_tool.*tool=search/);
    expect(lines.at(-2)).toContain('hits=3');
    expect(lines.at(-1)).toContain('tool=mail');
  });

  test('takes the last that fit', async () => {
    const one = await home.run(['log', 'tail', '--limit', '1', '--actor', 'reporter']);
    expect(linesOf(one)).toEqual([expect.stringContaining('tool=mail')]);
    const types = await home.run(['log', 'tail', '--type', 'did', '--type', 'log.opened', '--json']);
    const shown = linesOf(types).map((line) => (JSON.parse(line) as { entry: { type: string } }).entry.type);
    expect(shown).toEqual(['agentmesh.log.opened.v1', 'agentmesh.did.operation.v1', 'agentmesh.did.operation.v1']);
    expect((await home.run(['log', 'tail', '--since', '1h'])).out).toBe((await home.run(['log', 'tail'])).out);
    expect((await home.run(['log', 'tail', '--since', '2999-01-01'])).out).toBe('');
    expect(await home.run(['log', 'tail', '--actor', 'nobody'])).toMatchObject({ exit: 4, out: '' });
  });

  test('follows what is appended until it is interrupted', async () => {
    const controller = new AbortController();
    const words = ['log', 'tail', '-f', '--limit', '1', '--type', 'agent', '--json'];
    const following = home.run(words, { signal: controller.signal });
    await new Promise((settle) => setTimeout(settle, 300));
    await act('later');
    await home.fake.recorder.record('daemon.started', { version: '0.1.0' });
    await act('last');
    await new Promise((settle) => setTimeout(settle, 900));
    controller.abort(new MeshError('cancelled', 'Cannot go on', { signal: 'SIGINT' }));
    const ran = await following;
    expect(ran.exit).toBe(130);
    const tools = linesOf(ran).map(
      (line) => (JSON.parse(line) as { entry: { data: { tool: string } } }).entry.data.tool,
    );
    expect(tools).toEqual(['mail', 'later', 'last']);
  });

  test('shows what others wrote without doing what it says', async () => {
    const index = await act('x\u001b[2J\u202ey', { 'a\nb': '\u0007' });
    const { out } = await home.run(['log', 'tail', '--limit', '1']);
    expect(out).toContain('tool=x�[2J�y');
    expect(out.trimEnd().split('\n')).toHaveLength(1);
    const shown = await home.run(['log', 'show', String(index)]);
    // oxlint-disable-next-line eslint/no-control-regex -- none of these may reach a terminal
    expect(shown.out.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u202e]/);
  });
});

describe('log show', () => {
  test('gives the answer of the route, by number or id', async () => {
    const byIndex = await home.run(['log', 'show', '3', '--json']);
    expect(byIndex.exit).toBe(0);
    expect(() => checkJson(ROUTES.logEntry.response, byIndex.json, 'the answer', 'internal')).not.toThrow();
    expect((await home.run(['log', 'show', String(byIndex.json['id']), '--json'])).json).toEqual(byIndex.json);
    expect(await home.run(['log', 'show', '999999'])).toMatchObject({ exit: 4, out: '' });
  });

  test('checks the signature itself', async () => {
    const good = await home.run(['log', 'show', '4']);
    expect(good.out).toMatch(/\nSignature +verifies under z6Mk/);
    expect(good.out).toMatch(/\nActor +did:mesh:\S+ \(reporter\)\n/);
    await using other = await createHomeWithDaemon();
    const entry = await other.fake.auditLog.entry(0);
    const text = Buffer.from(entry ?? []).toString('utf8');
    other.fake.auditLog.tamper(0, Buffer.from(text.replace('"time":"20', '"time":"19')));
    const bad = await other.run(['log', 'show', '0']);
    expect(bad.exit).toBe(3);
    expect(bad.out).toContain('DOES NOT VERIFY');
  });
});

describe('log prove and log verify', () => {
  test('hand out an entry that anybody can check, without a daemon', async () => {
    const proved = await home.run(['log', 'prove', '4', '-o', 'four', '--witnessed', '2', '--json']);
    expect([proved.exit, proved.json['files']]).toEqual([
      0,
      { proof: join(home.path, 'four.tlog-proof'), entry: join(home.path, 'four.json') },
    ]);
    const entry = parseEntry(await readFile(join(home.path, 'four.json')));
    expect(entry.entry.data).toMatchObject({ actor: reporter, tool: 'search' });
    const policy = (await home.run(['log', 'status', '--json'])).json['policy'] as string;
    await writeFile(join(home.path, 'mine.policy'), policy);

    await using elsewhere = await createHome();
    const files = ['four.tlog-proof', 'four.json', 'mine.policy'];
    for (const file of files) await writeFile(join(elsewhere.path, file), await readFile(join(home.path, file)));
    const checked = await elsewhere.run(['log', 'verify', 'four.tlog-proof', '--policy', 'mine.policy', '--json']);
    expect(checked.err).toBe('');
    expect([checked.exit, checked.json]).toMatchObject([
      0,
      {
        ok: true,
        checkedBy: 'this process',
        report: { entry: { index: 4 }, policy: { enforced: true, quorumMet: true }, cosignatures: [{}, {}] },
      },
    ]);
    const text = await elsewhere.run(['log', 'verify', 'four', '--policy', 'mine.policy']);
    expect(text.out).toMatch(/^valid {4}entry 4 is in the log, as it was signed\n/);
    expect(text.out).toMatch(/\nQuorum +met, by the policy of /);
    const without = await elsewhere.run(['log', 'verify', 'four']);
    expect(without).toMatchObject({ exit: 0 });
    expect(without.out).toContain('not looked at: no policy');
    const old = await elsewhere.run(['log', 'verify', 'four', '--policy', 'mine.policy', '--max-age', '1h'], {
      nowMs: () => Date.now() + 7_200_000,
    });
    expect(old).toMatchObject({ exit: 3 });
    expect(old.out).toMatch(/^invalid {2}quorum: /);
  });

  test('refuse a proof of another entry, another log, or a byte that was changed', async () => {
    await home.run(['log', 'prove', '5', '-o', 'five']);
    const paths = { proof: join(home.path, 'five.tlog-proof'), entry: join(home.path, 'five.json') };
    const [proof, entry] = [await readFile(paths.proof), await readFile(paths.entry)];
    const codeOf = async (words: readonly string[] = []): Promise<unknown> => {
      const ran = await home.run(['log', 'verify', 'five.tlog-proof', '--json', ...words]);
      return ran.exit === 3 ? ran.json['code'] : ran.exit;
    };
    expect(await codeOf()).toBe(0);
    expect(await codeOf(['--entry', 'four.json'])).toBe('bad_proof');
    for (const [path, bytes, at] of [
      [paths.entry, entry, entry.length - 40],
      [paths.proof, proof, proof.indexOf('\n\n') - 10],
      [paths.proof, proof, proof.length - 30],
    ] as const) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) === 0x41 ? 0x42 : 0x41;
      await writeFile(path, changed);
      const code = await codeOf(['--policy', 'mine.policy']);
      expect(['bad_proof', 'malformed', 'bad_signature'], `${path} at ${at}`).toContain(code);
      await writeFile(path, bytes);
    }
    await using other = await createHomeWithDaemon();
    const foreign = (await other.run(['log', 'status', '--json'])).json['policy'] as string;
    await writeFile(join(home.path, 'foreign.policy'), foreign.replaceAll(/acme/g, 'acme').replace(/log .*\n/, ''));
    expect(await codeOf(['--policy', 'foreign.policy'])).toBe('not_signed');
    await rm(paths.entry);
    expect(await home.run(['log', 'verify', 'five.tlog-proof'])).toMatchObject({ exit: 4, out: '' });
  });

  test('wait for as many witnesses as are asked for, and say when there are not as many', async () => {
    const ran = await home.run(['log', 'prove', '0', '-o', 'zero', '--witnessed', '3']);
    expect(ran).toMatchObject({ exit: 3, out: '' });
    expect(ran.err).toMatch(/^error \(quorum\) /);
    expect(await readdir(home.path)).not.toContain('zero.tlog-proof');
  });
});

describe('log export', () => {
  test('writes a log that verifies from its bytes alone, and brings it up to date', async () => {
    await using other = await createHomeWithDaemon();
    const { fake } = other;
    for (let i = 0; i < 300; i++) await fake.recorder.record('daemon.started', { version: `0.1.${i}` });
    await fake.cosigning.witnessed(fake.auditLog.treeSize, 2);
    const first = await other.run(['log', 'export', 'copy', '--json']);
    expect([first.exit, first.json]).toMatchObject([
      0,
      { format: 'tiles', treeSize: fake.auditLog.treeSize, before: null },
    ]);
    const copy = join(other.path, 'copy');
    expect((await readdir(copy)).toSorted()).toEqual(['checkpoint', 'log.v0.vkey', 'policy', 'tile']);
    expect(await readdir(join(copy, 'tile', '0'))).toEqual(['000', '001.p']);
    const bundle = await readFile(join(copy, 'tile', 'entries', '000'));
    expect(parseBundle(bundle, 256)).toHaveLength(256);
    const old = await readFile(join(copy, 'checkpoint'));
    await writeFile(join(other.path, 'old'), old);

    const valid = await other.run(['log', 'verify', 'copy', '--json']);
    expect([valid.exit, valid.json]).toMatchObject([
      0,
      {
        ok: true,
        report: {
          treeSize: fake.auditLog.treeSize,
          entries: fake.auditLog.treeSize,
          policy: { enforced: false, quorumMet: true, hasQuorum: true },
        },
      },
    ]);

    for (let i = 0; i < 300; i++) await fake.recorder.record('daemon.started', { version: `0.2.${i}` });
    await fake.cosigning.witnessed(fake.auditLog.treeSize, 2);
    await writeFile(join(copy, 'tile', 'entries', '000'), bundle.subarray(0, 5_000)); // torn
    const again = await other.run(['log', 'export', 'copy', '--json']);
    expect(again.json).toMatchObject({ before: parseCheckpoint(old).checkpoint.treeSize, filesKept: 1 });
    expect(await readFile(join(copy, 'tile', 'entries', '000'))).toEqual(bundle);
    expect(await readdir(join(copy, 'tile', '0'))).toEqual(['000', '001', '002.p']);
    const since = await other.run(['log', 'verify', 'copy', '--since', 'old', '--policy', 'copy/policy']);
    expect(since.exit).toBe(0);
    expect(since.out).toMatch(/\nContains +the checkpoint of 30\d in /);
  });

  test('refuses a directory of another log or of another history, and leaves it as it is', async () => {
    await using one = await createHomeWithDaemon();
    await one.fake.cosigning.witnessed(one.fake.auditLog.treeSize, 2);
    const copy = join(one.path, 'copy');
    await one.run(['log', 'export', copy]);
    const before = await readFile(join(copy, 'checkpoint'));
    await one.fake.recorder.record('daemon.started', { version: '9' });
    const [entry] = [await one.fake.auditLog.entry(one.fake.auditLog.treeSize - 1)];
    one.fake.auditLog.tamper(0, entry ?? new Uint8Array());
    await one.fake.cosigning.witnessed(one.fake.auditLog.treeSize, 2);
    const ran = await one.run(['log', 'export', copy]);
    expect(ran).toMatchObject({ exit: 3, out: '' });
    expect(ran.err).toMatch(/^error \(bad_proof\) Cannot export to .* the checkpoint there is of another history/);
    expect(await readFile(join(copy, 'checkpoint'))).toEqual(before);

    await using two = await createHomeWithDaemon(new FakeBackend('beta'));
    await two.fake.cosigning.witnessed(two.fake.auditLog.treeSize, 2);
    const other = await two.run(['log', 'export', copy]);
    expect(other).toMatchObject({ exit: 3, out: '' });
    expect(other.err).toMatch(/^error \(conflict\) /);
  });

  test('of tiles wants a directory', async () => {
    await writeFile(join(home.path, 'a-file'), '');
    expect(await home.run(['log', 'export', 'a-file'])).toMatchObject({ exit: 2, out: '' });
  });

  test('of a log that released nothing yet says so', async () => {
    await using other = await createHomeWithDaemon();
    const ran = await other.run(['log', 'export', 'copy']);
    expect(ran).toMatchObject({ exit: 4, out: '' });
    expect(ran.err).toContain('"checkpoint"');
  });

  test('as lines gives every entry as it was hashed, with its place for other tools', async () => {
    const directory = await mkdtemp(join(home.path, 'lines-'));
    const file = join(directory, 'log.jsonl');
    const ran = await home.run(['log', 'export', file, '--format', 'jsonl', '--json']);
    const { treeSize } = home.fake.auditLog;
    expect(ran.json).toEqual({ format: 'jsonl', file, entries: treeSize });
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    const events = (await home.run(['log', 'export', '-', '--format', 'cloudevents'])).out.trimEnd().split('\n');
    expect([lines.length, events.length]).toEqual([treeSize, treeSize]);
    for (const [i, line] of lines.entries()) {
      const bytes = Buffer.from((await home.fake.auditLog.entry(i)) ?? []);
      expect(Buffer.from(events[i] ?? '')).toEqual(bytes);
      expect(line).toBe(
        `{"index":${i},"leafHash":"${Buffer.from(leafHash(bytes)).toString('hex')}","entry":${bytes.toString('utf8')}}`,
      );
    }
    const ocsf = (await home.run(['log', 'export', '-', '--format', 'ocsf'])).out.trimEnd().split('\n');
    expect(ocsf).toHaveLength(treeSize);
    for (const line of ocsf) expect(JSON.parse(line)).toMatchObject({ metadata: { version: '1.9.0' } });
    expect(await readdir(directory)).toEqual(['log.jsonl']);
  });
});

describe('log verify finds the first place that is wrong', () => {
  test('in a copy, and in what the daemon itself gives', async () => {
    await using other = await createHomeWithDaemon();
    const { fake } = other;
    for (let i = 0; i < 20; i++) await fake.recorder.record('daemon.started', { version: `0.1.${i}` });
    await fake.cosigning.witnessed(fake.auditLog.treeSize, 2);
    expect(await other.run(['log', 'verify'])).toMatchObject({ exit: 0 });
    await other.run(['log', 'export', 'copy']);

    const { treeSize } = fake.auditLog;
    const path = join(other.path, 'copy', 'tile', 'entries', `000.p`, String(treeSize));
    const bundle = await readFile(path);
    const text = bundle.toString('latin1');
    await writeFile(path, Buffer.from(text.replace('0.1.7"', '0.1.8"'), 'latin1'));
    const changed = await other.run(['log', 'verify', 'copy', '--json']);
    expect([changed.exit, changed.json]).toMatchObject([3, { ok: false, code: 'bad_proof', report: null }]);
    const index = (changed.json['data'] as { index: number }).index;
    expect(index).toBe(treeSize - 20 + 7);
    const shown = await other.run(['log', 'verify', 'copy']);
    expect(shown.out).toMatch(new RegExp(`^invalid {2}bad_proof: .*\n {9}at entry ${index}\n`));
    expect(shown.err).toContain('next  keep these files');

    await rm(path);
    const missing = await other.run(['log', 'verify', 'copy', '--json']);
    expect([missing.exit, missing.json['code']]).toEqual([3, 'not_found']);
    expect(await other.run(['log', 'verify', 'nowhere'])).toMatchObject({ exit: 4, out: '' });
    expect(await other.run(['log', 'verify', '.'])).toMatchObject({ exit: 4, out: '' });

    fake.auditLog.tamper(5, (await fake.auditLog.entry(6)) ?? new Uint8Array());
    const own = await other.run(['log', 'verify', '--json']);
    expect([own.exit, own.json]).toMatchObject([3, { code: 'bad_proof' }]);
  });

  test('against a checkpoint that was kept', async () => {
    await using other = await createHomeWithDaemon();
    const { fake } = other;
    for (const version of ['a', 'b']) await fake.recorder.record('daemon.started', { version });
    const { treeSize } = fake.auditLog;
    const before = await fake.cosigning.witnessed(treeSize, 2);
    await writeFile(join(other.path, 'kept'), formatNote(before.note));
    await fake.recorder.record('daemon.started', { version: '1' });
    await fake.cosigning.witnessed(fake.auditLog.treeSize, 2);
    expect(await other.run(['log', 'verify', '--since', 'kept'])).toMatchObject({ exit: 0 });
    // All of it rewritten, signed and cosigned anew: nothing but what was kept shows it.
    fake.auditLog.rewrite(treeSize - 2, treeSize - 1);
    await fake.recorder.record('daemon.started', { version: '2' });
    await fake.cosigning.witnessed(fake.auditLog.treeSize, 2);
    const ran = await other.run(['log', 'verify', '--since', 'kept', '--json']);
    expect([ran.exit, ran.json]).toMatchObject([3, { code: 'bad_proof' }]);
    expect(await other.run(['log', 'verify'])).toMatchObject({ exit: 0 });
  });
});

describe('log status', () => {
  test('says how large, how old, who cosigned, and that the quorum is met', async () => {
    await act('status');
    await release();
    const { out, exit } = await home.run(['log', 'status']);
    const { json } = await jsonOf('logStatus', ['log', 'status']);
    expect(exit).toBe(0);
    expect(out).toMatch(/^Log +agentmesh\/v1\/log\/z6Mk\S+\/0\n/);
    expect(out).toMatch(/\nState +signs\n/);
    expect(out).toMatch(/\nReleased +all \d+\n/);
    expect(out).toMatch(/\nCosigned by +did:mesh:\S+, \d+ s ago by its clock\n +did:mesh:\S+, \d+ s ago/);
    expect(out).toMatch(/\nQuorum +met\n/);
    expect(json).toMatchObject({ watched: true, problem: null, released: { quorumMet: true } });
  });

  test('says who does not show that his log agrees with itself, and what is copied for whom', async () => {
    await using other = await createHomeWithDaemon();
    const { fake } = other;
    const [did, origin] = [createOrganisation('beta').did, fake.auditLog.origin];
    const nowMs = Date.now();
    const held = { origin, organisations: [did], treeSizes: [4, 7] as const, sinceMs: nowMs, lastMs: nowMs, times: 2 };
    fake.watched = { ...fake.watched, logs: 1, checkpoints: 2, withheld: [held] };
    fake.copies = [{ organisation: did, origin, treeSize: 7, problem: null }];
    const { out, exit } = await other.run(['log', 'status']);
    expect(exit, 'a suspicion is no failure of this log').toBe(0);
    expect(out).toContain('has not shown that its trees of 4 and 7 entries agree; asked 2 times');
    expect(out).toMatch(/\nCopies kept +did:mesh:\S+: 7 entries\n/);
    const { json } = await other.run(['log', 'status', '--json']);
    expect(json).toMatchObject({
      monitor: { withheld: [{ organisations: [did], treeSizes: [4, 7], times: 2 }] },
      mirrors: [{ did, origin, treeSize: 7, problem: null }],
    });
  });

  test('of one that is halted exits with 1 and says what to do', async () => {
    await using other = await createHomeWithDaemon();
    other.fake.auditLog.halt({ code: 'log_halted', message: 'the anchor is of another tree', place: 'log.anchor' });
    const ran = await other.run(['log', 'status']);
    expect(ran.exit).toBe(1);
    expect(ran.out).toMatch(/\nState +HALTED: the anchor is of another tree\nSeen in +log\.anchor\n/);
    expect(ran.err).toContain('log recover');
    const refused = await other.run(['log', 'recover', '--new-generation', '--reason', 'restored', '--json']);
    expect([refused.exit, refused.json]).toMatchObject([0, { problem: null, lost: null }]);
    other.fake.auditLog.halt({ code: 'log_halted', message: 'the anchor is of another tree', place: 'log.anchor' });
    const recovered = await other.run(['log', 'recover', '--from-mirrors', '--reason', 'x']);
    expect([recovered.exit, recovered.out]).toEqual([
      0,
      expect.stringMatching(/^warning 2 entries at the end, .* are lost: no copy has them\.\n\nLog /),
    ]);
    expect(await other.run(['log', 'recover', '--from-mirrors', '--reason', 'x'])).toMatchObject({ exit: 3, out: '' });
  });
});

async function jsonOf(operationId: 'logStatus' | 'witnessStatus' | 'convictionList', words: string[]): Promise<Ran> {
  const ran = await home.run([...words, '--json']);
  expect(() => checkJson(ROUTES[operationId].response, ran.json, 'the answer', 'internal')).not.toThrow();
  return ran;
}

test('witness status names the logs that this daemon cosigned', async () => {
  const { json } = await jsonOf('witnessStatus', ['witness', 'status']);
  expect(json).toMatchObject({ logs: [{ treeSize: 7, did: null }] });
  const { out } = await home.run(['witness', 'status']);
  expect(out).toMatch(/^Witness +agentmesh\/v1\/witness\/z6Mk/);
  expect(out).toMatch(/\nLOG OF +ENTRIES +COSIGNED +ROOT\nagentmesh\/v1\/log\/\S+ +7 +1 min ago/);
});

describe('audit', () => {
  test('is a table, JSON or CSV of the same entries, newest first', async () => {
    const table = await home.run(['audit', '--agent', 'reporter', '--limit', '2']);
    expect(table.out).toMatch(/^TIME +AGENT +ACTION +RESOURCE +OUTCOME +DECISION +ENTRY\n/);
    expect(linesOf(table)).toHaveLength(3);
    expect(linesOf(table)[1]).toMatch(/ reporter +execute_tool +status +ok /);
    const json = await home.run(['audit', '--agent', 'reporter', '--limit', '2', '--format', 'json']);
    const entries = json.json['entries'] as { index: number }[];
    expect(entries.map(({ index }) => index)).toEqual(entries.map(({ index }) => index).toSorted((a, b) => b - a));
    expect((await home.run(['audit', '--agent', 'reporter', '--limit', '2', '--json'])).out).toBe(json.out);
    const csv = await home.run(['audit', '--limit', '1000', '--format', 'csv']);
    expect(csv.out.split('\r\n')[0]).toBe(
      'time,agent,type,action,resource,outcome,decision,rule,trace,index,id,approver',
    );
    expect(csv.out.split('\r\n').length).toBe(home.fake.auditLog.treeSize + 2);
    expect(await home.run(['audit', '--agent', 'nobody'])).toMatchObject({ exit: 4, out: '' });
  });

  test('shows an intent with what came of it as one row, and as open while nothing did', async () => {
    await using other = await createHomeWithDaemon();
    const did = ((await other.run(['agent', 'show', 'reporter', '--json'])).json['agent'] as { did: string }).did;
    const log = async (body: object): Promise<string> =>
      (await other.fake.logAppend({ params: {}, query: {}, body: { as: did, ...body } }, operator, never)).id;
    const intent = await log({ phase: 'intent', op: 'first' });
    await log({ intent, op: 'first', result: { code: 'timeout' } });
    await log({ phase: 'intent', op: 'second' });
    const { json } = await other.run(['audit', '--agent', 'reporter', '--limit', '5', '--json']);
    const rows = json['entries'] as { action: string; outcome: string }[];
    expect(rows.map(({ action, outcome }) => [action, outcome])).toEqual([
      ['second', 'intent'],
      ['first', 'timeout'],
    ]);
  });

  test('gives a spreadsheet no formula, and no cell that breaks its line', async () => {
    await act('=HYPERLINK("http://evil.example","x")');
    const { out } = await home.run(['audit', '--limit', '1', '--format', 'csv']);
    expect(out).toContain(`,"'=HYPERLINK(""http://evil.example"",""x"")",`);
  });
});

describe('convictions', () => {
  const beta = createOrganisation('beta');

  test('are listed, shown with their proof, and lifted by a person', async () => {
    expect((await home.run(['conviction', 'list'])).out).toMatch(/^Nobody is convicted/);
    expect(await home.run(['conviction', 'show', beta.did])).toMatchObject({ exit: 4, out: '' });
    home.fake.convict(beta);
    expect((await home.run(['conviction', 'list'])).out).toMatch(new RegExp(`\n${beta.did} +convicted +log +-\n`));
    const { json } = await home.run(['conviction', 'show', beta.did, '--json']);
    expect(() => checkJson(ROUTES.convictionShow.response, json, 'the answer', 'internal')).not.toThrow();
    const [proof] = json['proofs'] as Record<string, unknown>[];
    expect(Object.keys(proof ?? {}).toSorted()).toEqual(
      ['id', 'of', 'who', 'log', 'a', 'b', 'rootOfAOnB', 'proof', 'binding'].toSorted(),
    );
    const shown = await home.run(['conviction', 'show', beta.did]);
    expect(shown.out).toMatch(/\nOne note +agentmesh\/v1\/log\/\S+, 3 entries, root /);
    expect(shown.err).toContain('conviction lift');
    const lifted = await home.run(['conviction', 'lift', beta.did, '--reason', 'a backup, told us']);
    expect(lifted.out).toMatch(/\nState +lifted here\n/);
    expect(lifted.out).toMatch(/\nReason +a backup, told us\n/);
    expect(await home.run(['conviction', 'lift', beta.did, '--reason', 'again'])).toMatchObject({ exit: 3 });
    await jsonOf('convictionList', ['conviction', 'list']);
  });
});

/** Policies and approvals as people use them: the command line against a daemon of its own, which is killed on the way. */
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeNewKey } from '../../cli/key-files.ts';
import { didKeyOf, multikeyText } from '../../protocol/index.ts';
import type { AgentMesh } from '../../sdk/index.ts';
import { run, type Ran } from '../cli/start.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';

const POLICY = `version: "1.0"
name: acme
rules:
  - { name: reads, condition: "action.type == 'tool_call' and tool.name == 'read_file'", action: allow }
  - { name: no-writes, condition: "tool.name == 'write_file'", action: deny }
  - { name: deletes, condition: "tool.name == 'delete_file'", action: require_approval, approvers: [alice@company.com] }
  - { name: deploys, condition: "tool.name == 'deploy'", action: require_approval, approvers: [operations] }
  - { name: exports, condition: "action.type == 'export'", action: allow, limit: 2/day }
  - { name: grants, condition: "action.type == 'delegate'", action: require_approval, approvers: [alice@company.com] }
`;
const CANDIDATE = POLICY.replace("'read_file'", "'nothing'").replace('limit: 2/day', 'limit: 3/day');

let home: string;
let daemon: DaemonProcess;
let mesh: AgentMesh;
let scout: string;
let operator: { readonly did: string; readonly file: string };

const cli = (...words: string[]): Promise<Ran> => run(home, words);
const file = (name: string): string => join(home, name);

async function write(name: string, text: string): Promise<void> {
  await writeFile(file(name), text);
  await chmod(file(name), 0o600);
}

async function start(): Promise<void> {
  daemon = await startDaemonProcess({ home, name: 'Acme' });
  mesh = await daemon.connect();
}

beforeAll(async () => {
  home = join(await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-governance-'))), 'home');
  await mkdir(home, { mode: 0o700 });
  const made = await writeNewKey(home, 'operator', undefined);
  operator = { did: didKeyOf(multikeyText(made.publicKey)), file: made.file };
  await write('acme.yaml', POLICY);
  await write('next.yaml', CANDIDATE);
  await write(
    'agentmesh.yaml',
    `policies: [acme.yaml]\nshadow_policies: [next.yaml]\napprovers: ["operations ${operator.did}"]\n`,
  );
  await start();
  const { json } = await cli('init', '--name', 'scout', '--sponsor', 'alice@company.com', '--json');
  scout = (json['agent'] as { did: string }).did;
  const early = await cli('policy', 'explain', '--tool', 'read_file', '--agent', 'scout', '--json');
  expect(early).toMatchObject({
    exit: 3,
    error: { code: 'conflict', message: expect.stringContaining('unregistered') },
  });
  await cli('register', 'scout');
}, 60_000);
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await rm(join(home, '..'), { recursive: true, force: true });
});

type Verdict = Awaited<ReturnType<AgentMesh['decisions']['decide']>>;

/** As a proxy asks, and says how it ended. */
async function decide(request: Parameters<AgentMesh['decisions']['decide']>[0]['request']): Promise<Verdict> {
  const verdict = await mesh.decisions.decide({ as: scout, request });
  if (verdict.effect === 'allow' && verdict.id !== null)
    await mesh.decisions.settle({ as: scout, outcomes: [{ id: verdict.id, code: 'ok' }] });
  return verdict;
}
const call = (name: string, args: Record<string, string> = {}): Promise<Verdict> =>
  decide({ action: 'tool_call', tool: { name, server: 'files', arguments: args, paths: [] } });
const exported = (): Promise<Verdict> => decide({ action: 'export', facts: { format: 'csv' } });

const auditOf = async (index: number | null): Promise<Record<string, unknown> | undefined> =>
  ((await cli('audit', '--limit', '1000', '--json')).json['entries'] as Record<string, unknown>[]).find(
    (row) => row['index'] === index,
  );

describe('a daemon with a policy', () => {
  test('allows, denies and limits, and each decision is in the audit log', async () => {
    const [read, written, other] = [await call('read_file'), await call('write_file'), await call('other')];
    expect([read, written, other]).toMatchObject([
      { effect: 'allow', rule: 'reads' },
      { effect: 'deny', rule: 'no-writes', code: 'policy_denied' },
      { effect: 'deny', rule: null, code: 'policy_denied' },
    ]);
    const exports = [await exported(), await exported(), await exported()];
    expect(exports.map(({ effect, code }) => code ?? effect)).toEqual(['allow', 'allow', 'limit_exceeded']);
    expect(await auditOf(read.index)).toMatchObject({
      agent: scout,
      action: 'tool_call',
      resource: 'read_file',
      outcome: 'ok',
      decision: 'allow',
      rule: 'reads',
    });
    expect(await auditOf(written.index)).toMatchObject({
      outcome: 'policy_denied',
      decision: 'deny',
      rule: 'no-writes',
    });
    expect(await auditOf(exports[2]?.index ?? null)).toMatchObject({ action: 'export', outcome: 'limit_exceeded' });
  });

  test('explains the same as it decides', async () => {
    const { out } = await cli('policy', 'explain', '--tool', 'write_file', '--server', 'files', '--agent', 'scout');
    expect(out).toMatch(/^deny {2}by rule no-writes, policy acme \(policy_denied\)\n/);
  });

  test('holds a call until a sponsor approves it on the command line: then it may be done, once', async () => {
    const asked = await call('delete_file', { path: '/srv/old' });
    const id = asked.approval?.id ?? '';
    expect(asked).toMatchObject({ effect: 'require_approval', code: 'approval_pending' });
    expect((await cli('approvals', 'list')).out).toContain(`${id}  scout  delete_file on files`);
    expect((await cli('doctor')).out).toMatch(/\nWARN {2}approvals +1 approval to be decided\n/);
    const shown = await cli('approvals', 'show', id.slice(0, 6));
    expect(shown.out).toContain('"path": "/srv/old"');
    const approved = await cli('approvals', 'approve', id.slice(0, 6), '--reason', 'is old indeed');
    expect(approved).toMatchObject({ exit: 0, err: '' });
    expect((await call('delete_file', { path: '/srv/new' })).effect).toBe('require_approval'); // it is for the other one
    expect((await call('delete_file', { path: '/srv/old' })).effect).toBe('allow');
    expect((await call('delete_file', { path: '/srv/old' })).effect).toBe('require_approval');
    expect((await cli('approvals', 'list', '--all')).out).toMatch(new RegExp(`\n${id} .* used +1 of 1 `));
    expect((await cli('log', 'tail', '--type', 'approval.requested')).out).toMatch(/ tool=delete_file +server=files /);
    expect((await cli('audit')).out).toMatch(/ approval.decided +\w+ +ok +approve by alice@company.com +\d+\n/);
    for (const { id: left } of await mesh.approvals.list()) await cli('approvals', 'deny', left, '--reason', 'enough');
  });

  test('takes the approval of a key that its configuration names, and of no other', async () => {
    const request = { version: '1.2.3' };
    const id = (await call('deploy', request)).approval?.id ?? '';
    const stranger = await writeNewKey(home, 'stranger', undefined);
    const refused = await cli('approvals', 'approve', id, '--key', stranger.file, '--reason', 'me too');
    expect(refused).toMatchObject({ exit: 3, out: '' });
    expect(refused.err).toContain('forbidden');
    expect(await cli('approvals', 'approve', id, '--as', 'alice@company.com', '--reason', 'me')).toMatchObject({
      exit: 3,
    });
    expect(await cli('approvals', 'approve', id, '--key', operator.file, '--reason', 'tested')).toMatchObject({
      exit: 0,
    });
    expect((await call('deploy', request)).effect).toBe('allow');
  });

  test('lets a grant wait with exit code 5, and the same command goes through once it is approved', async () => {
    const words = ['delegate', '--to', 'scout', '--can', 'read:reports/q3', '--ttl', '1h'];
    const waits = await cli(...words);
    expect(waits).toMatchObject({ exit: 5, out: '' });
    expect(waits.err).toMatch(/^error \(approval_pending\) Cannot delegate to /);
    const next = /next .*: agentmesh --home \S+ (approvals approve [0-9a-f]{16}) --reason WHY\n$/.exec(waits.err)?.[1];
    expect((await cli(...words, '--json')).error).toMatchObject({ code: 'approval_pending', exit: 5 });
    expect(await cli(...(next ?? '').split(' '), '--reason', 'for the report')).toMatchObject({ exit: 0 });
    const wider = ['delegate', '--to', 'scout', '--can', 'read:reports/q3', '--ttl', '7d'];
    expect(await cli(...wider)).toMatchObject({ exit: 5 }); // it was approved for an hour
    expect((await cli(...words)).out).toMatch(/^delegated bafyrei/);
    expect(await cli(...words)).toMatchObject({ exit: 5 });
    for (const { id } of await mesh.approvals.list()) await cli('approvals', 'deny', id, '--reason', 'enough');
    const denied = await cli(...words);
    expect(denied).toMatchObject({ exit: 3 });
    expect(denied.err).toMatch(/^error \(approval_denied\) .*\nnext .*approvals list --all\n$/);
  });

  test('follows events of all that', async () => {
    const controller = new AbortController();
    const following = run(home, ['events', '--type', 'approval.requested', '--type', 'action.refused'], {
      signal: controller.signal,
    });
    const ids: string[] = [];
    for (let i = 0; i < 10; i++) {
      // Again and again, since nothing tells when it listens.
      await new Promise((settle) => setTimeout(settle, 150));
      ids.push((await call('delete_file', { path: `/srv/events-${i}` })).approval?.id ?? '');
      await call('write_file');
    }
    controller.abort();
    const { out } = await following;
    expect(out).toMatch(new RegExp(`  approval.requested +id=(${ids.join('|')}) as=${scout} kind=action expiresAt=`));
    expect(out).toMatch(
      / {2}action.refused +as=\S+ action=tool_call tool=write_file code=policy_denied rule=no-writes\n/,
    );
  });

  test('keeps limits, what waits and what was approved over a kill', async () => {
    const waiting = (await call('delete_file', { path: '/srv/kept' })).approval?.id ?? '';
    const given = (await call('delete_file', { path: '/srv/given' })).approval?.id ?? '';
    await cli('approvals', 'approve', given, '--reason', 'before the crash');
    await daemon.end('SIGKILL');
    await start();
    expect(await exported()).toMatchObject({ effect: 'deny', code: 'limit_exceeded' });
    expect((await call('delete_file', { path: '/srv/given' })).effect).toBe('allow');
    expect((await call('delete_file', { path: '/srv/kept' })).approval?.id).toBe(waiting);
    const waited = await cli('approvals', 'wait', waiting, '--timeout', '0s');
    expect(waited.exit).toBe(5);
    expect(await cli('approvals', 'deny', waiting, '--reason', 'not after a crash')).toMatchObject({ exit: 0 });
    expect((await call('delete_file', { path: '/srv/kept' })).code).toBe('approval_denied');
  }, 60_000);

  test('takes a changed file at once, and stays with the last good one while it is broken', async () => {
    await write('acme.yaml', POLICY.replace('name: no-writes', 'name: no-writing'));
    await until('the new file counts', async () => (await call('write_file')).rule === 'no-writing');
    await write('acme.yaml', POLICY.replace('name: no-writes, condition', 'name: no-writing, conditon'));
    await until('the daemon says so', async () => (await mesh.policies.list()).problem !== null);
    expect((await call('write_file')).rule).toBe('no-writing');
    expect((await cli('status')).out).toMatch(/\nwarning Other policies are in force .*line 5, column \d+: "conditon"/);
    expect((await cli('doctor')).out).toMatch(/\nFAIL {2}policies +the newest files are not in force: .*"conditon"/);
    const listed = await cli('policy', 'list');
    expect(listed.out).toMatch(
      /\nacme +in force +6 .*\n[^]*\nproblem {2}The newest files are not in force, .*"conditon"/,
    );
    const reloaded = await cli('policy', 'reload');
    expect(reloaded).toMatchObject({ exit: 3, out: '' });
    expect(reloaded.err).toMatch(/^error \(policy_invalid\) .*line 5, column \d+.*\nnext .*policy check FILE/);
    expect((await cli('policy', 'check', file('acme.yaml'))).out).toMatch(/acme.yaml:5:\d+: "conditon"/);
    await write('acme.yaml', POLICY);
    expect(await cli('policy', 'reload')).toMatchObject({ exit: 0 });
    expect((await call('write_file')).rule).toBe('no-writes');
    expect((await cli('doctor')).out).toMatch(/\nOK {4}policies +acme in force, 1 candidate beside\n/);
  }, 40_000);

  test('counts what a candidate would have decided otherwise, and holds a file against what was asked', async () => {
    await call('read_file', { path: '/srv/report' });
    const beside = await cli('policy', 'shadow');
    expect(beside.out).toMatch(/^Candidate +acme \([0-9a-f]{16}\)\nCompared +\d+ requests?\nOtherwise +1\n/);
    expect(beside.out).toMatch(/ scout +read_file +allow by reads +deny\n$/);
    const replayed = await cli('policy', 'shadow', '--policy', file('next.yaml'), '--since', '1h', '--json');
    const { compared, diverged, tightened, loosened } = replayed.json['comparison'] as Record<string, number>;
    expect(compared).toBeGreaterThan(15);
    expect([diverged, tightened]).toEqual([2, 2]); // both times that something was read
    expect(loosened).toBe(0);
    expect((await cli('policy', 'shadow', '--policy', file('acme.yaml'))).out).toMatch(/\nOtherwise +none\n/);
  });

  test('has a log that verifies, with every decision in it', async () => {
    const { out } = await cli('audit', '--limit', '1000', '--format', 'csv');
    for (const code of ['policy_denied', 'limit_exceeded', 'approval_pending', 'approval_denied'])
      expect(out).toContain(`,${code},`);
    const verified = await cli('log', 'verify');
    expect(verified).toMatchObject({ exit: 0 });
    expect(verified.out).toMatch(/^valid +the log of \d+ entries is whole\n/);
    expect(await readFile(file('acme.yaml'), 'utf8')).toBe(POLICY);
  });
});

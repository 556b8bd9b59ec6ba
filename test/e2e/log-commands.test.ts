/** The audit log as people use it: the command line against daemons of their own. */
import { cp, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AgentMesh, AgentIdentity, createSigner } from '../../sdk/index.ts';
import { run, type Ran } from '../cli/start.ts';
import { type DaemonProcess, startDaemonProcess } from './daemon-process.ts';

let root: string;
let acme: DaemonProcess;
let beta: DaemonProcess;
let mesh: AgentMesh;
const daemons: DaemonProcess[] = [];
const start = async (name: string, bootstrap: readonly string[] = []): Promise<DaemonProcess> => {
  const daemon = await startDaemonProcess({ home: homeOf(name.toLowerCase()), name, bootstrap });
  daemons.push(daemon);
  return daemon;
};
const homeOf = (name: string): string => join(root, name);
const cli = (...words: string[]): Promise<Ran> => run(homeOf('acme'), words, { cwd: root });

beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'agentmesh-log-')));
  acme = await start('Acme');
  beta = await start('Beta', [acme.address]);
  mesh = await acme.connect();
}, 90_000);
afterAll(async () => {
  for (const daemon of daemons) await daemon[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
}, 30_000);

const untilOk = async (words: readonly string[], want: (ran: Ran) => boolean): Promise<Ran> => {
  for (const end = Date.now() + 30_000; ; ) {
    const ran = await cli(...words);
    if (want(ran) || Date.now() > end) return ran;
    await new Promise((settle) => setTimeout(settle, 200));
  }
};

describe('two daemons', () => {
  test('cosign each other, and say so', async () => {
    const watched = await untilOk(['log', 'status', '--json'], ({ json }) => {
      const { released } = json as { released: { quorumMet: boolean; cosignatures: unknown[] } | null };
      return released?.quorumMet === true && released.cosignatures.length === 1;
    });
    expect(watched.json).toMatchObject({
      watched: true,
      problem: null,
      released: { quorumMet: true, cosignatures: [{ did: beta.did }] },
    });
    expect((await cli('status')).out).toMatch(/\nAudit log +\d+ entries, \d+ cosigned by 1 witness\n/);
    expect((await cli('doctor')).out).toMatch(/\nOK {4}log /);
    const { json } = await untilOk(['witness', 'status', '--json'], (ran) =>
      (ran.json['logs'] as { did: string }[]).some(({ did }) => did === beta.did),
    );
    expect(json['logs']).toMatchObject([{ did: beta.did }]);
  }, 40_000);

  test('what an agent signed itself is proved under the other’s cosignature, and checked without a daemon', async () => {
    const own = await AgentIdentity.create({
      name: 'own',
      sponsor: 'alice@company.com',
      capabilities: ['read:reports/*'],
      signer: createSigner(),
      mesh,
    });
    const { index, cosigned } = await own.append({ op: 'execute_tool', tool: 'search', witnessed: 1 });
    own.close();
    expect(cosigned?.cosigners).toBe(1);
    const proved = await cli('log', 'prove', String(index), '-o', 'proved', '--witnessed', '1');
    expect(proved).toMatchObject({ exit: 0 });
    await writeFile(join(root, 'policy'), (await cli('log', 'status', '--json')).json['policy'] as string);
    const offline = await run(join(root, 'nobody'), ['log', 'verify', 'proved', '--policy', 'policy'], { cwd: root });
    expect(offline).toMatchObject({ exit: 0 });
    expect(offline.out).toMatch(/\nQuorum +met, by the policy of /);
    expect((await cli('audit', '--agent', 'own', '--format', 'csv')).out).toContain(',execute_tool,search,ok,');
  }, 30_000);

  test('the whole log verifies, from the daemon and from a copy of it', async () => {
    expect(await cli('log', 'verify', '--policy', 'policy')).toMatchObject({ exit: 0 });
    expect(await cli('log', 'export', 'copy')).toMatchObject({ exit: 0 });
    const copy = await run(join(root, 'nobody'), ['log', 'verify', 'copy', '--policy', 'policy', '--json'], {
      cwd: root,
    });
    expect([copy.exit, copy.json]).toMatchObject([0, { ok: true, report: { policy: { quorumMet: true } } }]);
  }, 30_000);
});

test('a database that was restored from an older copy halts the log, and a person opens a new generation', async () => {
  const home = homeOf('acme');
  await acme.end('SIGTERM');
  await cp(join(home, 'db'), join(root, 'older'), { recursive: true });
  acme = await start('Acme', [beta.address]);
  expect(await cli('agent', 'suspend', 'own')).toMatchObject({ exit: 0 });
  await acme.end('SIGTERM');
  await rm(join(home, 'db'), { recursive: true });
  await cp(join(root, 'older'), join(home, 'db'), { recursive: true });
  acme = await start('Acme', [beta.address]);

  const status = await cli('log', 'status');
  expect(status.exit).toBe(1);
  expect(status.out).toMatch(/\nState +HALTED: /);
  expect((await cli('doctor')).out).toMatch(/\nFAIL {2}log +it is halted: /);
  const refused = await cli('delegate', '--to', beta.did, '--can', 'read:reports/q3');
  expect(refused).toMatchObject({ exit: 1, out: '' });
  expect(refused.err).toMatch(/^error \(log_halted\) /);
  expect((await cli('log', 'tail')).out).toContain('agent.action');

  const recovered = await cli('log', 'recover', '--new-generation', '--reason', 'restored from a backup', '--json');
  expect([recovered.exit, recovered.json]).toMatchObject([0, { generation: 1, problem: null }]);
  expect(await cli('delegate', '--to', beta.did, '--can', 'read:reports/q3')).toMatchObject({ exit: 0 });
  const tail = await cli('log', 'tail', '--type', 'log');
  expect(tail.out).toMatch(/log\.opened .*reason="restored from a backup"\n.*log\.halted .*\n.*log\.recovered /);
  const whole = await untilOk(['log', 'verify', '--json'], ({ exit }) => exit === 0);
  expect(whole.json).toMatchObject({ ok: true, report: { origin: expect.stringMatching(/\/1$/) as string } });
}, 120_000);

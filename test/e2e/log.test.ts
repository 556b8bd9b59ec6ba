/** What a user does with the audit log, from an agent's deed to the proof that a stranger checks. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AgentIdentity, createCommitment } from '../../sdk/index.ts';
import { run } from '../cli/start.ts';
import { agentmesh } from './cli-process.ts';
import { startDaemonProcess, until } from './daemon-process.ts';

const SLOW = { timeout: 120_000 }; // daemons start beside other tests on two cores
const env = { AGENTMESH_LOCAL_NETWORK: 'true' };

test('an agent acts, and whoever is shown the entry or the log checks it without a daemon', SLOW, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'agentmesh-tour-'));
  const home = join(folder, 'acme');
  const stranger = join(folder, 'stranger'); // an empty home: there is no daemon to ask
  await mkdir(stranger);
  const checked = (...words: readonly string[]) => agentmesh(stranger, 'log', 'verify', ...words);
  try {
    await using acme = await startDaemonProcess({ home, name: 'Acme', env });
    await using beta = await startDaemonProcess({
      home: join(folder, 'beta'),
      name: 'Beta',
      env,
      bootstrap: [acme.address],
    });
    const mesh = await acme.connect();
    await until('Beta witnesses', async () => (await mesh.log.status()).watched);
    using agent = await AgentIdentity.create({
      mesh,
      name: 'clerk',
      sponsor: 'alice@company.com',
      capabilities: ['pay:invoices/*'],
      key: 'own',
    });
    const input = createCommitment(Buffer.from('invoice 7: 120 EUR to ACME'));
    const intent = await agent.append({ phase: 'intent', op: 'execute_tool', tool: 'pay', in: input.commitment });
    const outcome = await agent.append({
      intent: intent.id,
      op: 'execute_tool',
      tool: 'pay',
      facts: { paid: 7 },
      witnessed: 1,
    });
    expect(outcome.cosigned).toMatchObject({ cosigners: 1 });
    const tail = await run(home, ['log', 'tail', '--actor', 'clerk', '--type', 'agent.action']);
    expect(tail.out.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/agent\.action\?.* clerk .*tool=pay/),
      expect.stringMatching(/agent\.action .* clerk .*paid=7.*tool=pay/),
    ]);

    // One entry with its proof, under the policy of the day.
    const proof = join(stranger, 'payment');
    const proved = await agentmesh(home, 'log', 'prove', String(outcome.index), '-o', proof, '--witnessed', '1');
    expect([proved.exit, proved.err]).toEqual([0, expect.stringContaining('log verify')]);
    const policy = join(stranger, 'acme.policy');
    await writeFile(policy, await mesh.log.policy());
    // The whole log, as files.
    const exported = join(stranger, 'exported');
    expect((await run(home, ['log', 'export', exported])).exit).toBe(0);
    expect(await acme.end('SIGTERM')).toBe(0);
    expect(await beta.end('SIGTERM')).toBe(0);

    const entry = await checked(`${proof}.tlog-proof`, '--policy', policy);
    expect([entry.exit, entry.err]).toEqual([0, '']);
    expect(entry.out).toContain(`valid    entry ${outcome.index} is in the log, as it was signed`);
    expect(entry.out).toMatch(/\nQuorum +met, by the policy of /);
    const log = await run(stranger, ['log', 'verify', exported, '--policy', policy, '--since', `${proof}.tlog-proof`]);
    expect([log.exit, log.err]).toEqual([0, '']);
    expect(log.out).toMatch(/^valid {4}the log of \d+ entries is whole\n/);

    // A byte that was changed: of the entry, of a copy of the log.
    const bytes = await readFile(`${proof}.json`);
    await writeFile(`${proof}.json`, bytes.toString('utf8').replace('"paid":7', '"paid":8'));
    const forged = await run(stranger, ['log', 'verify', `${proof}.tlog-proof`, '--policy', policy]);
    expect([forged.exit, forged.out]).toEqual([3, expect.stringMatching(/^invalid {2}bad_proof/)]);
    const copy = join(stranger, 'copy');
    await cp(exported, copy, { recursive: true });
    const [width = ''] = await readdir(join(copy, 'tile/entries/000.p')); // of fewer entries than a full one
    const file = join(copy, 'tile/entries/000.p', width);
    const held = await readFile(file);
    const at = held.indexOf('"paid":7');
    await writeFile(file, Buffer.concat([held.subarray(0, at), Buffer.from('"paid":9'), held.subarray(at + 8)]));
    const tampered = await checked(copy);
    expect([tampered.exit, tampered.out]).toEqual([
      3,
      expect.stringMatching(new RegExp(`^invalid {2}bad_proof.*\\n +at entry ${outcome.index}\\n.*tile/entries/000`)),
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

/** The programs under examples/ run as written. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startDaemonProcess, until } from './daemon-process.ts';

const SLOW = { timeout: 120_000 }; // daemons start beside other tests on two cores

const run = (
  example: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<{ exit: number; out: string }> =>
  new Promise((resolve) => {
    const path = fileURLToPath(new URL(`../../examples/${example}`, import.meta.url));
    execFile(
      process.execPath,
      ['-C', 'agentmesh-source', path, ...args],
      { env: { ...process.env, ...env } },
      (error, stdout, stderr) => {
        resolve({ exit: error === null ? 0 : Number(error.code), out: stdout + stderr });
      },
    );
  });

const processes = (): Promise<string> =>
  new Promise((resolve, reject) =>
    execFile('ps', ['-eo', 'args'], (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(new Error('ps failed', { cause: error }));
    }),
  );

test('the three-organisation story is as it should be, and leaves no process behind', SLOW, async () => {
  const { exit, out } = await run('three-organisations.ts');
  expect(out).toContain('As it should be');
  expect(exit).toBe(0);
  expect(out.match(/✓/g)?.length).toBeGreaterThanOrEqual(69);
  for (const evidence of [
    /✓ Acme: the delegation of Acme, by Acme itself: announced as entry \d+, done by \d+\n/,
    /✓ Gamma: session\.opened by its agent: announced as \d+, done by \d+\n/,
    /✓ Acme: entry \d+: it ended: revoked\n/,
    /✓ a write is refused, by rule "no-writing"\n/,
    /✓ a delete waits for approval [0-9a-f]{16} of alice@acme\.example\n/,
    /✓ asked again, it goes through, once\n/,
    /✓ Acme's log has it: move_file allowed \(entry \d+\)\n/,
    /✓ an edit is refused, by Beta's link bafyrei\w+…, which does not grant it\n/,
    /✓ a write, which is granted, is refused by rule "no-writing" of Acme's policy\n/,
    /✓ Alice of Acme approves, and it goes through\n/,
    /✓ Acme revokes, and \d+ ms later it has ended: .* under way: .* ended \(revoked\)\.\n/,
    /✓ both sides hold the same 6 receipts, byte for byte: /,
    /✓ Gamma: \d+ entries, cosigned by Acme and Beta: the quorum\n/,
    /✓ all three daemons ended in order\n/,
    /✓ the copy: \d+ entries, \d+ signatures, every tile; /,
    /✓ proven: against the caller: it ordered call 4 to "reports"; against the callee: it took the order; /,
    /✓ and with one bit changed: bad_signature\n/,
    /✓ in "tile\/entries\/000\.p\/\d+", and found: bad_proof at entry \d+\n/,
  ])
    expect(out).toMatch(evidence);
  expect(await processes()).not.toContain('agentmesh-demo-');
});

test("the original project's examples run against real daemons", SLOW, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'agentmesh-seed-'));
  const home = join(folder, 'acme');
  try {
    await using acme = await startDaemonProcess({ home, name: 'Acme', args: ['--log-level', 'error'] });
    await using beta = await startDaemonProcess({
      home: join(folder, 'beta'),
      name: 'Beta',
      bootstrap: [acme.address],
    });
    const identity = await run('seed-identity.ts', [], { AGENTMESH_HOME: home });
    expect(identity.out).toContain('was verified here');
    expect(identity).toMatchObject({ exit: 0 });
    const mesh = await acme.connect();
    await until('the two meet', async () => (await mesh.status()).peers.bound === 1);
    const bridge = await run('seed-bridge.ts', [beta.did], { AGENTMESH_HOME: home });
    expect(bridge.out).toContain('Refused: score_below, the score is 300, want 700');
    expect(bridge.out).toContain(`Verified: ${beta.did}`);
    expect(bridge.exit).toBe(0);
    expect(acme.logged()).not.toContain('"level":"error"');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

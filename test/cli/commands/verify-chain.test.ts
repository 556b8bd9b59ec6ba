import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeBundle, formatRoots, type Statement } from '../../../protocol/index.ts';
import {
  createAgent,
  createChildLink,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRevocation,
  createRootLink,
  keyOf,
  NOW_MS,
  NOW_SECONDS,
} from '../../builders.ts';
import { createHome, createHomeWithDaemon, type Home, type Ran } from '../start.ts';

const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const alice = createPerson(acme, 'alice');
const [scout, clerk] = [createAgent(acme, 'scout'), createAgent(beta, 'clerk')];
const root = createRootLink(acme, alice, {
  aud: scout.did,
  stl: 60,
  cap: [{ can: 'read:reports/*' }, { can: 'pay:invoices/*' }],
});
const leaf = createChildLink(root, scout, {
  aud: clerk.did,
  cap: [{ can: 'read:reports/q3' }, { can: 'pay:invoices/7' }],
});
const genesis = [acme, beta, alice, scout, clerk].map((each) => each.genesis);
const usual: readonly Statement[] = [...genesis, root, leaf, createHeartbeat(acme)];

let home: Home;
beforeAll(async () => {
  home = await createHome();
});
afterAll(() => home[Symbol.asyncDispose]());

const bundleOf = (statements: readonly Statement[], last: Statement = leaf): Uint8Array =>
  encodeBundle({ leaf: last.id, envelopes: statements.map(({ envelope }) => envelope) });

/** `verify-chain` of these bytes in a file. */
async function verify(
  bytes: Uint8Array,
  words: readonly string[] = ['--root', acme.did],
  nowMs = NOW_MS,
): Promise<Ran> {
  await writeFile(join(home.path, 'a.chain'), bytes);
  return home.run(['verify-chain', 'a.chain', ...words], { nowMs: () => nowMs });
}

describe('a chain that verifies', () => {
  test('is explained link by link, and exits with 0', async () => {
    const { exit, out, err } = await verify(bundleOf(usual));
    expect([exit, err]).toEqual([0, '']);
    expect(out).toBe(`valid    the chain of 2 links verifies

1. root link ${root.id}  ok
  From       ${acme.did}
  To         ${scout.did}
  Sponsor    ${alice.did}
  May        read:reports/*
             pay:invoices/*
  In force   now (2026-11-18T11:06:40Z) to in 1 d (2026-11-19T11:06:40Z)
  Staleness  at most 1 min
  Signed by  ${acme.keys.delegate.text} of ${acme.did}
             ${alice.keys.delegate.text} of ${alice.did}

2. link ${leaf.id}  ok
  From       ${scout.did}
  To         ${clerk.did}
  May        read:reports/q3
             pay:invoices/7
  In force   now (2026-11-18T11:06:40Z) to in 1 d (2026-11-19T11:06:40Z)
  Signed by  ${scout.keys.delegate.text} of ${scout.did}

Grants       read:reports/q3
             pay:invoices/7
To           ${clerk.did}
Root         ${acme.did}
As of        now (2026-11-18T11:06:40Z)
Until        in 1 d (2026-11-19T11:06:40Z), unless something is learnt
Revocations  ${acme.did}: 0 revocations, known as of 0 s before, by a heartbeat; tolerated: 1 min
Checked      encoding, root, continuity, keys, signatures, attenuation, window, revocation, freshness
Not checked  holder: nobody was named as its holder
             request: nothing was asked for
`);
  });

  test('is answered in JSON with the whole report', async () => {
    const { exit, json } = await verify(bundleOf(usual), ['--root', acme.did, '--can', 'read:reports:q3', '--json']);
    expect(exit).toBe(0);
    expect(json).toMatchObject({
      ok: true,
      code: null,
      message: null,
      checkedBy: 'this process',
      roots: [acme.did],
      source: { file: join(home.path, 'a.chain') },
      report: {
        leaf: leaf.id,
        root: acme.did,
        checkedAt: '2026-11-18T11:06:40.000Z',
        links: [{ status: 'ok' }, { status: 'ok' }],
      },
    });
    expect((json['report'] as { checked: string[] }).checked).toContain('request');
  });

  test('verifies from standard input, and from the JSON of "chain export --json"', async () => {
    const bundle = bundleOf(usual);
    const json = Buffer.from(JSON.stringify({ leaf: leaf.id, bundle: Buffer.from(bundle).toString('base64url') }));
    for (const input of [bundle, json]) {
      const ran = await home.run(['verify-chain', '-', '--root', acme.did, '--json'], { input, nowMs: () => NOW_MS });
      expect([ran.exit, ran.json['source']]).toEqual([0, { stdin: true }]);
    }
    expect(await verify(json)).toMatchObject({ exit: 0 });
  });

  test('did so then, by --at', async () => {
    expect((await verify(bundleOf(usual), ['--root', acme.did], NOW_MS + 3_600_000)).exit).toBe(3);
    const then = ['--root', acme.did, '--at', '2026-11-18T11:06:45Z'];
    expect(await verify(bundleOf(usual), then, NOW_MS + 3_600_000)).toMatchObject({ exit: 0 });
  });
});

describe('a chain that does not verify exits with 3, naming code, link and next step', () => {
  const widened = createChildLink(root, scout, { aud: clerk.did, cap: [{ can: 'write:reports/q3' }] });
  const forged = createChildLink(root, scout, { aud: clerk.did, signers: [keyOf('thief')] });
  const later = createChildLink(root, scout, { aud: clerk.did, nbf: NOW_SECONDS + 100, exp: NOW_SECONDS + 200 });
  const revocation = createRevocation(acme, leaf);

  test.each<[string, readonly Statement[], Statement, number, string, string, RegExp]>([
    ['stale', usual, leaf, NOW_MS + 61_000, 'status_stale', root.id, /next {2}export the chain anew/],
    ['without a heartbeat', [...genesis, root, leaf], leaf, NOW_MS, 'status_stale', root.id, /nothing is known/],
    [
      'revoked',
      [...usual.slice(0, -1), revocation, createHeartbeat(acme, { rhead: revocation })],
      leaf,
      NOW_MS,
      'revoked',
      leaf.id,
      /was revoked by/,
    ],
    ['expired', usual, leaf, NOW_MS + 86_500_000, 'expired', root.id, /next {2}ask its issuer for a new link/],
    [
      'not yet in force',
      [...genesis, root, later, createHeartbeat(acme)],
      later,
      NOW_MS,
      'not_yet',
      later.id,
      /begins in 100 s/,
    ],
    [
      'wider than its parent',
      [...genesis, root, widened, createHeartbeat(acme)],
      widened,
      NOW_MS,
      'widened',
      widened.id,
      /widened: capability/,
    ],
    [
      'signed by another key',
      [...genesis, root, forged, createHeartbeat(acme)],
      forged,
      NOW_MS,
      'key_unknown',
      forged.id,
      /does not list it for "delegate"/,
    ],
    [
      'of an unknown issuer',
      usual.filter((each) => each !== scout.genesis),
      leaf,
      NOW_MS,
      'did_unknown',
      leaf.id,
      /is not held/,
    ],
  ])('%s', async (_, statements, last, nowMs, code, failing, said) => {
    const ran = await verify(bundleOf(statements, last), ['--root', acme.did], nowMs);
    expect(ran.exit).toBe(3);
    expect(ran.out).toMatch(new RegExp(`^invalid {2}${code}`));
    expect(ran.out).toMatch(new RegExp(`\\n {9}at link [12] of 2, ${failing}\\n`));
    expect(ran.out).toMatch(new RegExp(`link ${failing} {2}FAILED \\(${code}\\)\\n`));
    expect(ran.out + ran.err).toMatch(said);
    const { exit, json } = await verify(bundleOf(statements, last), ['--root', acme.did, '--json'], nowMs);
    expect(exit).toBe(3);
    expect(json).toMatchObject({ ok: false, code, data: { id: failing }, report: { leaf: last.id } });
    expect(json['data']).not.toHaveProperty('report');
  });

  test('for a request, which of the links does not cover it', async () => {
    const ran = await verify(bundleOf(usual), ['--root', acme.did, '--can', 'read:reports/q4']);
    expect(ran.exit).toBe(3);
    expect(ran.out).toMatch(/^invalid {2}not_covered: capability: /);
    expect(ran.out).toContain(`2. link ${leaf.id}  FAILED (not_covered)\n`);
    expect(ran.out).toContain(`1. root link ${root.id}  ok\n`);
  });

  test('for what is critical nothing in a file is recent enough', async () => {
    const { exit, json } = await verify(bundleOf(usual), ['--root', acme.did, '--can', 'pay:invoices/7', '--json']);
    expect([exit, json]).toMatchObject([3, { code: 'status_stale', data: { reason: 'not_asked' } }]);
  });

  test('with any one bit changed: never valid, and never a stack trace', async () => {
    const bundle = bundleOf(usual);
    // The heartbeat's last bytes are its signature; nothing in a bundle may change unnoticed.
    const places = Array.from({ length: 30 }, (_, i) => Math.floor((bundle.length * i) / 30));
    for (const at of places) {
      const bytes = Uint8Array.from(bundle);
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      const { exit, out, err } = await verify(bytes);
      expect(exit, `byte ${at}`).toBe(3);
      expect(out + err).toMatch(/^invalid {2}[a-z_]+/);
      expect(out + err).not.toMatch(/\n\s+at .*:\d+:\d+/);
      if (!out.includes('Checked      encoding')) expect(out).not.toContain('at link');
    }
  });

  test.each([
    ['nothing', Buffer.alloc(0), 'malformed'],
    ['text', Buffer.from('hello'), 'malformed'],
    ['JSON that is none', Buffer.from('{"bundle":'), 'malformed'],
    ['JSON without a bundle', Buffer.from('{}'), 'malformed'],
    ['too much', Buffer.alloc(9 * 1024 * 1024), 'too_large'],
  ])('%s', async (_, bytes, code) => {
    const ran = await verify(bytes);
    expect(ran.exit).toBe(3);
    expect(ran.out + ran.err).toContain(code);
  });
});

describe('the roots of a chain', () => {
  const bundle = bundleOf(usual);
  const unknown = { exit: 3, out: expect.stringMatching(/^invalid {2}unknown_root/) as string };

  test('are those of --root alone, where it is given', async () => {
    await writeFile(join(home.path, 'roots.json'), formatRoots([acme.did]), { mode: 0o600 });
    expect(await verify(bundle, ['--root', beta.did])).toMatchObject(unknown);
    expect(await verify(bundle, ['--root', beta.did, '--root', acme.did])).toMatchObject({ exit: 0 });
  });

  test('else those that the daemon left in the home', async () => {
    expect(await verify(bundle, [])).toMatchObject({ exit: 0 });
    await writeFile(join(home.path, 'roots.json'), formatRoots([beta.did]));
    expect(await verify(bundle, [])).toMatchObject(unknown);
  });

  test('but not those that others may have written there', async () => {
    await writeFile(join(home.path, 'roots.json'), formatRoots([acme.did]));
    await chmod(join(home.path, 'roots.json'), 0o666);
    const ran = await verify(bundle, []);
    expect(ran).toMatchObject({ exit: 1, out: '' });
    expect(ran.err).toContain('error (permissions) ');
    await chmod(join(home.path, 'roots.json'), 0o600);
  });

  test('none is unknown_root, with what to do about it', async () => {
    await writeFile(join(home.path, 'roots.json'), formatRoots([]));
    const ran = await verify(bundle, []);
    expect(ran).toMatchObject(unknown);
    expect(ran.err).toBe('next  name an organisation that you trust as the root with --root DID\n');
    await using other = await createHome();
    expect(await other.run(['verify-chain', join(home.path, 'a.chain')])).toMatchObject(unknown);
  });
});

test('a file that is not there is not found, and a directory is none', async () => {
  for (const name of ['nothing.chain', '.']) {
    expect(await home.run(['verify-chain', name, '--root', acme.did])).toMatchObject({ exit: 4, out: '' });
  }
});

describe('by id', () => {
  test("a chain of the daemon is verified here, from the daemon's roots or others", async () => {
    await using daemon = await createHomeWithDaemon();
    const { rootLink } = ((await daemon.run(['agent', 'show', 'reporter', '--json'])).json['agent'] ?? {}) as {
      rootLink: string;
    };
    const words = ['verify-chain', `${rootLink.slice(0, 14)}…`, '--json'];
    const { exit, json } = await daemon.run(words);
    expect([exit, json]).toMatchObject([0, { ok: true, checkedBy: 'this process', source: { leaf: rootLink } }]);
    expect(daemon.fake.calls.map(({ operationId }) => operationId)).toContain('chainBundle');
    expect(daemon.fake.calls.map(({ operationId }) => operationId)).not.toContain('chainVerify');
    expect(await daemon.run([...words, '--root', acme.did])).toMatchObject({ exit: 3 });
    expect(await daemon.run([...words, '--can', 'write:x'])).toMatchObject({ exit: 3, json: { code: 'not_covered' } });
  });

  test('what is critical is put to the daemon, which can ask the issuer', async () => {
    await using daemon = await createHomeWithDaemon();
    const granted = (await daemon.run(['delegate', '--to', 'reporter', '--can', 'pay:invoices/*', '--json'])).json[
      'link'
    ] as { id: string };
    const { json } = await daemon.run(['verify-chain', granted.id, '--can', 'pay:invoices/7', '--json']);
    expect(json).toMatchObject({ checkedBy: 'daemon' });
    expect(daemon.fake.calls.map(({ operationId }) => operationId)).toContain('chainVerify');
  });

  test('a file of that name goes before the id', async () => {
    await writeFile(join(home.path, leaf.id), bundleOf(usual));
    const ran = await home.run(['verify-chain', leaf.id, '--root', acme.did], { nowMs: () => NOW_MS });
    expect(ran).toMatchObject({ exit: 0 });
  });
});

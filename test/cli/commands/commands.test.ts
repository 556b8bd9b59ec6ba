import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROUTES, checkJson } from '../../../protocol/control/index.ts';
import { admitAll, MeshError, parseBundle } from '../../../protocol/index.ts';
import { createAgent, createOrganisation } from '../../builders.ts';
import { createHomeWithDaemon, type HomeWithDaemon, type Ran } from '../start.ts';

const iat = Math.floor(Date.now() / 1000) - 10;
const beta = createOrganisation('beta', { iat });
const agentOfBeta = createAgent(beta, 'stranger', { iat });
const stranger = agentOfBeta.did;

let home: HomeWithDaemon;
let did: string;
let rootLink: string;
beforeAll(async () => {
  home = await createHomeWithDaemon();
  admitAll(home.fake.state, [beta.genesis, agentOfBeta.genesis], Date.now());
  ({ did, rootLink } = (await home.run(['agent', 'show', 'reporter', '--json'])).json['agent'] as typeof agentShape);
});
afterAll(() => home[Symbol.asyncDispose]());
declare const agentShape: { did: string; rootLink: string };

/** A new agent, whose name nobody has. */
async function createAgentNamed(name: string): Promise<string> {
  const { json } = await home.run(['init', '--name', name, '--sponsor', 'alice@company.com', '--json']);
  return (json['agent'] as { did: string }).did;
}
const linkIn = ({ json }: Ran): string => (json['link'] as { id: string }).id;

describe('--json is the answer of the route, as its schema has it', () => {
  test.each([
    ['status', ['status']],
    ['peerList', ['peers']],
    ['agentList', ['agent', 'list']],
    ['sponsorList', ['sponsor', 'list']],
    ['didShow', ['did', 'show']],
    ['didShow', ['did', 'show', 'reporter']],
    ['didResolve', ['did', 'resolve', 'reporter']],
    ['didLog', ['did', 'export', '--format', 'log']],
    ['organisationRotate', ['did', 'rotate']],
    ['agentSuspend', ['agent', 'suspend', 'reporter']],
    ['agentResume', ['agent', 'resume', 'reporter']],
    ['agentRegister', ['register']],
    ['delegationCreate', ['delegate', '--to', 'reporter', '--can', 'read:x']],
    ['chainList', ['chain', 'list']],
    ['chainList', ['chain', 'list', '--to', 'reporter']],
    ['handshakeCreate', ['handshake', 'reporter', '--can', 'read:x']],
    ['sessionList', ['sessions']],
    ['peerDial', ['peers', 'add', '/ip4/127.0.0.1/tcp/4002']],
  ] as const)('%s', async (operationId, words) => {
    const ran = await home.run([...words, '--json']);
    expect(ran.err).toBe('');
    expect(ran.exit).toBe(0);
    expect(() => checkJson(ROUTES[operationId].response, ran.json, 'the answer', 'internal')).not.toThrow();
    expect(home.fake.calls.map((call) => call.operationId)).toContain(operationId);
  });

  test('and asks as the operator, whatever token the environment holds', async () => {
    process.env['AGENTMESH_AGENT_TOKEN'] = home.fake.issueToken(did);
    try {
      expect(await home.run(['agent', 'list'])).toMatchObject({ exit: 0 });
    } finally {
      delete process.env['AGENTMESH_AGENT_TOKEN'];
    }
    expect(new Set(home.fake.calls.map(({ caller }) => caller.kind))).toEqual(new Set(['operator']));
  });
});

describe('for people', () => {
  test('what there is comes in tables, and in full where nobody said how wide', async () => {
    const { out, exit } = await home.run(['agent', 'list']);
    expect(exit).toBe(0);
    expect(out).toMatch(/^NAME +STATUS +DID +CAN +SPONSOR +CREDENTIAL +CREATED\n/);
    expect(out).toMatch(new RegExp(`reporter +active +${did} +read:reports/\\* +alice@company.com +`));
    const narrow = await home.run(['agent', 'list'], { outColumns: 80, env: { NO_COLOR: '1' } });
    expect(narrow.out).toContain(`${did.slice(0, 22)}…`);
    expect(narrow.out.split('\n').every((line) => line.length <= 80)).toBe(true);
  });

  test('colour is on a terminal only', async () => {
    expect((await home.run(['status'])).out).not.toContain('\u001b');
    expect((await home.run(['status'], { outColumns: 100 })).out).toContain('\u001b[');
    expect((await home.run(['status', '--json'], { outColumns: 100 })).out).not.toContain('\u001b');
  });

  test('nothing to list is said, not shown as an empty table', async () => {
    await using other = await createHomeWithDaemon();
    expect((await other.run(['sessions'])).out).toBe('No sessions are open.\n');
    expect((await other.run(['chain', 'list', '--root', createOrganisation('beta').did])).exit).toBe(0);
  });
});

test('sponsors are named by address or DID', async () => {
  const { json } = await home.run(['sponsor', 'show', 'Alice@company.com', '--json']);
  expect(() => checkJson(ROUTES.sponsorShow.response, json, 'the answer', 'internal')).not.toThrow();
  const { did: sponsor } = json['sponsor'] as { did: string };
  expect((await home.run(['sponsor', 'show', sponsor, '--json'])).json).toMatchObject({
    sponsor: { contact: 'alice@company.com' },
  });
  expect(await home.run(['sponsor', 'show', 'bob@elsewhere.com'])).toMatchObject({ exit: 4, out: '' });
});

describe('agents', () => {
  test('are named by name or DID, and a name that nobody has is not found', async () => {
    for (const name of ['reporter', did]) expect((await home.run(['agent', 'show', name])).out).toContain(did);
    const ran = await home.run(['agent', 'show', 'reportr', '--json']);
    expect([ran.exit, ran.out]).toEqual([4, '']);
    expect(ran.error).toMatchObject({ code: 'not_found', next: 'did you mean "reporter"?' });
    expect(await home.run(['agent', 'show', stranger])).toMatchObject({ exit: 4, out: '' });
  });

  test('that are revoked take with them what they granted', async () => {
    await createAgentNamed('goner');
    const granted = linkIn(
      await home.run(['delegate', '--to', 'reporter', '--can', 'mesh:handshake', '--as', 'goner', '--json']),
    );
    const ran = await home.run(['agent', 'revoke', 'goner', '--reason', 'laptop stolen']);
    expect(ran.exit).toBe(0);
    expect(ran.out).toMatch(/^revoked did:mesh:\S+ \(goner\), for ever\n/);
    expect(ran.out).toContain('Reason          laptop stolen\n');
    expect(ran.out).toMatch(/\n\d further links fall with it:\n/);
    expect(ran.out).toContain(`  ${granted}\n`);
    expect(await home.run(['agent', 'revoke', 'goner', '--reason', 'again'])).toMatchObject({ exit: 3 });
  });
});

describe('init, where a daemon runs', () => {
  test('adds an agent that is not published, and says how to go on', async () => {
    const ran = await home.run([
      'init',
      '--name',
      'second',
      '--sponsor',
      'bob@company.com',
      '--capability',
      'read:a',
      '--capability',
      'run:b:c',
    ]);
    expect(ran.exit).toBe(0);
    expect(ran.out).toMatch(/^created agent|^created organisation/);
    expect(ran.out).toContain('bob@company.com');
    expect(ran.out).toContain('read:a\n');
    expect(ran.out).toContain('run:b/c\n');
    expect(ran.out).toContain('not published yet');
    expect(ran.err).toContain('register second');
    expect(await home.run(['init', '--name', 'second', '--sponsor', 'bob@company.com'])).toMatchObject({ exit: 3 });
  });

  test('gives an agent no more than that it may show itself, unless asked to', async () => {
    await createAgentNamed('third');
    expect((await home.run(['agent', 'show', 'third'])).out).toMatch(/\nCapabilities +mesh:handshake\n/);
  });

  test('does not rename an organisation that is there', async () => {
    await writeFile(join(home.path, 'db'), '');
    const ran = await home.run(['init', '--name', 'x', '--sponsor', 'bob@company.com', '--org', 'Acme']);
    expect(ran).toMatchObject({ exit: 2, out: '' });
    expect(ran.err).toContain('is set up already');
  });
});

describe('register', () => {
  test('shows the token of the only agent that waits for it', async () => {
    await using other = await createHomeWithDaemon();
    const { out, exit } = await other.run(['register']);
    expect(exit).toBe(0);
    expect(out).toMatch(/^registered reporter is published\n/);
    expect(out).toMatch(/\nToken +[A-Za-z0-9_-]{43}\n/);
  });

  test('asks which, where there are several', async () => {
    await createAgentNamed('fourth');
    await createAgentNamed('fifth');
    const ran = await home.run(['register']);
    expect(ran).toMatchObject({ exit: 2, out: '' });
    expect(ran.err).toMatch(/there are .*"fourth", "fifth"/);
    expect(ran.err).toContain('next  name one');
  });
});

describe('run, where a daemon runs', () => {
  const command = (...words: string[]): Promise<Ran> => home.run(['run', '--agent', 'reporter', '--', ...words]);

  test('gives the exit code of the command, or 128 and its signal', async () => {
    expect(await command(process.execPath, '-e', 'process.exit(7)')).toMatchObject({ exit: 7, out: '', err: '' });
    expect(await command('sh', '-c', 'kill -TERM $$')).toMatchObject({ exit: 143 });
    expect(await command('true', '--json', '--home', 'x')).toMatchObject({ exit: 0 });
  });

  test('says which command there is not', async () => {
    expect(await command('no-such-command')).toMatchObject({
      exit: 127,
      err: 'error Cannot run "no-such-command": no such command\n',
    });
    await writeFile(join(home.path, 'plain.txt'), '');
    expect(await command(join(home.path, 'plain.txt'))).toMatchObject({ exit: 126 });
  });

  test('gives the credentials of that agent, and not the passphrase of the keys', async () => {
    const file = join(home.path, 'env.json');
    const script = `require('fs').writeFileSync(${JSON.stringify(file)}, JSON.stringify(process.env))`;
    const env = { AGENTMESH_PASSPHRASE: 'secret', PATH: process.env['PATH'] };
    await home.run(['run', '--agent', 'reporter', '--', process.execPath, '-e', script], { env });
    const given = JSON.parse(await readFile(file, 'utf8')) as Record<string, string>;
    expect(given).toMatchObject({ AGENTMESH_AGENT_DID: did });
    expect(home.fake.tokens.agentOf(given['AGENTMESH_AGENT_TOKEN'] ?? '')).toBe(did);
    expect(given).not.toHaveProperty('AGENTMESH_PASSPHRASE');
  });

  test('without a command only sees to daemon and agent', async () => {
    const { json, exit } = await home.run(['run', '--agent', 'reporter', '--json']);
    expect([exit, json]).toMatchObject([0, { agent: { did }, started: null }]);
  });

  test('refuses an agent that is suspended or revoked', async () => {
    await home.run(['agent', 'suspend', 'reporter']);
    const ran = await command('true');
    await home.run(['agent', 'resume', 'reporter']);
    expect(ran).toMatchObject({ exit: 3, out: '' });
    expect(ran.err).toContain('agent resume reporter');
  });
});

describe('delegate', () => {
  test('takes all terms, and names for DIDs', async () => {
    const words = [
      '--to',
      stranger,
      '--can',
      'read:reports:q3',
      '--res',
      'eu/',
      '--as',
      'reporter',
      '--ttl',
      '1h',
      '--depth',
      '0',
      '--stl',
      '60s',
      '--private',
    ];
    const { json, exit } = await home.run(['delegate', ...words, '--json']);
    expect(exit).toBe(0);
    expect(json).toMatchObject({
      link: {
        issuer: did,
        audience: stranger,
        parent: rootLink,
        capabilities: [{ can: 'read:reports/q3', res: ['eu/'] }],
        depth: 0,
        stalenessSeconds: 60,
        private: true,
      },
      published: false,
    });
    const { issuedAt, expiresAt } = json['link'] as { issuedAt: string; expiresAt: string };
    expect(Date.parse(expiresAt) - Date.parse(issuedAt)).toBe(3_600_000);
  });

  test('continues the chain that --from begins', async () => {
    const first = linkIn(await home.run(['delegate', '--to', 'reporter', '--can', 'read:a/*', '--json']));
    const second = await home.run(['delegate', '--to', stranger, '--can', 'read:a/b', '--from', first.slice(0, 16)]);
    expect(second.exit).toBe(0);
    expect(second.out).toMatch(new RegExp(`\\nParent +${first}\n`));
    expect(second.out).toMatch(/\nSharing +published\n/);
    expect(second.err).toMatch(/chain export bafyrei\w+ --out grant\.chain/);
  });

  test('is refused where it would widen, naming the dimension', async () => {
    const ran = await home.run(['delegate', '--to', stranger, '--can', 'write:reports/q3', '--as', 'reporter']);
    expect(ran).toMatchObject({ exit: 3, out: '' });
    expect(ran.err).toMatch(/^error \(widened: capability\) /);
    const longer = await home.run([
      'delegate',
      '--to',
      stranger,
      '--can',
      'read:reports/q3',
      '--as',
      'reporter',
      '--ttl',
      '20d',
      '--json',
    ]);
    expect(longer).toMatchObject({ exit: 3, error: { code: 'widened' } });
  });
});

describe('links', () => {
  test('are named by a beginning that is theirs alone', async () => {
    const short = await home.run(['chain', 'show', rootLink.slice(0, 15)]);
    expect(short).toMatchObject({ exit: 0 });
    expect(short.out).toContain(`1. root link ${rootLink}  ok\n`);
    expect(await home.run(['chain', 'show', `${rootLink.slice(0, 15)}…`])).toMatchObject({ exit: 0 });
    expect(await home.run(['chain', 'show', rootLink.slice(0, 7)])).toMatchObject({ exit: 2, out: '' });
    expect(await home.run(['chain', 'show', `${rootLink.slice(0, 12)}7777777`])).toMatchObject({ exit: 4, out: '' });
    expect(await home.run(['chain', 'show', 'q3'])).toMatchObject({ exit: 2 });
  });

  test('that begin alike are not guessed between', async () => {
    const ids = new Set<string>();
    const firstLetters = (): string[] => [...ids].map((id) => id.slice(0, 8));
    while (new Set(firstLetters()).size === ids.size) {
      ids.add(linkIn(await home.run(['delegate', '--to', 'reporter', '--can', 'read:many', '--json'])));
    }
    const twice = firstLetters().find((letters, i, all) => all.indexOf(letters) !== i) ?? '';
    const ran = await home.run(['chain', 'show', twice]);
    expect(ran).toMatchObject({ exit: 2, out: '' });
    expect(ran.err).toMatch(/Cannot choose a link: \d+ begin with/);
  });

  test('are exported to a file, to a pipe, or in JSON, never to a terminal', async () => {
    const file = await home.run(['chain', 'export', rootLink, '--out', 'a.chain']);
    expect(file.out).toMatch(new RegExp(`^wrote ${home.path}/a\\.chain, \\d`));
    const bytes = await readFile(join(home.path, 'a.chain'));
    expect(parseBundle(bytes).leaf).toBe(rootLink);
    const piped = await home.run(['chain', 'export', rootLink]);
    expect(parseBundle(piped.outBytes).leaf).toBe(rootLink);
    const json = await home.run(['chain', 'export', rootLink, '--json']);
    expect(parseBundle(Buffer.from(String(json.json['bundle']), 'base64url')).leaf).toBe(rootLink);
    expect(await home.run(['chain', 'export', rootLink], { outColumns: 80 })).toMatchObject({ exit: 2, out: '' });
  });

  test('that are revoked name what falls with them', async () => {
    const first = linkIn(await home.run(['delegate', '--to', 'reporter', '--can', 'read:c/*', '--json']));
    const second = linkIn(
      await home.run(['delegate', '--to', stranger, '--can', 'read:c/d', '--from', first, '--json']),
    );
    const ran = await home.run(['revoke', first.slice(0, 18), '--reason', 'project over']);
    expect(ran.exit).toBe(0);
    expect(ran.out).toMatch(new RegExp(`^revoked link ${first}, for ever\n`));
    expect(ran.out).toMatch(new RegExp(`\n1 further link falls with it:\n {2}${second}\n$`));
    const list = await home.run(['chain', 'list']);
    expect(list.out).toMatch(new RegExp(`${second} .* revoked\n`));
    expect(await home.run(['verify-chain', second])).toMatchObject({ exit: 3 });
    expect((await home.run(['revoke', second, '--reason', 'x', '--json'])).json).toMatchObject({ cascade: [second] });
    expect(await home.run(['revoke', 'nobody', '--reason', 'x'])).toMatchObject({ exit: 4, out: '' });
  });
});

describe('handshakes', () => {
  test('say who was verified, by what score, and what is granted', async () => {
    const { out, exit } = await home.run(['handshake', 'reporter', '--can', 'read:reports/q3']);
    expect(exit).toBe(0);
    expect(out).toMatch(new RegExp(`^verified ${did} \\(reporter\\) in 4\\.2 ms\n`));
    expect(out).toMatch(/\nScore +300, wanted 300 \(neutral default: /);
    expect(out).toMatch(/\nGranted +read:reports\/q3\n/);
  });

  test('are refused honestly while there are no scores', async () => {
    const ran = await home.run(['handshake', 'reporter', '--min-score', '700', '--json']);
    expect(ran).toMatchObject({ exit: 3, out: '', error: { code: 'score_below' } });
  });

  test('open sessions that can be seen and ended', async () => {
    const { json } = await home.run(['sessions', '--json']);
    const [{ sid } = { sid: '' }] = json['sessions'] as { sid: string }[];
    expect((await home.run(['sessions'])).out).toContain(sid);
    expect((await home.run(['sessions', 'list'])).out).toBe((await home.run(['sessions'])).out);
    const short = sid.slice(0, 6);
    const { out } = await home.run(['sessions', 'show', `${short}…`]);
    expect(out).toMatch(new RegExp(`^session with ${did} \\(reporter\\), which this side began\n\nSession +${sid}\n`));
    expect((await home.run(['sessions', 'show', sid, '--json'])).json).toMatchObject({ session: { sid }, chain: [] });
    expect(await home.run(['sessions', 'end', short])).toMatchObject({ exit: 0, out: `ended ${sid} (closed)\n` });
    expect(await home.run(['sessions', 'end', sid])).toMatchObject({ exit: 4, out: '' });
    expect((await home.run(['sessions', 'show', short])).err).toContain('none that is open begins so');
    const ran = await home.run(['sessions', 'end', 'x']);
    expect(ran).toMatchObject({ exit: 2, out: '' });
    expect(ran.err).toContain('want its id, or at least 4 letters of its beginning');
  });
});

test('a peer that nobody answers for is a failure', async () => {
  expect(await home.run(['peers', 'add', '/ip4/127.0.0.1/tcp/1/p2p/x'])).toMatchObject({ exit: 1, out: '' });
});

describe('did export', () => {
  test('gives the document, the log or the public keys, and no private one', async () => {
    const document = (await home.run(['did', 'export', 'reporter'])).json;
    expect(document).toMatchObject({ id: did, verificationMethod: [{ controller: did }] });
    const jwk = (await home.run(['did', 'export', 'reporter', '--format', 'jwk'])).json;
    expect(jwk).toMatchObject({ keys: [{ kty: 'OKP', crv: 'Ed25519', use: 'sig' }] });
    expect(JSON.stringify(jwk)).not.toContain('"d"');
    const written = await home.run(['did', 'export', 'reporter', '--format', 'log', '--out', 'log.json', '--json']);
    expect(written.json).toMatchObject({ did, format: 'log', file: join(home.path, 'log.json') });
    expect(JSON.parse(await readFile(join(home.path, 'log.json'), 'utf8'))).toMatchObject({ did, operations: [{}] });
  });
});

describe('did rotate and recover', () => {
  test('retire all current keys, for a day or dead', async () => {
    const { out, exit } = await home.run(['did', 'rotate', '--reason', 'habit']);
    expect([exit, out]).toMatchObject([0, expect.stringMatching(/^rotated did:mesh:/)]);
    expect(await home.run(['did', 'rotate', '--retire', 'z6MkNobody'])).toMatchObject({ exit: 4 });
    expect(await home.run(['did', 'rotate', '--keep', rootLink])).toMatchObject({ exit: 2 });
  });

  const keyFile = async (name: string, mode = 0o600): Promise<string> => {
    const { organisation } = home.fake;
    const key = organisation.recovery[Number(name) - 1] ?? organisation.next;
    const text = JSON.stringify({
      format: 'agentmesh-key/1',
      name,
      publicKey: key.text,
      seed: Buffer.from(key.seed).toString('base64url'),
    });
    await writeFile(join(home.path, `${name}.key`), text, { mode });
    return `${name}.key`;
  };

  test('recover signs nothing but what was asked for', async () => {
    // This daemon writes an operation that retires no key.
    const ran = await home.run(['did', 'recover', '--key', await keyFile('1'), '--key', await keyFile('3'), '--json']);
    expect(ran).toMatchObject({ exit: 1, out: '' });
    expect(ran.error.message).toMatch(/^Cannot sign what the daemon asks to sign: it retires keys that nobody named/);
    expect(home.fake.calls.map(({ operationId }) => operationId)).not.toContain('operationComplete');
  });

  test('recover wants enough keys, each for its owner alone', async () => {
    const one = await home.run(['did', 'recover', '--key', await keyFile('1')]);
    expect(one).toMatchObject({ exit: 2, out: '' });
    expect(one.err).toContain('Cannot recover with 1 of the recovery keys: want 2');
    expect(await home.run(['did', 'recover', '--key', 'nothing.key'])).toMatchObject({ exit: 4 });
    const open = await keyFile('2', 0o644);
    expect(await home.run(['did', 'recover', '--key', '1.key', '--key', open])).toMatchObject({ exit: 1 });
    await writeFile(join(home.path, 'bad.key'), '{}', { mode: 0o600 });
    expect(await home.run(['did', 'recover', '--key', 'bad.key'])).toMatchObject({ exit: 1 });
  });
});

describe('events', () => {
  test('are followed, one a line, until the command is interrupted', async () => {
    for (const words of [['events'], ['events', '--json', '--type', 'agent.changed']]) {
      const controller = new AbortController();
      const following = home.run(words, { signal: controller.signal });
      await new Promise((settle) => setTimeout(settle, 150));
      await home.run(['agent', 'suspend', 'reporter']);
      await home.run(['agent', 'resume', 'reporter']);
      await new Promise((settle) => setTimeout(settle, 150));
      controller.abort(new MeshError('cancelled', 'Cannot go on', { signal: 'SIGINT' }));
      const { exit, out } = await following;
      expect(exit).toBe(130);
      const lines = out.trimEnd().split('\n');
      if (words.includes('--json')) {
        expect(lines.map((line) => (JSON.parse(line) as { type: string }).type)).toEqual([
          'agent.changed',
          'agent.changed',
        ]);
      } else {
        expect(lines[0]).toMatch(new RegExp(`^\\d\\d:\\d\\d:\\d\\d {2}agent\\.changed +did=${did} status=suspended$`));
      }
    }
  });
});

test('an error of the daemon is told with its code, message and next step, and leaves stdout alone', async () => {
  home.fake.onCall = async () => {
    throw new MeshError('read_only', 'Cannot answer: the daemon is stopping\u001b[2J');
  };
  const ran = await home.run(['agent', 'list']);
  home.fake.onCall = async () => undefined;
  expect(ran).toMatchObject({ exit: 1, out: '' });
  expect(ran.err).toBe('error (read_only) Cannot answer: the daemon is stopping�[2J\n');
});

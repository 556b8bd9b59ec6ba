import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkJson, ROUTES } from '../../../protocol/control/index.ts';
import { PRESETS } from '../../../protocol/policy/index.ts';
import { AgentMesh } from '../../../sdk/index.ts';
import { createHome, createHomeWithDaemon, type Home, type HomeWithDaemon } from '../start.ts';

const ACME = `version: "1.0"
name: acme
rules:
  - name: reads
    condition: "action.type == 'tool_call' and tool.name.startsWith('read')"
    action: allow
  - name: exports
    condition: "action.type == 'export'"
    action: allow
    limit: 2/hour
  - name: no-pii
    condition: "action.type == 'export' and data.contains_pii"
    action: deny
  - name: inside
    condition: "tool.paths.exists(p, not under(p, '/srv'))"
    action: deny
`;

/** Policy files in a home where no daemon runs. */
async function createFiles(files: Readonly<Record<string, string>>): Promise<Home> {
  const home = await createHome();
  await mkdir(join(home.path, 'base'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(home.path, name), text);
  return home;
}

let files: Home;
beforeAll(async () => {
  files = await createFiles({
    'acme.yaml': ACME,
    'next.yaml': ACME.replace('2/hour', '5/hour').replace('name: no-pii', 'name: no-personal-data'),
    'typo.yaml': 'version: "1.0"\nrules:\n  - name: x\n    conditon: "true"\n    action: deny\n',
    'child.yaml': 'version: "1.0"\nextends: base/broken.yaml\n',
    'base/broken.yaml': 'version: "1.0"\nrules:\n  - name: a\n    action: forbid\n',
    'empty.yaml': 'version: "1.0"\nrules:\n  - { name: off, action: deny, enabled: false }\n',
    'never.yaml': `version: "1.0"\nrules:\n  - { name: n, action: allow, condition: "tool.name == 'a' and tool.name == 'b'" }\n`,
    'cases.yaml': `cases:
  - name: reading is allowed
    context: { action: { type: tool_call }, tool: { name: read_file } }
    expect: { effect: allow, rule: reads }
  - name: writing is not
    context: { action: { type: tool_call }, tool: { name: write_file } }
    expect: { effect: deny, rule: null }
`,
    'wrong.yaml': `cases:
  - name: writing is allowed
    context: { action: { type: tool_call }, tool: { name: write_file } }
    expect: { effect: allow }
`,
  });
});
afterAll(() => files[Symbol.asyncDispose]());

describe('without a daemon', () => {
  test('"print" is the text of a policy, byte by byte, and can be checked', async () => {
    for (const name of ['strict', 'moderate', 'permissive'] as const) {
      const { exit, out } = await files.run(['policy', 'print', name]);
      expect([exit, out]).toEqual([0, PRESETS[name]]);
      await writeFile(join(files.path, `${name}-copy.yaml`), out);
      expect((await files.run(['policy', 'check', `${name}-copy.yaml`, name])).exit).toBe(0);
    }
  });

  test('"check" says of each file whether it can be used, and where it cannot', async () => {
    const good = await files.run(['policy', 'check', 'acme.yaml']);
    expect(good.exit).toBe(0);
    expect(good.out).toMatch(/^ok {7}acme.yaml {2}policy acme, 4 rules, default deny, digest [0-9a-f]{16}\n$/);
    const { exit, out } = await files.run(['policy', 'check', 'acme.yaml', 'typo.yaml', 'child.yaml', 'none.yaml']);
    expect(exit).toBe(3);
    expect(out.split('\n').slice(1)).toEqual([
      'invalid  typo.yaml:4:5: "conditon" is no key of a rule, want perhaps "condition"',
      expect.stringMatching(/^invalid {2}base\/broken\.yaml:4:13: .*"forbid"/),
      expect.stringMatching(/^invalid {2}none\.yaml: Cannot read policy ".*none\.yaml": there is none/),
      '',
    ]);
    const { json } = await files.run(['policy', 'check', 'typo.yaml', '--json']);
    expect(json).toMatchObject({
      ok: false,
      files: [{ ok: false, problem: { file: 'typo.yaml', line: 4, column: 5 } }],
    });
  });

  test('"lint" exits with 3 for what cannot do what it says, and with 0 for a warning', async () => {
    expect(await files.run(['policy', 'lint', 'acme.yaml'])).toMatchObject({
      exit: 0,
      out: 'ok  nothing found in acme.yaml\n',
    });
    const warned = await files.run(['policy', 'lint', 'empty.yaml']);
    expect(warned.exit).toBe(0);
    expect(warned.out).toMatch(
      /\nempty.yaml:3:5: warning Rule "off" is switched off \(disabled\)\n\n0 errors, 2 warnings\.\n$/,
    );
    const broken = await files.run(['policy', 'lint', 'never.yaml', 'acme.yaml', '--json']);
    expect(broken.exit).toBe(3);
    expect(broken.json['findings']).toContainEqual(
      expect.objectContaining({ file: 'never.yaml', line: 3, severity: 'error', lint: 'never_matches', rule: 'n' }),
    );
    expect(await files.run(['policy', 'lint', 'typo.yaml', '--json'])).toMatchObject({
      exit: 3,
      error: { code: 'policy_invalid' },
    });
  });

  test('"test" exits with 3 where a case fails, and says what is not as expected', async () => {
    const passed = await files.run(['policy', 'test', 'cases.yaml', '--policy', 'acme.yaml']);
    expect(passed).toMatchObject({ exit: 0, err: '' });
    expect(passed.out).toBe(
      'ok      reading is allowed  allow by reads\nok      writing is not  deny by default\n\n2 cases passed.\n',
    );
    const failed = await files.run(['policy', 'test', 'wrong.yaml', '--policy', 'acme.yaml']);
    expect(failed.exit).toBe(3);
    expect(failed.out).toMatch(
      /^FAILED {2}writing is allowed {2}wrong.yaml:2:5\n +effect is "deny", want "allow": .*\n\n1 of 1 case failed\.\n$/,
    );
    const stricter = ['policy', 'test', 'cases.yaml', '--policy', 'acme.yaml', '--policy', 'never.yaml', '--json'];
    expect((await files.run(stricter)).json).toMatchObject({ ok: false, cases: [{ ok: false, effect: 'deny' }, {}] });
    expect((await files.run(['policy', 'test', 'acme.yaml', '--policy', 'acme.yaml'])).exit).toBe(3);
    expect((await files.run(['policy', 'test', 'none.yaml', '--policy', 'acme.yaml'])).exit).toBe(4);
  });

  test('"diff" says of each change whether it allows more', async () => {
    const { exit, out } = await files.run(['policy', 'diff', 'acme.yaml', 'next.yaml']);
    expect(exit).toBe(0);
    expect(out).toMatch(/^acme \([0-9a-f]{16}\) -> acme \([0-9a-f]{16}\)\n\nRULE +EFFECT +CHANGE\n/);
    expect(out).toMatch(
      /\n- no-pii +wider +removed\n~ exports +wider +limit 2\/hour -> 5\/hour\n\+ no-personal-data +narrower +added\n/,
    );
    expect((await files.run(['policy', 'diff', 'acme.yaml', 'acme.yaml'])).out).toMatch(
      /\n\nBoth decide the same\.\n$/,
    );
    expect((await files.run(['policy', 'diff', 'acme', 'acme.yaml'])).exit).toBe(4); // a name is one that the daemon has
  });

  test('"explain" says what is decided, by which comparisons, and what would change it', async () => {
    const words = ['policy', 'explain', '--policy', 'acme.yaml'];
    const denied = await files.run([...words, '--action', 'export', '--fact', 'to=bob@example.com']);
    expect(denied.exit).toBe(0);
    expect(denied.out).toMatch(/^deny {2}by rule no-pii, policy acme \(policy_denied\)\n/);
    expect(denied.out).toContain(
      "no-pii of acme: deny, applies\n  yes      action.type == 'export'\n  yes      data.contains_pii\n",
    );
    expect(denied.out).toMatch(/\nWhat would change it\n {2}Without what makes rule "no-pii" /);
    const { json } = await files.run([...words, '--tool', 'write_file', '--args', '{"n":1}', '--json']);
    expect(json).toMatchObject({
      decision: { effect: 'deny', rule: null },
      wouldChange: [expect.stringContaining('"reads"'), {}],
    });
    expect(() => checkJson(ROUTES.decisionExplain.response, json, 'the answer', 'internal')).not.toThrow();
  });

  test('"explain" reads paths as the proxy does', async () => {
    const read = async (path: string): Promise<unknown> => {
      const words = ['policy', 'explain', '--policy', 'acme.yaml', '--tool', 'read_file', '--arg', `path=${path}`];
      return ((await files.run([...words, '--json'])).json['decision'] as { rule: string }).rule;
    };
    expect(await read('/srv/a')).toBe('reads');
    expect(await read('/srv/../etc/passwd')).toBe('inside');
    expect(await read('%2fetc%2fpasswd')).toBe('inside');
    expect(await read('a.txt')).toBe('inside'); // in the working directory, which is not /srv
    expect(await read('hello')).toBe('inside'); // named "path"
  });

  test('a program that is told nothing of a policy loads no parser for one', async () => {
    const source = await readFile(new URL('../../../cli/commands/policy.ts', import.meta.url), 'utf8');
    const imports = source
      .split('\n')
      .filter((line) => /^(import|\} from) .*protocol\/(policy|mcp|detect)\/index/.test(line));
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter((line) => !line.startsWith('import type '))).toEqual([]);
  });
});

describe('with a daemon', () => {
  let home: HomeWithDaemon;
  let mesh: AgentMesh;
  beforeAll(async () => {
    home = await createHomeWithDaemon();
    home.fake.policies.push(ACME);
    mesh = await AgentMesh.connect({ home: home.path, token: null });
    await writeFile(join(home.path, 'next.yaml'), ACME.replace("startsWith('read')", "startsWith('write')"));
  });
  afterAll(() => home[Symbol.asyncDispose]());

  test.each([
    ['policyList', ['list']],
    ['policyReload', ['reload']],
    ['policyShow', ['show', 'acme']],
    ['policyShadow', ['shadow']],
    ['policyReplay', ['shadow', '--policy', 'next.yaml', '--since', '1h']],
    ['decisionExplain', ['explain', '--tool', 'read_file', '--agent', 'reporter']],
  ] as const)('--json is the answer of %s', async (operationId, words) => {
    const { exit, json, err } = await home.run(['policy', ...words, '--json']);
    expect([exit, err]).toEqual([0, '']);
    expect(() => checkJson(ROUTES[operationId].response, json, 'the answer', 'internal')).not.toThrow();
  });

  test('"list" says what is in force and what was brought, "show" has it word for word', async () => {
    const other = 'version: "1.0"\nname: brought\ndefault: allow\n';
    const { digest } = await mesh.policies.load({ name: 'brought', files: [{ path: 'brought.yaml', text: other }] });
    const { out } = await home.run(['policy', 'list']);
    expect(out).toMatch(
      /^POLICY +STATE +RULES +FOR +DIGEST +FILE\nacme +in force +4 +every agent +[0-9a-f]{16} +acme.yaml\n/,
    );
    expect(out).toMatch(new RegExp(`\nbrought +brought +0 +every agent +${digest.slice(0, 16)} +-\n`));
    expect((await home.run(['policy', 'show'])).out).toBe(ACME);
    expect((await home.run(['policy', 'show', digest.slice(0, 8)])).out).toBe(other);
    expect((await home.run(['policy', 'show', 'acme'], { outColumns: 80, env: { NO_COLOR: '1' } })).out).toMatch(
      /^# policy acme, digest [0-9a-f]{64}\n# acme.yaml\nversion: "1.0"\n/,
    );
    expect(await home.run(['policy', 'show', 'nosuch'])).toMatchObject({ exit: 4, out: '' });
  });

  test('files are held against what is in force', async () => {
    await writeFile(join(home.path, 'cases.yaml'), await readFile(join(files.path, 'cases.yaml')));
    expect(await home.run(['policy', 'test', 'cases.yaml'])).toMatchObject({ exit: 0 });
    expect((await home.run(['policy', 'diff', 'acme', 'next.yaml'])).out).toMatch(/~ reads +depends +condition /);
  });

  test('"shadow" says what a file would have decided otherwise', async () => {
    const [agent] = await mesh.agents.list();
    const request = { action: 'tool_call', tool: { name: 'read_file', arguments: {}, paths: [] } };
    await mesh.decisions.decide({ as: agent?.did ?? '', request });
    const { out } = await home.run(['policy', 'shadow', '--policy', 'next.yaml']);
    expect(out).toMatch(/^Candidate +acme \([0-9a-f]{16}\)\nCompared +1 request\nOtherwise +1\n/);
    expect(out).toMatch(/\nWHEN +AGENT +WANTS +IN FORCE +CANDIDATE\n.* reporter +read_file +allow by reads +deny\n$/);
    expect((await home.run(['policy', 'shadow'])).out).toMatch(/^No candidate runs\./);
  });
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkJson, ROUTES } from '../../../protocol/control/index.ts';
import { BROKEN_COMMAND } from '../../daemon/control/fake-exposures.ts';
import { SAMPLE } from '../../protocol/control/samples.ts';
import { createHomeWithDaemon, type HomeWithDaemon } from '../start.ts';

let home: HomeWithDaemon;
beforeAll(async () => {
  home = await createHomeWithDaemon();
});
afterAll(() => home[Symbol.asyncDispose]());

const expose = (...words: string[]) => home.run(['expose', ...words]);
const listed = async (): Promise<Record<string, unknown>[]> =>
  (await home.run(['expose', 'list', '--json'])).json['exposed'] as Record<string, unknown>[];

describe('agentmesh expose', () => {
  test('says what is exposed, with what its tools need, and what to do next', async () => {
    const ran = await expose('--mcp', 'files', '--description', 'Reports', '--', 'npx', '-y', 'server', '/srv');
    expect(ran.exit).toBe(0);
    expect(ran.out).toMatch(/^Server +files\nIs +npx -y server \/srv\nIn +\S+\nAbout +Reports\nPolicy +moderate\n/);
    expect(ran.out).toMatch(
      /\nTOOL +NEEDS +ABOUT\nread_file +mcp:files\/read_file +Reads a file\nwrite file +mcp:files\/write~20file +-\n$/,
    );
    expect(ran.err).toMatch(/delegate --to DID --can 'mcp:files\/\*'/);
    expect((await home.run(['expose', 'list'])).out).toMatch(
      /^SERVER +TOOLS NEED +POLICY +LINKS +BY +IS\nfiles +mcp:files\/TOOL +moderate +0 +command +npx -y server \/srv\n$/,
    );
    expect((await expose('check', 'files')).out).toContain('mcp:files/read_file');
    expect(await expose('remove', 'files')).toMatchObject({ exit: 0, out: 'removed files\n' });
    expect(await expose('remove', 'files')).toMatchObject({ exit: 4, out: '' });
    expect((await home.run(['expose', 'list'])).out).toBe('Nothing is exposed to other organisations.\n');
  });

  test.each([
    ['exposeAdd', ['--mcp', 'a', '--', 'cat']],
    ['exposeList', ['list']],
    ['exposeCheck', ['check', 'a']],
    ['exposeRemove', ['remove', 'a']],
  ] as const)('--json is the answer of %s', async (operationId, words) => {
    const { exit, json, err } = await home.run(['--json', 'expose', ...words]);
    expect([exit, err]).toEqual([0, '']);
    expect(() => checkJson(ROUTES[operationId].response, json, 'the answer', 'internal')).not.toThrow();
  });

  test('takes a capability for all tools and one for each, in either spelling', async () => {
    const { out } = await expose(
      '--mcp',
      'b',
      '--capability',
      'read:b',
      '--capability',
      'write file=write:b:all',
      '--capability',
      'x=y=z:*',
      '--',
      'cat',
    );
    expect(out).toMatch(/Tools need +read:b\n +write file: write:b\/all\n +x=y: z:\*\n/);
    expect(out).toMatch(/read_file +read:b .*\nwrite file +write:b\/all /);
    expect((await listed())[0]).toMatchObject({
      capability: 'read:b',
      needs: { 'write file': 'write:b/all', 'x=y': 'z:*' },
    });
    await expose('remove', 'b');
  });

  test('shows of variables and headers the names alone', async () => {
    const env = { TOKEN: 'secret-of-here' };
    const program = await home.run(['expose', '--mcp', 'c', '--env', 'TOKEN', '--env', 'MODE=secret=x', '--', 'cat'], {
      env,
    });
    const url = await home.run(
      ['expose', '--mcp', 'd', '--url', 'https://h.example/mcp', '--header-env', 'Authorization=TOKEN'],
      { env },
    );
    expect(program.out).toMatch(/Variables +TOKEN, MODE\n/);
    expect(url.out).toMatch(/Is +https:\/\/h.example\/mcp\nHeaders +authorization\n/);
    const { out } = await home.run(['expose', 'list', '--json']);
    expect([program.out, url.out, out].join('')).not.toContain('secret');
    for (const name of ['c', 'd']) await expose('remove', name);
  });

  test('takes a policy from a file as it is now, and stays under it', async () => {
    await writeFile(join(home.path, 'acme.yaml'), 'version: "1.0"\nname: acme\ndefault: allow\n');
    expect((await expose('--mcp', 'e', '--policy', 'acme.yaml', '--', 'cat')).out).toMatch(/Policy +acme\n/);
    expect((await listed())[0]).toMatchObject({ policy: { name: 'acme' }, origin: 'command' });
    await expose('remove', 'e');
  });

  test('exposes nothing that cannot be started, unless told not to look', async () => {
    const refused = await expose('--mcp', 'f', '--', BROKEN_COMMAND);
    expect(refused).toMatchObject({ exit: 1, out: '' });
    expect(refused.err).toMatch(/no such command/);
    expect(await listed()).toEqual([]);
    expect((await expose('--mcp', 'f', '--no-check', '--', BROKEN_COMMAND)).out).toMatch(/\nIt was not started /);
    expect((await home.run(['doctor'])).out).toMatch(/exposed.*"f": .*no such command/);
    await expose('remove', 'f');
  });

  test.each([
    [['--mcp', 'A b', '--', 'cat'], /beginning with a letter/],
    [['--', 'cat'], /without a name: want --mcp NAME/],
    [['--mcp', 'a'], /either a program after "--", or --url/],
    [['--mcp', 'a', '--url', 'http://h/', '--', 'cat'], /either a program after "--", or --url/],
    [['--mcp', 'a', '--url', 'ftp://h/'], /want http:/],
    [['--mcp', 'a', '--url', 'http://h/', '--env', 'A=b'], /--env with --url/],
    [['--mcp', 'a', '--header', 'A: b', '--', 'cat'], /--header without --url/],
    [['--mcp', 'a', '--env', 'NOSUCH', '--', 'cat'], /"NOSUCH" on: it is not set/],
    [['--mcp', 'a', '--capability', 'read', '--', 'cat'], /want "domain:path"/],
    [['--mcp', 'a', '--capability', '=read:a', '--', 'cat'], /TOOL=CAPABILITY/],
    [['--mcp', 'a', '--capability', 'a:b', '--capability', 'c:d', '--', 'cat'], /more than one --capability/],
  ])('refuses %j', async (words, message) => {
    const { exit, err } = await expose(...words);
    expect(exit).toBe(2);
    expect(err).toMatch(message);
  });

  test('says that a policy file is not there', async () => {
    const { exit, err } = await expose('--mcp', 'a', '--policy', 'nosuch.yaml', '--', 'cat');
    expect(exit).toBe(3);
    expect(err).toMatch(/there is none/);
  });
});

describe('agentmesh services', () => {
  test('says what another exposes, and what this daemon does', async () => {
    const { out } = await home.run(['services', SAMPLE.did]);
    expect(out).toBe('SERVER  ABOUT\nfiles   Reports of the last quarters\n');
    expect((await home.run(['services'])).out).toBe('Nothing is exposed to other organisations.\n');
    await expose('--mcp', 'own', '--description', 'Ours', '--', 'cat');
    expect((await home.run(['services'])).out).toBe('SERVER  ABOUT\nown     Ours\n');
    const { json } = await home.run(['services', SAMPLE.did, '--json']);
    expect(() => checkJson(ROUTES.services.response, json, 'the answer', 'internal')).not.toThrow();
  });
});

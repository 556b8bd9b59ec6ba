import { describe, expect, test } from 'vitest';
import { readWrapped, rewrap, wrap, type WrapOptions } from '../../../cli/integration/wrapper.ts';

const options: WrapOptions = {
  launcher: ['/usr/bin/node', '/opt/agentmesh/cli/bin.js'],
  home: undefined,
  policy: undefined,
};
const target = { kind: 'stdio', command: 'npx', args: ['-y', '--', 'mcp'] } as const;

describe('wrap()', () => {
  test('puts the command behind "--", whatever it looks like', () => {
    expect(wrap('files', target, { ...options, policy: 'moderate', home: '/h' })).toEqual([
      '/usr/bin/node',
      '/opt/agentmesh/cli/bin.js',
      '--home',
      '/h',
      'proxy',
      '--server',
      'files',
      '--policy',
      'moderate',
      '--',
      'npx',
      '-y',
      '--',
      'mcp',
    ]);
  });

  test('names the agent where one is named, and is still known as our own work', () => {
    const words = wrap('files', target, { ...options, agent: 'clerk' });
    expect(words.slice(2, 9)).toEqual(['proxy', '--server', 'files', '--policy', 'strict', '--agent', 'clerk']);
    const wrapped = readWrapped(words) ?? never();
    expect(wrapped.isOurs).toBe(true);
    expect(rewrap(wrapped, options)).toEqual(words);
    expect(rewrap(wrapped, { ...options, agent: 'other' })).toEqual(words.with(8, 'other'));
    const bare = readWrapped(wrap('files', target, options)) ?? never();
    expect(rewrap(bare, { ...options, agent: 'clerk' })).toEqual(words);
  });

  test('names variables for headers, never their values', () => {
    const headers = [['Authorization', 'TOKEN']] as const;
    expect(wrap('api', { kind: 'url', url: 'https://a.example/mcp', headers }, options).slice(2)).toEqual([
      'proxy',
      '--server',
      'api',
      '--policy',
      'strict',
      '--url',
      'https://a.example/mcp',
      '--header-env',
      'Authorization=TOKEN',
    ]);
  });
});

describe('readWrapped()', () => {
  test('knows its own work, and that of an older agentmesh elsewhere', () => {
    const words = wrap('files', target, options);
    expect(readWrapped(words)).toMatchObject({
      isOurs: true,
      policy: 'strict',
      rest: ['--', 'npx', '-y', '--', 'mcp'],
    });
    const older = ['C:\\old\\node.exe', 'C:\\old\\agentmesh\\dist\\cli\\bin.js', ...words.slice(2)];
    expect(readWrapped(older)).toMatchObject({ isOurs: true });
    expect(rewrap(readWrapped(older) ?? never(), options)).toEqual(words);
  });

  test('knows a checkout of any name by the form of the line', () => {
    const words = wrap('files', target, {
      ...options,
      launcher: ['/usr/bin/node', '/src/main/cli/bin.js'],
      home: '/h',
    });
    expect(readWrapped(words)).toMatchObject({ isOurs: true, home: '/h' });
  });

  test.each([
    [['npx', '-y', 'agentmesh', 'proxy', '--target', 'npx'], false],
    [['agentmesh', 'proxy', '--policy=strict', '--target', 'npx'], false],
    [['agentmesh', 'proxy', '--server', 'a', '--', 'npx'], true],
    [['/usr/local/bin/agentmesh', '--home', '/h', 'proxy', '--server', 'a', '--url', 'https://a.example'], true],
    [['C:\\npm\\agentmesh.cmd', '--home=/h', 'proxy', '--server', 'a', '--', 'npx'], true],
  ])('takes %j for wrapped, ours: %j', (words, isOurs) => {
    expect(readWrapped(words)).toMatchObject({ isOurs });
  });

  test.each([
    [['npx', '-y', 'some-proxy', 'proxy']],
    [['node', '/opt/agentmesh/cli/bin.js', 'status']],
    [['node', 'server.js', 'proxy', '--server', 'x']],
    [['node', '/opt/other/cli/bin.js', 'proxy', '--server', 'x', '--', 'npx']],
    [['agentmesh']],
    [['npx', '-y', 'mcp-server', '--name', 'agentmesh', 'proxy']],
    [[]],
  ])('takes %j for a server like any other', (words) => {
    expect(readWrapped(words)).toBeUndefined();
  });
});

describe('rewrap()', () => {
  const ours = [
    'node',
    '/a/agentmesh',
    'proxy',
    '--server',
    '--policy',
    '--footer',
    '--policy',
    'strict',
    '--',
    'npx',
    '--policy',
    'x',
  ];

  test('replaces the policy of the proxy, and nothing that only looks like it', () => {
    const wrapped = readWrapped(ours) ?? never();
    expect(wrapped.policy).toBe('strict');
    expect(rewrap(wrapped, { ...options, policy: '/p.yaml' })).toEqual([
      ...options.launcher,
      'proxy',
      '--server',
      '--policy',
      '--footer',
      '--policy',
      '/p.yaml',
      '--',
      'npx',
      '--policy',
      'x',
    ]);
  });

  test('takes the word of any flag of the proxy for no flag', () => {
    const words = ['agentmesh', 'proxy', '--server', 'a', '--token-file', '--policy', '--policy', 'x.yaml', '--', 'y'];
    const wrapped = readWrapped(words) ?? never();
    expect(wrapped.policy).toBe('x.yaml');
    expect(rewrap(wrapped, { ...options, policy: 'strict' }).slice(5)).toEqual([
      '--token-file',
      '--policy',
      '--policy',
      'strict',
      '--',
      'y',
    ]);
  });

  test('keeps what was asked of the proxy where no policy is named, and adds one where there was none', () => {
    const bare = readWrapped(['agentmesh', 'proxy', '--server', 'a', '--footer', '--', 'x']) ?? never();
    expect(rewrap(bare, options).slice(2)).toEqual(['proxy', '--server', 'a', '--footer', '--', 'x']);
    expect(rewrap(bare, { ...options, policy: 'moderate' }).slice(2)).toEqual([
      'proxy',
      '--server',
      'a',
      '--policy',
      'moderate',
      '--footer',
      '--',
      'x',
    ]);
  });
});

function never(): never {
  throw new Error('not recognised');
}

import { expect, test } from 'vitest';
import { begin } from '../../../cli/proxy/begin.ts';
import { parseProxyLine } from '../../../cli/proxy/options.ts';

const world = { env: {}, cwd: '/', errors: { write: () => true }, platform: 'win32' } as const;
function lineOf(...words: readonly string[]): NonNullable<ReturnType<typeof parseProxyLine>> {
  const line = parseProxyLine(['proxy', ...words]);
  if (line === undefined) throw new Error(`not understood: ${words.join(' ')}`);
  return line;
}

test('on Windows no server is started that could outlive the proxy, and one elsewhere can be used', async () => {
  for (const words of [
    ['--', 'node', 'server.js'],
    ['--listen', '127.0.0.1:0', '--', 'node', 'server.js'],
  ])
    await expect(begin(lineOf(...words), world)).rejects.toThrow(/Cannot start a server on Windows/);
  const { child, settings } = await begin(lineOf('--url', 'https://mcp.example.com/mcp'), world);
  expect([child, settings.url?.host]).toEqual([undefined, 'mcp.example.com']);
});

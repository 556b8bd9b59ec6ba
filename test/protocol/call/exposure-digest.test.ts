import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { exposureDigests } from '../../../protocol/call/index.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const place = { command: ['cat', '-u'], cwd: '/srv' };
const env = { TOKEN: 'x', A: 'y' };

test('digests are over canonical JSON, with the names of variables and headers alone', () => {
  const needs = { b: 'write:b', a: 'read:a' };
  expect(exposureDigests({ server: { ...place, env }, capability: null, needs })).toEqual({
    start: sha256('{"command":["cat","-u"],"cwd":"/srv","env":["A","TOKEN"]}'),
    mapping: sha256('{"capability":null,"needs":{"a":"read:a","b":"write:b"}}'),
  });
  const url = 'https://mcp.example.com/x';
  expect(
    exposureDigests({ server: { url, headers: { 'X-B': '1', 'X-A': '2' } }, capability: 'read:x', needs: {} }),
  ).toEqual({
    start: sha256('{"headers":["X-A","X-B"],"url":"https://mcp.example.com/x"}'),
    mapping: sha256('{"capability":"read:x","needs":{}}'),
  });
});

test('no variables are as an empty list of them', () => {
  const about = { capability: null, needs: {} };
  expect(exposureDigests({ server: place, ...about })).toEqual(
    exposureDigests({ server: { ...place, env: {} }, ...about }),
  );
});

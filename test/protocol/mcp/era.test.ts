import { expect, test } from 'vitest';
import { clientCapabilitiesOf, eraOf, eraOfVersion, metaOf } from '../../../protocol/mcp/index.ts';
import { read, request } from './sample.ts';

const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': { elicitation: {} },
};

test('a message is of the era that its envelope or its method says, or says nothing', () => {
  expect(eraOf(request('initialize', { protocolVersion: '2025-11-25' }))).toBe('2025-11-25');
  expect(eraOf(read('{"jsonrpc":"2.0","method":"notifications/initialized"}'))).toBe('2025-11-25');
  expect(eraOf(request('server/discover', {}))).toBe('2026-07-28');
  expect(eraOf(request('subscriptions/listen', {}))).toBe('2026-07-28');
  expect(eraOf(request('tools/call', { name: 'a', _meta: META }))).toBe('2026-07-28');
  expect(eraOf(request('initialize', { _meta: META }))).toBe('2026-07-28');
  expect(eraOf(request('tools/call', { name: 'a' }))).toBeUndefined();
  expect(eraOf(read('{"jsonrpc":"2.0","id":1,"result":{}}'))).toBeUndefined();
});

test('an envelope with an older revision is of the older era', () => {
  expect(eraOf(request('ping', { _meta: { 'io.modelcontextprotocol/protocolVersion': '2025-06-18' } }))).toBe(
    '2025-11-25',
  );
  expect(['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'].map(eraOfVersion)).toEqual(
    Array(4).fill('2025-11-25'),
  );
  expect(['2026-07-28', '2027-01-01'].map(eraOfVersion)).toEqual(Array(2).fill('2026-07-28'));
});

test('capabilities are those of initialize, or of the request itself', () => {
  expect(clientCapabilitiesOf(request('initialize', { capabilities: { roots: {} } }))).toEqual({ roots: {} });
  expect(clientCapabilitiesOf(request('tools/call', { name: 'a', _meta: META }))).toEqual({ elicitation: {} });
  expect(clientCapabilitiesOf(request('tools/call', { name: 'a', capabilities: { roots: {} } }))).toBeUndefined();
  expect(metaOf(request('ping', { _meta: [] }))).toBeUndefined();
});

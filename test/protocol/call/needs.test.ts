import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  coversSome,
  isCall,
  isPossiblyCovered,
  needOf,
  segmentOf,
  type ServerNeeds,
  verifyCovered,
} from '../../../protocol/call/index.ts';
import { type Capability, isCapability, isMeshError } from '../../../protocol/index.ts';
import type { GateRequest } from '../../../protocol/policy/index.ts';

const files: ServerNeeds = { name: 'files', capability: null, needs: {} };
const tool = (name: string, paths: readonly string[] = []): GateRequest => ({
  action: 'tool_call',
  tool: { name, paths },
});
const resource = (uri: string, paths: readonly string[] = []): GateRequest => ({
  action: 'resource_read',
  resource: { uri, paths },
});
const can = (request: GateRequest, server: ServerNeeds = files): string | undefined => needOf(request, server)?.can;

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}
const covered = (request: GateRequest, ...granted: readonly Capability[]): string =>
  codeOf(() => verifyCovered(needOf(request, files) ?? { can: '', paths: [] }, granted));

describe('needOf()', () => {
  test('names tools, resources, prompts and methods, each under its server', () => {
    expect(can(tool('read_file'))).toBe('mcp:files/read_file');
    expect(can(resource('db://a'))).toBe('mcp:files/~resources');
    expect(can({ action: 'prompt_get', prompt: { name: 'hello world' } })).toBe('mcp:files/~prompts/hello~20world');
    expect(can({ action: 'mcp_request', mcp: { method: 'tasks/get' } })).toBe('mcp:files/~methods/tasks~2fget');
  });

  test.each(['tools_list', 'sampling', 'elicitation', 'roots_list', 'prompts_list'])('%s needs nothing', (action) => {
    expect(can({ action })).toBeUndefined();
  });

  test('housekeeping needs nothing, and methods that are not known are calls', () => {
    expect(can({ action: 'mcp_request', mcp: { method: 'logging/setLevel' } })).toBeUndefined();
    expect(['ping', 'initialize', 'resources/subscribe'].map(isCall)).toEqual([false, false, false]);
    expect(['tools/call', 'resources/read', 'tasks/get', 'Ping', 'tools/list '].map(isCall)).toEqual(
      Array(5).fill(true),
    );
  });

  test('no tool is taken for what stands for resources', () => {
    expect(can(tool('~resources'))).toBe('mcp:files/~7eresources');
    expect(can(tool('~prompts/x'))).toBe('mcp:files/~7eprompts~2fx');
  });

  test('an exposure says what a tool needs, however its name is spelt', () => {
    const named = { ...files, capability: 'files:use', needs: { pay: 'pay:invoices' } };
    expect(can(tool('pay'), named)).toBe('pay:invoices');
    expect(can(tool('PAY'), named)).toBe('pay:invoices');
    expect(can(tool('pa\u200by'), named)).toBe('pay:invoices');
    expect(can(tool('read'), named)).toBe('files:use');
    expect(can(tool('constructor'), named)).toBe('files:use');
    expect(can(resource('db://a'), named)).toBe('mcp:files/~resources');
  });

  test.each([
    ['', 'empty'],
    ['x'.repeat(129), 'too long'],
    ['é'.repeat(64), 'too long once written'],
    ['\ud800', 'no text'],
  ])('refuses the name %j, which is %s', (name) => {
    expect(codeOf(() => needOf(tool(name), files))).toBe('not_covered');
  });
});

describe('segmentOf()', () => {
  test('is one segment of a capability, and no two names make the same', () => {
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((text) => text.isWellFormed() && new TextEncoder().encode(text).length <= 40);
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(isCapability(`mcp:files/${segmentOf(a)}`)).toBe(true);
        expect(segmentOf(a) === segmentOf(b)).toBe(a === b);
      }),
    );
  });

  test.each([
    ['.', '~2e'],
    ['..', '~2e~2e'],
    ['...', '...'],
    ['*', '~2a'],
    ['a/b', 'a~2fb'],
    ['~20', '~7e20'],
  ])('writes %j as %j', (name, segment) => {
    expect(segmentOf(name)).toBe(segment);
  });
});

describe('verifyCovered()', () => {
  test('wants the capability itself or one above it, by whole segments', () => {
    expect(covered(tool('read'), { can: 'mcp:files/read' })).toBe('ok');
    expect(covered(tool('read'), { can: 'mcp:files/*' })).toBe('ok');
    expect(covered(tool('read'), { can: 'mcp:*' })).toBe('ok');
    expect(covered(tool('reader'), { can: 'mcp:files/read' })).toBe('caps_insufficient');
    expect(covered(tool('read'), { can: 'mcp:files2/*' })).toBe('caps_insufficient');
    expect(covered(tool('read'))).toBe('caps_insufficient');
  });

  test.each([
    [['/data/a'], 'ok'],
    [['/data/a', '/data/b/c'], 'ok'],
    [['/data'], 'ok'],
    [['/database/a'], 'caps_insufficient'],
    [['/data/a', '/etc/passwd'], 'caps_insufficient'],
    [[], 'caps_insufficient'],
  ])('with resources of a folder, paths %j are %s', (paths, code) => {
    expect(covered(tool('read', paths), { can: 'mcp:files/*', res: ['/data/'] })).toBe(code);
    expect(covered(tool('read', paths), { can: 'mcp:files/*', res: ['file:///data/'] })).toBe(code);
  });

  test('of a file its path counts, wherever a link leads; of other resources the URI', () => {
    const granted = { can: 'mcp:files/*', res: ['/data/', 'db://shop/'] };
    expect(covered(resource('file:///data/x', ['/data/x']), granted)).toBe('ok');
    expect(covered(resource('file:///data/x', ['/data/x', '/etc/passwd']), granted)).toBe('caps_insufficient');
    expect(covered(resource('file:///data/x'), granted)).toBe('caps_insufficient');
    expect(covered(resource('db://shop/1'), granted)).toBe('ok');
    expect(covered(resource('db://other/1'), granted)).toBe('caps_insufficient');
    expect(covered(resource('db://other/1', ['/data/x']), granted)).toBe('caps_insufficient');
    expect(covered(resource('db://shop/1', ['/etc/x']), granted)).toBe('caps_insufficient');
  });

  test('takes no two capabilities together for one', () => {
    const granted = [
      { can: 'mcp:files/read', res: ['/a/'] },
      { can: 'mcp:files/*', res: ['/b/'] },
    ];
    expect(covered(tool('read', ['/a/x', '/b/x']), ...granted)).toBe('caps_insufficient');
    expect(covered(tool('read', ['/b/x']), ...granted)).toBe('ok');
  });

  test('says which it is: what is asked for, or the resources', () => {
    const fieldOf = (request: GateRequest, granted: Capability): unknown => {
      try {
        verifyCovered(needOf(request, files) ?? { can: '', paths: [] }, [granted]);
        return undefined;
      } catch (error) {
        return isMeshError(error) ? error.data.field : error;
      }
    };
    expect(fieldOf(tool('read'), { can: 'mcp:other/*' })).toBe('can');
    expect(fieldOf(tool('read'), { can: 'mcp:files/*', res: ['/a/'] })).toBe('res');
  });
});

describe('lists', () => {
  test('show tools whose resources are not known yet, and hide resources that lie elsewhere', () => {
    const granted = [{ can: 'mcp:files/*', res: ['db://shop/'] }];
    const possible = (request: GateRequest): boolean =>
      isPossiblyCovered(needOf(request, files) ?? { can: '', paths: [] }, granted);
    expect(possible(tool('read'))).toBe(true);
    expect(possible(resource('db://shop/1'))).toBe(true);
    expect(possible(resource('db://other/1'))).toBe(false);
  });

  test.each<[boolean, Partial<ServerNeeds>, string[]]>([
    [true, {}, ['mcp:files/*']],
    [true, {}, ['mcp:files/read']],
    [true, {}, ['mcp:*']],
    [true, {}, ['read:x', 'mcp:files/~resources']],
    [false, {}, []],
    [false, {}, ['mcp:file/*', 'mcp:files2/read', 'read:files/*', 'mcp:files']],
    [true, { capability: 'read:a' }, ['read:a']],
    [true, { capability: 'read:a' }, ['read:*']],
    [true, { capability: 'read:a' }, ['mcp:files/~prompts/x']],
    [false, { capability: 'read:a' }, ['mcp:files/read', 'read:b']],
    [false, { capability: 'read:a/*' }, ['read:a/b']],
    [true, { capability: 'read:a', needs: { w: 'write:a' } }, ['write:a']],
    [true, { needs: { pay: 'pay:invoices' } }, ['pay:*']],
  ])('coversSome() is %s of %j for %j', (is, more, cans) => {
    const granted = cans.map((one) => ({ can: one }));
    expect(coversSome({ ...files, ...more }, granted)).toBe(is);
  });
});

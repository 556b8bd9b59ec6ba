import { describe, expect, test } from 'vitest';
import { footed, META_VERIFICATION } from '../../../protocol/mcp/index.ts';
import type { GateDescription } from '../../../protocol/policy/index.ts';
import { verdict } from './sample.ts';

const description: GateDescription = {
  mode: 'daemon',
  agent: 'did:mesh:abc',
  organisation: null,
  policies: [],
  missing: [],
};
const footer = { verdict: { ...verdict, effect: 'allow' as const }, description, hasSchema: false };
const content = [{ type: 'text', text: 'hello' }];
const text =
  '\n> Verified by AgentMesh · agent did:mesh:abc · allowed by policy "acme-baseline" (abababababab) · log entry 41 (agentmesh log show 41)';

describe('footed()', () => {
  test('adds a text of its own where no schema is declared', () => {
    expect(footed({ content, isError: false }, footer)).toEqual({
      content: [...content, { type: 'text', text }],
      isError: false,
    });
  });

  test('speaks of no log entry where there is none', () => {
    expect(
      JSON.stringify(footed({ content }, { ...footer, verdict: { ...footer.verdict, index: null } })),
    ).not.toContain('log');
  });

  test.each([
    ['the tool declares a schema', { content }, true],
    ['the result has structured content', { content, structuredContent: { a: 1 } }, false],
  ])('leaves the content alone where %s', (_, result, hasSchema) => {
    expect(footed({ ...result, _meta: { a: 1 } }, { ...footer, hasSchema })).toEqual({
      ...result,
      _meta: {
        a: 1,
        [META_VERIFICATION]: {
          agent: 'did:mesh:abc',
          policy: { name: 'acme-baseline', digest: 'ab'.repeat(32) },
          rule: 'no-writes',
          index: 41,
        },
      },
    });
  });

  test.each([[{ resultType: 'input_required', requestState: 'x' }], [{ task: { taskId: 't' } }], ['x']])(
    'leaves alone what has no content: %j',
    (result) => {
      expect(footed(result, footer)).toBe(result);
    },
  );

  test('shows what would not be seen in a name', () => {
    const policy = { ...verdict.policy, name: 'a\u202eb\nc' };
    expect(JSON.stringify(footed({ content }, { ...footer, verdict: { ...footer.verdict, policy } }))).toContain(
      'a⟨U+202E⟩b⟨U+000A⟩c',
    );
  });
});

import { describe, expect, test } from 'vitest';
import type { Format } from '../../../cli/integration/document.ts';
import { editEntry } from '../../../cli/integration/integrate.ts';
import { jsonFormat } from '../../../cli/integration/json.ts';

const text = '{"mcpServers":{"a":{"command":"x"}},"other":1}';
const edited = (edit: Format['edit']): (() => unknown) => {
  const change = { at: ['command'], value: 'y' };
  return () => editEntry({ ...jsonFormat, edit }, text, jsonFormat.parse(text), ['mcpServers', 'a'], [change]);
};

describe('editEntry() takes no edit', () => {
  test.each([
    ['that changes something else too', (at: string) => at.replace('"x"', '"y"').replace('1', '2')],
    ['that does not change what is meant', (at: string) => at],
    ['that leaves what cannot be read', (at: string) => at.slice(1)],
  ])('%s', (_, edit) => {
    expect(edited(edit)).toThrow('it is written in a way that is not edited here');
  });

  test('but the one that is meant', () => {
    expect(edited(jsonFormat.edit)()).toMatchObject({ text: text.replace('"x"', '"y"') });
  });
});

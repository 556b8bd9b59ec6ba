/** What README.md and docs/ show can be done: policies load, cases hold, commands and flags are there. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { createProgram } from '../../cli/program.ts';
import { compilePolicies, parsePolicy, PRESETS, runPolicyTests } from '../../protocol/policy/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = ['README.md', ...readdirSync(`${root}/docs`).map((name) => `docs/${name}`)];
const read = (file: string): string => readFileSync(`${root}/${file}`, 'utf8');

const fenced = (text: string, language: string): string[] =>
  [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].flatMap(([, found, block]) =>
    found === language ? [block as string] : [],
  );
const yamlOf = (page: string): string[] => fenced(read(page), 'yaml');
const isCases = (block: string): boolean => block.startsWith('cases:');

/** What it extends comes along; what it hands to decision points is not on the page. */
const policyOf = (text: string) =>
  parsePolicy(text, { name: 'page', file: 'page.yaml', resolve: (path) => ({ name: path, text: '' }) });

describe('every policy in the documents', () => {
  const blocks = PAGES.flatMap((page) => yamlOf(page).map((block) => [page, block] as const));

  test('is one that can be used', () => {
    const policies = blocks.filter(([, block]) => !isCases(block));
    expect(policies.length).toBeGreaterThanOrEqual(3);
    for (const [page, block] of policies) expect(() => policyOf(block), page).not.toThrow();
  });

  test('has conditions as the table of examples has them', () => {
    const [, table = ''] = read('docs/policies.md').split('| about | condition |');
    const rows = table.split('\n\n')[0]?.split('\n').slice(2) ?? [];
    const conditions = rows.flatMap((row) =>
      [...row.matchAll(/`([^`]+)`(?=,| \||;)/g)].map(([, code]) => code as string),
    );
    expect(conditions.length).toBeGreaterThanOrEqual(10);
    for (const condition of conditions) {
      const rule = { name: 'example', condition, action: 'deny' };
      expect(policyOf(JSON.stringify({ version: '1.0', rules: [rule] })).rules, condition).toHaveLength(1);
    }
  });

  test('decides as the cases of its page say', () => {
    const cases = blocks.filter(([, block]) => isCases(block));
    expect(cases.length).toBeGreaterThan(0);
    for (const [page, block] of cases) {
      const first = yamlOf(page).find((other) => !isCases(other)) ?? '';
      const results = runPolicyTests(block, compilePolicies([policyOf(first)]), page);
      expect(results.map(({ name, failures }) => [name, failures])).toEqual(results.map(({ name }) => [name, []]));
    }
  });

  test('is called strict, moderate or permissive only as those that come along', () => {
    for (const page of PAGES)
      for (const [, name] of read(page).matchAll(/agentmesh:([a-z]+)/g))
        expect(Object.keys(PRESETS), `${name} in ${page}`).toContain(name);
  });
});

describe('every command in the documents', () => {
  const output = { write: () => undefined, isTty: false, columns: undefined };
  const program = createProgram({
    world: { out: output, err: output, version: '0.0.0' },
    act: () => async () => undefined,
  });

  test.each(PAGES)('%s names commands and flags that there are', (page) => {
    const commands = commandsIn(read(page));
    expect(commands.length).toBeGreaterThan(3);
    for (const line of commands) expect(problemWith(program, line), `${line} in ${page}`).toBe(undefined);
  });

  test('another command, and another flag, would be noticed', () => {
    expect(problemWith(program, 'policy chek acme.yaml')).toBe('no command "chek"');
    expect(problemWith(program, 'proxy --polcy strict -- cat')).toBe('no flag "--polcy"');
    expect(problemWith(program, 'proxy --policy strict -- cat --any')).toBe(undefined);
  });
});

/** In blocks of a shell or of a session, and in code within a sentence. */
function commandsIn(text: string): string[] {
  const shown = [...fenced(text, 'sh'), ...fenced(text, '')].flatMap((block) =>
    block
      .replaceAll('\\\n', ' ')
      .split('\n')
      .map((line) => line.replace(/^\$ /, '')),
  );
  const inline = [...text.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code as string);
  return [...shown, ...inline].flatMap((line) => {
    const [, words] = /^(?:npx )?agentmesh (?=[a-z-])(.*)$/.exec(line) ?? [];
    return words === undefined ? [] : [words];
  });
}

function problemWith(program: Command, line: string): string | undefined {
  const words = (line.split(/ (?:--(?= |$)|[#|>…])/)[0] ?? '').split(/ +/).filter((word) => word !== '');
  let command = program;
  let isNamed = true; // until a word is no name of a command
  let isValue = false; // of the flag before
  for (const word of words) {
    if (isValue) isValue = false;
    else if (/^--?[a-z]/.test(word)) {
      const [flag, value] = word.split('=');
      const option = [...command.options, ...program.options].find(({ long, short }) => [long, short].includes(flag));
      if (option === undefined) return `no flag "${flag}"`;
      isValue = value === undefined && (option.required || option.optional);
    } else if (isNamed) {
      const found = command.commands.find((each) => each.name() === word);
      if (found !== undefined) command = found;
      else if (command.commands.length > 0 && command.registeredArguments.length === 0) return `no command "${word}"`;
      else isNamed = false;
    }
  }
  return undefined;
}

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SIGNING_CONTEXTS } from '../../protocol/domains.ts';
import { toHex } from '../../protocol/encoding/bytes.ts';
import { digestOf } from '../../protocol/encoding/cid.ts';
import { DIMENSIONS } from '../../protocol/delegation/order.ts';
import { CHECKS } from '../../protocol/delegation/report.ts';
import { CHAIN_CODES } from '../../protocol/delegation/verify.ts';
import { ERRORS } from '../../protocol/errors.ts';
import { ENDINGS, REFUSALS } from '../../protocol/iatp/frames.ts';
import * as limits from '../../protocol/limits.ts';
import { COMMON_MEMBERS } from '../../protocol/log/entry-types.ts';
import { KINDS } from '../../protocol/statement/kinds.ts';
import {
  entryTypesTable,
  errorsTable,
  labelsTable,
  fieldsTable,
  limitRows,
  limitsTable,
  namedLimits,
  sectionOf,
  specPath,
} from './spec-tables.ts';
import { did, genesis, heartbeat, revocation } from './statement/worked-example.ts';

const root = join(import.meta.dirname, '..', '..');
const spec = readFileSync(specPath, 'utf8');
const REWRITE = 'run "npm run generate"';

/** Words in code font, in order. */
const codes = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);

describe('SPEC.md', () => {
  test('lists every error code, and every limit of the protocol with its value and reason', () => {
    expect(sectionOf(spec, 'Error codes'), REWRITE).toContain(errorsTable());
    expect(sectionOf(spec, 'Limits'), REWRITE).toContain(limitsTable(spec));
    expect(limitRows().map(({ name }) => name)).toEqual(Object.keys(limits));
  });

  test('lists every type of entry with its members, and every member that entries share', () => {
    expect(sectionOf(spec, 'Entry types'), REWRITE).toContain(entryTypesTable());
    const entries = sectionOf(spec, 'Audit entries');
    const table = entries.slice(entries.indexOf('| member of `data` |'));
    const rows = [...table.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, names = '']) => codes(names));
    expect(rows.sort()).toEqual([...COMMON_MEMBERS].sort());
  });

  test('lists every field of conditions with its type, and the grammar by which they are read', () => {
    const section = sectionOf(spec, 'Policy conditions');
    expect(section, REWRITE).toContain(fieldsTable());
    const source = readFileSync(join(root, 'protocol', 'policy', 'condition', 'syntax.ts'), 'utf8');
    const rules = [...source.matchAll(/^ \*   ([a-z]+ += .+)$/gm)].map(([, rule = '']) => rule.replaceAll(/ +/g, ' '));
    expect(rules.length).toBeGreaterThan(8);
    for (const rule of rules) expect(section.replaceAll(/ +/g, ' ')).toContain(rule);
  });

  test('lists every label of the detectors', () => {
    expect(sectionOf(spec, 'Labels and output rules'), REWRITE).toContain(labelsTable());
  });

  test('names no limit that there is not', () => {
    const named = [...namedLimits(spec)];
    expect(named.length).toBeGreaterThan(50);
    expect(named.filter((name) => !Object.hasOwn(limits, name))).toEqual([]);
  });

  test('has the closed lists of the code', () => {
    const chain = sectionOf(spec, 'Verifying a chain');
    const list = chain.slice(chain.indexOf('\nCodes:'));
    expect(codes(list.slice(0, list.indexOf('.\n')))).toEqual([...CHAIN_CODES]);
    for (const check of CHECKS) expect(chain, check).toContain(`**${check}**`);
    const handshake = sectionOf(spec, 'Handshake');
    const refusals = handshake.slice(handshake.indexOf('the code is one of'));
    expect(codes(refusals.slice(0, refusals.indexOf('Details stay')))).toEqual([...REFUSALS, 'chain:']);
    const sessions = sectionOf(spec, 'Sessions');
    const endings = sessions.slice(sessions.indexOf('one of `'));
    expect(codes(endings.slice(0, endings.indexOf(';')))).toEqual([...ENDINGS]);
    const attenuation = sectionOf(spec, 'Attenuation').matchAll(/^\| ([a-z, ]+) \|/gm);
    const dimensions = [...attenuation].flatMap(([, names = '']) => names.split(', '));
    expect(dimensions.filter((name) => name !== 'dimension')).toEqual([...DIMENSIONS]);
  });

  test('every code that it mentions as a verdict is one', () => {
    const words = codes(sectionOf(spec, 'The door'));
    const verdicts = words.filter((word) => /^[a-z]+(_[a-z]+)*$/.test(word) && word !== 'put');
    expect(verdicts.length).toBeGreaterThan(15);
    expect(verdicts.filter((word) => !Object.hasOwn(ERRORS, word))).toEqual([]);
  });

  test('has every signing context and every kind, with its limit, topic and life', () => {
    for (const context of Object.values(SIGNING_CONTEXTS))
      expect(sectionOf(spec, 'Signatures')).toContain(`\`${context}\``);
    const kinds = sectionOf(spec, 'Kinds');
    for (const [t, { bytesMax, topic }] of Object.entries(KINDS)) {
      const [, limit = '', row = ''] = new RegExp(`^\\| ${t} \\| \`(\\w+)\` \\| (.+)$`, 'm').exec(kinds) ?? [];
      expect((limits as Record<string, number>)[limit], t).toBe(bytesMax);
      expect(row.split(' | ')[0], t).toBe(topic ?? 'none');
    }
  });

  test('shows the example as it is', () => {
    const section = sectionOf(spec, 'Envelope');
    const facts = [
      did,
      heartbeat.id,
      toHex(revocation.digest),
      toHex(digestOf(revocation.envelope)),
      toHex(revocation.signatures[0] as Uint8Array).slice(0, 16),
    ];
    for (const fact of facts) expect(section).toContain(fact);
    expect(section).toContain(
      `payload of ${genesis.payloadBytes.length} bytes and an envelope of ${genesis.envelope.length}`,
    );
    expect(section).toContain(`payload of ${revocation.payloadBytes.length} bytes`);
    expect(section).toContain(`${revocation.envelope.length} bytes in all`);
  });

  test('has the sections that it links to', () => {
    const anchors = [...spec.matchAll(/^##+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    );
    const links = [...spec.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = '']) => anchor);
    expect(links.length).toBeGreaterThan(40);
    expect(links.filter((link) => !anchors.includes(link))).toEqual([]);
    const contents = [...spec.slice(0, spec.indexOf('\n## ')).matchAll(/\[([^\]]+)\]\(#/g)].map(([, title]) => title);
    for (const [, title] of spec.matchAll(/^## (.+)$/gm)) expect(contents).toContain(title);
  });

  test('has the sections that the sources cite', () => {
    const folders = ['protocol', 'daemon', 'sdk', 'cli', 'test', 'bench', 'examples'];
    const sources = folders.flatMap((folder) => sourcesIn(join(root, folder)));
    const cited = new Map<string, string>();
    for (const path of sources) {
      const text = readFileSync(path, 'utf8').replaceAll(/\n\s*(\*|\/\/) ?/g, ' ');
      for (const [, titles = ''] of text.matchAll(/SPEC(?:\.md)?,? ((?:"[A-Z][^"]{2,40}"(?:, )?)+)/g)) {
        for (const [, title = ''] of titles.matchAll(/"([^"]+)"/g)) cited.set(title, path);
      }
    }
    expect(cited.size).toBeGreaterThan(10);
    for (const [title, path] of cited) expect(spec, `"${title}", which ${path} cites`).toContain(`\n## ${title}\n`);
  });
});

function sourcesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join(folder, path));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []; // comes with its first feature
    throw error;
  }
}

/** Conditions and requests that have to do with each other: few fields, few values, some of them missing. */
import fc from 'fast-check';
import type { PolicyContext } from '../../../../protocol/policy/context.ts';

const WORDS = ['a', 'b', 'ab', 'read_file'] as const;
const NUMBERS = [-1, 0, 2, 2.5, 7] as const;
const word = fc.constantFrom(...WORDS);
const number = fc.constantFrom(...NUMBERS);
const quoted = (text: string): string => `'${text}'`;
const list = (items: readonly (string | number)[]): string => `[${items.join(', ')}]`;

const TEXT_FIELDS = ['tool.name', 'tool.server', 'agent.did', 'peer.did', "environment['name']", 'environment.zone'];
const NUMBER_FIELDS = ['trust.score', 'delegation.depth', 'data.bytes', 'time.hour'];
const BOOLEAN_FIELDS = ['data.contains_pii', 'data.contains_secret', 'tool.arguments.flag', 'facts.deep.flag'];
const TEXT_LISTS = ['tool.paths', 'delegation.capabilities', 'data.labels'];

const textField = fc.constantFrom(...TEXT_FIELDS);
const numberField = fc.constantFrom(...NUMBER_FIELDS);
const equality = fc.constantFrom('==', '!=');
const order = fc.constantFrom('==', '!=', '<', '<=', '>', '>=');

/** In the words that CEL has too, and of operands whose types are right. */
const celLeaf: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constant('action.type'), equality, word.map(quoted)).map((all) => all.join(' ')),
  },
  fc.tuple(textField, order, word.map(quoted)).map((all) => all.join(' ')),
  fc.tuple(word.map(quoted), order, textField).map((all) => all.join(' ')),
  fc.tuple(textField, equality, textField).map((all) => all.join(' ')),
  fc.tuple(numberField, order, number).map((all) => all.join(' ')),
  fc.tuple(number, order, numberField).map((all) => all.join(' ')),
  fc.tuple(numberField, order, numberField).map((all) => all.join(' ')),
  fc.constantFrom(...BOOLEAN_FIELDS),
  fc.tuple(fc.constantFrom(...BOOLEAN_FIELDS), equality, fc.boolean()).map((all) => all.join(' ')),
  fc
    .tuple(textField, fc.array(word.map(quoted), { minLength: 1, maxLength: 3 }))
    .map(([field, items]) => `${field} in ${list(items)}`),
  fc
    .tuple(fc.constant('action.type'), fc.array(word.map(quoted), { minLength: 1, maxLength: 3 }))
    .map(([field, items]) => `${field} in ${list(items)}`),
  fc.tuple(word.map(quoted), fc.constantFrom(...TEXT_LISTS)).map(([text, field]) => `${text} in ${field}`),
  fc
    .tuple(textField, fc.constantFrom('startsWith', 'endsWith', 'contains'), word)
    .map(([field, method, text]) => `${field}.${method}('${text}')`),
  fc.tuple(textField, fc.constantFrom('^a', 'b$', '^a?b*$', '[c-z]_')).map(([field, p]) => `${field}.matches('${p}')`),
  fc
    .tuple(fc.constantFrom(...TEXT_LISTS, 'tool.name'), order, fc.constantFrom(0, 1, 2))
    .map(([field, op, n]) => `size(${field}) ${op} ${n}`),
  fc
    .tuple(fc.constantFrom(...TEXT_LISTS), fc.constantFrom('exists', 'all'), word)
    .map(([field, macro, text]) => `${field}.${macro}(x, x == '${text}' || x.startsWith('r'))`),
  fc
    .tuple(fc.constantFrom(...TEXT_LISTS), fc.constantFrom('exists', 'all'), textField)
    .map(([field, macro, other]) => `${field}.${macro}(x, x == ${other})`),
  fc.constantFrom('true', 'false'),
);

const joined = (leaf: fc.Arbitrary<string>, not: string, and: string, or: string): fc.Arbitrary<string> =>
  fc.letrec<{ readonly condition: string }>((tie) => ({
    condition: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      leaf,
      tie('condition').map((of) => `${not}(${of})`),
      fc.tuple(tie('condition'), tie('condition')).map(([a, b]) => `(${a}) ${and} (${b})`),
      fc.tuple(tie('condition'), tie('condition')).map(([a, b]) => `(${a}) ${or} (${b})`),
    ),
  })).condition;

export const celCondition: fc.Arbitrary<string> = joined(celLeaf, '!', '&&', '||');

/** Everything else: fields of any type, names, paths, what may not be there. */
const leaf: fc.Arbitrary<string> = fc.oneof(
  celLeaf,
  fc
    .tuple(fc.constantFrom('facts.x', 'facts.y'), equality, fc.constantFrom("'a'", '2', 'true', 'null'))
    .map((all) => all.join(' ')),
  fc
    .tuple(fc.constantFrom('facts.x', 'facts.y'), order, fc.constantFrom("'a'", "'b'", '2', '0'))
    .map((all) => all.join(' ')),
  fc
    .tuple(
      fc.constantFrom('facts.x', 'facts.y', 'tool.name', 'action.type'),
      fc.constantFrom('in', 'not in'),
      fc.constantFrom('[]', "['a']", "['A', 'b']", "['b', 'ab', 'a']"),
    )
    .map((all) => all.join(' ')),
  fc.constantFrom('facts.x', 'facts.y', 'not facts.x'),
  fc
    .tuple(fc.constantFrom('==', '!='), fc.constantFrom("'A'", "'ａ'", "'B'"))
    .map(([op, text]) => `tool.name ${op} ${text}`),
  fc
    .tuple(fc.constantFrom('facts.x', 'tool.name'), fc.constantFrom('startsWith', 'endsWith', 'contains'), word)
    .map(([field, method, text]) => `${field}.${method}('${text}')`),
  fc
    .constantFrom('facts', 'facts.x', 'facts.deep', 'facts.deep.flag', 'tool', 'tool.name', 'action.type')
    .map((field) => `has(${field})`),
  fc.constantFrom('/a', '/a/b', '/').map((directory) => `under(facts.path, '${directory}')`),
  fc
    .tuple(fc.constantFrom('exists', 'all'), fc.constantFrom("x == 'a'", 'x > 0', "under(x, '/a')", 'x'))
    .map(([macro, body]) => `facts.list.${macro}(x, ${body})`),
);
export const anyCondition: fc.Arbitrary<string> = joined(leaf, 'not ', 'and', 'or');

const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const scalar = fc.oneof(word, number, fc.boolean(), fc.constant(null));

/** Objects without the members that are undefined, as JSON has them. */
const withoutUndefined = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

export const context: fc.Arbitrary<PolicyContext> = fc
  .record({
    action: fc.record({ type: word }),
    agent: fc.record({ did: word, organisation: word }),
    time: fc.constant({ iso: '2026-01-01T02:00:00Z', unix: 1_767_232_800, hour: 2, weekday: 4 }),
    tool: optional(
      fc.record({
        name: word,
        server: optional(word),
        arguments: optional(fc.record({ flag: optional(fc.boolean()) })),
        paths: optional(fc.array(word, { maxLength: 3 })),
      }),
    ),
    peer: optional(fc.record({ did: word, organisation: word })),
    trust: optional(fc.record({ score: number })),
    delegation: optional(fc.record({ depth: optional(number), capabilities: fc.array(word, { maxLength: 3 }) })),
    data: optional(
      fc.record({
        labels: fc.array(word, { maxLength: 3 }),
        contains_pii: fc.boolean(),
        contains_phi: fc.boolean(),
        contains_card: fc.boolean(),
        contains_secret: fc.boolean(),
        bytes: optional(number),
      }),
    ),
    environment: optional(fc.record({ name: optional(word), zone: optional(word) })),
    facts: optional(
      fc.record({
        x: optional(scalar),
        y: optional(scalar),
        path: optional(fc.constantFrom('/', '/a', '/a/b/c', '/ab', '/a/../b', 'a')),
        list: optional(fc.array(fc.oneof(scalar, fc.constantFrom('/a/x', '/b')), { maxLength: 3 })),
        deep: optional(fc.record({ flag: optional(fc.boolean()) })),
      }),
    ),
  })
  .map((value) => withoutUndefined(value) as PolicyContext);

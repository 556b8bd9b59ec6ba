/** Conditions of policies: read, evaluated, explained and compared, whatever they say. */
import { CONDITION_TEXT_MAX } from '../../protocol/limits.ts';
import { covers, isAlwaysTrue, isNeverTrue } from '../../protocol/policy/condition/analyse.ts';
import { compileCondition, isUnknown } from '../../protocol/policy/condition/compile.ts';
import { explainCondition } from '../../protocol/policy/condition/explain.ts';
import type { PolicyContext } from '../../protocol/policy/context.ts';
import type { FuzzedParser } from './parsers.ts';
import type { SeededRandom } from './random.ts';

const CONDITIONS = [
  "action.type == 'export' and data.contains_pii",
  "not (trust.score < 700) or tool.name not in ['a', 'b', \"c\"]",
  "tool.paths.all(p, under(p, '/srv') && !p.endsWith('.env'))",
  "has(tool.arguments['a b'][0].c) and tool.arguments.amount >= -1.5e3",
  "tool.name.matches(r'^(read|list)_\\w+$') || size(tool.arguments) > 3",
  "['a', 'b'].exists(x, tool.name.lower().startsWith(x)) and environment.name != 'prod'",
  "facts.a == null and 'pii.email' in data.labels and true != facts['\\u00e9\\'']",
];
const PIECES = `${CONDITIONS.join(' ')} facts.l.exists(x, x.y == 1) __proto__ constructor ( ) [ ] , . ' " \\ 1e9`.split(
  /(?<=[ .,()'[\]])|(?=[ .,()'[\]])/,
);

const contexts: readonly PolicyContext[] = [
  {
    action: { type: 'tool_call' },
    agent: { did: 'did:mesh:a', organisation: 'did:mesh:o' },
    time: { iso: '2026-01-01T02:00:00Z', unix: 1_767_232_800, hour: 2, weekday: 4 },
  },
  {
    action: { type: 'export' },
    agent: { did: 'did:mesh:a', organisation: 'did:mesh:o', name: 'worker' },
    time: { iso: '2026-01-01T02:00:00Z', unix: 1_767_232_800, hour: 2, weekday: 4 },
    tool: {
      name: 'Read_File',
      arguments: { amount: 3, 'a b': [{ c: null }], a: 'b'.repeat(5_000) },
      paths: ['/srv/a'],
    },
    facts: { a: null, l: [{ y: 1 }, 'x', 3, [], true], x: 'a' },
  },
];

const utf8 = new TextEncoder();
const lossy = new TextDecoder();

const pieces = (random: SeededRandom): string =>
  Array.from({ length: 1 + random.below(24) }, () => random.pick(PIECES)).join('');
/** Conditions that are right, around and beside each other. */
const joined = (random: SeededRandom): string =>
  Array.from(
    { length: 1 + random.below(4) },
    () => `${random.pick(['', 'not ', '!'])}(${random.pick(CONDITIONS)}) ${random.pick(['and', 'or', '&&', '||'])} `,
  ).join('') + random.pick(CONDITIONS);

export const CONDITION_PARSERS: readonly FuzzedParser[] = [
  {
    name: 'condition of a policy',
    start: () => {
      const known = CONDITIONS.map(compileCondition);
      return (bytes) => {
        const condition = compileCondition(lossy.decode(bytes));
        const [isNever, isAlways] = [isNeverTrue(condition) !== undefined, isAlwaysTrue(condition)];
        for (const context of contexts) {
          const truth = condition.evaluate(context);
          if (isUnknown(truth) && truth.because === '') throw new Error('it is unknown for no reason');
          if ((isNever && truth === true) || (isAlways && truth !== true)) throw new Error('it was proved otherwise');
          explainCondition(condition, context);
          for (const other of known)
            if (covers(other, condition) && truth === true && other.evaluate(context) !== true)
              throw new Error(`"${other.text}" does not cover it`);
        }
        if (!covers(condition, condition)) throw new Error('it does not cover itself');
      };
    },
    corpus: CONDITIONS.map((text) => utf8.encode(text)),
    codes: ['policy_invalid'],
    bytesMax: CONDITION_TEXT_MAX,
    make: (random) => utf8.encode(random.below(2) === 0 ? joined(random) : pieces(random)),
  },
];

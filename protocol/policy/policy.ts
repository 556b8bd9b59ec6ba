/**
 * A policy: a document with all that it extends (SPEC "Policies"). What is extended adds to it and is never weakened by
 * it: deny rules of a parent deny under every strategy, names of its rules cannot be used again, and defaults, output and
 * pinning are the strictest of all.
 */
import { concatBytes, toHex, u32be } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { POLICY_DIGEST_PREFIX } from '../domains.ts';
import { isMeshError, MeshError } from '../errors.ts';
import {
  OUTPUT_BYTES_DEFAULT,
  POLICY_EXTENDS_DEPTH_MAX,
  POLICY_EXTERNAL_FILE_BYTES_MAX,
  POLICY_FILES_MAX,
  POLICY_RULES_MAX,
} from '../limits.ts';
import { OUTPUT_ACTIONS, type OutputRules, PIN_ACTIONS, type PolicyRef } from './decision.ts';
import {
  type Conflict,
  type DefaultEffect,
  type ExternalPoint,
  parseDocument,
  type PinRules,
  type PolicyDocument,
  type Reference,
  type Rule,
  type Scope,
} from './document.ts';
import { isPresetName, PRESET_NAMES, PRESETS } from './presets.ts';

/**
 * Reads what a policy names. `path`: relative to the folder of the first document, with slashes, without "." or ".."; it
 * never leaves that folder, but a link there may: the port decides. `from`: who names it, as people know that text.
 */
export type ResolvePolicy = (path: string, from: string) => { readonly name: string; readonly text: string };

export interface ParsePolicyOptions {
  /** Of the policy, where its text says none. */
  readonly name: string;
  /** As people know the text; default: the name. */
  readonly file?: string;
  /** Without it nothing but "agentmesh:" can be extended. */
  readonly resolve?: ResolvePolicy;
}

export interface PolicyRule extends Rule {
  /** Of the document that has the rule. */
  readonly document: PolicyDocument;
  /** It comes from what the policy extends. */
  readonly isInherited: boolean;
}

export interface Policy extends PolicyRef {
  readonly file: string;
  readonly description?: string;
  /** Names and DIDs; null: every agent. */
  readonly agents: readonly string[] | null;
  readonly scope: Scope;
  readonly default: DefaultEffect;
  readonly conflict: Conflict;
  /** Own rules first, then those of what it extends, as they stand. */
  readonly rules: readonly PolicyRule[];
  readonly output: OutputRules;
  readonly pins: PinRules;
  readonly external: readonly ExternalPoint[];
  /** Itself first, then what it extends, each once. */
  readonly documents: readonly PolicyDocument[];
}

const BUILT_IN = 'agentmesh:';

/** Errors: policy_invalid, with file, line and column. */
export function parsePolicy(text: string, options: ParsePolicyOptions): Policy {
  const closure = new Closure(options.resolve);
  const root = parseDocument(text, options);
  closure.add(root, '', []);
  const { documents, files } = closure;
  const rules = documents.flatMap((document) =>
    document.rules.map((rule) => ({ ...rule, document, isInherited: document !== root })),
  );
  verifyRules(root, rules);
  return {
    name: root.name,
    digest: digestOfTexts([...documents.map((document) => document.text), ...files]),
    file: root.file,
    ...(root.description !== undefined && { description: root.description }),
    agents: root.agents,
    scope: root.scope,
    default: defaultOf(root, documents),
    conflict: root.conflict ?? 'deny_overrides',
    rules,
    output: strictestOutput(documents.map(({ output }) => output)),
    pins: strictestPins(documents.slice(1).concat(root)),
    external: closure.external,
    documents,
  };
}

/** SHA-256 over the prefix and each text's UTF-8 behind its length; lower-case hex. */
export function digestOfTexts(texts: readonly string[]): string {
  const utf8 = new TextEncoder();
  const parts = texts.flatMap((text) => {
    const bytes = utf8.encode(text);
    return [u32be(bytes.length), bytes];
  });
  return toHex(digestOf(concatBytes(POLICY_DIGEST_PREFIX, ...parts)));
}

/** Documents by their paths, depth first in the order in which they are named. */
class Closure {
  readonly documents: PolicyDocument[] = [];
  /** Texts that external points read, in the order of their documents. */
  readonly files: string[] = [];
  readonly external: ExternalPoint[] = [];
  readonly #resolve: ResolvePolicy | undefined;
  readonly #paths = new Set<string>();

  constructor(resolve: ResolvePolicy | undefined) {
    this.#resolve = resolve;
  }

  /** `above`: paths of the documents that led here. */
  add(document: PolicyDocument, path: string, above: readonly string[]): void {
    this.documents.push(document);
    this.#paths.add(path);
    for (const reference of document.references) {
      const parent = parentPath(reference, path);
      if (above.includes(parent) || parent === path)
        throw reference.invalid(`"${reference.text}" extends this policy itself, by way of ${above.length} others`);
      if (this.#paths.has(parent)) continue; // extended twice, by two that extend it: its rules are there
      if (above.length >= POLICY_EXTENDS_DEPTH_MAX)
        throw reference.invalid(`it extends through more than ${POLICY_EXTENDS_DEPTH_MAX} levels`);
      if (this.documents.length >= POLICY_FILES_MAX)
        throw reference.invalid(`it extends more than ${POLICY_FILES_MAX - 1} others`);
      this.add(this.#parent(reference, parent, document), parent, [...above, path]);
    }
    for (const point of document.external) this.#addExternal(point, path, document);
  }

  #parent(reference: Reference, path: string, from: PolicyDocument): PolicyDocument {
    if (!path.startsWith(BUILT_IN)) {
      const { name, text } = this.#read(reference, path, from);
      return parseDocument(text, { name, file: path });
    }
    const name = path.slice(BUILT_IN.length);
    if (!isPresetName(name))
      throw reference.invalid(
        `"${path}" is unknown, want one of ${PRESET_NAMES.map((each) => BUILT_IN + each).join(', ')}`,
      );
    return parseDocument(PRESETS[name], { name, file: path });
  }

  #addExternal(point: PolicyDocument['external'][number], path: string, from: PolicyDocument): void {
    const { policies, entities, ...rest } = point;
    const read = (reference: Reference): string => {
      const { text } = this.#read(reference, relativePath(reference, path), from);
      if (text.length > POLICY_EXTERNAL_FILE_BYTES_MAX)
        throw reference.invalid(
          `"${reference.text}" has ${text.length} letters, want <= ${POLICY_EXTERNAL_FILE_BYTES_MAX}`,
        );
      this.files.push(text);
      return text;
    };
    if (this.external.some(({ name }) => name === point.name))
      throw new MeshError(
        'policy_invalid',
        `Cannot use policy "${from.file}": decision point "${point.name}" is there already`,
      );
    this.external.push({
      ...rest,
      ...(policies !== undefined && { policies: read(policies) }),
      ...(entities !== undefined && { entities: read(entities) }),
    });
  }

  #read(reference: Reference, path: string, from: PolicyDocument): { readonly name: string; readonly text: string } {
    if (this.#resolve === undefined)
      throw reference.invalid(`it names "${reference.text}", and no files are read here`);
    try {
      return this.#resolve(path, from.file);
    } catch (cause) {
      if (isMeshError(cause) && cause.code === 'policy_invalid') throw cause;
      throw reference.invalid(
        `cannot read "${reference.text}": ${cause instanceof Error ? cause.message : String(cause)}`,
      );
    }
  }
}

/** A reference as a path from the folder of the first document. */
const parentPath = (reference: Reference, from: string): string =>
  reference.text.startsWith(BUILT_IN) ? reference.text : relativePath(reference, from);

function relativePath(reference: Reference, from: string): string {
  const { text } = reference;
  if (text.startsWith('/') || /[\\:\p{Cc}]/u.test(text))
    throw reference.invalid(`"${text}" is no relative path, want one like "base.yaml" or "../base.yaml"`);
  if (from.startsWith(BUILT_IN)) throw reference.invalid(`"${text}" is named by a policy that is no file`);
  const segments = from.split('/').slice(0, -1);
  for (const segment of text.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') segments.push(segment);
    else if (segments.pop() === undefined)
      throw reference.invalid(`"${text}" leaves the folder of the policy, want a path inside it`);
  }
  if (segments.length === 0) throw reference.invalid(`"${text}" names a folder, want a file`);
  return segments.join('/');
}

function verifyRules(root: PolicyDocument, rules: readonly PolicyRule[]): void {
  if (rules.length > POLICY_RULES_MAX)
    throw new MeshError(
      'policy_invalid',
      `Cannot use policy "${root.file}": it has ${rules.length} rules with those that it extends, want <= ${POLICY_RULES_MAX}`,
      { file: root.file, line: 1, column: 1 },
    );
  const byName = new Map<string, PolicyRule>();
  for (const rule of rules) {
    const other = byName.get(rule.name);
    if (other !== undefined) {
      // The one nearer to the root is what can be renamed.
      const { line, column } = other.place;
      throw new MeshError(
        'policy_invalid',
        `Cannot use policy "${other.document.file}", line ${line}, column ${column}: rule "${rule.name}" is one of "${rule.document.file}" too, which it extends; want another name`,
        { file: other.document.file, line, column, field: rule.name },
      );
    }
    byName.set(rule.name, rule);
  }
}

/** A document that says none leaves it to the others; deny where nobody says one. */
function defaultOf(root: PolicyDocument, documents: readonly PolicyDocument[]): DefaultEffect {
  const denying = documents.find((document) => document !== root && document.default?.effect === 'deny');
  if (root.default?.effect === 'allow' && denying !== undefined)
    throw root.default.item.invalid(`"default" is "allow", and "${denying.file}", which it extends, says deny`);
  const said = documents.flatMap((document) => document.default?.effect ?? []);
  return said.length > 0 && !said.includes('deny') ? 'allow' : 'deny';
}

const stricter = <T>(order: readonly T[], a: T, b: T): T => (order.indexOf(a) >= order.indexOf(b) ? a : b);

export const OPEN_OUTPUT: OutputRules = {
  secrets: 'allow',
  pii: 'allow',
  phi: 'allow',
  cards: 'allow',
  instructions: 'allow',
  invisible: 'allow',
  bytesMax: OUTPUT_BYTES_DEFAULT,
};

/** Member by member. A size that nobody names is OUTPUT_BYTES_DEFAULT. */
export function strictestOutput(all: readonly Partial<OutputRules>[]): OutputRules {
  const strictest = (key: Exclude<keyof OutputRules, 'bytesMax'>): OutputRules['secrets'] =>
    all.reduce<OutputRules['secrets']>(
      (before, rules) => stricter(OUTPUT_ACTIONS, before, rules[key] ?? 'allow'),
      'allow',
    );
  const sizes = all.flatMap(({ bytesMax }) => bytesMax ?? []);
  return {
    secrets: strictest('secrets'),
    pii: strictest('pii'),
    phi: strictest('phi'),
    cards: strictest('cards'),
    instructions: strictest('instructions'),
    invisible: strictest('invisible'),
    bytesMax: sizes.length === 0 ? OUTPUT_BYTES_DEFAULT : Math.min(...sizes),
  };
}

/** Of equally strict ones the first: whoever comes first names the approvers. Warn where nobody says anything. */
export function strictestPins(all: readonly { readonly pins?: PinRules }[]): PinRules {
  let found: PinRules | undefined;
  for (const { pins } of all)
    if (
      pins !== undefined &&
      (found === undefined || PIN_ACTIONS.indexOf(pins.changes) > PIN_ACTIONS.indexOf(found.changes))
    )
      found = pins;
  return found ?? { changes: 'warn', approvers: [] };
}

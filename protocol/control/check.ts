import type { Static, TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import type { TLocalizedValidationError } from 'typebox/error';
import { type ErrorCode, MeshError } from '../errors.ts';

const compiled = new WeakMap<TSchema, Validator>();

/**
 * The value with the schema's type. Nothing is converted or dropped. The message names the field and what was wanted,
 * never what was there: it may be a secret in the wrong place. Errors: `code`.
 */
export function checkJson<S extends TSchema>(schema: S, value: unknown, what: string, code: ErrorCode): Static<S> {
  let validator = compiled.get(schema);
  if (validator === undefined) compiled.set(schema, (validator = Compile(schema)));
  if (validator.Check(value)) return value as Static<S>;
  const { field, want } = explain(schema, validator.Errors(value));
  const where = field === '' ? what : `"${field}" in ${what}`;
  throw new MeshError(code, `Cannot accept ${where}: want ${want}`, { field, want });
}

interface Complaint {
  readonly field: string;
  readonly want: string;
}

/** Of all complaints the innermost: outer ones only repeat that something in them is wrong. */
function explain(schema: TSchema, errors: readonly TLocalizedValidationError[]): Complaint {
  const own = errors.filter(({ keyword }) => !['boolean', 'anyOf', 'oneOf'].includes(keyword));
  const complaints = own.map((error) => complaintOf(schema, error));
  const depth = ({ field }: Complaint): number => field.split(/[.[]/).length;
  const best = complaints.toSorted((a, b) => depth(b) - depth(a))[0] ?? { field: '', want: 'what the schema says' };
  return { field: best.field.length > 128 ? `${best.field.slice(0, 127)}…` : best.field, want: best.want };
}

function complaintOf(schema: TSchema, error: TLocalizedValidationError): Complaint {
  const field = fieldOf(error.instancePath);
  if (error.keyword === 'additionalProperties') {
    return { field: join(field, error.params.additionalProperties[0] ?? ''), want: 'no such field' };
  }
  if (error.keyword === 'required') {
    return { field: join(field, error.params.requiredProperties[0] ?? ''), want: 'it to be present' };
  }
  const want = descriptionAt(schema, error.schemaPath) ?? error.message.replace(/^(?:want|must be) /, '');
  return { field, want };
}

/** What the schema at a path like "#/properties/can" says of itself. */
function descriptionAt(schema: TSchema, path: string): string | undefined {
  let at: unknown = schema;
  for (const part of path.split('/').slice(1)) {
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[part] : undefined;
  }
  const description = typeof at === 'object' && at !== null && 'description' in at ? at.description : undefined;
  return typeof description === 'string' && description.length < 200 ? description : undefined;
}

/** /capabilities/0/can as capabilities[0].can */
const fieldOf = (pointer: string): string =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : join(path, part)), '');

const join = (path: string, part: string): string => (path === '' || part === '' ? path + part : `${path}.${part}`);

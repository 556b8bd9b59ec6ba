/**
 * Cedar as a decision point (docs.cedarpolicy.com): principal Agent::"<DID>", action Action::"<type>", resource
 * Tool::"<server>/<name>", Resource::"<URI>", Prompt::"<name>" or Any::"", and the context as policies know it.
 *
 * Cedar knows no null and no fractions: the one is left out, the other becomes text. A policy that fails while it is
 * evaluated would be skipped by Cedar, a `forbid` too; here it denies.
 */
import type * as CedarWasm from '@cedar-policy/cedar-wasm/nodejs';
import { MeshError } from '../../protocol/index.ts';
import type { DecisionPoint, ExternalPoint, PolicyContext } from '../../protocol/policy/index.ts';

type Cedar = typeof CedarWasm;
type CedarValue = boolean | number | string | CedarValue[] | { [name: string]: CedarValue };

/** Errors: policy_invalid. */
export function createCedarPoint({ name, policies = '', entities = '[]' }: ExternalPoint): DecisionPoint {
  const known = parseEntities(name, entities);
  let loading: Promise<Cedar> | undefined;
  const load = async (): Promise<Cedar> => {
    const cedar = await import('@cedar-policy/cedar-wasm/nodejs'); // 13 MB of it, for whoever asks
    const parsed = cedar.checkParsePolicySet({ staticPolicies: policies });
    if (parsed.type === 'success') return cedar;
    const why = parsed.errors.map(({ message }) => message).join('; ');
    throw new MeshError('policy_invalid', `Cannot use the Cedar policies of "${name}": ${why}`, { field: name });
  };
  return {
    name,
    async decide(context) {
      loading ??= load();
      const cedar = await loading;
      const answer = cedar.isAuthorized({
        principal: { type: 'Agent', id: context.agent.did },
        action: { type: 'Action', id: context.action.type },
        resource: resourceOf(context),
        context: cedarOf(context) as Record<string, CedarValue>,
        policies: { staticPolicies: policies },
        entities: known as Parameters<Cedar['isAuthorized']>[0]['entities'],
      });
      if (answer.type === 'failure') throw failed(name, answer.errors);
      const { decision, diagnostics } = answer.response;
      if (diagnostics.errors.length > 0)
        throw failed(
          name,
          diagnostics.errors.map(({ error }) => error),
        );
      const reason = diagnostics.reason.length === 0 ? 'no policy permits it' : `by ${diagnostics.reason.join(', ')}`;
      return { effect: decision === 'allow' ? 'allow' : 'deny', reason };
    },
  };
}

function parseEntities(name: string, text: string): unknown {
  try {
    const entities: unknown = JSON.parse(text);
    if (Array.isArray(entities)) return entities;
  } catch {
    // Told below, without the engine's message, which quotes the text.
  }
  throw new MeshError('policy_invalid', `Cannot use the entities of "${name}": want a JSON list`, { field: name });
}

function resourceOf({ tool, resource, prompt }: PolicyContext): { type: string; id: string } {
  if (tool !== undefined)
    return { type: 'Tool', id: tool.server === undefined ? tool.name : `${tool.server}/${tool.name}` };
  if (resource !== undefined) return { type: 'Resource', id: resource.uri };
  return prompt === undefined ? { type: 'Any', id: '' } : { type: 'Prompt', id: prompt.name };
}

/** Errors: malformed, for what Cedar would take for a value of its own. */
function cedarOf(value: unknown): CedarValue | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : String(value);
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.map(cedarOf).filter((item) => item !== undefined);
  if (typeof value !== 'object' || value === null) return undefined;
  const out: Record<string, CedarValue> = {};
  for (const [key, member] of Object.entries(value)) {
    if (key === '__entity' || key === '__extn')
      throw new MeshError(
        'malformed',
        `Cannot ask Cedar: a member is named "${key}", which means something else there`,
      );
    const converted = cedarOf(member);
    if (converted !== undefined) out[key] = converted;
  }
  return out;
}

const failed = (name: string, errors: readonly { readonly message: string }[]): MeshError =>
  new MeshError('failed', `Cannot decide by "${name}": ${errors.map(({ message }) => message).join('; ')}`);

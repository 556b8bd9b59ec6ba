/** What a result says of how it came about, for whoever asked for that: only what was checked, and where to look it up. */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import type { GateDescription, Verdict } from '../policy/gate.ts';
import { isObject } from './messages.ts';
import { visibleText } from './visible.ts';

/** Key of `_meta` for it, where a text would not fit the result's schema. */
export const META_VERIFICATION = 'agentmesh/verification';
const DIGEST_LETTERS = 12;

export interface Footer {
  readonly verdict: Verdict;
  readonly description: GateDescription;
  /** The tool declares what its results look like. */
  readonly hasSchema: boolean;
}

/** The result of a tool call with it; one that asks for input or names a task stays as it is. */
export function footed(result: Json, footer: Footer): Json {
  if (!isObject(result)) return result;
  const { content, structuredContent, _meta: meta } = result;
  if (!Array.isArray(content)) return result;
  if (!footer.hasSchema && structuredContent === undefined)
    return { ...result, content: [...(content as readonly Json[]), { type: 'text', text: footerText(footer) }] };
  return { ...result, _meta: { ...(isObject(meta) ? meta : {}), [META_VERIFICATION]: verificationOf(footer) } };
}

function footerText({ description: { agent }, verdict: { policy, index } }: Footer): string {
  const entry = index === null ? '' : ` · log entry ${index} (agentmesh log show ${index})`;
  const name = visibleText(policy.name);
  return `\n> Verified by AgentMesh · agent ${visibleText(agent)} · allowed by policy "${name}" (${policy.digest.slice(0, DIGEST_LETTERS)})${entry}`;
}

const verificationOf = ({ description: { agent }, verdict: { policy, rule, index } }: Footer): JsonObject => ({
  agent,
  policy: { name: policy.name, digest: policy.digest },
  rule,
  ...(index === null ? {} : { index }),
});

/**
 * OPA over its REST data API: POST of `{"input": context}` to a document, whose result is true, false, or an object with
 * `effect` ("allow", "deny", "require_approval") or `allow`, and perhaps `reason`. Whatever else is no answer.
 */
import { limits, MeshError } from '../../protocol/index.ts';
import type { DecisionPoint, ExternalPoint, PointAnswer } from '../../protocol/policy/index.ts';

/** Errors: policy_invalid. */
export function createOpaPoint({ name, url = '' }: ExternalPoint): DecisionPoint {
  if (!/^https?:\/\//.test(url) || !URL.canParse(url))
    throw new MeshError('policy_invalid', `Cannot ask "${name}": its url is "${url}", want http or https`, {
      field: name,
    });
  return {
    name,
    async decide(context, signal) {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify({ input: context }),
        redirect: 'error', // whoever is asked is who was named
        signal,
      });
      if (!response.ok)
        throw new MeshError('failed', `Cannot decide by "${name}": it answered with status ${response.status}`);
      return answerOf(name, JSON.parse(await boundedText(name, response)));
    },
  };
}

async function boundedText(name: string, { body }: Response): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let text = '';
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > limits.POLICY_ANSWER_BYTES_MAX)
      throw new MeshError(
        'too_large',
        `Cannot decide by "${name}": it answered with more than ${limits.POLICY_ANSWER_BYTES_MAX} bytes`,
      );
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function answerOf(name: string, value: unknown): PointAnswer {
  const result = isRecord(value) ? value['result'] : undefined;
  if (typeof result === 'boolean') return { effect: result ? 'allow' : 'deny', reason: '' };
  if (isRecord(result)) {
    const { effect, allow, reason } = result;
    const why = typeof reason === 'string' ? reason : '';
    if (effect === 'allow' || effect === 'deny' || effect === 'require_approval') return { effect, reason: why };
    if (effect === undefined && typeof allow === 'boolean') return { effect: allow ? 'allow' : 'deny', reason: why };
  }
  throw new MeshError('failed', `Cannot decide by "${name}": its answer has no result that there is`);
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

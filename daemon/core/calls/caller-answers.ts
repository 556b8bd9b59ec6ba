/** Answers to calls as the caller reads them. */
import {
  type Id,
  idKey,
  isObject,
  parseMessage,
  type ErrorMessage,
  type ResultMessage,
  scanJson,
} from '../../../protocol/mcp/index.ts';
import { MeshError } from '../../../protocol/index.ts';
import type { Receipt } from '../../../protocol/receipt/index.ts';

export type Answer = ResultMessage | ErrorMessage;

/** The answer to this request; undefined: to whichever. Errors: malformed, too_large; conflict (it is to another, or is none). */
export function readAnswer(body: Uint8Array, request: Id | undefined): Answer {
  const message = parseMessage(body, 'server');
  const isAnswer = message?.kind === 'result' || message?.kind === 'error';
  if (isAnswer && message.id !== null && (request === undefined || idKey(message.id) === idKey(request)))
    return message;
  throw new MeshError('conflict', 'Cannot accept a result: it is no answer to the call', { field: 'id' });
}

/** Who signs that all went well does not answer that it failed. Errors: conflict. */
export function verifyOutcome({ out }: Receipt, answer: Answer): void {
  const isFailed = answer.kind === 'error' || (isObject(answer.result) && answer.result['isError'] === true);
  if (out !== 'ok' || !isFailed) return;
  throw new MeshError('conflict', 'Cannot accept a receipt: its "out" is "ok", and the answer is an error', {
    field: 'out',
    is: out,
  });
}

/** The same answer to a request that has another id. All other letters stay. */
export function renamed(answer: Answer, id: Id): Answer {
  if (answer.id !== null && idKey(answer.id) === idKey(id)) return answer;
  const text = new TextDecoder().decode(answer.bytes);
  const [start, end] = scanJson(text, Number.POSITIVE_INFINITY).members.get('id') ?? [0, 0];
  return {
    ...answer,
    id,
    bytes: new TextEncoder().encode(text.slice(0, start) + JSON.stringify(id) + text.slice(end)),
  };
}

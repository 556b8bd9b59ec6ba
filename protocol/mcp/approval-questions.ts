/**
 * How a client's person hears that something waits for an approval, in both eras. Nobody approves by answering: the
 * answer says whether to go on waiting. Approvals are signed, by who is entitled to them.
 */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { MCP_STATE_TEXT_MAX } from '../limits.ts';
import type { PendingApproval } from '../policy/gate.ts';
import { type Id, isObject, parseMessage, type RequestMessage } from './messages.ts';

/** Key of our question among those of a server. */
const QUESTION = 'agentmesh/approval';
const STATE = 'agentmesh/1 ';

export const APPROVAL_QUESTION_METHOD = 'elicitation/create';

/** What an approver types. */
export const approveCommand = (id: string): string => `agentmesh approvals approve ${id} --reason WHY`;

/** What lets it through; `approvedBy`: the organisation whose people approve, where the reader is of another. */
export const approvalStep = (id: string, approvedBy: string | undefined): string =>
  approvedBy === undefined ? `"${approveCommand(id)}"` : `approval ${id} by somebody of "${approvedBy}"`;

/** Whether this client shows a question. In forms: a URL would be for approving, which needs a key. */
export function canAsk(capabilities: JsonObject | undefined): boolean {
  const elicitation = capabilities?.['elicitation'];
  return isObject(elicitation) && (Object.keys(elicitation).length === 0 || isObject(elicitation['form']));
}

export function questionOf(approval: PendingApproval, what: string, approvedBy?: string): JsonObject {
  const { id, approvers, quorum, expiresAt } = approval;
  const who = approvers.length === 0 ? '' : ` It is for ${approvers.join(', ')} to decide.`;
  const many = quorum > 1 ? ` ${quorum} approvals are needed.` : '';
  return {
    message:
      `AgentMesh holds ${what} until somebody approves it, at most until ${expiresAt}.${who}${many} ` +
      `${approvedBy === undefined ? `To approve: ${approveCommand(id)}` : `It takes ${approvalStep(id, approvedBy)}`}. Accept to wait on, decline to give up now.`,
    requestedSchema: { type: 'object', properties: {} },
  };
}

/** What a held request is, for people. */
export function whatOf({ method, params }: RequestMessage, server: string): string {
  const name = isObject(params) ? (params['name'] ?? params['uri']) : undefined;
  return typeof name === 'string'
    ? `${method} of "${name.slice(0, 128)}" at "${server}"`
    : `a request "${method}" to "${server}"`;
}

/** A sign of life to who gave a progress token. It rises by so little that the server's own steps come after it. */
export const progressOf = (token: Json, count: number, message: string): JsonObject => ({
  progressToken: token,
  progress: count / 1_000_000,
  message,
});

/** MCP 2026-07-28: the call comes back with an answer and with what is put away here. Undefined: it is too much. */
export function inputRequired(
  approval: PendingApproval,
  message: RequestMessage,
  what: string,
  approvedBy?: string,
): JsonObject | undefined {
  const params = isObject(message.params) ? message.params : {};
  const { requestState, inputResponses } = params;
  const kept = {
    approval: approval.id,
    ...(requestState === undefined ? {} : { requestState }),
    ...(inputResponses === undefined ? {} : { inputResponses }),
  };
  const state = STATE + JSON.stringify(kept);
  if (state.length > MCP_STATE_TEXT_MAX) return undefined;
  return {
    resultType: 'input_required',
    inputRequests: {
      [QUESTION]: {
        method: APPROVAL_QUESTION_METHOD,
        params: { mode: 'form', ...questionOf(approval, what, approvedBy) },
      },
    },
    requestState: state,
  };
}

export interface Return {
  readonly approval: string;
  readonly isWaitingOn: boolean;
  /** The request as it was before it was held. */
  readonly message: RequestMessage;
}

/**
 * A call that comes back with the answer to our question. What it carries is no proof of anything and gives no right:
 * the call is judged like any other. Undefined: it is none of ours. Errors: as of `parseMessage`.
 */
export function returnOf(message: RequestMessage): Return | undefined {
  const { params } = message;
  if (!isObject(params) || typeof params['requestState'] !== 'string' || !params['requestState'].startsWith(STATE))
    return undefined;
  if (message.hasInexact) return undefined; // no such request was asked to come back
  const { requestState: carried, inputResponses: answers, ...rest } = params;
  const kept = keptIn(typeof carried === 'string' ? carried : '');
  const answer = isObject(answers) ? answers[QUESTION] : undefined;
  const { approval, requestState, inputResponses } = kept;
  const restored: JsonObject = {
    ...rest,
    ...(requestState === undefined ? {} : { requestState }),
    ...(inputResponses === undefined ? {} : { inputResponses }),
  };
  return {
    approval: typeof approval === 'string' ? approval : '',
    isWaitingOn: isObject(answer) && answer['action'] === 'accept',
    // Read like any other: what was put away passed through the client's hands.
    message: parseMessage(requestMessage(message.id, message.method, restored).bytes, 'client') as RequestMessage,
  };
}

function keptIn(state: string): JsonObject {
  try {
    const kept: unknown = JSON.parse(state.slice(STATE.length));
    return isObject(kept) ? kept : {};
  } catch {
    return {}; // not what was put there: then nothing is known of an earlier round
  }
}

const utf8Encoder = new TextEncoder();

/** A request of our own making, as if it had been read. */
export function requestMessage(id: Id, method: string, params?: JsonObject): RequestMessage {
  const members = { method, ...(params === undefined ? {} : { params }) };
  const bytes = utf8Encoder.encode(JSON.stringify({ jsonrpc: '2.0', id, ...members }));
  return { kind: 'request', id, ...members, bytes, hasInexact: false };
}

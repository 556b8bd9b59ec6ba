/** What a client is shown of a server's lists, and which of its tools may be called. */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { findingsOfDefinition, similarNames } from '../detect/index.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { MCP_LIST_PAGES_MAX, MCP_NAME_TEXT_MAX, MCP_TOOLS_MAX, URI_TEXT_MAX } from '../limits.ts';
import type { GateRequest, ToolDefinition, ToolState } from '../policy/gate.ts';
import { approvalStep, approveCommand } from './approval-questions.ts';
import { META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION, metaOf } from './era.ts';
import type { GovernedContext } from './governed.ts';
import { createKnownTools, isHeldBack } from './known-tools.ts';
import { memberRequest, membersOf } from './listing.ts';
import { type ErrorMessage, isObject, type RequestMessage, type ResultMessage, RPC_CODES } from './messages.ts';
import type { CheckedTools, KnownTools, ReportLevel, SessionComponents, SessionOptions } from './ports.ts';

const META_CLIENT_INFO = 'io.modelcontextprotocol/clientInfo';

export interface ToolChecksComponents {
  readonly gate: SessionComponents<never>['gate'];
  readonly context: GovernedContext;
  readonly tools: KnownTools | undefined;
  /** Asks the server something of our own. Errors: timeout, closed. */
  readonly ask: (method: string, params: JsonObject) => Promise<ResultMessage | ErrorMessage>;
  /** At most `max` times of a kind. */
  readonly tell: (kind: string, level: ReportLevel, text: string, max?: number) => void;
}

export class ToolChecks {
  readonly #gate: ToolChecksComponents['gate'];
  readonly #context: GovernedContext;
  readonly #tools: KnownTools;
  readonly #ask: ToolChecksComponents['ask'];
  readonly #tell: ToolChecksComponents['tell'];
  #isListing = true;
  readonly #about: Pick<SessionOptions, 'server' | 'serverOrigin' | 'approvedBy'>;

  constructor({ gate, context, tools, ask, tell }: ToolChecksComponents, about: SessionOptions) {
    this.#gate = gate;
    this.#context = context;
    this.#tools = tools ?? createKnownTools();
    this.#ask = ask;
    this.#tell = tell;
    this.#about = about;
  }

  /** The server says that they changed. */
  setChanged(): void {
    this.#tools.setChanged();
  }

  hasOutputSchema(name: string): boolean {
    return this.#tools.hasOutputSchema(name);
  }

  /** Which members of a list are shown. Errors: malformed, and those of the gate. */
  async kept(asked: RequestMessage, message: ResultMessage, signal: AbortSignal): Promise<readonly boolean[]> {
    const { method } = asked;
    const members = membersOf(method, message.result);
    const requests = members.map((member) => this.#memberRequest(method, member));
    const isTools = method === 'tools/list';
    const [allowed, states] = await Promise.all([
      this.#allowed(requests, signal),
      isTools
        ? this.#statesOf(
            asked,
            message,
            members.filter((_, i) => requests[i] !== undefined),
          )
        : undefined,
    ]);
    return requests.map((request, i) => {
      if (request === undefined || allowed[i] !== true) return false;
      if (!isTools) return true;
      const name = request.tool?.name;
      const own = states?.filter((state) => state.name === name) ?? [];
      return own.length > 0 && !own.some(isHeldBack);
    });
  }

  /** Undefined: nothing that could be judged, so nothing that is shown. */
  #memberRequest(method: string, member: Json): GateRequest | undefined {
    let request: GateRequest | undefined;
    try {
      request = memberRequest(method, member, this.#context);
    } catch (error) {
      if (!isMeshError(error)) throw error;
    }
    const name = request?.tool?.name ?? request?.prompt?.name;
    const isFit =
      request !== undefined &&
      (name === undefined || (name !== '' && name.length <= MCP_NAME_TEXT_MAX)) &&
      (request.resource?.uri.length ?? 1) <= URI_TEXT_MAX;
    if (!isFit) this.#tell(`member ${method}`, 'warn', `A member of "${method}" is not shown: it cannot be judged`);
    return isFit ? request : undefined;
  }

  async #allowed(requests: readonly (GateRequest | undefined)[], signal: AbortSignal): Promise<readonly boolean[]> {
    const asked = requests.filter((request) => request !== undefined);
    const answers: boolean[] = [];
    for (let at = 0; at < asked.length; at += MCP_TOOLS_MAX)
      answers.push(...(await this.#gate.filter(asked.slice(at, at + MCP_TOOLS_MAX), { signal })));
    let next = 0;
    return requests.map((request) => request !== undefined && answers[next++] === true);
  }

  /** What the client is shown now, against what was seen first. */
  async #statesOf(
    asked: RequestMessage,
    message: ResultMessage,
    shown: readonly Json[],
  ): Promise<readonly ToolState[]> {
    const definitions = shown as readonly ToolDefinition[];
    const isWhole = !hasCursor(asked.params, 'cursor') && !hasCursor(message.result, 'nextCursor');
    const { changes } = this.#tools;
    // A page alone does not say what else there is.
    if (!isWhole) await this.#complete(asked);
    const states = await this.#check(definitions, isWhole);
    this.#tools.keep({ states, definitions }, isWhole ? { changes } : undefined);
    return states;
  }

  /** Errors: tool_changed, and whatever keeps the tools from being looked at. */
  async verify(name: string, asked: RequestMessage): Promise<void> {
    if (this.#tools.isComplete) {
      const state = this.#tools.stateOf(name);
      if (state !== undefined && !isHeldBack(state)) return;
      // Not again and again where it is not listed at all.
      if (state !== undefined) this.#tools.setChanged(); // somebody may have approved of it since
    }
    await this.#complete(asked);
    const state = this.#tools.stateOf(name) ?? (await this.#unlisted(name));
    if (state === undefined || !isHeldBack(state)) return;
    const { approval } = state;
    const next =
      approval === undefined
        ? 'policy takes no changed tool'
        : `until ${approval.expiresAt} ${approvalStep(approval.id, this.#about.approvedBy)} lets it be called`;
    const is = state.state === 'new' ? 'was not there when the tools were first seen' : 'is not what was seen first';
    throw new MeshError('tool_changed', `Cannot call "${name}": its definition ${is}`, { next });
  }

  /** A server may carry out what it does not list: to a policy that is a tool of which only the name is known. */
  async #unlisted(name: string): Promise<ToolState | undefined> {
    if (!this.#isListing) return undefined; // then there is nothing that it could have been pinned by
    const [state] = await this.#check([{ name }], false);
    return state;
  }

  async #complete(asked: RequestMessage): Promise<void> {
    if (await this.#tools.complete(() => this.#fetch(asked))) return;
    throw new MeshError('busy', `Cannot look at the tools of "${this.#about.server}": they change all the time`);
  }

  async #fetch(asked: RequestMessage): Promise<CheckedTools> {
    const { server } = this.#about;
    const definitions: ToolDefinition[] = [];
    const meta = statelessMetaOf(asked);
    let cursor: Json | undefined;
    for (let page = 0; page < MCP_LIST_PAGES_MAX; page++) {
      const params = { ...(cursor !== undefined && { cursor }), ...(meta !== undefined && { _meta: meta }) };
      const answer = await this.#ask('tools/list', params);
      if (answer.kind === 'error') {
        if (isObject(answer.error) && answer.error['code'] === RPC_CODES.methodNotFound) {
          this.#isListing = false;
          return { states: [], definitions: [] };
        }
        throw new MeshError('failed', `Cannot look at the tools of "${server}": it answers tools/list with an error`);
      }
      for (const member of membersOf('tools/list', answer.result))
        if (this.#memberRequest('tools/list', member) !== undefined) definitions.push(member as ToolDefinition);
      cursor = isObject(answer.result) ? (answer.result['nextCursor'] ?? undefined) : undefined;
      if (cursor === undefined) return { states: await this.#check(definitions, true), definitions };
    }
    throw new MeshError(
      'too_large',
      `Cannot look at the tools of "${server}": its list has more than ${MCP_LIST_PAGES_MAX} pages`,
    );
  }

  async #check(definitions: readonly ToolDefinition[], isComplete: boolean): Promise<readonly ToolState[]> {
    const { server, serverOrigin } = this.#about;
    if (definitions.length > MCP_TOOLS_MAX)
      throw new MeshError('too_large', `Cannot look at the tools of "${server}": it has more than ${MCP_TOOLS_MAX}`, {
        want: MCP_TOOLS_MAX,
      });
    if (definitions.length === 0 && !isComplete) return [];
    const origin = serverOrigin === undefined ? {} : { origin: serverOrigin };
    const states = await this.#gate.checkTools(server, definitions, { isComplete, ...origin });
    this.#report(definitions, states);
    return states;
  }

  #report(definitions: readonly ToolDefinition[], states: readonly ToolState[]): void {
    const { server } = this.#about;
    for (const definition of definitions) {
      const labels = [...new Set(findingsOfDefinition(definition).map(({ label }) => label))];
      if (labels.length > 0)
        this.#tell(
          `finding ${nameOf(definition)}`,
          'warn',
          `The definition of tool "${nameOf(definition)}" of "${server}" holds ${labels.join(', ')}: read it before you use it`,
          1,
        );
    }
    for (const { name, state, action, diff, approval, shadows = [] } of states) {
      if (shadows.length > 0) {
        const others = shadows.map(({ server: of, tool }) => `"${tool}" of "${of}"`).join(', ');
        this.#tell(`shadow ${name}`, 'warn', `Tool "${name}" of "${server}" may be taken for ${others}`, 1);
      }
      if (state === 'pinned' || action === 'ignore') continue;
      const next = approval === undefined ? '' : `; ${approveCommand(approval.id)} lets it be used`;
      const what = state === 'new' ? 'is new' : 'changed';
      this.#tell(
        `tool ${name}`,
        'warn',
        `Tool "${name}" of "${server}" ${what}${next}${diff === undefined ? '' : `\n${diff}`}`,
        1,
      );
    }
    const names = definitions.map((definition) => nameOf(definition));
    for (const { a, b } of similarNames(names, names))
      if (a < b)
        this.#tell(
          `similar ${a} ${b}`,
          'warn',
          `Tools "${a}" and "${b}" of "${server}" may be taken for each other`,
          1,
        );
  }
}

/** Of a tool, by its definition or call. */
export const nameOf = ({ name }: JsonObject): string => (typeof name === 'string' ? name : '');

const hasCursor = (value: Json | undefined, member: string): boolean =>
  isObject(value) && value[member] !== undefined && value[member] !== null;

/** What a stateless request says of its client, for one of our own on its behalf. */
function statelessMetaOf(message: RequestMessage): JsonObject | undefined {
  const meta = metaOf(message);
  if (meta?.[META_PROTOCOL_VERSION] === undefined) return undefined;
  const kept: Record<string, Json> = {};
  for (const name of [META_PROTOCOL_VERSION, META_CLIENT_INFO, META_CLIENT_CAPABILITIES]) {
    const value = meta[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

/** The control API's answers about what is exposed here, and elsewhere. */
import type { ControlBackend, ExposeAnswer, ExposureView } from '../../../protocol/control/index.ts';
import { needOf } from '../../../protocol/call/index.ts';
import { isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import type { Clock, McpServers } from '../../ports.ts';
import type { Session, SessionUse } from '../sessions.ts';
import type { Exposure, Exposures } from './exposures.ts';
import { checkServer, type FoundTool } from './server-check.ts';
import type { Services } from './services.ts';

export interface ExposuresBackendComponents {
  readonly exposures: Exposures;
  readonly clock: Clock;
  /** Absent: nothing can be started. */
  readonly servers: McpServers | undefined;
  readonly sessions: { list(): readonly Session[]; useOf(sid: string): SessionUse | undefined };
  /** Own organisation. */
  readonly organisation: string;
  readonly acting: (did: string) => unknown;
  readonly ask: (
    wanted: { readonly did: string; readonly as?: string | undefined },
    signal: AbortSignal,
  ) => Promise<Services>;
}

export type ExposuresOperation = 'exposeAdd' | 'exposeList' | 'exposeCheck' | 'exposeRemove' | 'services';

export function createExposuresBackend({
  exposures,
  clock,
  servers,
  sessions,
  organisation,
  acting,
  ask,
}: ExposuresBackendComponents): Pick<ControlBackend, ExposuresOperation> {
  let checks = 0;

  const view = (exposure: Exposure): ExposureView => {
    const inbound = sessions.list().filter(({ direction }) => direction === 'inbound');
    const links = inbound.flatMap(({ sid }) => [...(sessions.useOf(sid)?.links ?? [])]);
    return {
      ...viewOf(exposure),
      policy: exposures.policyOf(exposure) ?? null,
      links: links.filter(({ server }) => server === exposure.name).length,
    };
  };

  /** Errors: failed, timeout, cancelled, busy. */
  const check = async (exposure: Exposure, signal: AbortSignal): Promise<NonNullable<ExposeAnswer['tools']>> => {
    if (servers === undefined)
      throw new MeshError('failed', `Cannot start server "${exposure.name}": this daemon starts none`);
    if (checks >= limits.EXPOSED_CHECKS_MAX)
      throw new MeshError('busy', `Cannot try server "${exposure.name}": ${checks} others are tried just now`);
    checks++;
    try {
      const tools = await checkServer({ servers, clock }, exposure.server, { signal });
      return tools.map((tool) => ({ ...tool, can: canOf(tool, exposure) }));
    } finally {
      checks--;
    }
  };

  return {
    exposeList: async () => ({ exposed: exposures.list().map(view) }),
    exposeAdd: async ({ body: { check: isWanted = true, ...input } }, _caller, signal) => {
      const tools = isWanted ? await check(await exposures.planned(input), signal) : null;
      return { exposure: view(await exposures.add(input)), tools };
    },
    exposeCheck: async ({ params: { name } }, _caller, signal) => {
      const exposure = exposures.get(name);
      if (exposure === undefined)
        throw new MeshError('not_found', `Cannot try server "${name}": none of this name is exposed`, { id: name });
      return { exposure: view(exposure), tools: await check(exposure, signal) };
    },
    exposeRemove: async ({ params: { name } }) => {
      await exposures.remove(name);
      return { name };
    },
    services: async ({ query: { did, as } }, _caller, signal) => {
      if (did !== undefined) {
        const { services, ...rest } = await ask({ did, as }, signal);
        return { ...rest, services: [...services] };
      }
      acting(as ?? organisation);
      const services = exposures.list().map(({ name, description }) => ({ name, description }));
      return { did: organisation, organisation, services, grants: null };
    },
  };
}

function viewOf({
  name,
  description,
  server,
  capability,
  needs,
  origin,
}: Exposure): Omit<ExposureView, 'policy' | 'links'> {
  const about = { name, description, capability, needs: { ...needs }, origin };
  if ('command' in server) {
    const { command, cwd, env = {} } = server;
    return { ...about, command: [...command], cwd, env: Object.keys(env), url: null, headers: [] };
  }
  return { ...about, command: null, cwd: null, env: [], url: server.url, headers: Object.keys(server.headers ?? {}) };
}

/** Null: nothing can be granted for it. */
function canOf({ name }: FoundTool, exposure: Exposure): string | null {
  try {
    return needOf({ action: 'tool_call', tool: { name } }, exposure)?.can ?? null;
  } catch (error) {
    if (isMeshError(error) && error.code === 'not_covered') return null;
    throw error;
  }
}
